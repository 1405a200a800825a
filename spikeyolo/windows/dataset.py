"""The windows of a list of recordings: an index built once, frames and targets made on demand."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from spikeyolo.errors import ConfigError
from spikeyolo.windows import chosen, scored, slicing
from spikeyolo.windows.augment import Augmentation, clip
from spikeyolo.windows.batch import Window
from spikeyolo.windows.encoders import Encoder
from spikeyolo.windows.matching import BoxMatcher, SliceBoxes, Times
from spikeyolo.windows.parts import Part, common_sensor, without_labels
from spikeyolo.windows.placement import Placement
from spikeyolo.windows.rules import WindowRules
from spikeyolo.windows.serving.balance import ClassBalance
from spikeyolo.windows.serving.sampler import Draw
from spikeyolo.windows.serving.shared import SharedColumns

log = logging.getLogger(__name__)

Cut = Literal["alone", "lanes", "both", "whole"]

_GEOMETRY = 1  # beside the seed of a lane's augmentation


@dataclass(frozen=True, eq=False)
class Sample:
    """One encoded window: frames ``[T, C, H, W]`` uint8, its boxes in px of the frame, which steps have labels, and
    whether it follows the window before (None: it stands alone)."""

    frames: npt.NDArray[np.uint8]
    boxes: SliceBoxes
    supervised: npt.NDArray[np.bool_]  # [T]
    window: Window
    follows: bool | None = None


class WindowDataset(torch.utils.data.Dataset[Sample]):
    """Random access to the windows of several recordings.

    Items are addressed by ``(epoch, index)`` or a :class:`Draw`: the epoch seeds the augmentation, so that a resumed
    run, and a run with another number of workers, sees the same windows.

    Args:
        parts: of the recordings.
        rules: how windows are cut and matched.
        encoder: events to frames.
        augmentation: None leaves windows as recorded.
        seed: of the augmentation.
        role: what messages call the parts.
        cut: ``alone`` cuts windows as the rules say; ``lanes`` labelled recordings from their start on, one window
            behind the other; ``both`` the ones and then the others; ``whole`` as ``lanes``, with a last window that
            reaches beyond the recording's end, and supervises only the steps at which detections are scored.

    Attributes:
        matcher: of the parts' labels.
        first_of_lanes: index of the first window that is cut for lanes.

    Raises:
        ConfigError: no window fits, or the recordings' sensors differ.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        rules: WindowRules,
        encoder: Encoder,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        role: str = "train",
        cut: Cut = "alone",
    ) -> None:
        self.parts = list(parts)
        self.rules = rules
        self.augmentation = augmentation
        self.seed = seed
        self.width, self.height = common_sensor(self.parts)
        self.encoder = encoder.for_sensor(self.width, self.height)
        self.frame_width, self.frame_height = self.encoder.frame_size(self.width, self.height)
        self.matcher = BoxMatcher(
            [part.boxes for part in self.parts],
            left_out=[part.left_out_us for part in self.parts],
            listed=[part.looks_us for part in self.parts],
            temporal_buffer=rules.temporal_buffer,
            max_gap_us=rules.max_label_gap_us,
        )
        self._scored: scored.ScoredSteps | None = None
        if cut == "whole":
            self._scored = scored.ScoredSteps(
                self.parts, self.matcher, slice_us=rules.slice_duration_us, negative_share=rules.negative_share
            )
        found: list[tuple[Times, Times | None]] = []
        if cut in ("alone", "both"):
            found = [chosen.windows_of(index, part, rules, self.matcher) for index, part in enumerate(self.parts)]
        self.first_of_lanes = sum(len(ends) for ends, _ in found)
        follow = [] if cut == "alone" else [chosen.in_a_row(part, rules, beyond=cut == "whole") for part in self.parts]
        found += [(ends, None) for ends in follow]
        columns = {
            "recording": np.repeat(
                np.arange(len(found), dtype=np.int64) % len(self.parts), [len(ends) for ends, _ in found]
            ),
            "end_us": np.concatenate([ends for ends, _ in found]),
        }
        if rules.slicing == "by_count":  # otherwise all windows are equally long
            columns["slice_us"] = np.concatenate([slice_us for _, slice_us in found])
        self._windows = SharedColumns(columns)
        if cut in ("lanes", "both"):
            self._report_lanes(role, follow)
        if cut != "lanes":
            self._report(role, self.first_of_lanes if cut == "both" else len(self))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "parts": [without_labels(part) for part in self.parts]}

    @property
    def frame(self) -> dict[str, Any]:
        """How a point of the sensor lands in a frame, for whoever uses the trained network: sizes in px, width first,
        and the placement's values."""
        return {
            "sensor": [self.width, self.height],
            "size": [self.frame_width, self.frame_height],
            "placement": asdict(self.encoder.placement()),
        }

    def __len__(self) -> int:
        return len(self._windows["end_us"])

    @property
    def looks(self) -> int:
        """How often a detector's result is scored: at the end of each window, or at the labels of whole recordings."""
        return len(self) if self._scored is None else len(self._scored)

    def window(self, index: int) -> Window:
        end = int(self._windows["end_us"][index])
        slice_us = self.rules.slice_duration_us
        if self.rules.slicing == "by_count":
            slice_us = int(self._windows["slice_us"][index])
        return Window(int(self._windows["recording"][index]), end - slice_us * self.rules.time_steps, end)

    def bounds(self) -> tuple[Times, Times, Times]:
        """Recording, beginning and end of each window ``[N]``, µs."""
        ends = self._windows["end_us"]
        slice_us = self._windows["slice_us"] if self.rules.slicing == "by_count" else self.rules.slice_duration_us
        return self._windows["recording"], ends - slice_us * self.rules.time_steps, ends

    def balance(self, num_classes: int) -> ClassBalance:
        """For epochs in which the classes that the windows' last slices show come equally often."""
        recording, begins, ends = self.bounds()
        first = np.searchsorted(recording, np.arange(len(self.parts) + 1))
        shown = np.zeros((len(self), num_classes), np.bool_)
        for index in range(len(self.parts)):
            rows = slice(first[index], first[index + 1])
            slice_us = (ends[rows] - begins[rows]) // self.rules.time_steps
            shown[rows] = self.matcher.shown_classes(index, ends[rows], slice_us, self.rules.time_steps, num_classes)
        return ClassBalance(classes=shown, recording=recording)

    def class_counts(self, num_classes: int) -> list[int]:
        """Labelled boxes of each class."""
        ids = np.concatenate([part.inside.class_id for part in self.parts])
        return [int(count) for count in np.bincount(ids.astype(np.int64), minlength=num_classes)]

    @property
    def recordings_of_lanes(self) -> npt.NDArray[np.int64]:
        """The recording of each window that is cut for lanes, in their order."""
        rows: npt.NDArray[np.int64] = self._windows["recording"][self.first_of_lanes :]
        return rows

    def __getitem__(self, key: tuple[int, int] | Draw) -> Sample:
        draw = Draw(*key)
        window = self.window(draw.window)
        part, rules = self.parts[window.recording], self.rules
        packed = part.recording.packed(window.start_us, min(window.end_us, part.end_us))
        packed = slicing.thinned(packed, rules.max_events_per_sample)
        placement = self.encoder.placement()
        if self.augmentation is not None:
            generator = np.random.default_rng([self.seed, draw.epoch, draw.window])
            settings = geometry = generator
            if draw.along is not None:  # drawn once for all windows of a lane, from its beginning on
                settings = np.random.default_rng([self.seed, draw.epoch, draw.along])
                geometry = np.random.default_rng([self.seed, draw.epoch, draw.along, _GEOMETRY])
            packed = self.augmentation.events(packed, generator, settings, width=self.width, height=self.height)
            placement = self.augmentation.place(placement, self.frame_width, self.frame_height, geometry)
        frames = np.empty((rules.time_steps, self.encoder.channels, self.frame_height, self.frame_width), np.uint8)
        slice_us = (window.end_us - window.start_us) // rules.time_steps
        self.encoder.encode(packed, start_us=window.start_us, slice_us=slice_us, out=frames, placement=placement)
        boxes, supervised = self.targets(window, placement)
        return Sample(frames, boxes, supervised, window, None if draw.along is None else draw.follows)

    def targets(self, window: Window, placement: Placement) -> tuple[SliceBoxes, npt.NDArray[np.bool_]]:
        """The boxes of a window in px of the frame, and which steps are supervised ``[T]``."""
        rules = self.rules
        slice_us = (window.end_us - window.start_us) // rules.time_steps
        if self._scored is not None:
            first = (window.start_us - self.parts[window.recording].start_us) // slice_us
            steps, labelled, times = self._scored.between(window.recording, first, first + rules.time_steps)
            found = self.matcher.at_looks(window.recording, times, labelled)
            supervised = np.zeros(rules.time_steps, np.bool_)
            supervised[steps] = True
            return self._placed(found, placement), supervised
        found, supervised = self.matcher.match(window.recording, window.start_us, slice_us, rules.time_steps)
        known_from = self.parts[window.recording].labels_from_us
        if known_from is not None:
            supervised &= window.start_us + slice_us * np.arange(1, rules.time_steps + 1) >= known_from
            found = found.rows(supervised[found.step])
        if rules.targets == "last":
            supervised[:-1] = False
            found = found.at(rules.time_steps - 1)
        return self._placed(found, placement), supervised

    def _placed(self, found: SliceBoxes, placement: Placement) -> SliceBoxes:
        """The boxes that are visible in the frame."""
        xyxy = placement.boxes(found.xyxy)
        if self.augmentation is None:
            xyxy = clip(xyxy, self.frame_width, self.frame_height)
            keep = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
        else:
            xyxy, keep = self.augmentation.visible(xyxy, self.frame_width, self.frame_height)
        return SliceBoxes(found.step[keep], xyxy[keep], found.class_id[keep], found.track_id[keep])

    def _report_lanes(self, role: str, follow: Sequence[Times]) -> None:
        labelled = [len(ends) for ends, part in zip(follow, self.parts, strict=True) if part.boxes is not None]
        short = labelled.count(0)
        window = f"{self.rules.time_steps} × {self.rules.slice_duration_us} µs"
        if short == len(labelled):
            raise ConfigError(
                f"{role}: none of {len(labelled)} labelled recordings is as long as a window of {window}; expected "
                "data.slice_duration_us × data.time_steps shorter than what belongs to this role (of the first: "
                f"{self.parts[0].start_us} to {self.parts[0].end_us} µs)"
            )
        if short:
            log.warning("%s: %d of %d recordings are shorter than a window of %s and not followed", role, short,
                        len(labelled), window)  # fmt: skip
        log.info("%s: %d windows of %s one behind the other in %d recordings", role, sum(labelled), window,
                 len(labelled) - short)  # fmt: skip

    def _report(self, role: str, count: int) -> None:
        unlabelled = sum(part.boxes is None for part in self.parts)
        boxes = sum(part.counted for part in self.parts)
        kind = f"{self.rules.time_steps} × {self.rules.slice_duration_us} µs"
        if self.rules.slicing == "by_count":
            kind = f"{self.rules.time_steps} slices of {self.rules.events_per_window} events together"
        log.info(
            "%s: %d recordings (%d without labels), %d boxes, %d windows of %s",
            role,
            len(self.parts),
            unlabelled,
            boxes,
            count,
            kind,
        )
        if not count and self.rules.slicing == "by_count":
            raise ConfigError(
                f"{role}: none of {len(self.parts)} recordings holds the data.events_per_window = "
                f"{self.rules.events_per_window} events of a window; expected a smaller number, or longer recordings"
            )
        if not count:
            raise ConfigError(
                f"{role}: none of {len(self.parts)} recordings has a window of {self.rules.time_steps} × "
                f"{self.rules.slice_duration_us} µs before a label; expected labels, and data.slice_duration_us × "
                "data.time_steps shorter than what belongs to this role (of the first: "
                f"{self.parts[0].start_us} to {self.parts[0].end_us} µs)"
            )
