"""Time steps of which nothing is known, and label times that no step shows: what the gap rule and the buffer lose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from spikeyolo.diagnosis.finding import Finding, share
from spikeyolo.diagnosis.windows.counted import Counted, rounded
from spikeyolo.report.pictures.diagnosis import draw_bars
from spikeyolo.windows import slicing
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.matching import BoxMatcher
from spikeyolo.windows.parts import Part
from spikeyolo.windows.rules import WindowRules

UNKNOWN = 0.3  # share of time steps of labelled windows of which nothing is known
UNSEEN = 0.3  # share of label times that no step of any window shows
BUFFERS = (0.3, 0.5, 1.0, 2.0, 5.0, 10.0)  # shares of a window's length that are tried
_MOST = 300  # windows


def unknown_steps(found: Counted, dataset: WindowDataset, parts: Sequence[Part]) -> list[Finding]:
    """That of many time steps nothing is known, since gaps between label times are not filled or the buffer around a
    label is too short.

    Args:
        found: the sample of the windows.
        dataset: all of them.
        parts: their recordings.
    """
    rules = dataset.rules
    known = float(found.supervised.mean()) if found.supervised.size else 1.0
    if known >= 1 - UNKNOWN or rules.targets != "per_slice":
        return _unseen(parts, rules)
    matcher = matched(parts, rules)
    gaps = np.concatenate([np.diff(slicing.distinct(part.inside.t)) for part in parts])
    usual = int(np.median(gaps)) if len(gaps) else 0
    by_step = [(f"step {k + 1}", float(value)) for k, value in enumerate(found.supervised.mean(0)[:40])]
    sentence = f"of {share(1 - known)} of the time steps of labelled windows nothing is known"
    evidence = (("steps that are learnt from", share(known)), ("between label times", f"{usual} µs"))
    filled = replace(rules, max_label_gap_us=rounded(2 * usual))
    if matcher.max_gap_us < usual and known_share(dataset, parts, filled) >= 1 - UNKNOWN:
        return [
            Finding(
                "labels_gap",
                f"{sentence}: label times lie {usual} µs apart, and gaps longer than data.max_label_gap_us "
                f"({matcher.max_gap_us} µs) are not filled",
                overrides=(f"data.max_label_gap_us={filled.max_label_gap_us}",),
                evidence=evidence,
                draw=lambda path: draw_bars(path, by_step, label="share of windows in which it is known"),
            )
        ]
    longer = [replace(rules, temporal_buffer=value) for value in BUFFERS if value > rules.temporal_buffer]
    enough = next((one for one in longer if known_share(dataset, parts, one) >= 1 - UNKNOWN), None)
    return [
        Finding(
            "labels_buffer",
            f"{sentence}: they lie further from their label than data.temporal_buffer={rules.temporal_buffer:g} of a "
            f"window's {rules.duration_us} µs",
            remedy="an object is then taken to stay where it was labelled; data.targets=last asks for nothing but the "
            "window's end"
            if enough is not None
            else "only the window's end is then asked for",
            overrides=("data.targets=last",) if enough is None else (_buffer(enough.temporal_buffer),),
            evidence=evidence,
            draw=lambda path: draw_bars(path, by_step, label="share of windows in which it is known"),
        )
    ]


def matched(parts: Sequence[Part], rules: WindowRules) -> BoxMatcher:
    """The labels of parts, matched under rules."""
    return BoxMatcher(
        [part.boxes for part in parts],
        left_out=[part.left_out_us for part in parts],
        listed=[part.looks_us for part in parts],
        temporal_buffer=rules.temporal_buffer,
        max_gap_us=rules.max_label_gap_us,
    )


def known_share(dataset: WindowDataset, parts: Sequence[Part], rules: WindowRules) -> float:
    """Of the time steps of windows that show a box, those of which it is known what they show, under other rules of
    matching."""
    matcher = matched(parts, rules)
    shares = []
    for index in slicing.spread(len(dataset), _MOST).tolist():
        window = dataset.window(index)
        slice_us = (window.end_us - window.start_us) // rules.time_steps
        boxes, known = matcher.match(window.recording, window.start_us, slice_us, rules.time_steps)
        if len(boxes):
            shares.append(float(known.mean()))
    return float(np.mean(shares)) if shares else 0.0


@dataclass(frozen=True, eq=False)
class _Seen:
    """Of label times, how far the next step of a window is, as a share of its length, and which ones are shown."""

    away: npt.NDArray[np.float64]
    shown: npt.NDArray[np.bool_]


def _unseen(parts: Sequence[Part], rules: WindowRules) -> list[Finding]:
    """That no step of windows that slide over the recordings shows many of the label times."""
    if rules.slicing != "sliding":  # around labels each has a window that ends at it, if any fits
        return []
    matcher = matched(parts, rules)
    looked = [_seen(part, rules, matcher) for part in parts]
    away = np.concatenate([*(one.away for one in looked), np.empty(0)])
    shown = np.concatenate([*(one.shown for one in looked), np.empty(0, np.bool_)])
    lost = int(np.count_nonzero(~shown))
    if lost <= UNSEEN * len(shown):
        return []
    reach = min(float(np.ceil(10 * away[~shown].max()) / 10), BUFFERS[-1])
    return [
        Finding(
            "labels_buffer",
            f"{lost} of {len(shown)} label times lie further than data.temporal_buffer={rules.temporal_buffer:g} of a "
            f"window's {rules.duration_us} µs from every step that is learnt from: their boxes are not",
            remedy="data.slicing=around_labels ends a window at each label time instead",
            overrides=(_buffer(reach),),
            evidence=(("label times", str(len(shown))), ("without a step", str(lost))),
            draw=lambda path: draw_bars(
                path, [("label times", float(len(shown))), ("shown", float(len(shown) - lost))], label="label times"
            ),
        )
    ]


def _seen(part: Part, rules: WindowRules, matcher: BoxMatcher) -> _Seen:
    looks = slicing.distinct(part.inside.t)
    ends = slicing.sliding(
        duration_us=rules.duration_us, overlap=rules.overlap, start_us=part.start_us, end_us=part.end_us
    )
    steps = ends
    if rules.targets == "per_slice":
        steps = np.unique(ends[:, None] - rules.slice_duration_us * np.arange(rules.time_steps))
    if not len(looks) or not len(steps):
        return _Seen(np.empty(0), np.empty(0, np.bool_))
    after = np.searchsorted(steps, looks)
    away = np.minimum(
        np.abs(steps[np.minimum(after, len(steps) - 1)] - looks), np.abs(steps[np.maximum(after - 1, 0)] - looks)
    )
    held = away <= max(rules.temporal_buffer * rules.duration_us, matcher.interval_us / 2)
    # Between two looks that are near enough, every step shows both.
    filled = (np.diff(looks) <= matcher.max_gap_us) & (after[1:] > np.searchsorted(steps, looks[:-1], side="right"))
    return _Seen(away / rules.duration_us, held | np.append(filled, False) | np.insert(filled, 0, False))


def _buffer(value: float) -> str:
    return f"data.temporal_buffer={value:g}"
