"""Labels that never reach a window: there are none, they are cleaned away, have no window, or stand twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from spikeyolo.diagnosis.finding import Finding, listed, name_list, share
from spikeyolo.diagnosis.written import Written
from spikeyolo.events.conversion.identity import first_event_us
from spikeyolo.events.datasets import SingleRecording
from spikeyolo.events.types import Boxes
from spikeyolo.report.pictures.diagnosis import draw_bars
from spikeyolo.windows import slicing
from spikeyolo.windows.data import EventData
from spikeyolo.windows.parts import Part
from spikeyolo.windows.rules import WindowRules

WITHOUT_BOXES = 0.05  # share of windows with a box, below which training sees little else than background
LOST = 0.5  # share of label times before which no window fits
DROPPED = 0.3  # share of a file's boxes that cleaning leaves out
REPEATED = 0.05  # share of boxes that stand twice
TRAINS = 0.8  # share of the labels of a recording that is cut by time
_SAME_IOU = 0.9


def no_labels(parts: Sequence[Part], recordings: Sequence[Written], data: EventData) -> Finding | None:
    """That there is no box to learn from, and why."""
    if any(len(part.inside) for part in parts):
        return None
    files = [item for item in recordings if item.boxes is not None]
    if not files:
        return Finding(
            "no_labels",
            f"none of {len(recordings)} recordings has labels",
            remedy="put NAME_bbox.npy, NAME_bbox.csv, .json or .txt beside each NAME.raw (NAME.csv is not looked "
            "for), or name them with data.labels=PATH (data=recording); of a converted set, convert it again with its "
            "labels",
            evidence=(("recordings", listed([item.name for item in recordings])),),
        )
    counts = sum((Counter(item.counts) for item in files), Counter[str]())
    rules = {rule: number for rule, number in counts.items() if rule.startswith("dropped_") and number}
    words = ", ".join(f"{rule.removeprefix('dropped_')} {number}" for rule, number in rules.items())
    worst = max(rules, key=lambda rule: rules[rule]) if rules else ""
    remedy = {
        "dropped_class_not_kept": f"none is of data.classes={name_list(data.classes)}: name those of the files "
        "that are to be learnt",
        "dropped_outside_frame": "their boxes lie outside the sensor: data.label_correction.scale",
        "dropped_outside_recording": "their times lie outside the recording: data.label_correction.time_shift_us, or "
        "data.label_clock",
    }.get(worst, "look at the label files with python -m spikeyolo.view source=FILE labels=FILE")
    elsewhere = sum(len(item.boxes) for item in files if item.boxes is not None)
    overrides: tuple[str, ...] = ()
    if not rules and elsewhere:
        remedy = "the labels lie in what does not train: data.train_until_us, or another split"
        overrides = _cut_among_labels(files, data)
    refused = [item.refusal for item in files if item.refusal]
    sentence = f"{counts['in_file']} boxes are in {len(files)} label files, and none is left to learn from"
    if refused and not rules:
        sentence = f"training refuses the labels of {len(refused)} of {len(files)} recordings: {refused[0]}"
    named = tuple(dict.fromkeys(name for item in files for name in item.named))
    if named and worst == "dropped_class_not_kept":
        overrides = (f"data.classes={name_list(named)}",)
    bars = [("in the files", float(counts["in_file"])), *((rule, float(number)) for rule, number in rules.items())]
    return Finding(
        "no_labels",
        sentence + (f" ({words})" if words else ""),
        remedy=remedy,
        overrides=overrides,
        evidence=tuple((rule, str(number)) for rule, number in rules.items()),
        draw=(lambda path: draw_bars(path, bars, label="boxes")) if rules else None,
    )


def dropped(recordings: Sequence[Written]) -> list[Finding]:
    """That cleaning leaves out many boxes of the label files, and by which rules."""
    counts = sum((Counter(item.counts) for item in recordings), Counter[str]())
    asked = ("dropped_class_not_kept", "dropped_skip_first", "dropped_duplicate")
    rules = {
        rule: number for rule, number in counts.items() if rule.startswith("dropped_") and number and rule not in asked
    }
    number = sum(rules.values())
    if number < DROPPED * max(counts["in_file"], 1) or not counts["kept"]:
        return []
    words = ", ".join(f"{rule.removeprefix('dropped_')} {number}" for rule, number in rules.items())
    bars = [("kept", float(counts["kept"])), *((rule, float(count)) for rule, count in rules.items())]
    return [
        Finding(
            "dropped",
            f"cleaning leaves out {number} of {counts['in_file']} boxes ({words})",
            remedy="look at them with python -m spikeyolo.view; rules are under data.dataset.train_labels",
            evidence=tuple((rule, str(number)) for rule, number in rules.items()),
            draw=lambda path: draw_bars(path, bars, label="boxes"),
        )
    ]


def lost(parts: Sequence[Part], data: EventData) -> list[Finding]:
    """That before many label times no window fits."""
    rules = data.rules
    looks = [slicing.distinct(part.inside.t) for part in parts]
    fitting = sum(
        len(
            slicing.anchored(times, duration_us=rules.duration_us, start_us=part.start_us, end_us=part.end_us)
        )
        for times, part in zip(looks, parts)
    )  # fmt: skip
    every = sum(map(len, looks))
    if rules.slicing != "around_labels" or fitting >= (1 - LOST) * every:
        return []
    shorter = max(1, rules.time_steps // 4)
    return [
        Finding(
            "labels_lost",
            f"before {every - fitting} of {every} label times no window of {rules.duration_us} µs fits into its "
            "recording: they are not learnt from",
            overrides=(f"data.time_steps={shorter}",) if shorter < rules.time_steps else (_halved(rules),),
            evidence=(("label times", str(every)), ("with a window", str(fitting))),
            draw=lambda path: draw_bars(
                path, [("label times", float(every)), ("with a window", float(fitting))], label="label times"
            ),
        )
    ]


def few_boxes(labelled: float, data: EventData) -> list[Finding]:
    """That few windows show a box.

    Args:
        labelled: share of the windows that do.
    """
    if labelled >= WITHOUT_BOXES:
        return []
    share_of_empty = min(data.rules.negative_share, 0.1)
    return [
        Finding(
            "windows_without_boxes",
            f"only {share(labelled)} of the windows show a box",
            overrides=("data.slicing=around_labels", f"data.negative_share={share_of_empty:g}"),
            draw=lambda path: draw_bars(
                path, [("with a box", labelled), ("without", 1 - labelled)], label="share of windows"
            ),
        )
    ]


def no_val_labels(val_parts: Sequence[Part], recordings: Sequence[Written], data: EventData) -> list[Finding]:
    """That there is nothing to validate on."""
    if not val_parts or any(len(part.inside) for part in val_parts):
        return []
    overrides = _cut_among_labels(recordings, data)
    return [
        Finding(
            "no_val_labels",
            f"none of {len(val_parts)} validation recordings has a box: mAP is not defined",
            remedy="" if overrides else "give validation labelled recordings (data.val_split, data.val_share)",
            overrides=overrides,
        )
    ]


def _cut_among_labels(recordings: Sequence[Written], data: EventData) -> tuple[str, ...]:
    """Where a set of recordings that are cut by time has labels on both sides."""
    times = [
        item.boxes.t - first_event_us(item.recording)
        for item in recordings
        if item.boxes is not None and len(item.boxes)
    ]
    if not times or not isinstance(getattr(data.dataset, "inner", data.dataset), SingleRecording):
        return ()
    return (f"data.train_until_us={int(np.quantile(np.concatenate(times), TRAINS))}",)


def _halved(rules: WindowRules) -> str:
    return f"data.slice_duration_us={max(1, rules.slice_duration_us // 2)}"


def repeated(parts: Sequence[Part], recordings: Sequence[Written], mended: bool) -> list[Finding]:
    """That many boxes stand twice."""
    counts = sum((Counter(item.counts) for item in recordings), Counter[str]())
    exact = 0 if mended else counts["dropped_duplicate"]
    near, looked = 0, 0
    for part in parts:
        near += near_duplicates(part.inside)
        looked += len(part.inside)
    if exact <= REPEATED * max(counts["in_file"], 1) and near <= REPEATED * max(looked, 1):
        return []
    where = [item.name for item in recordings if item.counts.get("dropped_duplicate")]
    words = f"{near} of {looked} boxes lie on another one of their class and time (IoU over {_SAME_IOU})"
    if exact > REPEATED * max(counts["in_file"], 1):
        words = f"{exact} of {counts['in_file']} boxes stand twice in their files (training leaves them out)"
    bars = [("boxes", float(looked)), ("exact copies", float(exact)), ("nearly the same", float(near))]
    return [
        Finding(
            "duplicates",
            words,
            remedy="write each object once a label time, with one track id",
            evidence=(("exact copies", str(exact)), ("nearly the same", str(near)), ("first in", listed(where, 1))),
            draw=lambda path: draw_bars(path, bars, label="boxes"),
        )
    ]


def near_duplicates(boxes: Boxes) -> int:
    """Boxes that overlap an earlier one of their time and class by an IoU over 0.9."""
    found = 0
    edges = np.flatnonzero(np.diff(boxes.t)) + 1
    for rows in np.split(np.arange(len(boxes)), edges)[:2000]:
        if not 1 < len(rows) < 200:
            continue
        xyxy = boxes.xyxy[rows].astype(np.float64)
        low = np.maximum(xyxy[:, None, :2], xyxy[None, :, :2])
        high = np.minimum(xyxy[:, None, 2:], xyxy[None, :, 2:])
        shared = np.clip(high - low, 0, None).prod(2)
        area = (xyxy[:, 2:] - xyxy[:, :2]).prod(1)
        same = shared > _SAME_IOU * (area[:, None] + area[None] - shared)
        same &= boxes.class_id[rows][:, None] == boxes.class_id[rows][None]
        found += int(np.tril(same, -1).any(1).sum())
    return found
