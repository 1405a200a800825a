"""The windows of a list of recordings: an index built once, frames and targets made on demand."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from spikeyolo.errors import ConfigError
from spikeyolo.events import Boxes
from spikeyolo.events.store import Recording
from spikeyolo.windows import slicing
from spikeyolo.windows.augment import Augmentation, clip
from spikeyolo.windows.batch import Window
from spikeyolo.windows.encode import HistogramEncoder, Placement
from spikeyolo.windows.matching import BoxMatcher, SliceBoxes

log = logging.getLogger(__name__)

Slicing = Literal["around_labels", "sliding"]
TargetRule = Literal["per_slice", "last"]


@dataclass(frozen=True, eq=False)
class Part:
    """The part of a stored recording that belongs to one split.

    Attributes:
        recording: the open recording.
        boxes: its labels in px of the sensor; None where it has no label file, which is not the same as no box.
        start_us, end_us: µs; windows lie wholly inside.
        name: what messages call it.
    """

    recording: Recording
    boxes: Boxes | None
    start_us: int
    end_us: int
    name: str

    @property
    def num_boxes(self) -> int:
        """Labels at times of this part."""
        if self.boxes is None:
            return 0
        return int(np.count_nonzero((self.boxes.t >= self.start_us) & (self.boxes.t <= self.end_us)))


@dataclass(frozen=True)
class WindowRules:
    """How windows are cut and matched.

    Attributes:
        slice_duration_us: length of one time step, µs.
        time_steps: T.
        slicing: ``around_labels`` looks back from each label time; ``sliding`` covers everything.
        overlap: share of a window's length that it has in common with the next one, where windows slide.
        temporal_buffer: share of a window's length by which a label may lie outside it and still belong to it.
        max_label_gap_us: the longest gap between two labels of a track that is interpolated, µs.
        targets: ``per_slice`` gives every time step its boxes; ``last`` supervises only the last one.
        max_samples_per_file: windows of one recording, spread evenly; None takes all.
        max_events_per_sample: a window with more events is thinned evenly; None takes all.
        negative_share: windows from empty stretches of labelled recordings, as a share of the labelled windows.
    """

    slice_duration_us: int
    time_steps: int
    slicing: Slicing = "around_labels"
    overlap: float = 0.25
    temporal_buffer: float = 0.2
    max_label_gap_us: int = 200_000
    targets: TargetRule = "per_slice"
    max_samples_per_file: int | None = None
    max_events_per_sample: int | None = None
    negative_share: float = 0.1

    @property
    def duration_us(self) -> int:
        return self.slice_duration_us * self.time_steps


@dataclass(frozen=True, eq=False)
class Sample:
    """One encoded window: frames ``[T, C, H, W]`` uint8, its boxes in px of the frame, which steps have labels."""

    frames: npt.NDArray[np.uint8]
    boxes: SliceBoxes
    supervised: npt.NDArray[np.bool_]  # [T]
    window: Window


class WindowDataset(torch.utils.data.Dataset[Sample]):
    """Random access to the windows of several recordings.

    Items are addressed by ``(epoch, index)``: the epoch seeds the augmentation, so that a resumed run, and a run
    with another number of workers, sees the same windows.

    Raises:
        ConfigError: no window fits, or the recordings' sensors differ.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        rules: WindowRules,
        encoder: HistogramEncoder,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        role: str = "train",
    ) -> None:
        self.parts = list(parts)
        self.rules = rules
        self.encoder = encoder
        self.augmentation = augmentation
        self.seed = seed
        self.width, self.height = _common_sensor(self.parts)
        self.frame_width, self.frame_height = encoder.frame_size(self.width, self.height)
        self._matchers: list[BoxMatcher | None] = []
        recording: list[npt.NDArray[np.int64]] = []
        ends: list[npt.NDArray[np.int64]] = []
        for index, part in enumerate(self.parts):
            found = self._windows_of(part)
            recording.append(np.full(len(found), index, np.int64))
            ends.append(found)
        self._recording = np.concatenate(recording) if recording else np.empty(0, np.int64)
        self._end = np.concatenate(ends) if ends else np.empty(0, np.int64)
        self._report(role)

    def __len__(self) -> int:
        return len(self._end)

    def window(self, index: int) -> Window:
        end = int(self._end[index])
        return Window(int(self._recording[index]), end - self.rules.duration_us, end)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        window = self.window(index)
        part, rules = self.parts[window.recording], self.rules
        generator = np.random.default_rng([self.seed, epoch, index])
        packed = part.recording.packed(window.start_us, window.end_us)
        limit = rules.max_events_per_sample
        if limit is not None and len(packed) > limit:
            packed = packed[slicing.spread(len(packed), limit)]
        placement = self.encoder.placement()
        if self.augmentation is not None:
            packed = self.augmentation.events(packed, generator, width=self.width, height=self.height)
            placement = self.augmentation.place(placement, self.frame_width, self.frame_height, generator)
        frames = np.empty((rules.time_steps, self.encoder.channels, self.frame_height, self.frame_width), np.uint8)
        self.encoder.encode(
            packed, start_us=window.start_us, slice_us=rules.slice_duration_us, out=frames, placement=placement
        )
        boxes, supervised = self._targets(window, placement)
        return Sample(frames, boxes, supervised, window)

    def _targets(self, window: Window, placement: Placement) -> tuple[SliceBoxes, npt.NDArray[np.bool_]]:
        matcher, rules = self._matchers[window.recording], self.rules
        if matcher is None:
            none = np.empty(0, np.int64)
            return SliceBoxes(none, np.empty((0, 4), np.float32), none, none), np.zeros(rules.time_steps, np.bool_)
        found = matcher.match(window.start_us, rules.slice_duration_us, rules.time_steps)
        supervised = np.ones(rules.time_steps, np.bool_)
        if rules.targets == "last":
            supervised[:-1] = False
            found = found.at(rules.time_steps - 1)
        xyxy = placement.boxes(found.xyxy)
        if self.augmentation is None:
            xyxy = clip(xyxy, self.frame_width, self.frame_height)
            keep = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
        else:
            xyxy, keep = self.augmentation.visible(xyxy, self.frame_width, self.frame_height)
        return SliceBoxes(found.step[keep], xyxy[keep], found.class_id[keep], found.track_id[keep]), supervised

    def _windows_of(self, part: Part) -> npt.NDArray[np.int64]:
        """Ends of the part's windows, in time order; also prepares the matching of its labels."""
        rules = self.rules
        span = {"start_us": part.start_us, "end_us": part.end_us}
        if part.boxes is None:
            self._matchers.append(None)
            ends = slicing.sliding(duration_us=rules.duration_us, overlap=rules.overlap, **span)
            ends = ends if rules.slicing == "sliding" else ends[:0]
            return ends[slicing.spread(len(ends), rules.max_samples_per_file)]
        interval = slicing.label_interval(part.boxes.t)
        self._matchers.append(
            BoxMatcher(
                part.boxes,
                temporal_buffer=rules.temporal_buffer,
                label_interval_us=interval,
                max_gap_us=rules.max_label_gap_us,
            )
        )
        if rules.slicing == "sliding":
            ends = slicing.sliding(duration_us=rules.duration_us, overlap=rules.overlap, **span)
            ends = ends[slicing.spread(len(ends), rules.max_samples_per_file)]
            positives = len(ends)
        else:
            anchors = slicing.anchored(part.boxes.t, duration_us=rules.duration_us, **span)
            anchors = anchors[slicing.spread(len(anchors), rules.max_samples_per_file)]
            positives = len(anchors)
            ends = np.sort(np.concatenate([anchors, self._empty_windows(part, positives, interval)]))
        self._log_part(part, positives, len(ends) - positives)
        return ends

    def _empty_windows(self, part: Part, positives: int, interval_us: int) -> npt.NDArray[np.int64]:
        rules = self.rules
        wanted = round(rules.negative_share * positives) if positives else rules.max_samples_per_file or 64
        if rules.negative_share == 0:
            wanted = 0
        if rules.max_samples_per_file is not None:
            wanted = min(wanted, rules.max_samples_per_file - positives)
        assert part.boxes is not None
        gap = max(round(2.5 * interval_us), round(max(1.0, rules.temporal_buffer) * rules.duration_us))
        stretches = slicing.empty_stretches(part.boxes.t, start_us=part.start_us, end_us=part.end_us, gap_us=gap)
        ends = [
            slicing.sliding(duration_us=rules.duration_us, overlap=rules.overlap, start_us=begin, end_us=end)
            for begin, end in stretches
        ]
        every = np.concatenate([*ends, np.empty(0, np.int64)])
        return every[slicing.spread(len(every), max(wanted, 0))]

    def _log_part(self, part: Part, positives: int, negatives: int) -> None:
        if not log.isEnabledFor(logging.DEBUG):
            return
        log.debug(
            "%s: %d events [%d–%d µs] → %d boxes, %d labelled windows, %d empty windows",
            part.name,
            part.recording.count(part.start_us, part.end_us),
            part.start_us,
            part.end_us,
            part.num_boxes,
            positives,
            negatives,
        )

    def _report(self, role: str) -> None:
        unlabelled = sum(matcher is None for matcher in self._matchers)
        boxes = sum(part.num_boxes for part in self.parts)
        log.info(
            "%s: %d recordings (%d without labels), %d boxes, %d windows of %d × %d µs",
            role,
            len(self.parts),
            unlabelled,
            boxes,
            len(self),
            self.rules.time_steps,
            self.rules.slice_duration_us,
        )
        if not len(self):
            raise ConfigError(
                f"{role}: none of {len(self.parts)} recordings has a window of {self.rules.time_steps} × "
                f"{self.rules.slice_duration_us} µs before a label; expected labels, and data.slice_duration_us × "
                "data.time_steps shorter than the recordings"
            )
        limit = self.rules.max_events_per_sample
        if limit is not None:
            counts = [self._count(index) for index in range(len(self))]
            over = sum(count > limit for count in counts)
            if over:
                log.info("%s: %d windows hold more than %d events and are thinned to that number", role, over, limit)

    def _count(self, index: int) -> int:
        window = self.window(index)
        return self.parts[window.recording].recording.count(window.start_us, window.end_us)


def _common_sensor(parts: Sequence[Part]) -> tuple[int, int]:
    if not parts:
        raise ConfigError("the data set has no recordings; expected at least one")
    sizes = {(part.recording.width, part.recording.height): part.name for part in parts}
    if len(sizes) > 1:
        found = ", ".join(f"{width}x{height} px ({name})" for (width, height), name in sizes.items())
        raise ConfigError(f"recordings of different sensors in one data set: {found}; expected one size")
    return next(iter(sizes))
