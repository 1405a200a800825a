"""Scoring a table of detections against the truth under a protocol: no network, no files, only tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from spikeyolo.detections import DetectionTable, GroundTruth, Looks
from spikeyolo.errors import DetectionError
from spikeyolo.metrics.coco import NAN, BoxColumns, CocoEvaluation, ThresholdCurve
from spikeyolo.metrics.frames import rows_of_looks
from spikeyolo.metrics.properties import property_curve, sizes, speeds
from spikeyolo.metrics.protocols import Protocol
from spikeyolo.metrics.scores import Calibration, Confusion, Figures, PropertyCurve, Scores

_ERRORS = {  # ours → hotcoco's
    "class": "Cls",
    "location": "Loc",
    "both": "Both",
    "duplicate": "Dupe",
    "background": "Bkg",
    "missed": "Miss",
}


def score(detections: DetectionTable, truth: GroundTruth, protocol: Protocol, *, frames: Looks | None = None) -> Scores:
    """Score detections.

    A class that does not occur in the truth has no part in the means; without detections the figures are zeros.

    Args:
        detections: px of the sensor; of recordings and classes that the truth has.
        truth: with the times at which it was looked at.
        protocol: which boxes and times count.
        frames: every time at which the detector ran, with or without detections; None: where the table has rows
            (then a look at which nothing was found may take detections of a near time within the tolerance).

    Raises:
        DetectionError: the table has recordings that the truth has not, no true box is left to score, or the
            truth contradicts itself.
        ConfigError: the classes do not fit the protocol.
    """
    truth.check("truth")
    judged = judge(detections, truth, protocol, frames=frames)
    evaluation = judged.evaluation()
    paired = _paired_scores(evaluation)
    curve = ThresholdCurve.of(evaluation.matched, evaluation.found.score, len(judged.truth))
    best = curve.best()
    threshold = best["f1_confidence"] if best["f1"] > 0 else NAN
    tide = evaluation.run.tide_errors()
    return Scores(
        protocol=protocol.rules(),
        classes=judged.classes,
        counts=judged.counts,
        figures=evaluation.figures() | best,
        per_class={
            name: {**figures, "truths": float((judged.truth.class_id == k).sum())}
            for k, (name, figures) in enumerate(evaluation.class_figures().items())
        },
        per_recording=_slices(evaluation, judged.images_of_recordings()),
        per_tag=_slices(evaluation, judged.images_of_tags(truth.tags)),
        per_step={},
        properties=_properties(truth, judged.truth_rows, paired, threshold),
        precision_curves=evaluation.curves(),
        threshold=curve,
        confusion=_confusion(evaluation, threshold),
        errors={ours: float(tide["delta_ap"][theirs]) for ours, theirs in _ERRORS.items()},
        error_counts={ours: int(tide["counts"][theirs]) for ours, theirs in _ERRORS.items()},
        calibration=_calibration(evaluation),
    )


def step_figures(
    detections: DetectionTable, truths: Mapping[int, GroundTruth], protocol: Protocol
) -> dict[int, dict[str, float]]:
    """``map``, ``map50`` and ``looks`` after each time step of the windows, for :attr:`Scores.per_step`.

    Windows may overlap, so that one time is the end of different steps of several; each step is held against its own.

    Args:
        detections: of every step; those of an unknown step count at each.
        truths: by step, what is true at the times at which that step ends.
        protocol: which boxes and times count.
    """
    figures: dict[int, dict[str, float]] = {}
    for step, truth in truths.items():
        rows = detections[(detections.step == step) | (detections.step < 0)]
        try:
            judged = judge(rows, truth, protocol, frames=truth.looks)
        except DetectionError:  # no true box counts at this step: it has no figure
            figures[step] = {"map": NAN, "map50": NAN, "looks": 0.0}
            continue
        values = judged.evaluation(areas=False).figures()
        figures[step] = {"map": values["map"], "map50": values["map50"], "looks": float(judged.counts["looks"])}
    return figures


@dataclass(frozen=True, eq=False)
class Judged:
    """The boxes that count under a protocol, by image; an image is a look.

    Attributes:
        classes: that are scored.
        recordings: names.
        image_recording, image_t_us: ``[I]`` int64, recording and time of each image.
        truth, found: the boxes.
        truth_rows, found_rows: ``[N]`` and ``[M]`` int64, row in the table of truth or detections of each.
        counts: see :class:`Scores`.
        max_detections: of an image and class.
    """

    classes: tuple[str, ...]
    recordings: tuple[str, ...]
    image_recording: npt.NDArray[np.int64]
    image_t_us: npt.NDArray[np.int64]
    truth: BoxColumns
    found: BoxColumns
    truth_rows: npt.NDArray[np.int64]
    found_rows: npt.NDArray[np.int64]
    counts: Mapping[str, int]
    max_detections: int

    def evaluation(self, *, areas: bool = True) -> CocoEvaluation:
        """COCO's run over all images."""
        return CocoEvaluation(
            self.truth,
            self.found,
            classes=self.classes,
            images=len(self.image_recording),
            max_detections=self.max_detections,
            areas=areas,
        )

    def images_of_recordings(self) -> dict[str, npt.NDArray[np.int64]]:
        """Images of each recording, by name."""
        order = np.argsort(self.image_recording, kind="stable")
        parts = np.searchsorted(self.image_recording[order], np.arange(len(self.recordings) + 1))
        return {name: order[parts[i] : parts[i + 1]] for i, name in enumerate(self.recordings)}

    def images_of_tags(self, tags: Mapping[str, Sequence[str]]) -> dict[str, npt.NDArray[np.int64]]:
        """Images of each tag's recordings."""
        images = self.images_of_recordings()
        names = sorted({tag for of_recording in tags.values() for tag in of_recording})
        return {
            tag: np.concatenate(
                [np.empty(0, np.int64), *(images[name] for name in self.recordings if tag in tags.get(name, ()))]
            )
            for tag in names
        }


