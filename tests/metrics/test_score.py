"""Scores: the truth as detections is perfect, every protocol equals its rules written out slowly, and what cannot be
scored is said."""

from __future__ import annotations

import contextlib
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_scenes import PROTOCOLS, classes_of, imperfect, moving_truth, table_of

from spikeyolo.detections import DetectionTable, GroundTruth, Looks
from spikeyolo.detections.table import empty
from spikeyolo.errors import ConfigError, DetectionError
from spikeyolo.metrics import Scores, score
from spikeyolo.metrics.protocols import Coco, Dsec, PropheseeGen1, PropheseeOneMegapixel, Protocol
from spikeyolo.metrics.score import step_figures

NAMES = [protocol.name for protocol in PROTOCOLS]
Box = tuple[float, float, float, float]


@pytest.mark.parametrize("rate", [1, 4, 10, 30, 60, 200])
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=NAMES)
def test_truth_as_detections_scores_one_at_every_label_rate(protocol: Protocol, rate: int) -> None:
    truth = moving_truth(classes_of(protocol), rate=rate, seconds=4 if rate < 10 else 2, seed=7)
    strict = replace(protocol, empty_looks=True)
    for scores in (
        score(truth.boxes, truth, protocol),
        score(truth.boxes, truth, protocol, frames=truth.looks),
        score(truth.boxes, truth, strict),
        score(truth.boxes, truth, strict, frames=truth.looks),
    ):
        for name in ("map", "map50", "map75", "recall", "precision", "recall50", "f1"):
            assert scores.figures[name] == pytest.approx(1.0, abs=1e-12), name
        assert max(scores.errors.values()) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("protocol", PROTOCOLS[1:], ids=NAMES[1:])
def test_a_perfect_detector_is_not_punished_for_small_boxes_for_detections_are_filtered_too(protocol: Protocol) -> None:
    truth = moving_truth(classes_of(protocol), seed=7)
    scores = score(truth.boxes, truth, protocol)
    assert scores.counts["truths_left_out"] > 0
    assert scores.counts["truths"] + scores.counts["truths_left_out"] == len(truth.boxes)
    assert scores.figures["map"] == pytest.approx(1.0)
    only_truth_filtered = GroundTruth(protocol.select(truth.boxes)[0], truth.looks)
    kept = Coco(classes=only_truth_filtered.boxes.classes)
    if not isinstance(protocol, Dsec):
        assert score(truth.boxes, only_truth_filtered, kept).figures["map"] < 0.99


def slow_figures(
    found: DetectionTable, truth: GroundTruth, protocol: Protocol, frames: set[tuple[str, int]] | None
) -> dict[str, float]:
    """The protocol's rules with loops, and pycocotools."""
    limits = {
        "coco": (0, 0.0, 0.0, 0),
        "prophesee_gen1": (500_000, 30.0, 10.0, 50_000),
        "prophesee_1mpx": (500_000, 60.0, 20.0, 50_000),
        "etram": (500_000, 30.0, 10.0, 50_000),
        "dsec": (0, 30.0, 20.0, 0),
    }
    skip, diagonal, side, tolerance = limits[protocol.name]
    dsec = protocol.name == "dsec"

    def counted(table: DetectionTable) -> dict[tuple[str, int], list[tuple[str, Box, float]]]:
        kept: dict[tuple[str, int], list[tuple[str, Box, float]]] = {}
        for r, t, c, s, (x, y, w, h) in zip(
            table.recording, table.t_us, table.class_id, table.score, table.xywh.astype(np.float64)
        ):
            name = table.classes[c]
            if dsec:
                if name == "rider":
                    continue
                name = "car" if name == "bus" else name
                right, bottom = min(max(x + w, 0), 638), min(max(y + h, 0), 428)
                x, y = min(max(x, 0), 638), min(max(y, 0), 428)
                w, h = right - x, bottom - y
                if not (math.hypot(w, h) > diagonal and w > side and h > side):
                    continue
            elif not (math.hypot(w, h) >= diagonal and w >= side and h >= side):
                continue
            if skip and t <= skip:
                continue
            kept.setdefault((table.recordings[r], int(t)), []).append((name, (x, y, w, h), float(s)))
        return kept

    looks = {(truth.looks.recordings[r], int(t)) for r, t in zip(truth.looks.recording, truth.looks.t_us)}
    true, claimed = counted(truth.boxes), counted(found)
    images = []
    for name, t in sorted(looks):
        if (skip and t <= skip) or (protocol.name != "coco" and (name, t) not in true):
            continue
        ran = set(claimed) | (frames or set())
        if frames is None:
            near = [(name, t)] if (name, t) in claimed else [key for key in claimed if key not in looks]
        else:
            near = list(ran)
        near = [key for key in near if key[0] == name and abs(key[1] - t) <= tolerance]
        best = min(near, key=lambda key: (abs(key[1] - t), key[1]), default=None)
        images.append((true.get((name, t), []), claimed.get(best, []) if best else []))
    return pycocotools_figures(images, ["car", "pedestrian"] if dsec else list(truth.boxes.classes))


