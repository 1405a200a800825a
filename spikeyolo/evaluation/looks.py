"""The times of a split at which detections are scored, and what is true at them, step by step of each window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikeyolo.errors import ConfigError
from spikeyolo.events import Boxes
from spikeyolo.windows import EventData, Part, WindowDataset, WindowLoader, WindowRules, scored
from spikeyolo.windows.matching import BoxMatcher
from spikeyolo.windows.parts import common_sensor
from spikeyolo.windows.serving.sampler import EpochSampler
from spikeyolo.windows.slicing import spread, thinned

Windows = Literal["around_labels", "as_trained", "every"]
Times = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stretch:
    """Frames to infer together, and what is true at the ends of their steps.

    Attributes:
        frames: ``[T, B, C, H, W]`` uint8.
        recording: ``[B]`` int64, index of the part.
        ends_us: ``[T, B]`` int64, the end of each step, µs.
        known: ``[T, B]`` bool, at which of them something is known: detections there are scored step by step.
        scored: ``[T, B]`` bool, those at which the result is scored.
        step, window: ``[M]`` int64, where each true box belongs.
        truth: those boxes ``[M]``, in px of the sensor, ``t`` the end of their step.
        first: whether a recording begins here, so that no state is carried into it.
    """

    frames: Tensor
    recording: npt.NDArray[np.int64]
    ends_us: Times
    known: npt.NDArray[np.bool_]
    scored: npt.NDArray[np.bool_]
    step: npt.NDArray[np.int64]
    window: npt.NDArray[np.int64]
    truth: Boxes
    first: bool = True

    @classmethod
    def unlabelled(
        cls, frames: Tensor, recording: npt.NDArray[np.int64], ends_us: Times, *, first: bool = True
    ) -> Stretch:
        """Frames of which nothing is known."""
        none = np.empty(0, np.int64)
        nothing = np.zeros(ends_us.shape, np.bool_)
        return cls(frames, recording, ends_us, nothing, nothing, none, none, Boxes.empty(), first)


@dataclass
class WindowsAtLabels:
    """Windows that look back from label times, each from a fresh state.

    Args:
        data: the data set.
        parts: its recordings of one role.
        windows: ``around_labels`` takes every label time, and supervises every step; ``as_trained`` the windows that
            training validates on.
        role: what messages call them.
    """

    data: EventData
    parts: Sequence[Part]
    windows: Windows
    role: str
    dataset: WindowDataset = field(init=False)

    def __post_init__(self) -> None:
        self.dataset = WindowDataset(
            self.parts, rules=window_rules(self.data.rules, self.windows), encoder=self.data.encoder, role=self.role
        )

    def __len__(self) -> int:
        """How many stretches there are."""
        return -(-len(self.dataset) // self.data.batch_size)

    def __iter__(self) -> Iterator[Stretch]:
        sampler = EpochSampler(size=len(self.dataset), batch_size=self.data.batch_size, shuffle=False)
        loader = WindowLoader(self.dataset, sampler, workers=self.data.workers)
        try:
            for batch in loader.epoch(0):
                steps = batch.frames.shape[0]
                starts = np.array([window.start_us for window in batch.windows], np.int64)
                slices = (np.array([window.end_us for window in batch.windows], np.int64) - starts) // steps
                ends = starts + slices * np.arange(1, steps + 1)[:, None]
                targets = batch.targets
                step, window = targets.time_step.numpy(), targets.batch_index.numpy()
                xyxy = self.data.encoder.placement().to_sensor(
                    targets.xyxy.numpy(), self.dataset.width, self.dataset.height
                )
                truth = Boxes(
                    ends[step, window], xyxy, targets.class_id.numpy(), targets.track_id.numpy(),
                    np.ones(len(step), np.float32),
                )  # fmt: skip
                recording = np.array([window.recording for window in batch.windows], np.int64)
                known = targets.supervised.numpy()
                scored = np.zeros_like(known)
                scored[-1] = known[-1]
                yield Stretch(batch.frames, recording, ends, known, scored, step, window, truth)
        finally:
            loader.close()


@dataclass
class WholeRecordings:
    """Every labelled recording from start to end, in steps of one length back to back, T of them together.

    The result is scored at the label times, and as often where annotators found a recording empty (``negative_share=0``
    leaves that out). A label's boxes are the truth of the last step that ended by its time, so that nothing later is
    known there; those of the T steps around it are interpolated as in training.

    Args:
        data: the data set.
        parts: its recordings of one role.

    Raises:
        ConfigError: there is no label to score at, or the recordings' sensors differ.
    """

    data: EventData
    parts: Sequence[Part]

    def __post_init__(self) -> None:
        rules = self.data.rules
        self.width, self.height = common_sensor(self.parts)
        self._matcher = matcher_of(self.data, self.parts)
        if not any(len(self._labelled(part)[0]) for part in self.parts):
            raise ConfigError(
                f"windows=every: no label after the first {rules.slice_duration_us} µs of {len(self.parts)} "
                "recordings; expected labels to score at"
            )

    def __len__(self) -> int:
        """How many stretches there are."""
        return sum(-(-self._steps(part) // self.data.rules.time_steps) for part in self.parts)

    def __iter__(self) -> Iterator[Stretch]:
        rules = self.data.rules
        for index, part in enumerate(self.parts):
            labelled, times = self._labelled(part)
            looks = np.union1d(labelled, self._empty(index, part))
            for first in range(0, self._steps(part), rules.time_steps):
                steps = min(rules.time_steps, self._steps(part) - first)
                bare = self._unlabelled(index, first, steps)
                here = looks[(looks >= first) & (looks < first + steps)] - first
                if not len(here):
                    yield bare
                    continue
                scored = np.zeros(steps, np.bool_)
                scored[here] = True
                own = (labelled >= first) & (labelled < first + steps)
                truth, step, known = self._truth(
                    index, part, labelled[own] - first, times[own], bare.ends_us[:, 0], here
                )
                yield replace(
                    bare, known=(known | scored)[:, None], scored=scored[:, None], step=step,
                    window=np.zeros(len(step), np.int64), truth=truth,
                )  # fmt: skip

    def sample(self, count: int) -> Iterator[Stretch]:
        """Up to ``count`` stretches of T steps from all over the recordings, without what is true in them; shorter ones
        where no recording has T steps."""
        time_steps = self.data.rules.time_steps
        every = np.array([self._steps(part) for part in self.parts])
        length = time_steps if every.max() >= time_steps else 1
        first = np.cumsum([0, *(every // length)])
        for place in spread(int(first[-1]), count).tolist():
            index = int(np.searchsorted(first, place, side="right")) - 1
            yield self._unlabelled(index, (place - int(first[index])) * length, length)

    def skipped(self) -> int:
        """Label times that are not scored: before the first step's end, or in one step with a later one."""
        every = [np.unique(part.inside.t) for part in self.parts]
        return sum(map(len, every)) - sum(len(self._labelled(part)[0]) for part in self.parts)

    def _unlabelled(self, index: int, first: int, steps: int) -> Stretch:
        """``steps`` steps of a part from its step ``first`` on, encoded."""
        part, encoder, slice_us = self.parts[index], self.data.encoder, self.data.rules.slice_duration_us
        columns, lines = encoder.frame_size(self.width, self.height)
        start = part.start_us + first * slice_us
        ends = start + slice_us * np.arange(1, steps + 1, dtype=np.int64)
        frames = np.empty((steps, encoder.channels, lines, columns), np.uint8)
        packed = thinned(part.recording.packed(start, int(ends[-1])), self.data.rules.max_events_per_sample)
        encoder.encode(packed, start_us=start, slice_us=slice_us, out=frames)
        return Stretch.unlabelled(torch.from_numpy(frames)[:, None], np.array([index]), ends[:, None], first=first == 0)

    def _steps(self, part: Part) -> int:
        if part.boxes is None:  # nothing can be scored
            return 0
        return scored.whole_steps(part, self.data.rules.slice_duration_us)

    def _labelled(self, part: Part) -> tuple[Times, Times]:
        return scored.labelled_steps(part, self.data.rules.slice_duration_us)

    def _empty(self, index: int, part: Part) -> Times:
        rules = self.data.rules
        return scored.empty_steps(
            part, self._matcher, index, rules.slice_duration_us, negative_share=rules.negative_share
        )

    def _truth(
        self, index: int, part: Part, labelled: Times, times: Times, ends: Times, judged: Times
    ) -> tuple[Boxes, Times, npt.NDArray[np.bool_]]:
        """True boxes at the ends of a stretch's steps, the step of each, and at which steps all are known."""
        slice_us, boxes = self.data.rules.slice_duration_us, part.inside
        found, known = self._matcher.match(index, int(ends[0]) - slice_us, slice_us, len(ends))
        if part.labels_from_us is not None:
            known &= ends >= part.labels_from_us
        between = known[found.step] & ~np.isin(found.step, judged)  # those show their looks' boxes, or none
        row = np.flatnonzero(np.isin(boxes.t, times))
        own = labelled[np.searchsorted(times, boxes.t[row])] if len(times) else row
        step = np.concatenate((found.step[between], own))
        limits = np.array([self.width, self.height] * 2, np.float32)
        xyxy = np.clip(np.concatenate((found.xyxy[between], boxes.xyxy[row])), np.float32(0), limits)
        seen = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
        truth = Boxes(
            ends[step],
            xyxy,
            np.concatenate((found.class_id[between], boxes.class_id[row])),
            np.concatenate((found.track_id[between], boxes.track_id[row])),
            np.ones(len(step), np.float32),
        )
        return truth[seen], step[seen], known


