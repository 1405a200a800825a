"""A penalty on spikes lowers the rate; without weight it counts nothing."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import pytest
import torch
from lively import lively

from spikeyolo.engine.update.optimizer import Sgd, build_optimizer
from spikeyolo.engine.update.step import TrainStep
from spikeyolo.errors import ConfigError
from spikeyolo.loss import DetectionLoss
from spikeyolo.loss.firing_rate import FiringRate
from spikeyolo.model.blocks import Block
from spikeyolo.model.detector import Detector
from spikeyolo.model.neuron import Ilif, Lif, Neuron, Relu
from spikeyolo.windows.batch import Batch, Targets


def network(neuron: Any = Ilif) -> Detector:
    torch.manual_seed(0)
    return lively(Detector(num_classes=2, depth=0.33, width=0.0625, neuron=neuron))


def frames() -> torch.Tensor:
    return torch.randint(0, 5, (2, 2, 2, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def rates(detector: Detector) -> list[float]:
    """Spikes an element of each layer, counted apart."""
    found: list[float] = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: found.append(float(output[0].double().mean())))
        for module in detector.modules()
        if isinstance(module, Neuron)
    ]
    with torch.no_grad():
        detector(frames())
    for hook in hooks:
        hook.remove()
    return found


def penalty(detector: Detector, **settings: Any) -> torch.Tensor:
    term = FiringRate(**settings)
    with term.watching(detector) as counted:
        detector(frames())
    return term(counted)


def test_the_term_is_the_rate_beyond_the_target_of_all_layers_together_or_of_each() -> None:
    detector = network().eval()
    layers = torch.tensor(rates(detector))
    assert layers.min() < 0.3 < layers.max()
    each = penalty(detector, weight=2.0, target=0.3, of="layer")
    torch.testing.assert_close(each.detach(), 2 * (layers - 0.3).clamp_min(0).mean())
    sizes: list[int] = []
    term = FiringRate(weight=2.0, target=0.05)
    with term.watching(detector) as counted:
        detector(frames())
    sizes = [size for _, size in counted]
    mean = sum(rate * size for rate, size in zip(layers.tolist(), sizes, strict=True)) / sum(sizes)
    assert float(term(counted).detach()) == pytest.approx(2 * (mean - 0.05), rel=1e-5)
    assert float(penalty(detector, weight=1.0, target=100.0)) == 0.0


@pytest.mark.parametrize("of", ["network", "layer"])
@pytest.mark.parametrize("neuron", [Ilif, Lif])
def test_following_the_penalty_alone_lowers_the_rate(of: Literal["network", "layer"], neuron: Any) -> None:
    detector = network(neuron).eval()
    before = sum(rates(detector))
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        penalty(detector, weight=1.0, of=of).backward()
        optimizer.step()
    assert sum(rates(detector)) < 0.98 * before


def test_blocks_that_compute_again_give_the_same_gradients() -> None:
    gradients = []
    for recompute in (False, True):
        detector = network().double().train()
        for block in detector.modules():
            if isinstance(block, Block):
                block.recompute = recompute
        penalty(detector, weight=1.0).backward()
        gradients.append([p.grad.clone() for p in detector.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_without_weight_nothing_is_counted_and_no_hook_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = network()
    monkeypatch.setattr(torch.nn.Module, "register_forward_hook", None)
    with FiringRate(weight=0.0).watching(detector) as counted:
        detector(frames())
    assert counted == []


def test_no_hook_stays() -> None:
    detector = network()
    penalty(detector, weight=1.0)
    assert not any(module._forward_hooks for module in detector.modules())


def test_neurons_that_do_not_spike_are_refused_in_one_sentence() -> None:
    FiringRate(weight=0.0).check(network(Relu))
    FiringRate(weight=1.0).check(network(Lif))
    with pytest.raises(
        ConfigError, match=r"^loss.firing_rate.weight: found 1.0 with neurons that do not spike \(Relu\)"
    ):
        FiringRate(weight=1.0).check(network(Relu))


def test_a_step_of_training_takes_the_penalty_into_its_gradients_and_names_it() -> None:
    norms, named = [], {}
    for weight in (0.0, 1e4):
        detector = network().train()
        optimizer = build_optimizer(partial(Sgd, lr=0.1), detector)
        penalised = FiringRate(weight=weight) if weight else None
        step = TrainStep(
            detector, run=detector, loss=DetectionLoss(), optimizer=optimizer, average=None, precision="float32",
            clip_gradient=None, firing_rate=penalised,
        )  # fmt: skip
        none = torch.zeros(0, dtype=torch.int64)
        targets = Targets(none, none, torch.zeros(0, 4), none, none, none, torch.ones(2, 2, dtype=torch.bool))
        total, named = step.gradients(Batch(frames(), targets, ()))
        norms.append(float(step.clip() or 0.0))
    assert norms[1] > 10 * norms[0] > 0
    assert float(named["firing_rate"]) > 100
    terms = sum(float(named[name]) for name in ("box", "class", "dfl", "firing_rate"))
    assert float(total) == pytest.approx(terms, rel=1e-5)
