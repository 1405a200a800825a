"""Minimal filtering is the same convolution: borders, cut tiles, batches, and everything that must go the plain way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lively import lively
from torch import Tensor, nn
from torch.nn import functional as F

from spikeyolo.model import kernel_norm, kernel_winograd, winograd
from spikeyolo.model.detector import Detector
from spikeyolo.model.inference.fold import compare, fold
from spikeyolo.model.neuron import Relu
from spikeyolo.model.neuron import cpu as kernel_numba
from spikeyolo.model.winograd import WinogradConv, suits


def _convolution(inputs: int = 16, outputs: int = 24, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias).requires_grad_(False)


def _counts(*shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 5, shape, generator=draw).float().contiguous(memory_format=torch.channels_last)


def _exact(convolution: nn.Conv2d, maps: Tensor) -> Tensor:
    bias = None if convolution.bias is None else convolution.bias.double()
    return F.conv2d(maps.double(), convolution.weight.double(), bias, padding=1)


@given(
    count=st.integers(1, 3), height=st.integers(1, 19), width=st.integers(1, 19),
    inputs=st.sampled_from([16, 17, 32]), outputs=st.sampled_from([16, 40]), bias=st.booleans(),
)  # fmt: skip
@settings(max_examples=40)
def test_it_equals_the_plain_convolution_to_rounding(
    count: int, height: int, width: int, inputs: int, outputs: int, bias: bool
) -> None:
    convolution = _convolution(inputs, outputs, bias)
    maps = _counts(count, inputs, height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "MIN_TILES", 1)
        patch.setattr(winograd, "CACHE_BYTES", 1 << 16)  # several passes
        found = WinogradConv(convolution)(maps)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.double(), _exact(convolution, maps), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_threads_gives_the_convolution(threads: int) -> None:
    convolution = WinogradConv(_convolution(32, 32))
    maps = _counts(2, 32, 40, 44)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = convolution(maps)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found.double(), _exact(convolution, maps), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "prepare",
    [
        lambda conv, maps: (conv.requires_grad_(), maps),
        lambda conv, maps: (conv, maps.requires_grad_()),
        lambda conv, maps: (conv, maps[:, :, :4, :4]),
        lambda conv, maps: (conv.double(), maps.double()),
    ],
    ids=["weights that learn", "maps with a gradient", "a small map", "float64"],
)
def test_what_it_is_not_for_goes_the_plain_way(prepare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    convolution, maps = prepare(WinogradConv(_convolution()), _counts(1, 16, 16, 16))
    monkeypatch.setattr(WinogradConv, "_minimal", None)
    plain = F.conv2d(maps, convolution.weight, convolution.bias, padding=1)
    assert torch.equal(convolution(maps), plain)


def test_maps_in_any_memory_order_are_taken() -> None:
    convolution = WinogradConv(_convolution())
    maps = _counts(2, 16, 16, 16)
    assert torch.equal(convolution(maps.contiguous()), convolution(maps))


def test_only_plain_3x3_convolutions_suit() -> None:
    assert suits(nn.Conv2d(48, 48, 3, padding=1))
    for other in (
        nn.Conv2d(48, 48, 3, stride=2, padding=1),
        nn.Conv2d(48, 48, 1),
        nn.Conv2d(48, 48, 3, padding=1, groups=48),
        nn.Conv2d(2, 48, 3, padding=1),
        nn.Conv2d(16, 64, 3, padding=1),  # the transforms would cost more than is saved
    ):
        assert not suits(other)


@pytest.mark.parametrize("module", [kernel_numba, kernel_norm, kernel_winograd])
def test_no_two_compilations_of_one_function_share_an_entry_of_numbas_cache(module: Any) -> None:
    functions = [item.py_func for item in vars(module).values() if hasattr(item, "py_func")]
    assert len({(f.__qualname__, f.__code__.co_firstlineno) for f in functions}) == len(functions) > 4


def test_the_folded_network_gives_the_same_outputs_with_fewer_multiplications() -> None:
    # Without spikes, since in float32 a membrane at a tie falls to either side, whatever form computes it.
    torch.manual_seed(0)
    detector = lively(Detector(num_classes=3, depth=0.33, width=0.25, neuron=Relu))
    frames = torch.randint(0, 5, (2, 1, 2, 96, 128), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    minimal = fold(detector, winograd=True)
    assert any(isinstance(module, WinogradConv) for module in minimal.modules())
    report = compare(detector, minimal, frames)
    assert report.macs_after < report.macs_before
    assert report.max_difference < 1e-4 * report.max_logit
