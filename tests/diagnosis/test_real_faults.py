"""Faults planted in the labels of a real recording of three cars are named first; as it is, nothing is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spikeyolo.diagnosis.diagnose import look_at_data
from spikeyolo.diagnosis.finding import Finding
from spikeyolo.events.datasets import SingleRecording
from spikeyolo.events.labels import LabelRules
from spikeyolo.metrics.protocols import Coco
from spikeyolo.windows.data import EventData
from spikeyolo.windows.encoders import HistogramEncoder

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cars")


def found(real_data: Path, folder: Path, plant: Callable[[np.ndarray], None] | None = None) -> list[Finding]:
    labels = np.load(real_data / "davis346_cars_bbox.npy")
    if plant is not None:
        plant(labels)
    np.save(path := folder / "planted_bbox.npy", labels)
    dataset = SingleRecording(
        events=str(real_data / "davis346_cars.aedat4"),
        labels=str(path),
        classes=["car"],
        train_until_us=1_600_000,
        train_labels=LabelRules(),
        val_labels=LabelRules(),
    )
    data = EventData(
        dataset=dataset, classes=["car"], store=str(folder / "store"), encoder=HistogramEncoder(), time_steps=4
    )
    sections, _ = look_at_data(data, {"labels", "windows"}, protocol=Coco())
    return [finding for section in sections for finding in section.findings]


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
