"""Label times come to the events' clock as the rules name it, and a refusal names the clock that would fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spikeyolo.errors import LabelError
from spikeyolo.events.labels import LabelRules, Labels, read_boxes

BOX = [("t", "<i8"), ("x", "<f4"), ("y", "<f4"), ("w", "<f4"), ("h", "<f4"), ("class_id", "<u4")]
OFFSET = 913_716_224
SPAN = (0, 96_000)


def read(folder: Path, times: list[int], clock: str, **options: object) -> Labels:
    np.save(path := folder / "a_bbox.npy", np.array([(t, 5, 6, 20, 10, 0) for t in times], BOX))
    settings = {"classes": ["car"], "width": 100, "height": 80, "span_us": SPAN, "time_offset_us": OFFSET, **options}
    return read_boxes(path, rules=LabelRules(label_clock=clock), **settings)  # type: ignore[arg-type]


def test_labels_from_the_start_stay_as_they_are(tmp_path: Path) -> None:
    assert read(tmp_path, [0, 40_000], "start").boxes.t.tolist() == [0, 40_000]


def test_labels_on_the_cameras_clock_are_shifted_by_the_recordings_offset(tmp_path: Path) -> None:
    assert read(tmp_path, [OFFSET, OFFSET + 40_000], "camera").boxes.t.tolist() == [0, 40_000]


def test_labels_on_unix_time_fit_recordings_on_unix_time_alone(tmp_path: Path) -> None:
    assert read(tmp_path, [OFFSET + 7], "unix", recording_clock="unix").boxes.t.tolist() == [7]
    with pytest.raises(LabelError, match=r"label_clock is unix, .*expected label_clock=start or label_clock=camera"):
        read(tmp_path, [OFFSET + 7], "unix")


@pytest.mark.parametrize(
    ("times", "named", "fits", "recording_clock"),
    [
        ([0, 50_000], "camera", "start", "camera"),
        ([OFFSET, OFFSET + 50_000], "start", "camera", "camera"),
        ([OFFSET, OFFSET + 50_000], "start", "unix", "unix"),
        ([0, 50_000], "unix", "start", "unix"),
    ],
)
def test_a_refusal_names_the_clock_that_would_fit(
    tmp_path: Path, times: list[int], named: str, fits: str, recording_clock: str
) -> None:
    with pytest.raises(LabelError, match=rf"they would fit with label_clock={fits} \(found label_clock={named}\)"):
        read(tmp_path, times, named, recording_clock=recording_clock)


def test_labels_that_fit_no_clock_are_another_recordings(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="labels of another recording") as caught:
        read(tmp_path, [7 * OFFSET], "start")
    assert "would fit" not in str(caught.value)


def test_labels_that_fit_two_clocks_are_taken_as_told_and_said(tmp_path: Path) -> None:
    labels = read(tmp_path, [25_000, 90_000], "start", time_offset_us=20_000)
    assert labels.boxes.t.tolist() == [25_000, 90_000]
    assert "20000 µs earlier as times of its camera too" in labels.warnings["clock"]
    for clock, offset in (("start", 5), ("camera", 20_000)):
        assert "clock" not in read(tmp_path, [25_000, 90_000], clock, time_offset_us=offset).warnings
