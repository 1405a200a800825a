"""What a person looks at: curves of an outcome, its worst windows over their events, and how many events boxes hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spikeyolo.detections import GroundTruth
from spikeyolo.evaluation.inside import count_inside
from spikeyolo.evaluation.outcome import Outcome, worst_looks
from spikeyolo.evaluation.tables.identity import recording_names
from spikeyolo.events import Boxes, Detections
from spikeyolo.metrics.coco import BoxColumns
from spikeyolo.metrics.protocols import Protocol
from spikeyolo.metrics.score import judge
from spikeyolo.report.pictures import evaluation as drawing
from spikeyolo.report.pictures.figures import draw_confusion, draw_precision_recall
from spikeyolo.report.pictures.render import RenderedWindow, render_windows
from spikeyolo.windows import EventData, Part
from spikeyolo.windows.slicing import thinned

WORST = 12  # windows that are drawn
COUNTED = 50_000  # looks up to which events in boxes are counted


def draw(outcome: Outcome, *, slice_duration_us: int | None) -> list[Path]:
    """Draw every curve of an outcome as PNG and CSV into ``figures/`` of its folder; the pictures, in reading order."""
    scores, folder = outcome.scores, outcome.folder / "figures"
    drawn = [
        drawing.draw_steps(folder / "steps.png", scores.per_step, slice_duration_us=slice_duration_us),
        draw_precision_recall(folder / "precision_recall.png", scores.precision_curves),
        drawing.draw_threshold(folder / "threshold.png", scores.threshold),
        draw_confusion(
            folder / "confusion.png",
            scores.confusion.counts,
            scores.classes,
            title=f"score from {scores.confusion.threshold:.2f}, IoU from 0.50",
        ),
        drawing.draw_errors(folder / "errors.png", scores.errors, scores.error_counts),
        drawing.draw_calibration(folder / "calibration.png", scores.calibration),
        drawing.draw_properties(folder / "properties.png", scores.properties),
    ]
    drawing.write_tables(folder, scores, outcome.tracks)
    return [path for path in drawn if path is not None]


def draw_worst(outcome: Outcome, protocol: Protocol, *, data: EventData, parts: Sequence[Part]) -> Path | None:
    """Draw the windows with most errors, with the events before their looks; None where there is no error."""
    threshold = outcome.scores.best_threshold
    least = 0.25 if np.isnan(threshold) else threshold
    judged = judge(outcome.found, outcome.truth, protocol, frames=outcome.frames)
    chosen = worst_looks(judged, least, WORST)
    if not len(chosen):
        return None
    by_name = dict(zip(recording_names(parts), parts, strict=True))
    scale = np.array(_scale(outcome, data), np.float32)
    tiles = []
    for image, missed, false in chosen.tolist():
        name, end = judged.recordings[judged.image_recording[image]], int(judged.image_t_us[image])
        part = by_name[name]
        steps, slice_us = data.rules.time_steps, data.rules.slice_duration_us
        width, height = data.encoder.frame_size(part.recording.width, part.recording.height)
        frames = np.empty((steps, data.encoder.channels, height, width), np.uint8)
        start = end - steps * slice_us
        packed = thinned(part.recording.packed(start, end), data.rules.max_events_per_sample)
        data.encoder.encode(packed, start_us=start, slice_us=slice_us, out=frames)
        found, true = judged.found[judged.found.image == image], judged.truth[judged.truth.image == image]
        found = found[np.argsort(-found.score, kind="stable")]
        at, of = np.full(len(true), end), np.full(len(found), steps - 1)
        tiles.append(
            RenderedWindow(
                data.encoder.off_on(frames),
                Boxes(at, _corners(true) * scale, true.class_id, np.full(len(true), -1), true.score.astype(np.float32)),
                Detections(of, _corners(found) * scale, found.score.astype(np.float32), found.class_id),
                f"{name} {end / 1e6:.4f} s: {missed} missed, {false} false",
            )
        )
    return render_windows(
        outcome.folder / "figures" / "worst_windows.png", tiles, classes=judged.classes, confidence=least
    )


def events_in_boxes(truth: GroundTruth, parts: Sequence[Part], *, window_us: int) -> npt.NDArray[np.int64] | None:
    """Events that each true box holds in the window before its look, ``[M]``; None where there are too many looks."""
    if len(truth.looks) > COUNTED:
        return None
    boxes, counts = truth.boxes, np.zeros(len(truth.boxes), np.int64)
    by_name = dict(zip(recording_names(parts), parts, strict=True))
    order = np.lexsort((boxes.t_us, boxes.recording))
    places = np.column_stack((boxes.recording, boxes.t_us))[order]
    changes = np.flatnonzero(np.any(np.diff(places, axis=0) != 0, axis=1)) + 1
    for rows in np.split(order, changes) if len(order) else []:
        end = int(boxes.t_us[rows[0]])
        part = by_name[boxes.recordings[boxes.recording[rows[0]]]]
        packed = part.recording.packed(end - window_us, end)
        counts[rows] = count_inside(packed, boxes.xyxy[rows])
    return counts


def _scale(outcome: Outcome, data: EventData) -> list[float]:
    """From the tables' px to those of the frame."""
    placement = data.encoder.placement()
    return [1.0] * 4 if outcome.pixels == "frame" else [placement.scale_x, placement.scale_y] * 2


def _corners(boxes: BoxColumns) -> npt.NDArray[np.float32]:
    return np.concatenate((boxes.xywh[:, :2], boxes.xywh[:, :2] + boxes.xywh[:, 2:]), axis=1).astype(np.float32)
