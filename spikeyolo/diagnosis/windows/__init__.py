"""What training windows hold, and what of the labels gets lost on the way to them."""
