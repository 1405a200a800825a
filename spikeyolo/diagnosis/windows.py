"""Windows: whether there are any, what they hold, and what of the labels gets lost on the way to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spikeyolo.diagnosis.counted import Counted, count_windows
from spikeyolo.diagnosis.finding import Finding, Section, listed, share
from spikeyolo.diagnosis.written import Written
from spikeyolo.errors import ConfigError
from spikeyolo.events.types import Boxes
from spikeyolo.metrics.protocols import Protocol
from spikeyolo.report.diagnosis import draw_bars, draw_histogram
from spikeyolo.windows import slicing
from spikeyolo.windows.data import EventData
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.parts import Part

SMALLEST_STRIDE = 8  # px of the frame between the finest anchor points
EMPTY_SLICES = 0.5  # share of slices of labelled windows without any event
WITHOUT_EVENTS = 0.3  # share of true boxes without any event in their window
WITHOUT_BOXES = 0.05  # share of windows with a box, below which training sees little else than background
LOST = 0.5  # share of label times before which no window fits
UNKNOWN = 0.3  # share of time steps of labelled windows of which nothing is known
DROPPED = 0.3  # share of a file's boxes that cleaning leaves out
REPEATED = 0.05  # share of boxes that stand twice
RARE = 0.02  # share of boxes of a class, below which it is learnt late
HOT = 0.5  # share of events in pixels that have fifty times those of the usual one
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
            remedy="put NAME_bbox.npy, .csv, .json or .txt beside each NAME.raw, or name them with data.labels=PATH "
            "(data=recording); of a converted set, convert it again with its labels",
            evidence=(("recordings", listed([item.name for item in recordings])),),
        )
    counts = sum((Counter(item.counts) for item in files), Counter[str]())
    rules = {rule: number for rule, number in counts.items() if rule.startswith("dropped_") and number}
    words = ", ".join(f"{rule.removeprefix('dropped_')} {number}" for rule, number in rules.items())
    worst = max(rules, key=lambda rule: rules[rule]) if rules else ""
    remedy = {
        "dropped_class_not_kept": f"none is of data.classes=[{','.join(data.classes)}]: name the files' classes",
        "dropped_outside_frame": "their boxes lie outside the sensor: data.label_correction.scale",
        "dropped_outside_recording": "their times lie outside the recording: data.label_correction.time_shift_us, or "
        "data.label_clock",
    }.get(worst, "look at the label files with python -m spikeyolo.view source=FILE labels=FILE")
    elsewhere = sum(len(item.boxes) for item in files if item.boxes is not None)
    if not rules and elsewhere:
        remedy = "the labels lie in what does not train: data.train_until_us, or another split"
    return Finding(
        "no_labels",
        f"{counts['in_file']} boxes are in {len(files)} label files, and none is left to learn from"
        + (f" ({words})" if words else ""),
        remedy=remedy,
        overrides=("data.names=[…]",) if worst == "dropped_class_not_kept" else (),
        evidence=tuple((rule, str(number)) for rule, number in rules.items()),
    )


def check_windows(
    data: EventData,
    parts: Sequence[Part],
    val_parts: Sequence[Part],
    recordings: Sequence[Written],
    *,
    protocol: Protocol,
    whole: bool,
    mended: bool,
) -> tuple[Section, WindowDataset | None]:
    """Look at what training would see.

    Args:
        parts, val_parts: of training and of validation.
        recordings: those of ``parts``, with what cleaning did to their labels.
        protocol: whose smallest boxes count.
        whole: whether ``parts`` are all that the set has.
        mended: whether labels were mended, so that the counts of ``recordings`` are not those of ``parts``.
    """
    section = Section("windows")
    missing = no_labels(parts, recordings, data)
    if missing is not None:
        section.findings.append(missing)
    if not mended:
        section.findings += _dropped(recordings)
    try:
        dataset = WindowDataset(parts, rules=data.rules, encoder=data.encoder, role="train")
    except ConfigError as error:
        section.unknown.append(str(error))
        if missing is None:
            section.findings.append(_no_windows(data, parts, str(error)))
        return section, None
    if not len(dataset):
        return section, None
    found = count_windows(dataset)
    labelled = found.with_boxes / max(found.looked_at, 1)
    section.facts += [
        ("looked at", f"{found.looked_at} of {found.windows} training windows of {len(parts)} recordings"),
        ("windows with boxes", share(labelled)),
        ("events a slice", _spread(found.events.ravel())),
        ("slices without events", share(float((found.events == 0).mean()))),
    ]
    section.pictures["events_a_slice"] = lambda path: draw_histogram(
        path, found.events.ravel().astype(np.float64), label="events a slice"
    )
    if missing is None:
        section.findings += _classes(parts, data, whole)
        section.findings += _empty(found, data)
        section.findings += _lost(found, parts, data, labelled)
        section.findings += _repeated(parts, recordings, mended)
        section.findings += _small(found, data, val_parts, protocol)
        section.findings += _without_events(found, data)
        section.findings += _imbalance(parts, data)
        section.facts += [
            ("boxes in classes", ", ".join(f"{name} {n}" for name, n in zip(data.classes, _counts(parts, data)))),
            ("shorter side of boxes in the frame", f"{_spread(found.side_px)} px"),
            ("boxes without events", share(float((found.in_box == 0).mean()) if len(found.in_box) else 0.0)),
        ]
        section.pictures["box_sides"] = lambda path: draw_histogram(
            path, found.side_px, label="shorter side of true boxes, px", marks=(("smallest stride", SMALLEST_STRIDE),)
        )
        if val_parts and not any(len(part.inside) for part in val_parts):
            section.findings.append(
                Finding(
                    "no_val_labels",
                    f"none of {len(val_parts)} validation recordings has a box: mAP is not defined",
                    remedy="give validation labelled recordings (data.val_split, data.val_share, data.train_until_us)",
                )
            )
    section.findings += _hot(found)
    return section, dataset


def _dropped(recordings: Sequence[Written]) -> list[Finding]:
    counts = sum((Counter(item.counts) for item in recordings), Counter[str]())
    asked = ("dropped_class_not_kept", "dropped_skip_first", "dropped_duplicate")
    rules = {
        rule: number for rule, number in counts.items() if rule.startswith("dropped_") and number and rule not in asked
    }
    lost = sum(rules.values())
    if lost < DROPPED * max(counts["in_file"], 1) or not counts["kept"]:
        return []
    words = ", ".join(f"{rule.removeprefix('dropped_')} {number}" for rule, number in rules.items())
    return [
        Finding(
            "dropped",
            f"cleaning leaves out {lost} of {counts['in_file']} boxes ({words})",
            remedy="look at them with python -m spikeyolo.view; rules are under data.dataset.train_labels",
            evidence=tuple((rule, str(number)) for rule, number in rules.items()),
        )
    ]


def _no_windows(data: EventData, parts: Sequence[Part], sentence: str) -> Finding:
    longest = max(part.end_us - part.start_us for part in parts)
    steps = max(1, min(data.rules.time_steps, longest // (2 * data.rules.slice_duration_us)))
    fits = steps * data.rules.slice_duration_us <= longest
    override = f"data.time_steps={steps}" if fits else f"data.slice_duration_us={longest // 2 // data.rules.time_steps}"
    return Finding("no_windows", sentence, overrides=(override,))


def _classes(parts: Sequence[Part], data: EventData, whole: bool) -> list[Finding]:
    counts = _counts(parts, data)
    absent = [name for name, number in zip(data.classes, counts) if not number]
    if not absent or not whole:
        return []
    present = [name for name in data.classes if name not in absent]
    return [
        Finding(
            "class_missing",
            f"no box of {listed(absent)} in {len(parts)} training recordings: "
            f"{'it' if len(absent) == 1 else 'they'} cannot be learnt, and mAP counts what is never found",
            overrides=(f"data.classes=[{','.join(present)}]",),
            evidence=tuple((name, str(number)) for name, number in zip(data.classes, counts)),
            draw=lambda path: draw_bars(path, list(zip(data.classes, map(float, counts))), label="boxes"),
        )
    ]


def _imbalance(parts: Sequence[Part], data: EventData) -> list[Finding]:
    counts = _counts(parts, data)
    every = sum(counts)
    rare = [name for name, number in zip(data.classes, counts) if 0 < number < RARE * every]
    if not rare or data.sampling == "balanced":
        return []
    return [
        Finding(
            "imbalance",
            f"{listed(rare)} {'has' if len(rare) == 1 else 'have'} less than {share(RARE)} of {every} boxes",
            overrides=("data.sampling=balanced", "loss.class_weights=effective_number"),
            evidence=tuple((name, str(number)) for name, number in zip(data.classes, counts)),
            draw=lambda path: draw_bars(path, list(zip(data.classes, map(float, counts))), label="boxes"),
        )
    ]


def _empty(found: Counted, data: EventData) -> list[Finding]:
    empty = float((found.events == 0).mean())
    if empty <= EMPTY_SLICES:
        return []
    rate = float(found.events.sum()) / found.events.size / data.rules.slice_duration_us  # events a µs
    longer = _round(20 / rate) if rate > 0 else 10 * data.rules.slice_duration_us
    return [
        Finding(
            "empty_slices",
            f"{share(empty)} of slices of {data.rules.slice_duration_us} µs hold no event: there is nothing to see",
            overrides=(f"data.slice_duration_us={longer}",),
            evidence=(("events a slice", _spread(found.events.ravel())),),
            draw=lambda path: draw_histogram(path, found.events.ravel().astype(np.float64), label="events a slice"),
        )
    ]


def _lost(found: Counted, parts: Sequence[Part], data: EventData, labelled: float) -> list[Finding]:
    findings = []
    rules = data.rules
    looks = [slicing.distinct(part.inside.t) for part in parts]
    fitting = sum(
        len(
            slicing.anchored(times, duration_us=rules.duration_us, start_us=part.start_us, end_us=part.end_us)
        )
        for times, part in zip(looks, parts)
    )  # fmt: skip
    every = sum(map(len, looks))
    if rules.slicing == "around_labels" and fitting < (1 - LOST) * every:
        shorter = max(1, rules.time_steps // 4)
        findings.append(
            Finding(
                "labels_lost",
                f"before {every - fitting} of {every} label times no window of {rules.duration_us} µs fits into its "
                "recording: they are not learnt from",
                overrides=(f"data.time_steps={shorter}",),
                evidence=(("label times", str(every)), ("with a window", str(fitting))),
            )
        )
    known = float(found.supervised.mean()) if found.supervised.size else 1.0
    if known < 1 - UNKNOWN and rules.targets == "per_slice":
        gaps = np.concatenate([np.diff(times) for times in looks])
        usual = int(np.median(gaps)) if len(gaps) else 0
        findings.append(
            Finding(
                "labels_gap",
                f"of {share(1 - known)} of the time steps of labelled windows nothing is known: label times lie "
                f"{usual} µs apart, and longer gaps than data.max_label_gap_us are not filled",
                overrides=(f"data.max_label_gap_us={_round(2 * usual)}",),
                evidence=(("steps that are learnt from", share(known)), ("between label times", f"{usual} µs")),
            )
        )
    if labelled < WITHOUT_BOXES:
        findings.append(
            Finding(
                "windows_without_boxes",
                f"only {share(labelled)} of the windows show a box",
                overrides=("data.slicing=around_labels", "data.negative_share=0.1"),
            )
        )
    return findings


def _repeated(parts: Sequence[Part], recordings: Sequence[Written], mended: bool) -> list[Finding]:
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
    return [
        Finding(
            "duplicates",
            words,
            remedy="write each object once a label time, with one track id",
            evidence=(("exact copies", str(exact)), ("nearly the same", str(near)), ("first in", listed(where, 1))),
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


def _small(found: Counted, data: EventData, val_parts: Sequence[Part], protocol: Protocol) -> list[Finding]:
    findings = []
    small = float((found.side_px < SMALLEST_STRIDE).mean()) if len(found.side_px) else 0.0
    if small > 0.5:
        factor = getattr(data.encoder, "downsample", 1)
        overrides = (f"data.encoder.downsample={max(1, factor // 2)}",) if factor > 1 else ()
        findings.append(
            Finding(
                "small_boxes",
                f"{share(small)} of the boxes are narrower or lower than {SMALLEST_STRIDE} px of the frame, the "
                "distance of the finest anchor points",
                remedy=""
                if overrides
                else "the finest anchor points are too coarse for them: cut the sensor to where "
                "they are (data.filters.region) does not help; a sensor of more pixels does",
                overrides=overrides,
                evidence=(("shorter side", f"{_spread(found.side_px)} px"),),
                draw=lambda path: draw_histogram(
                    path,
                    found.side_px,
                    label="shorter side of true boxes, px",
                    marks=(("smallest stride", SMALLEST_STRIDE),),
                ),
            )
        )
    boxes = np.concatenate([*(part.inside.xyxy for part in val_parts), np.empty((0, 4), np.float32)])
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    if len(sides) and (protocol.min_side or protocol.min_diagonal):
        left_out = (sides.min(1) < protocol.min_side) | (np.hypot(*sides.T) < protocol.min_diagonal)
        if float(left_out.mean()) > 0.5:
            findings.append(
                Finding(
                    "protocol_sizes",
                    f"protocol={protocol.name} leaves out {share(float(left_out.mean()))} of the true boxes as too "
                    f"small (sides below {protocol.min_side:g} px, diagonals below {protocol.min_diagonal:g} px)",
                    overrides=("protocol=coco",),
                )
            )
    return findings


def _without_events(found: Counted, data: EventData) -> list[Finding]:
    bare = float((found.in_box == 0).mean()) if len(found.in_box) else 0.0
    if bare <= WITHOUT_EVENTS:
        return []
    rules = data.rules
    return [
        Finding(
            "boxes_without_events",
            f"{share(bare)} of the true boxes hold no event in their window of {rules.duration_us} µs: objects that "
            "stand still cannot be seen",
            remedy="longer windows see slower objects; leave out of the labels what never moves",
            overrides=(f"data.slice_duration_us={4 * rules.slice_duration_us}",),
            evidence=(("events in a box", _spread(found.in_box)),),
            draw=lambda path: draw_histogram(path, found.in_box.astype(np.float64), label="events in a true box"),
        )
    ]


def _hot(found: Counted) -> list[Finding]:
    active = found.pixel_events[found.pixel_events > 0]
    if not len(active):
        return []
    hot = active[active > 50 * max(float(np.median(active)), 1.0)]
    part = float(hot.sum()) / float(active.sum())
    if part <= HOT:
        return []
    return [
        Finding(
            "hot_pixels",
            f"{len(hot)} pixels give {share(part)} of the events: they are damaged, or a lamp flickers",
            overrides=("data.filters.hot_pixel_factor=50",),
            evidence=(("active pixels", str(len(active))), ("hot", str(len(hot)))),
        )
    ]


def _counts(parts: Sequence[Part], data: EventData) -> list[int]:
    ids = np.concatenate([*(part.inside.class_id for part in parts), np.empty(0, np.int64)])
    return [int(number) for number in np.bincount(ids.astype(np.int64), minlength=len(data.classes))]


def _spread(values: npt.NDArray[np.number]) -> str:
    if not len(values):
        return "none"
    low, middle, high = np.percentile(values, (10, 50, 90))
    return f"{middle:.4g} ({low:.4g} to {high:.4g} of four fifths)"


def _round(value: float) -> int:
    """To two figures."""
    if value <= 0:
        return 1
    unit = int(10 ** max(int(np.floor(np.log10(value))) - 1, 0))
    return max(1, int(np.ceil(value / unit)) * unit)
