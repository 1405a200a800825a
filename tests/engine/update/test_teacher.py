"""A teacher stays as it is, teaches its equal nothing, and is refused where it cannot teach."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lively import lively
from small_training import World
from torch import Tensor

from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.update.average import WeightAverage
from spikeyolo.engine.update.optimizer import Sgd, build_optimizer
from spikeyolo.engine.update.step import TrainStep
from spikeyolo.engine.update.teacher import Teacher
from spikeyolo.errors import CheckpointError, ConfigError
from spikeyolo.loss import DetectionLoss
from spikeyolo.loss.distillation import Distillation
from spikeyolo.model.detector import Detector
from spikeyolo.model.neuron import Ilif, Relu
from spikeyolo.windows.batch import Batch, Targets

ENCODER = {"_target_": "spikeyolo.windows.encoders.HistogramEncoder", "downsample": 2}
DESCRIPTION: dict[str, Any] = {"classes": ["car", "bus"], "encoder": ENCODER}
BOTH = Distillation(feature_weight=1.0)


def network(neuron: type = Ilif, seed: int = 0, width: float = 0.03) -> Detector:
    torch.manual_seed(seed)
    return lively(Detector(num_classes=2, depth=0.1, width=width, neuron=neuron), seed)


def saved(folder: Path, detector: Detector, neuron: str = "Ilif", width: float = 0.03, **more: Any) -> Path:
    model = {
        "_target_": "spikeyolo.model.detector.Detector", "depth": 0.1, "width": width,
        "neuron": {"_target_": f"spikeyolo.model.neuron.{neuron}", "_partial_": True},
    }  # fmt: skip
    state = {**DESCRIPTION, "in_channels": 2, "model": model, "frame": {"size": [64, 64]}, **more}
    checkpoint.save(folder, weights=detector, training=None, state=state)
    return folder


def frames(seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.poisson(torch.full((2, 2, 2, 64, 64), 0.7), generator=generator).to(torch.uint8)


def batch() -> Batch:
    none = torch.zeros(0, dtype=torch.int64)
    targets = Targets(none, none, torch.zeros(0, 4), none, none, none, torch.zeros(2, 2, dtype=torch.bool))
    return Batch(frames(), targets, ())


def step(student: Detector, teacher: Teacher | None) -> TrainStep:
    optimizer = build_optimizer(partial(Sgd, lr=0.01), student)
    return TrainStep(
        student, run=student, loss=DetectionLoss(), optimizer=optimizer, average=None, precision="float32",
        clip_gradient=None, teacher=teacher,
    )  # fmt: skip


def test_a_teacher_equal_to_the_student_costs_nothing(tmp_path: Path) -> None:
    student = network().eval()
    teacher = Teacher(saved(tmp_path / "t", network()), student, BOTH, DESCRIPTION)
    with teacher.watching(student) as maps:
        predictions = student(frames())
    terms = teacher(frames(), predictions, maps)
    assert len(maps) == 3
    assert all(abs(float(term)) < 1e-4 for term in terms.named().values())
    other = Teacher(saved(tmp_path / "o", network(seed=1)), student, BOTH, DESCRIPTION)
    assert all(float(term) > 1e-3 for term in other(frames(), predictions, maps).named().values())


def test_a_step_learns_from_the_teacher_where_no_label_is_known(tmp_path: Path) -> None:
    twin = network(Relu, seed=3)
    before = {name: value.clone() for name, value in twin.state_dict().items()}
    student = network().train()
    teacher = Teacher(saved(tmp_path / "t", twin, "Relu"), student, BOTH, DESCRIPTION)
    training = step(student, teacher)
    losses = []
    for _ in range(8):
        loss, named = training.gradients(batch())
        training.clip()
        training.update()
        losses.append(float(named["teacher_class"] + named["teacher_box"] + named["teacher_features"]))
    assert set(named) >= {"teacher_class", "teacher_box", "teacher_features", "box", "class", "dfl", "total"}
    assert float(loss) == pytest.approx(losses[-1] + float(named["class"] + named["box"] + named["dfl"]), rel=1e-4)
    assert losses[-1] < 0.95 * losses[0]
    assert teacher.seconds > 0
    assert not any(parameter.requires_grad for parameter in teacher._network.parameters())
    after = Teacher(tmp_path / "t", student, BOTH, DESCRIPTION)
    assert after.digest == teacher.digest
    assert all(torch.equal(value, before[name]) for name, value in twin.state_dict().items())


def test_without_a_teacher_a_step_is_what_it_was(tmp_path: Path) -> None:
    students = [network().train(), network().train()]
    nothing = Distillation(class_weight=0.0, box_weight=0.0)
    folder = saved(tmp_path / "t", network(seed=1))
    for student, teacher in zip(students, (None, Teacher(folder, students[1], nothing, DESCRIPTION)), strict=True):
        training = step(student, teacher)
        training.gradients(batch())
        training.update()
    first, second = (student.state_dict() for student in students)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_average_and_copies_of_the_student_hold_no_teacher(tmp_path: Path) -> None:
    student = network().train()
    teacher = Teacher(saved(tmp_path / "t", network(seed=1)), student, BOTH, DESCRIPTION)
    with teacher.watching(student):
        student(frames())
    assert not student.neck._forward_hooks
    assert WeightAverage().start(student).state_dict().keys() == copy.deepcopy(student).state_dict().keys()


def test_a_teacher_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^loss\.teacher: .*/gone is not there; expected a checkpoint such as"):
        Teacher(tmp_path / "gone", network(), Distillation(), DESCRIPTION)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"empty: no checkpoint here"):
        Teacher(tmp_path / "empty", network(), Distillation(), DESCRIPTION)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("classes", ["bus", "car"], r"class list \['bus', 'car'\]; expected this run's, which is \['car', 'bus'\]"),
        ("encoder", {**ENCODER, "downsample": 1}, r"encoder .*'downsample': 1.*; expected this run's, .*: 2"),
    ],
)
def test_a_teacher_of_other_classes_or_another_encoder_is_one_sentence(
    name: str, value: Any, sentence: str, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "t", network(), **{name: value})
    with pytest.raises(CheckpointError, match=r"^loss\.teacher: .*" + sentence):
        Teacher(folder, network(), Distillation(), DESCRIPTION)


def test_a_teacher_of_another_frame_size_is_one_sentence(tmp_path: Path) -> None:
    teacher = Teacher(saved(tmp_path / "t", network()), network(), Distillation(), DESCRIPTION)
    teacher.check_frame((64, 64))
    with pytest.raises(CheckpointError, match=r"trained on frames of 64x64 px; expected this run's, which are 96x64"):
        teacher.check_frame((96, 64))


def test_a_larger_teacher_teaches_logits_but_no_features(tmp_path: Path) -> None:
    folder = saved(tmp_path / "t", network(width=0.06), width=0.06)
    with pytest.raises(ConfigError, match=r"feature_weight: the teacher's maps have .* channels, this model's"):
        Teacher(folder, network(), BOTH, DESCRIPTION)
    student = network()
    terms = Teacher(folder, student, Distillation(), DESCRIPTION)(frames(), student(frames()), [])
    assert float(terms.total.detach()) > 0


def test_the_share_of_the_time_that_the_teacher_takes_is_among_the_figures(tmp_path: Path) -> None:
    def terms(*arguments: Any) -> Any:
        return SimpleNamespace(total=torch.zeros(()), named=dict)

    class Fake:
        seconds = 1.5

        def to(self, device: torch.device) -> Fake:
            return self

        def watching(self, module: torch.nn.Module) -> Any:
            return nullcontext([])

        __call__ = staticmethod(terms)

    figures = World(train=3).fit(tmp_path / "taught", max_epochs=1, teacher=Fake())
    assert figures["teacher_share"] == pytest.approx(0.5)
    assert "teacher_share" not in World(train=3).fit(tmp_path / "alone", max_epochs=1)


def test_features_that_are_not_seen_are_an_error_and_not_a_term_that_is_left_out(tmp_path: Path) -> None:
    student = network().eval()
    teacher = Teacher(saved(tmp_path / "t", network()), student, BOTH, DESCRIPTION)
    with pytest.raises(ConfigError, match=r"feature_weight: found 1.0, but the network showed no maps"):
        teacher(frames(), student(frames()), [])


def test_a_teacher_of_other_windows_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = saved(tmp_path / "t", network(), windows={"time_steps": 8, "slice_duration_us": 100})
    ours = {**DESCRIPTION, "windows": {"time_steps": 8, "slice_duration_us": 100}}
    Teacher(folder, network(), BOTH, ours)
    assert not caplog.messages
    Teacher(folder, network(), BOTH, {**ours, "windows": {"time_steps": 1, "slice_duration_us": 80_000}})
    (said,) = caplog.messages
    assert said.endswith("was trained on windows of 8 × 100 µs, this run's are of 1 × 80000 µs")
