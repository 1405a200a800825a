"""The network on its first batch, and whether it can learn eight windows by heart."""
