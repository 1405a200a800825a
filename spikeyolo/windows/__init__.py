"""Windows of events: which exist, how they are encoded, and how they reach the network."""

from spikeyolo.windows.augment import Augmentation
from spikeyolo.windows.batch import Batch, Targets, Window
from spikeyolo.windows.data import EventData
from spikeyolo.windows.dataset import Sample, WindowDataset
from spikeyolo.windows.parts import Part
from spikeyolo.windows.placement import Placement
from spikeyolo.windows.rules import WindowRules
from spikeyolo.windows.serving.loader import WindowLoader, collate

__all__ = [
    "Augmentation",
    "Batch",
    "EventData",
    "Part",
    "Placement",
    "Sample",
    "Targets",
    "Window",
    "WindowDataset",
    "WindowLoader",
    "WindowRules",
    "collate",
]
