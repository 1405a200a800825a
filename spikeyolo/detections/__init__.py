"""The table of detections that predict and evaluate write, and that everything after them reads."""

from spikeyolo.detections.table import DetectionTable
from spikeyolo.detections.truth import GroundTruth, Looks
from spikeyolo.detections.writer import DetectionWriter

__all__ = ["DetectionTable", "DetectionWriter", "GroundTruth", "Looks"]
