"""Running means of loss terms, and the watch for those that are not finite."""

from __future__ import annotations

import pytest
import torch

from spikeyolo.engine.guards.meter import LossMeter
from spikeyolo.errors import TrainingError

CPU = torch.device("cpu")


def test_means_are_those_of_the_steps() -> None:
    meter = LossMeter(CPU)
    for step, value in enumerate([1.0, 2.0, 6.0]):
        meter.add({"box": torch.tensor(value), "class": torch.tensor(2 * value)}, step)
    assert meter.means() == {"box": 3.0, "class": 6.0}


def test_a_restored_meter_goes_on_where_it_stood() -> None:
    one, two = LossMeter(CPU), LossMeter(CPU)
    one.add({"box": torch.tensor(1.0)}, 0)
    two.restore(one.state())
    for meter in (one, two):
        meter.add({"box": torch.tensor(4.0)}, 1)
    assert one.means() == two.means() == {"box": 2.5}


def test_the_first_term_that_is_not_finite_is_named_with_its_step() -> None:
    meter = LossMeter(CPU)
    meter.check_every = 10  # as on a device that must not be waited for
    meter.add({"box": torch.tensor(1.0), "dfl": torch.tensor(1.0)}, 41)
    meter.add({"box": torch.tensor(1.0), "dfl": torch.tensor(float("inf"))}, 42)
    meter.add({"box": torch.tensor(float("nan")), "dfl": torch.tensor(float("nan"))}, 43)
    with pytest.raises(TrainingError, match="'dfl' is not finite at step 42"):
        meter.check()


def test_a_cpu_looks_at_every_step() -> None:
    with pytest.raises(TrainingError, match="'box' is not finite at step 7"):
        LossMeter(CPU).add({"box": torch.tensor(float("nan"))}, 7)
