"""A recording as a film: events that fade, boxes with their labels, trails of tracks, and a bar that says when it is.

``film`` puts pictures together, one after the other; ``mp4``, ``gif`` and ``sheet`` write them.
"""

from spikeyolo.report.video.boxes import BoxSeries, TrackSeries
from spikeyolo.report.video.film import Film, Layer, Panel
from spikeyolo.report.video.palette import DARK, LIGHT, Palette
from spikeyolo.report.video.timeline import Timeline
from spikeyolo.report.video.writers import open_writer

__all__ = ["DARK", "LIGHT", "BoxSeries", "Film", "Layer", "Palette", "Panel", "Timeline", "TrackSeries", "open_writer"]
