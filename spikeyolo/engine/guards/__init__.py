"""What ends a run or mends it: time, the user, figures that are not finite, memory."""
