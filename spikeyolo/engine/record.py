"""The numbers a run leaves on disk: ``metrics.csv``, one row an epoch, and ``metrics.json``, what came of it."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from spikeyolo.errors import TrainingError


def write_rows(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write ``metrics.csv``; a figure that an epoch does not have is an empty cell.

    Raises:
        TrainingError: the file cannot be written; the one before is kept.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _replace(path, buffer.getvalue())


def write_metrics(path: Path, metrics: Mapping[str, float | int | str | None]) -> None:
    """Write ``metrics.json``; a figure that is not finite is null, since JSON has no NaN.

    Raises:
        TrainingError: the file cannot be written; the one before is kept.
    """
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metrics.items()
    }
    _replace(path, json.dumps(finite, indent=2, allow_nan=False) + "\n")


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise TrainingError(f"{path}: cannot be written ({error.strerror}); training stopped") from error
