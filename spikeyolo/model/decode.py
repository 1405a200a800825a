"""From raw head outputs to boxes: distances read from their distribution, then suppression of duplicates."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Interval
from torch import Tensor

from spikeyolo.events.types import Detections
from spikeyolo.model.predictions import Predictions
from spikeyolo.model.suppression import suppress


def decode_boxes(box_logits: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Read each side's distance as the mean of its distribution over bins (arXiv 2006.04388, equation 5).

    Args:
        box_logits: ``[..., A, 4, R]``, any floating type; left, top, right, bottom.
        points: ``[A, 2]`` (or broadcastable to ``[..., A, 2]``), px.
        strides: ``[A]`` (or broadcastable to ``[..., A]``), px.

    Returns:
        ``[..., A, 4]`` float32 (float64 for float64 logits), px: left, top, right, bottom.
    """
    logits = box_logits if box_logits.dtype == torch.float64 else box_logits.float()
    bins = torch.arange(logits.shape[-1], device=logits.device, dtype=logits.dtype)
    distances = (logits.softmax(-1) @ bins) * strides.unsqueeze(-1)
    return torch.cat((points - distances[..., :2], points + distances[..., 2:]), -1)


class Decoder:
    """Turns predictions into detections, one set a window.

    Every pair of an anchor point and a class is a candidate of its own, so one anchor point may predict two classes.

    Args:
        confidence: candidates with a lower class probability are dropped.
        iou: of two candidates that overlap more than this, the worse is dropped (arXiv 1506.02640's NMS).
        max_detections: the most detections of one window.
        steps: which time steps' candidates count: the last one's, or all, pooled before the suppression.
        class_agnostic: whether candidates of different classes suppress one another.
        max_candidates: the most candidates of one window that enter the suppression, best first; as many times more as
            time steps are pooled, and never fewer than ``max_detections``.
    """

    def __init__(
        self,
        *,
        confidence: Annotated[float, Interval(ge=0, lt=1)] = 0.001,
        iou: Annotated[float, Interval(gt=0, le=1)] = 0.65,
        max_detections: Annotated[int, Ge(1)] = 100,
        steps: Literal["last", "all"] = "last",
        class_agnostic: bool = False,
        max_candidates: Annotated[int, Ge(1)] = 1000,
    ) -> None:
        self.confidence = confidence
        self.iou = iou
        self.max_detections = max_detections
        self.steps = steps
        self.class_agnostic = class_agnostic
        self.max_candidates = max_candidates

    @torch.no_grad()
    def __call__(self, predictions: Predictions, *, frame_size: tuple[int, int] | None = None) -> list[Detections]:
        """Decode one batch.

        Args:
            predictions: of T time steps and B windows, on any device and in any floating type.
            frame_size: height and width, px, that boxes are clipped to; by default the area of the anchor points.

        Returns:
            B sets of detections, best first.
        """
        T, B = predictions.class_logits.shape[:2]
        first = 0 if self.steps == "all" else T - 1
        limits = _limits(predictions, frame_size)
        # [B, S, A, K], so that one window's candidates lie side by side
        scores = predictions.class_logits[first:].float().sigmoid().transpose(0, 1).flatten(1)
        most = max(self.max_candidates * (T - first), self.max_detections)
        best, index = scores.topk(min(most, scores.shape[1]), dim=1)
        return [
            self._decode_window(predictions, window, best[window], index[window], first, limits) for window in range(B)
        ]

    def _decode_window(
        self, predictions: Predictions, window: int, score: Tensor, index: Tensor, first: int, limits: Tensor
    ) -> Detections:
        A, K = predictions.class_logits.shape[2:]
        chosen = score > self.confidence
        score, index = score[chosen], index[chosen]
        class_id = index % K
        anchor = index // K % A
        step = first + index // (K * A)
        xyxy = decode_boxes(
            predictions.box_logits[step, window, anchor], predictions.points[anchor], predictions.strides[anchor]
        )
        xyxy = torch.minimum(xyxy.clamp_min(0), limits)
        groups = torch.zeros_like(class_id) if self.class_agnostic else class_id
        rows = suppress(xyxy.cpu().numpy(), groups.cpu().numpy(), self.iou, self.max_detections)
        keep = torch.from_numpy(rows).to(xyxy.device)
        embedding = predictions.embedding
        return Detections(
            step=step[keep].cpu().numpy(),
            xyxy=xyxy[keep].float().cpu().numpy(),
            score=score[keep].cpu().numpy(),
            class_id=class_id[keep].cpu().numpy(),
            embedding=None if embedding is None else embedding[step, window, anchor][keep].float().cpu().numpy(),
        )


def _limits(predictions: Predictions, frame_size: tuple[int, int] | None) -> Tensor:
    """Right and bottom border twice, ``[4]`` px: of the frame, or of the area that the finest level covers."""
    points, strides = predictions.points, predictions.strides
    if frame_size is not None:
        height, width = frame_size
        return points.new_tensor([width, height, width, height])
    finest = strides == strides.min()
    reach = torch.where(finest.unsqueeze(-1), points + strides.unsqueeze(-1) / 2, 0).amax(0)
    return torch.cat((reach, reach))
