"""Raw recordings behind a URL (``s3://…``): found by fsspec, and fetched while they are converted."""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

from spikeyolo.errors import RecordingError, SpikeyoloError
from spikeyolo.events.datasets import Source
from spikeyolo.events.labels import LabelRules, choose_one, is_label_name, labels_names
from spikeyolo.events.splits import splits_of
from spikeyolo.events.store.location import reason, remote_files, store_errors


def find_remote(url: str, suffixes: Iterable[str], rules: LabelRules) -> list[Source]:
    """The recordings of a file, a folder or a glob behind a URL, with the labels beside them.

    Raises:
        RecordingError: there is none, the place cannot be read, or the package for such URLs is not installed.
    """
    files, root = remote_files(url)
    endings = tuple(suffixes)
    try:
        files.invalidate_cache()  # listings are kept, but what lies there may have changed
        listed = not any(sign in root for sign in "*?[")
        found = files.find(root, detail=True) if listed else files.glob(root, detail=True)
        files_found = [path for path in map(PurePosixPath, found) if path.suffix.lower() in endings]
        chosen = sorted(str(path) for path in files_found if not is_label_name(path))
        if not chosen:
            raise RecordingError(f"{url}: no such recording; expected a file, a folder or a glob that matches files")
        sources, below = [], []
        names = _names_by_folder(found) if listed and root not in found else {}
        fixed = PurePosixPath(*takewhile(lambda part: not glob.has_magic(part), PurePosixPath(root).parts))
        for path in map(PurePosixPath, chosen):
            folder = str(path.parent)
            if folder not in names:
                names[folder] = {PurePosixPath(entry).name for entry in files.ls(folder, detail=False)}
            beside = [str(path.with_name(name)) for name in labels_names(path) if name in names[folder]]
            choose_one(files.unstrip_protocol(str(path)), beside)
            labels = beside[0] if beside else None
            single = not path.is_relative_to(root) or str(path) == root
            name = path.stem if single else path.relative_to(root).with_suffix("").as_posix()
            below.append(path.relative_to(fixed).as_posix() if path.is_relative_to(fixed) else path.name)
            versions = {"events": _version(found[str(path)])}
            if labels is not None:
                versions["labels"] = _version(found[labels] if labels in found else files.info(labels))
            sources.append(
                Source(
                    Path(path.name),
                    None if labels is None else Path(PurePosixPath(labels).name),
                    name,
                    "",
                    rules=rules,
                    folder=files.unstrip_protocol(str(path.parent)),
                    versions=versions if all(versions.values()) else None,
                    remote_bytes=found[str(path)].get("size"),
                )
            )
    except store_errors(ValueError) as error:
        raise RecordingError(f"{url}: cannot be read ({reason(error)})") from error
    return [replace(source, split=split) for source, split in zip(sources, splits_of(below))]


@contextmanager
def fetched(source: Source) -> Iterator[Source]:
    """The source with its files on this machine: copied into a temporary folder, and removed again, where it is remote.

    Raises:
        RecordingError: they cannot be fetched; and whatever is raised within, with the URL for the temporary name.
    """
    if source.folder is None:
        yield source
        return
    files, root = remote_files(source.folder)
    with tempfile.TemporaryDirectory(prefix="spikeyolo-fetched-") as place:

        def fetch(name: Path) -> Path:
            local = Path(place) / name
            try:
                if files.isdir(f"{root}/{name}"):
                    files.get(f"{root}/{name}/", f"{local}/", recursive=True)
                else:
                    files.get_file(f"{root}/{name}", str(local))
            except store_errors(ValueError) as error:
                raise RecordingError(f"{source.folder}/{name}: cannot be fetched ({reason(error)})") from error
            return local

        labels = None if source.labels is None else fetch(source.labels)
        try:
            yield replace(source, events=fetch(source.events), labels=labels, folder=None)
        except SpikeyoloError as error:
            raise type(error)(str(error).replace(place, source.folder)) from error


def _names_by_folder(paths: Iterable[str]) -> dict[str, set[str]]:
    """What lies in each folder of these files, folders too."""
    names: dict[str, set[str]] = {}
    for path in map(PurePosixPath, paths):
        names.setdefault(str(path.parent), set()).add(path.name)
        names.setdefault(str(path.parent.parent), set()).add(path.parent.name)
    return names


def _version(info: Mapping[str, Any]) -> str:
    """ETag and size of a file, as its store tells them; empty where it tells none."""
    tag = info.get("ETag") or info.get("etag")
    return f"{str(tag).strip(chr(34))}, {info.get('size')} bytes" if tag else ""
