"""What every tracker of the ``tracker`` group must obey."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from spikeyolo import schema
from spikeyolo.detections import DetectionTable
from spikeyolo.detections import pieces as table_pieces
from spikeyolo.detections.table import concatenated, empty
from spikeyolo.entry import config_directory
from spikeyolo.errors import ConfigError, DetectionError
from spikeyolo.tracking import (
    ByteTrack,
    IouTracker,
    NoTracker,
    Tracker,
    interpolated,
    track_file,
    track_stream,
    track_table,
    track_whole,
)  # fmt: skip

TRACKERS: dict[str, Callable[[], Tracker]] = {
    "bytetrack": ByteTrack,
    "bytetrack_at_once": lambda: ByteTrack(confirm_us=0),
    "bytetrack_appearance": lambda: ByteTrack(embedding_weight=0.7, embedding_gate=0.2),
    "iou": IouTracker,
}


def test_every_option_of_the_group_builds_the_tracker_of_its_class_without_arguments() -> None:
    files = sorted((config_directory() / "tracker").glob("*.yaml"))
    assert {path.stem for path in files} == {"bytetrack", "iou", "none"}
    for path in files:
        config = OmegaConf.create({"tracker": OmegaConf.load(path)})
        schema.check(config, groups=("tracker",))
        built = schema.build(config.tracker)
        assert built == type(built)()


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("gate", 0, "tracker.gate: found 0; expected greater than 0"),
        ("lost_after_us", 0, "tracker.lost_after_us: found 0; expected greater than or equal to 1"),
        ("lost_after", 5, "tracker.lost_after: ByteTrack has no such parameter; did you mean tracker.lost_after_us?"),
        ("high_score", 1.5, "tracker.high_score: found 1.5; expected less than or equal to 1"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(key: str, value: float, sentence: str) -> None:
    config = OmegaConf.create({"tracker": OmegaConf.load(config_directory() / "tracker" / "bytetrack.yaml")})
    config.tracker[key] = value
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        schema.check(config, groups=("tracker",))


def test_scores_out_of_order_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"low_score: found 0.5; expected at most high_score, which is 0.3"):
        ByteTrack(low_score=0.5)


@pytest.fixture(params=list(TRACKERS))
def tracker(request: pytest.FixtureRequest) -> Tracker:
    return TRACKERS[request.param]()


def clutter(
    seed: int, *, objects: int = 6, steps: int = 60, step_us: int = 1000, recording: str = "r"
) -> DetectionTable:
    """Objects that move, are missed and come with false detections beside them, with embeddings."""
    rng = np.random.default_rng(seed)
    looks = rng.normal(0, 1, (objects + 1, 8))
    start, speed = rng.uniform(0, 200, (objects, 2)), rng.uniform(-400, 400, (objects, 2))
    rows, look = [], []
    for step in range(steps):
        for k in np.flatnonzero(rng.random(objects) < 0.8):
            centre = start[k] + speed[k] * step * step_us * 1e-6 + rng.normal(0, 1, 2)
            rows.append((step, k % 2, rng.uniform(0.2, 1), *centre, 20, 30))
            look.append(looks[k])
        for _ in range(rng.poisson(1)):
            rows.append((step, rng.integers(2), rng.uniform(0.05, 0.8), *rng.uniform(0, 200, 2), 20, 30))
            look.append(looks[-1])
    table = np.array(rows)
    vectors = np.array(look) + rng.normal(0, 0.3, (len(rows), 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    none = np.full(len(rows), -1, np.int64)
    return DetectionTable(
        (recording,),
        ("car", "person"),
        np.zeros(len(rows), np.int64),
        (table[:, 0] * step_us).astype(np.int64),
        none,
        table[:, 1].astype(np.int64),
        table[:, 2].astype(np.float32),
        table[:, 3:].astype(np.float32),
        none,
        vectors.astype(np.float32),
    )


def pieces(table: DetectionTable, cuts: list[int]) -> list[DetectionTable]:
    bounds = [0, *sorted(cut % (len(table) + 1) for cut in cuts), len(table)]
    return [table[start:end] for start, end in pairwise(bounds)]


@pytest.mark.parametrize("name", list(TRACKERS))
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), cuts=st.lists(st.integers(0, 2**31), max_size=6))
def test_piece_by_piece_gives_the_ids_of_the_whole_table_wherever_it_is_cut(
    name: str, seed: int, cuts: list[int]
) -> None:
    table = clutter(seed)
    whole = track_table(table, TRACKERS[name](), step_us=1000)
    streamed = list(track_stream(pieces(table, cuts), TRACKERS[name](), step_us=1000))
    assert all(len(part) for part in streamed)
    ids = np.concatenate([part.track_id for part in streamed])
    assert np.array_equal(np.concatenate([part.xywh for part in streamed]), table.xywh)
    assert np.array_equal(ids, whole.track_id)
    assert (ids > 0).any()


@pytest.mark.parametrize("name", list(TRACKERS))
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_order_of_a_table_changes_nothing(name: str, seed: int) -> None:
    table = clutter(seed)
    order = np.random.default_rng(seed).permutation(len(table))
    shuffled = track_table(table[order], TRACKERS[name](), step_us=1000)
    assert np.array_equal(shuffled.track_id, track_table(table, TRACKERS[name](), step_us=1000).track_id[order])


def test_a_track_has_one_box_a_time_and_one_class(tracker: Tracker) -> None:
    table = clutter(1)
    tracked = track_table(table, tracker, step_us=1000)
    tracked = tracked[tracked.track_id > 0]
    assert len(np.unique(np.column_stack((tracked.track_id, tracked.t_us)), axis=0)) == len(tracked)
    kinds = np.unique(np.column_stack((tracked.track_id, tracked.class_id)), axis=0)
    assert len(kinds) == len(np.unique(tracked.track_id)) > 1
    assert set(tracked.track_id.tolist()) == set(range(1, int(tracked.track_id.max()) + 1))


def test_another_recording_before_changes_nothing(tracker: Tracker) -> None:
    first, second = clutter(1, recording="a"), clutter(2, recording="b")
    alone = track_table(second, tracker, step_us=1000)
    after = list(track_stream([first, second], tracker, step_us=1000))
    assert np.array_equal(
        np.concatenate([part.track_id for part in after if part.recordings == ("b",)]), alone.track_id
    )
    both = concatenated([first, second])
    assert np.array_equal(track_table(both, tracker, step_us=1000).track_id[len(first) :], alone.track_id)


def test_rows_are_given_back_soon_after_they_came(tracker: Tracker) -> None:
    table = clutter(3, steps=200)
    fed, back, most = 0, 0, 0
    given_back = 0

    def feeding():  # type: ignore[no-untyped-def]
        nonlocal fed
        for step in np.unique(table.t_us):
            rows = table[table.t_us == step]
            fed += len(rows)
            yield rows

    for part in track_stream(feeding(), tracker, step_us=1000):
        back += len(part)
        given_back += 1
        if fed < len(table):
            most = max(most, fed - back)
    assert back == len(table)
    assert given_back > 20
    assert most <= 25 * 10  # rows of confirm_us and a few steps, not of the recording


def test_no_detections_are_no_tracks(tracker: Tracker) -> None:
    nothing = empty(("car",))
    assert len(track_table(nothing, tracker)) == 0
    assert list(track_stream([nothing, nothing], tracker)) == []
    assert list(track_stream([], tracker)) == []


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_value_that_is_none_is_refused(tracker: Tracker, wrong: float) -> None:
    tracks = tracker.start()
    assert tracks is not None
    box, score, kind = np.zeros((1, 4)), np.ones(1), np.zeros(1, np.int64)
    with pytest.raises(DetectionError, match="step at 5 µs holds a box or score that is not finite"):
        tracks.update(5, box + wrong, score, kind)
    with pytest.raises(DetectionError, match="not finite"):
        tracks.update(5, box, score * wrong, kind)


def test_time_goes_on(tracker: Tracker) -> None:
    table = clutter(1)
    tracks = tracker.start()
    assert tracks is not None
    tracks.update(5, table.xywh[:3], table.score[:3], table.class_id[:3])
    with pytest.raises(DetectionError, match="found a step at 5 µs after one at 5 µs; expected a later one"):
        tracks.update(5, table.xywh[:3], table.score[:3], table.class_id[:3])
    with pytest.raises(DetectionError, match="found detections at 0 µs after some at 59000 µs"):
        list(track_stream([table, table], tracker))


def test_no_tracker_leaves_the_ids_of_others() -> None:
    table = clutter(1)
    table = replace(table, track_id=np.arange(len(table)))
    assert np.array_equal(track_table(table, NoTracker()).track_id, table.track_id)
    parts = list(track_stream([table], NoTracker()))
    assert np.array_equal(np.concatenate([part.track_id for part in parts]), table.track_id)


def test_a_file_read_in_pieces_gives_the_tracks_of_the_whole_table_and_the_same_gaps(
    tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_pieces, "PIECE", 17)  # cuts through steps
    parts = [clutter(seed, recording=name) for seed, name in enumerate("ba")]
    path = concatenated(parts).write(tmp_path / "a.parquet")
    table = DetectionTable.read(path)
    whole = track_whole(table, tracker, step_us=1000)
    assert np.array_equal(whole.table.track_id, track_table(table, tracker, step_us=1000).track_id)
    found = track_file(path, tracker, step_us=1000)
    for name in ("rows", "best", "span_us", "tracked", "tracks"):
        assert getattr(found, name) == getattr(whole, name), name
    for gap_us in (0, 5000):
        made = [interpolated(one.table, gap_us=gap_us) if gap_us else one.table for one in (found, whole)]
        ours, expected = (one[one.track_id >= 0] for one in made)
        assert ours.recordings == expected.recordings
        for name in ("recording", "t_us", "step", "class_id", "score", "xywh", "track_id", "embedding"):
            assert np.array_equal(getattr(ours, name), getattr(expected, name)), name
