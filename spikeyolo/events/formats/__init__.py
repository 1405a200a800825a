"""Decoders: one file format a file; :func:`open_recording` finds the right one by content.

``prophesee/`` and ``inivation/`` hold the cameras' own formats, ``tables/`` columns in HDF5 and text; ``reader`` is
what every decoder is, ``words`` one whose events are binary words of fixed size.
"""

from spikeyolo.events.formats.reader import EventReader
from spikeyolo.events.formats.sniff import open_recording

__all__ = ["EventReader", "open_recording"]