def matcher_of(data: EventData, parts: Sequence[Part]) -> BoxMatcher:
    """What is known of recordings between and beyond their labels."""
    return BoxMatcher(
        [part.boxes for part in parts],
        left_out=[part.left_out_us for part in parts],
        listed=[part.looks_us for part in parts],
        temporal_buffer=data.rules.temporal_buffer,
        max_gap_us=data.rules.max_label_gap_us,
    )


def window_rules(rules: WindowRules, windows: Windows) -> WindowRules:
    """The rules by which a split is cut: as training validates, or at every label time."""
    if windows == "as_trained":
        return rules
    return replace(rules, slicing="around_labels", targets="per_slice", max_samples_per_file=None)


Looks = WindowsAtLabels | WholeRecordings


def looks_of(data: EventData, parts: Sequence[Part], windows: Windows, role: str) -> Looks:
    """The windows of a split, as asked for."""
    return WholeRecordings(data, parts) if windows == "every" else WindowsAtLabels(data, parts, windows, role)


def said(windows: Windows, carry: bool) -> str:
    """What a result says of the windows it was scored on."""
    words: dict[Any, str] = {
        "around_labels": "a window before each label time, each from a fresh state",
        "as_trained": "the windows that training validated on, each from a fresh state",
        "every": "recordings from start to end, "
        + ("the state carried from step to step" if carry else "each window from a fresh state")
        + ", scored at the label times and as often in stretches without any label",
    }
    return words[windows]
