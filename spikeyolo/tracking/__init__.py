"""Tracks from detections, in µs: which detections are of one object, whatever the rate of steps."""

from spikeyolo.tracking.interpolation import interpolated
from spikeyolo.tracking.lifecycle import Tracks
from spikeyolo.tracking.steps import usual_step_us
from spikeyolo.tracking.table import track_stream, track_table
from spikeyolo.tracking.trackers import ByteTrack, IouTracker, NoTracker, Tracker

__all__ = [
    "ByteTrack",
    "IouTracker",
    "NoTracker",
    "Tracker",
    "Tracks",
    "interpolated",
    "track_stream",
    "track_table",
    "usual_step_us",
]
