"""Encoders: events of a window into frames ``[T, C, H, W]``."""

from spikeyolo.windows.encoders.base import Encoder, SliceEncoder, Slices
from spikeyolo.windows.encoders.binary import BinaryEncoder
from spikeyolo.windows.encoders.histogram import HistogramEncoder
from spikeyolo.windows.encoders.mixed_density import MixedDensityEncoder
from spikeyolo.windows.encoders.time_surface import TimeSurfaceEncoder
from spikeyolo.windows.encoders.voxel import VoxelEncoder

__all__ = [
    "BinaryEncoder",
    "Encoder",
    "HistogramEncoder",
    "MixedDensityEncoder",
    "SliceEncoder",
    "Slices",
    "TimeSurfaceEncoder",
    "VoxelEncoder",
]
