"""Learning rates over training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.engine.update.schedule import (
    ConstantSchedule,
    CosineSchedule,
    CyclicSchedule,
    PlateauSchedule,
    Schedule,
    StepSchedule,
    TriangularSchedule,
)
from spikeyolo.errors import ConfigError

KINDS = [ConstantSchedule, StepSchedule, CosineSchedule, CyclicSchedule, TriangularSchedule, PlateauSchedule]
PEAKS = {CyclicSchedule: 3.0, TriangularSchedule: 3.0}
SCHEDULES = [*(kind() for kind in KINDS), StepSchedule(every_epochs=3), CyclicSchedule(max_lr=0.03)]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@given(progress=st.floats(0, 1))
def test_a_learning_rate_is_positive_and_never_above_its_peak(schedule: Schedule, progress: float) -> None:
    lr = 0.01 * schedule.factor(progress, base_lr=0.01, max_epochs=20)
    assert 0 < lr <= 0.01 * PEAKS.get(type(schedule), 1.0) * (1 + 1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_the_peak_is_the_highest_factor_also_after_a_warm_up(schedule: Schedule) -> None:
    expected = PEAKS.get(type(schedule), 1.0)
    for name, value in (("warmup_epochs", 0.0), ("warmup_epochs", 2.0), ("warmup_steps", 40)):
        warm = copy(schedule)
        setattr(warm, name, value)
        found = warm.peak(base_lr=0.01, max_epochs=20)
        assert found == pytest.approx(expected, rel=0.03)
        assert found <= expected * (1 + 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_warm_up_rises_linearly_from_its_start(kind: type[Schedule]) -> None:
    warm, plain = kind(warmup_epochs=2.0, warmup_start=0.1), kind(warmup_epochs=0.0, warmup_start=0.1)
    for progress, share in ((0.0, 0.1), (0.05, 0.55), (0.1, 1.0), (0.4, 1.0)):
        expected = share * plain.factor(progress, base_lr=0.01, max_epochs=20)
        assert warm.factor(progress, base_lr=0.01, max_epochs=20) == pytest.approx(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_warm_up_in_steps_counts_updates_multiplies_the_curve_and_takes_at_most_half(kind: type[Schedule]) -> None:
    warm = kind(warmup_steps=40, warmup_start=0.2, warmup_epochs=9.0)  # which then do not count
    plain = kind(warmup_epochs=0.0)
    for steps, at_half in ((1000, 20), (60, 15)):
        for step, share in ((0, 0.2), (at_half, 0.6), (2 * at_half, 1.0), (steps - 1, 1.0)):
            progress = step / steps
            found = warm.factor(progress, base_lr=0.01, max_epochs=20, step=step, max_steps=steps)
            assert found == pytest.approx(share * plain.factor(progress, base_lr=0.01, max_epochs=20))


def test_warm_up_takes_at_most_half_of_a_short_training() -> None:
    schedule = CosineSchedule(warmup_epochs=10.0, warmup_start=0.0)
    plain = CosineSchedule(warmup_epochs=0.0)
    at = 0.5
    assert schedule.factor(at, base_lr=1.0, max_epochs=2) == plain.factor(at, base_lr=1.0, max_epochs=2)
    assert schedule.factor(0.25, base_lr=1.0, max_epochs=2) < plain.factor(0.25, base_lr=1.0, max_epochs=2)


def test_the_curves_go_where_they_say() -> None:
    step = StepSchedule(milestones=[0.5, 0.75], gamma=0.1, warmup_epochs=0)
    rates = [step.factor(p, base_lr=1.0, max_epochs=1) for p in (0.49, 0.5, 0.75, 1.0)]
    assert rates == pytest.approx([1.0, 0.1, 0.01, 0.01])
    cosine = CosineSchedule(final_share=0.1, warmup_epochs=0)
    rates = [cosine.factor(p, base_lr=2.0, max_epochs=1) for p in (0.0, 0.5, 1.0)]
    assert rates == pytest.approx([1.0, 0.55, 0.1])  # of each group's own rate
    cyclic = CyclicSchedule(max_lr=0.5, rise=0.25, final_share=0.2, warmup_epochs=0)
    rates = [cyclic.factor(p, base_lr=0.1, max_epochs=1) for p in (0.0, 0.25, 1.0)]
    assert rates == pytest.approx([1.0, 5.0, 0.2])
    constant = ConstantSchedule(warmup_epochs=0)
    assert [constant.factor(p, base_lr=1.0, max_epochs=9) for p in (0.0, 0.7, 1.0)] == [1.0, 1.0, 1.0]
    triangular = TriangularSchedule(max_lr=0.5, cycles=2, shrink=0.5)
    rates = [triangular.factor(p, base_lr=0.1, max_epochs=1) for p in (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)]
    assert rates == pytest.approx([1.0, 3.0, 5.0, 1.0, 3.0, 1.0])


def test_a_step_every_so_many_epochs_comes_with_the_first_batch_of_an_epoch() -> None:
    schedule = StepSchedule(every_epochs=3, gamma=0.5, warmup_epochs=0)
    batches = 7
    for epoch in range(10):
        for batch in (0, 6):
            progress = (epoch * batches + batch) / (10 * batches)
            assert schedule.factor(progress, base_lr=1.0, max_epochs=10) == 0.5 ** (epoch // 3)


@given(
    figures=st.lists(st.sampled_from([0.1, 0.2, 0.2001, 0.3, 0.5]), min_size=1, max_size=40),
    patience=st.integers(0, 3),
    cooldown=st.integers(0, 2),
)
def test_a_plateau_is_what_torch_calls_one(figures: Sequence[float], patience: int, cooldown: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    oracle = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=patience, threshold=0.001, cooldown=cooldown, min_lr=0.1
    )
    schedule = PlateauSchedule(
        gamma=0.5, patience=patience, threshold=0.001, cooldown=cooldown, final_share=0.1, warmup_epochs=0
    )
    for figure in figures:
        oracle.step(figure)
        schedule.after_epoch(figure)
        assert schedule.factor(0.5, base_lr=1.0, max_epochs=9) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_a_plateau_waits_for_the_first_figure_above_zero_and_leaves_out_undefined_ones() -> None:
    schedule = PlateauSchedule(patience=1, gamma=0.5, warmup_epochs=0)
    for figure in (0.0, 0.0, 0.0, math.nan, 0.4, math.nan, 0.3, math.nan):
        schedule.after_epoch(figure)
        assert schedule.share == 1.0
    schedule.after_epoch(0.3)
    assert schedule.share == 0.5


def test_a_plateau_goes_on_where_it_was_saved_and_forgets_figures_of_another_measurement() -> None:
    first, second = PlateauSchedule(patience=1), PlateauSchedule(patience=1)
    for figure in (0.5, 0.4):
        first.after_epoch(figure)
    second.load_state_dict(first.state_dict())
    second.load_state_dict({})  # of a run with another schedule: nothing is taken over
    for schedule in (first, second):
        schedule.after_epoch(0.3)
    assert first.state_dict() == second.state_dict()
    assert first.share == 0.3
    first.forget()
    for figure in (0.1, 0.1):
        first.after_epoch(figure)
    assert first.share == 0.3  # 0.1 is the best there is now, and one epoch without a better is borne


def test_milestones_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"scheduler.milestones: found \[0.8, 0.2\]"):
        StepSchedule(milestones=[0.8, 0.2])
