"""Where a converted recording is kept: its name in a set, and the lock of its place."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from spikeyolo.errors import RecordingError
from spikeyolo.events.conversion.identity import read_otherwise, reading_of
from spikeyolo.events.datasets import Source
from spikeyolo.events.store import Recording
from spikeyolo.events.store.attributes import FORMAT_VERSION
from spikeyolo.events.store.location import child, is_remote, reason
from spikeyolo.events.store.writer import remove_abandoned

_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


def place_of(source: Source, out: Path | str) -> Path | str:
    """Where a converted data set keeps this recording: ``out/split/NAME.zarr``, or ``out/NAME.zarr``."""
    return child(out, f"{_folded(source)}.zarr")


def stored_path(source: Source, folder: Path) -> Path:
    """Where training keeps this file: its name, and a digest of its path, size, time of change and how it is read.

    The store's format is part of the digest, so that what an older spikeyolo stored is converted anew.
    Event rules or a sensor size that would give other events than those stored there are part of the digest too.

    Raises:
        RecordingError: there is no such file, or what is stored of it is damaged.
    """
    file = source.events.resolve()
    try:
        stat = file.stat()
    except OSError as error:
        raise RecordingError(f"{source.events}: no such recording ({error.strerror})") from error
    reading = reading_of(source)
    key = f"{FORMAT_VERSION}\0{file}\0{stat.st_size}\0{stat.st_mtime_ns}\0{json.dumps(reading, sort_keys=True)}"
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-.") or "recording"
    path = folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.zarr"
    rules = source.event_rules.as_dict()
    if path.exists() and read_otherwise(Recording.open(path), rules, source.size and list(source.size)):
        key += f"\0{json.dumps([rules, source.size], sort_keys=True)}"
        path = folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.zarr"
    return path


@contextmanager
def exclusive(place: Path | str) -> Iterator[None]:
    """Hold the lock of a place in a local store, and clear what killed processes left there.

    Remote places have none: there, what is written lies below a prefix of its own until it is published.

    Raises:
        RecordingError: the store's folder cannot be written.
    """
    if is_remote(place):
        yield
        return
    path = Path(place)
    locks = path.parent / ".locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{path.name}.lock")
        lock.acquire()
    except OSError as error:
        raise RecordingError(f"{path.parent}: the store cannot be written ({reason(error)})") from error
    try:
        remove_abandoned(path)
        yield
    finally:
        lock.release()


def _folded(source: Source) -> str:
    """The name in letters that every file system and URL takes; where that loses something, with the name's digest."""
    name = source.name
    if source.split and not name.startswith((f"{source.split}/", f"{source.split}_")):
        name = f"{source.split}/{name}"
    folder, _, last = name.rpartition("/")
    parts = [_UNFIT.sub("-", part).strip("-.") for part in (*folder.split("/"), last)]
    plain = "/".join([*filter(None, parts[:-1]), parts[-1] or "recording"])
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
