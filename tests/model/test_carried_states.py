"""The state that goes from batch to batch: lanes streamed equal one long window, and gradients end at its beginning."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from lively import lively
from torch import Tensor

from spikeyolo.model.blocks import Block
from spikeyolo.model.detector import Detector
from spikeyolo.model.neuron import Ilif, Lif, LifBox, ParametricLif, Relu
from spikeyolo.model.streaming import Carrier, Memory, joined
from spikeyolo.windows.batch import Batch, Targets, Window

NEURONS = [Ilif, Lif, LifBox, ParametricLif, Relu]
T = 2  # steps of a window, of 1 µs each


def network(neuron: Any = Ilif) -> Detector:
    torch.manual_seed(0)
    return lively(Detector(num_classes=2, depth=0.33, width=0.0625, neuron=neuron)).double().eval()


def recordings(count: int, steps: int) -> Tensor:
    """``[steps, count, 2, 32, 32]``."""
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 5, (steps, count, 2, 32, 32), generator=draw, dtype=torch.uint8)


def batch(frames: Tensor, *rows: tuple[int, int, bool | None]) -> Batch:
    """Windows of recordings: which, number of the window, and whether it follows."""
    nothing = torch.zeros(0, dtype=torch.int64)
    supervised = torch.zeros((T, len(rows)), dtype=torch.bool)
    targets = Targets(nothing, nothing, torch.zeros(0, 4), nothing, nothing, nothing, supervised)
    cut = [frames[T * number : T * (number + 1), which] for which, number, _ in rows]
    windows = tuple(Window(which, T * number, T * (number + 1)) for which, number, _ in rows)
    return Batch(torch.stack(cut, dim=1), targets, windows, tuple(follows for _, _, follows in rows))


def streamed(detector: Detector, batches: list[Batch]) -> list[Tensor]:
    carrier, logits = Carrier(detector), []
    for one in batches:
        memory = carrier.memory(one)
        assert memory is not None
        logits.append(detector(one.frames, memory).class_logits)
        carrier.keep(memory, one)
    return logits


@pytest.mark.parametrize("neuron", NEURONS)
@torch.no_grad()
def test_windows_streamed_in_lanes_equal_one_long_window_each(neuron: Any) -> None:
    detector, frames = network(neuron), recordings(3, 4 * T)
    whole = detector(frames).class_logits
    # Lane 0 follows recording 0 and then 2; lane 1 recording 1, which is over first.
    batches = [
        batch(frames, (0, 0, False), (1, 0, False)),
        batch(frames, (0, 1, True), (1, 1, True)),
        batch(frames, (2, 0, False), (1, 2, True)),
        batch(frames, (2, 1, True)),
        batch(frames, (2, 2, True)),
    ]
    for one, logits in zip(batches, streamed(detector, batches), strict=True):
        for row, window in enumerate(one.windows):
            expected = whole[window.start_us : window.end_us, window.recording]
            torch.testing.assert_close(logits[:, row], expected)


@torch.no_grad()
def test_a_window_that_is_reset_or_stands_alone_begins_as_a_fresh_one_and_carries_nothing_to_others() -> None:
    detector, frames = network(), recordings(2, 4 * T)
    batches = [
        batch(frames, (0, 0, False), (0, 0, None)),
        batch(frames, (0, 1, False), (0, 1, None)),  # neighbours of the windows before, but not to follow them
        batch(frames, (0, 2, True), (1, 1, None)),
    ]
    logits = streamed(detector, batches)
    fresh = detector(batches[1].frames).class_logits
    torch.testing.assert_close(logits[1], fresh)
    followed, _ = detector.stream(frames[T : 3 * T, :1])
    torch.testing.assert_close(logits[2][:, 0], followed.class_logits[T:, 0])
    torch.testing.assert_close(logits[2][:, 1], detector(batches[2].frames).class_logits[:, 1])
    assert not torch.equal(logits[2][:, 0], detector(batches[2].frames).class_logits[:, 0])


@torch.no_grad()
def test_lanes_may_change_their_places_and_their_number() -> None:
    detector, frames = network(), recordings(3, 3 * T)
    whole = detector(frames).class_logits
    batches = [
        batch(frames, (0, 0, False), (1, 0, False), (2, 0, False)),
        batch(frames, (2, 1, True), (0, 1, True)),
        batch(frames, (0, 2, True), (1, 1, True), (2, 2, True)),  # recording 1 was lost: it begins afresh
    ]
    logits = streamed(detector, batches)
    torch.testing.assert_close(logits[1][:, 0], whole[T : 2 * T, 2])
    torch.testing.assert_close(logits[2][:, 0], whole[2 * T :, 0])
    torch.testing.assert_close(logits[2][:, 2], whole[2 * T :, 2])
    torch.testing.assert_close(logits[2][:, 1], detector(batches[2].frames).class_logits[:, 1])


@pytest.mark.parametrize("neuron", NEURONS)
@torch.no_grad()
def test_states_go_through_a_checkpoint_bit_for_bit(neuron: Any) -> None:
    detector, frames = network(neuron), recordings(2, 2 * T)
    first, second = batch(frames, (0, 0, False), (1, 0, False)), batch(frames, (0, 1, True), (1, 1, True))
    carrier = Carrier(detector)
    memory = carrier.memory(first)
    assert memory is not None
    detector(first.frames, memory)
    carrier.keep(memory, first)
    file = io.BytesIO()
    torch.save(carrier.state_dict(), file)
    file.seek(0)
    restored = Carrier(detector)
    restored.load_state_dict(torch.load(file, weights_only=True))
    logits = [detector(second.frames, each.memory(second)).class_logits for each in (carrier, restored)]
    assert torch.equal(*logits)
    assert torch.equal(logits[0], detector(second.frames).class_logits) is (neuron is Relu)


@pytest.mark.parametrize("neuron", NEURONS)
@torch.no_grad()
def test_states_of_several_processes_are_joined_and_each_finds_its_own_again(neuron: Any) -> None:
    detector, frames = network(neuron), recordings(3, 2 * T)
    shares = [batch(frames, (0, 0, False), (2, 0, False)), batch(frames, (1, 0, False))]
    kept = []
    for one in shares:
        carrier = Carrier(detector)
        memory = carrier.memory(one)
        assert memory is not None
        detector(one.frames, memory)
        carrier.keep(memory, one)
        kept.append(carrier.state_dict())
    whole = detector(frames).class_logits
    for rows in ([(1, 1, True)], [(2, 1, True), (0, 1, True), (1, 1, True)]):
        carrier = Carrier(detector)
        carrier.load_state_dict(joined([*kept, Carrier(detector).state_dict()]))
        later = batch(frames, *rows)
        logits = detector(later.frames, carrier.memory(later)).class_logits
        for row, (which, _, _) in enumerate(rows):
            torch.testing.assert_close(logits[:, row], whole[T:, which])


def test_a_state_of_another_neuron_or_of_none_begins_afresh() -> None:
    detector = network()
    carrier = Carrier(detector)
    carrier.load_state_dict({})
    other = Carrier(network(Lif))
    frames = recordings(1, T)
    memory = other.memory(batch(frames, (0, 0, False)))
    assert memory is not None
    network(Lif)(frames, memory)
    other.keep(memory, batch(frames, (0, 0, False)))
    carrier.load_state_dict(other.state_dict())
    assert carrier.state_dict() == {"windows": [], "states": []}


@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_of_a_window_that_follows_are_those_from_a_given_state(recompute: bool) -> None:
    detector, frames = network(), recordings(2, 2 * T)
    _, state = detector.stream(frames[:T])
    given = [type(one)(one.residual.detach()) for one in state]
    predictions, _ = detector.stream(frames[T:], tuple(given))
    predictions.class_logits.square().sum().backward()
    expected = {name: p.grad.clone() for name, p in detector.named_parameters() if p.grad is not None}
    detector.zero_grad()
    for block in detector.modules():
        if isinstance(block, Block):
            block.recompute = recompute
    first, second = streamed(
        detector, [batch(frames, (0, 0, False), (1, 0, False)), batch(frames, (0, 1, True), (1, 1, True))]
    )
    assert first.requires_grad
    second.square().sum().backward()
    found = {name: p.grad for name, p in detector.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)
    assert any(gradient.any() for gradient in expected.values())


@torch.no_grad()
def test_compiled_layers_carry_their_states_too() -> None:
    torch.manual_seed(0)
    block = Block(4, 1, rep=False, neuron=Ilif).double().eval()
    maps = 4 * torch.randn(2 * T, 1, 4, 8, 8, dtype=torch.float64)
    compiled: Any = torch.compile(block, backend="eager", fullgraph=True)
    memory = Memory()
    compiled(maps[:T], memory)
    later = Memory(memory.states())
    torch.testing.assert_close(compiled(maps[T:], later), block(maps)[T:])
    assert len(later.states()) == len(memory.states()) == block.neurons
