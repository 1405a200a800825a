"""The manifest of a converted data set: what each recording was made from, what it holds, which boxes were kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.events.store.location import child, normalise, read_text, reason, store_errors, write_text

FORMAT = "spikeyolo-manifest"
VERSION = 1
FILE = "manifest.json"

Role = Literal["train", "val"]
Entries = dict[str, dict[str, Any]]


def read_manifest(out: Path | str) -> Entries:
    """Entries of the converted set at ``out``, by the recordings' places below it; empty where there is no manifest.

    Raises:
        RecordingError: it cannot be read, is no manifest, or a newer spikeyolo wrote it.
    """
    place = child(out, FILE)
    try:
        text = read_text(place)
        manifest = {} if text is None else json.loads(text)
    except store_errors(ValueError) as error:
        raise RecordingError(f"{place}: cannot be read ({reason(error)})") from error
    if text is None:
        return {}
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or "recordings" not in manifest:
        raise RecordingError(f"{place}: is no manifest of converted recordings; remove it, or choose another out")
    if int(manifest.get("version", 0)) > VERSION:
        raise RecordingError(
            f"{place}: version {manifest['version']}, written by a newer spikeyolo; this one reads up to {VERSION}"
        )
    entries: Entries = manifest["recordings"]
    return entries


def write_manifest(out: Path | str, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the manifest, all of it at once.

    Raises:
        RecordingError: it cannot be written.
    """
    place = child(out, FILE)
    ordered = {name: entries[name] for name in sorted(entries)}
    text = json.dumps({"format": FORMAT, "version": VERSION, "recordings": ordered}, indent=1)
    try:
        write_text(place, text + "\n")
    except store_errors() as error:
        raise RecordingError(f"{place}: cannot be written ({reason(error)})") from error


class ConvertedSet:
    """A data set that ``spikeyolo.convert`` wrote, on a disk or in a remote store, read by its manifest.

    Args:
        root: the ``out`` of the conversion.
        classes: names, in the order of class ids; they must be those it was converted with.
        train_split, val_split: which splits train and which validate.
    """

    def __init__(
        self, *, root: str, classes: Sequence[str], train_split: str = "train", val_split: str = "val"
    ) -> None:
        self.root = normalise(root)
        self.classes = tuple(classes)
        self.splits: dict[Role, str] = {"train": train_split, "val": val_split}

    def recordings(self, role: Role, *, progress: object = None) -> list[Path | str]:
        """The stored recordings of a role, in order of their names; nothing is left to be made.

        Raises:
            RecordingError: there is no manifest, or no recording of this split in it.
            ConfigError: they were converted with another class list.
        """
        entries = read_manifest(self.root)
        split = self.splits[role]
        chosen = {name: entry for name, entry in entries.items() if entry.get("split") == split}
        if not chosen:
            found = ", ".join(sorted({str(entry.get("split")) for entry in entries.values()})) or "no manifest"
            raise RecordingError(f"{self.root}: no recordings of split {split!r} (found {found})")
        for name, entry in chosen.items():
            if entry.get("labelled") and tuple(entry["classes"]) != self.classes:
                raise ConfigError(
                    f"classes: found {', '.join(self.classes)}; expected {', '.join(entry['classes'])}, with which "
                    f"{name} was converted"
                )
        return [child(self.root, name) for name in chosen]
