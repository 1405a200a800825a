"""What is left of a label file once it is cleaned, and what is to be said about the files of a set."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spikeyolo.events.types import Boxes

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Labels:
    """Boxes of one label file, and how many of them each rule touched.

    Attributes:
        boxes: what is kept, ordered by time, clipped to the frame.
        in_file: boxes in the file.
        dropped: rule → boxes it left out, rules that left out none are absent.
        clipped: boxes cut at the frame's edge.
        without_track: kept boxes whose track id named no object, and was read as -1.
        shared_ids: track ids that several boxes of one time had.
        warnings: kind → what is suspicious about the file, in words.
        left_out_us: times, ascending, of which rules left out every box of a selected class: what was to be seen then
            is not known, µs.
        looks_us: times, ascending, at which the file says what is to be seen, also where that is nothing, µs; None
            where it lists objects alone.
    """

    boxes: Boxes
    in_file: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    clipped: int = 0
    without_track: int = 0
    shared_ids: tuple[int, ...] = ()
    warnings: dict[str, str] = field(default_factory=dict)
    left_out_us: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    looks_us: npt.NDArray[np.int64] | None = None

    @property
    def seen_us(self) -> npt.NDArray[np.int64]:
        """Every time at which somebody looked, ascending, µs: with a box, with boxes left out, or with nothing."""
        listed = () if self.looks_us is None else self.looks_us
        return np.unique(np.concatenate((self.boxes.t, self.left_out_us, np.asarray(listed, np.int64))))

    @property
    def counts(self) -> dict[str, int]:
        """Flat counts: in_file, kept, clipped_to_frame, without_track if any, and one ``dropped_…`` a rule."""
        counts = {"in_file": self.in_file, "kept": len(self.boxes), "clipped_to_frame": self.clipped}
        if self.without_track:
            counts["without_track"] = self.without_track
        return {**counts, **{f"dropped_{rule}": count for rule, count in self.dropped.items()}}


def warn_once(found: Sequence[tuple[Path | str, Mapping[str, str]]], said: set[str] | None = None) -> None:
    """Say of each kind of warning of a set's label files, once: in how many of them it is, and what the first says.

    Args:
        found: of each label file its name and its warnings.
        said: kinds that have been said of the set before and are not said again; those said now are added.
    """
    said = set() if said is None else said
    kinds = dict.fromkeys(kind for _, warnings in found for kind in warnings if kind not in said)
    said.update(kinds)
    for kind in kinds:
        files = [(path, warnings[kind]) for path, warnings in found if kind in warnings]
        path, sentence = files[0]
        others = f" (so in {len(files)} of {len(found)} label files)" if len(found) > 1 else ""
        log.warning("%s: %s%s", path, sentence, others)
