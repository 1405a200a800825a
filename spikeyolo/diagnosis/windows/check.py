"""Windows: whether there are any, what they hold, and what of the labels gets lost on the way to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spikeyolo.diagnosis.deadline import Deadline
from spikeyolo.diagnosis.finding import Section, share
from spikeyolo.diagnosis.labels.polarity import one_sided
from spikeyolo.diagnosis.windows.boxes import (
    SMALLEST_STRIDE,
    class_counts,
    imbalance,
    missing_classes,
    small_boxes,
    without_events,
)
from spikeyolo.diagnosis.windows.counted import Counted, count_windows, spread_words
from spikeyolo.diagnosis.windows.events import hot_pixels
from spikeyolo.diagnosis.windows.few import too_few
from spikeyolo.diagnosis.windows.fitting import windows_of
from spikeyolo.diagnosis.windows.known import unknown_steps
from spikeyolo.diagnosis.windows.lost import dropped, few_boxes, lost, no_labels, no_val_labels, repeated
from spikeyolo.diagnosis.written import Written
from spikeyolo.metrics.protocols import Protocol
from spikeyolo.report.pictures.diagnosis import draw_histogram
from spikeyolo.windows.data import EventData
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.parts import Part

COUNTING_S = 15.0


def check_windows(
    data: EventData,
    parts: Sequence[Part],
    val_parts: Sequence[Part],
    recordings: Sequence[Written],
    *,
    protocol: Protocol,
    whole: bool,
    mended: bool,
    deadline: Deadline | None = None,
) -> tuple[Section, WindowDataset | None]:
    """Look at what training would see; without labels, at windows that slide over the recordings.

    Args:
        parts, val_parts: of training and of validation.
        recordings: those of ``parts``, with what cleaning did to their labels.
        protocol: whose smallest boxes count.
        whole: whether ``parts`` are all that the set has.
        mended: whether labels were mended, so that the counts of ``recordings`` are not those of ``parts``.
        deadline: until when windows are counted; None counts for 15 s.
    """
    section = Section("windows")
    missing = no_labels(parts, recordings, data)
    section.findings += [] if missing is None else [missing]
    if not mended:
        section.findings += dropped(recordings)
    dataset = windows_of(parts, data, section, labelled=missing is None)
    if dataset is None or not len(dataset):
        return section, None
    seconds = COUNTING_S if deadline is None else min(COUNTING_S, deadline.left)
    found = count_windows(dataset, seconds=seconds)
    section.facts += [
        ("looked at", f"{found.looked_at} of {found.windows} training windows of {len(parts)} recordings"),
        ("events a slice", spread_words(found.events.ravel())),
        ("events a window", spread_words(found.events.sum(1))),
        ("slices without events", share(float((found.events == 0).mean()))),
    ]
    section.pictures["events_a_slice"] = lambda path: draw_histogram(
        path, found.events.ravel().astype(np.float64), label="events a slice"
    )
    if missing is None:
        _labelled(section, found, dataset, data, parts, val_parts, recordings,
                  protocol=protocol, whole=whole, mended=mended)  # fmt: skip
    else:
        section.unknown.append(
            "which windows show a box, what of the labels gets lost, how large and how frequent objects are and "
            "whether they make events: there are no labels"
        )
        section.findings += one_sided(list(found.on), list(found.on.values()))
        section.findings += too_few(found, dataset.rules, parts)
    section.findings += hot_pixels(found, data)
    return section, dataset


def _labelled(
    section: Section,
    found: Counted,
    dataset: WindowDataset,
    data: EventData,
    parts: Sequence[Part],
    val_parts: Sequence[Part],
    recordings: Sequence[Written],
    *,
    protocol: Protocol,
    whole: bool,
    mended: bool,
) -> None:
    """What labels tell of windows."""
    labelled = found.with_boxes / max(found.looked_at, 1)
    section.findings += missing_classes(parts, data, whole)
    section.findings += too_few(found, data.rules, parts)
    section.findings += lost(parts, data)
    section.findings += unknown_steps(found, dataset, parts)
    section.findings += few_boxes(labelled, data)
    section.findings += repeated(parts, recordings, mended)
    section.findings += small_boxes(found, data, val_parts, protocol)
    section.findings += without_events(found, data)
    section.findings += imbalance(parts, data)
    section.findings += no_val_labels(val_parts, recordings, data)
    section.facts += [
        ("windows with boxes", share(labelled)),
        ("boxes in classes", ", ".join(f"{name} {n}" for name, n in zip(data.classes, class_counts(parts, data)))),
        ("shorter side of boxes in the frame", f"{spread_words(found.side_px)} px"),
        ("events in a true box", spread_words(found.in_box)),
        ("boxes without events", share(float((found.in_box == 0).mean()) if len(found.in_box) else 0.0)),
    ]
    section.pictures["box_sides"] = lambda path: draw_histogram(
        path, found.side_px, label="shorter side of true boxes, px", marks=(("smallest stride", SMALLEST_STRIDE),)
    )
