"""Faults planted in the labels of a real recording of three cars are named first; as it is, nothing is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikeyolo.diagnosis.diagnose import first_batch, look_at_data
from spikeyolo.diagnosis.finding import Finding
from spikeyolo.diagnosis.network.check import check_network
from spikeyolo.events.datasets import SingleRecording
from spikeyolo.events.labels import LabelRules
from spikeyolo.loss.detection import DetectionLoss
from spikeyolo.metrics.protocols import Coco
from spikeyolo.model.detector import Detector
from spikeyolo.model.neuron import Ilif
from spikeyolo.model.norm import Norm
from spikeyolo.windows.data import EventData
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.encoders import HistogramEncoder

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cars")


Plant = Callable[[np.ndarray], np.ndarray | None]


def looked_at(
    real_data: Path, folder: Path, plant: Plant | None = None, classes: Sequence[str] = ("car",), **rules: int
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
        train_labels=LabelRules(),
        val_labels=LabelRules(),
    )
    options = {"time_steps": 4, **rules}
    data = EventData(
        dataset=dataset, classes=classes, store=str(folder / "store"), encoder=HistogramEncoder(), **options
    )
    sections, windows = look_at_data(data, {"labels", "windows"}, protocol=Coco())
    return [finding for section in sections for finding in section.findings], windows


def found(real_data: Path, folder: Path, plant: Plant | None = None) -> list[Finding]:
    return looked_at(real_data, folder, plant)[0]


def test_the_recording_as_it_is_has_no_findings(real_data: Path, stored: Path) -> None:
    assert [finding.sentence for finding in found(real_data, stored)] == []


@pytest.mark.parametrize("shift_ms", [-1000, -20, 20, 1000])
def test_a_clock_that_is_off_is_found_to_within_two_milliseconds(shift_ms: int, real_data: Path, stored: Path) -> None:
    def plant(labels: np.ndarray) -> None:
        labels["t"] += 1000 * shift_ms

    first = found(real_data, stored, plant)[0]
    assert first.name == "clock", first.sentence
    (override,) = first.overrides
    assert abs(int(override.rpartition("=")[2]) + 1000 * shift_ms) <= 2000


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


@pytest.mark.parametrize(
    ("plant", "name", "override"),
    [
        (swap, "swapped", "columns=yxhw"),
        (scale(2, 2), "scale", "scale=[0.5,0.5]"),
        (scale(0.5, 0.5), "scale", "scale=[2,2]"),
        (centre, "centre", "columns=cxcywh"),
        (corners, "corners", "columns=xyxy"),
        (scale(1280 / 346, 720 / 260), "sensor", "scale=[0.2703,0.3611]"),
    ],
    ids=["swapped", "twice as large", "half as large", "centre", "corners", "sensor"],
)
def test_boxes_that_mean_something_else_are_named_first_and_alone(
    plant: Callable[[np.ndarray], None], name: str, override: str, real_data: Path, stored: Path
) -> None:
    (first,) = found(real_data, stored, plant)
    assert first.name == name, first.sentence
    assert override in first.overrides[0]


def twice(labels: np.ndarray) -> np.ndarray:
    again = labels.copy()
    again["x"] += 0.25
    again["track_id"] += 50
    return np.sort(np.concatenate([labels, again]), order="t")


@pytest.mark.parametrize(
    ("plant", "changes", "name", "override"),
    [
        (twice, {}, "duplicates", ""),
        (None, {"slice_duration_us": 2}, "empty_slices", "data.slice_duration_us="),
        (None, {"slice_duration_us": 300_000}, "labels_lost", "data.time_steps=1"),
        (None, {"slice_duration_us": 500_000}, "no_windows", "data.time_steps=1"),
        (None, {"classes": ("car", "bus")}, "class_missing", "data.classes=[car]"),
    ],
    ids=["twice", "empty", "lost", "too long", "no such class"],
)
def test_what_windows_lack_is_named_first(
    plant: Plant | None, changes: dict[str, Any], name: str, override: str, real_data: Path, stored: Path
) -> None:
    first, *_ = looked_at(real_data, stored, plant, **changes)[0]
    assert first.name == name, first.sentence
    assert any(text.startswith(override) for text in (*first.overrides, ""))


@pytest.mark.parametrize(
    ("shift", "name"), [(None, None), (-50.0, "silent"), (50.0, "saturated")], ids=["as it is", "silent", "saturated"]
)
def test_a_network_that_sees_nothing_of_it_is_told(
    shift: float | None, name: str | None, real_data: Path, stored: Path
) -> None:
    windows = looked_at(real_data, stored)[1]
    assert windows is not None
    batch = first_batch(windows, 2)
    assert batch is not None
    torch.manual_seed(0)
    detector = Detector(num_classes=1, depth=0.33, width=0.0625, neuron=Ilif)
    if shift is not None:
        for norm in detector.modules():
            if isinstance(norm, Norm):
                torch.nn.init.constant_(norm.bias, shift)
    section, _ = check_network(detector, DetectionLoss(), batch, trained=False)
    assert [finding.name for finding in section.findings][:1] == ([] if name is None else [name])
