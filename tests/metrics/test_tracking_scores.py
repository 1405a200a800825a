"""HOTA, MOTA, IDF1 of tracks in tables."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tracked_scenes import scene, straight

from spikeyolo.detections import DetectionTable, GroundTruth, Looks
from spikeyolo.detections.table import concatenated
from spikeyolo.errors import DetectionError
from spikeyolo.metrics.tracking import track_scores
from spikeyolo.tracking import ByteTrack, track_table

PATHS = [straight((40 * k, 60 + 30 * k), (60 - 30 * k, 20)) for k in range(5)]
PERFECT = ("hota", "det_a", "ass_a", "mota", "motp", "idf1")


def truth_of(**changes: object) -> DetectionTable:
    parts = [
        scene(PATHS, rate_hz=50, duration_s=1.0, classes=[0, 1, 0, 0, 1], recording=name, hidden=[(2, 0.3, 0.4)])
        for name in ("a", "b")
    ]
    return replace(concatenated(parts), **changes)


def noisy(truth: DetectionTable, seed: int) -> DetectionTable:
    """Boxes that are off or missed, false ones, and ids that change now and then."""
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(rng.random(len(truth)) < 0.85)
    found = truth[np.sort(np.concatenate((rows, rng.choice(rows, 30, replace=False))))]
    xywh = found.xywh + rng.normal(0, 2.5, found.xywh.shape).astype(np.float32)
    track = found.track_id + 10 * (rng.random(len(found)) < 0.1) + 100 * (found.t_us > 600_000) * (found.track_id == 1)
    doubled = np.append(False, (np.diff(found.t_us) == 0) & (np.diff(found.track_id) == 0))
    track[doubled] = 1000 + np.arange(doubled.sum())
    xywh[doubled, :2] += 40  # beside any object: the two programs choose differently between boxes that both fit
    return replace(found, xywh=xywh, track_id=track)


def distances(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    """1 - IoU as a plain loop, NaN above 0.5 (motmetrics' own still needs numpy 1)."""
    table = np.full((len(true), len(found)), np.nan)
    for i, a in enumerate(true.astype(float)):
        for j, b in enumerate(found.astype(float)):
            wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            shared = max(wide, 0) * max(high, 0)
            iou = shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
            table[i, j] = 1 - iou if iou >= 0.5 else np.nan
    return table


def test_truth_as_tracks_scores_one_everywhere() -> None:
    truth = truth_of()
    scores = track_scores(replace(truth, track_id=truth.track_id + 7), GroundTruth.of(truth))
    for row in (scores.figures, *scores.per_class.values(), *scores.per_recording.values()):
        assert [row[name] for name in PERFECT] == pytest.approx([1.0] * len(PERFECT))
        assert row["id_switches"] == row["mostly_lost"] == 0
        assert row["mostly_tracked"] == row["true_tracks"] == row["tracks"] > 0
    assert set(scores.per_class) == {"car", "person"}
    assert set(scores.per_recording) == {"a", "b"}
    assert scores.figures["true_tracks"] == 10


@pytest.mark.parametrize("seed", range(4))
def test_mota_and_idf1_are_those_of_motmetrics(seed: int) -> None:
    import motmetrics

    truth = scene(PATHS, rate_hz=50, duration_s=1.0, noise=0.02)
    found = noisy(truth, seed)
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for time in np.unique(truth.t_us):
        true, seen = truth[truth.t_us == time], found[found.t_us == time]
        accumulator.update(true.track_id, seen.track_id, distances(true.xyxy, seen.xyxy))
    host = motmetrics.metrics.create()
    theirs = host.compute(accumulator, metrics=["mota", "idf1", "num_switches"])
    ours = track_scores(found, GroundTruth.of(truth)).figures
    for name in ("mota", "idf1"):
        assert ours[name] == pytest.approx(theirs[name].iloc[0], abs=1e-9), name
    assert ours["id_switches"] == theirs["num_switches"].iloc[0] > 0


def test_the_order_of_rows_and_the_names_of_tracks_mean_nothing() -> None:
    truth = truth_of()
    found = noisy(truth, 5)
    rng = np.random.default_rng(0)
    renamed = replace(found, track_id=rng.permutation(int(found.track_id.max()) + 1)[found.track_id])
    first = track_scores(found, GroundTruth.of(truth)).flat()
    again = track_scores(renamed[rng.permutation(len(found))], GroundTruth.of(truth[rng.permutation(len(truth))]))
    assert again.flat() == pytest.approx(first)
    assert first["hota"] < 0.9


def test_a_switch_in_the_middle_halves_association_and_leaves_detection() -> None:
    truth = scene(PATHS[:1], rate_hz=50, duration_s=1.0)
    found = replace(truth, track_id=np.where(truth.t_us <= 500_000, 1, 2))
    figures = track_scores(found, GroundTruth.of(truth)).figures
    assert figures["det_a"] == figures["mota"] + 1 / 50 == pytest.approx(1.0)
    assert figures["ass_a"] == pytest.approx(0.5)
    assert figures["idf1"] == pytest.approx(0.5)
    assert figures["id_switches"] == 1


def test_what_is_found_where_nobody_looked_is_neither_right_nor_wrong() -> None:
    truth = truth_of()
    seen = truth.t_us % 100_000 == 0
    scores = track_scores(truth, GroundTruth.of(truth[seen]))
    assert scores.figures["hota"] == pytest.approx(1.0)
    looks = Looks.of(truth)
    assert track_scores(truth, GroundTruth(truth[seen], looks)).figures["det_a"] < 0.3


def test_figures_have_names_for_a_logger_a_table_and_json() -> None:
    truth = truth_of()
    scores = track_scores(noisy(truth, 1), GroundTruth.of(truth))
    flat = scores.flat()
    assert {"hota", "idf1/car", "id_switches"} <= set(flat)
    assert json.loads(scores.json())["figures"]["hota"] == flat["hota"]
    lines = scores.table().splitlines()
    assert [line.split()[0] for line in lines] == ["tracks", "car", "person", "all"]
    assert f"{flat['mota']:.4f}" in lines[-1]


def test_no_tracks_at_all_score_zero() -> None:
    truth = truth_of()
    for nothing in (truth[:0], replace(truth, track_id=np.full(len(truth), -1))):
        figures = track_scores(nothing, GroundTruth.of(truth)).figures
        assert figures["hota"] == figures["idf1"] == 0
        assert figures["mostly_lost"] == figures["true_tracks"] == 10


def test_smooth_scenes_score_alike_at_half_the_rate() -> None:
    """The law that time in µs promises: halving the rate of steps changes HOTA by less than 2 points."""
    hota = {}
    for rate in (250, 500, 1000, 2000):
        truth = scene(PATHS, rate_hz=rate, duration_s=1.0, noise=0.0, hidden=[(1, 0.3, 0.4), (3, 0.6, 0.8)])
        found = scene(PATHS, rate_hz=rate, duration_s=1.0, noise=0.04, seed=rate, hidden=[(1, 0.3, 0.4), (3, 0.6, 0.8)])
        rng = np.random.default_rng(rate)
        found = found[rng.random(len(found)) < 0.9]
        tracked = track_table(found, ByteTrack(), step_us=round(1e6 / rate))
        hota[rate] = track_scores(tracked, GroundTruth.of(truth)).figures["hota"]
    values = list(hota.values())
    assert max(abs(np.diff(values))) < 0.02, hota
    assert min(values) > 0.7


def test_boxes_that_count_are_those_of_the_protocol() -> None:
    from spikeyolo.metrics.protocols import PropheseeGen1

    truth = replace(truth_of(), classes=("car", "pedestrian"))
    late = truth.t_us > 500_000
    found = replace(truth, track_id=np.where(late, truth.track_id, truth.track_id + 100 + np.arange(len(truth))))
    assert track_scores(found, GroundTruth.of(truth)).figures["hota"] < 0.9
    assert track_scores(found, GroundTruth.of(truth), PropheseeGen1(min_diagonal=0, min_side=0)).figures[
        "hota"
    ] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"track_id": None}, "truth: has no track ids, so that tracking cannot be scored; expected one in each box"),
        ({"some": 3}, "truth: has no track id in 3 of 490 boxes, so that tracking cannot be scored"),
        ({"twice": True}, "truth: a has two boxes of track 1 at 20000 µs; expected one"),
    ],
)
def test_a_truth_that_cannot_be_tracked_is_refused(change: dict[str, object], sentence: str) -> None:
    truth = truth_of()
    track_id = truth.track_id.copy()
    if "track_id" in change:
        track_id[:] = -1
    elif "some" in change:
        track_id[:3] = -1
    else:
        track_id[(truth.t_us == 20_000) & (truth.track_id == 3)] = 1
    with pytest.raises(DetectionError, match=sentence):
        track_scores(truth, GroundTruth.of(replace(truth, track_id=track_id)))


def test_tracks_of_another_recording_time_or_class_are_refused_by_name() -> None:
    truth = truth_of()
    with pytest.raises(DetectionError, match="found the recordings other, which the truth has not; expected only a, b"):
        track_scores(replace(truth, recordings=("a", "other")), GroundTruth.of(truth))
    with pytest.raises(
        DetectionError, match=r"those of a lie at 5020000 to 6000000 µs, the truth of a at 20000 to 1000000 µs"
    ):
        track_scores(replace(truth, t_us=truth.t_us + 5_000_000), GroundTruth.of(truth))
    with pytest.raises(DetectionError, match="found the classes car, dog; the truth has car, person"):
        track_scores(replace(truth, classes=("car", "dog")), GroundTruth.of(truth))
    with pytest.raises(DetectionError, match="a has two boxes of track 1 at 20000 µs; expected one"):
        track_scores(replace(truth, track_id=np.ones(len(truth), np.int64)), GroundTruth.of(truth))
