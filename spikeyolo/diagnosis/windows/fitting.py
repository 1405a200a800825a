"""Windows that fit into the recordings: those of training, or such as can be looked at where it has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spikeyolo.diagnosis.finding import Finding, Section
from spikeyolo.errors import ConfigError
from spikeyolo.windows import slicing
from spikeyolo.windows.data import EventData
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.parts import Part
from spikeyolo.windows.rules import WindowRules


def windows_of(parts: Sequence[Part], data: EventData, section: Section, *, labelled: bool) -> WindowDataset | None:
    """The windows of training. Where there are none, that is a finding; where there are no labels, windows that slide
    over the recordings, made as short as fits.

    Args:
        section: that findings and what stays unknown go into.
        labelled: whether there is a box.
    """
    sizes = sorted({(part.recording.width, part.recording.height) for part in parts})
    if len(sizes) != 1:
        words = ", ".join(f"{width}x{height}" for width, height in sizes)
        section.findings += [] if not sizes else [
            Finding("no_windows", f"recordings are of different sensors ({words} px), of which no batch can be made",
                    remedy="a set of one sensor each, with data.size=[WIDTH,HEIGHT] where files name none")
        ]  # fmt: skip
        return None
    rules = data.rules if labelled else _everywhere(data.rules)
    try:
        return _dataset(parts, data, rules)
    except ConfigError:
        fitting, override = _shorter(parts, rules)
    before = " before a label" if rules.slicing == "around_labels" else ""
    words = f"none of {len(parts)} recordings holds a window of {_length(rules)}{before}"
    section.findings.append(Finding("no_windows", words, overrides=(override,)))
    if labelled:
        section.unknown.append("what windows hold: there are none")
        return None
    try:
        return _dataset(parts, data, fitting)
    except ConfigError:
        return None


def times_as_long(parts: Sequence[Part], rules: WindowRules) -> float:
    """How many times as long windows may be and still fit: before half of the label times or, where they need no label,
    into the recording that holds most."""
    if rules.slicing == "by_count":
        return max(part.recording.count(part.start_us, part.end_us) for part in parts) / rules.events_per_window
    if rules.slicing == "around_labels":
        before = np.concatenate([slicing.distinct(part.inside.t) - part.start_us for part in parts])
        return float(np.median(before)) / rules.duration_us if len(before) else 0.0
    return max(part.end_us - part.start_us for part in parts) / rules.duration_us


def _everywhere(rules: WindowRules) -> WindowRules:
    """Of windows that need no label."""
    return replace(rules, slicing="sliding") if rules.slicing == "around_labels" else rules


def _dataset(parts: Sequence[Part], data: EventData, rules: WindowRules) -> WindowDataset:
    return WindowDataset(parts, rules=rules, encoder=data.encoder, role="train")


def _shorter(parts: Sequence[Part], rules: WindowRules) -> tuple[WindowRules, str]:
    """Rules whose windows fit into half of the longest recording, or of what is before its last label, and the override
    that gives them."""
    if rules.slicing == "by_count":
        most = max(part.recording.count(part.start_us, part.end_us) for part in parts)
        fewer = max(1, most // 2)
        return replace(rules, events_per_window=fewer), f"data.events_per_window={fewer}"
    longest = max(_room(part, rules) for part in parts)
    steps = max(1, min(rules.time_steps, longest // (2 * rules.slice_duration_us)))
    if steps * rules.slice_duration_us <= longest:
        return replace(rules, time_steps=steps), f"data.time_steps={steps}"
    slice_us = max(1, longest // 2 // rules.time_steps)
    return replace(rules, slice_duration_us=slice_us), f"data.slice_duration_us={slice_us}"


def _room(part: Part, rules: WindowRules) -> int:
    """µs in which a window has to fit."""
    labels = part.inside.t
    end_us = int(labels.max()) if rules.slicing == "around_labels" and len(labels) else part.end_us
    return max(end_us - part.start_us, 1)


def _length(rules: WindowRules) -> str:
    if rules.slicing == "by_count":
        return f"{rules.events_per_window} events (data.events_per_window)"
    return f"{rules.time_steps} × {rules.slice_duration_us} µs (data.time_steps, data.slice_duration_us)"
