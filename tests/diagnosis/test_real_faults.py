"""Faults planted in the labels of a real recording of three cars, or in how its windows are cut, are named first; as it
is, nothing is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_cars import (
    FEW,
    GAPS,
    Plant,
    beside,
    centre,
    corners,
    every_other,
    looked_at,
    one_look,
    only_early,
    other_class,
    scale,
    small,
    swap,
    twice,
)

from spikeyolo.diagnosis.finding import Finding
from spikeyolo.metrics.protocols import PropheseeGen1

pytestmark = pytest.mark.real


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


@pytest.mark.parametrize(
    ("plant", "name", "override"),
    [
        (swap, "swapped", "columns=yxhw"),
        (scale(2, 2), "scale", "scale=[0.5,0.5]"),
        (scale(0.5, 0.5), "scale", "scale=[2,2]"),
        (centre, "centre", "columns=cxcywh"),
        (corners, "corners", "columns=xyxy"),
        (scale(1280 / 346, 720 / 260), "sensor", "scale=[0.2703,0.3611]"),
        (beside, "offset", "offset_px=[-40,20"),
    ],
    ids=["swapped", "twice as large", "half as large", "centre", "corners", "sensor", "beside"],
)
def test_boxes_that_mean_something_else_are_named_first_and_alone(
    plant: Callable[[np.ndarray], None], name: str, override: str, real_data: Path, stored: Path
) -> None:
    (first,) = found(real_data, stored, plant)
    assert first.name == name, first.sentence
    assert override in first.overrides[0]


@pytest.mark.parametrize(
    ("plant", "changes", "name", "override"),
    [
        (twice, {}, "duplicates", ""),
        (every_other, GAPS, "labels_gap", "data.max_label_gap_us="),
        (one_look, {}, "labels_buffer", "data.temporal_buffer="),
        (one_look, FEW, "windows_without_boxes", "data.slicing=around_labels"),
        (only_early, {}, "no_val_labels", "data.train_until_us="),
        (small, {"downsample": 2}, "small_boxes", "data.encoder.downsample=1"),
        (small, {"protocol": PropheseeGen1()}, "protocol_sizes", "protocol=coco"),
        (other_class, {"classes": ("car", "bus")}, "imbalance", "data.sampling=balanced"),
        (None, {"classes": ("bus",), "names": ("car", "bus")}, "no_labels", "data.classes=[car]"),
        (None, {"slice_duration_us": 2}, "empty_slices", "data.slice_duration_us="),
        (None, {"slice_duration_us": 100}, "few_events", "data.slice_duration_us="),
        (None, {"slice_duration_us": 300_000}, "labels_lost", "data.time_steps=1"),
        (None, {"slice_duration_us": 500_000}, "no_windows", "data.time_steps=1"),
        (None, {"classes": ("car", "bus")}, "class_missing", "data.classes=[car]"),
    ],
    ids=[
        "twice",
        "gaps",
        "one look",
        "few",
        "no validation",
        "small",
        "protocol",
        "rare",
        "unselected",
        "empty",
        "few events",
        "lost",
        "too long",
        "no such class",
    ],
)
def test_what_windows_lack_is_named_first(
    plant: Plant | None, changes: dict[str, Any], name: str, override: str, real_data: Path, stored: Path
) -> None:
    # Labels that are too small, too few or of no class that is asked for fit no better than others.
    first, *_ = looked_at(real_data, stored, plant, sections=("windows",), **changes)[0]
    assert first.name == name, first.sentence
    assert any(text.startswith(override) for text in (*first.overrides, ""))