def pycocotools_figures(images: list[tuple[list, list]], classes: list[str]) -> dict[str, float]:  # type: ignore[type-arg]
    coco = pytest.importorskip("pycocotools.coco", reason="the oracle pycocotools is not installed")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    sides = []
    for which in (0, 1):
        annotations = []
        for i, parts in enumerate(images, start=1):
            for name, box, s in parts[which]:
                annotation = {"id": len(annotations) + 1, "image_id": i, "category_id": classes.index(name), "score": s}
                annotations.append(annotation | {"bbox": list(box), "area": box[2] * box[3], "iscrowd": 0})
        dataset = coco.COCO()
        dataset.dataset = {
            "images": [{"id": i} for i in range(1, len(images) + 1)],
            "categories": [{"id": k, "name": name} for k, name in enumerate(classes)],
            "annotations": annotations,
        }
        sides.append(dataset)
    with contextlib.redirect_stdout(io.StringIO()):
        for dataset in sides:
            dataset.createIndex()
        run = cocoeval.COCOeval(*sides, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    names = ("map", "map50", "map75", "map_small", "map_medium", "map_large")
    figures = {name: value if value > -1 else math.nan for name, value in zip(names, run.stats.tolist())}
    return figures | {"recall": float(run.stats[8])}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=NAMES)
def test_every_protocol_equals_its_rules_written_out_slowly(protocol: Protocol, seed: int) -> None:
    truth = moving_truth(classes_of(protocol), rate=(4, 10, 30, 60, 30)[seed], seed=seed)
    found = imperfect(truth, seed=seed, shift_us=(0, 4000)[seed % 2])
    frames = Looks.of(found) if seed in (2, 3) else None
    listed = None if frames is None else {(frames.recordings[r], int(t)) for r, t in zip(frames.recording, frames.t_us)}
    mine = score(found, truth, protocol, frames=frames).figures
    theirs = slow_figures(found, truth, protocol, listed)
    assert {name: mine[name] for name in theirs} == pytest.approx(theirs, abs=1e-9, nan_ok=True)
    if not (seed % 2 and protocol.time_tolerance_us == 0):
        assert 0.05 < mine["map50"] < 0.95


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), which=st.integers(0, len(PROTOCOLS) - 1))
def test_the_order_of_rows_and_looks_is_of_no_account(seed: int, which: int) -> None:
    rng = np.random.default_rng(seed)
    truth = moving_truth(classes_of(PROTOCOLS[which]), seed=7)
    found = imperfect(truth, seed=seed)
    found = replace(found, score=rng.permutation(len(found)).astype(np.float32) / len(found))
    looks, order = truth.looks, rng.permutation(len(truth.looks))
    turned = GroundTruth(
        truth.boxes[rng.permutation(len(truth.boxes))],
        Looks(looks.recordings, looks.recording[order], looks.t_us[order]),
    )
    expected = score(found, truth, PROTOCOLS[which]).flat()
    assert score(found[rng.permutation(len(found))], turned, PROTOCOLS[which]).flat() == pytest.approx(
        expected, abs=1e-12, nan_ok=True
    )


