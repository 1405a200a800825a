"""What windows lack, planted in a small stored set, is what the doctor names first, with the override that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stored import store

from spikeyolo.diagnosis.finding import Finding
from spikeyolo.diagnosis.windows.check import check_windows
from spikeyolo.diagnosis.windows.lost import near_duplicates
from spikeyolo.diagnosis.written import Written
from spikeyolo.events.types import Boxes, Events
from spikeyolo.metrics.protocols import Coco, PropheseeGen1, Protocol
from spikeyolo.windows.data import EventData
from spikeyolo.windows.encoders import HistogramEncoder
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


def events_of(*, count: int = 40_000, inside: bool = True, still: int = 0) -> Events:
    """Events around the moving box, or only where it is not; and of one pixel, ``still`` more."""
    draw = np.random.default_rng(0)
    t = np.sort(draw.integers(0, END_US, count))
    t[0], t[-1] = 0, END_US - 1
    x = t / 10_000 + draw.uniform(0, 24, count) if inside else draw.uniform(0, SIDE, count)
    y = draw.uniform(30, 54, count) if inside else draw.uniform(70, SIDE, count)
    if still:
        x[:still], y[:still] = 5, 5
    columns = (x.clip(0, SIDE - 1).astype(np.uint16), y.astype(np.uint16), draw.integers(0, 2, count).astype(np.uint8))
    return Events(t, *columns, SIDE, SIDE)


class NoSet:
    """Nothing is asked of it here."""

    def sources(self, role: str) -> list[object]:
        return []


def diagnosed(
    folder: Path,
    boxes: Boxes | None,
    events: Events | None = None,
    *,
    classes: Sequence[str] = ("car",),
    counts: dict[str, int] | None = None,
    protocol: Protocol | None = None,
    **rules: object,
) -> list[Finding]:
    options = {"slice_duration_us": 5000, "time_steps": 4, **rules}
    recording = store(folder / "a.zarr", events or events_of())
    data = EventData(dataset=NoSet(), classes=classes, store=str(folder), encoder=HistogramEncoder(), **options)  # type: ignore[arg-type]
    part = Part(recording, boxes, 0, END_US, "a")
    kept = {"in_file": 0 if boxes is None else len(boxes), "kept": 0 if boxes is None else len(boxes)}
    written = Written("a", recording, boxes, {**kept, **(counts or {})})
    section, _ = check_windows(
        data, [part], [replace(part, name="b")], [written], protocol=protocol or Coco(), whole=True, mended=False
    )
    return section.findings


def names(found: list[Finding]) -> list[str]:
    return [finding.name for finding in found]


def test_a_healthy_set_has_no_findings(tmp_path: Path) -> None:
    assert names(diagnosed(tmp_path, moving())) == []


def test_no_label_file_is_said_with_where_labels_are_looked_for(tmp_path: Path) -> None:
    (found, *_) = diagnosed(tmp_path, None)
    assert found.name == "no_labels"
    assert "_bbox.npy" in found.remedy


def test_labels_of_other_classes_than_asked_for_are_said(tmp_path: Path) -> None:
    counts = {"in_file": 37, "kept": 0, "dropped_class_not_kept": 37}
    (found, *_) = diagnosed(tmp_path, Boxes.empty(), counts=counts)
    assert found.name == "no_labels"
    assert "class_not_kept 37" in found.sentence
    assert "data.classes=[car]" in found.remedy


def test_slices_too_short_for_an_event_are_said_with_a_length_that_has_some(tmp_path: Path) -> None:
    (found, *_) = diagnosed(tmp_path, moving(), slice_duration_us=4)
    assert found.name == "empty_slices"
    (override,) = found.overrides
    assert override.startswith("data.slice_duration_us=")
    assert names(diagnosed(tmp_path / "again", moving(), slice_duration_us=int(override.rpartition("=")[2]))) == []


def test_windows_longer_than_what_is_before_the_labels_lose_them(tmp_path: Path) -> None:
    (found, *_) = diagnosed(tmp_path, moving(), slice_duration_us=75_000)
    assert found.name == "labels_lost"
    assert found.overrides == ("data.time_steps=1",)


def test_windows_longer_than_the_recording_are_said(tmp_path: Path) -> None:
    (found, *_) = diagnosed(tmp_path, moving(), slice_duration_us=200_000)
    assert found.name == "no_windows"
    assert found.overrides == ("data.time_steps=1",)


def test_label_times_too_far_apart_for_the_gap_rule_are_said_with_what_fills_them(tmp_path: Path) -> None:
    boxes = moving(times=range(100_000, 390_000, 90_000))
    rules = {"slice_duration_us": 10_000, "time_steps": 8, "max_label_gap_us": 0, "temporal_buffer": 0.0}
    (found, *_) = diagnosed(tmp_path, boxes, **rules)
    assert found.name == "labels_gap"
    assert found.overrides == ("data.max_label_gap_us=180000",)
    assert names(diagnosed(tmp_path / "again", boxes, **{**rules, "max_label_gap_us": 180_000})) == []


def test_a_class_without_a_box_is_named_and_left_out(tmp_path: Path) -> None:
    (found, *_) = diagnosed(tmp_path, moving(), classes=("car", "bus"))
    assert found.name == "class_missing"
    assert found.overrides == ("data.classes=[car]",)


def test_a_rare_class_is_said(tmp_path: Path) -> None:
    many = joined(*(moving(track=track) for track in range(3)), moving(class_id=1, times=[100_000], track=9))
    found = diagnosed(tmp_path, many, classes=("car", "bus"), sampling="uniform")
    assert "imbalance" in names(found)
    assert "data.sampling=balanced" in next(one for one in found if one.name == "imbalance").overrides
    assert "imbalance" not in names(diagnosed(tmp_path / "b", many, classes=("car", "bus"), sampling="balanced"))


def test_boxes_that_stand_twice_are_said(tmp_path: Path) -> None:
    boxes = moving()
    again = replace(moving(track=1), xyxy=boxes.xyxy + np.float32(0.25))
    assert names(diagnosed(tmp_path, joined(boxes, again)))[:1] == ["duplicates"]
    exact = diagnosed(tmp_path / "b", boxes, counts={"in_file": 74, "dropped_duplicate": 37})
    assert names(exact)[:1] == ["duplicates"]
    assert "37 of 74" in exact[0].sentence


def test_near_duplicates_are_of_one_time_and_one_class() -> None:
    boxes = moving()
    assert near_duplicates(joined(boxes, moving(track=1))) == len(boxes)
    assert near_duplicates(joined(boxes, moving(class_id=1))) == 0
    assert near_duplicates(boxes) == 0


def test_boxes_below_the_smallest_stride_are_said(tmp_path: Path) -> None:
    assert names(diagnosed(tmp_path, moving(side=6)))[:1] == ["small_boxes"]


def test_boxes_that_the_protocol_leaves_out_are_said(tmp_path: Path) -> None:
    (found, *_) = diagnosed(tmp_path, moving(side=18), protocol=PropheseeGen1())
    assert found.name == "protocol_sizes"
    assert found.overrides == ("protocol=coco",)


def test_boxes_without_an_event_are_said(tmp_path: Path) -> None:
    assert names(diagnosed(tmp_path, moving(), events_of(inside=False)))[:1] == ["boxes_without_events"]


def test_a_hot_pixel_is_said(tmp_path: Path) -> None:
    found = diagnosed(tmp_path, moving(), events_of(still=30_000))
    assert "hot_pixels" in names(found)
    assert found[-1].overrides == ("data.filters.hot_pixel_factor=50",)


def test_boxes_that_cleaning_leaves_out_are_said(tmp_path: Path) -> None:
    counts = {"in_file": 100, "kept": 37, "dropped_outside_frame": 63}
    (found, *_) = diagnosed(tmp_path, moving(), counts=counts)
    assert found.name == "dropped"
    assert "outside_frame 63" in found.sentence


@pytest.mark.parametrize("seconds", [0.0])
def test_the_sample_of_windows_is_bounded_in_time(seconds: float, tmp_path: Path) -> None:
    from spikeyolo.diagnosis.windows.counted import count_windows
    from spikeyolo.windows.dataset import WindowDataset
    from spikeyolo.windows.rules import WindowRules

    part = Part(store(tmp_path / "a.zarr", events_of()), moving(), 0, END_US, "a")
    dataset = WindowDataset([part], rules=WindowRules(5000, 4), encoder=HistogramEncoder())
    assert count_windows(dataset, seconds=seconds).looked_at == 1
