"""True boxes as a network sees them: of which classes, how small, with how many events."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spikeyolo.diagnosis.finding import Finding, listed, name_list, share
from spikeyolo.diagnosis.windows.counted import Counted, spread_words
from spikeyolo.diagnosis.windows.few import bare_boxes, longer
from spikeyolo.metrics.protocols import Protocol
from spikeyolo.report.pictures.diagnosis import draw_bars, draw_histogram
from spikeyolo.windows.data import EventData
from spikeyolo.windows.parts import Part

SMALLEST_STRIDE = 8  # px of the frame between the finest anchor points
RARE = 0.02  # share of boxes of a class, below which it is learnt late


def missing_classes(parts: Sequence[Part], data: EventData, whole: bool) -> list[Finding]:
    """Classes without a box, where the whole set was looked at."""
    counts = class_counts(parts, data)
    absent = [name for name, number in zip(data.classes, counts) if not number]
    if not absent or not whole:
        return []
    present = [name for name in data.classes if name not in absent]
    return [
        Finding(
            "class_missing",
            f"no box of {listed(absent)} in {len(parts)} training recordings: "
            f"{'it' if len(absent) == 1 else 'they'} cannot be learnt, and mAP counts what is never found",
            overrides=(f"data.classes={name_list(present)}",),
            evidence=tuple((name, str(number)) for name, number in zip(data.classes, counts)),
            draw=lambda path: draw_bars(path, list(zip(data.classes, map(float, counts))), label="boxes"),
        )
    ]


def imbalance(parts: Sequence[Part], data: EventData) -> list[Finding]:
    """Classes with very few of the boxes."""
    counts = class_counts(parts, data)
    every = sum(counts)
    rare = [name for name, number in zip(data.classes, counts) if 0 < number < RARE * every]
    if not rare or data.sampling == "balanced":
        return []
    return [
        Finding(
            "imbalance",
            f"{listed(rare)} {'has' if len(rare) == 1 else 'have'} less than {share(RARE)} of {every} boxes",
            overrides=("data.sampling=balanced", "loss.class_weights=effective_number"),
            evidence=tuple((name, str(number)) for name, number in zip(data.classes, counts)),
            draw=lambda path: draw_bars(path, list(zip(data.classes, map(float, counts))), label="boxes"),
        )
    ]


def small_boxes(found: Counted, data: EventData, val_parts: Sequence[Part], protocol: Protocol) -> list[Finding]:
    """Boxes too small for the anchor points, or for the protocol."""
    findings = []
    small = float((found.side_px < SMALLEST_STRIDE).mean()) if len(found.side_px) else 0.0
    if small > 0.5:
        factor = getattr(data.encoder, "downsample", 1)
        overrides = (f"data.encoder.downsample={max(1, factor // 2)}",) if factor > 1 else ()
        findings.append(
            Finding(
                "small_boxes",
                f"{share(small)} of the boxes are narrower or lower than {SMALLEST_STRIDE} px of the frame, the "
                "distance of the finest anchor points",
                remedy=""
                if overrides
                else "the finest anchor points are too coarse for them, and frames have all the pixels of the sensor: "
                "a longer lens or a finer sensor helps",
                overrides=overrides,
                evidence=(("shorter side", f"{spread_words(found.side_px)} px"),),
                draw=lambda path: draw_histogram(
                    path,
                    found.side_px,
                    label="shorter side of true boxes, px",
                    marks=(("smallest stride", SMALLEST_STRIDE),),
                ),
            )
        )
    boxes = np.concatenate([*(part.inside.xyxy for part in val_parts), np.empty((0, 4), np.float32)])
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    if len(sides) and (protocol.min_side or protocol.min_diagonal):
        left_out = (sides.min(1) < protocol.min_side) | (np.hypot(*sides.T) < protocol.min_diagonal)
        if float(left_out.mean()) > 0.5:
            findings.append(
                Finding(
                    "protocol_sizes",
                    f"protocol={protocol.name} leaves out {share(float(left_out.mean()))} of the true boxes as too "
                    f"small (sides below {protocol.min_side:g} px, diagonals below {protocol.min_diagonal:g} px)",
                    overrides=("protocol=coco",),
                    entry="evaluate",
                    draw=lambda path: draw_histogram(
                        path,
                        sides.min(1),
                        label="shorter side of true boxes, px of the sensor",
                        marks=(("smallest that counts", max(protocol.min_side, 1.0)),),
                    ),
                )
            )
    return findings


def without_events(found: Counted, data: EventData) -> list[Finding]:
    """Boxes in which nothing moves."""
    if not bare_boxes(found):
        return []
    bare = float((found.in_box == 0).mean())
    rules = data.rules
    return [
        Finding(
            "boxes_without_events",
            f"{share(bare)} of the true boxes hold no event in their window of {rules.duration_us} µs: objects that "
            "stand still cannot be seen",
            remedy="longer windows see slower objects; leave out of the labels what never moves",
            overrides=(longer(rules, 4 * rules.slice_duration_us),),
            evidence=(("events in a box", spread_words(found.in_box)),),
            draw=lambda path: draw_histogram(path, found.in_box.astype(np.float64), label="events in a true box"),
        )
    ]


def class_counts(parts: Sequence[Part], data: EventData) -> list[int]:
    """Boxes of each class."""
    ids = np.concatenate([*(part.inside.class_id for part in parts), np.empty(0, np.int64)])
    return [int(number) for number in np.bincount(ids.astype(np.int64), minlength=len(data.classes))]