def test_columns_of_other_lengths_are_refused() -> None:
    truth = moving_truth(("car",))
    with pytest.raises(DetectionError, match=f"events has 3 rows; expected {len(truth.boxes)}"):
        score(truth.boxes, replace(truth, events=np.zeros(3, np.int64)), Coco())


def test_a_recording_without_any_box_is_scored() -> None:
    scores = score((truth := moving_truth(("car",))).boxes, truth, Coco())
    assert math.isnan(scores.per_recording["drive 2"]["map"])
    assert scores.flat()["recording_mean/map"] == pytest.approx(1.0)
    assert scores.worst_recordings() == ["drive 0", "drive 1"]


def test_detections_in_a_recording_without_boxes_cost_precision_under_coco() -> None:
    truth = moving_truth(("car",))
    false = replace(truth.boxes[:3], recording=np.full(3, 2))
    both = replace(
        truth.boxes,
        **{
            name: np.concatenate((getattr(truth.boxes, name), getattr(false, name)))
            for name in ("recording", "t_us", "step", "class_id", "score", "xywh", "track_id")
        },
    )
    assert score(both, truth, Coco()).figures["precision"] < 1.0
    assert score(both, truth, PropheseeGen1(classes=["car"])).figures["precision"] == pytest.approx(1.0)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=NAMES)
def test_no_detections_score_zero(protocol: Protocol) -> None:
    truth = moving_truth(classes_of(protocol), seed=7)
    scores = score(empty(truth.boxes.classes), truth, protocol)
    for name in ("map", "map50", "map75", "recall", "precision", "recall50", "f1"):
        assert scores.figures[name] == 0.0, name
    assert math.isnan(scores.best_threshold)
    assert scores.confusion.counts[:-1, -1].sum() == scores.counts["truths"] == scores.error_counts["missed"]
    json.loads(scores.json())
    assert scores.table()


def test_without_labels_nothing_can_be_scored() -> None:
    truth = moving_truth(("car", "pedestrian"))
    nothing = GroundTruth(truth.boxes[:0], truth.looks)
    with pytest.raises(DetectionError, match="none of 0 labels counts under its rules; nothing can be scored"):
        score(truth.boxes, nothing, Coco())
    with pytest.raises(DetectionError, match="nothing can be scored"):
        score(truth.boxes, truth, PropheseeGen1(min_side=5000))


def test_a_class_that_never_occurs_is_left_out_of_the_mean() -> None:
    truth = moving_truth(("car",), seed=3)
    wider = replace(truth, boxes=replace(truth.boxes, classes=("car", "bus")))
    scores = score(wider.boxes, wider, Coco())
    assert scores.figures["map"] == pytest.approx(1.0)
    assert math.isnan(scores.per_class["bus"]["ap"])


def test_recordings_that_the_truth_has_not_are_refused() -> None:
    truth = moving_truth(("car",))
    foreign = replace(truth.boxes, recordings=("drive 0", "night 9", "drive 2"))
    with pytest.raises(DetectionError, match="found the recordings night 9, which the truth has not"):
        score(foreign, truth, Coco())


def test_recordings_and_classes_are_matched_by_name_not_by_place() -> None:
    truth = moving_truth(("car", "pedestrian"))
    boxes = truth.boxes
    turned = replace(
        boxes,
        recordings=boxes.recordings[::-1],
        recording=2 - boxes.recording,
        classes=boxes.classes[::-1],
        class_id=1 - boxes.class_id,
    )
    assert score(turned, truth, Coco()).figures["map"] == pytest.approx(1.0)


