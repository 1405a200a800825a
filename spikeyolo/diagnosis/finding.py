"""What the doctor hands over: findings, and what was looked at although nothing was wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Fact = tuple[str, str]
Draw = Callable[[Path], Path]
Entry = Literal["train", "convert", "evaluate"]
Kind = Literal[
    # labels against events
    "unit", "clock", "swapped", "centre", "corners", "scale", "sensor", "flipped", "offset", "unrelated", "strays",
    "refused", "polarity",
    # windows
    "no_labels", "no_val_labels", "no_windows", "labels_lost", "labels_gap", "labels_buffer", "windows_without_boxes",
    "dropped", "duplicates", "class_missing", "imbalance", "empty_slices", "few_events", "boxes_without_events",
    "small_boxes", "protocol_sizes", "hot_pixels",
    # network
    "silent", "saturated", "gradient", "loss_start", "not_finite", "positives", "learning_rate", "overfit",
    "checkpoint_classes", "checkpoint_frames",
    # machine
    "loader", "threads", "no_gpu", "batch",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Finding:
    """One reason why a detector learns nothing or slowly.

    Attributes:
        name: of the kind.
        sentence: what is wrong, with the figure that shows it.
        remedy: what mends it, in words; empty where the overrides say all.
        overrides: arguments of the entry point that mend it.
        evidence: figures, named.
        draw: draws the picture of it at a path and returns the path; None: there is none.
        entry: whose arguments the overrides are.
    """

    name: Kind
    sentence: str
    remedy: str = ""
    overrides: tuple[str, ...] = ()
    evidence: tuple[Fact, ...] = ()
    draw: Draw | None = None
    entry: Entry = "train"


@dataclass(eq=False)
class Section:
    """One place that the doctor looked at.

    Attributes:
        title: labels against events, windows, network, machine.
        facts: what was measured, named, in words.
        findings: the gravest first.
        unknown: what could not be told, and why.
        pictures: name of a file → what draws it, also where all is well.
        seconds: that it took.
    """

    title: str
    facts: list[Fact] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    pictures: dict[str, Draw] = field(default_factory=dict)
    seconds: float = 0.0


def share(value: float) -> str:
    """A share in percent, as people read it."""
    return f"{100 * value:.1f} %" if 0 < value < 0.1 else f"{100 * value:.0f} %"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Names in a sentence, the first few of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def name_list(names: Sequence[str]) -> str:
    """Names as the value of an override, quoted where Hydra's grammar would read something else in them."""
    return f"[{','.join(map(_quoted, names))}]"


def _quoted(name: str) -> str:
    if re.fullmatch(r"[A-Za-z_][\w-]*", name) and name.lower() not in ("null", "true", "false", "nan", "inf"):
        return name
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"
