"""The attributes of a stored recording's group: what makes it a recording, and which version of the format it is in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spikeyolo.errors import RecordingError
from spikeyolo.events.store.location import child, read_text, reason, store_errors

FORMAT = "spikeyolo-recording"
FORMAT_VERSION = 2


class OlderFormatError(RecordingError):
    """A recording that an older spikeyolo wrote."""


def read_group(path: Path | str) -> dict[str, Any]:
    """Metadata of the group at ``path``, with those of its arrays: its ``zarr.json``, one small read.

    Raises:
        RecordingError: there is no group, or it cannot be read.
    """
    # Plain JSON: opening ten thousand groups through zarr takes half a minute, and several requests each.
    try:
        text = read_text(child(path, "zarr.json"))
        group = None if text is None else json.loads(text)
    except store_errors(ValueError) as error:
        raise RecordingError(
            f"{path}: its zarr.json cannot be read ({reason(error)}); convert the recording anew"
        ) from error
    if text is None:
        raise RecordingError(f"{path}: no stored recording is there (expected a Zarr group of this name)")
    return group if isinstance(group, dict) else {}


def checked_attributes(path: Path | str, group: dict[str, Any]) -> dict[str, Any]:
    """Attributes of the sealed recording at ``path`` with these metadata.

    Raises:
        OlderFormatError: an older spikeyolo wrote it.
        RecordingError: it is no sealed recording, or a newer spikeyolo wrote it.
    """
    attributes = group.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    if attributes.get("format") != FORMAT:
        raise RecordingError(
            f"{path}: a Zarr group that is no sealed recording (its format is {attributes.get('format')!r}; "
            f"expected {FORMAT!r})"
        )
    version = attributes.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise RecordingError(f"{path}: its format version is {version!r}; expected {FORMAT_VERSION}")
    if version > FORMAT_VERSION:
        raise RecordingError(
            f"{path}: written in format version {version} by a newer spikeyolo; this one reads version "
            f"{FORMAT_VERSION}: upgrade spikeyolo, or convert the recording anew"
        )
    if version < FORMAT_VERSION:
        raise OlderFormatError(
            f"{path}: written in format version {version} by an older spikeyolo; this one reads version "
            f"{FORMAT_VERSION}: convert the recording anew"
        )
    return attributes