def test_classes_that_do_not_fit_are_refused() -> None:
    truth = moving_truth(("car", "tram"))
    with pytest.raises(ConfigError, match="prophesee_gen1: scores the classes car, pedestrian; found car, tram"):
        score(truth.boxes, truth, PropheseeGen1())
    with pytest.raises(DetectionError, match="found the classes car, tram; the truth has car"):
        score(truth.boxes, moving_truth(("car",)), Coco())


def test_two_boxes_of_one_track_at_one_time_are_refused() -> None:
    truth = moving_truth(("car",))
    twice = replace(truth, boxes=truth.boxes[np.r_[0, np.arange(len(truth.boxes))]])
    with pytest.raises(DetectionError, match="two boxes of track"):
        score(truth.boxes, twice, Coco())


def test_a_box_where_nobody_looked_is_refused() -> None:
    truth = moving_truth(("car",))
    late = replace(truth, boxes=replace(truth.boxes, t_us=truth.boxes.t_us + 1))
    with pytest.raises(DetectionError, match="at which nobody looked"):
        score(truth.boxes, late, Coco())


def test_tags_and_recordings_have_the_figures_of_their_part_alone() -> None:
    truth = moving_truth(("car", "pedestrian"), recordings=5, seed=2)
    truth = replace(truth, tags={"drive 0": ("day",), "drive 1": ("night",), "drive 2": ("night",)})
    found = imperfect(truth)
    scores = score(found, truth, Coco())
    for name, tagged in (("night", (1, 2)), ("day", (0,))):
        part = GroundTruth(
            truth.boxes[np.isin(truth.boxes.recording, tagged)],
            Looks(
                truth.looks.recordings,
                truth.looks.recording[at := np.isin(truth.looks.recording, tagged)],
                truth.looks.t_us[at],
            ),
        )
        alone = score(found[np.isin(found.recording, tagged)], part, Coco())
        assert scores.per_tag[name]["map"] == pytest.approx(alone.figures["map"], abs=1e-9)
        assert scores.per_tag[name]["looks"] == alone.counts["looks"]
    assert scores.per_recording["drive 0"] == scores.per_tag["day"]


def test_each_step_is_held_against_its_own_truth_though_windows_overlap() -> None:
    whole = moving_truth(("car",), rate=20)
    looks = whole.looks
    blur = [30.0, 12.0, 4.0, 0.0]
    truths, found = {}, []
    for step in range(4):  # every time is the end of each of the four steps, of four windows
        chosen = np.arange(len(looks)) % 7 != step
        at = Looks(looks.recordings, looks.recording[chosen], looks.t_us[chosen])
        boxes = whole.boxes[at.hold(whole.boxes)]
        truths[step] = GroundTruth(replace(boxes, step=np.full(len(boxes), step)), at)
        rng = np.random.default_rng(step)
        xywh = np.maximum(boxes.xywh + blur[step] * rng.normal(0, 1, (len(boxes), 4)), 1).astype(np.float32)
        found.append(replace(truths[step].boxes, xywh=xywh, score=rng.random(len(boxes), np.float32)))
    columns = ("recording", "t_us", "step", "class_id", "score", "xywh", "track_id")
    every = replace(found[0], **{name: np.concatenate([getattr(one, name) for one in found]) for name in columns})
    figures = step_figures(every[np.random.default_rng(0).permutation(len(every))], truths, Coco())
    for step, one in enumerate(found):
        alone = score(one, truths[step], Coco()).figures
        assert figures[step]["map"] == pytest.approx(alone["map"], abs=1e-9)
        assert figures[step]["looks"] == len(truths[step].looks)
    values = [figures[step]["map"] for step in range(4)]
    assert values == sorted(values)
    assert values[0] < 0.9
    assert values[3] == pytest.approx(1.0)
    unknown = replace(whole.boxes, step=np.full(len(whole.boxes), -1))
    assert [row["map"] for row in step_figures(unknown, truths, Coco()).values()] == pytest.approx([1.0] * 4)


