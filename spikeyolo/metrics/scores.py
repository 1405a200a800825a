"""The typed result of scoring a table of detections; it prints itself and gives its figures flat."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikeyolo.metrics.coco import ThresholdCurve

Figures = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class PropertyCurve:
    """How many true boxes are found, by one of their properties.

    Attributes:
        name: of the property, with its unit.
        low, high: ``[B]``, limits of the bins: about equally many boxes lie in each.
        count: ``[B]`` int64, true boxes in each.
        found: ``[B]``, share of them that is found at IoU 0.50 by a detection of any score.
        found_at_best: ``[B]``, the same by a detection from the score on that makes F1 best.
    """

    name: str
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]
    found: npt.NDArray[np.float64]
    found_at_best: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Confusion:
    """Pairs of true and detected classes at IoU 0.50.

    Attributes:
        counts: ``[K+1, K+1]`` int64, rows are the truth, columns what was detected; the last row holds detections of
            nothing, the last column objects that were missed.
        threshold: detections with a lower score are not counted.
    """

    counts: npt.NDArray[np.int64]
    threshold: float


@dataclass(frozen=True, eq=False)
class Calibration:
    """Whether a score of 0.7 is right seven times in ten, at IoU 0.50.

    Attributes:
        error: expected calibration error: mean gap between score and share, weighted by number.
        low, high: ``[B]``, limits of the bins of scores.
        score, right: ``[B]``, mean score and share of right detections; NaN in empty bins.
        count: ``[B]`` int64.
    """

    error: float
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    score: npt.NDArray[np.float64]
    right: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Scores:
    """What a table of detections is worth under a protocol. Figures that are not defined are NaN.

    Attributes:
        protocol: its name, version and rules.
        classes: that were scored.
        counts: ``recordings``, ``looks``, ``truths`` and ``detections`` that counted; ``truths_left_out`` and
            ``detections_left_out``: too small, too early, of other classes, or at times at which nobody looked.
        figures: ``map`` (mean over IoU 0.50 to 0.95), ``map50``, ``map75``, ``map_small``, ``map_medium``,
            ``map_large`` (up to 32², 96² px and above), ``recall`` (COCO's AR); at IoU 0.50 and the score
            ``f1_confidence`` that makes F1 best: ``precision``, ``recall50``, ``f1``.
        per_class: ``ap``, ``ap50``, ``recall`` and the number of ``truths``, by name.
        per_recording: ``map``, ``map50`` and the number of ``looks``, by name.
        per_tag: the same, by tag of recordings.
        per_step: the same, by time step of the window, see :func:`~spikeyolo.metrics.score.step_figures`; empty where
            steps are not known.
        properties: found boxes by ``size``, ``speed`` and ``events``, as far as the truth tells them.
        precision_curves: ``[101]``, precision at recall 0, 0.01, …, 1 and IoU 0.50, by class.
        threshold: precision, recall and F1 over the score.
        confusion: from the best threshold on.
        errors: mAP50 that each kind of error costs (TIDE, arXiv 2008.08115): ``class``, ``location``, ``both``,
            ``duplicate``, ``background``, ``missed``.
        error_counts: how many there are of each.
        calibration: of the scores.
    """

    protocol: Mapping[str, Any]
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    figures: Figures
    per_class: Mapping[str, Figures]
    per_recording: Mapping[str, Figures]
    per_tag: Mapping[str, Figures]
    per_step: Mapping[int, Figures]
    properties: Mapping[str, PropertyCurve]
    precision_curves: Mapping[str, npt.NDArray[np.float64]]
    threshold: ThresholdCurve
    confusion: Confusion
    errors: Figures
    error_counts: Mapping[str, int]
    calibration: Calibration

    @property
    def best_threshold(self) -> float:
        """The score that makes F1 best at IoU 0.50; NaN where nothing was found rightly."""
        return self.figures["f1_confidence"] if self.figures["f1"] > 0 else math.nan

    def worst_recordings(self, count: int = 5) -> list[str]:
        """Names of the recordings with the lowest mAP, the worst first; those without truth are none."""
        judged = {name: row["map"] for name, row in self.per_recording.items() if not math.isnan(row["map"])}
        return sorted(judged, key=lambda name: (judged[name], name))[:count]

    def flat(self) -> dict[str, float]:
        """Every single figure as ``name → float``, for a logger: those of :attr:`figures` by their own names, then
        ``ap/CLASS``, ``ap50/CLASS``, ``recording_mean/map``, ``tag/TAG/map``, ``step/N/map``, ``error/KIND``,
        ``calibration_error`` and the counts."""
        flat = dict(self.figures)
        for name, row in self.per_class.items():
            flat |= {f"ap/{name}": row["ap"], f"ap50/{name}": row["ap50"]}
        for figure in ("map", "map50"):
            values = [row[figure] for row in self.per_recording.values() if not math.isnan(row[figure])]
            flat[f"recording_mean/{figure}"] = float(np.mean(values)) if values else math.nan
        for kind, rows in (("tag", self.per_tag), ("step", self.per_step)):
            for key, row in rows.items():
                flat |= {f"{kind}/{key}/{figure}": row[figure] for figure in ("map", "map50")}
        flat |= {f"error/{kind}": cost for kind, cost in self.errors.items()}
        flat["calibration_error"] = self.calibration.error
        return flat | {name: float(count) for name, count in self.counts.items()}

    def json(self) -> str:
        """Everything, with null for what is not defined."""
        return json.dumps(_plain(asdict(self)), indent=2, allow_nan=False)

    def table(self) -> str:
        """Text for a terminal."""
        rules = self.protocol
        changed = f", changed: {', '.join(rules['changed'])}" if rules["changed"] else ""
        counts = self.counts
        lines = [
            f"protocol {rules['name']} {rules['version']} ({rules['source']}{changed})",
            f"{counts['recordings']} recordings, {counts['looks']} looks, {counts['truths']} true boxes "
            f"({counts['truths_left_out']} left out), {counts['detections']} detections "
            f"({counts['detections_left_out']} left out)",
            "",
        ]
        lines += [f"{name:<24} {value:8.4f}" for name, value in self.figures.items()]
        lines += ["", f"{'class':<24} {'mAP':>8} {'mAP50':>8} {'boxes':>8}"]
        for name, row in self.per_class.items():
            lines.append(f"{name:<24} {row['ap']:8.4f} {row['ap50']:8.4f} {int(row['truths']):8d}")
        names = self.worst_recordings()
        worst = {name: self.per_recording[name] for name in names}
        for title, rows in (("worst recordings", worst), ("tag", self.per_tag), ("step", self.per_step)):
            if rows:
                lines += ["", f"{title:<24} {'mAP':>8} {'mAP50':>8} {'looks':>8}"]
                for key, row in rows.items():
                    lines.append(f"{key:<24} {row['map']:8.4f} {row['map50']:8.4f} {int(row['looks']):8d}")
        lines += ["", f"{'kind of error':<24} {'mAP50':>8} {'count':>8}"]
        lines += [f"{kind:<24} {cost:8.4f} {self.error_counts[kind]:8d}" for kind, cost in self.errors.items()]
        return "\n".join([*lines, "", f"{'calibration error':<24} {self.calibration.error:8.4f}"])


def _plain(value: Any) -> Any:
    """JSON's form of figures, arrays and mappings."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
