"""From the tables of a split to what they score, and the files that show it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikeyolo import __version__
from spikeyolo.detections import DetectionTable, GroundTruth, Looks, coco, mot, prophesee
from spikeyolo.detections.clock import OFFSETS, Clock, to_camera
from spikeyolo.detections.exchange import read_any
from spikeyolo.detections.pieces import read_at
from spikeyolo.detections.table import empty, read_metadata, row_count
from spikeyolo.engine.checkpoints.files import replace_text
from spikeyolo.errors import DetectionError
from spikeyolo.evaluation.tables.stored_truth import StoredTruth, in_frame, of_step, own_step, ran_at
from spikeyolo.evaluation.tables.tables import Tables
from spikeyolo.metrics.protocols import Protocol
from spikeyolo.metrics.score import Judged, score, step_figures
from spikeyolo.metrics.scores import Scores
from spikeyolo.metrics.tracking import TrackingScores, track_scores
from spikeyolo.tracking import Tracker, track_table, usual_step_us

log = logging.getLogger("spikeyolo")


@dataclass(frozen=True)
class Outcome:
    """What a split's tables score.

    Attributes:
        tables: they themselves.
        folder: of the result.
        scores: under the protocol.
        found, truth: what was scored.
        made: how: the table's metadata without lists of times, JSON values.
        costs: see :func:`spikeyolo.evaluation.costs.measure`; empty where nothing was measured.
        pixels: in which sizes were meant.
        tracks: what the detections' track ids score; None where one side has none to score.
        frames: when the detector ran, where that is known.
    """

    tables: Tables
    folder: Path
    scores: Scores
    found: DetectionTable
    truth: GroundTruth
    made: Mapping[str, Any]
    costs: Mapping[str, Any] = field(default_factory=dict)
    pixels: str = "sensor"
    tracks: TrackingScores | None = None
    frames: Looks | None = None

    def figures(self) -> dict[str, float]:
        """Every figure of accuracy; those of tracks as ``track/hota`` …."""
        of_tracks = {} if self.tracks is None else self.tracks.flat()
        return self.scores.flat() | {f"track/{name}": value for name, value in of_tracks.items()}

    def flat(self) -> dict[str, float]:
        """Every figure, for a logger: ``SPLIT/map50`` …, with those of energy and speed."""
        costs = {name: value for name, value in self.costs.items() if isinstance(value, float | int)}
        return {f"{self.tables.split}/{name}": value for name, value in self.figures().items()} | costs

    def table(self) -> str:
        """Text for a terminal."""
        return self.scores.table() + ("" if self.tracks is None else f"\n\n{self.tracks.table()}")

    def write(self) -> Path:
        """Write ``scores.json``, whole or not at all.

        Raises:
            DetectionError: it cannot be written.
        """
        path = self.folder / "scores.json"
        figures = {name: value if math.isfinite(value) else None for name, value in self.figures().items()}
        content = {
            "spikeyolo": __version__,
            "split": self.tables.split,
            "pixels": self.pixels,
            "figures": figures,
            "costs": dict(self.costs),
            "made": dict(self.made),
            "scores": json.loads(self.scores.json()),
            "tracks": None if self.tracks is None else json.loads(self.tracks.json()),
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
        except OSError as error:
            raise DetectionError(f"{path}: cannot be written ({error.strerror or error})") from error
        return path


def read_tables(
    tables: Tables, *, embeddings: bool = False, whole: bool = True
) -> tuple[StoredTruth, DetectionTable, int]:
    """What is true, and what was found, with the truth's class ids, and with embeddings if a tracker wants them; and
    how many rows of the latter were left out.

    Args:
        tables: of a split.
        embeddings: read them, where there are some.
        whole: False leaves out what scores do not depend on: where our own table is of whole recordings, the rows at
            times at which nothing is known.

    Raises:
        DetectionError: one cannot be read, or they hold no class names.
    """
    stored = StoredTruth.read(tables.truth, classes=tables.classes)
    known = None if whole or tables.detections.suffix != ".parquet" else _known_at(tables.detections, stored)
    if known is not None:
        found = read_at(tables.detections, known, classes=stored.table.classes)
        return stored, found, row_count(tables.detections) - len(found)
    images = tables.truth if tables.truth.suffix == ".json" else None
    return stored, read_any(tables.detections, classes=stored.table.classes, images=images, embeddings=embeddings), 0


def _known_at(path: Path, stored: StoredTruth) -> Looks | None:
    """The times at which rows of a table count, if it was made with its truth from whole recordings; else None."""
    truth, looks = stored.scored(), stored.metadata.get("looks")
    if stored.scored_step is not None or not isinstance(looks, dict):
        return None
    if ran_at(empty(metadata=read_metadata(path)), stored, truth) is not truth.looks:
        return None
    steps = [looks, *(stored.metadata.get("step_looks") or ())]
    names = dict.fromkeys(name for times in steps for name in times)
    return Looks.named({name: [t_us for times in steps for t_us in times.get(name, ())] for name in names})


def scored(
    tables: Tables,
    protocol: Protocol,
    stored: StoredTruth,
    found: DetectionTable,
    *,
    pixels: str = "sensor",
    folder: Path | None = None,
    events: npt.NDArray[np.int64] | None = None,
    costs: Mapping[str, Any] | None = None,
    tracker: Tracker | None = None,
    left_out: int = 0,
) -> Outcome:
    """Score the tables.

    Args:
        tables: of a split.
        protocol: which boxes and times count.
        stored, found: as read.
        pixels: in which sizes of boxes are meant: ``sensor``, or ``frame``, as the training's own figures have it.
        folder: of the result; None: the protocol's name beside the tables.
        events: in each true box that is scored.
        costs: to be shown beside the scores.
        tracker: that gives the detections their tracks; None: those that they have.
        left_out: rows that were not read, see :func:`read_tables`.

    Raises:
        DetectionError: the tables do not fit one another.
        ConfigError: the protocol's classes do not fit.
    """
    if pixels == "frame":
        scale = stored.scale()
        stored, found = replace(stored, table=in_frame(stored.table, scale)), in_frame(found, scale)
    truth = stored.scored(events)
    if tracker is not None:
        found = track_table(found, tracker, step_us=usual_step_us(found))
    step = own_step(found, stored)
    last, frames = of_step(found, step), ran_at(found, stored, truth)
    scores = score(last, truth, protocol, frames=frames)
    unread = {"detections_left_out": scores.counts["detections_left_out"] + left_out}
    scores = replace(scores, counts={**scores.counts, **unread})
    tracks = None
    if tracker is not None or ((last.track_id >= 0).any() and (truth.boxes.track_id >= 0).any()):
        try:
            tracks = track_scores(last, truth, protocol, frames=frames)
        except DetectionError as error:
            if tracker is not None:  # they were asked for
                raise
            log.warning("%s: its detections are scored, its tracks are not: %s", tables.detections, error)
    if len(last) + left_out and not scores.counts["detections"]:
        log.warning(
            "%s: none of %d detections counts: at no label time within protocol.time_tolerance_us=%d, or too small",
            tables.detections,
            len(last) + left_out,
            protocol.time_tolerance_us,
        )
    # Steps of other windows than the truth's end at other times.
    truths = {i: stored.at_step(i) for i in range(stored.steps if step == stored.scored_step else 0)}
    scores = replace(scores, per_step=step_figures(found, truths, protocol))
    made = {
        key: value
        for key, value in {**stored.metadata, **found.metadata}.items()
        if key not in ("looks", "step_looks", "recordings", "classes", OFFSETS)
    }
    if tracker is not None:
        made["tracker"] = {"name": type(tracker).__name__, **asdict(tracker)}  # type: ignore[call-overload]
    folder = folder or tables.folder / protocol.name
    return Outcome(tables, folder, scores, last, truth, made, costs or {}, pixels, tracks, frames)


def save_as(outcome: Outcome, formats: Sequence[str], *, clock: Clock = "start") -> list[Path]:
    """Write the scored detections in other programs' formats beside the tables, their times on the clock.

    Raises:
        DetectionError: one cannot be written, or the cameras' clocks are not known.
    """
    folder, found, looks = outcome.tables.folder, outcome.found, outcome.truth.looks
    if formats and clock == "camera":
        offsets_us = {**outcome.truth.boxes.metadata.get(OFFSETS, {}), **found.metadata.get(OFFSETS, {})}
        found, looks = to_camera(found, offsets_us), to_camera(looks, offsets_us)
    written = []
    if "coco" in formats:
        written.append(coco.write(found, folder / "detections.json", looks=looks))
    if "prophesee" in formats:
        written.append(prophesee.write(found, folder / "prophesee"))
    if "mot" in formats:
        written.append(mot.write(found, folder / "mot", looks=looks))
    return written


def worst_looks(judged: Judged, threshold: float, count: int) -> npt.NDArray[np.int64]:
    """The images with most errors at IoU 0.50, the worst first, ``[L, 3]``: image, objects missed by detections from
    ``threshold`` on, and such detections of nothing."""
    evaluation = judged.evaluation(areas=False)
    scores = np.append(evaluation.found.score, -1.0)
    missed = ~(scores[evaluation.pairs] >= threshold)
    false = ~evaluation.matched & (evaluation.found.score >= threshold)
    images = len(judged.image_recording)
    errors = np.column_stack(
        [np.bincount(of, minlength=images) for of in (judged.truth.image[missed], judged.found.image[false])]
    )
    total = errors.sum(1)
    order = np.argsort(-total, kind="stable")[:count]
    order = order[total[order] > 0]
    return np.column_stack((order, errors[order]))
