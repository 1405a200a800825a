"""The door from the network to loss and decoding: raw head outputs of every time step."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Predictions:
    """Raw outputs of the detect head for all levels, flattened level by level, row by row.

    Attributes:
        box_logits: ``[T, B, A, 4, R]``, logits over R distance bins for left, top, right, bottom, in units of the
            level's stride (distribution focal loss, arXiv 2006.04388).
        class_logits: ``[T, B, A, K]``.
        points: ``[A, 2]`` float32, anchor points (centres of the cells of a map), x and y in px of the encoded frame.
        strides: ``[A]`` float32, px.
        embedding: ``[T, B, A, E]`` of unit length, or None.
    """

    box_logits: Tensor
    class_logits: Tensor
    points: Tensor
    strides: Tensor
    embedding: Tensor | None = None

    def at_step(self, step: int, *, embeddings: bool = False) -> Predictions:
        """Those of one time step alone, with or without embeddings."""
        described = self.embedding if embeddings else None
        return replace(
            self,
            box_logits=self.box_logits[step : step + 1],
            class_logits=self.class_logits[step : step + 1],
            embedding=None if described is None else described[step : step + 1],
        )
