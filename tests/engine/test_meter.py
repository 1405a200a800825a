"""Running means of loss terms, and the watch for those that are not finite."""

from __future__ import annotations

import math

import pytest
import torch

from spikeyolo.engine.guards.meter import Look, LossMeter, NotFiniteError
from spikeyolo.engine.guards.recovery import Recovery, are_finite
from spikeyolo.engine.ranks import Ranks

CPU = torch.device("cpu")
NAN = math.nan


def added(meter: LossMeter, *values: float, first: int = 0) -> list[bool]:
    """Which of the steps were finite, of terms ``box`` and ``class``, which is twice the value."""
    return [
        bool(meter.add({"box": torch.tensor(value), "class": torch.tensor(2 * value)}, first + number))
        for number, value in enumerate(values)
    ]


def test_means_are_those_of_the_steps_that_had_the_term() -> None:
    meter = LossMeter(CPU)
    added(meter, 1.0, 2.0, 6.0)
    assert meter.means() == {"box": 3.0, "class": 6.0}
    for norm in (4.0, 6.0):
        meter.add({"gradient": torch.tensor(norm), "box": torch.tensor(3.0)}, 3)
    assert meter.means() == {"box": 3.0, "class": 6.0, "gradient": 5.0}


def test_a_step_that_is_not_finite_is_in_no_mean() -> None:
    meter = LossMeter(CPU)
    assert added(meter, 1.0, NAN, 5.0, math.inf) == [True, False, True, False]
    assert meter.means() == {"box": 3.0, "class": 6.0}
    other = LossMeter(CPU)
    assert added(other, NAN) == [False]
    assert other.means() == {}


def test_a_restored_meter_goes_on_where_it_stood() -> None:
    one, two = LossMeter(CPU), LossMeter(CPU)
    added(one, 1.0, NAN)
    two.restore(one.state())
    for meter in (one, two):
        meter.add({"box": torch.tensor(4.0), "gradient": torch.tensor(1.0)}, 1)
    assert one.means() == two.means() == {"box": 2.5, "class": 2.0, "gradient": 1.0}
    assert one.state() == two.state()


def test_a_look_tells_what_was_not_finite_since_the_one_before() -> None:
    meter = LossMeter(CPU, in_a_row=1)
    assert meter.look() == Look(0, 1, 1, "", -1)
    added(meter, NAN, 1.0, NAN, first=7)
    assert meter.look() == Look(skipped=2, in_a_row=1, longest=2, term="box", step=7)
    assert meter.look() == Look(0, 1, 1, "", -1)  # nothing is told twice
    added(meter, NAN, 1.0, first=10)
    assert meter.look() == Look(skipped=1, in_a_row=0, longest=2, term="box", step=10)
    added(meter, 1.0)
    assert meter.look() == Look(0, 0, 0, "", -1)


def test_the_first_term_that_is_not_finite_is_named_with_its_step() -> None:
    meter = LossMeter(CPU)
    meter.add({"box": torch.tensor(1.0), "dfl": torch.tensor(1.0)}, 41)
    meter.add({"box": torch.tensor(1.0), "dfl": torch.tensor(math.inf)}, 42)
    meter.add({"box": torch.tensor(NAN), "dfl": torch.tensor(NAN)}, 43)
    found = meter.look()
    assert (found.term, found.step, found.longest) == ("dfl", 42, 2)


def test_a_cpu_is_looked_at_each_step_and_another_device_from_time_to_time() -> None:
    meter = LossMeter(CPU)
    added(meter, 1.0)
    assert meter.is_due
    meter.check_every = 3
    due = [added(meter, 1.0) and meter.is_due for _ in range(5)]
    assert due == [False, True, False, False, True]


@pytest.mark.parametrize(
    ("found", "buffers", "enough"),
    [
        (Look(2, 2, 2, "box", 7), [torch.zeros(3)], True),
        (Look(9, 0, 2, "box", 7), [torch.zeros(3)], True),
        (Look(3, 0, 3, "box", 7), [torch.zeros(3)], False),
        (Look(1, 1, 1, "box", 7), [torch.zeros(3), torch.tensor([1.0, NAN])], False),
        (Look(0, 0, 0, "", -1), [torch.tensor([NAN])], True),  # nobody asks while all is well
    ],
)
def test_two_in_a_row_are_left_out_and_three_or_spoilt_statistics_are_not(
    found: Look, buffers: list[torch.Tensor], enough: bool
) -> None:
    recovery = Recovery(Ranks())
    if enough:
        recovery.judge(found, buffers)
    else:
        with pytest.raises(NotFiniteError, match="'box' is not finite at step 7"):
            recovery.judge(found, buffers)
    assert recovery.in_a_row == found.in_a_row
    assert recovery.is_wary == (found.skipped > 0)


def test_numbers_of_all_kinds_are_looked_at() -> None:
    assert are_finite([])
    assert are_finite([torch.tensor(3), torch.zeros(0), torch.ones(2, dtype=torch.float64)])
    assert not are_finite([torch.ones(2), torch.tensor([1.0, math.inf], dtype=torch.float64)])
    assert not are_finite([torch.tensor([-math.inf, 1.0])])
    assert not are_finite([torch.ones(2), torch.tensor(NAN)])
