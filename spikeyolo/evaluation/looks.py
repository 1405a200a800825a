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
from spikeyolo.windows import EventData, Part, WindowDataset, WindowLoader, WindowRules, slicing
from spikeyolo.windows.sampler import EpochSampler

Windows = Literal["around_labels", "as_trained", "every"]
Times = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stretch:
    """Frames to infer together, and what is true at the ends of their steps.

    Attributes:
        frames: ``[T, B, C, H, W]`` uint8.
        recording: ``[B]`` int64, index of the part.
        ends_us: ``[T, B]`` int64, the end of each step, µs.
        scored: ``[T, B]`` bool, at which of them something is known, so that detections are scored there.
        step, window: ``[M]`` int64, where each true box belongs.
        truth: those boxes ``[M]``, in px of the sensor, ``t`` the end of their step.
        first: whether a recording begins here, so that no state is carried into it.
    """

    frames: Tensor
    recording: npt.NDArray[np.int64]
    ends_us: Times
    scored: npt.NDArray[np.bool_]
    step: npt.NDArray[np.int64]
    window: npt.NDArray[np.int64]
    truth: Boxes
    first: bool = True

    @classmethod
    def unlabelled(cls, frames: Tensor, recording: npt.NDArray[np.int64], ends_us: Times) -> Stretch:
        """Frames of which nothing is known."""
        none = np.empty(0, np.int64)
        return cls(frames, recording, ends_us, np.zeros(ends_us.shape, np.bool_), none, none, Boxes.empty())


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
                yield Stretch(batch.frames, recording, ends, targets.supervised.numpy(), step, window, truth)
        finally:
            loader.close()


@dataclass
class WholeRecordings:
    """Every recording from start to end, in steps of one length back to back.

    A label's boxes are the truth of the last step that ended by its time, so that nothing later is known there.

    Args:
        data: the data set.
        parts: its recordings of one role.
    """

    data: EventData
    parts: Sequence[Part]

    def __post_init__(self) -> None:
        rules = self.data.rules
        if not any(len(self._looks(part)[0]) for part in self.parts):
            raise ConfigError(
                f"windows=every: no label after the first {rules.slice_duration_us} µs of {len(self.parts)} "
                "recordings; expected labels to score at"
            )

    def __len__(self) -> int:
        """How many stretches there are."""
        return sum(-(-self._steps(part) // self.data.rules.time_steps) for part in self.parts)

    def __iter__(self) -> Iterator[Stretch]:
        rules, encoder = self.data.rules, self.data.encoder
        for index, part in enumerate(self.parts):
            width, height = part.recording.width, part.recording.height
            columns, lines = encoder.frame_size(width, height)
            looks, times = self._looks(part)
            for first in range(0, self._steps(part), rules.time_steps):
                steps = min(rules.time_steps, self._steps(part) - first)
                start = part.start_us + first * rules.slice_duration_us
                frames = np.empty((steps, encoder.channels, lines, columns), np.uint8)
                packed = part.recording.packed(start, start + steps * rules.slice_duration_us)
                encoder.encode(packed, start_us=start, slice_us=rules.slice_duration_us, out=frames)
                ends = start + rules.slice_duration_us * np.arange(1, steps + 1, dtype=np.int64)
                here = (looks >= first) & (looks < first + steps)
                scored = np.zeros((steps, 1), np.bool_)
                scored[looks[here] - first] = True
                truth, step = self._truth(part, looks[here] - first, times[here], ends)
                yield Stretch(
                    torch.from_numpy(frames)[:, None], np.array([index]), ends[:, None], scored, step,
                    np.zeros(len(step), np.int64), truth, first == 0,
                )  # fmt: skip

    def skipped(self) -> int:
        """Label times that are not scored: before the first step's end, or in one step with a later one."""
        every = [np.unique(part.inside.t) for part in self.parts]
        return sum(map(len, every)) - sum(len(self._looks(part)[0]) for part in self.parts)

    def _steps(self, part: Part) -> int:
        return int((part.end_us - part.start_us) // self.data.rules.slice_duration_us)

    def _looks(self, part: Part) -> tuple[Times, Times]:
        """Steps at which a part is scored, and the label time of each; of several in one step the last."""
        times = slicing.distinct(part.inside.t)
        if part.labels_from_us is not None:
            times = times[times >= part.labels_from_us]
        steps = np.minimum((times - part.start_us) // self.data.rules.slice_duration_us, self._steps(part)) - 1
        last = np.append(steps[1:] > steps[:-1], True)[: len(steps)] & (steps >= 0)
        return steps[last], times[last]

    def _truth(self, part: Part, steps: Times, times: Times, ends: Times) -> tuple[Boxes, Times]:
        boxes = part.inside
        row = np.flatnonzero(np.isin(boxes.t, times))
        step = steps[np.searchsorted(times, boxes.t[row])] if len(times) else row
        limits = np.array([part.recording.width, part.recording.height] * 2, np.float32)
        xyxy = np.clip(boxes.xyxy[row], np.float32(0), limits)
        seen = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
        found = replace(boxes[row][seen], t=ends[step[seen]], xyxy=xyxy[seen])
        return found, step[seen]


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
        + ", scored at the label times",
    }
    return words[windows]
