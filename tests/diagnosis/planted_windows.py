"""A small stored recording with labels, healthy or with one fault planted in what its windows hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from stored import store

from spikeyolo.diagnosis.finding import Finding, Kind, Section
from spikeyolo.diagnosis.windows.check import check_windows
from spikeyolo.diagnosis.written import Written
from spikeyolo.events.types import Boxes, Events
from spikeyolo.metrics.protocols import Coco, PropheseeGen1, Protocol
from spikeyolo.windows.data import EventData
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.encoders import Encoder, HistogramEncoder
from spikeyolo.windows.parts import Part

SIDE, END_US = 96, 400_000
LOOKS = range(20_000, 390_000, 10_000)


def moving(*, side: float = 24, class_id: int = 0, times: Sequence[int] = LOOKS, track: int = 0) -> Boxes:
    """A box that moves to the right, 1 px in 10 ms."""
    t = np.asarray(times, np.int64)
    left = (t / 10_000).astype(np.float32)
    xyxy = np.stack([left, np.full_like(left, 30), left + side, np.full_like(left, 30 + side)], axis=1)
    ids = np.ones(len(t), np.int64)
    return Boxes(t, xyxy, class_id * ids, track * ids, np.ones(len(t), np.float32))


def joined(*parts: Boxes) -> Boxes:
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in Boxes.__dataclass_fields__]
    order = np.argsort(columns[0], kind="stable")
    return Boxes(*(column[order] for column in columns))


def events_of(*, count: int = 40_000, inside: bool = True, still: int = 0, on: float = 0.5) -> Events:
    """Events around the moving box, or only where it is not.

    Args:
        still: so many of them, any, are those of one pixel.
        on: share of ON events.
    """
    draw = np.random.default_rng(0)
    t = np.sort(draw.integers(0, END_US, count))
    t[0], t[-1] = 0, END_US - 1
    x = t / 10_000 + draw.uniform(0, 24, count) if inside else draw.uniform(0, SIDE, count)
    y = draw.uniform(30, 54, count) if inside else draw.uniform(70, SIDE, count)
    rows = draw.permutation(count)[:still]
    x[rows], y[rows] = 5, 5
    p = (draw.uniform(0, 1, count) < on).astype(np.uint8)
    return Events(t, x.clip(0, SIDE - 1).astype(np.uint16), y.clip(0, SIDE - 1).astype(np.uint16), p, SIDE, SIDE)


class NoSet:
    """A set of files, of which nothing is asked here."""

    def sources(self, role: str) -> list[object]:
        return []


def looked_at(
    folder: Path,
    boxes: Boxes | None,
    events: Events | None = None,
    *,
    classes: Sequence[str] = ("car",),
    counts: Mapping[str, int] | None = None,
    named: tuple[str, ...] = (),
    protocol: Protocol | None = None,
    val_boxes: Boxes | None = None,
    dataset: object = None,
    encoder: Encoder | None = None,
    end_us: int = END_US,
    **rules: Any,
) -> tuple[Section, WindowDataset | None]:
    """The section of a recording's windows, and the windows.

    Args:
        val_boxes: of the recording that validates; None: the same as those that train.
        end_us: of the recording.
        dataset: what the recordings are said to come from; None: from files.
        named: classes of the label file, where none is selected.
        rules: how windows are cut.
    """
    options: dict[str, Any] = {"slice_duration_us": 5000, "time_steps": 4, **rules}
    recording = store(folder / "a.zarr", events or events_of())
    data = EventData(
        dataset=dataset or NoSet(),  # type: ignore[arg-type]
        classes=classes,
        store=str(folder),
        encoder=encoder or HistogramEncoder(),
        **options,
    )
    part = Part(recording, boxes, 0, end_us, "a")
    validated = replace(part, boxes=boxes if val_boxes is None else val_boxes, name="b")
    number = 0 if boxes is None else len(boxes)
    written = Written("a", recording, boxes, {"in_file": number, "kept": number, **(counts or {})}, named=named)
    return check_windows(data, [part], [validated], [written], protocol=protocol or Coco(), whole=True, mended=False)


def diagnosed(folder: Path, boxes: Boxes | None, events: Events | None = None, **options: Any) -> list[Finding]:
    return looked_at(folder, boxes, events, **options)[0].findings


def names(found: Sequence[Finding]) -> list[str]:
    return [finding.name for finding in found]


# Each kind of finding → what plants it, as arguments of :func:`diagnosed`.
WINDOW_FAULTS: Mapping[Kind, Callable[[], dict[str, Any]]] = {
    "no_labels": lambda: {
        "boxes": Boxes.empty(),
        "counts": {"in_file": 37, "kept": 0, "dropped_class_not_kept": 37},
        "named": ("bus", "light truck"),
    },
    "no_windows": lambda: {"boxes": moving(), "slice_duration_us": 200_000},
    "labels_lost": lambda: {"boxes": moving(), "slice_duration_us": 75_000},
    "labels_gap": lambda: {
        "boxes": moving(times=range(100_000, 390_000, 90_000)),
        "slice_duration_us": 10_000,
        "time_steps": 8,
        "max_label_gap_us": 0,
        "temporal_buffer": 0.0,
    },
    "labels_buffer": lambda: {"boxes": moving(times=[200_000]), "slice_duration_us": 10_000, "time_steps": 8},
    "windows_without_boxes": lambda: {
        "boxes": moving(times=[200_000]),
        "slicing": "sliding",
        "overlap": 0.9,
        "targets": "last",
    },
    "dropped": lambda: {"boxes": moving(), "counts": {"in_file": 100, "kept": 37, "dropped_outside_frame": 63}},
    "duplicates": lambda: {"boxes": joined(moving(), replace(moving(track=1), xyxy=moving().xyxy + np.float32(0.25)))},
    "class_missing": lambda: {"boxes": moving(), "classes": ("car", "bus")},
    "imbalance": lambda: {
        "boxes": joined(moving(times=range(20_000, 390_000, 5_000)), moving(class_id=1, times=[100_000], track=9)),
        "classes": ("car", "bus"),
    },
    "empty_slices": lambda: {"boxes": moving(), "slice_duration_us": 4},
    "few_events": lambda: {"boxes": moving(), "slice_duration_us": 15},
    "boxes_without_events": lambda: {"boxes": moving(), "events": events_of(inside=False)},
    "small_boxes": lambda: {"boxes": moving(side=12), "encoder": HistogramEncoder(downsample=2)},
    "protocol_sizes": lambda: {"boxes": moving(side=18), "protocol": PropheseeGen1()},
    "hot_pixels": lambda: {"boxes": moving(), "events": events_of(still=30_000)},
    "no_val_labels": lambda: {"boxes": moving(), "val_boxes": Boxes.empty()},
}
