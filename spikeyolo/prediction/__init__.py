"""From a trained network and recordings to a table of detections, window by window, in constant memory."""
