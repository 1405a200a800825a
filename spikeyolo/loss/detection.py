"""The detection loss: task-aligned assignment, CIoU, distribution focal loss, focal or plain cross-entropy, and for
tracking a contrast of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor
from torch.nn import functional

from spikeyolo.loss.assign import Assigner, Assignment, TaskAlignedAssigner
from spikeyolo.loss.atss import AtssAssigner
from spikeyolo.loss.class_weights import ClassWeights, check_class_names, class_weights
from spikeyolo.loss.classification import quality_focal, varifocal
from spikeyolo.loss.distillation import Distillation
from spikeyolo.loss.embedding import track_contrast
from spikeyolo.loss.firing_rate import FiringRate
from spikeyolo.loss.overlap import complete_iou, distance_iou, generalized_iou, iou
from spikeyolo.loss.precision import wide
from spikeyolo.loss.shared import Alone, Sharing
from spikeyolo.loss.simota import SimOtaAssigner
from spikeyolo.model.decode import decode_boxes
from spikeyolo.model.predictions import Predictions
from spikeyolo.windows.batch import Targets

_OVERLAPS = {"iou": iou, "giou": generalized_iou, "diou": distance_iou, "ciou": complete_iou}


@dataclass(frozen=True, eq=False)
class LossTerms:
    """What a batch cost, and why; all are scalars on the device of the predictions.

    Attributes:
        total: float32, the sum of the terms, to be differentiated.
        box, classification, dfl: float32, weighted, detached.
        num_positives: int64, how many cells answered for a box.
        track: float32, weighted, detached; None where the network gives no embeddings.
    """

    total: Tensor
    box: Tensor
    classification: Tensor
    dfl: Tensor
    num_positives: Tensor
    track: Tensor | None = None

    def named(self) -> dict[str, Tensor]:
        """The terms by the names they are logged under."""
        terms = {"box": self.box, "class": self.classification, "dfl": self.dfl}
        return terms if self.track is None else terms | {"track": self.track}


class DetectionLoss:
    """Compares each time step's predictions with the boxes known at that step.

    Anchor points are assigned by :class:`TaskAlignedAssigner`, which gives every positive a target score ``q``: the
    overlap that its box has reached at the best of its anchor points, less at the others. Then, with sums over
    supervised steps:

    - box: ``Σ q (1 − CIoU) / Σ q`` (or another overlap); dfl: ``Σ q · DFL / Σ q`` (arXiv 2006.04388), both over
      positives;
    - track: where the network gives embeddings, :func:`track_contrast` of those at the boxes' best anchor points;
    - class: ``Σ w · |y − p|^gamma · BCE(p, y) / N`` over all anchor points and classes, the quality focal loss of
      the same paper with ``w = y + (1 − y)(1 − alpha) / alpha``; with ``classification="bce"`` both factors are 1,
      with ``"varifocal"`` those of :func:`varifocal`. With ``class_weights`` a positive's terms are multiplied by the
      weight of its box's class.

    The target score ``y`` of class k at a positive is ``q · ((1 − label_smoothing) · [k is the box's class]
    + label_smoothing / K)``, and 0 everywhere else: smoothing spreads an object's score over the classes, and never
    promises one to the background. With one class it changes nothing.

    N is ``Σ q`` (``normalisation="scores"``) or the number of positives (``"positives"``), but at least the
    number of supervised steps, so that a batch with few boxes or none costs no more a step than its anchor points do.

    Where several processes share a batch (``sharing``), all counts are those of the whole batch, and each process gives
    its share of every term: terms and gradients are to be summed over processes.

    Args:
        box_weight, class_weight, dfl_weight, track_weight: factors of the terms.
        overlap: of boxes, in the box term.
        classification: quality focal, varifocal or plain binary cross-entropy.
        focal_alpha: positives weigh ``focal_alpha`` to the background's ``1 - focal_alpha``. Only the ratio
            counts (positives weigh 1), so that a small value does not also slow the class branch down.
        focal_gamma: how strongly anchor points that are nearly right are weighted down; 0 does not.
        label_smoothing: share of a score that is spread over all classes.
        normalisation: what N counts.
        class_weights: of positives, by class name, or how to take them from the training labels' counts; None: all 1.
        effective_beta: of ``class_weights="effective_number"``.
        assigner: which anchor points are positives: :class:`TaskAlignedAssigner`, :class:`AtssAssigner` or
            :class:`SimOtaAssigner`.
        assign_top: the most positives of one box (not of ATSS, which takes 9 candidates a level).
        assign_alpha, assign_beta: exponents of probability and overlap in the task alignment.
        track_temperature: of the similarities that the track term compares.
        teacher: checkpoint folder of a trained network to learn from beside the labels; None for none.
        distillation: how; None takes :class:`Distillation`'s own values.
        firing_rate: what spikes cost beside the detection; None takes :class:`FiringRate`'s own values: nothing.
    """

    def __init__(
        self,
        *,
        box_weight: Annotated[float, Ge(0)] = 5.0,
        class_weight: Annotated[float, Ge(0)] = 1.0,
        dfl_weight: Annotated[float, Ge(0)] = 1.5,
        track_weight: Annotated[float, Ge(0)] = 1.0,
        overlap: Literal["iou", "giou", "diou", "ciou"] = "ciou",
        classification: Literal["focal", "varifocal", "bce"] = "focal",
        focal_alpha: Annotated[float, Interval(gt=0, lt=1)] = 0.25,
        focal_gamma: Annotated[float, Ge(0)] = 2.0,
        label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.1,
        normalisation: Literal["scores", "positives"] = "scores",
        class_weights: ClassWeights | None = None,
        effective_beta: Annotated[float, Interval(gt=0, lt=1)] = 0.999,
        assigner: Literal["task_aligned", "atss", "simota"] = "task_aligned",
        assign_top: Annotated[int, Ge(1)] = 10,
        assign_alpha: Annotated[float, Ge(0)] = 0.5,
        assign_beta: Annotated[float, Ge(0)] = 6.0,
        track_temperature: Annotated[float, Gt(0)] = 0.1,
        teacher: str | None = None,
        distillation: Distillation | None = None,
        firing_rate: FiringRate | None = None,
    ) -> None:
        self.box_weight = box_weight
        self.class_weight = class_weight
        self.dfl_weight = dfl_weight
        self.track_weight = track_weight
        self.track_temperature = track_temperature
        self.overlap = _OVERLAPS[overlap]
        self.classification = classification
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma
        self.label_smoothing = label_smoothing
        self.normalisation = normalisation
        self.teacher = teacher
        self.sharing: Sharing = Alone()
        self.distillation = distillation or Distillation()
        self.firing_rate = firing_rate or FiringRate()
        self.class_weights = class_weights
        self.effective_beta = effective_beta
        self.assign: Assigner = TaskAlignedAssigner(top=assign_top, alpha=assign_alpha, beta=assign_beta)
        if assigner == "atss":
            self.assign = AtssAssigner()
        elif assigner == "simota":
            self.assign = SimOtaAssigner(top=assign_top)
        self._weights: Tensor | None = None  # [K] of classes

    def check_classes(self, classes: Sequence[str]) -> None:
        """Refuse a weight for a class that is not learnt.

        Raises:
            ConfigError: names it.
        """
        check_class_names(self.class_weights, classes)

    def weigh_classes(self, classes: Sequence[str], counts: Sequence[int], device: torch.device) -> None:
        """Settle the classes' weights, where ``class_weights`` asks for any, before the first batch.

        Args:
            classes: names, in the order of class ids.
            counts: boxes of each class in the training recordings.
            device: of the predictions.

        Raises:
            ConfigError: a weight for a class that is not learnt.
        """
        if self.class_weights is not None:
            weights = class_weights(self.class_weights, classes, counts, beta=self.effective_beta)
            self._weights = weights.to(device)

    def __call__(self, predictions: Predictions, targets: Targets) -> LossTerms:
        """Compute the loss in float32 (float64 for float64), autocast or not.

        Args:
            predictions: of T time steps and B windows.
            targets: on the same device; boxes of steps that are not supervised are ignored.
        """
        with torch.autocast(predictions.class_logits.device.type, enabled=False):
            return self._terms(predictions, targets)

    def _terms(self, predictions: Predictions, targets: Targets) -> LossTerms:
        B = predictions.class_logits.shape[1]
        box_logits = predictions.box_logits.flatten(0, 1)  # [I, A, 4, R], I = T·B images
        class_logits = wide(predictions.class_logits.flatten(0, 1))  # [I, A, K]
        supervised = targets.supervised.flatten()  # [I]
        image = targets.time_step * B + targets.batch_index  # [M]
        if len(targets) == 0:
            target_scores = torch.zeros_like(class_logits)
            none = supervised.new_zeros((), dtype=torch.int64)
            steps, score, positives = self._counts(supervised.sum(), class_logits.new_zeros(()), none)
            classification = self._class_term(class_logits, target_scores, supervised, None)
            classification = classification / torch.maximum(self._counted(score, positives), steps.clamp_min(1))
            # a zero that depends on the box branch, so that its gradient is zero and not absent
            nothing = wide(box_logits[:0].sum())
            track = None
            if predictions.embedding is not None:
                nobody = predictions.embedding.flatten(0, 2)[:0]
                track = self._contrast(nobody, targets, targets.supervised.new_zeros(0))
            return self._weighted(nothing, classification, nothing, track, none)

        with torch.no_grad():
            predicted = decode_boxes(box_logits, predictions.points, predictions.strides)
            assignment = self.assign(
                class_logits=class_logits,
                predicted=predicted,
                points=predictions.points,
                strides=predictions.strides,
                image=image,
                xyxy=targets.xyxy.to(class_logits.dtype),
                class_id=targets.class_id,
                known=supervised[image],
            )
            target_scores = self._target_scores(class_logits, image, targets.class_id, assignment)
            weights = self._anchor_weights(class_logits, image, targets.class_id, assignment)
            num_positives = assignment.positive.sum()
            steps, score, positives = self._counts(supervised.sum(), assignment.score.sum(), num_positives)
        box, dfl = self._box_terms(box_logits, predictions, image, targets.xyxy.to(class_logits.dtype), assignment)
        classification = self._class_term(class_logits, target_scores, supervised, weights)
        classification = classification / torch.maximum(self._counted(score, positives), steps.clamp_min(1))
        floor = score.clamp_min(1)
        track = self._track_term(predictions, targets, image, assignment)
        return self._weighted(box / floor, classification, dfl / floor, track, num_positives)

    def _counts(self, *own: Tensor) -> tuple[Tensor, ...]:
        """Numbers of the whole batch, from those of this process's windows."""
        if self.sharing.world == 1:
            return own
        joint = self.sharing.sum(torch.stack([count.double() for count in own]))
        return tuple(total.to(count.dtype) for total, count in zip(joint, own, strict=True))

    def _counted(self, score: Tensor, positives: Tensor) -> Tensor:
        return score if self.normalisation == "scores" else positives

    def _weighted(
        self, box: Tensor, classification: Tensor, dfl: Tensor, track: Tensor | None, num_positives: Tensor
    ) -> LossTerms:
        box, classification, dfl = self.box_weight * box, self.class_weight * classification, self.dfl_weight * dfl
        track = None if track is None else self.track_weight * track
        total = box + classification + dfl
        return LossTerms(
            total=total if track is None else total + track,
            box=box.detach(),
            classification=classification.detach(),
            dfl=dfl.detach(),
            num_positives=num_positives,
            track=None if track is None else track.detach(),
        )

    def _track_term(
        self, predictions: Predictions, targets: Targets, image: Tensor, assignment: Assignment
    ) -> Tensor | None:
        if predictions.embedding is None:
            return None
        score, best = assignment.score.max(dim=1)
        anchor = assignment.anchor.gather(1, best.unsqueeze(1)).squeeze(1)
        return self._contrast(predictions.embedding.flatten(0, 1)[image, anchor], targets, score > 0)

    def _contrast(self, embedding: Tensor, targets: Targets, positive: Tensor) -> Tensor:
        """Every process compares the boxes of all, and gives its part of the one term that they all find."""
        sharing = self.sharing
        term = track_contrast(
            sharing.rows(embedding),
            recording=sharing.rows(targets.recording),
            track_id=sharing.rows(targets.track_id),
            positive=sharing.rows(positive),
            temperature=self.track_temperature,
        )
        return term / sharing.world

    def _target_scores(self, class_logits: Tensor, image: Tensor, class_id: Tensor, assignment: Assignment) -> Tensor:
        """The target score of each anchor point and class, ``[I, A, K]``."""
        images, anchors, classes = class_logits.shape
        slot = (image.unsqueeze(-1) * anchors + assignment.anchor).flatten()
        # an anchor point belongs to one box at most and the rest add zero, so the order of additions is of no account
        score = class_logits.new_zeros(images * anchors).index_add_(0, slot, assignment.score.flatten())
        target_scores = (score.unsqueeze(-1) * (self.label_smoothing / classes)).repeat(1, classes)
        column = class_id.repeat_interleave(assignment.anchor.shape[1])
        target_scores.view(-1).index_add_(
            0, slot * classes + column, assignment.score.flatten() * (1 - self.label_smoothing)
        )
        return target_scores.view_as(class_logits)

    def _anchor_weights(
        self, class_logits: Tensor, image: Tensor, class_id: Tensor, assignment: Assignment
    ) -> Tensor | None:
        """``[I, A]``: the weight of the class of the box that an anchor point answers for, 1 on the background."""
        if self._weights is None:
            return None
        images, anchors, _ = class_logits.shape
        slot = (image.unsqueeze(-1) * anchors + assignment.anchor).flatten()
        more = ((self._weights[class_id] - 1).unsqueeze(-1) * assignment.positive).flatten()
        return (1 + class_logits.new_zeros(images * anchors).index_add_(0, slot, more.to(class_logits.dtype))).view(
            images, anchors
        )

    def _class_term(
        self, class_logits: Tensor, target_scores: Tensor, supervised: Tensor, weights: Tensor | None
    ) -> Tensor:
        if self.classification == "bce":
            loss = functional.binary_cross_entropy_with_logits(class_logits, target_scores, reduction="none")
        else:
            focal = quality_focal if self.classification == "focal" else varifocal
            loss = focal(class_logits, target_scores, alpha=self.focal_alpha, gamma=self.focal_gamma)
        if weights is not None:
            loss = loss * weights.unsqueeze(-1)
        return (loss.sum((1, 2)) * supervised).sum()

    def _box_terms(
        self, box_logits: Tensor, predictions: Predictions, image: Tensor, xyxy: Tensor, assignment: Assignment
    ) -> tuple[Tensor, Tensor]:
        """Sums over positives of ``q (1 − CIoU)`` and ``q · DFL``."""
        logits = wide(box_logits[image.unsqueeze(-1), assignment.anchor])  # [M, P, 4, R]
        points, strides = predictions.points[assignment.anchor], predictions.strides[assignment.anchor]
        goal = xyxy.unsqueeze(1)
        # multiplied, not selected: a box that is not a number must show in the sum
        box = (assignment.score * (1 - self.overlap(decode_boxes(logits, points, strides), goal))).sum()
        distances = torch.cat((points - goal[..., :2], goal[..., 2:] - points), -1) / strides.unsqueeze(-1)
        dfl = (assignment.score * distribution_focal(logits, distances)).sum()
        return box, dfl


def distribution_focal(logits: Tensor, distances: Tensor) -> Tensor:
    """Distribution focal loss (arXiv 2006.04388, equation 6), the mean over the four sides.

    Args:
        logits: ``[..., 4, R]``.
        distances: ``[..., 4]`` in bins; those outside 0..R-1 count as the nearest bin.

    Returns:
        ``[...]``.
    """
    last = logits.shape[-1] - 1
    distances = distances.clamp(0, last)
    left = distances.floor().clamp_max(last - 1)
    weight = distances - left
    log_probability = logits.log_softmax(-1)
    index = left.long().unsqueeze(-1)
    lower = log_probability.gather(-1, index).squeeze(-1)
    upper = log_probability.gather(-1, index + 1).squeeze(-1)
    return -((1 - weight) * lower + weight * upper).mean(-1)
