"""Class weights: given or from counts, and what they do to the loss."""

from __future__ import annotations

import pytest
import torch
from test_loss_detection import random_predictions, random_targets

from spikeyolo.errors import ConfigError
from spikeyolo.loss import DetectionLoss
from spikeyolo.loss.class_weights import class_weights

CLASSES = ["car", "bus", "van"]


def test_given_weights_are_by_name_and_the_rest_weigh_one() -> None:
    found = class_weights({"van": 3.0, "car": 0.5}, CLASSES, [1, 1, 1], beta=0.9)
    assert found.tolist() == [0.5, 1.0, 3.0]


def test_rare_classes_weigh_more_with_a_mean_of_one() -> None:
    found = class_weights("inverse_frequency", CLASSES, [100, 25, 100], beta=0.9)
    assert found.tolist() == pytest.approx([0.5, 2.0, 0.5])
    found = class_weights("effective_number", CLASSES[:2], [1, 2], beta=0.5)  # 1 / 1 and 1 / 1.5
    assert found.tolist() == pytest.approx([1.2, 0.8])


def test_the_effective_number_lies_between_equal_weights_and_the_inverse_frequency() -> None:
    counts = [1000, 10, 100]
    equal = class_weights("effective_number", CLASSES, counts, beta=1e-9)
    assert equal.tolist() == pytest.approx([1.0, 1.0, 1.0])
    near = class_weights("effective_number", CLASSES, counts, beta=1 - 1e-9)
    inverse = class_weights("inverse_frequency", CLASSES, counts, beta=0.5)
    torch.testing.assert_close(near, inverse, rtol=1e-3, atol=0)


def test_a_class_without_boxes_weighs_one_and_changes_no_other() -> None:
    found = class_weights("inverse_frequency", CLASSES, [10, 0, 10], beta=0.9)
    assert found.tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_a_weight_for_a_class_that_is_not_learnt_is_refused_by_name() -> None:
    loss = DetectionLoss(class_weights={"bike": 2.0})
    with pytest.raises(
        ConfigError, match=r"^loss.class_weights: found bike, which is no class; expected car, bus, van$"
    ):
        loss.check_classes(CLASSES)
    with pytest.raises(ConfigError, match=r"found bike"):
        loss.weigh_classes(CLASSES, [1, 1, 1], torch.device("cpu"))


def test_weights_with_which_no_class_is_learnt_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^loss.class_weights: found 0 for every class; expected at least one"):
        DetectionLoss(class_weights=dict.fromkeys(CLASSES, 0.0)).check_classes(CLASSES)
    DetectionLoss(class_weights={"car": 0.0, "bus": 0.0}).check_classes(CLASSES)  # vans are
    DetectionLoss(class_weights={}).check_classes([])


@pytest.mark.parametrize("classification", ["focal", "varifocal", "bce"])
def test_weights_multiply_the_terms_of_their_classes_positives_and_nothing_else(classification: str) -> None:
    predictions, targets = random_predictions(3), random_targets(3)
    terms = []
    for car in (1.0, 2.0, 3.0):
        loss = DetectionLoss(classification=classification, class_weights={"car": car})  # type: ignore[arg-type]
        loss.weigh_classes(CLASSES, [1, 1, 1], torch.device("cpu"))
        terms.append(loss(predictions, targets))
    plain = DetectionLoss(classification=classification)(predictions, targets)  # type: ignore[arg-type]
    assert torch.equal(terms[0].total, plain.total)
    assert float(terms[1].classification) > float(terms[0].classification)
    first, second = (float(terms[i + 1].classification - terms[i].classification) for i in (0, 1))
    assert first == pytest.approx(second, rel=1e-3)
    assert float(terms[2].box) == float(plain.box)
