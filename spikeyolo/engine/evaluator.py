"""Runs a detector over validation windows and measures its detections at each window's end, or at the labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Interval
from torch import nn

from spikeyolo.engine.ranks import Ranks
from spikeyolo.events import Boxes, Detections
from spikeyolo.metrics.detection import DetectionMetrics
from spikeyolo.model.decode import Decoder
from spikeyolo.model.inference import fold, is_folded
from spikeyolo.model.streaming import Carrier
from spikeyolo.windows.batch import Batch, Targets


class DetectionEvaluator:
    """Mean average precision of a detector.

    The ground truth of a window is what its last slice shows: the boxes at the window's end. Of windows that follow one
    another, each step at which they are supervised counts by itself, and the neurons' state goes on.

    Args:
        classes: names, in the order of class ids.
        confidence: detections below are left out.
        iou: overlap above which the weaker of two detections of one class is removed.
        max_detections: of one window.
        steps: ``last`` takes the detections of the last time step; ``all`` pools those of every step, where windows
            stand alone.
        ranks: the processes that share every batch of :meth:`evaluate`.
    """

    def __init__(
        self,
        *,
        classes: Sequence[str],
        confidence: Annotated[float, Interval(ge=0, le=1)] = 0.001,
        iou: Annotated[float, Interval(ge=0, le=1)] = 0.65,
        max_detections: Annotated[int, Ge(1)] = 100,
        steps: Literal["last", "all"] = "last",
        ranks: Ranks | None = None,
    ) -> None:
        self.ranks = Ranks() if ranks is None else ranks
        self.classes = tuple(classes)
        self.decoder = Decoder(confidence=confidence, iou=iou, max_detections=max_detections, steps=steps)

    def detections(
        self, detector: nn.Module, batches: Iterable[Batch], *, device: torch.device
    ) -> Iterator[tuple[Batch, int, list[Detections]]]:
        """Each batch, a time step of it, and what was found at that step in each of its windows, in px of the encoded
        frame: the last step, or, where windows follow one another, every step at which one is supervised.

        A folded copy runs in the detector's place: the same function, with fewer passes over the maps. In float32 it
        rounds otherwise, so that a membrane which lies on a tie may fire one spike more or less.
        """
        given = iter(batches)
        first = next(given, None)
        if first is None:
            return
        network = detector if is_folded(detector) else fold(detector)
        carrier = Carrier(network)
        for batch in chain((first,), given):
            if not batch.frames.shape[1]:
                continue
            size = (batch.frames.shape[-2], batch.frames.shape[-1])
            memory = carrier.memory(batch)
            with torch.inference_mode():
                frames = batch.frames.to(device, non_blocking=True)
                predictions = network(frames) if memory is None else network(frames, memory)
            carrier.keep(memory, batch)
            if memory is None:
                yield batch, batch.frames.shape[0] - 1, self.decoder(predictions, frame_size=size)
                continue
            for step in batch.targets.supervised.any(dim=1).nonzero().flatten().tolist():
                yield batch, step, self.decoder(predictions.at_step(step, embeddings=True), frame_size=size)

    def evaluate(self, detector: nn.Module, batches: Iterable[Batch], *, device: torch.device) -> dict[str, float]:
        """Flat figures: ``map50``, ``map``, ``ap50/<class>``, …, of the windows of all processes."""
        ranks = self.ranks
        number = -1

        def counted() -> Iterator[Batch]:
            nonlocal number
            for batch in batches:
                number += 1
                yield batch

        found: list[tuple[tuple[int, int, int], Detections, Boxes]] = []
        for batch, step, detections in self.detections(detector, counted(), device=device):
            supervised = batch.targets.supervised[step].tolist()
            for index, item in enumerate(detections):
                if supervised[index]:  # where nothing is labelled, no detection is wrong
                    at = (number, step, index * ranks.world + ranks.rank)  # in the whole batch
                    found.append((at, item, truth_at(batch.targets, batch_index=index, step=step)))
        metrics = DetectionMetrics(classes=self.classes)
        for _, item, truth in sorted((row for rows in ranks.gather(found) for row in rows), key=itemgetter(0)):
            metrics.add(item, truth)
        return ranks.first(metrics.compute() if ranks.is_main else {})


def truth_at(targets: Targets, *, batch_index: int, step: int) -> Boxes:
    """The boxes of one window at one time step, in px of the encoded frame; ``t`` holds the step."""
    rows = ((targets.batch_index == batch_index) & (targets.time_step == step)).nonzero().squeeze(1).cpu()
    return Boxes(
        targets.time_step.cpu()[rows].numpy(),
        targets.xyxy.cpu()[rows].numpy(),
        targets.class_id.cpu()[rows].numpy(),
        targets.track_id.cpu()[rows].numpy(),
        torch.ones(len(rows)).numpy(),
    )