def test_a_step_at_which_no_true_box_counts_has_no_figure() -> None:
    truth = moving_truth(("car", "pedestrian"), seed=7)
    late = GroundTruth(truth.boxes[:0], Looks(truth.looks.recordings, truth.looks.recording[:1], truth.looks.t_us[:1]))
    figures = step_figures(truth.boxes, {0: late, 1: truth}, PropheseeGen1())
    assert math.isnan(figures[0]["map"])
    assert figures[1]["map"] == pytest.approx(1.0)


def planted(xywh: list[float], class_id: int = 0, s: float = 0.9) -> tuple[float, ...]:
    return (0, 1000, class_id, *xywh, -1, s)


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("class", planted([0, 0, 100, 100], 1)),
        ("location", planted([0, 0, 100, 30])),
        ("both", planted([0, 0, 100, 30], 1)),
        ("duplicate", planted([0, 0, 100, 99], 0, 0.5)),
        ("background", planted([400, 400, 50, 50])),
        ("missed", None),
    ],
)
def test_each_kind_of_error_is_recognised(kind: str, row: tuple[float, ...] | None) -> None:
    names, classes = ("drive",), ("car", "bus")
    true = [(0, 1000, 0, 0, 0, 100, 100, -1), (0, 1000, 0, 200, 200, 50, 50, -1), (0, 1000, 1, 300, 20, 40, 60, -1)]
    truth = GroundTruth.of(table_of(true, names, classes))
    right = [(*box, 0.95) for box in (true if kind in ("duplicate", "background") else true[1:])]
    found = table_of(right + ([row] if row else []), names, classes)
    scores = score(found, truth, Coco())
    # as in the paper, an object that a detection of another class covers badly is missed as well
    assert {name for name, count in scores.error_counts.items() if count} == (
        {"both", "missed"} if kind == "both" else {kind}
    )


def test_the_speed_curve_knows_the_planted_speed_and_where_objects_are_lost() -> None:
    times = np.arange(1, 21) * 100_000
    slow = [(0, t, 0, 10 + 20 * t / 1e6, 10, 40, 40, 1) for t in times]
    fast = [(0, t, 0, 10 + 200 * t / 1e6, 200, 40, 40, 2) for t in times]
    names, classes = ("drive",), ("car",)
    truth = replace(GroundTruth.of(table_of(slow + fast, names, classes)), events=np.r_[[900] * 20, [30] * 20])
    scores = score(table_of(slow, names, classes), truth, Coco())
    speed, events = scores.properties["speed"], scores.properties["events"]
    assert speed.low[0] == pytest.approx(20, rel=1e-3)
    assert speed.high[-1] == pytest.approx(200, rel=1e-3)
    assert (speed.found[0], speed.found[-1]) == (1.0, 0.0)
    assert (events.found[0], events.found[-1]) == (0.0, 1.0)
    assert speed.count.sum() == events.count.sum() == 40
    np.testing.assert_array_equal(speed.found, speed.found_at_best)


def test_the_confusion_at_the_best_threshold_adds_up() -> None:
    truth = moving_truth(("car", "pedestrian"), seed=5)
    found = imperfect(truth)
    scores = score(found, truth, Coco())
    assert scores.confusion.threshold == scores.best_threshold
    np.testing.assert_array_equal(
        scores.confusion.counts[:2].sum(1), [scores.per_class[name]["truths"] for name in scores.classes]
    )
    sure = (found.score.astype(np.float64) >= scores.best_threshold).sum()
    assert scores.confusion.counts[:, :2].sum() == sure


