"""Everything that an evaluation leaves of one split: scores, figures, the page, other formats."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spikeyolo.entry import flatten
from spikeyolo.evaluation import pictures
from spikeyolo.evaluation.outcome import Outcome, read_tables, save_as, scored
from spikeyolo.evaluation.tables.tables import Tables
from spikeyolo.metrics.protocols import Protocol
from spikeyolo.report.pages.page import write_page
from spikeyolo.tracking import Tracker
from spikeyolo.windows import EventData, Part

_DIGEST = re.compile("[0-9a-f]{64}")
# What tables tell of their making for programs, or in words that the page has elsewhere.
_INSIDE = frozenset(
    ("data", "detecting", "encoder", "ended", "identity", "looks", "recordings", "runs", "scale", "scored_step",
     "spikeyolo", "step_looks", "time_offset_us", "windows")
)  # fmt: skip
# Where the class says what was chosen.
_CHOSEN = {"data.dataset._target_": "data.dataset", "data.encoder._target_": "data.encoder"}


@dataclass(frozen=True)
class Seen:
    """The recordings behind the tables, where they are at hand.

    Attributes:
        data: the data set.
        parts: its recordings of the split.
    """

    data: EventData
    parts: Sequence[Part]


def present(
    tables: Tables,
    protocol: Protocol,
    options: Mapping[str, Any],
    *,
    command: str,
    seen: Seen | None = None,
    costs: Mapping[str, Any] | None = None,
    tracker: Tracker | None = None,
) -> Outcome:
    """Score the tables and write ``scores.json``, figures as PNG and CSV, and ``evaluation.html``.

    Args:
        tables: of one split.
        protocol: which boxes and times count.
        options: of the entry point.
        command: that makes the same again.
        seen: the recordings; None: neither pictures of windows nor events in boxes.
        costs: to be shown beside the scores.
        tracker: that gives the detections their tracks; None: those that they have.

    Raises:
        SpikeyoloError: the tables cannot be scored, or a file cannot be written.
    """
    whole = tracker is not None or bool(options["save"])  # these see every row
    stored, found, left_out = read_tables(tables, embeddings=tracker is not None, whole=whole)
    events = None
    if seen is not None:
        events = pictures.events_in_boxes(stored.scored(), seen.parts, window_us=seen.data.rules.duration_us)
    scoring: dict[str, Any] = {"pixels": options["pixels"], "events": events, "costs": costs, "tracker": tracker}
    outcome = scored(tables, protocol, stored, found, left_out=left_out, **scoring)
    slice_us = outcome.made.get("slice_duration_us")
    drawn = pictures.draw(outcome, slice_duration_us=slice_us if isinstance(slice_us, int) else None)
    worst = None if seen is None else pictures.draw_worst(outcome, protocol, data=seen.data, parts=seen.parts)
    why = "the recordings are not at hand (data=NAME data.root=PATH)" if seen is None else "no error"
    name = outcome.made.get("checkpoint", tables.detections)
    counts = outcome.scores.counts
    write_page(
        outcome.folder / "evaluation.html",
        title=f"{tables.split}, {protocol.name} protocol",
        subtitle=f"{name}: {counts['recordings']} recordings, {counts['looks']} looks; "
        + str(outcome.made.get("windows", "a table of another program")),
        scores=outcome.scores,
        tracks=outcome.tracks,
        costs=outcome.costs,
        figures=drawn,
        worst=worst,
        no_worst=f"No picture: {why}.",
        settings=shown_settings(outcome),
        command=command,
    )
    save_as(outcome, options["save"], clock=options["clock"])
    outcome.write()  # last: where it is, everything is
    return outcome


def shown_settings(outcome: Outcome) -> dict[str, Any]:
    """The same for a reader: what is set, under the names by which a command sets it, each once, without digests and
    what else only programs ask for."""
    made = {key: value for key, value in outcome.made.items() if key not in _INSIDE}
    identity = {key: value for key, value in (outcome.made.get("identity") or {}).items() if key not in _INSIDE}
    windows, detecting = (dict((outcome.made.get("identity") or {}).get(key) or {}) for key in ("windows", "detecting"))
    protocol = flatten(dict(outcome.scores.protocol), "protocol")
    data = flatten(dict(outcome.made.get("data") or {}), "data")
    if data:  # which tell it too
        made = {key: value for key, value in made.items() if f"data.{key}" not in data}
    of_command = {"windows": windows.get("windows"), **detecting, "pixels": outcome.pixels}
    shown: dict[str, Any] = {}
    for part in (flatten(made), flatten(identity), of_command, protocol, data):
        for key, value in part.items():
            if value is None or value == [] or (isinstance(value, str) and _DIGEST.fullmatch(value)):
                continue
            if key in _CHOSEN:
                shown.setdefault(_CHOSEN[key], str(value).rpartition(".")[2])
            elif not key.endswith("_target_") and not _is_told(key, value, data):
                shown.setdefault(key, value)
    return shown


def _is_told(key: str, value: Any, data: Mapping[str, Any]) -> bool:
    """Whether a value of a data set stands under the key that set it too."""
    if not key.startswith("data.dataset."):
        return False
    inner = key.removeprefix("data.dataset.")
    for given in (inner, inner.rpartition(".")[2], f"label_{inner.partition('_labels.')[2]}"):
        if data.get(f"data.{given}") == value:
            return True
    return inner.startswith("val_labels.") and data.get(f"data.dataset.train_{inner[4:]}") == value


def settings_of(outcome: Outcome) -> dict[str, Any]:
    """What decided the result, flat, to be read."""
    made = {key: value for key, value in outcome.made.items() if key not in ("data", "identity")}
    identity = outcome.made.get("identity") or {}
    data = outcome.made.get("data") or {}
    return {
        **flatten(dict(outcome.scores.protocol), "protocol"),
        "pixels": outcome.pixels,
        **flatten(made),
        **flatten(dict(identity), "made from"),
        **flatten(dict(data), "data"),
    }
