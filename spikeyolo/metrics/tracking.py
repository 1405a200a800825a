"""How well tracks follow true objects: HOTA, MOTA, IDF1 and their parts, by TrackEval's own metrics on tables.

HOTA: Luiten et al., IJCV 2021. CLEAR MOT (MOTA, MOTP, switches, fragmentations): Bernardin & Stiefelhagen, 2008. IDF1:
Ristani et al., ECCV-W 2016. https://github.com/JonathonLuiten/TrackEval
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikeyolo.detections import DetectionTable, GroundTruth, Looks
from spikeyolo.errors import DetectionError
from spikeyolo.metrics.coco import BoxColumns
from spikeyolo.metrics.protocols import Coco, Protocol
from spikeyolo.metrics.score import judge
from spikeyolo.metrics.scores import Figures

SHARES = {"hota": "HOTA", "det_a": "DetA", "ass_a": "AssA", "mota": "MOTA", "motp": "MOTP", "idf1": "IDF1"}
COUNTS = {"id_switches": "IDSW", "fragmentations": "Frag", "mostly_tracked": "MT", "mostly_lost": "ML"}

# Headings of tables → figures.
TRACK_SHARES = {"HOTA": "hota", "DetA": "det_a", "AssA": "ass_a", "MOTA": "mota", "MOTP": "motp", "IDF1": "idf1"}
TRACK_COUNTS = {"switches": "id_switches", "fragments": "fragmentations", "tracked": "mostly_tracked"}
TRACK_COUNTS |= {"lost": "mostly_lost", "of": "true_tracks", "tracks": "tracks"}


@dataclass(frozen=True, eq=False)
class TrackingScores:
    """What tracks are worth.

    Each set of figures holds ``hota``, ``det_a`` and ``ass_a`` (means over IoU 0.05 to 0.95), at IoU 0.50 ``mota``,
    ``motp`` (mean IoU of the matches), ``idf1``, ``id_switches``, ``fragmentations``, ``mostly_tracked`` and
    ``mostly_lost`` (true tracks seen at more than 80 % and less than 20 % of their times), ``true_tracks`` and
    ``tracks``.

    Attributes:
        figures: over all classes and recordings, in which each box counts alike (TrackEval's detection-averaged).
        per_class: by name; classes of which there is nothing are left out.
        per_recording: by name, over all classes.
    """

    figures: Figures
    per_class: Mapping[str, Figures]
    per_recording: Mapping[str, Figures]

    def flat(self) -> dict[str, float]:
        """``name → float`` for a logger or a sweep: ``hota`` …, and by class ``hota/CLASS``."""
        by_class = {f"{key}/{name}": row[key] for name, row in self.per_class.items() for key in SHARES}
        return {**self.figures, **by_class}

    def json(self) -> str:
        """Everything, with null for what is not defined."""
        content: dict[str, Any] = asdict(self)
        content["figures"] = _nulled(content["figures"])
        for part in ("per_class", "per_recording"):
            content[part] = {name: _nulled(row) for name, row in content[part].items()}
        return json.dumps(content, indent=2, allow_nan=False)

    def table(self) -> str:
        """Text for a terminal."""
        heads, whole = TRACK_SHARES, TRACK_COUNTS
        width = max((len(name) for name in (*self.per_class, "all")), default=3) + 2
        lines = ["tracks".ljust(width) + "".join(f"{head:>10}" for head in (*heads, *whole))]
        for name, row in {**self.per_class, "all": self.figures}.items():
            cells = [f"{row[key]:10.4f}" for key in heads.values()] + [f"{row[key]:10.0f}" for key in whole.values()]
            lines.append(name.ljust(width) + "".join(cells))
        return "\n".join(lines)


def track_scores(
    tracked: DetectionTable, truth: GroundTruth, protocol: Protocol | None = None, *, frames: Looks | None = None
) -> TrackingScores:
    """Score tracks.

    Args:
        tracked: px of the sensor; rows without a track id are left out.
        truth: of the same recordings; every box has a track id.
        protocol: which boxes and times count; None: all.
        frames: as of :func:`spikeyolo.metrics.score.score`.

    Raises:
        DetectionError: the truth has boxes without a track id or none at all, tables do not fit one another, or a
            track has two boxes at one time.
    """
    protocol = Coco() if protocol is None else protocol
    truth.check("truth")
    if what := without_ids(truth):
        raise DetectionError(f"truth: has {what}, so that tracking cannot be scored; expected one in each box")
    tracked = tracked[tracked.track_id >= 0]
    _check(tracked, truth)
    judged = judge(tracked, truth, protocol, frames=frames)
    true_id, found_id = truth.boxes.track_id[judged.truth_rows], tracked.track_id[judged.found_rows]
    recording = judged.image_recording
    by_class: dict[str, dict[str, _Results]] = {}
    for k, kind in enumerate(judged.classes):
        true, found = _of_class(judged.truth, true_id, k), _of_class(judged.found, found_id, k)
        rows: dict[str, _Results] = {}
        for r, name in enumerate(judged.recordings):
            sequence = _sequence(_of_images(true, recording == r), _of_images(found, recording == r))
            if sequence is not None:
                rows[name] = _evaluated(sequence)
        if rows:
            by_class[kind] = rows
    per_class = {kind: _over_recordings(rows) for kind, rows in by_class.items()}
    names = [name for name in judged.recordings if any(name in rows for rows in by_class.values())]
    return TrackingScores(
        _figures(_over_classes(per_class)),
        {kind: _figures(results) for kind, results in per_class.items()},
        {
            name: _figures(_over_classes({kind: rows[name] for kind, rows in by_class.items() if name in rows}))
            for name in names
        },
    )


def without_ids(truth: GroundTruth) -> str:
    """In words, which of its boxes have no track id; empty where each has one."""
    without, boxes = int((truth.boxes.track_id < 0).sum()), len(truth.boxes)
    if not without:
        return ""
    return "no track ids" if without == boxes else f"no track id in {without} of {boxes} boxes"


def _check(tracked: DetectionTable, truth: GroundTruth) -> None:
    """Refuse tracks of another time, and two boxes of one track."""
    looks = truth.looks.t_us
    if len(tracked) and len(looks) and (tracked.t_us.max() < looks.min() or tracked.t_us.min() > looks.max()):
        names = (tracked.recordings[tracked.recording[0]], truth.looks.recordings[truth.looks.recording[0]])
        raise DetectionError(
            f"detections: those of {names[0]} lie at {tracked.t_us.min()} to {tracked.t_us.max()} µs, the truth of "
            f"{names[1]} at {looks.min()} to {looks.max()} µs; expected tables of the same recording"
        )
    order = np.lexsort((tracked.step, tracked.class_id, tracked.track_id, tracked.t_us, tracked.recording))
    columns = (tracked.recording, tracked.t_us, tracked.track_id, tracked.step)
    twice = np.flatnonzero(np.all([np.diff(column[order]) == 0 for column in columns], axis=0))
    if len(twice):
        row = int(order[twice[0]])
        raise DetectionError(
            f"detections: {tracked.recordings[tracked.recording[row]]} has two boxes of track "
            f"{tracked.track_id[row]} at {tracked.t_us[row]} µs; expected one"
        )


@dataclass(frozen=True, eq=False)
class _Boxes:
    """Boxes of one class, ``image [M]``, ``id [M]``, ``xyxy [M, 4]``."""

    image: npt.NDArray[np.int64]
    track: npt.NDArray[np.int64]
    xyxy: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Results:
    """TrackEval's own results of one metric class after the other, and how many tracks there are."""

    metrics: tuple[dict[str, Any], ...]
    true_tracks: int
    tracks: int


def _of_class(boxes: BoxColumns, track: npt.NDArray[np.int64], k: int) -> _Boxes:
    rows = boxes.class_id == k
    xywh = boxes.xywh[rows]
    return _Boxes(boxes.image[rows], track[rows], np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), axis=1))


