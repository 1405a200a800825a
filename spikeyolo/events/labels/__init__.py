"""Label files: one reader a format hands on the file's columns; named rules clean them against the recording."""

from spikeyolo.events.labels.cleaning import Labels, read_boxes
from spikeyolo.events.labels.rules import LabelClock, LabelRules

__all__ = ["LabelClock", "LabelRules", "Labels", "read_boxes"]
