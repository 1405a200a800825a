"""Windows: whether there are any, what they hold, and what of the labels gets lost on the way to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spikeyolo.diagnosis.finding import Finding, Section, share
from spikeyolo.diagnosis.windows.boxes import (
    SMALLEST_STRIDE,
    class_counts,
    imbalance,
    missing_classes,
    small_boxes,
    without_events,
)
from spikeyolo.diagnosis.windows.counted import Counted, count_windows, rounded, spread_words
from spikeyolo.diagnosis.windows.lost import dropped, lost, no_labels, repeated
from spikeyolo.diagnosis.written import Written
from spikeyolo.errors import ConfigError
from spikeyolo.metrics.protocols import Protocol
from spikeyolo.report.pictures.diagnosis import draw_histogram
from spikeyolo.windows.data import EventData
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.parts import Part

EMPTY_SLICES = 0.5  # share of slices of labelled windows without any event
HOT = 0.5  # share of events in pixels that have fifty times those of the usual one


def check_windows(
    data: EventData,
    parts: Sequence[Part],
    val_parts: Sequence[Part],
    recordings: Sequence[Written],
    *,
    protocol: Protocol,
    whole: bool,
    mended: bool,
) -> tuple[Section, WindowDataset | None]:
    """Look at what training would see.

    Args:
        parts, val_parts: of training and of validation.
        recordings: those of ``parts``, with what cleaning did to their labels.
        protocol: whose smallest boxes count.
        whole: whether ``parts`` are all that the set has.
        mended: whether labels were mended, so that the counts of ``recordings`` are not those of ``parts``.
    """
    section = Section("windows")
    missing = no_labels(parts, recordings, data)
    if missing is not None:
        section.findings.append(missing)
    if not mended:
        section.findings += dropped(recordings)
    try:
        dataset = WindowDataset(parts, rules=data.rules, encoder=data.encoder, role="train")
    except ConfigError as error:
        section.unknown.append(str(error))
        if missing is None:
            section.findings.append(_no_windows(data, parts, str(error)))
        return section, None
    if not len(dataset):
        return section, None
    found = count_windows(dataset)
    labelled = found.with_boxes / max(found.looked_at, 1)
    section.facts += [
        ("looked at", f"{found.looked_at} of {found.windows} training windows of {len(parts)} recordings"),
        ("windows with boxes", share(labelled)),
        ("events a slice", spread_words(found.events.ravel())),
        ("slices without events", share(float((found.events == 0).mean()))),
    ]
    section.pictures["events_a_slice"] = lambda path: draw_histogram(
        path, found.events.ravel().astype(np.float64), label="events a slice"
    )
    if missing is None:
        section.findings += missing_classes(parts, data, whole)
        section.findings += _empty(found, data)
        section.findings += lost(found, parts, data, labelled)
        section.findings += repeated(parts, recordings, mended)
        section.findings += small_boxes(found, data, val_parts, protocol)
        section.findings += without_events(found, data)
        section.findings += imbalance(parts, data)
        section.facts += [
            ("boxes in classes", ", ".join(f"{name} {n}" for name, n in zip(data.classes, class_counts(parts, data)))),
            ("shorter side of boxes in the frame", f"{spread_words(found.side_px)} px"),
            ("boxes without events", share(float((found.in_box == 0).mean()) if len(found.in_box) else 0.0)),
        ]
        section.pictures["box_sides"] = lambda path: draw_histogram(
            path, found.side_px, label="shorter side of true boxes, px", marks=(("smallest stride", SMALLEST_STRIDE),)
        )
        if val_parts and not any(len(part.inside) for part in val_parts):
            section.findings.append(
                Finding(
                    "no_val_labels",
                    f"none of {len(val_parts)} validation recordings has a box: mAP is not defined",
                    remedy="give validation labelled recordings (data.val_split, data.val_share, data.train_until_us)",
                )
            )
    section.findings += _hot(found)
    return section, dataset


def _no_windows(data: EventData, parts: Sequence[Part], sentence: str) -> Finding:
    longest = max(part.end_us - part.start_us for part in parts)
    steps = max(1, min(data.rules.time_steps, longest // (2 * data.rules.slice_duration_us)))
    fits = steps * data.rules.slice_duration_us <= longest
    override = f"data.time_steps={steps}" if fits else f"data.slice_duration_us={longest // 2 // data.rules.time_steps}"
    return Finding("no_windows", sentence, overrides=(override,))


def _empty(found: Counted, data: EventData) -> list[Finding]:
    empty = float((found.events == 0).mean())
    if empty <= EMPTY_SLICES:
        return []
    rate = float(found.events.sum()) / found.events.size / data.rules.slice_duration_us  # events a µs
    longer = rounded(20 / rate) if rate > 0 else 10 * data.rules.slice_duration_us
    return [
        Finding(
            "empty_slices",
            f"{share(empty)} of slices of {data.rules.slice_duration_us} µs hold no event: there is nothing to see",
            overrides=(f"data.slice_duration_us={longer}",),
            evidence=(("events a slice", spread_words(found.events.ravel())),),
            draw=lambda path: draw_histogram(path, found.events.ravel().astype(np.float64), label="events a slice"),
        )
    ]


def _hot(found: Counted) -> list[Finding]:
    active = found.pixel_events[found.pixel_events > 0]
    if not len(active):
        return []
    hot = active[active > 50 * max(float(np.median(active)), 1.0)]
    part = float(hot.sum()) / float(active.sum())
    if part <= HOT:
        return []
    return [
        Finding(
            "hot_pixels",
            f"{len(hot)} pixels give {share(part)} of the events: they are damaged, or a lamp flickers",
            overrides=("data.filters.hot_pixel_factor=50",),
            evidence=(("active pixels", str(len(active))), ("hot", str(len(hot)))),
        )
    ]
