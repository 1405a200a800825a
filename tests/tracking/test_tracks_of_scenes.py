"""Who is who on scenes whose tracks are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tracked_scenes import scene, straight

from spikeyolo.detections import DetectionTable
from spikeyolo.detections.table import concatenated
from spikeyolo.tracking import ByteTrack, IouTracker, track_table

CROSSING = [straight((50, 50), (300, 0)), straight((110, 55), (-300, 0))]  # px, px/s; they meet after 0.1 s


def identities(truth: DetectionTable, tracked: DetectionTable) -> dict[int, set[int]]:
    """The ids that each object got, in any of its rows."""
    return {
        number: set(tracked.track_id[truth.track_id == number].tolist())
        for number in np.unique(truth.track_id).tolist()
    }


def assert_one_id_each(truth: DetectionTable, tracked: DetectionTable) -> None:
    found = identities(truth, tracked)
    assert all(len(ids) == 1 and -1 not in ids for ids in found.values()), found
    assert len(set.union(*found.values())) == len(found), found


@pytest.mark.parametrize("rate_hz", [1_000, 10_000, 100_000])
def test_two_that_cross_keep_their_ids_at_any_rate(rate_hz: int) -> None:
    truth = scene(CROSSING, rate_hz=rate_hz, duration_s=0.18, noise=0.03, hidden=[(2, 0.085, 0.12)])
    assert_one_id_each(truth, track_table(truth, ByteTrack(), step_us=round(1e6 / rate_hz)))


@pytest.mark.parametrize("rate_hz", [30, 1_000, 10_000])
def test_an_object_hidden_for_100_ms_keeps_its_id_if_lost_tracks_are_kept_longer(rate_hz: int) -> None:
    truth = scene(CROSSING[:1], rate_hz=rate_hz, duration_s=0.8, noise=0.02, hidden=[(1, 0.4, 0.5)])
    assert_one_id_each(truth, track_table(truth, ByteTrack(lost_after_us=150_000), step_us=round(1e6 / rate_hz)))
    short = track_table(truth, ByteTrack(lost_after_us=90_000), step_us=round(1e6 / rate_hz))
    assert len(identities(truth, short)[1]) == 2


def test_a_track_is_of_one_class() -> None:
    same = [straight((50, 50), (100, 0)), straight((50, 50), (100, 0))]
    truth = scene(same, rate_hz=1000, duration_s=0.3, noise=0.05, classes=[0, 1])
    assert_one_id_each(truth, track_table(truth, ByteTrack(), step_us=1000))


def test_unsure_detections_go_on_with_a_track_but_begin_none() -> None:
    truth = scene(CROSSING[:1], rate_hz=1000, duration_s=0.3, noise=0.02)
    weak = replace(truth, score=np.where(truth.t_us > 100_000, 0.2, 0.9).astype(np.float32))
    assert_one_id_each(truth, track_table(weak, ByteTrack(), step_us=1000))
    assert set(track_table(replace(truth, score=np.full(len(truth), 0.2)), ByteTrack()).track_id.tolist()) == {-1}
    tracked = track_table(replace(truth, score=np.where(truth.t_us > 100_000, 0.05, 0.9)), ByteTrack())
    assert set(tracked.track_id[truth.t_us > 100_000].tolist()) == {-1}


@pytest.mark.parametrize("rate_hz", [1_000, 10_000])
def test_what_is_seen_for_less_than_confirm_us_is_no_track(rate_hz: int) -> None:
    step_us = round(1e6 / rate_hz)
    brief = scene(CROSSING[:1], rate_hz=rate_hz, duration_s=0.2, hidden=[(1, 0.0, 0.1), (1, 0.109, 9)])
    longer = scene(CROSSING[:1], rate_hz=rate_hz, duration_s=0.2, hidden=[(1, 0.0, 0.1), (1, 0.135, 9)])
    other = scene([straight((50, 200), (0, 0))], rate_hz=rate_hz, duration_s=0.2)
    for truth, ids in ((brief, {-1}), (longer, {2})):
        columns = {
            name: np.concatenate([getattr(other, name), getattr(truth, name)])
            for name in ("recording", "t_us", "step", "class_id", "score", "xywh", "track_id")
        }
        tracked = track_table(replace(truth, **columns), ByteTrack(), step_us=step_us)
        assert set(tracked.track_id[len(other) :].tolist()) == ids
        assert set(tracked.track_id[: len(other)].tolist()) == {1}


def test_steps_at_which_nothing_was_found_count_against_a_new_track() -> None:
    truth = scene([straight((50, 50), (0, 0))], rate_hz=10, duration_s=0.25)  # two detections, 100 ms apart
    tracker = ByteTrack()
    assert set(track_table(truth, tracker).track_id.tolist()) == {1}
    assert set(track_table(truth, tracker, step_us=1000).track_id.tolist()) == {-1}


def test_a_likeness_tells_apart_what_overlaps() -> None:
    """Two boxes meet, stop together, and part again: only their looks can tell which is which."""

    def meeting(side: int):  # type: ignore[no-untyped-def]
        def at(seconds):  # type: ignore[no-untyped-def]
            away = np.maximum(np.abs(seconds - 0.5) - 0.2, 0) * 150 * side
            return np.column_stack((150 + away, np.full_like(away, 50), np.full((len(away), 2), 20.0)))

        return at

    truth = scene([meeting(-1), meeting(1)], rate_hz=1000, duration_s=1.0, noise=0.05, seed=3)
    looks = np.eye(8, dtype=np.float32)[truth.track_id]
    assert_one_id_each(truth, track_table(replace(truth, embedding=looks), ByteTrack(), step_us=1000))
    blind = identities(truth, track_table(replace(truth, embedding=looks), ByteTrack(embedding_weight=0), step_us=1000))
    assert any(len(ids) > 1 for ids in blind.values())


def test_ids_begin_again_with_each_recording() -> None:
    parts = [scene(CROSSING, rate_hz=1000, duration_s=0.2, recording=name) for name in ("a", "b")]
    tracked = track_table(concatenated(parts), ByteTrack())
    for recording in (0, 1):
        assert set(tracked.track_id[tracked.recording == recording].tolist()) == {1, 2}


def test_the_baseline_loses_what_jumps_past_its_last_box_and_bytetrack_does_not() -> None:
    truth = scene([straight((20, 50), (500, 0))], rate_hz=30, duration_s=0.6)  # 17 px a step, boxes of 20 px
    assert_one_id_each(truth, track_table(truth, ByteTrack()))
    assert (
        len(identities(truth, track_table(truth, IouTracker()))[1]) != 1
        or -1 in identities(truth, track_table(truth, IouTracker()))[1]
    )


def test_windows_that_overlap_give_an_object_one_box_a_time() -> None:
    truth = scene(CROSSING, rate_hz=1000, duration_s=0.3, noise=0.02)
    early = replace(truth, step=np.zeros(len(truth), np.int64), xywh=truth.xywh + np.float32(2))
    columns = ("recording", "t_us", "class_id", "score", "track_id")
    both = replace(
        truth,
        **{name: np.concatenate((getattr(early, name), getattr(truth, name))) for name in columns},
        xywh=np.concatenate((early.xywh, truth.xywh)),
        step=np.repeat([0, 1], len(truth)),
    )
    tracked = track_table(both, ByteTrack(), step_us=1000)
    assert set(tracked.track_id[both.step == 0].tolist()) == {-1}
    assert_one_id_each(truth, tracked[both.step == 1])
