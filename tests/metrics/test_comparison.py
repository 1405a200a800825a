"""Comparisons: copies do not differ, planted differences are found, equal detectors are rarely called different."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scored_scenes import PROTOCOLS, classes_of, imperfect, moving_truth, table_of

from spikeyolo.detections import DetectionTable, GroundTruth, Looks
from spikeyolo.errors import ConfigError
from spikeyolo.metrics import ResampledPrecision, compare, paired_difference, score
from spikeyolo.metrics.protocols import Coco, Protocol
from spikeyolo.metrics.score import judge

METRICS = ("map", "map50", "map75", "ap/car", "ap50/car")


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=[protocol.name for protocol in PROTOCOLS])
def test_without_resampling_the_figure_is_the_scores(protocol: Protocol) -> None:
    truth = moving_truth(classes_of(protocol), rate=30, seed=7)
    found = imperfect(truth)
    flat = score(found, truth, protocol).flat()
    judged = judge(found, truth, protocol)
    for metric in METRICS:
        assert ResampledPrecision.of(judged, metric).figure() == pytest.approx(flat[metric], abs=1e-9, nan_ok=True)


def repeated(truth: GroundTruth, found: DetectionTable, weights: list[int]) -> tuple[GroundTruth, DetectionTable]:
    """Every recording as often as its weight says, under names of their own."""
    names = tuple(f"{name} {i}" for name, weight in zip(found.recordings, weights) for i in range(weight))

    def rows(recording: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        kept = [np.flatnonzero(recording == r) for r, weight in enumerate(weights) for _ in range(weight)]
        return np.concatenate(kept), np.repeat(np.arange(len(kept)), [len(part) for part in kept])

    def table(old: DetectionTable) -> DetectionTable:
        kept, recording = rows(old.recording)
        return replace(old[kept], recordings=names, recording=recording)

    kept, recording = rows(truth.looks.recording)
    return GroundTruth(table(truth.boxes), Looks(names, recording, truth.looks.t_us[kept])), table(found)


@pytest.mark.parametrize("weights", [[2, 0, 1, 3], [1, 1, 1, 1], [0, 4, 0, 0], [0, 1, 2, 1]])
def test_a_recording_drawn_twice_counts_as_if_it_were_there_twice(weights: list[int]) -> None:
    truth = moving_truth(("car", "bus"), recordings=4, seed=1)
    found = imperfect(truth)
    found = replace(found, score=np.random.default_rng(0).permutation(len(found)).astype(np.float32) / len(found))
    judged = judge(found, truth, Coco())
    scores = score(*reversed(repeated(truth, found, weights)), Coco())
    for metric in METRICS:
        drawn = ResampledPrecision.of(judged, metric).figures(np.array([weights]))[0]
        assert drawn == pytest.approx(scores.flat()[metric], abs=1e-9, nan_ok=True)


def test_a_copy_differs_by_nothing() -> None:
    truth = moving_truth(("car", "bus"), recordings=6)
    found = imperfect(truth)
    result = compare(found, replace(found), truth, Coco(), metric="map", draws=200)
    assert (result.difference, result.low, result.high) == (0.0, 0.0, 0.0)
    assert result.verdict == "cannot be told"
    assert "cannot be told with 6 recordings" in result.sentence()


def test_the_same_seed_draws_the_same_and_turning_the_tables_turns_the_interval() -> None:
    truth = moving_truth(("car", "bus"), recordings=6)
    first, second = imperfect(truth, seed=1), imperfect(truth, seed=2, blur=1)
    there, again = (compare(first, second, truth, Coco(), draws=200) for _ in range(2))
    assert there == again
    back = compare(second, first, truth, Coco(), draws=200)
    assert (back.difference, back.low, back.high) == pytest.approx((-there.difference, -there.high, -there.low))


def simulated(seed: int, quality: tuple[float, float], recordings: int = 20) -> str:
    """Two detectors that find each true box with a probability of their own, harder in some recordings: 5 looks a
    recording with 5 boxes each."""
    rng = np.random.default_rng(seed)
    recording, look, box = (axis.reshape(-1) for axis in np.mgrid[:recordings, :5, :5])
    none, side = np.zeros(len(box)), np.full(len(box), 40)
    aside = np.array([0, 0, 0, 0, 300, 0, 0, 0])
    true = np.column_stack((recording, look, none, 50 * box, none, side, side, none - 1))
    hardness = rng.normal(0, 0.1, recordings)[recording]
    names = tuple(f"drive {n}" for n in range(recordings))
    tables = []
    for share in quality:
        found = np.column_stack((true, rng.uniform(0.3, 1, len(true))))[rng.random(len(true)) < share + hardness]
        false = np.column_stack((true + aside, rng.uniform(0, 0.8, len(true))))
        rows = np.concatenate((found, false[rng.random(len(true)) < 0.3]))
        tables.append(table_of(rows.tolist(), names, ("car",)))
    truth = GroundTruth.of(table_of(true.tolist(), names, ("car",)))
    return compare(*tables, truth, Coco(), seed=seed).verdict


def test_a_planted_difference_is_found_in_at_least_90_of_100_draws() -> None:
    verdicts = [simulated(seed, (0.6, 0.72)) for seed in range(100)]
    assert verdicts.count("better") >= 90
    assert verdicts.count("worse") == 0


def test_two_equal_detectors_are_called_different_in_at_most_8_of_100_draws() -> None:
    verdicts = [simulated(1000 + seed, (0.65, 0.65)) for seed in range(100)]
    assert sum(verdict != "cannot be told" for verdict in verdicts) <= 8


def test_with_one_recording_nothing_can_be_told() -> None:
    truth = moving_truth(("car",), recordings=2)
    truth = GroundTruth(
        truth.boxes,
        Looks(("drive 0",), *(c[truth.looks.recording == 0] for c in (truth.looks.recording, truth.looks.t_us))),
    )
    result = compare(imperfect(truth), truth.boxes, truth, Coco())
    assert result.verdict == "cannot be told"
    assert math.isnan(result.low)
    assert "nan" not in result.sentence()


def test_an_unknown_metric_or_different_recordings_are_refused() -> None:
    truth = moving_truth(("car", "bus"))
    judged = judge(truth.boxes, truth, Coco())
    for metric in ("f1", "ap50/tram", "map/car", "ap"):
        with pytest.raises(ConfigError, match="expected map, map50, map75, ap/CLASS or ap50/CLASS"):
            ResampledPrecision.of(judged, metric)
    with pytest.raises(ConfigError, match="expected the same metric and recordings"):
        paired_difference(ResampledPrecision.of(judged, "map"), ResampledPrecision.of(judged, "map50"))