def test_scores_that_are_right_as_often_as_they_say_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(4000)
    right = rng.random(4000) < values
    true = [(0, t, 0, 10, 10, 40, 40, -1) for t in range(4000)]
    found = [(0, t, 0, 10 if hit else 300, 10, 40, 40, -1, s) for t, (s, hit) in enumerate(zip(values, right))]
    truth = GroundTruth.of(table_of(true, ("drive",), ("car",)))
    honest = score(table_of(found, ("drive",), ("car",)), truth, Coco()).calibration
    bold = score(
        table_of([(*row[:8], row[8] ** 0.25) for row in found], ("drive",), ("car",)), truth, Coco()
    ).calibration
    assert honest.error < 0.03
    assert bold.error > 0.2
    assert honest.count.sum() == 4000
    np.testing.assert_allclose(honest.score, honest.right, atol=0.08)


def test_precision_recall_and_f1_over_the_threshold_are_those_of_counting() -> None:
    truth = moving_truth(("car",), seed=4)
    found = imperfect(truth)
    curve = score(found, truth, Coco()).threshold
    assert (np.diff(curve.threshold) < 0).all()
    for i in (0, len(curve.threshold) // 2, -1):
        sure = found[found.score.astype(np.float64) >= curve.threshold[i]]
        at = score(sure, truth, Coco()).threshold
        assert at.recall[-1] == pytest.approx(curve.recall[i])
        assert at.precision[-1] == pytest.approx(curve.precision[i])


def test_the_rules_stand_in_the_result_and_what_was_changed_is_said() -> None:
    truth = moving_truth(("car", "pedestrian"), seed=7)
    scores = score(truth.boxes, truth, PropheseeGen1(min_side=12))
    assert scores.protocol["name"] == "prophesee_gen1"
    assert scores.protocol["version"] == "1"
    assert scores.protocol["changed"] == ["min_side"]
    assert "protocol prophesee_gen1 1 (arXiv 2001.08499, changed: min_side)" in scores.table()
    assert PropheseeGen1(classes=["car", "pedestrian"]).rules()["changed"] == []
    assert PropheseeOneMegapixel().rules()["min_diagonal"] == 60.0


def test_a_result_prints_itself_and_is_json_without_nan() -> None:
    truth = replace(moving_truth(("car", "pedestrian")), tags={"drive 0": ["day"], "drive 1": ["night"]})
    scores: Scores = score(imperfect(truth), truth, Coco())
    loaded = json.loads(scores.json())
    assert loaded["figures"]["map50"] == scores.figures["map50"]
    assert loaded["per_recording"]["drive 2"]["map"] is None
    flat = scores.flat()
    assert all(type(value) is float for value in flat.values())
    assert {"map", "ap50/car", "tag/day/map", "error/missed", "calibration_error", "looks"} <= set(flat)
    table = scores.table()
    for word in ("map50", "pedestrian", "drive 1", "night", "missed", "calibration error"):
        assert word in table


def test_one_look_takes_the_detections_of_one_time_the_nearest() -> None:
    names, classes = ("drive",), ("car", "pedestrian")
    truth = GroundTruth.of(table_of([(0, 600_000, 0, 10, 10, 60, 60, -1)], names, classes))
    shots = [(0, 600_000 + shift, 0, 10, 10, 60, 60, -1, 0.9) for shift in (-40_000, -20_000, 19_000, 45_000)]
    scores = score(table_of(shots, names, classes), truth, PropheseeGen1())
    assert (scores.counts["detections"], scores.counts["detections_left_out"]) == (1, 3)
    assert scores.figures["precision"] == 1.0
    assert (
        score(table_of(shots[:1], names, classes), truth, PropheseeGen1(time_tolerance_us=39_999)).figures["map"] == 0
    )


def test_of_several_steps_at_one_time_the_highest_counts() -> None:
    names, classes = ("drive",), ("car",)
    truth = GroundTruth.of(table_of([(0, 600, 0, 10, 10, 60, 60, -1)], names, classes))
    found = table_of([(0, 600, 0, 10, 10, 60, 60, -1, 0.9), (0, 600, 0, 300, 10, 60, 60, -1, 0.95)], names, classes)
    scores = score(replace(found, step=np.array([7, 3])), truth, Coco())
    assert scores.counts["detections"] == 1
    assert scores.figures["map"] == pytest.approx(1.0)
