"""What training minimises."""

from spikeyolo.loss.detection import DetectionLoss, LossTerms

__all__ = ["DetectionLoss", "LossTerms"]
