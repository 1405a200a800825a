"""What every neuron of the ``model/neuron`` group must obey."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from spikeyolo.errors import ConfigError
from spikeyolo.model.neuron import Ilif, IlifState, Lif, LifBox, Neuron, ParametricLif, Relu

NEURONS: dict[str, Callable[[], Neuron]] = {
    "ilif": Ilif,
    "ilif_binary": lambda: Ilif(levels=1, decay=0.5),
    "ilif_gain": lambda: Ilif(levels=8, gain=3.0),
    "lif": Lif,
    "lif_box": LifBox,
    "plif": ParametricLif,
    "relu": Relu,
}
SHAPE = (6, 2, 3, 4, 5)


@pytest.fixture(params=list(NEURONS))
def neuron(request: pytest.FixtureRequest) -> Neuron:
    return NEURONS[request.param]()


def _currents(dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return (torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) * 2).to(dtype)


def _tensors(state: Any) -> Iterator[Tensor]:
    yield from state


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_spikes_have_the_shape_and_dtype_of_the_currents(neuron: Neuron, dtype: torch.dtype) -> None:
    spikes, state = neuron(_currents(dtype))
    assert spikes.shape == SHAPE
    assert spikes.dtype == dtype
    assert all(part.dtype == (torch.float64 if dtype == torch.float64 else torch.float32) for part in _tensors(state))


def test_spikes_are_counts_up_to_the_levels(neuron: Neuron) -> None:
    spikes, _ = neuron(_currents())
    assert spikes.count_nonzero() > 0
    if neuron.levels is not None:
        assert torch.equal(spikes, spikes.round().clamp(0, neuron.levels))


def test_gradients_reach_the_currents_and_every_parameter(neuron: Neuron) -> None:
    currents = _currents().requires_grad_()
    neuron(currents)[0].square().sum().backward()
    assert currents.grad is not None
    assert torch.isfinite(currents.grad).all()
    assert currents.grad.count_nonzero() > 0
    for parameter in neuron.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_no_state_leaks_from_one_call_into_the_next(neuron: Neuron) -> None:
    first = neuron(_currents())[0]
    neuron(_currents(seed=1))
    assert torch.equal(neuron(_currents())[0], first)


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_two_parts_with_carried_state_equal_the_whole(neuron: Neuron, cut: int) -> None:
    currents = _currents()
    whole, end = neuron(currents)
    first, state = neuron(currents[:cut])
    second, last = neuron(currents[cut:], state)
    assert torch.equal(torch.cat((first, second)), whole)
    assert all(torch.equal(a, b) for a, b in zip(_tensors(end), _tensors(last), strict=True))


@pytest.mark.parametrize("batches", [(1, 4), (4, 1), (2, 4)])
def test_a_state_of_other_maps_is_one_sentence(neuron: Neuron, batches: tuple[int, int]) -> None:
    few, many = (torch.randn(2, batch, 3, 4, 5) for batch in batches)
    _, state = neuron(few)
    if isinstance(neuron, Relu):  # it has none
        neuron(many, state)
        return
    with pytest.raises(
        ConfigError, match=rf"state carried along is \[{batches[0]}, 3, 4, 5\], expected \[{batches[1]}, "
    ):
        neuron(many, state)
    with pytest.raises(ConfigError, match=r"expected \[1, 3, 4, 4\]"):
        neuron(torch.randn(2, 1, 3, 4, 4), neuron(torch.randn(2, 1, 3, 4, 5))[1])
    elsewhere = type(state)(*(values.to("meta") for values in _tensors(state)))
    with pytest.raises(ConfigError, match="on meta, expected it where the maps are: cpu"):
        neuron(few, elsewhere)
    other = IlifState(torch.zeros(3)) if not isinstance(neuron, Ilif) else Lif()(few)[1]
    with pytest.raises(ConfigError, match="of this network"):
        neuron(few, other)


def test_gradients_flow_through_the_carried_state(neuron: Neuron) -> None:
    weights = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    whole, halves = _currents().requires_grad_(), _currents().requires_grad_()
    (neuron(whole)[0] * weights).sum().backward()
    first, state = neuron(halves[:2])
    second, _ = neuron(halves[2:], state)
    (torch.cat((first, second)) * weights).sum().backward()
    torch.testing.assert_close(halves.grad, whole.grad)


def test_a_later_step_never_changes_an_earlier_spike(neuron: Neuron) -> None:
    currents = _currents()
    changed = currents.clone()
    changed[4:] = 7.0
    assert torch.equal(neuron(changed)[0][:4], neuron(currents)[0][:4])


def test_elements_do_not_influence_one_another(neuron: Neuron) -> None:
    currents = _currents()
    assert torch.equal(neuron(currents[:, 1:])[0], neuron(currents)[0][:, 1:])


def test_the_result_is_the_same_on_any_number_of_threads(neuron: Neuron) -> None:
    currents = torch.randn(4, 2, 16, 40, 40, generator=torch.Generator().manual_seed(5)) * 2
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            leaf = currents.clone().requires_grad_()
            spikes, _ = neuron(leaf)
            (spikes * currents).sum().backward()
            results.append((spikes.detach(), leaf.grad))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_channels_last_currents_give_the_same_spikes_and_gradients(neuron: Neuron) -> None:
    plain = _currents().requires_grad_()
    folded = plain.detach().flatten(0, 1).contiguous(memory_format=torch.channels_last)
    last = folded.view(SHAPE).requires_grad_()
    weights = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    for leaf in (plain, last):
        (neuron(leaf)[0] * weights).sum().backward()
    assert torch.equal(neuron(plain)[0], neuron(last)[0])
    assert torch.equal(plain.grad, last.grad)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_a_copy_by_deepcopy_or_pickle_behaves_the_same(neuron: Neuron, copied: Callable[[Neuron], Neuron]) -> None:
    with torch.no_grad():
        for parameter in neuron.parameters():
            parameter.add_(0.3)
    assert torch.equal(copied(neuron)(_currents())[0], neuron(_currents())[0])


def test_learnt_parameters_are_in_the_state_dict(neuron: Neuron) -> None:
    assert set(neuron.state_dict()) == {name for name, _ in neuron.named_parameters()}
    assert ("rate_logit" in neuron.state_dict()) == isinstance(neuron, ParametricLif)


def test_the_neuron_follows_to_another_device_and_precision(neuron: Neuron) -> None:
    spikes, state = copy.deepcopy(neuron).to(torch.float64)(_currents(torch.float64))
    assert spikes.dtype == torch.float64
    meta, meta_state = copy.deepcopy(neuron).to("meta")(_currents().to("meta"))
    assert meta.shape == spikes.shape
    assert [part.shape for part in _tensors(meta_state)] == [part.shape for part in _tensors(state)]
    assert all(part.device.type == "meta" for part in _tensors(meta_state))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_neuron_gives_the_same_on_cuda(neuron: Neuron) -> None:
    weights = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    here, there = _currents().requires_grad_(), _currents().cuda().requires_grad_()
    moved = copy.deepcopy(neuron).cuda()
    (neuron(here)[0] * weights).sum().backward()
    (moved(there)[0] * weights.cuda()).sum().backward()
    torch.testing.assert_close(moved(there)[0].cpu(), neuron(here)[0])
    torch.testing.assert_close(there.grad.cpu(), here.grad)


def test_silence_makes_no_spike(neuron: Neuron) -> None:
    spikes, _ = neuron(torch.zeros(SHAPE))
    assert spikes.count_nonzero() == 0
