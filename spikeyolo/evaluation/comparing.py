"""Configurations held against the first one: mean figures over their seeds, differences, and how sure these are."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spikeyolo.detections import GroundTruth, Looks
from spikeyolo.detections.table import read_metadata
from spikeyolo.errors import ConfigError, DetectionError
from spikeyolo.evaluation.entrants import Entrant
from spikeyolo.evaluation.tables.stored_truth import StoredTruth, of_step, own_step, ran_at
from spikeyolo.metrics.comparison import paired_difference
from spikeyolo.metrics.protocols import Protocol
from spikeyolo.metrics.resample import MeanPrecision, ResampledPrecision
from spikeyolo.metrics.score import judge
from spikeyolo.report.pictures.comparison import ComparedRow

log = logging.getLogger("spikeyolo")

FIGURES = ("map50", "map", "map75")


def compared(
    groups: Sequence[Sequence[Entrant]],
    protocol: Protocol,
    *,
    metric: str = "map50",
    truth: Path | None = None,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
    force: bool = False,
) -> list[ComparedRow]:
    """One row a configuration, the first one first.

    Args:
        groups: runs of one configuration together (its seeds).
        protocol: which boxes and times count.
        metric: ``map``, ``map50``, ``map75``, ``ap/CLASS`` or ``ap50/CLASS``.
        truth: what all are scored against; None takes that beside the first table.
        confidence: of the intervals.
        draws: resamples of the recordings.
        seed: of the draws.
        force: compare tables of different data.

    Raises:
        ConfigError: the tables are of different data, or there is no such metric.
        DetectionError: a table does not fit the truth, or there is no truth.
    """
    entrants = [entrant for group in groups for entrant in group]
    _check_data(entrants, force=force)
    file = truth or next((entrant.truth for entrant in entrants if entrant.truth is not None), None)
    if file is None:
        raise DetectionError(f"{entrants[0].name}: has no truth.parquet beside its table; expected truth=FILE")
    stored = StoredTruth.read(file)
    scored = stored.scored()
    names = list(dict.fromkeys((metric, *FIGURES)))
    known = _common(scored, entrants) if force else None
    if known is not None:
        scored = _restricted(scored, known)
    scored = _where_all_ran(scored, entrants)
    means: list[dict[str, MeanPrecision]] = []
    for group in groups:
        judged = []
        for entrant in group:
            table = of_step(entrant.table, own_step(entrant.table, stored))
            if known is not None:
                table = table[np.isin(np.array([*table.recordings, ""])[table.recording], sorted(known))]
            frames = scored.looks if _own_looks(entrant) else ran_at(table, stored, scored)
            judged.append(judge(table, scored, protocol, frames=frames))
        means.append({name: MeanPrecision([ResampledPrecision.of(one, name) for one in judged]) for name in names})
    rows: list[ComparedRow] = []
    for group, mean in zip(groups, means, strict=True):
        figures = {name: mean[name].figure() for name in names}
        each = mean[metric].each()
        spread = float(np.std(each, ddof=1)) if len(each) > 1 else math.nan
        row = ComparedRow(group[0].name, len(group), figures, spread)
        if rows:
            found = paired_difference(means[0][metric], mean[metric], draws=draws, confidence=confidence, seed=seed)
            row = replace(
                row,
                difference=found.difference,
                low=found.low,
                high=found.high,
                over_recordings=found.over_recordings,
                verdict=found.words(),
            )
        rows.append(row)
    alone = [row.name for row in rows[1:] if min(row.seeds, rows[0].seeds) < 2]
    if alone:
        log.info("compare: the interval of %s is over recordings alone: one side has a single seed", ", ".join(alone))
    return rows


def _check_data(entrants: Sequence[Entrant], *, force: bool) -> None:
    first = entrants[0]
    for other in entrants[1:]:
        if None in (first.data_digest, other.data_digest) or first.data_digest == other.data_digest:
            continue
        sentence = (
            f"compare: {first.name} was evaluated on the data {first.data_digest}, {other.name} on {other.data_digest}"
        )
        if not force:
            raise ConfigError(f"{sentence}; expected the same, or force=true for the recordings that all have")
        log.warning("%s: compared over the recordings that all have", sentence)


def _common(truth: GroundTruth, entrants: Sequence[Entrant]) -> set[str]:
    """Recordings that the truth and every table know.

    Raises:
        ConfigError: there is none.
    """
    known = set(truth.looks.recordings)
    for entrant in entrants:
        known &= set(entrant.table.metadata.get("recordings") or entrant.table.recordings)
    if not known:
        raise ConfigError("compare: the tables have no recording in common; expected at least one")
    return known


def _where_all_ran(truth: GroundTruth, entrants: Sequence[Entrant]) -> GroundTruth:
    """The truth at the looks that all evaluations have: longer windows leave out earlier labels, for instance.

    Raises:
        ConfigError: there is none.
    """
    looks = truth.looks
    seen = np.ones(len(looks), np.bool_)
    for entrant in entrants:
        times = _own_looks(entrant)
        if times:
            seen &= Looks.named(times).hold(looks)
    if seen.all():
        return truth
    if not seen.any():
        raise ConfigError(f"compare: no time was scored in all evaluations; expected {_as_labels_have_it(entrants)}")
    log.warning("compare: of %d times those that all evaluations scored are compared, %d", len(looks), seen.sum())
    return _at(truth, seen)


def _as_labels_have_it(entrants: Sequence[Entrant]) -> str:
    """The evaluations that make entrants comparable: at the times of labels, which are the same for all."""
    others = [one for one in entrants if one.windows not in (None, "around_labels") and one.checkpoint is not None]
    if not others:
        return "the same windows=… of evaluate"
    found = ", ".join(f"{one.name}: windows={one.windows}" for one in entrants if one.windows is not None)
    commands = [
        f"python -m spikeyolo.evaluate checkpoint={one.checkpoint} split={one.split} windows=around_labels"
        for one in others
    ]
    return f"the same windows (found {found}), as after {' && '.join(dict.fromkeys(commands))}"


def _own_looks(entrant: Entrant) -> Mapping[str, Sequence[int]]:
    """The times that an evaluation of ours scored, µs, by recording; nothing of another program's table."""
    if entrant.truth is None or entrant.data_digest is None:
        return {}
    looks: Mapping[str, Sequence[int]] = read_metadata(entrant.truth).get("looks") or {}
    return looks


def _restricted(truth: GroundTruth, known: set[str]) -> GroundTruth:
    """The truth of some recordings."""
    return _at(truth, np.isin(np.array([*truth.looks.recordings, ""])[truth.looks.recording], sorted(known)))


def _at(truth: GroundTruth, seen: npt.NDArray[np.bool_]) -> GroundTruth:
    """The truth at some of its looks, ``[L]``."""
    looks = replace(truth.looks, recording=truth.looks.recording[seen], t_us=truth.looks.t_us[seen])
    rows = looks.hold(truth.boxes)
    return replace(
        truth,
        boxes=truth.boxes[rows],
        looks=looks,
        events=None if truth.events is None else truth.events[rows],
    )
