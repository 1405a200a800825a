"""Figures that judge a detector."""
