"""Learning rates over training."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.engine.update.schedule import CosineSchedule, CyclicSchedule, Schedule, StepSchedule
from spikeyolo.errors import ConfigError

SCHEDULES = [StepSchedule(), CosineSchedule(), CyclicSchedule(max_lr=0.05), CyclicSchedule()]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@given(progress=st.floats(0, 1))
def test_a_learning_rate_is_positive_and_never_above_its_peak(schedule: Schedule, progress: float) -> None:
    lr = 0.01 * schedule.factor(progress, base_lr=0.01, max_epochs=20)
    peak = 0.05 if isinstance(schedule, CyclicSchedule) and schedule.max_lr else 0.03
    assert 0 < lr <= (peak if isinstance(schedule, CyclicSchedule) else 0.01) * (1 + 1e-12)


@pytest.mark.parametrize("kind", [StepSchedule, CosineSchedule, CyclicSchedule])
def test_warm_up_rises_linearly_from_its_start(kind: type[Schedule]) -> None:
    warm, plain = kind(warmup_epochs=2.0, warmup_start=0.1), kind(warmup_epochs=0.0, warmup_start=0.1)
    for progress, share in ((0.0, 0.1), (0.05, 0.55), (0.1, 1.0), (0.4, 1.0)):
        expected = share * plain.factor(progress, base_lr=0.01, max_epochs=20)
        assert warm.factor(progress, base_lr=0.01, max_epochs=20) == pytest.approx(expected)


def test_warm_up_takes_at_most_half_of_a_short_training() -> None:
    schedule = CosineSchedule(warmup_epochs=10.0, warmup_start=0.0)
    plain = CosineSchedule(warmup_epochs=0.0)
    at = 0.5
    assert schedule.factor(at, base_lr=1.0, max_epochs=2) == plain.factor(at, base_lr=1.0, max_epochs=2)
    assert schedule.factor(0.25, base_lr=1.0, max_epochs=2) < plain.factor(0.25, base_lr=1.0, max_epochs=2)


def test_the_three_curves_go_where_they_say() -> None:
    step = StepSchedule(milestones=[0.5, 0.75], gamma=0.1, warmup_epochs=0)
    rates = [step.factor(p, base_lr=1.0, max_epochs=1) for p in (0.49, 0.5, 0.75, 1.0)]
    assert rates == pytest.approx([1.0, 0.1, 0.01, 0.01])
    cosine = CosineSchedule(final_share=0.1, warmup_epochs=0)
    rates = [cosine.factor(p, base_lr=2.0, max_epochs=1) for p in (0.0, 0.5, 1.0)]
    assert rates == pytest.approx([1.0, 0.55, 0.1])  # of each group's own rate
    cyclic = CyclicSchedule(max_lr=0.5, rise=0.25, final_share=0.2, warmup_epochs=0)
    rates = [cyclic.factor(p, base_lr=0.1, max_epochs=1) for p in (0.0, 0.25, 1.0)]
    assert rates == pytest.approx([1.0, 5.0, 0.2])


def test_milestones_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"scheduler.milestones: found \[0.8, 0.2\]"):
        StepSchedule(milestones=[0.8, 0.2])