def judge(
    detections: DetectionTable,
    truth: GroundTruth,
    protocol: Protocol,
    *,
    frames: Looks | None = None,
) -> Judged:
    """Leave out what does not count, and put truth and detections into images; arguments as of :func:`score`.

    Raises:
        DetectionError, ConfigError: as of :func:`score`.
    """
    names = tuple(dict.fromkeys((*truth.looks.recordings, *truth.boxes.recordings)))
    check_recordings(detections, names)
    looks = _distinct(_renumbered(truth.looks, names))
    boxes, truth_rows = protocol.select(replace(truth.boxes, **_renumbered_columns(truth.boxes, names)))
    found, of_found = protocol.select(
        _of_classes(replace(detections, **_renumbered_columns(detections, names)), truth.boxes)
    )
    counted = protocol.counts_at(looks.t_us)
    look_of_box = _look_index(looks, boxes.recording, boxes.t_us)
    if not protocol.empty_looks:
        counted &= np.bincount(look_of_box[look_of_box >= 0], minlength=len(looks)) > 0
    judged = np.where(counted, np.cumsum(counted) - 1, -1)
    image = np.where(look_of_box >= 0, judged[look_of_box], -1)
    kept = image >= 0
    if not kept.any():
        raise DetectionError(
            f"protocol {protocol.name}: none of {len(truth.boxes)} labels counts under its rules; nothing can be scored"
        )
    ran = None if frames is None else _renumbered(frames, names)
    found_image, rows = rows_of_looks(found, looks, counted, tolerance_us=protocol.time_tolerance_us, frames=ran)
    counts = {
        "recordings": len(names),
        "looks": int(counted.sum()),
        "truths": int(kept.sum()),
        "truths_left_out": len(truth.boxes) - int(kept.sum()),
        "detections": len(rows),
        "detections_left_out": len(detections) - len(np.unique(rows)),
    }
    return Judged(
        boxes.classes,
        names,
        looks.recording[counted],
        looks.t_us[counted],
        _columns(boxes[kept], image[kept]),
        _columns(found[rows], found_image),
        truth_rows[kept],
        of_found[rows],
        counts,
        protocol.max_detections,
    )


def check_recordings(
    table: DetectionTable, known: Sequence[str], *, what: str = "detections", whose: str = "the truth"
) -> None:
    """Refuse rows of recordings that are not known.

    Raises:
        DetectionError: there are some; it names them and the known ones.
    """
    foreign = sorted({table.recordings[i] for i in np.unique(table.recording)} - set(known))
    if foreign:
        raise DetectionError(
            f"{what}: found the recordings {', '.join(foreign[:5])}{' …' if len(foreign) > 5 else ''}, which {whose} "
            f"has not; expected only {', '.join(known[:5])}{' …' if len(known) > 5 else ''}"
        )


