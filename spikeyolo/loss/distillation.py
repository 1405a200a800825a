"""Distillation: what a network still has to learn of another one that looks at the same frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn import functional

from spikeyolo.errors import ConfigError
from spikeyolo.loss.precision import wide
from spikeyolo.loss.shared import Alone, Sharing
from spikeyolo.model.norm import moments
from spikeyolo.model.predictions import Predictions


@dataclass(frozen=True, eq=False)
class DistillationTerms:
    """What a batch cost beside the labels; all are float32 scalars, weighted.

    Attributes:
        total: the sum, to be differentiated.
        box, classification: detached.
        features: detached; None where they are not compared.
    """

    total: Tensor
    box: Tensor
    classification: Tensor
    features: Tensor | None = None

    def named(self) -> dict[str, Tensor]:
        """The terms by the names they are logged under."""
        terms = {"teacher_box": self.box, "teacher_class": self.classification}
        return terms if self.features is None else terms | {"teacher_features": self.features}


class Distillation:
    """Divergence of a student's predictions from a teacher's; zero, with a gradient of zero, where they are equal.

    With ``c`` the teacher's confidence at an anchor point (its highest class probability) and N the sum of c over all
    time steps, windows and anchor points, at least one a time step and window:

    - class: ``Σ KL(teacher ‖ student) / N``, a Bernoulli distribution for each class (arXiv 1503.02531);
    - box: ``Σ c · KL(teacher ‖ student) / N``, the mean over the four sides' distributions (arXiv 2102.12252);
    - features: the mean squared difference of the neck's maps, each channel with mean 0 and variance 1, which is
      1 − the correlation, times 2 (arXiv 2207.02039): a student may have another scale than its teacher.

    Where several processes share a batch (``sharing``), counts and moments are those of the whole batch, and each
    process gives its share of every term.

    Args:
        class_weight, box_weight, feature_weight: factors of the terms; features are compared where theirs is not 0.
    """

    def __init__(
        self,
        *,
        class_weight: Annotated[float, Ge(0)] = 1.0,
        box_weight: Annotated[float, Ge(0)] = 1.0,
        feature_weight: Annotated[float, Ge(0)] = 0.0,
    ) -> None:
        self.class_weight = class_weight
        self.box_weight = box_weight
        self.feature_weight = feature_weight
        self.sharing: Sharing = Alone()

    def __call__(
        self,
        student: Predictions,
        teacher: Predictions,
        student_features: Sequence[Tensor] = (),
        teacher_features: Sequence[Tensor] = (),
    ) -> DistillationTerms:
        """Compute in float32 (float64 for float64), autocast or not.

        Args:
            student, teacher: of the same frames.
            student_features, teacher_features: maps ``[T, B, C, H, W]``, the same levels of both; none where
                ``feature_weight`` is 0.
        """
        with torch.autocast(student.class_logits.device.type, enabled=False):
            goal, found = wide(teacher.class_logits.detach()), wide(student.class_logits)
            confidence = goal.sigmoid().amax(-1)  # [T, B, A]
            floor = confidence.new_tensor(confidence.shape[0] * confidence.shape[1])
            count = torch.maximum(self.sharing.sum(confidence.sum()), self.sharing.sum(floor))
            classification = self.class_weight * _bernoulli_divergence(goal, found).sum() / count
            bins = [wide(logits).log_softmax(-1) for logits in (teacher.box_logits.detach(), student.box_logits)]
            sides = (bins[0].exp() * (bins[0] - bins[1])).sum(-1).mean(-1)  # [T, B, A]
            box = self.box_weight * (confidence * sides).sum() / count
            total, features = classification + box, None
            if self.feature_weight and not student_features:
                raise ConfigError(
                    f"loss.distillation.feature_weight: found {self.feature_weight}, but the network showed no maps to "
                    "compare; expected 0"
                )
            if student_features:
                pairs = zip(student_features, teacher_features, strict=True)
                differences = [self._difference(a, b) for a, b in pairs]
                features = self.feature_weight * torch.stack(differences).mean()
                total = total + features
        return DistillationTerms(
            total, box.detach(), classification.detach(), None if features is None else features.detach()
        )

    def _difference(self, student: Tensor, teacher: Tensor) -> Tensor:
        """This process's share of the mean squared difference."""
        squares = (self._standardised(wide(student)) - self._standardised(wide(teacher.detach()))).square()
        return squares.sum() / self.sharing.sum(squares.new_tensor(squares.numel()))

    def _standardised(self, maps: Tensor) -> Tensor:
        mean, variance, _ = moments(maps.flatten(0, 1), synchronised=self.sharing.world > 1)
        return (maps - mean.view(-1, 1, 1)) * torch.rsqrt(variance + 1e-6).view(-1, 1, 1)


def _bernoulli_divergence(goal: Tensor, found: Tensor) -> Tensor:
    """KL of two Bernoulli distributions, from the logits of both."""
    on, off = functional.logsigmoid(goal), functional.logsigmoid(-goal)
    return on.exp() * (on - functional.logsigmoid(found)) + off.exp() * (off - functional.logsigmoid(-found))


def check_features(student: Sequence[int], teacher: Sequence[int]) -> None:
    """Refuse maps that cannot be compared channel by channel.

    Args:
        student, teacher: channels of the neck's maps.

    Raises:
        ConfigError: they are not the same.
    """
    if tuple(student) != tuple(teacher):
        raise ConfigError(
            f"loss.distillation.feature_weight: the teacher's maps have {', '.join(map(str, teacher))} channels, this "
            f"model's {', '.join(map(str, student))}; expected a teacher of the same model size, or 0"
        )
