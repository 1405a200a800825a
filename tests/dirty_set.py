"""An eTraM-shaped set in which every recording has the dirt that a real set has somewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
from etram_set import film, label_rows, write_events

from spikeyolo.events.types import Boxes, Events

Rows = npt.NDArray[np.void]
IDS = {"pedestrian": 0, "car": 1, "bus": 3, "wheelchair": 7}  # of eTraM's own list
PLAYED_BY = np.array([IDS["car"], IDS["bus"]], np.uint32)  # the simulator's disc is a car, its cross a bus
MIN_SIDE_PX = 4  # to be the label rule of the set
AT_EDGE = 2  # boxes at the left edge in sequence 5
CLOCK_US = 20_000  # the camera's time where the simulator's is 0


@dataclass(frozen=True)
class Dirty:
    """One recording of the set.

    Attributes:
        number: of the simulated sequence.
        labels: clean rows to dirty ones; None keeps no label file.
        events: columns that replace those of the simulator.
        event_counts: what cleaning has to count beside ``in_file`` and ``kept``.
        box_counts: what the manifest has to say of its boxes, out of the number of clean ones.
        truth: names of the classes whose clean boxes stay, and are all that stays.
        float_size: whether the file keeps the sensor's width and height as floats.
    """

    number: int
    labels: Callable[[Rows], Rows] | None = lambda rows: rows
    events: Callable[[Events], dict[str, npt.ArrayLike]] = lambda events: {}
    event_counts: dict[str, int] | None = None
    box_counts: Callable[[int], dict[str, int]] = lambda count: {}
    truth: tuple[str, ...] = ("car", "bus")
    float_size: bool = False

    @property
    def ids(self) -> list[int]:
        """Class ids of the truth."""
        return [IDS[name] for name in self.truth]

    @staticmethod
    def name_of(class_id: int) -> str:
        """By eTraM's own list."""
        return next(name for name, id_ in IDS.items() if id_ == class_id)


def stray_event(events: Events) -> dict[str, npt.ArrayLike]:
    """eTraM's own: one event at y = 33014, the first, so that no time may count from it."""
    y = events.y.copy()
    y[0] = 33014
    return {"y": y}


def step_back(events: Events) -> dict[str, npt.ArrayLike]:
    t = events.t.copy()
    middle = len(t) // 2
    t[middle] = t[middle - 1] - 3
    return {"t": t}


def others_too(rows: Rows) -> Rows:
    """A pedestrian at each object."""
    other = rows.copy()
    other["class_id"] = IDS["pedestrian"]
    other["track_id"] += 100
    return np.concatenate([rows, other])


def only(*names: str) -> Callable[[Rows], Rows]:
    return lambda rows: rows[np.isin(rows["class_id"], [IDS[name] for name in names])]


def called(name: str) -> Callable[[Rows], Rows]:
    def change(rows: Rows) -> Rows:
        rows["class_id"] = IDS[name]
        return rows

    return change


def tracked(ids: Callable[[int], npt.ArrayLike]) -> Callable[[Rows], Rows]:
    def change(rows: Rows) -> Rows:
        rows["track_id"] = ids(len(rows))
        return rows

    return change


def over_the_edge(rows: Rows) -> Rows:
    """Boxes at the left edge go on beyond it."""
    at_edge = rows["x"] == 0
    rows["x"][at_edge] -= 100
    rows["w"][at_edge] += 100
    return rows


def shrunk(rows: Rows) -> Rows:
    rows["w"] = rows["h"] = MIN_SIDE_PX - 1
    return rows


SET = {
    "train_h5_1/stray": Dirty(2, events=stray_event, event_counts={"outside_sensor": 1}),
    "train_h5_1/back": Dirty(
        1, events=step_back, event_counts={"stepped_back": 1, "largest_step_back_us": 3}, float_size=True
    ),
    "train_h5_1/twice": Dirty(
        4, lambda rows: np.repeat(rows, 2), box_counts=lambda n: {"in_file": 2 * n, "dropped_duplicate": n}
    ),
    "train_h5_1/others": Dirty(3, others_too, box_counts=lambda n: {"in_file": 2 * n, "dropped_class_not_kept": n}),
    "train_h5_2/zeros": Dirty(0, tracked(np.zeros), box_counts=lambda n: {"without_track": n}),
    "train_h5_2/none": Dirty(11, tracked(lambda n: np.full(n, 2**32 - 1))),
    "train_h5_2/edge": Dirty(5, over_the_edge, box_counts=lambda n: {"clipped_to_frame": AT_EDGE}),
    "train_h5_2/own": Dirty(6, tracked(np.arange), box_counts=lambda n: {"without_track": n}),
    "train_h5_2/unselected": Dirty(
        7, called("wheelchair"), box_counts=lambda n: {"kept": 0, "dropped_class_not_kept": n}, truth=()
    ),
    "train_h5_2/tiny": Dirty(12, shrunk, box_counts=lambda n: {"kept": 0, "dropped_min_side": n}, truth=()),
    "train_h5_2/unlabelled": Dirty(8, None),
    "val_h5_1/no_bus": Dirty(10, only("car"), truth=("car",)),
    "test_h5_1/later": Dirty(9),
}


def clean(number: int) -> tuple[Events, Boxes]:
    """What was filmed, with eTraM's class ids."""
    events, boxes = film(number)
    return events, Boxes(boxes.t, boxes.xyxy, PLAYED_BY[boxes.class_id], boxes.track_id, boxes.confidence)


def write_dirty_set(root: Path) -> None:
    for name, dirty in SET.items():
        events, boxes = clean(dirty.number)
        path = root / f"{name}.h5"
        write_events(path, events, **{"t": events.t, **dirty.events(events)})
        with h5py.File(path, "a") as file:
            file["events/t"][:] += CLOCK_US
            if dirty.float_size:
                for side in ("width", "height"):
                    value = float(file[f"events/{side}"][()])
                    del file[f"events/{side}"]
                    file[f"events/{side}"] = value
        if dirty.labels is not None:
            rows = label_rows(boxes)
            rows["t"] += CLOCK_US
            np.save(path.with_name(f"{path.stem}_bbox.npy"), dirty.labels(rows))
