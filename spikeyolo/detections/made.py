"""What a table was made from, as its metadata tell it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spikeyolo.detections.table import read_metadata
from spikeyolo.errors import DetectionError


def is_made_from(path: Path, identity: Mapping[str, Any]) -> bool:
    """Whether the table at ``path`` is there, whole, and was made from the same."""
    try:
        return bool(read_metadata(path).get("identity") == json.loads(json.dumps(identity, allow_nan=False)))
    except DetectionError:
        return False


def file_digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        DetectionError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DetectionError(f"{path}: cannot be read ({error.strerror or error}); expected a table") from error
