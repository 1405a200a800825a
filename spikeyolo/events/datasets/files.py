"""Which files in a folder are recordings."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from spikeyolo.errors import RecordingError
from spikeyolo.events.datasets.source import Source
from spikeyolo.events.formats.tables.text_table import is_event_text
from spikeyolo.events.labels import is_label_name

log = logging.getLogger(__name__)

SUFFIXES = (".aedat", ".aedat4", ".bag", ".bin", ".csv", ".dat", ".es", ".h5", ".hdf5", ".raw", ".txt")
TEXT_SUFFIXES = (".csv", ".txt")  # also those of labels and notes: their content decides


def find_recordings(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Files with one of these suffixes in the folder and those below it, in order; texts where they hold events."""
    return recordings_among(folder.rglob("*"), suffixes)


def recordings_among(paths: Iterable[Path], suffixes: Iterable[str]) -> list[Path]:
    """The files with one of these suffixes, in order; texts where they hold events."""
    endings = tuple(suffixes)
    found = (path for path in paths if path.suffix.lower() in endings and not is_label_name(path))
    files = sorted(path for path in found if path.is_file())
    return [path for path in files if path.suffix.lower() not in TEXT_SUFFIXES or is_event_text(path)]


def checked(sources: list[Source]) -> list[Source]:
    """The sources, if their names differ and the missing labels have been said.

    Raises:
        RecordingError: two have the same name.
    """
    seen: dict[str, str] = {}
    for source in sources:
        if source.name in seen:
            raise RecordingError(
                f"{source.address(source.events)} and {seen[source.name]} are two recordings of the name "
                f"{source.name!r} in split {source.split!r}; expected one: rename or remove the other"
            )
        seen[source.name] = source.address(source.events)
    unlabelled = [source for source in sources if source.labels is None]
    if unlabelled:
        log.warning(
            "%s%d of %d recordings have no label file beside them (the first: %s)",
            f"{sources[0].split}: " if sources[0].split else "",
            len(unlabelled),
            len(sources),
            unlabelled[0].address(unlabelled[0].events),
        )
    return sources
