"""The manifest of a converted data set: what each recording was made from, what it holds, which boxes were kept.

Every recording has a file of its own, ``manifest/NAME.json``, written last: it makes the recording part of the set and
says where it lies, so that several jobs may convert into one set, in a bucket too.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikeyolo.errors import RecordingError
from spikeyolo.events.conversion.places import exclusive
from spikeyolo.events.store import Recording
from spikeyolo.events.store.location import (
    child,
    is_remote,
    read_text,
    read_texts,
    reason,
    remove,
    remove_remote,
    store_errors,
    write_text,
)

log = logging.getLogger(__name__)

FORMAT = "spikeyolo-manifest"
VERSION = 2
FOLDER = "manifest"

Entries = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Published:
    """One recording of a set.

    Attributes:
        split: ``train``, ``val``, ``test``, …; empty where it belongs to none.
        stored: where it lies below the set.
        group: its group's metadata, for recordings in a remote store, which are opened with it alone.
        attributes: of the recording.
    """

    split: str
    stored: str
    attributes: dict[str, Any]
    group: dict[str, Any] | None = None

    def open(self, root: Path | str) -> Recording:
        """The recording, without reading anything where its metadata are known.

        Raises:
            RecordingError: it cannot be opened.
        """
        return Recording.open(child(root, self.stored), group=self.group)

    def remove(self, root: Path | str) -> None:
        """Remove what is stored; call it once no manifest names it.

        Raises:
            RecordingError: it cannot be removed.
        """
        place = child(root, self.stored)
        try:
            if is_remote(place):
                remove_remote(str(place))
            elif Path(place).exists():
                shutil.rmtree(place)
        except store_errors() as error:
            raise RecordingError(f"{place}: cannot be removed ({reason(error)})") from error


def read_manifest(root: Path | str) -> Entries:
    """What the manifest of the set at ``root`` says, by the recordings' names; empty where there is no manifest.

    Raises:
        RecordingError: it cannot be read, is no manifest, or another version of spikeyolo wrote it.
    """
    return {
        name: {"split": item.split, "stored": item.stored, **entry_of(item.attributes)}
        for name, item in read_published(root).items()
    }


def read_published(root: Path | str) -> dict[str, Published]:
    """The recordings of the set at ``root``, by name, in order.

    Raises:
        RecordingError: as :func:`read_manifest`.
    """
    folder = child(root, FOLDER)
    try:
        texts = read_texts(folder, ".json")
    except store_errors() as error:
        raise RecordingError(f"{folder}: cannot be read ({reason(error)})") from error
    found = {f"{name.removesuffix('.json')}.zarr": _parsed(child(folder, name), text) for name, text in texts.items()}
    return dict(sorted(found.items()))


def read_one(root: Path | str, name: str) -> Published | None:
    """The recording of this name in the set at ``root``; None where there is none.

    Raises:
        RecordingError: as :func:`read_manifest`.
    """
    place = _place(root, name)
    try:
        text = read_text(place)
    except store_errors() as error:
        raise RecordingError(f"{place}: cannot be read ({reason(error)})") from error
    return None if text is None else _parsed(place, text)


def publish(root: Path | str, name: str, item: Published, *, instead: Published | None) -> bool:
    """Make a recording part of the set.

    Args:
        root: of the set.
        name: of the recording.
        item: where it lies, and what it is.
        instead: what was there when this conversion began.

    Returns:
        False where another job has published a recording of this name meanwhile, and nothing was done.

    Raises:
        RecordingError: the manifest cannot be written.
    """
    place = _place(root, name)
    content = {"format": FORMAT, "version": VERSION, "split": item.split, "stored": item.stored}
    content |= {"attributes": item.attributes}
    if item.group is not None:
        content["group"] = {key: value for key, value in item.group.items() if key != "attributes"}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    try:
        if not is_remote(root):  # held by the place's lock
            return write_text(place, text)
        if instead is not None and read_one(root, name) != instead:
            return False
        return write_text(place, text, new=instead is None)
    except store_errors() as error:
        raise RecordingError(f"{place}: cannot be written ({reason(error)})") from error


def withdraw_moved(root: Path | str, converted: Mapping[str, Mapping[str, Any]], names: Collection[str]) -> set[str]:
    """Take out of the set what was converted from the same files under another name, in another split for instance.

    Several jobs may do so at once, each after its own share of the recordings.

    Args:
        root: of the set.
        converted: entries of this job's conversions, by name.
        names: of all recordings that are being converted, by this job or by others.

    Returns:
        Names of the recordings that the set holds now.

    Raises:
        RecordingError: the manifest cannot be read or written.
    """
    sources = {entry["source_sha256"] for entry in converted.values()}
    held = set()
    for name, item in read_published(root).items():
        if name in names or item.attributes["source_sha256"] not in sources:
            held.add(name)
            continue
        with exclusive(child(root, item.stored)):
            if read_one(root, name) == item:  # no other job was faster
                log.info("%s: was made of a file that is now converted under another name; removed", name)
                withdraw(root, name)
                item.remove(root)
    return held


def withdraw(root: Path | str, name: str) -> None:
    """Take a recording out of the set.

    Raises:
        RecordingError: the manifest cannot be written.
    """
    try:
        remove(_place(root, name))
    except store_errors() as error:
        raise RecordingError(f"{_place(root, name)}: cannot be removed ({reason(error)})") from error


def entry_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest says of a stored recording with these attributes."""
    notes = attributes.get("notes", {})
    return {
        "source": attributes["source"],
        "source_sha256": attributes["source_sha256"],
        "source_format": notes.get("format"),
        "events": attributes["num_events"],
        "start_us": attributes["start_us"],
        "end_us": attributes["end_us"],
        "time_offset_us": attributes["time_offset_us"],
        "width": attributes["width"],
        "height": attributes["height"],
        "classes": list(attributes["classes"]),
        "labelled": attributes["labelled"],
        "reading": notes.get("reading", {}),
        "labels": notes.get("labels"),
        "labels_sha256": notes.get("labels_sha256"),
        "rules": notes.get("rules"),
        "boxes": notes.get("boxes", {}),
        "label_warnings": notes.get("label_warnings", {}),
        "warnings": notes.get("warnings", []),
        "dropped_events": notes.get("dropped_events", 0),
        "clock": notes.get("clock", "camera"),
        "event_rules": notes.get("event_rules"),
        "event_counts": notes.get("event_counts", {}),
        "filter_counts": notes.get("filter_counts", {}),
        "digest": attributes["digest"],
        "format_version": attributes["format_version"],
        "tools": notes.get("tools", {}),
    }


def _place(root: Path | str, name: str) -> Path | str:
    return child(root, f"{FOLDER}/{name.removesuffix('.zarr')}.json")


def _parsed(place: Path | str, text: str) -> Published:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise RecordingError(f"{place}: cannot be read ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RecordingError(f"{place}: is no manifest of a converted recording; remove it, or choose another out")
    if int(content.get("version", 0)) > VERSION:
        raise RecordingError(
            f"{place}: version {content['version']}, written by a newer spikeyolo; this one reads up to {VERSION}"
        )
    try:
        attributes, group = content["attributes"], content.get("group")
        whole = None if group is None else {**group, "attributes": attributes}
        return Published(str(content["split"]), str(content["stored"]), attributes, whole)
    except (KeyError, TypeError) as error:
        raise RecordingError(f"{place}: is damaged ({error!r}); remove it, and convert again") from error
