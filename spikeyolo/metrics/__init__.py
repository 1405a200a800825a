"""Figures that judge a detector."""

from spikeyolo.metrics.detection import DetectionMetrics
from spikeyolo.metrics.score import score
from spikeyolo.metrics.scores import Scores

__all__ = ["DetectionMetrics", "Scores", "score"]
