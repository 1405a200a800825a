"""Tracks from detections, in µs: which detections are of one object, whatever the rate of steps."""

from spikeyolo.tracking.lifecycle import Tracks
from spikeyolo.tracking.table import track_stream, track_table
from spikeyolo.tracking.trackers import ByteTrack, IouTracker, NoTracker, Tracker

__all__ = ["ByteTrack", "IouTracker", "NoTracker", "Tracker", "Tracks", "track_stream", "track_table"]
