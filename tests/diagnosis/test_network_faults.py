"""A network that does not fire, always fires, begins wrongly or is not reached by gradients is told as such."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from spikeyolo.diagnosis.finding import Section
from spikeyolo.diagnosis.network.check import check_network, expected_start
from spikeyolo.diagnosis.network.layers import examine
from spikeyolo.diagnosis.network.overfit import Learnt, check_overfit
from spikeyolo.engine.evaluator import DetectionEvaluator
from spikeyolo.engine.update.optimizer import AdamW, Sgd
from spikeyolo.loss.detection import DetectionLoss
from spikeyolo.model.detector import Detector
from spikeyolo.model.neuron import Ilif
from spikeyolo.model.norm import Norm
from spikeyolo.windows.batch import Batch, Targets, Window


def network(seed: int = 0) -> Detector:
    torch.manual_seed(seed)
    return Detector(num_classes=2, depth=0.33, width=0.0625, neuron=Ilif)


def shapes(windows: int = 4, steps: int = 2, size: int = 64) -> Batch:
    """Windows with one bright square each, of the class that its polarity tells."""
    draw = torch.Generator().manual_seed(0)
    frames = torch.zeros(steps, windows, 2, size, size, dtype=torch.uint8)
    boxes = []
    for window in range(windows):
        x, y = (int(value) for value in torch.randint(2, size - 30, (2,), generator=draw))
        frames[:, window, window % 2, y : y + 24, x : x + 24] = 3
        boxes.append([x, y, x + 24, y + 24])
    at = torch.arange(windows).repeat(steps)
    targets = Targets(
        batch_index=at,
        time_step=torch.arange(steps).repeat_interleave(windows),
        xyxy=torch.tensor(boxes * steps, dtype=torch.float32),
        class_id=at % 2,
        track_id=at,
        recording=at,
        supervised=torch.ones(steps, windows, dtype=torch.bool),
    )
    return Batch(frames, targets, tuple(Window(index, 0, steps) for index in range(windows)))


def names(section: Section) -> list[str]:
    return [finding.name for finding in section.findings]


def checked(detector: nn.Module, *, trained: bool = False, loss: DetectionLoss | None = None) -> Section:
    return check_network(detector, loss or DetectionLoss(), shapes(), trained=trained)[0]


def test_a_new_network_has_no_findings_and_stays_as_it_is() -> None:
    detector = network()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    assert names(checked(detector)) == []
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
    assert all(parameter.grad is None for parameter in detector.parameters())


def silent(detector: Detector) -> None:
    for norm in detector.modules():
        if isinstance(norm, Norm):
            nn.init.constant_(norm.bias, -50.0)


def saturated(detector: Detector) -> None:
    for norm in detector.modules():
        if isinstance(norm, Norm):
            nn.init.constant_(norm.bias, 50.0)


def sure_of_everything(detector: Detector) -> None:
    for branch in detector.head.classes:
        nn.init.constant_(branch.layers[-1].synapse.bias, 6.0)


def broken(detector: Detector) -> None:
    nn.init.constant_(next(detector.parameters()), float("nan"))


def cut(detector: Detector) -> None:
    """No gradient goes back to the first stage."""
    detector.backbone.down2.register_forward_hook(lambda module, inputs, output: output.detach())


def endless(detector: Detector) -> None:
    """A gradient that is not finite, of a loss that is."""
    detector.backbone.down4.register_full_backward_pre_hook(lambda module, grad: tuple(g * torch.inf for g in grad))


@pytest.mark.parametrize(
    ("plant", "name"),
    [
        (silent, "silent"),
        (saturated, "saturated"),
        (sure_of_everything, "loss_start"),
        (broken, "not_finite"),
        (cut, "gradient"),
        (endless, "gradient"),
    ],
)
def test_a_planted_fault_is_named_first(plant: Callable[[Detector], None], name: str) -> None:
    detector = network()
    plant(detector)
    section = checked(detector)
    assert names(section)[:1] == [name], names(section)
    assert section.findings[0].overrides


def test_a_crowd_of_boxes_in_one_place_leaves_some_without_an_anchor_point() -> None:
    batch = shapes()
    crowd = torch.tensor([[20.0, 20.0, 23.0, 23.0]]).repeat(len(batch.targets), 1)
    rows = torch.arange(len(batch.targets)).repeat(4)
    columns = ("batch_index", "time_step", "class_id", "track_id", "recording")
    every = {name: getattr(batch.targets, name)[rows] for name in columns}
    targets = replace(batch.targets, xyxy=crowd.repeat(4, 1), **every)
    section, found = check_network(network(), DetectionLoss(), replace(batch, targets=targets), trained=True)
    assert "positives" in names(section), section.facts
    assert found.positives < len(targets)


def test_the_expected_start_is_that_of_a_network_without_weights() -> None:
    detector, loss, batch = network(), DetectionLoss(), shapes()
    found = examine(detector, loss, batch, trained=False)
    expected = expected_start(found.predictions, loss, batch)
    for name in ("box", "class", "dfl"):
        assert 1 / 3 < found.terms[name] / expected[name] < 3, name


def test_the_membranes_of_an_integer_neuron_are_what_its_spikes_were_made_of() -> None:
    torch.manual_seed(0)
    detector = network()
    found = examine(detector, DetectionLoss(), shapes(), trained=False)
    assert len(found.layers) == sum(isinstance(module, Ilif) for module in detector.modules())
    for layer in found.layers:
        assert 0 <= layer.full <= layer.firing <= 1
        if layer.firing > 0.95:
            assert layer.low > 0.5 - 1e-3  # a spike is a membrane above one half
        if layer.firing < 0.05:
            assert layer.high <= 0.5 + 1e-3


def learnt(factory: Callable[..., torch.optim.Optimizer], steps: int, seconds: float = 300.0) -> tuple[Section, Learnt]:
    section = Section("network")
    evaluator = DetectionEvaluator(classes=["on", "off"])
    found = check_overfit(
        network, DetectionLoss(focal_gamma=1.0), factory, shapes(), section, evaluator=evaluator, steps=steps,
        seconds=seconds, clip_gradient=10.0, precision="float32",
    )  # fmt: skip
    return section, found


@pytest.mark.slow
def test_a_network_learns_a_few_windows_by_heart() -> None:
    section, found = learnt(partial(AdamW, lr=0.002), 100)
    assert names(section) == [], section.facts
    assert found.best >= 0.9


@pytest.mark.slow
@pytest.mark.long
def test_a_learning_rate_at_which_nothing_is_learnt_is_to_blame() -> None:
    section, _ = learnt(partial(Sgd, lr=1e-9), 100)
    assert names(section) == ["learning_rate"], section.facts
    assert section.findings[0].overrides == ("optimizer=adamw", "optimizer.lr=0.002")


def test_where_the_time_is_up_nothing_is_claimed() -> None:
    section, found = learnt(partial(AdamW, lr=0.002), 100, seconds=0.01)
    assert 2 <= found.steps < 100
    assert section.findings == []
    assert "overfit_seconds" in section.unknown[0]
