"""Frozen parts: why they need weights from elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lively import lively

from spikeyolo.engine.update.parts import freeze, train_mode
from spikeyolo.model import Detector
from spikeyolo.model.neuron import Ilif


def gradients(detector: Detector) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The class logits of two unlike windows, and the gradients of their mean square."""
    freeze(detector, ["backbone"])
    train_mode(detector)
    draw = torch.Generator().manual_seed(0)
    frames = torch.poisson(torch.full((2, 2, 2, 64, 64), 0.2), generator=draw).to(torch.uint8)
    logits = detector(frames).class_logits
    logits.square().mean().backward()
    return logits.detach(), [p.grad for p in detector.parameters() if p.grad is not None]


@pytest.mark.parametrize(("prepared", "sees"), [(lively, True), (lambda detector: detector, False)])
def test_a_frozen_backbone_passes_on_what_it_sees_only_where_its_norms_have_statistics(
    prepared: Any, sees: bool
) -> None:
    """Else its neurons are silent: the norms behind it meet variances of 0, each of which makes gradients 32 times as
    large (1 / √ε), until they overflow."""
    torch.manual_seed(0)
    logits, grads = gradients(prepared(Detector(num_classes=1, depth=0.33, width=0.0625, neuron=Ilif)))
    assert torch.equal(logits[:, 0], logits[:, 1]) is not sees
    assert all(bool(torch.isfinite(grad).all()) for grad in grads) is sees
