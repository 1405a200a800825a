"""Faults planted in the events of a real recording of three cars, or in a network that looks at it, are named first; as
they are, nothing is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from planted_cars import looked_at
from planted_windows import NoSet
from stored import store

from spikeyolo.diagnosis.labels.check import check_labels
from spikeyolo.diagnosis.network.check import check_network
from spikeyolo.diagnosis.network.look import first_batch, shows_boxes
from spikeyolo.diagnosis.windows.check import check_windows
from spikeyolo.diagnosis.written import Written
from spikeyolo.events.types import Boxes, Events
from spikeyolo.loss.detection import DetectionLoss
from spikeyolo.metrics.protocols import Coco
from spikeyolo.model.detector import Detector
from spikeyolo.model.neuron import Ilif
from spikeyolo.model.norm import Norm
from spikeyolo.windows.batch import Batch
from spikeyolo.windows.data import EventData
from spikeyolo.windows.encoders import HistogramEncoder
from spikeyolo.windows.parts import Part

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def recording(real_data: Path, stored: Path) -> Written:
    """The first half second of the recording, and its boxes."""
    source = looked_at(real_data, stored, sections=("windows",))[1]
    assert source is not None
    part = source.parts[0]
    assert part.boxes is not None
    end_us = part.start_us + 500_000
    events = part.recording.slice(part.start_us, end_us)
    return Written("cars", store(stored / "cars.zarr", events), part.boxes[part.boxes.t < end_us], {"kept": 1})


def replaced(item: Written, folder: Path, change: Callable[[Events, Boxes], Events]) -> Written:
    """The recording with other events."""
    recording = item.recording
    assert item.boxes is not None
    events = change(recording.slice(recording.start_us, recording.end_us), item.boxes)
    return replace(item, recording=store(folder / "planted.zarr", events))


def chosen(events: Events, rows: np.ndarray) -> Events:
    return Events(*(getattr(events, name)[rows] for name in "txyp"), events.width, events.height)


def one_sided(events: Events, boxes: Boxes) -> Events:
    """OFF events only."""
    return Events(events.t, events.x, events.y, np.zeros_like(events.p), events.width, events.height)


def lamp(events: Events, boxes: Boxes) -> Events:
    """Six of ten events come from one pixel."""
    still = np.random.default_rng(0).uniform(0, 1, len(events)) < 0.6
    x, y = np.where(still, 7, events.x), np.where(still, 9, events.y)
    return Events(events.t, x.astype(np.uint16), y.astype(np.uint16), events.p, events.width, events.height)


def without_cars(events: Events, boxes: Boxes) -> Events:
    """No event where a car is, was or will be."""
    covered = np.zeros((events.height, events.width), np.bool_)
    for left, top, right, bottom in boxes.xyxy.astype(int).tolist():
        covered[max(top - 2, 0) : bottom + 3, max(left - 2, 0) : right + 3] = True
    return chosen(events, ~covered[events.y, events.x])


@pytest.mark.parametrize(
    ("change", "name"),
    [(None, None), (lamp, "hot_pixels"), (without_cars, "boxes_without_events")],
    ids=["as it is", "lamp", "without cars"],
)
def test_what_is_planted_in_its_events_is_named_first(
    change: Callable[[Events, Boxes], Events] | None, name: str | None, recording: Written, tmp_path: Path
) -> None:
    item = recording if change is None else replaced(recording, tmp_path, change)
    part = Part(item.recording, item.boxes, item.recording.start_us, item.recording.end_us, "cars")
    data = EventData(
        dataset=NoSet(),
        classes=["car"],
        store=str(tmp_path),
        encoder=HistogramEncoder(),
        time_steps=4,  # type: ignore[arg-type]
    )
    section, _ = check_windows(data, [part], [], [item], protocol=Coco(), whole=True, mended=False)
    assert [finding.name for finding in section.findings][:1] == ([] if name is None else [name])


def test_events_of_one_polarity_are_named_first_with_labels_and_without(recording: Written, tmp_path: Path) -> None:
    item = replaced(recording, tmp_path, one_sided)
    section = check_labels([item], current=None, origin="files", steps_us=40_000).section
    assert [finding.name for finding in section.findings] == ["polarity"]
    part = Part(item.recording, None, item.recording.start_us, item.recording.end_us, "cars")
    data = EventData(
        dataset=NoSet(),
        classes=["car"],
        store=str(tmp_path),
        encoder=HistogramEncoder(),
        time_steps=4,  # type: ignore[arg-type]
    )
    bare = replace(item, boxes=None)
    section, _ = check_windows(data, [part], [], [bare], protocol=Coco(), whole=True, mended=False)
    assert [finding.name for finding in section.findings] == ["no_labels", "polarity"]


@pytest.fixture(scope="module")
def batch(real_data: Path, stored: Path) -> Batch:
    windows = looked_at(real_data, stored, sections=("windows",))[1]
    assert windows is not None
    found = first_batch(windows, 2)
    assert found is not None
    assert shows_boxes(found)
    return found


def biased(value: float) -> Callable[[Detector], None]:
    def plant(detector: Detector) -> None:
        for norm in detector.modules():
            if isinstance(norm, Norm):
                torch.nn.init.constant_(norm.bias, value)

    return plant


def cut_off(detector: Detector) -> None:
    """No gradient goes back to the first stage."""
    detector.backbone.down2.register_forward_hook(lambda module, inputs, output: output.detach())


def damaged(detector: Detector) -> None:
    torch.nn.init.constant_(next(detector.parameters()), float("nan"))


@pytest.mark.parametrize(
    ("plant", "name"),
    [
        (None, None),
        (biased(-50.0), "silent"),
        (biased(50.0), "saturated"),
        (cut_off, "gradient"),
        (damaged, "not_finite"),
    ],
    ids=["as it is", "silent", "saturated", "cut off", "damaged"],
)
def test_a_network_that_sees_nothing_of_it_is_told(
    plant: Callable[[Detector], None] | None, name: str | None, batch: Batch
) -> None:
    torch.manual_seed(0)
    detector = Detector(num_classes=1, depth=0.33, width=0.0625, neuron=Ilif)
    if plant is not None:
        plant(detector)
    section, _ = check_network(detector, DetectionLoss(), batch, trained=False)
    assert [finding.name for finding in section.findings][:1] == ([] if name is None else [name])
