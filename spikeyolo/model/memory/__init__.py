"""What training keeps less of: recomputation and saved tensors."""
