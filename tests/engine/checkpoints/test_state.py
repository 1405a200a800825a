"""A run's state is named components: what one version saves, another loads."""

from __future__ import annotations

from typing import Any

import pytest

from spikeyolo.engine.checkpoints.state import Position, TrainingState


class Component:
    def __init__(self, value: int) -> None:
        self.value = value

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}

    def load_state_dict(self, state_dict: Any) -> None:
        self.value = state_dict["value"]


def test_parts_return_by_name() -> None:
    saved = TrainingState(one=Component(1), two=Component(2)).state_dict()
    one, two = Component(0), Component(0)
    TrainingState(two=two, one=one).load_state_dict(saved)
    assert (one.value, two.value) == (1, 2)


def test_a_part_that_an_older_checkpoint_lacks_keeps_its_start_and_a_surplus_one_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    new = Component(7)
    with caplog.at_level("INFO"):
        TrainingState(new=new).load_state_dict({"gone": {"value": 1}})
    assert new.value == 7
    assert caplog.messages == ["not used of the checkpoint: gone"]


def test_a_position_takes_what_it_knows() -> None:
    position = Position()
    position.load_state_dict({"epoch": 3, "batch": 2, "of_a_later_version": 1})
    assert (position.epoch, position.batch, position.step) == (3, 2, 0)
    assert not hasattr(position, "of_a_later_version")
