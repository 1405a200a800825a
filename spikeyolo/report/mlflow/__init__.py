"""A run in MLflow: its records, the server that takes them, and what they say of data and machine."""
