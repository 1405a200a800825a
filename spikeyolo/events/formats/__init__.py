"""Decoders: one file format a file."""
