"""Tracks from detections, in µs: which detections are of one object, whatever the rate of steps."""

from spikeyolo.tracking.interpolation import interpolated
from spikeyolo.tracking.lifecycle import Tracks
from spikeyolo.tracking.steps import usual_step_us
from spikeyolo.tracking.stored import Tracked, track_file, track_whole
from spikeyolo.tracking.table import track_stream, track_table
from spikeyolo.tracking.trackers import ByteTrack, IouTracker, NoTracker, Tracker

__all__ = [
    "ByteTrack",
    "IouTracker",
    "NoTracker",
    "Tracked",
    "Tracker",
    "Tracks",
    "interpolated",
    "track_file",
    "track_stream",
    "track_table",
    "track_whole",
    "usual_step_us",
]
