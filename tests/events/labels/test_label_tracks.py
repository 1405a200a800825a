"""Track ids that are none: no box is lost to a column that no tracker wrote, and no track to a rule against such."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_events_labels import ETRAM, read

from spikeyolo.events.labels import without_common_ids
from spikeyolo.events.labels.tracks import as_track_ids, identities
from spikeyolo.events.types import Boxes


def tracked(ids: npt.ArrayLike, looks: int, per_look: int = 1, step_px: float = 0.0) -> npt.NDArray[np.void]:
    """Boxes in rows that stand still or drift, ``per_look`` of them at each of ``looks`` times."""
    rows = np.zeros(looks * per_look, ETRAM)
    look, which = np.divmod(np.arange(len(rows)), per_look)
    rows["t"], rows["x"], rows["y"], rows["w"], rows["h"] = 1000 * look, 1 + step_px * look, 15 * which, 20, 10
    rows["track_id"], rows["class_confidence"] = ids, 1
    return rows


@given(value=st.sampled_from([0, 7, 2**32 - 1]), looks=st.integers(1, 5), per_look=st.integers(2, 5))
def test_a_constant_track_column_loses_no_box(
    value: int, looks: int, per_look: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("labels")
    labels = read(folder, tracked(value, looks, per_look))
    assert len(labels.boxes) == looks * per_look
    assert set(labels.boxes.track_id) == {-1}
    assert labels.dropped == {}


@pytest.mark.parametrize("value", [0, 5])
def test_one_object_under_one_id_keeps_its_track_whatever_the_id(value: int, tmp_path: Path) -> None:
    labels = read(tmp_path, tracked(value, looks=5))
    assert set(labels.boxes.track_id) == {value}
    assert labels.warnings.get("tracks") is None


def test_an_id_of_its_own_for_each_box_of_a_car_is_no_track(tmp_path: Path) -> None:
    labels = read(tmp_path, tracked(np.arange(5), looks=5))
    assert set(labels.boxes.track_id) == {-1}
    assert labels.counts["without_track"] == 5
    assert "each box has its own" in labels.warnings["tracks"]


def test_ids_of_objects_seen_once_are_kept(tmp_path: Path) -> None:
    labels = read(tmp_path, tracked([3, 4, 5], looks=3, step_px=30))
    np.testing.assert_array_equal(labels.boxes.track_id, [3, 4, 5])


def test_an_id_for_the_untracked_among_tracks_costs_only_those(tmp_path: Path) -> None:
    labels = read(tmp_path, tracked([1, 0, 0] * 4, looks=4, per_look=3))
    np.testing.assert_array_equal(labels.boxes.track_id, [1, -1, -1] * 4)
    assert (labels.shared_ids, labels.counts["without_track"]) == ((0,), 8)


def test_ids_are_read_from_any_type_of_number() -> None:
    for column, expected in (
        (np.array([0, 2**32 - 1], "<u4"), [0, -1]),
        (np.array([0, 2**32 - 1], "<i8"), [0, -1]),
        (np.array([3, 2**64 - 1], "<u8"), [3, -1]),
        (np.array([3, 65535], "<u2"), [3, -1]),
        (np.array([3, -1, -7], "<i4"), [3, -1, -1]),
        (np.array([3, np.nan, np.inf], "<f4"), [3, -1, -1]),
    ):
        np.testing.assert_array_equal(as_track_ids(column), expected)


@given(st.data())
def test_tracks_that_follow_objects_are_left_as_they_are(data: st.DataObject) -> None:
    looks, cars = data.draw(st.integers(2, 6)), data.draw(st.integers(1, 4))
    ids = data.draw(st.lists(st.integers(0, 50), min_size=cars, max_size=cars, unique=True))
    rows = tracked(ids * looks, looks, cars)
    xywh = np.stack([rows[name].astype(float) for name in "xywh"], axis=1)
    column = as_track_ids(rows["track_id"])
    found, shared = identities(rows["t"], rows["class_id"], xywh, column)
    np.testing.assert_array_equal(found, column)
    assert len(shared) == 0


def test_what_other_recordings_of_the_set_say_of_a_constant_id_counts() -> None:
    alone = _boxes(0, 0)
    assert set(without_common_ids(alone, {0}).track_id) == {-1}
    assert without_common_ids(alone, {1}) is alone
    assert set(without_common_ids(_boxes(0, 1), {0}).track_id) == {0, 1}


def _boxes(*ids: int) -> Boxes:
    n = len(ids)
    xyxy = np.tile(np.array([[0, 0, 5, 5]], np.float32), (n, 1))
    return Boxes(np.arange(n), xyxy, np.zeros(n, np.int64), np.array(ids), np.ones(n, np.float32))
