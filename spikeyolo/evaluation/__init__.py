"""A checkpoint on a split: its detections as a table, what they score, and the page that explains it."""
