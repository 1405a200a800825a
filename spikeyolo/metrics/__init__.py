"""Figures that judge a detector, and comparisons of two."""

from spikeyolo.metrics.comparison import Comparison, compare, paired_difference
from spikeyolo.metrics.detection import DetectionMetrics
from spikeyolo.metrics.resample import ResampledPrecision
from spikeyolo.metrics.score import score
from spikeyolo.metrics.scores import Scores

__all__ = [
    "Comparison",
    "DetectionMetrics",
    "ResampledPrecision",
    "Scores",
    "compare",
    "paired_difference",
    "score",
]