def _of_images(boxes: _Boxes, images: npt.NDArray[np.bool_]) -> _Boxes:
    rows = images[boxes.image]
    return _Boxes(boxes.image[rows], boxes.track[rows], boxes.xyxy[rows])


def _sequence(true: _Boxes, found: _Boxes) -> dict[str, Any] | None:
    """What TrackEval's metrics read, of the times that have a box; None where there is none."""
    if not len(true.image) and not len(found.image):
        return None
    true_names, true_id = np.unique(true.track, return_inverse=True)
    found_names, found_id = np.unique(found.track, return_inverse=True)
    images = np.unique(np.concatenate((true.image, found.image)))
    true_rows, found_rows = list(_groups(true.image, images)), list(_groups(found.image, images))
    return {
        "num_timesteps": len(images),
        "num_gt_ids": len(true_names),
        "num_tracker_ids": len(found_names),
        "num_gt_dets": len(true_id),
        "num_tracker_dets": len(found_id),
        "gt_ids": [true_id[rows] for rows in true_rows],
        "tracker_ids": [found_id[rows] for rows in found_rows],
        "similarity_scores": [_iou(true.xyxy[a], found.xyxy[b]) for a, b in zip(true_rows, found_rows, strict=True)],
    }


def _groups(image: npt.NDArray[np.int64], images: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of each image."""
    order = np.argsort(image, kind="stable")
    bounds = np.searchsorted(image[order], images)
    yield from np.split(order, bounds[1:])


def _iou(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``[N, M]``; equal boxes have 1 also where they are without area."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    area, of_other = (one[:, 2:] - one[:, :2]).prod(axis=1), (other[:, 2:] - other[:, :2]).prod(axis=1)
    union = area[:, None] + of_other - shared
    equal = (one[:, None] == other).all(axis=2)
    iou: npt.NDArray[np.float64] = np.where(equal, 1.0, shared / np.where(union > 0, union, 1.0))
    return iou


def _metrics() -> tuple[Any, ...]:
    from trackeval.metrics import CLEAR, HOTA, Identity

    quiet = {"THRESHOLD": 0.5, "PRINT_CONFIG": False}
    return HOTA(), CLEAR(quiet), Identity(quiet)


def _evaluated(sequence: dict[str, Any]) -> _Results:
    results = tuple(metric.eval_sequence(sequence) for metric in _metrics())
    return _Results(results, sequence["num_gt_ids"], sequence["num_tracker_ids"])


def _over_recordings(rows: Mapping[str, _Results]) -> _Results:
    return _combined(rows, "combine_sequences")


def _over_classes(rows: Mapping[str, _Results]) -> _Results:
    return _combined(rows, "combine_classes_det_averaged")


def _combined(rows: Mapping[str, _Results], how: str) -> _Results:
    metrics = tuple(
        getattr(metric, how)({name: row.metrics[i] for name, row in rows.items()})
        for i, metric in enumerate(_metrics())
    )
    return _Results(metrics, sum(row.true_tracks for row in rows.values()), sum(row.tracks for row in rows.values()))


def _figures(results: _Results) -> dict[str, float]:
    flat: dict[str, Any] = {key: value for metric in results.metrics for key, value in metric.items()}
    shares = {name: float(np.mean(flat[key])) for name, key in SHARES.items()}
    counts = {name: float(flat[key]) for name, key in COUNTS.items()}
    return shares | counts | {"true_tracks": float(results.true_tracks), "tracks": float(results.tracks)}


def _nulled(row: Figures) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in row.items()}
