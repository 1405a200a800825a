"""Comparisons: copies do not differ, planted differences are found, equal detectors are rarely called different."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scored_scenes import PROTOCOLS, classes_of, imperfect, moving_truth, table_of

from spikeyolo.detections import DetectionTable, GroundTruth, Looks
from spikeyolo.errors import ConfigError
from spikeyolo.metrics import ResampledPrecision, compare, paired_difference, score
from spikeyolo.metrics.comparison import Comparison, fewest_recordings
from spikeyolo.metrics.protocols import Coco, Protocol
from spikeyolo.metrics.resample import MeanPrecision
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
    assert "cannot be told with 5 recordings (6 are needed):" in result.sentence()  # the last one holds no true box


def test_the_same_seed_draws_the_same_and_turning_the_tables_turns_the_interval() -> None:
    truth = moving_truth(("car", "bus"), recordings=6)
    first, second = imperfect(truth, seed=1), imperfect(truth, seed=2, blur=1)
    there, again = (compare(first, second, truth, Coco(), draws=200) for _ in range(2))
    assert there == again
    back = compare(second, first, truth, Coco(), draws=200)
    assert (back.difference, back.low, back.high) == pytest.approx((-there.difference, -there.high, -there.low))


def detectors(
    rng: np.random.Generator, quality: Sequence[float], recordings: int = 20
) -> tuple[GroundTruth, list[DetectionTable]]:
    """Detectors that find each true box with a probability of their own, harder in some recordings: 5 looks a
    recording with 5 boxes each."""
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
    return GroundTruth.of(table_of(true.tolist(), names, ("car",))), tables


def simulated(seed: int, quality: tuple[float, float], recordings: int = 20) -> Comparison:
    """Two of them compared."""
    truth, tables = detectors(np.random.default_rng(seed), quality, recordings)
    return compare(*tables, truth, Coco(), seed=seed)


def seeded(seed: int, quality: tuple[float, float], *, seeds: int, spread: float) -> Comparison:
    """Two configurations compared, each of several seeds whose detectors differ."""
    rng = np.random.default_rng(seed)
    truth, tables = detectors(rng, rng.normal(np.repeat(quality, seeds), spread).tolist())
    each = [ResampledPrecision.of(judge(table, truth, Coco()), "map50") for table in tables]
    return paired_difference(MeanPrecision(each[:seeds]), MeanPrecision(each[seeds:]), draws=300, seed=seed)


def test_a_planted_difference_is_found_in_at_least_90_of_100_draws() -> None:
    verdicts = [simulated(seed, (0.6, 0.72)).verdict for seed in range(100)]
    assert verdicts.count("better") >= 90
    assert verdicts.count("worse") == 0


@pytest.mark.parametrize("recordings", [2, 3, 4, 6, 8, 20])
def test_two_equal_detectors_are_called_different_in_at_most_8_of_100_draws(recordings: int) -> None:
    verdicts = [simulated(1000 + seed, (0.65, 0.65), recordings).verdict for seed in range(100)]
    assert sum(verdict != "cannot be told" for verdict in verdicts) <= 8


def test_with_fewer_recordings_than_can_tell_the_interval_is_shown_and_the_reason_said() -> None:
    few, enough = simulated(0, (0.3, 0.9), 5), simulated(0, (0.3, 0.9), 6)
    assert 0 < few.low < few.difference
    assert few.words() == "cannot be told with 5 recordings (6 are needed)"
    assert enough.words() == "better"
    assert [fewest_recordings(confidence) for confidence in (0.5, 0.9, 0.95, 0.99)] == [2, 5, 6, 8]


def test_recordings_without_objects_do_not_make_a_difference_surer() -> None:
    truth, tables = detectors(np.random.default_rng(0), (0.3, 0.9), 5)
    names = (*truth.looks.recordings, *(f"empty {n}" for n in range(10)))
    empty = np.arange(5, 15)
    looks = Looks(names, np.append(truth.looks.recording, empty), np.append(truth.looks.t_us, 0 * empty))
    result = compare(*tables, GroundTruth(truth.boxes, looks), Coco())
    assert result.low > 0
    assert result.words() == "cannot be told with 5 recordings (6 are needed)"


@pytest.mark.parametrize("seeds", [2, 3])
def test_seeds_are_chance_too_where_both_have_several(seeds: int) -> None:
    equal = [seeded(seed, (0.6, 0.6), seeds=seeds, spread=0.1) for seed in range(50)]
    fixed = sum(one.over_recordings[0] > 0 or one.over_recordings[1] < 0 for one in equal)
    assert fixed >= 15  # these detectors differ, and the recordings show it; what they are seeds of does not
    assert sum(one.verdict != "cannot be told" for one in equal) <= 4
    assert all(one.low < one.over_recordings[0] and one.high > one.over_recordings[1] for one in equal)


def test_a_planted_difference_is_found_over_what_seeds_make() -> None:
    other = [seeded(seed, (0.4, 0.8), seeds=3, spread=0.03).verdict for seed in range(20)]
    assert other.count("better") >= 18


def test_with_one_recording_nothing_can_be_told() -> None:
    truth = moving_truth(("car",), recordings=2)
    truth = GroundTruth(
        truth.boxes,
        Looks(("drive 0",), *(c[truth.looks.recording == 0] for c in (truth.looks.recording, truth.looks.t_us))),
    )
    result = compare(imperfect(truth), truth.boxes, truth, Coco())
    assert result.words() == "cannot be told with 1 recording (6 are needed)"
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
