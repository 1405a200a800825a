"""A small set of files as a lab has them, healthy or with one fault planted in its labels or events."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spikeyolo.events.simulator.synthetic import SyntheticDataset
from spikeyolo.events.store import Recording
from spikeyolo.events.types import Boxes, Events

LABELS = np.dtype(
    [("t", "<i8"), *((name, "<f4") for name in "xywh"), ("class_id", "<u4"), ("track_id", "<u4")], align=False
)
CLASSES = ("disc", "triangle", "cross")
SIZE = 96  # px, both sides of the sensor
Labels = npt.NDArray[np.void]


@dataclass(frozen=True, eq=False)
class Files:
    """Events and labels of one recording, as written."""

    events: Events
    labels: Labels


@functools.cache
def simulated(folder: Path, *, recordings: int = 5, duration_us: int = 60_000) -> tuple[Files, ...]:
    """Recordings of fast shapes, simulated once."""
    data = SyntheticDataset(
        root=str(folder),
        classes=CLASSES,
        width=SIZE,
        height=SIZE,
        train_sequences=recordings,
        val_sequences=1,
        duration_us=duration_us,
        objects_min=1,
        objects_max=2,
        seed=3,
    )
    return tuple(_files(Recording.open(path)) for path in data.recordings("train"))


def _files(recording: Recording) -> Files:
    boxes = recording.boxes
    labels = np.zeros(len(boxes), LABELS)
    labels["t"], labels["class_id"], labels["track_id"] = boxes.t, boxes.class_id, boxes.track_id
    labels["x"], labels["y"] = boxes.xyxy[:, 0], boxes.xyxy[:, 1]
    labels["w"], labels["h"] = (boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]).T
    return Files(recording.slice(recording.start_us, recording.end_us), labels)


def boxes_of(item: Files) -> Boxes:
    """The labels as they are used."""
    rows = item.labels
    corners = [rows["x"], rows["y"], rows["x"] + rows["w"], rows["y"] + rows["h"]]
    return Boxes(
        rows["t"].astype(np.int64),
        np.stack(corners, axis=1).astype(np.float32),
        rows["class_id"].astype(np.int64),
        rows["track_id"].astype(np.int64),
        np.ones(len(rows), np.float32),
    )


def thinned(item: Files, one_of: int) -> Files:
    """Of so many events one: those of a camera with high thresholds."""
    e = item.events
    rows = np.flatnonzero(np.random.default_rng(0).integers(0, one_of, len(e)) == 0)
    return Files(Events(e.t[rows], e.x[rows], e.y[rows], e.p[rows], e.width, e.height), item.labels)


def place(folder: Path, files: tuple[Files, ...], number: int) -> Path:
    """Where a recording lies, without its suffix: all but the last train, that validates."""
    return folder / ("val" if number == len(files) - 1 else "train") / f"r{number}"


def write_set(folder: Path, files: tuple[Files, ...]) -> Path:
    """Events as CSV beside ``NAME_bbox.npy``, in ``train/`` and ``val/``."""
    for number, item in enumerate(files):
        path = place(folder, files, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        events = np.stack([item.events.t, item.events.x, item.events.y, item.events.p], axis=1).astype(np.int64)
        np.savetxt(path.with_suffix(".csv"), events, fmt="%d", delimiter=",", header="t,x,y,p", comments="")
    return write_labels(folder, files)


def write_labels(folder: Path, files: tuple[Files, ...], fault: Callable[[Files], Files] | None = None) -> Path:
    """The label files of a set, with a fault or without."""
    for number, item in enumerate(files):
        path = place(folder, files, number)
        np.save(path.with_name(f"{path.name}_bbox.npy"), (item if fault is None else fault(item)).labels)
    return folder


def _labels(change: Callable[[Labels], object]) -> Callable[[Files], Files]:
    def fault(item: Files) -> Files:
        labels = item.labels.copy()
        made = change(labels)
        return Files(item.events, made if isinstance(made, np.ndarray) else labels)

    return fault


@_labels
def upside_down(labels: Labels) -> None:
    """Rows counted from the bottom."""
    labels["y"] = SIZE - labels["y"] - labels["h"]


@_labels
def mirrored(labels: Labels) -> None:
    """Columns counted from the right."""
    labels["x"] = SIZE - labels["x"] - labels["w"]


@_labels
def without_extent(labels: Labels) -> None:
    """Every tenth box has no width."""
    labels["w"][::10] = 0


def later(us: int) -> Callable[[Files], Files]:
    """A clock that is off."""

    def change(labels: Labels) -> None:
        labels["t"] += us

    return _labels(change)


def counted_in(unit_us: float) -> Callable[[Files], Files]:
    """Times in units of so many µs."""

    def change(labels: Labels) -> Labels:
        kinds = [(name, "<f8" if name == "t" else labels.dtype[name]) for name in labels.dtype.names or ()]
        rows = labels.astype(kinds)
        rows["t"] = labels["t"] / unit_us
        return rows

    return _labels(change)


def scaled(x: float, y: float) -> Callable[[Files], Files]:
    """Boxes of another frame."""

    def change(labels: Labels) -> None:
        for name, factor in zip("xywh", (x, y, x, y)):
            labels[name] *= factor

    return _labels(change)


@_labels
def swapped(labels: Labels) -> None:
    """x and y exchanged."""
    for a, b in (("x", "y"), ("w", "h")):
        labels[a], labels[b] = labels[b].copy(), labels[a].copy()


@_labels
def centred(labels: Labels) -> None:
    """The centre where the corner should be."""
    labels["x"] += labels["w"] / 2
    labels["y"] += labels["h"] / 2


@_labels
def cornered(labels: Labels) -> None:
    """The second corner where the size should be."""
    labels["w"] += labels["x"]
    labels["h"] += labels["y"]


def moved(x: float, y: float) -> Callable[[Files], Files]:
    """All boxes beside their objects."""

    def change(labels: Labels) -> None:
        labels["x"] += x
        labels["y"] += y

    return _labels(change)


def one_sided(item: Files) -> Files:
    """All events ON."""
    e = item.events
    return Files(Events(e.t, e.x, e.y, np.ones_like(e.p), e.width, e.height), item.labels)


@_labels
def twice(labels: Labels) -> Labels:
    """Every box a second time, a little beside."""
    again = labels.copy()
    again["x"] += 0.25
    again["track_id"] += 50
    return np.sort(np.concatenate([labels, again]), order="t")


@_labels
def without_class(labels: Labels) -> Labels:
    """No box of the last class."""
    return labels[labels["class_id"] < 2]


@_labels
def of_an_unknown_class(labels: Labels) -> None:
    """An id that no class has."""
    labels["class_id"][0] = 77


def silent(item: Files) -> Files:
    """No events where the boxes are."""
    e, boxes = item.events, item.labels
    times = np.unique(boxes["t"])
    keep = np.ones(len(e), np.bool_)
    nearest = np.clip(np.searchsorted(times, e.t), 0, len(times) - 1)
    for look, time in enumerate(times):
        rows = np.flatnonzero(np.abs(nearest - look) <= 1)
        for box in boxes[boxes["t"] == time]:
            inside = (np.abs(e.x[rows] - box["x"] - box["w"] / 2) < box["w"]) & (
                np.abs(e.y[rows] - box["y"] - box["h"] / 2) < box["h"]
            )
            keep[rows[inside]] = False
    return Files(Events(e.t[keep], e.x[keep], e.y[keep], e.p[keep], e.width, e.height), boxes)


# Fault → what plants it, and the finding and the override that must come first.
LABEL_FAULTS: Mapping[str, tuple[Callable[[Files], Files], str, str]] = {
    "20 ms late": (later(20_000), "clock", "time_shift_us=-"),
    "20 ms early": (later(-20_000), "clock", "time_shift_us=2"),
    "1 s late": (later(1_000_000), "clock", "time_shift_us=-"),
    "1 s early": (later(-1_000_000), "clock", "time_shift_us=1"),
    "x and y swapped": (swapped, "swapped", "columns=yxhw"),
    "twice as large": (scaled(2, 2), "scale", "scale=[0.5,0.5]"),
    "half as large": (scaled(0.5, 0.5), "scale", "scale=[2,2]"),
    "centre for corner": (centred, "centre", "columns=cxcywh"),
    "corner for size": (cornered, "corners", "columns=xyxy"),
    "rows from the bottom": (upside_down, "flipped", "flip=y"),
    "columns from the right": (mirrored, "flipped", "flip=x"),
    "beside": (moved(14, -8), "offset", "offset_px=[-14"),
    "beside by about half their size": (moved(18, 10), "offset", "offset_px=[-18"),
}
