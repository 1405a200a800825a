"""Label files: one reader a format hands on the file's columns; named rules clean them against the recording."""

from spikeyolo.events.labels.classes import ClassSelection, selected
from spikeyolo.events.labels.cleaning import Labels, read_boxes
from spikeyolo.events.labels.clock import LabelClock
from spikeyolo.events.labels.rules import LabelRules

__all__ = ["ClassSelection", "LabelClock", "LabelRules", "Labels", "read_boxes", "selected"]
