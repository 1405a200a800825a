"""The fused I-LIF pass is the published recurrence, on every path a user can take it through."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters, lif_box_feed_forward_step
from norse.torch.module.snn import SNN
from torch.utils.checkpoint import checkpoint

from spikeyolo.errors import ConfigError
from spikeyolo.model.inference.binary import sub_steps
from spikeyolo.model.neuron import Ilif, IlifParameters, IlifState, Lif, LifBox, ParametricLif
from spikeyolo.model.neuron import sequence as kernel
from spikeyolo.model.neuron.ilif import ilif_step

CURRENTS = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=5, min_side=1, max_side=5),
    elements=st.one_of(st.floats(-6, 6, width=32), st.sampled_from([-0.5, 0.0, 0.5, 1.5, 2.5, 3.5, 4.0, 4.5])),
)
SETTINGS = {
    "levels": st.integers(1, 6),
    "decay": st.floats(0, 1),
    "surrogate_margin": st.sampled_from([0.0, 0.5]),
    "gain": st.sampled_from([0.5, 1.0, 4.0]),  # powers of two, exact in whatever order they are multiplied
}


@settings(max_examples=60, deadline=None)
@given(CURRENTS, st.fixed_dictionaries(SETTINGS), st.sampled_from([torch.float32, torch.float64]), st.integers(0, 99))
def test_the_fused_pass_equals_the_step_in_a_loop_bit_for_bit(
    values: np.ndarray, parameters: dict[str, float], dtype: torch.dtype, seed: int
) -> None:
    neuron = Ilif(**parameters)  # type: ignore[arg-type]
    rng = torch.Generator().manual_seed(seed)
    weights = torch.randn(values.shape, generator=rng, dtype=dtype)
    start = torch.randn(values.shape[1:], generator=rng, dtype=dtype)
    results = []
    for run in (neuron, lambda currents, state: SNN.forward(neuron, currents, state)):
        currents = torch.from_numpy(values).to(dtype).requires_grad_()
        residual = start.clone().requires_grad_()
        spikes, state = run(currents, IlifState(residual))
        ((spikes * weights).sum() + (state.residual * weights[0]).sum()).backward()
        results.append((spikes.detach(), state.residual.detach(), currents.grad, residual.grad))
    for fused, looped in zip(*results, strict=True):
        assert torch.equal(fused, looped)


@settings(max_examples=30, deadline=None)
@given(CURRENTS)
def test_the_torch_loop_for_other_devices_equals_the_fused_pass(values: np.ndarray) -> None:
    currents = torch.from_numpy(values)
    none = currents.new_empty(0)
    spikes, window, rest = kernel.ilif(currents, none, 4, 0.25, 0.0, True, True, 1.7)
    looped = torch.empty_like(spikes), torch.empty_like(window), torch.empty_like(rest)
    kernel._loop_forward(currents, none, *looped, levels=4, decay=0.25, margin=0.0, gain=1.7)
    assert all(torch.equal(a, b) for a, b in zip((spikes, window, rest), looped))
    place = currents.clone()
    kernel._loop_forward(place, none, place, *looped[1:], levels=4, decay=0.25, margin=0.0, gain=1.7)
    assert all(torch.equal(a, b) for a, b in zip((spikes, window, rest), (place, *looped[1:])))
    gradient = torch.empty_like(currents)
    kernel._loop_backward(currents, rest, window, gradient, decay=0.25, gain=1.7)
    assert torch.equal(kernel.ilif_backward(currents, rest, window, 0.25, 1.7), gradient)


@pytest.mark.parametrize("path", ["fused", "operator", "triton", "step", "sub-steps"])
def test_no_path_reads_beyond_a_state(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    currents, residual = torch.randn(2, 4, 8), torch.randn(1, 8)
    if path == "triton":
        monkeypatch.setattr(kernel, "_triton_runs", lambda tensor: True)
    runs = {
        "fused": lambda: kernel.ilif_pass(currents, residual, 4, 0.25, 0.0, False, True),
        "operator": lambda: kernel.ilif(currents, residual, 4, 0.25, 0.0, False, True),
        "triton": lambda: kernel.ilif_pass(currents, residual, 4, 0.25, 0.0, False, True),
        "step": lambda: ilif_step(currents[0], IlifState(residual), IlifParameters()),
        "sub-steps": lambda: sub_steps(currents[0], IlifState(residual), IlifParameters()),
    }
    with pytest.raises(ConfigError, match=r"state carried along is \[1, 8\], expected \[4, 8\]"):
        runs[path]()


def test_norse_is_imported_without_a_warning_and_other_warnings_stay() -> None:
    script = "import warnings, spikeyolo.model.neuron; warnings.warn('torch.jit.script is deprecated', FutureWarning)"
    command = [sys.executable, "-W", "always", "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stderr.count("FutureWarning") == 1, ended.stderr


def test_a_state_of_another_precision_is_taken_over() -> None:
    currents = torch.randn(4, 2, 3)
    _, state = Ilif()(currents.double())
    assert torch.equal(Ilif()(currents, state)[0], Ilif()(currents, IlifState(state.residual.float()))[0])


def test_spikes_round_half_to_even() -> None:
    currents = torch.tensor([[-1.0, 0.5, 0.50001, 1.5, 2.5, 3.5, 4.5, 9.0]])
    assert Ilif()(currents)[0].tolist() == [[0, 0, 1, 2, 2, 4, 4, 4]]


def test_one_level_is_norses_lif_box_with_a_soft_reset() -> None:
    currents = torch.randn(12, 3, 8, dtype=torch.float64) * 2
    # tensors of float64: norse's defaults are float32
    scalars = {"v_leak": 0.0, "v_th": 0.5, "v_reset": 0.0}
    parameters = LIFBoxParameters(
        tau_mem_inv=torch.tensor(750.0, dtype=torch.float64),
        reset_method=lambda z, v, reset, threshold: v - z.detach(),
        **{name: torch.tensor(value, dtype=torch.float64) for name, value in scalars.items()},
    )
    state = LIFBoxFeedForwardState(v=torch.zeros(3, 8, dtype=torch.float64))
    expected = []
    for current in currents:
        spikes, state = lif_box_feed_forward_step(current / 0.75, state, parameters, 0.001)
        expected.append(spikes)
    assert torch.equal(Ilif(levels=1, decay=0.25)(currents)[0], torch.stack(expected))


def test_the_surrogate_gradient_is_one_inside_the_window_and_zero_outside() -> None:
    for margin, expected in ((0.0, [0, 0, 1, 1, 1, 0, 0]), (0.5, [0, 1, 1, 1, 1, 1, 0])):
        currents = torch.tensor([[-0.6, -0.5, 0.0, 2.0, 4.0, 4.5, 4.6]], requires_grad=True)
        Ilif(surrogate_margin=margin)(currents)[0].sum().backward()
        assert currents.grad is not None
        assert currents.grad.tolist() == [expected]


@settings(max_examples=30, deadline=None)
@given(CURRENTS, st.fixed_dictionaries(SETTINGS))
def test_a_gain_is_the_published_neuron_on_so_much_larger_currents(
    values: np.ndarray, parameters: dict[str, float]
) -> None:
    results = []
    for neuron, factor in ((Ilif(**parameters), 1.0), (Ilif(**parameters | {"gain": 1.0}), parameters["gain"])):  # type: ignore[arg-type]
        leaf = torch.from_numpy(values).clone().requires_grad_()
        spikes, state = neuron(factor * leaf)
        spikes.square().sum().backward()
        results.append((spikes.detach(), state.residual.detach(), leaf.grad))
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_only_one_byte_an_element_is_kept_for_the_backward_pass() -> None:
    saved: list[torch.Tensor] = []
    currents = torch.randn(4, 2, 3, 8, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t), t)[1], lambda t: t):
        Ilif()(currents, None, False)
    assert sum(tensor.nbytes for tensor in saved) == currents.numel()


def test_the_byte_that_is_kept_holds_the_spike_count() -> None:
    currents = torch.randn(4, 2, 3, 8, 8, requires_grad=True)
    spikes, _ = Ilif(levels=127)(currents * 60)
    counts = kernel.spike_counts(spikes)
    assert counts is not None
    assert torch.equal(counts.bitwise_and(127).float(), spikes.detach())
    assert kernel.spike_counts(currents) is None


def _layout(maps: torch.Tensor, channels_last: bool) -> torch.Tensor:
    return maps.flatten(0, 1).contiguous(memory_format=torch.channels_last).view_as(maps) if channels_last else maps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_spikes_written_over_the_currents_are_the_same_spikes_and_gradients(
    dtype: torch.dtype, channels_last: bool
) -> None:
    draw = torch.Generator().manual_seed(0)
    start = _layout(torch.randn(4, 2, 3, 8, 8, generator=draw).to(dtype) * 2, channels_last)
    results = []
    for overwrites in ("never", "recorded"):
        neuron = Ilif()
        neuron.overwrites = overwrites
        leaf = start.clone().requires_grad_()
        currents = leaf * 1.0
        at = currents.data_ptr()
        spikes, _ = neuron(currents, None, False)
        assert (spikes.data_ptr() == at) == (overwrites == "recorded")
        (spikes * start).sum().backward()
        results.append((spikes.detach(), leaf.grad))
    assert all(torch.equal(a, b) for a, b in zip(*results))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("overwrites", ["never", "recorded", "always"])
def test_channels_last_maps_are_taken_without_a_copy_and_give_the_same(
    dtype: torch.dtype, steps: int, batch: int, overwrites: Any
) -> None:
    draw = torch.Generator().manual_seed(0)
    start = (torch.randn(steps, batch, 3, 4, 5, generator=draw) * 3).to(dtype)
    neuron = Ilif()
    neuron.overwrites = overwrites
    results = []
    for maps in (start, _layout(start, channels_last=True)):
        assert kernel._dense(maps) is maps
        leaf = maps.clone().requires_grad_()
        spikes, state = neuron(leaf * 1.0)
        (gradient,) = torch.autograd.grad((spikes * start).sum() + state.residual.sum(), leaf)
        with torch.no_grad():
            again, _ = neuron(maps.clone(), None, False)
        results.append((spikes.detach(), state.residual.detach(), gradient, again))
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_nothing_is_written_over_a_leaf_or_where_nothing_is_recorded() -> None:
    neuron = Ilif()
    neuron.overwrites = "recorded"
    leaf = torch.randn(4, 2, 3, requires_grad=True)
    before = leaf.detach().clone()
    neuron(leaf, None, False)
    with torch.no_grad():
        neuron(leaf, None, False)
    assert torch.equal(leaf, before)


def test_currents_that_something_else_needs_are_not_written_over_in_silence() -> None:
    neuron = Ilif()
    neuron.overwrites = "recorded"
    spikes, _ = neuron(torch.randn(4, 2, 3, requires_grad=True).exp(), None, False)  # exp keeps its result
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        spikes.sum().backward()


def test_the_membrane_is_float32_under_autocast() -> None:
    currents = torch.full((8, 1, 4), 0.3007, dtype=torch.bfloat16)
    spikes, state = Ilif(decay=1.0)(currents)
    wide, wide_state = Ilif(decay=1.0)(currents.float())
    assert state.residual.dtype == torch.float32
    assert torch.equal(state.residual, wide_state.residual)
    assert torch.equal(spikes.float(), wide)


def test_nan_and_overflow_stay_in_their_own_element() -> None:
    currents = torch.zeros(3, 4)
    currents[0] = torch.tensor([float("nan"), float("inf"), -float("inf"), 1.0])
    spikes, _ = Ilif()(currents)
    assert spikes[:, 3].tolist() == [1, 0, 0]
    assert spikes[0, 1:3].tolist() == [4, 0]
    assert spikes[0, 0].isnan()


OPERATOR = (torch.randn(3, 2, 4, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64))


def test_the_operator_passes_torchs_own_check() -> None:
    currents, residual = (tensor.clone().requires_grad_() for tensor in OPERATOR)
    outcome = torch.library.opcheck(kernel.ilif, (currents, residual, 4, 0.25, 0.0, True, True))
    assert set(outcome.values()) == {"SUCCESS"}


def test_compile_takes_the_operator_in_without_a_graph_break() -> None:
    neuron = Ilif()
    compiled = torch.compile(neuron, backend="aot_eager", fullgraph=True)
    plain, traced = (torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in "ab")
    for run, currents in ((neuron, plain), (compiled, traced)):
        spikes, state = run(currents)
        (spikes.square().sum() + state.residual.sum()).backward()
    assert torch.equal(plain.grad, traced.grad)


def test_export_keeps_the_operator_and_its_result() -> None:
    currents = torch.randn(4, 2, 3)
    program = torch.export.export(Ilif(), (currents,))
    assert any("spikeyolo.ilif" in str(node.target) for node in program.graph.nodes)
    assert torch.equal(program.module()(currents)[0], Ilif()(currents)[0])


def test_checkpointing_gives_the_same_gradients() -> None:
    neuron = Ilif()
    plain, again = (torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in "ab")
    neuron(plain)[0].square().sum().backward()
    checkpoint(lambda x: neuron(x)[0], again, use_reentrant=False).square().sum().backward()
    assert torch.equal(plain.grad, again.grad)


@pytest.mark.parametrize("build", [Lif, LifBox, ParametricLif])
def test_norse_neurons_refuse_a_threshold_of_zero(build: type[LifBox]) -> None:
    with pytest.raises(ConfigError, match="threshold"):
        build(threshold=0.0)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"levels": 0}, "levels"),
        ({"levels": 128}, "levels"),
        ({"decay": 1.5}, "decay"),
        ({"decay": -0.1}, "decay"),
        ({"surrogate_margin": -1}, "margin"),
        ({"gain": 0.0}, "gain"),
    ],
)
def test_settings_out_of_range_are_one_clear_error(settings: dict[str, float], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        Ilif(**settings)  # type: ignore[arg-type]


INTERPRETED = """
import torch
from spikeyolo.model.neuron import cpu
from spikeyolo.model.neuron import cuda
for dtype in (torch.float32, torch.float64, torch.bfloat16):
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    steps, size = 4, 1030  # more than one block, the last one not full
    draw = torch.Generator().manual_seed(0)
    currents = (torch.randn(steps, size, generator=draw, dtype=torch.float64) * 2).to(dtype)
    residual, late = (torch.randn(size, generator=draw, dtype=wide) for _ in range(2))
    results = []
    for run, given in ((cuda, currents), (cpu, currents.to(wide))):
        spikes, rest = torch.empty_like(given), torch.empty_like(residual)
        window = torch.empty(steps, size, dtype=torch.uint8)
        run.forward(given, residual, spikes, window, rest, levels=3, decay=0.3, margin=0.25, gain=1.7)
        gradient = torch.empty_like(given)
        run.backward(given, late, window, gradient, decay=0.3, gain=1.7)
        results.append((spikes.to(dtype), window, rest, gradient.to(dtype)))
        place = given.clone()
        run.forward(place, residual, place, window, rest, levels=3, decay=0.3, margin=0.25, gain=1.7)
        assert torch.equal(place, spikes)
    *exact, (interpreted, expected) = zip(*results)
    assert all(torch.equal(a, b) for a, b in exact), dtype
    # the interpreter truncates to bfloat16 where hardware rounds
    tolerance = 2**-7 if dtype == torch.bfloat16 else 0
    torch.testing.assert_close(interpreted, expected, rtol=tolerance, atol=0)
print("equal")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Triton is for Linux")
def test_the_cuda_kernel_run_by_tritons_interpreter_equals_the_cpu_kernel() -> None:
    pytest.importorskip("triton")
    run = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[3])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.stdout.strip() == "equal", run.stderr
