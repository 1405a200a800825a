"""Forms of the trained network for inference: folded and binary (spike-driven)."""
