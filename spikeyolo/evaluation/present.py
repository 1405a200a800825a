"""Everything that an evaluation leaves of one split: scores, figures, the page, other formats."""

from __future__ import annotations

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
        settings=settings_of(outcome),
        command=command,
    )
    save_as(outcome, options["save"], clock=options["clock"])
    outcome.write()  # last: where it is, everything is
    return outcome


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
