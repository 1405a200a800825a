"""However the device runs the network, it is the same network."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from lively import lively
from torch import Tensor

from spikeyolo.engine.execution import arrange, runner
from spikeyolo.model.detector import Detector
from spikeyolo.model.neuron import Ilif


def _detector() -> Detector:
    torch.manual_seed(0)
    return lively(Detector(num_classes=3, depth=0.33, width=0.0625, neuron=Ilif)).double()


def _step(detector: Detector, run: Any = None) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Logits, gradients and buffers of one training step."""
    frames = torch.randint(0, 5, (2, 2, 2, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    predictions = (detector if run is None else run)(frames)
    (predictions.box_logits.square().mean() + predictions.class_logits.square().mean()).backward()
    gradients = {name: parameter.grad for name, parameter in detector.named_parameters()}
    return predictions.class_logits.detach(), gradients, dict(detector.named_buffers())  # type: ignore[return-value]


def test_checkpointed_blocks_give_the_same_logits_gradients_and_statistics() -> None:
    detector = _detector()
    twin = copy.deepcopy(detector)
    arrange(twin, channels_last=True, gradient_checkpointing=True)
    logits, gradients, buffers = _step(detector)
    again, gradients_again, buffers_again = _step(twin)
    assert torch.equal(logits, again)
    for name, gradient in gradients.items():
        assert torch.equal(gradient, gradients_again[name]), name
    for name, buffer in buffers.items():
        assert torch.equal(buffer, buffers_again[name]), name


def test_checkpointed_blocks_keep_less_for_the_backward_pass() -> None:
    detector = _detector()
    kept = []
    for checkpointing in (False, True):
        arrange(detector, channels_last=True, gradient_checkpointing=checkpointing)
        inside: list[Tensor] = []
        block = detector.backbone.stage1.layers[0]
        maps = torch.randn(2, 2, 8, 16, 16, dtype=torch.float64, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, inside=inside: (inside.append(tensor), tensor)[1], lambda tensor: tensor
        ):
            block(maps)
        kept.append(sum(tensor.numel() for tensor in inside))
    assert kept[1] < kept[0] / 4


@pytest.mark.parametrize("channels_last", [True, False])
def test_maps_follow_the_layout_of_the_weights(channels_last: bool) -> None:
    detector = _detector()
    reference, gradients, _ = _step(copy.deepcopy(detector))
    arrange(detector, channels_last=channels_last, gradient_checkpointing=False)
    layouts = []
    detector.neck.p3.register_forward_hook(
        lambda module, inputs, output: layouts.append(
            output.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
        )
    )
    logits, gradients_here, _ = _step(detector)
    assert layouts == [channels_last]
    torch.testing.assert_close(logits, reference, rtol=1e-7, atol=1e-9)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_here[name], gradient, rtol=1e-5, atol=1e-9)


def test_the_whole_detector_compiles_without_a_graph_break() -> None:
    detector = _detector()
    logits, gradients, buffers = _step(copy.deepcopy(detector))
    compiled = torch.compile(detector, backend="aot_eager", fullgraph=True)
    again, gradients_again, buffers_again = _step(detector, compiled)
    torch.testing.assert_close(again, logits, rtol=1e-7, atol=1e-9)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_again[name], gradient, rtol=1e-5, atol=1e-9)
    for name, buffer in buffers.items():
        torch.testing.assert_close(buffers_again[name], buffer, rtol=1e-7, atol=1e-9)


def test_a_network_that_is_not_compiled_runs_as_it_is() -> None:
    detector = _detector()
    assert runner(detector, compiled=False) is detector
    assert runner(detector, compiled=True) is not detector
