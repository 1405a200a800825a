"""One norm, two in a row and a norm taken into weights are torch's batch norm: values, gradients, statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spikeyolo.model.norm import Norm

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 6), st.integers(2, 6))


def _maps(shape: tuple[int, ...], seed: int, offset: float, dtype: torch.dtype) -> Tensor:
    draw = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return (draw * 2 + offset).contiguous(memory_format=torch.channels_last)


def _norm(channels: int, seed: int, dtype: torch.dtype) -> Norm:
    norm = Norm(channels).to(dtype)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(channels, generator=draw, dtype=dtype) + 0.5)
        norm.bias.copy_(torch.randn(channels, generator=draw, dtype=dtype))
    return norm


def _plain(norm: Norm) -> nn.BatchNorm2d:
    plain = nn.BatchNorm2d(norm.num_features, eps=1e-3, momentum=0.03).to(norm.weight.dtype)
    plain.load_state_dict(norm.state_dict())
    return plain


def _check(fused: list[Norm], maps: Tensor, **tolerance: float) -> None:
    plain = nn.Sequential(*(_plain(norm) for norm in fused))
    weights = torch.randn(maps.shape, generator=torch.Generator().manual_seed(9), dtype=maps.dtype)
    here, there = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    ours = fused[-1](here, *fused[:-1])
    theirs = plain(there)
    torch.testing.assert_close(ours, theirs, **tolerance)
    for output in (ours, theirs):
        (output * weights).sum().backward()
    torch.testing.assert_close(here.grad, there.grad, **tolerance)
    for norm, reference in zip(fused, plain, strict=True):
        for name, parameter in reference.named_parameters():
            torch.testing.assert_close(norm.get_parameter(name).grad, parameter.grad, **tolerance)
        for name, buffer in reference.named_buffers():
            torch.testing.assert_close(norm.get_buffer(name), buffer, **tolerance)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.integers(0, 99), st.floats(-50, 50), st.sampled_from([1, 2]))
def test_one_norm_and_two_in_a_row_equal_torchs_in_training(
    shape: tuple[int, ...], seed: int, offset: float, norms: int
) -> None:
    maps = _maps(shape, seed, offset, torch.float64)
    _check([_norm(shape[1], seed + i, torch.float64) for i in range(norms)], maps, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("norms", [1, 2])
def test_float32_agrees_to_rounding_on_a_map_of_many_blocks(norms: int) -> None:
    maps = _maps((16, 24, 20, 20), 0, 3.0, torch.float32)
    # behind a second norm the first one's weight has next to no gradient: what is left in float32 is rounding
    _check([_norm(24, i, torch.float32) for i in range(norms)], maps, rtol=2e-3, atol=5e-3)


@pytest.mark.parametrize("norms", [1, 2])
def test_maps_far_from_zero_keep_their_variance(norms: int) -> None:
    maps = _maps((16, 3, 20, 20), 0, 1000.0, torch.float32)
    chain = [_norm(3, i, torch.float32) for i in range(norms)]
    found = chain[-1](maps, *chain[:-1])
    expected = nn.Sequential(*(_plain(norm).double() for norm in chain))(maps.double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


def test_scale_and_shift_give_the_norm_and_its_gradient() -> None:
    maps = _maps((3, 5, 4, 4), 1, 2.0, torch.float64)
    norm = _norm(5, 2, torch.float64)
    plain = _plain(norm)
    here, there = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    scale, shift = norm.scale_and_shift(here)
    ours = here * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
    theirs = plain(there)
    torch.testing.assert_close(ours, theirs)
    for output in (ours, theirs):
        output.pow(3).sum().backward()
    torch.testing.assert_close(here.grad, there.grad)
    torch.testing.assert_close(norm.weight.grad, plain.weight.grad)
    torch.testing.assert_close(norm.running_var, plain.running_var)


@pytest.mark.parametrize("norms", [1, 2])
def test_a_map_of_one_value_a_channel_is_taken(norms: int) -> None:
    chain = [_norm(4, i, torch.float32) for i in range(norms)]
    out = chain[-1](torch.randn(1, 4, 1, 1, generator=torch.Generator().manual_seed(0)), *chain[:-1])
    torch.testing.assert_close(out.flatten(), chain[-1].bias, rtol=1e-4, atol=1e-4)
    assert all(torch.isfinite(norm.running_var).all() for norm in chain)


def test_in_eval_mode_the_running_statistics_are_used_and_kept() -> None:
    norm = _norm(5, 0, torch.float64).eval()
    with torch.no_grad():
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 1.5)
    before = copy.deepcopy(norm.state_dict())
    maps = _maps((2, 5, 4, 4), 3, 0.5, torch.float64)
    torch.testing.assert_close(norm(maps), _plain(norm).eval()(maps))
    scale, shift = norm.scale_and_shift(maps)
    torch.testing.assert_close(maps * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1), norm(maps))
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())
