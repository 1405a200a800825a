"""The real recording of three cars, looked at with a fault planted in its labels or in what windows are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spikeyolo.diagnosis.diagnose import look_at_data
from spikeyolo.diagnosis.finding import Finding
from spikeyolo.events.datasets import SingleRecording
from spikeyolo.events.labels import LabelRules
from spikeyolo.metrics.protocols import Coco, Protocol
from spikeyolo.windows.data import EventData
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.encoders import HistogramEncoder

Plant = Callable[[np.ndarray], np.ndarray | None]


def looked_at(
    real_data: Path,
    folder: Path,
    plant: Plant | None = None,
    classes: Sequence[str] = ("car",),
    *,
    sections: Sequence[str] = ("labels", "windows"),
    protocol: Protocol | None = None,
    names: Sequence[str] | None = None,
    downsample: int = 1,
    **rules: Any,
) -> tuple[list[Finding], WindowDataset | None]:
    labels = np.load(real_data / "davis346_cars_bbox.npy")
    if plant is not None:
        changed = plant(labels)
        labels = labels if changed is None else changed
    np.save(path := folder / "planted_bbox.npy", labels)
    dataset = SingleRecording(
        events=str(real_data / "davis346_cars.aedat4"),
        labels=str(path),
        classes=list(classes),
        train_until_us=1_600_000,
        train_labels=LabelRules(names=names),
        val_labels=LabelRules(names=names),
    )
    options = {"time_steps": 4, **rules}
    data = EventData(
        dataset=dataset,
        classes=classes,
        store=str(folder / "store"),
        encoder=HistogramEncoder(downsample=downsample),
        **options,
    )
    found, windows = look_at_data(data, set(sections), protocol=protocol or Coco())
    return [finding for section in found for finding in section.findings], windows


def swap(labels: np.ndarray) -> None:
    for a, b in (("x", "y"), ("w", "h")):
        labels[a], labels[b] = labels[b].copy(), labels[a].copy()


def scale(factor_x: float, factor_y: float) -> Callable[[np.ndarray], None]:
    def plant(labels: np.ndarray) -> None:
        for name, factor in zip("xywh", (factor_x, factor_y) * 2):
            labels[name] *= factor

    return plant


def centre(labels: np.ndarray) -> None:
    labels["x"] += labels["w"] / 2
    labels["y"] += labels["h"] / 2


def corners(labels: np.ndarray) -> None:
    labels["w"] += labels["x"]
    labels["h"] += labels["y"]


def beside(labels: np.ndarray) -> None:
    """Two boxes further right and one up."""
    labels["x"] += 40
    labels["y"] -= 20


def twice(labels: np.ndarray) -> np.ndarray:
    again = labels.copy()
    again["x"] += 0.25
    again["track_id"] += 50
    return np.sort(np.concatenate([labels, again]), order="t")


def every_other(labels: np.ndarray) -> np.ndarray:
    """Every other look of the annotators."""
    return labels[np.isin(labels["t"], np.unique(labels["t"])[::2])]


def one_look(labels: np.ndarray) -> np.ndarray:
    """A single look, in the middle of what trains."""
    return labels[labels["t"] == np.unique(labels["t"])[20]]


def only_early(labels: np.ndarray) -> np.ndarray:
    """Nothing of what validates."""
    return labels[labels["t"] < 1_200_000]


def small(labels: np.ndarray) -> None:
    """Boxes of 12 px around their centres."""
    for at, side in (("x", "w"), ("y", "h")):
        labels[at] += labels[side] / 2 - 6
        labels[side] = 12


def other_class(labels: np.ndarray) -> None:
    """One box is of another class."""
    labels["class_id"][30] = 1


GAPS = {"time_steps": 6, "slice_duration_us": 12_000, "temporal_buffer": 0.0, "max_label_gap_us": 0}
FEW = {"slicing": "sliding", "overlap": 0.9, "targets": "last"}
