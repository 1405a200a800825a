"""However the device runs the network, it is the same network."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from lively import lively
from torch import Tensor

from spikeyolo.engine.update.execution import arrange, runner
from spikeyolo.model.blocks import Block
from spikeyolo.model.detector import Detector
from spikeyolo.model.neuron import Ilif
from spikeyolo.model.norm import Norm


def _detector(dtype: torch.dtype = torch.float64) -> Detector:
    torch.manual_seed(0)
    return lively(Detector(num_classes=3, depth=0.1, width=0.0625, neuron=Ilif)).to(dtype)


def _step(
    detector: Detector, run: Any = None, *, bfloat16: bool = False
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Logits, gradients and buffers of one training step."""
    frames = torch.randint(0, 5, (2, 2, 2, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        predictions = (detector if run is None else run)(frames)
    (predictions.box_logits.square().mean() + predictions.class_logits.square().mean()).backward()
    gradients = {name: parameter.grad for name, parameter in detector.named_parameters()}
    return predictions.class_logits.detach(), gradients, dict(detector.named_buffers())  # type: ignore[return-value]


def _check_equal(found: Any, expected: Any) -> None:
    """Logits, gradients and buffers of two steps, bit for bit."""
    assert torch.equal(found[0], expected[0])
    for values, references in zip(found[1:], expected[1:], strict=True):
        for name, reference in references.items():
            assert torch.equal(values[name], reference), name


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_checkpointing_gives_the_same_logits_gradients_and_statistics(channels_last: bool, bfloat16: bool) -> None:
    results = []
    for checkpointing in (False, True):
        detector = _detector(torch.float32)
        arrange(detector, channels_last=channels_last, gradient_checkpointing=checkpointing)
        results.append(_step(detector, bfloat16=bfloat16))
        assert {norm.momentum for norm in detector.modules() if isinstance(norm, Norm)} == {0.03}
    _check_equal(*results)


@pytest.mark.long  # by block, below, in every run
def test_compiling_gives_the_same_and_takes_checkpointing() -> None:
    plain, twin = _detector(torch.float32), _detector(torch.float32)
    arrange(twin, channels_last=True, gradient_checkpointing=True)
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)  # no graph break
    _check_equal(_step(twin, compiled, bfloat16=True), _step(plain, bfloat16=True))


@pytest.mark.parametrize(
    ("channels_last", "dtype", "checkpointing"),
    [(False, torch.float32, True), (True, torch.bfloat16, True), (True, torch.float32, False)],
)
def test_a_compiled_block_gives_the_same_with_and_without_checkpointing(
    channels_last: bool, dtype: torch.dtype, checkpointing: bool
) -> None:
    torch.manual_seed(0)
    block = lively(Block(4, 1, rep=True, neuron=Ilif))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    draw = torch.randn(4, 4, 6, 5).contiguous(memory_format=layout).view(2, 2, 4, 6, 5)
    results = []
    for compiled in (False, True):
        torch.compiler.reset()
        twin, maps = copy.deepcopy(block), draw.clone().requires_grad_()
        arrange(twin, channels_last=channels_last, gradient_checkpointing=compiled and checkpointing)
        run = torch.compile(twin, backend="aot_eager", fullgraph=True) if compiled else twin
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            out = run(maps)
        out.float().square().sum().backward()
        gradients = {"maps": maps.grad} | {name: p.grad for name, p in twin.named_parameters()}
        results.append((out.detach(), gradients, dict(twin.named_buffers())))
    _check_equal(*results)


def test_bfloat16_keeps_little_more_than_half_of_what_float32_keeps_in_the_norms() -> None:
    """Bytes an element that the backward pass of a RepConv and its norms holds on to."""
    torch.manual_seed(0)
    unit = Block(8, 2, rep=True, neuron=Ilif).widen
    kept = {}
    for dtype in (torch.float32, torch.bfloat16):
        spikes = torch.randint(0, 5, (6, 8, 16, 16)).to(dtype).contiguous(memory_format=torch.channels_last)
        inside: dict[int, Tensor] = {}
        with (
            torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16),
            torch.autograd.graph.saved_tensors_hooks(
                lambda tensor, inside=inside: inside.setdefault(tensor.data_ptr(), tensor), lambda tensor: tensor
            ),
        ):
            out = unit.transmit(spikes)
        assert out.dtype == dtype
        kept[dtype] = sum(tensor.nbytes for tensor in inside.values() if tensor.dim() == 4 and len(tensor) == 6)
    assert kept[torch.bfloat16] == kept[torch.float32] / 2


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


def test_a_network_that_is_not_compiled_runs_as_it_is() -> None:
    detector = _detector()
    assert runner(detector, compiled=False) is detector
    assert runner(detector, compiled=True) is not detector
