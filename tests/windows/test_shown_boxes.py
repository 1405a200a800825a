"""Windows without any box: refused for training, said for validation; and a split that begins after the recording."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import END_US, boxes_at, part, random_events, store
from test_absent_classes import Written

from spikeyolo.errors import ConfigError, LabelError
from spikeyolo.events.datasets import SingleRecording
from spikeyolo.events.types import Boxes
from spikeyolo.windows.data import EventData
from spikeyolo.windows.dataset import Cut, WindowDataset
from spikeyolo.windows.encoders import HistogramEncoder
from spikeyolo.windows.rules import WindowRules
from spikeyolo.windows.shown import shows_a_box

EARLY = boxes_at(range(10, 90, 5))  # written in ms, read as µs
GOOD = boxes_at(range(10_000, 90_000, 5_000))


def data(folder: Path, *, train: Boxes = GOOD, val: Boxes = GOOD, **windows: Any) -> EventData:
    return EventData(
        dataset=Written(folder, train=train, val=val),
        classes=("car",),
        store=str(folder),
        encoder=HistogramEncoder(),
        slice_duration_us=1000,
        **windows,
    )


@pytest.mark.parametrize("windows", [{}, {"slicing": "sliding", "targets": "last"}, {"sampling": "streaming"}])
def test_training_windows_without_any_box_are_refused_and_the_unit_is_named(
    windows: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(LabelError, match=r"^train: none of \d+ windows holds a box .*expected time_unit=ms") as caught:
        data(tmp_path, train=EARLY, temporal_buffer=0.0, **windows).train_loader(augmentation=None, seed=0)
    assert "data.dataset.train_labels.time_unit" in str(caught.value)
    data(tmp_path / "good", **windows).train_loader(augmentation=None, seed=0)


def test_validation_windows_without_any_box_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        data(tmp_path, val=EARLY).val_loader()
        data(tmp_path / "good").val_loader()
    (said,) = caplog.messages
    assert said.startswith("val: none of ")
    assert said.endswith("val/map50, val/map … will not be defined")


@given(
    times=st.lists(st.integers(0, END_US - 1), unique=True, max_size=4).map(sorted),
    other=st.lists(st.integers(0, END_US - 1), unique=True, max_size=2).map(sorted),
    how=st.sampled_from([("alone", "by_count"), *((cut, "sliding") for cut in ("alone", "lanes", "both", "whole"))]),
    targets=st.sampled_from(["per_slice", "last"]),
    buffer=st.sampled_from([0.0, 0.2, 3.0]),
    gap_us=st.sampled_from([None, 0, 50_000]),
)
def test_a_box_is_found_where_any_window_shows_one(
    times: list[int], other: list[int], how: tuple[Cut, Any], targets: Any, buffer: float, gap_us: int | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    recording = store(tmp_path_factory.mktemp("a") / "a.zarr", random_events(400))
    rules = WindowRules(
        slice_duration_us=1000, time_steps=4, slicing=how[1], events_per_window=60, overlap=0.0,
        temporal_buffer=buffer, max_label_gap_us=gap_us, targets=targets, max_samples_per_file=None,
        max_events_per_sample=None, negative_share=0.1,
    )  # fmt: skip
    parts = [part(recording, None), part(recording, boxes_at(times)), part(recording, boxes_at(other))]
    dataset = WindowDataset(parts, rules=rules, encoder=HistogramEncoder(), cut=how[0])
    samples = [dataset[0, index] for index in range(len(dataset))]
    assert shows_a_box(dataset) == any(one.supervised[one.boxes.step].any() for one in samples)


def single(folder: Path, train_until_us: int, boxes: Sequence[int], size: str = "8,7") -> EventData:
    """A recording of 100 ms as text."""
    folder.mkdir(exist_ok=True)
    e = random_events()
    rows = np.stack([e.t, e.x, e.y, e.p], axis=1).astype(np.int64)
    np.savetxt(folder / "a.csv", rows, fmt="%d", delimiter=",", header="t,x,y,p", comments="")
    lines = [f"{t},4,4,{size},car\n" for t in boxes]
    (folder / "a_bbox.csv").write_text("t_us,x,y,w,h,class\n" + "".join(lines))
    dataset = SingleRecording(
        events=str(folder / "a.csv"), labels=str(folder / "a_bbox.csv"), classes=["car"],
        train_until_us=train_until_us, size=[33, 21],
    )  # fmt: skip
    return EventData(
        dataset=dataset,
        classes=("car",),
        store=str(folder / "store"),
        encoder=HistogramEncoder(),
        slice_duration_us=1000,
    )


def test_a_validation_that_begins_after_the_recording_is_refused_with_where_it_ends(tmp_path: Path) -> None:
    found = single(tmp_path, 400_000, range(10_000, 90_000, 5_000))
    found.train_loader(augmentation=None, seed=0)
    expected = r"^data\.train_until_us: found 400000; expected less than 100000, where .*a\.csv ends"
    with pytest.raises(ConfigError, match=expected):
        found.val_loader()


def test_a_box_where_training_ends_and_validation_begins_counts_once(tmp_path: Path) -> None:
    found = single(tmp_path, 50_000, range(10_000, 90_001, 10_000))
    counts = {role: found.parts(role)[0].counted for role in ("train", "val")}
    assert counts == {"train": 5, "val": 4}


def test_boxes_that_are_nearly_all_clipped_are_warned_about_in_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = single(tmp_path, 50_000, range(10_000, 90_001, 5_000), size="32,20")  # a corner where the size should be
    with caplog.at_level(logging.WARNING):
        found.train_loader(augmentation=None, seed=0)
    assert "17 boxes reach over the edge of the frame of 33x21 px" in caplog.text
    assert "expected x, y, w, h" in caplog.text
