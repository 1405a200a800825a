"""What judges a network runs its folded copy: the same detections, and the network is left as it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from lively import lively
from torch import nn

from spikeyolo.engine.evaluator import DetectionEvaluator
from spikeyolo.model import Detector
from spikeyolo.model.inference import fold, is_folded
from spikeyolo.model.neuron import Ilif, Relu
from spikeyolo.model.norm import Norm
from spikeyolo.windows.batch import Batch, Targets

CPU = torch.device("cpu")


def detector_of(neuron: Any) -> Detector:
    torch.manual_seed(0)
    return lively(Detector(num_classes=3, depth=0.33, width=0.0625, neuron=neuron), 0).double()


def batches() -> Iterator[Batch]:
    draw = torch.Generator().manual_seed(1)
    for _ in range(2):
        frames = torch.randint(0, 4, (2, 2, 2, 64, 96), generator=draw, dtype=torch.uint8)
        rows = torch.zeros(0, dtype=torch.int64)
        targets = Targets(rows, rows, torch.zeros(0, 4), rows, rows, rows, torch.ones(2, 2, dtype=torch.bool))
        yield Batch(frames, targets, windows=())


@pytest.mark.parametrize("neuron", [Ilif, Relu])
@pytest.mark.parametrize("training", [True, False])
def test_a_folded_copy_finds_what_the_network_finds(
    training: bool, neuron: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = detector_of(neuron).train(training)
    before = copy.deepcopy(detector.state_dict())
    evaluator = DetectionEvaluator(classes=("a", "b", "c"), iou=1.0)
    expected = []
    unfolded = copy.deepcopy(detector).eval()
    with torch.no_grad():
        for batch in batches():
            expected += evaluator.decoder(unfolded(batch.frames), frame_size=(64, 96))

    def unexpected(*args: Any, **named: Any) -> None:
        raise AssertionError("a norm ran in validation")

    for name in ("forward", "scale_and_shift"):
        monkeypatch.setattr(Norm, name, unexpected)
    found = [each for _, _, some in evaluator.detections(detector, batches(), device=CPU) for each in some]
    assert sum(map(len, expected)) > 20
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.class_id, other.class_id)
        np.testing.assert_allclose(one.xyxy, other.xyxy, atol=1e-4)  # px, kept in float32
        np.testing.assert_allclose(one.score, other.score, atol=1e-6)
    assert detector.training is training
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


def test_a_network_that_is_folded_already_runs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    folded = fold(detector_of(Ilif))
    assert is_folded(folded)
    assert not is_folded(detector_of(Ilif))
    called: list[nn.Module] = []
    folded.register_forward_hook(lambda module, inputs, output: called.append(module))
    list(DetectionEvaluator(classes=("a", "b", "c")).detections(folded, batches(), device=CPU))
    assert called == [folded, folded]
