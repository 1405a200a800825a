"""The recordings that a file, a folder, a glob or a URL names, with their labels and splits."""

from __future__ import annotations

import glob
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.events.conversion.manifest import read_published
from spikeyolo.events.conversion.remote_files import find_remote
from spikeyolo.events.datasets import SUFFIXES, TEXT_SUFFIXES, Source, checked, find_recordings, recordings_among
from spikeyolo.events.labels import ClassSelection, LabelRules, labels_of_file
from spikeyolo.events.splits import splits_of
from spikeyolo.events.store import Recording
from spikeyolo.events.store.location import is_remote


def sources_at(
    source: str,
    classes: tuple[str, ...],
    rules: LabelRules,
    split: str | None = None,
    labels_at: Path | None = None,
) -> list[Source]:
    """The recordings of a file, a folder or a glob, with the labels beside them, in the splits that folders tell.

    Raises:
        ConfigError: there are labels, but no class list; a label file is named for several recordings; or a split is
            given, and folders tell others.
        RecordingError: there is no recording, or two have the same name.
    """
    ClassSelection(classes, rules)
    if labels_at is not None and (is_remote(source) or (not Path(source).is_file() and not labels_at.is_dir())):
        raise ConfigError(
            f"labels_at: found {labels_at} for {source}; expected a folder of labels, and recordings on this machine"
        )
    if is_remote(source):
        # texts in a folder may be labels, and looking into each would fetch it: they are taken where they are named
        named = source.lower().endswith(TEXT_SUFFIXES)
        sources = find_remote(source, [s for s in SUFFIXES if named or s not in TEXT_SUFFIXES], rules)
    else:
        files = files_at(source)
        splits = splits_of([below for _, _, below in files])
        root = Path(source)
        sources = []
        for (file, name, _), of in zip(files, splits):
            below = None if root.is_file() else root if root.is_dir() else file.parent
            sources.append(Source(file, labels_of_file(file, labels_at, below), name, of, rules=rules))
    if split is not None:
        others = sorted({item.split for item in sources} - {"", split})
        if others:
            raise ConfigError(
                f"split: found {split}, but folders of {source} tell {', '.join(others)}; leave it out, or convert one"
            )
        sources = [replace(item, split=split) for item in sources]
    labelled = next((found for found in sources if found.labels is not None), None)
    if labelled is not None and labelled.labels is not None and not classes:
        labels = labelled.address(labelled.labels)
        raise ConfigError(f"classes must be given, because {labels} holds boxes: add classes=[NAME,…]")
    return checked(sources)


def files_at(source: str) -> list[tuple[Path, str, str]]:
    """Event files of a file, a folder or a glob, each with its recording's name and its path below what was named.

    Raises:
        RecordingError: there is none.
    """
    path = Path(source)
    if path.is_file():
        return [(path, path.stem, path.name)]
    if path.is_dir():
        found = [(file, file.relative_to(path).with_suffix("").as_posix()) for file in find_recordings(path, SUFFIXES)]
        if not found:
            raise RecordingError(f"{source}: a folder without recordings; expected files *{{{','.join(SUFFIXES)}}}")
        return [(file, name, name) for file, name in found]
    files = recordings_among(map(Path, glob.glob(source, recursive=True)), SUFFIXES)
    if not files:
        raise RecordingError(f"{source}: no such recording; expected a file, a folder or a glob that matches files")
    fixed = list(takewhile(lambda part: not glob.has_magic(part), path.parts))
    return [(file, file.stem, file.relative_to(Path(*fixed)).as_posix()) for file in files]


def places_at(source: str) -> list[tuple[str, Recording | Path]]:
    """The recordings that a path, a glob or the URL of stored ones names, each with its name: stored ones opened.

    Raises:
        RecordingError: there is none, or a stored one cannot be opened.
    """
    path = Path(source)
    if is_remote(source) or path.is_dir():
        published = read_published(source)
        if published:
            return [(name, item.open(source)) for name, item in published.items()]
    if is_remote(source) or (path / "zarr.json").is_file():
        recording = Recording.open(source)
        return [(recording.name, recording)]
    if path.is_dir():
        stored = sorted(place.parent for place in path.rglob("*.zarr/zarr.json"))
        if stored:
            return [(place.relative_to(path).as_posix(), Recording.open(place)) for place in stored]
    elif not path.exists():
        stored = sorted(place for place in map(Path, glob.glob(source)) if (place / "zarr.json").is_file())
        if stored:
            return [(place.name, Recording.open(place)) for place in stored]
    return [(name, file) for file, name, _ in files_at(source)]
