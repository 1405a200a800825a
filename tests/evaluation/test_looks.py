"""Whole recordings are scored at label times, as often where they hold nothing, and step by step around both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stored import END_US, boxes_at, part, random_events, store

from spikeyolo.errors import ConfigError
from spikeyolo.evaluation.looks import WholeRecordings
from spikeyolo.windows import EventData, Part
from spikeyolo.windows.encoders import HistogramEncoder

LABELS = (10_000, 20_300, 30_000, 40_000)  # µs; the second lies within a step


class Nothing:
    """A data set whose recordings are given otherwise."""

    def recordings(self, role: str, *, progress: object = None) -> list[Path]:
        return []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Part:
    recording = store(tmp_path_factory.mktemp("looks") / "a.zarr", random_events())
    return part(recording, boxes_at(LABELS, track=7))


def looks(
    *parts: Part, negative_share: float = 0.1, slice_us: int = 1000, gap_us: int | None = None
) -> WholeRecordings:
    data = EventData(
        dataset=Nothing(),  # type: ignore[arg-type]
        classes=["car"],
        store="unused",
        encoder=HistogramEncoder(),
        slice_duration_us=slice_us,
        time_steps=3,
        negative_share=negative_share,
        max_label_gap_us=gap_us,
    )
    return WholeRecordings(data, parts)


def test_the_stretches_are_the_recording_without_gap_or_overlap(whole: Part) -> None:
    found = list(looks(whole))
    ends = np.concatenate([stretch.ends_us[:, 0] for stretch in found])
    np.testing.assert_array_equal(ends, np.arange(1, END_US // 1000 + 1) * 1000)
    assert [stretch.first for stretch in found] == [True] + [False] * (len(found) - 1)
    frames = torch.cat([stretch.frames for stretch in found])[:, 0].numpy()
    expected = np.empty_like(frames)
    HistogramEncoder().encode(whole.recording.packed(0, END_US), start_us=0, slice_us=1000, out=expected)
    np.testing.assert_array_equal(frames, expected)


def test_a_sample_of_stretches_is_spread_over_the_recordings_and_of_one_length(whole: Part) -> None:
    found = looks(Part(whole.recording, whole.boxes, 0, 50_000, "half"), whole)
    every = {(int(s.recording[0]), int(s.ends_us[0, 0])): s for s in found}  # 17 and 34, the last of each not whole
    assert len(every) == 51
    sample = list(found.sample(10))
    assert [(int(s.recording[0]), int(s.ends_us[0, 0]) // 1000) for s in sample] == [
        (0, 7), (0, 22), (0, 37),
        (1, 4), (1, 19), (1, 31), (1, 46), (1, 61), (1, 76), (1, 91),
    ]  # fmt: skip
    for stretch in sample:
        assert stretch.frames.shape[0] == 3
        torch.testing.assert_close(stretch.frames, every[int(stretch.recording[0]), int(stretch.ends_us[0, 0])].frames)
    assert len(list(found.sample(100))) == 49
    short = Part(whole.recording, boxes_at([1500]), 0, 2000, "short")
    assert [stretch.frames.shape[0] for stretch in looks(short).sample(9)] == [1, 1]


def test_a_recording_without_labels_is_not_run_through_the_network(whole: Part) -> None:
    found = looks(Part(whole.recording, None, 0, END_US, "unlabelled"), whole)
    stretches = list(found)
    assert {int(stretch.recording[0]) for stretch in [*stretches, *found.sample(9)]} == {1}
    assert len(stretches) == len(found) == len(looks(whole))


def test_recordings_of_different_sensors_are_refused_as_in_training(whole: Part, tmp_path: Path) -> None:
    wide = part(store(tmp_path / "wide.zarr", replace(random_events(), width=40)), boxes_at(LABELS))
    with pytest.raises(ConfigError, match=r"different sensors in one data set: 33x21 px .*, 40x21 px .*expected one"):
        looks(whole, wide)


def test_a_label_is_scored_at_the_last_step_that_ended_by_its_time_with_its_own_box(whole: Part) -> None:
    boxes = {}
    for stretch in looks(whole, negative_share=0):
        for step, left in zip(stretch.step.tolist(), stretch.truth.xyxy[:, 0].tolist(), strict=True):
            if stretch.scored[step, 0]:
                boxes[int(stretch.ends_us[step, 0])] = left
    assert boxes == pytest.approx({10_000: 1.0, 20_000: 2.03, 30_000: 3.0, 40_000: 4.0})


def test_the_steps_beside_a_scored_one_have_interpolated_truth_and_others_none(whole: Part) -> None:
    known: dict[int, float] = {}
    for stretch in looks(whole, negative_share=0):
        assert stretch.scored.any() == stretch.known.any() == bool(len(stretch.step))
        np.testing.assert_array_equal(np.unique(stretch.step), np.flatnonzero(stretch.known))
        for step, left, track in zip(
            stretch.step.tolist(), stretch.truth.xyxy[:, 0].tolist(), stretch.truth.track_id.tolist(), strict=True
        ):
            assert track == 7
            known[int(stretch.ends_us[step, 0])] = left
    # Windows of 3 ms: [9, 12), [18, 21), [27, 30) and [39, 42) hold a label's step; after the last label its box stays.
    assert sorted(known) == [
        10_000,
        11_000,
        12_000,
        19_000,
        20_000,
        21_000,
        28_000,
        29_000,
        30_000,
        40_000,
        41_000,
        42_000,
    ]
    assert {t: known[t] for t in (11_000, 19_000, 28_000)} == pytest.approx({11_000: 1.1, 19_000: 1.9, 28_000: 2.8})


def empty(found: WholeRecordings) -> list[int]:
    """Ends of the steps that are scored and show nothing, µs."""
    return [
        int(stretch.ends_us[step, 0])
        for stretch in found
        for step in np.flatnonzero(stretch.scored[:, 0])
        if step not in stretch.step
    ]


def test_a_stretch_without_any_label_is_scored_as_often_as_labels_are(whole: Part) -> None:
    # 2.5 label intervals (10 ms) after the last label at 40 ms; before the first one lie fewer.
    assert empty(looks(whole)) == [65_000, 75_000, 85_000, 95_000]
    assert empty(looks(whole, negative_share=0)) == []
    unlabelled = Part(whole.recording, None, 0, END_US, "unlabelled")
    assert empty(looks(whole, unlabelled)) == [65_000, 75_000, 85_000, 95_000]
    late = Part(whole.recording, whole.boxes, 0, END_US, "late", labels_from_us=80_500)
    assert empty(looks(late, whole))[:2] == [81_000, 91_000]


def test_what_a_rule_leaves_out_at_the_beginning_is_not_known(whole: Part) -> None:
    late = Part(whole.recording, whole.boxes, 0, END_US, "late", labels_from_us=20_000)
    known = [t for s in looks(late, negative_share=0) for t in s.ends_us[s.known].tolist()]
    assert min(known) == 20_000
    assert looks(late).skipped() == 1


def test_two_labels_within_a_step_count_once_and_without_labels_nothing_is_scored(whole: Part) -> None:
    twice = Part(whole.recording, boxes_at([10_100, 10_900, 20_000]), 0, END_US, "twice")
    found = looks(twice)
    assert found.skipped() == 1
    (left,) = [s.truth.xyxy[s.step == 0, 0].item() for s in found if s.ends_us[0, 0] == 10_000]
    assert left == pytest.approx(1.09)
    with pytest.raises(ConfigError, match="windows=every: no label after the first 1000 µs"):
        looks(Part(whole.recording, boxes_at([500]), 0, END_US, "early"))


def test_where_looks_are_listed_those_without_a_box_are_scored_and_nothing_far_from_them(whole: Part) -> None:
    listed = replace(whole, looks_us=np.array([*LABELS, 50_400, 52_000, 90_000]))

    assert empty(looks(listed)) == [50_000, 52_000, 90_000]  # the last steps that ended by then
    assert empty(looks(listed, negative_share=0)) == []
    assert empty(looks(replace(whole, looks_us=np.array(LABELS)))) == []
    assert empty(looks(replace(listed, labels_from_us=51_000), whole))[:2] == [52_000, 90_000]
    near = replace(whole, looks_us=np.array([*LABELS, 47_000]))  # the step that ended by then is nearer to a label
    assert empty(looks(near, slice_us=6000, gap_us=1)) == [42_000]
