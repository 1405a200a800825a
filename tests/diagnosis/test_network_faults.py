"""A network that does not fire, always fires, begins wrongly or is not reached by gradients is told as such."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from spikeyolo.diagnosis.checkpoint import against_data
from spikeyolo.diagnosis.deadline import Deadline
from spikeyolo.diagnosis.finding import Section
from spikeyolo.diagnosis.network.by_heart import Learnt
from spikeyolo.diagnosis.network.check import check_activity, check_network, expected_start
from spikeyolo.diagnosis.network.layers import examine
from spikeyolo.diagnosis.network.overfit import check_overfit
from spikeyolo.diagnosis.settings import Settings
from spikeyolo.engine.evaluator import DetectionEvaluator
from spikeyolo.engine.update.optimizer import AdamW, Sgd
from spikeyolo.engine.update.schedule import CosineSchedule, CyclicSchedule, Schedule, TriangularSchedule
from spikeyolo.loss.detection import DetectionLoss
from spikeyolo.model.detector import Detector
from spikeyolo.model.neuron import Ilif, Lif, LifBox, Neuron, ParametricLif
from spikeyolo.model.norm import Norm
from spikeyolo.windows.batch import Batch, Targets, Window


def network(seed: int = 0, neuron: Callable[[], Neuron] = Ilif) -> Detector:
    torch.manual_seed(seed)
    return Detector(num_classes=2, depth=0.33, width=0.0625, neuron=neuron)


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


TINY = partial(shapes, windows=2, steps=1)


def names(section: Section) -> list[str]:
    return [finding.name for finding in section.findings]


def checked(detector: nn.Module, *, trained: bool = False, settings: Settings | None = None) -> Section:
    return check_network(detector, DetectionLoss(), shapes(), trained=trained, settings=settings)[0]


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
def test_a_planted_fault_is_named_first_and_drawn(plant: Callable[[Detector], None], name: str, tmp_path: Path) -> None:
    detector = network()
    plant(detector)
    section = checked(detector)
    assert names(section)[:1] == [name], names(section)
    assert section.findings[0].overrides
    draw = section.findings[0].draw
    assert draw is not None
    assert draw(tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("weights", "overrides"),
    [
        ({"class_weight": 0.0}, ("loss.class_weight=1",)),
        ({"box_weight": 0.0, "dfl_weight": 0.0}, ("loss.box_weight=5", "loss.dfl_weight=1.5")),
        ({"box_weight": 0.0}, None),  # the other term teaches boxes too
        ({"dfl_weight": 0.0}, None),
    ],
)
def test_a_loss_that_teaches_no_classes_or_no_boxes_is_named_with_its_weights(
    weights: dict[str, float], overrides: tuple[str, ...] | None
) -> None:
    section, _ = check_network(network(), DetectionLoss(**weights), TINY(), trained=False)  # type: ignore[arg-type]
    assert [(found.name, found.overrides) for found in section.findings] == (
        [] if overrides is None else [("gradient", overrides)]
    )


def test_a_crowd_of_boxes_in_one_place_leaves_some_without_an_anchor_point() -> None:
    batch = shapes()
    crowd = torch.tensor([[20.0, 20.0, 23.0, 23.0]]).repeat(len(batch.targets), 1)
    rows = torch.arange(len(batch.targets)).repeat(4)
    columns = ("batch_index", "time_step", "class_id", "track_id", "recording")
    every = {name: getattr(batch.targets, name)[rows] for name in columns}
    targets = replace(batch.targets, xyxy=crowd.repeat(4, 1), **every)
    detector = network()
    batch = replace(batch, targets=targets)
    section, found = check_network(detector, DetectionLoss(), batch, trained=False)
    assert names(section)[:1] == ["positives"], section.facts
    assert found.positives < len(targets)


def test_the_expected_start_is_that_of_a_network_without_weights() -> None:
    detector, loss, batch = network(), DetectionLoss(), shapes()
    found = examine(detector, loss, batch, trained=False)
    expected = expected_start(found.predictions, loss, batch)
    for name in ("box", "class", "dfl"):
        assert 1 / 3 < found.terms[name] / expected[name] < 3, name


@pytest.mark.parametrize("prior", [0.01, 0.5])
def test_a_network_whose_scores_start_elsewhere_is_judged_by_that_start(prior: float) -> None:
    torch.manual_seed(0)
    detector = Detector(num_classes=2, depth=0.33, width=0.0625, neuron=Ilif, class_prior=prior)
    loss, batch = DetectionLoss(), shapes()
    section, found = check_network(detector, loss, batch, trained=False)
    assert "loss_start" not in [finding.name for finding in section.findings]
    expected = expected_start(found.predictions, loss, batch, prior=prior)
    assert 1 / 3 < found.terms["class"] / expected["class"] < 3
    if prior == 0.5:  # by the published start it would be a finding
        assert found.terms["class"] > 3 * expected_start(found.predictions, loss, batch)["class"] + 0.5


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


def learnt(
    factory: Callable[..., torch.optim.Optimizer],
    steps: int,
    seconds: float = 300.0,
    *,
    deadline: Deadline | None = None,
    build: Callable[[], Detector] = network,
    batch: Batch | None = None,
    settings: Settings | None = None,
    schedule: Schedule | None = None,
) -> tuple[Section, Learnt]:
    section = Section("network")
    evaluator = DetectionEvaluator(classes=["on", "off"])
    found = check_overfit(
        build, DetectionLoss(focal_gamma=1.0), factory, batch or shapes(), section, evaluator=evaluator, steps=steps,
        seconds=seconds, deadline=deadline or Deadline(2 * seconds), clip_gradient=10.0, precision="float32",
        settings=settings, schedule=schedule, max_epochs=10,
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", [CyclicSchedule, pytest.param(TriangularSchedule, marks=pytest.mark.long)])
def test_a_peak_of_the_schedule_at_which_all_is_lost_again_is_to_blame(kind: type[Schedule], tmp_path: Path) -> None:
    schedule = kind(max_lr=2.0)  # type: ignore[call-arg]
    settings = Settings({"scheduler": {"max_lr": 2.0}})
    section, found = learnt(partial(AdamW, lr=0.002), 100, schedule=schedule, batch=TINY(), settings=settings)
    assert found.known
    assert names(section) == ["learning_rate"], section.facts
    assert "highest learning rate, 2 (" in section.findings[0].sentence
    assert section.findings[0].overrides == ("scheduler.max_lr=0.002",)
    assert section.findings[0].draw is not None
    assert section.findings[0].draw(tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.parametrize("max_lr", [0.01, pytest.param(None, marks=pytest.mark.long)])
def test_a_peak_at_which_windows_are_kept_is_no_finding(max_lr: float | None) -> None:
    section, _ = learnt(partial(AdamW, lr=0.002), 100, schedule=CyclicSchedule(max_lr=max_lr), batch=TINY())
    assert names(section) == []
    assert section.unknown == []
    assert any(name.startswith("at the schedule's highest learning rate") for name, _ in section.facts)


@pytest.mark.slow
def test_what_is_learnt_at_the_peak_alone_needs_no_other_rate() -> None:
    section, found = learnt(partial(AdamW, lr=1e-7), 50, schedule=CyclicSchedule(max_lr=0.005), batch=TINY())
    assert found.best < 0.5
    assert names(section) == [], section.facts
    assert section.unknown == []


def test_without_a_peak_above_the_optimizer_s_rate_nothing_more_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikeyolo.diagnosis.network.by_heart.LOOK_EVERY", 2)
    for schedule in (CosineSchedule(warmup_epochs=1.0), CyclicSchedule(max_lr=0.002)):
        section, _ = learnt(partial(AdamW, lr=0.002), 4, schedule=schedule, batch=TINY())
        assert not any("highest learning rate" in name for name, _ in section.facts)


def test_whether_windows_are_kept_at_the_peak_is_unknown_where_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikeyolo.diagnosis.network.by_heart.LOOK_EVERY", 1)
    monkeypatch.setattr("spikeyolo.diagnosis.network.by_heart.ByHeart._map50", lambda self: 1.0)
    clock = Ticking(1.0)
    section, found = learnt(
        partial(AdamW, lr=0.002), 9, seconds=60, deadline=Deadline(30, clock=clock), batch=TINY(),
        schedule=CyclicSchedule(max_lr=2.0),
    )  # fmt: skip
    assert found.known
    assert names(section) == []
    assert "highest learning rate: the time was up" in section.unknown[0]


def test_where_the_time_is_up_nothing_is_claimed() -> None:
    section, found = learnt(partial(AdamW, lr=0.002), 100, seconds=0.01)
    assert 2 <= found.steps < 100
    assert section.findings == []
    assert "overfit_seconds" in section.unknown[0]
    assert "mAP50" not in dict(section.facts)["4 windows by heart"]  # it was not looked at


def test_of_so_few_steps_that_none_is_looked_at_nothing_is_claimed() -> None:
    section, found = learnt(partial(AdamW, lr=0.002), 3, batch=TINY())
    assert (found.steps, found.map50) == (3, {})
    assert section.findings == []
    assert "overfit_steps=3" in section.unknown[0]


class Ticking:
    """A clock that is some seconds later whenever it is read."""

    def __init__(self, tick: float) -> None:
        self.tick, self.now = tick, 0.0

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


def test_both_attempts_to_learn_share_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikeyolo.diagnosis.network.by_heart.LOOK_EVERY", 3)  # six steps are enough to see it
    clock = Ticking(1.0)
    section, found = learnt(partial(Sgd, lr=1e-9), 6, seconds=60, deadline=Deadline(30, clock=clock), batch=TINY())
    assert found.steps == 6  # and nothing is learnt: the other optimizer is asked, in what is left of the time
    assert clock.now <= 30 + 6  # two steps of three looks at the clock
    assert names(section) == []
    assert "the time was too short to tell" in section.unknown[0]
    clock = Ticking(1.0)
    section, found = learnt(partial(Sgd, lr=1e-9), 6, seconds=60, deadline=Deadline(19, clock=clock), batch=TINY())
    assert found.steps == 6
    assert "the time was up" in section.unknown[0]  # for the other one none is left


def test_the_first_attempt_keeps_to_its_own_seconds() -> None:
    clock = Ticking(1.0)
    section, found = learnt(partial(Sgd, lr=1e-9), 100, seconds=10, deadline=Deadline(1000, clock=clock), batch=TINY())
    assert 2 <= found.steps <= 5
    assert clock.now < 30
    assert "overfit_seconds" in section.unknown[0]


def constant() -> Detector:
    """A network that says the same of everything."""
    detector = network()
    for branch in detector.head.classes:
        branch.register_forward_hook(lambda module, inputs, output: output * 0 - 4.0)
    return detector


def test_what_no_optimizer_teaches_is_the_network_s_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikeyolo.diagnosis.network.by_heart.LOOK_EVERY", 4)  # a few steps are enough to see it
    settings = Settings({"model": {"width": 0.0625}, "loss": {"focal_gamma": 2.0}})
    section, found = learnt(partial(AdamW, lr=0.002), 8, build=constant, batch=TINY(), settings=settings)
    assert list(found.map50) == [8]
    assert found.best < 0.5
    assert names(section) == ["overfit"], section.facts
    assert section.findings[0].overrides == ("model=pico", "loss.focal_gamma=1.0")
    assert section.findings[0].draw is not None
    assert section.findings[0].draw(tmp_path / "a.png").stat().st_size > 5000


def test_what_of_a_step_s_memory_does_not_grow_with_the_batch_is_told() -> None:
    _, found = learnt(partial(AdamW, lr=0.002), 2, batch=shapes(windows=3, steps=1))
    assert found.windows == 3
    assert found.fixed_bytes == 16 * sum(p.numel() for p in network().parameters())  # weights, gradients, two momenta


@pytest.mark.parametrize(
    ("neuron", "plant", "overrides"),
    [
        (Ilif, "silent", ("model.branch_scale=0.2", "model.fine_ends=4")),
        (partial(Ilif, levels=64), "silent", ("model.branch_scale=0.2",)),  # finer than 127 levels cannot be
        (Lif, "silent", ("model.branch_scale=0.2", "model.neuron.threshold=0.25")),
        (LifBox, "silent", ("model.branch_scale=0.2", "model.neuron.threshold=0.25")),
        (partial(ParametricLif, threshold=1.0), "silent", ("model.branch_scale=0.2", "model.neuron.threshold=0.5")),
        (Ilif, "saturated", ("model.branch_scale=0.2",)),
        (LifBox, "saturated", ("model.branch_scale=0.2", "model.neuron.threshold=1")),
        (partial(LifBox, surrogate="triangle"), "gradient", ("model.branch_scale=0.2", "model.neuron.surrogate=super")),
    ],
)
def test_what_mends_a_network_depends_on_its_neuron(
    neuron: Callable[[], Neuron], plant: str, overrides: tuple[str, ...]
) -> None:
    detector = network(neuron=neuron)
    {"silent": silent, "saturated": saturated, "gradient": cut}[plant](detector)
    written = {"branch_scale": 1.0, "fine_ends": 1, "neuron": {"levels": neuron().levels}}
    settings = Settings({"model": written})
    section, _ = check_network(detector, DetectionLoss(), TINY(), trained=False, settings=settings)
    found = next(finding for finding in section.findings if finding.name == plant)
    assert found.overrides == overrides


def test_neurons_that_are_too_hard_to_excite_get_a_threshold_at_which_they_fire() -> None:
    detector = network(neuron=partial(LifBox, threshold=100.0))
    settings = Settings({"model": {"branch_scale": 1.0}})
    first, *_ = check_network(detector, DetectionLoss(), TINY(), trained=False, settings=settings)[0].findings
    assert first.name == "silent"
    branches, threshold = (float(override.rpartition("=")[2]) for override in first.overrides)
    neuron = partial(LifBox, threshold=threshold)
    mended = Detector(num_classes=2, depth=0.33, width=0.0625, branch_scale=branches, neuron=neuron)
    assert names(check_network(mended, DetectionLoss(), TINY(), trained=False)[0]) == []


def test_spikes_that_are_too_dear_get_their_gain_back() -> None:
    settings = Settings({"model": {"branch_scale": 0.2, "fine_ends": 4, "neuron": {"gain": 0.01}}})
    detector = network(neuron=partial(Ilif, gain=0.01))
    first, *_ = check_network(detector, DetectionLoss(), TINY(), trained=False, settings=settings)[0].findings
    assert (first.name, first.overrides) == ("silent", ("model.neuron.gain=1",))


def test_what_is_set_already_is_not_proposed_again() -> None:
    detector = network()
    saturated(detector)
    settings = Settings({"model": {"branch_scale": 0.2, "fine_ends": 4, "neuron": {"levels": 4}}})
    assert checked(detector, settings=settings).findings[0].overrides == ("model.neuron.levels=8",)
    detector = network()
    silent(detector)
    (first, *_) = checked(detector, settings=settings).findings
    assert (first.name, first.overrides) == ("silent", ())
    assert "events" in first.remedy


def test_of_frames_without_boxes_it_is_told_how_neurons_fire() -> None:
    detector = network()
    section = check_activity(detector, shapes(), trained=False)
    assert names(section) == []
    assert "firing rate a layer" in dict(section.facts)
    assert "there is no window with a box" in section.unknown[0]
    silent(detector)
    assert names(check_activity(detector, shapes(), trained=False)) == ["silent"]


def test_a_checkpoint_of_other_frames_is_named_with_the_encoder_that_it_was_trained_with() -> None:
    data = SimpleNamespace(classes=("car",), encoder=SimpleNamespace(channels=2))
    encoder = {"_target_": "spikeyolo.windows.encoders.VoxelEncoder", "bins": 4, "unit": 16, "downsample": 2}
    state = {"classes": ["car"], "in_channels": 8, "encoder": encoder}
    (found,) = against_data(state, data)  # type: ignore[arg-type]
    assert found.name == "checkpoint_frames"
    assert found.overrides == (
        "data/encoder=voxel", "data.encoder.bins=4", "data.encoder.unit=16", "data.encoder.downsample=2",
    )  # fmt: skip
    (found,) = against_data({**state, "encoder": {"_target_": "my.Encoder"}}, data)  # type: ignore[arg-type]
    assert found.overrides == ()
    assert "data/encoder=" in found.remedy
    assert against_data({**state, "in_channels": 2}, data) == []  # type: ignore[arg-type]


def test_a_checkpoint_whose_norms_saw_nothing_is_trained_longer_and_one_whose_neurons_died_more_slowly() -> None:
    settings = Settings({"trainer": {"max_epochs": 3}, "optimizer": {"lr": 0.01}})
    detector = network()
    for norm in detector.modules():
        if isinstance(norm, Norm):
            nn.init.constant_(norm.running_mean, 100.0)
    (first, *_) = checked(detector, trained=True, settings=settings).findings
    assert (first.name, first.overrides) == ("silent", ("trainer.max_epochs=6",))
    silent(detector)
    (first, *_) = checked(detector, trained=True, settings=settings).findings
    assert (first.name, first.overrides) == ("silent", ("optimizer.lr=0.005",))
