"""Windows between two label times."""

from __future__ import annotations

import numpy as np
import pytest

from spikeyolo.events import Boxes
from spikeyolo.windows.matching import BoxMatcher


def matcher(rows: list[tuple[int, int, float]], *, gap: int = 10_000) -> BoxMatcher:
    """Rows of (t, track, left): boxes 10 px wide, labelled every 5 ms."""
    t, track, left = (np.array(column) for column in zip(*rows, strict=True))
    xyxy = np.stack([left, left * 0, left + 10, left * 0 + 10], axis=1).astype(np.float32)
    ones = np.ones(len(t))
    boxes = Boxes(t.astype(np.int64), xyxy, 0 * track, track.astype(np.int64), ones.astype(np.float32))
    return BoxMatcher(boxes, temporal_buffer=0.2, label_interval_us=5_000, max_gap_us=gap)


def test_a_track_that_both_looks_saw_is_interpolated_in_a_window_between_them() -> None:
    found = matcher([(0, 1, 0.0), (5_000, 1, 50.0), (5_000, 2, 9.0)]).match(2_000, 250, 2)
    assert list(found.track_id) == [1, 1]
    assert found.xyxy[:, 0] == pytest.approx([22.5, 25.0])


def test_nothing_is_interpolated_across_a_gap_longer_than_the_setting() -> None:
    assert len(matcher([(0, 1, 0.0), (5_000, 1, 50.0)], gap=4_999).match(2_000, 250, 2)) == 0


def test_what_a_window_between_looks_shows_is_unknown_and_far_from_them_it_is_empty() -> None:
    labels = matcher([(0, 1, 0.0), (5_000, 2, 50.0)])
    assert labels.unknown(2_000, 2_500)
    assert labels.unknown(5_000 + 12_000, 5_000 + 12_400)
    assert not labels.unknown(5_000 + 12_500, 5_000 + 12_900)
    assert not labels.unknown(4_600, 5_000)  # a label belongs to it
