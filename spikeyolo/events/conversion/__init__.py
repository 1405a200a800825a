"""Conversion of recordings into the store: one file, many at once, or on first use; the manifest of a set."""
