"""Corrections undo what is wrong with whole label files, and change nothing where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeyolo.errors import LabelError
from spikeyolo.events.labels import LabelCorrection, LabelRules, read_boxes

KINDS = [("t", "<i8"), *((name, "<f4") for name in "xywh"), ("class_id", "<u4")]
BOXES = np.array([[10, 20, 30, 15], [40, 5, 20, 25]], np.float64)  # left, top, width, height
WIDTH, HEIGHT = 100, 60


def as_written(how: str) -> np.ndarray:
    x, y, w, h = BOXES.T
    columns = {
        "cxcywh": (x + w / 2, y + h / 2, w, h),
        "xyxy": (x, y, x + w, y + h),
        "yxhw": (y, x, h, w),
        "flip x": (WIDTH - x - w, y, w, h),
        "flip y": (x, HEIGHT - y - h, w, h),
        "half": (x / 2, y / 4, w / 2, h / 4),
        "beside": (x + 3, y - 2, w, h),
    }
    return np.stack(columns[how], axis=1)


@pytest.mark.parametrize(
    ("how", "correction"),
    [
        ("cxcywh", {"columns": "cxcywh"}),
        ("xyxy", {"columns": "xyxy"}),
        ("yxhw", {"columns": "yxhw"}),
        ("flip x", {"flip": "x"}),
        ("flip y", {"flip": "y"}),
        ("half", {"scale": [2, 4]}),
        ("beside", {"offset_px": [-3, 2]}),
    ],
)
def test_a_correction_gives_back_the_boxes(how: str, correction: dict[str, Any], tmp_path: Path) -> None:
    rows = np.zeros(2, KINDS)
    rows["t"] = 1000, 2000
    for name, column in zip("xywh", as_written(how).T):
        rows[name] = column
    np.save(path := tmp_path / "a_bbox.npy", rows)
    rules = LabelRules(correction=LabelCorrection(**correction))
    found = read_boxes(path, classes=["car"], width=WIDTH, height=HEIGHT, rules=rules).boxes
    np.testing.assert_allclose(found.xyxy[:, :2], BOXES[:, :2], atol=1e-4)
    np.testing.assert_allclose(found.xyxy[:, 2:] - found.xyxy[:, :2], BOXES[:, 2:], atol=1e-4)


def test_a_shift_in_time_is_added_before_times_are_checked(tmp_path: Path) -> None:
    rows = np.zeros(2, KINDS)
    rows["t"], rows["w"], rows["h"] = (1_000_000, 1_040_000), 5, 5
    np.save(path := tmp_path / "a_bbox.npy", rows)
    options: dict[str, Any] = {"classes": ["car"], "width": WIDTH, "height": HEIGHT, "span_us": (0, 100_000)}
    with pytest.raises(LabelError):
        read_boxes(path, **options)
    rules = LabelRules(correction=LabelCorrection(time_shift_us=-1_000_000))
    assert read_boxes(path, rules=rules, **options).boxes.t.tolist() == [0, 40_000]


def test_rules_without_a_correction_are_noted_as_before_there_were_any() -> None:
    assert LabelRules(correction=LabelCorrection()).noted() == LabelRules().noted()
    assert "correction" not in LabelRules().noted()
    assert LabelRules(correction=LabelCorrection(time_shift_us=5)).noted()["correction"]["time_shift_us"] == 5