def _columns(table: DetectionTable, image: npt.NDArray[np.int64]) -> BoxColumns:
    return BoxColumns(image, table.class_id, table.xywh.astype(np.float64), table.score.astype(np.float64))


def _of_classes(found: DetectionTable, truth: DetectionTable) -> DetectionTable:
    """Detections with the truth's class ids."""
    if found.classes == truth.classes:
        return found
    if set(found.classes) - set(truth.classes):
        raise DetectionError(
            f"detections: found the classes {', '.join(found.classes)}; the truth has {', '.join(truth.classes)}"
        )
    ids = np.array([truth.classes.index(name) for name in found.classes] or [0], np.int64)
    return replace(found, classes=truth.classes, class_id=ids[found.class_id])


def _recordings(recording: npt.NDArray[np.int64], old: Sequence[str], names: Sequence[str]) -> npt.NDArray[np.int64]:
    index = {name: i for i, name in enumerate(names)}
    return np.array([index.get(name, -1) for name in old] or [0], np.int64)[recording]


def _renumbered_columns(table: DetectionTable, names: tuple[str, ...]) -> dict[str, Any]:
    return {"recordings": names, "recording": _recordings(table.recording, table.recordings, names)}


def _renumbered(looks: Looks, names: tuple[str, ...]) -> Looks:
    recording = _recordings(looks.recording, looks.recordings, names)
    known = recording >= 0
    return Looks(names, recording[known], looks.t_us[known])


def _distinct(looks: Looks) -> Looks:
    """Looks in the order of recording and time, each once."""
    rows = np.unique(np.column_stack((looks.recording, looks.t_us)), axis=0)
    return Looks(looks.recordings, rows[:, 0], rows[:, 1])


def _look_index(looks: Looks, recording: npt.NDArray[np.int64], t_us: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Index of the look at each box's time; -1 where nobody looked. Looks are in order."""
    if not len(looks):
        return np.full(len(t_us), -1)
    times = np.unique(np.concatenate((looks.t_us, t_us)))
    keys = looks.recording * len(times) + np.searchsorted(times, looks.t_us)
    wanted = recording * len(times) + np.searchsorted(times, t_us)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, place, -1)


def _paired_scores(evaluation: CocoEvaluation) -> npt.NDArray[np.float64]:
    """``[N]``, score of the detection that found each true box at IoU 0.50, NaN where none did."""
    scores = np.append(evaluation.found.score, NAN)
    return scores[evaluation.pairs]


def _slices(evaluation: CocoEvaluation, images: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, Figures]:
    """Figures of each named set of images."""
    if not images:
        return {}
    listed = {str(i): (of_name + 1).tolist() for i, of_name in enumerate(images.values())}
    found = evaluation.run.slice_by(listed)
    return {
        name: {
            "map": _defined(found[str(i)]["AP"]),
            "map50": _defined(found[str(i)]["AP50"]),
            "looks": float(len(of_name)),
        }
        for i, (name, of_name) in enumerate(images.items())
    }


def _defined(value: float) -> float:
    return NAN if value < 0 else float(value)


def _properties(
    truth: GroundTruth, rows: npt.NDArray[np.int64], paired: npt.NDArray[np.float64], threshold: float
) -> dict[str, PropertyCurve]:
    values = {"size": ("size, px", sizes(truth.boxes)), "speed": ("speed, px/s", speeds(truth.boxes))}
    if truth.events is not None:
        values["events"] = ("events in the box", truth.events.astype(np.float64))
    curves = {
        key: property_curve(name, of_box[rows], paired, threshold=threshold) for key, (name, of_box) in values.items()
    }
    return {key: curve for key, curve in curves.items() if curve is not None}


def _confusion(evaluation: CocoEvaluation, threshold: float) -> Confusion:
    least = 0.0 if np.isnan(threshold) else threshold
    return Confusion(evaluation.confusion(least), least)


def _calibration(evaluation: CocoEvaluation) -> Calibration:
    found = evaluation.run.calibration(n_bins=10, iou_threshold=0.5)
    bins = found["bins"]
    count = np.array([one["count"] for one in bins], np.int64)
    mean, right = (
        np.where(count > 0, np.array([one[key] for one in bins], np.float64), np.nan)
        for key in ("avg_confidence", "avg_accuracy")
    )
    low, high = (np.array([one[key] for one in bins], np.float64) for key in ("bin_lower", "bin_upper"))
    return Calibration(float(found["ece"]) if count.sum() else NAN, low, high, mean, right, count)
