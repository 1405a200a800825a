"""Decoders: one file format a file; :func:`open_recording` finds the right one by content."""

from spikeyolo.events.formats.reader import EventReader
from spikeyolo.events.formats.sniff import open_recording

__all__ = ["EventReader", "open_recording"]
