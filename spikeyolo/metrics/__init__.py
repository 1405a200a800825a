"""Figures that judge a detector."""

from spikeyolo.metrics.detection import DetectionMetrics

__all__ = ["DetectionMetrics"]
