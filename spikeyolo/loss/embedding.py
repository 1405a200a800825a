"""The embedding loss: positives of one object get similar embeddings, others distant ones."""

from __future__ import annotations

import torch
from torch import Tensor

from spikeyolo.loss.precision import wide

_NEVER = -1e4  # a logit whose exponential is 0, and whose gradient is finite


def track_contrast(
    embedding: Tensor, *, recording: Tensor, track_id: Tensor, positive: Tensor, temperature: float
) -> Tensor:
    """Supervised contrastive loss (Khosla et al., NeurIPS 2020, arXiv 2004.11362, equation 2) over a batch's boxes.

    One object is one track of one recording, in whatever window and time step it is seen. A box whose object is seen
    once only has nothing to be drawn to and is an example for the others alone. All shapes are fixed, so a GPU is
    never waited for.

    Args:
        embedding: ``[M, E]`` of unit length, that of each box's best anchor point.
        recording: ``[M]`` int64.
        track_id: ``[M]`` int64; -1 where unknown, such a box is left out.
        positive: ``[M]`` bool; a box without a positive is left out.
        temperature: of the similarities; the smaller, the harder the hardest examples push.

    Returns:
        the mean over boxes that meet their object again, 0 where there are none; a scalar.
    """
    embedding = wide(embedding)
    known = positive & (track_id >= 0)
    pair = known.unsqueeze(0) & known.unsqueeze(1)
    pair = pair & ~torch.eye(len(known), dtype=torch.bool, device=known.device)
    same = pair & (recording.unsqueeze(0) == recording.unsqueeze(1)) & (track_id.unsqueeze(0) == track_id.unsqueeze(1))
    logits = (embedding @ embedding.T / temperature).masked_fill(~pair, _NEVER)
    log_share = logits.log_softmax(dim=1)
    meetings = same.sum(dim=1)
    each = -torch.where(same, log_share, 0.0).sum(dim=1) / meetings.clamp_min(1)
    return each.sum() / (meetings > 0).sum().clamp_min(1)
