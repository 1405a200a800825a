"""Label formats: one reader a format, chosen by ``readers``; each hands on a file's columns as ``rows``."""

from spikeyolo.events.labels.formats.readers import SUFFIXES, files_read, read_rows
from spikeyolo.events.labels.formats.rows import LabelRows

__all__ = ["SUFFIXES", "LabelRows", "files_read", "read_rows"]
