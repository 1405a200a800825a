"""The numbers a run leaves: ``metrics.csv``, one row an epoch, ``metrics.json``, what came of it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from spikeyolo.engine.checkpoints.files import replace_text
from spikeyolo.engine.checkpoints.state import Position
from spikeyolo.errors import TrainingError


def summary(position: Position) -> dict[str, float]:
    """Flat: figures of the best epoch, of the last one under ``last/``, and of the run; {} before any epoch."""
    if not position.history:
        return {}
    best, last = position.history[position.best_epoch], position.history[-1]
    seconds = sum(row["seconds"] for row in position.history) - position.warm_up_s
    return {
        **{name: value for name, value in best.items() if name.startswith("val/")},
        **{f"last/{name}": value for name, value in last.items() if name.startswith(("val/", "train/"))},
        "best_epoch": position.best_epoch + 1,
        "epochs": len(position.history),
        "seconds_per_epoch": seconds / len(position.history),
        "warm_up_seconds": position.warm_up_s,
    }


def is_validated(row: Mapping[str, float]) -> bool:
    """Whether an epoch was validated: not all are, where ``trainer.validate_every`` is above 1."""
    return any(name.startswith("val/") for name in row)


CURVES = {"loss": "train/total", "map": "val/map", "map50": "val/map50"}


def curves(row: Mapping[str, float]) -> dict[str, float]:
    """What a person looks at first of an epoch, under names that MLflow's page of charts begins with."""
    return {f"curves/{name}": row[figure] for name, figure in CURVES.items() if figure in row}


def epoch_line(row: Mapping[str, float], epochs: int) -> str:
    """One line for an epoch that is over."""
    shown = [f"epoch {int(row['epoch'])}/{epochs}"]
    for name, label in (("train/total", "loss"), ("train/box", "box"), ("train/class", "class"), ("train/dfl", "dfl")):
        if name in row:
            shown.append(f"{label} {row[name]:.3f}")
    for name, label in (("val/map50", "mAP50"), ("val/map", "mAP")):
        if name in row:
            shown.append(f"{label} {row[name]:.3f}")
    return "  ".join([*shown, f"{row['seconds']:.1f} s"])


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


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of ``metrics.csv`` as text; an empty cell is an empty text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


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
    try:
        replace_text(path, text)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written ({error.strerror}); training stopped") from error
