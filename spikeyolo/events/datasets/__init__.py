"""Data sets: where each keeps its recordings, labels and splits."""

from spikeyolo.events.datasets.files import SUFFIXES, TEXT_SUFFIXES, checked, find_recordings, recordings_among
from spikeyolo.events.datasets.folders import RecordingFolders, SplitFolders
from spikeyolo.events.datasets.published import DsecDetection, Etram, Gen1, Mpx1
from spikeyolo.events.datasets.single import SingleRecording
from spikeyolo.events.datasets.source import SensorSize, Source, sensor_size

__all__ = [
    "SUFFIXES",
    "TEXT_SUFFIXES",
    "DsecDetection",
    "Etram",
    "Gen1",
    "Mpx1",
    "RecordingFolders",
    "SensorSize",
    "SingleRecording",
    "Source",
    "SplitFolders",
    "checked",
    "find_recordings",
    "recordings_among",
    "sensor_size",
]
