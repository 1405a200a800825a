"""A small data set on disk in eTraM's layout, filmed by the simulated camera."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from spikeyolo.events.simulator.synthetic import SyntheticDataset
from spikeyolo.events.types import Boxes, Events

CLASSES = ["pedestrian", "car"]  # eTraM's first two
SHAPES = ["disc", "cross"]  # that play them
WIDTH, HEIGHT = 64, 48
DURATION_US = 40_000
# Prophesee's label rows: 40 bytes with the padding that a C compiler would put there.
LABEL = np.dtype(
    {
        "names": ["t", "x", "y", "w", "h", "class_id", "track_id", "class_confidence"],
        "formats": ["<i8", "<f4", "<f4", "<f4", "<f4", "<u4", "<u4", "<f4"],
        "offsets": [0, 8, 12, 16, 20, 24, 28, 32],
        "itemsize": 40,
    }
)


def film(number: int) -> tuple[Events, Boxes]:
    """One sequence of the simulated camera."""
    simulator = SyntheticDataset(
        root="unused",
        classes=SHAPES,
        width=WIDTH,
        height=HEIGHT,
        train_sequences=1,
        val_sequences=1,
        duration_us=DURATION_US,
        objects_max=2,
        size_min_px=16.0,
        size_max_px=24.0,
        seed=7,
    )
    return simulator.simulate("train", number)


def write_events(path: Path, events: Events, **columns: npt.ArrayLike) -> None:
    """``events/{x,y,p,t}`` with scalar width and height; ``columns`` replace those of the events."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        group = file.create_group("events")
        for name, dtype in (("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")):
            group[name] = np.asarray(columns.get(name, getattr(events, name))).astype(dtype)
        group["width"], group["height"] = events.width, events.height


def label_rows(boxes: Boxes) -> npt.NDArray[np.void]:
    """Boxes as Prophesee's rows."""
    rows = np.zeros(len(boxes), LABEL)
    rows["t"], rows["class_id"], rows["track_id"], rows["class_confidence"] = boxes.t, boxes.class_id, boxes.track_id, 1
    rows["x"], rows["y"] = boxes.xyxy[:, 0], boxes.xyxy[:, 1]
    rows["w"], rows["h"] = (boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]).T
    return rows


def write_recording(path: Path, number: int) -> None:
    """``NAME.h5`` and ``NAME_bbox.npy`` beside it."""
    events, boxes = film(number)
    write_events(path, events)
    np.save(path.with_name(f"{path.stem}_bbox.npy"), label_rows(boxes))


def write_set(root: Path) -> None:
    """Two folders of training recordings, one of validation, one of test."""
    for number, name in enumerate(["train_h5_1/day_0", "train_h5_2/night_0", "val_h5_1/day_1", "test_h5_1/day_2"]):
        write_recording(root / f"{name}.h5", number)
