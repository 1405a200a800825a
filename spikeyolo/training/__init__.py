"""What the training command does beside the engine: before the first epoch and after the last."""
