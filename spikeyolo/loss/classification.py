"""What a class score costs that is not its target: binary cross-entropy, and two focal losses over it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def quality_focal(logits: Tensor, scores: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """``w · |y − p|^gamma · BCE(p, y)`` with ``w = y + (1 − y)(1 − alpha) / alpha`` (arXiv 2006.04388, equation 4).

    Args:
        logits: ``[...]`` of p.
        scores: ``[...]``, y in 0..1.
        alpha: positives weigh it to the background's ``1 − alpha``; positives weigh 1.
        gamma: how strongly what is nearly right is weighted down.

    Returns:
        ``[...]``.
    """
    loss = functional.binary_cross_entropy_with_logits(logits, scores, reduction="none")
    # the floor keeps the gradient of a power below one finite where an anchor point is exactly right
    miss = (logits.sigmoid() - scores).abs().clamp_min(1e-6)
    background = (1 - alpha) / alpha
    return (background + (1 - background) * scores) * miss.pow(gamma) * loss


def varifocal(logits: Tensor, scores: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """``y · BCE(p, y)`` where y is above 0, and ``(1 − alpha) / alpha · p^gamma · BCE(p, 0)`` elsewhere.

    The varifocal loss (arXiv 2008.13367, equation 2): the background is weighted down where it is nearly right, a
    positive weighs as much as its target. The paper's background weight of 0.75 is an ``alpha`` of 0.571.

    Args and returns as of :func:`quality_focal`.
    """
    loss = functional.binary_cross_entropy_with_logits(logits, scores, reduction="none")
    background = (1 - alpha) / alpha * logits.sigmoid().clamp_min(1e-6).pow(gamma)
    return loss * scores.where(scores > 0, background)
