"""Structured pruning while a network is trained: the schedule, what is silent, and how a run goes on."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lively import lively

from spikeyolo.engine.channel_pruning import ChannelPruning, importance, remaining
from spikeyolo.engine.checkpoints.state import Position
from spikeyolo.engine.ranks import Ranks
from spikeyolo.errors import ConfigError
from spikeyolo.model.detector import Detector
from spikeyolo.model.neuron import Ilif
from spikeyolo.model.pruning import hidden_channels, remove_silent


@pytest.fixture
def run() -> Any:
    """A run as a callback sees it, between two batches."""
    torch.manual_seed(0)
    module = lively(Detector(num_classes=3, depth=0.33, width=0.03, neuron=Ilif))
    position = Position(best_epoch=0, best=0.9)
    return SimpleNamespace(position=position, module=module, weights=copy.deepcopy(module), ranks=Ranks())


@given(st.floats(0.01, 0.99), st.integers(1, 9), st.integers(0, 9))
def test_the_share_grows_from_nothing_to_what_was_asked_and_stays(share: float, first: int, more: int) -> None:
    pruning = ChannelPruning(share=share, first_epoch=first, last_epoch=first + more)
    shares = [pruning.share_in(epoch) for epoch in range(1, 25)]
    assert shares == sorted(shares)
    assert all(value == 0 for value in shares[: first - 1])
    assert all(value > 0 for value in shares[first - 1 :])
    assert shares[first + more - 1 :] == pytest.approx([share] * (25 - first - more))


def silent(network: Detector) -> dict[str, int]:
    return {hidden.name: int((~hidden.heard()).sum()) for hidden in hidden_channels(network)}


def test_each_layer_loses_its_share_in_the_weights_and_in_their_average_and_updates_wake_nothing(run: Any) -> None:
    pruning = ChannelPruning(share=0.5, first_epoch=2, last_epoch=3)
    pruning.after_batch(run)
    assert set(silent(run.module).values()) == {0}
    assert run.position.best_epoch == 0
    run.position.epoch = 1
    pruning.after_batch(run)
    early = silent(run.module)
    run.position.epoch = 2
    pruning.after_batch(run)
    late = silent(run.module)
    for hidden in hidden_channels(run.module):
        channels = len(hidden.heard())
        assert early[hidden.name] == round(0.4375 * channels)
        assert late[hidden.name] == round(0.5 * channels)
    assert silent(run.weights) == late
    assert (run.position.best_epoch, run.position.best) == (-1, float("-inf"))  # the best so far was a larger network
    assert run.position.best_from == 2
    with torch.no_grad():
        for parameter in (*run.module.parameters(), *run.weights.parameters()):
            parameter.add_(0.01)  # an update
    run.position.best_epoch, run.position.epoch = 2, 9
    pruning.after_batch(run)
    assert silent(run.module) == silent(run.weights) == late
    assert run.position.best_epoch == 2
    assert remove_silent(run.module) == sum(late.values())


def test_the_channels_of_least_importance_go_and_one_stays(run: Any) -> None:
    for hidden in hidden_channels(run.module):
        everyone = torch.ones(len(hidden.heard()), dtype=torch.bool)
        kept = remaining(hidden, everyone, 0.5)
        if not kept.all():
            assert importance(hidden)[~kept].max() <= importance(hidden)[kept].min()
        assert int(remaining(hidden, everyone, 0.999).sum()) == 1
        later = remaining(hidden, kept, 0.75)
        assert not (later & ~kept).any()  # what is silent stays so


def test_a_scale_that_moves_from_a_channel_to_who_reads_it_moves_no_importance(run: Any) -> None:
    (hidden,) = [hidden for hidden in hidden_channels(run.module) if hidden.name == "backbone.stage1.layers.0.widen"]
    before = importance(hidden)
    with torch.no_grad():
        for values in (hidden.norms[0].weight, hidden.norms[0].bias):
            values.mul_(4.0)
        hidden.entry.div_(4.0)
    torch.testing.assert_close(importance(hidden), before)


def test_a_run_goes_on_with_the_channels_that_were_silent(run: Any) -> None:
    pruning = ChannelPruning(share=0.5, first_epoch=1, last_epoch=1)
    pruning.after_batch(run)
    expected = silent(run.module)
    other = ChannelPruning(share=0.5, first_epoch=1, last_epoch=1)
    other.load_state_dict(pruning.state_dict())
    with torch.no_grad():
        for parameter in run.module.parameters():
            parameter.copy_(torch.rand_like(parameter))  # which alone would be ranked otherwise
    other.after_batch(run)
    assert silent(run.module) == expected
    kept = pruning.state_dict()["kept"]
    assert all(torch.equal(hidden.heard(), kept[hidden.name]) for hidden in hidden_channels(run.module))


def test_a_run_that_goes_on_to_a_smaller_share_is_refused(run: Any) -> None:
    pruning = ChannelPruning(share=0.5, first_epoch=1, last_epoch=1)
    pruning.after_batch(run)
    with pytest.raises(ConfigError, match=r"pruning\.share: found 0\.2, where 0\.5 of the channels are silent"):
        ChannelPruning(share=0.2, first_epoch=1, last_epoch=1).load_state_dict(pruning.state_dict())


def test_a_part_that_is_trained_from_now_on_loses_its_share_too(run: Any) -> None:
    run.module.backbone.requires_grad_(False)
    pruning = ChannelPruning(share=0.5, first_epoch=1, last_epoch=2)
    pruning.after_batch(run)
    later = ChannelPruning(share=0.5, first_epoch=1, last_epoch=2)
    later.load_state_dict(pruning.state_dict())
    run.module.backbone.requires_grad_(True)
    run.position.epoch = 1
    later.after_batch(run)
    assert all(count > 0 for count in silent(run.module).values())


def test_a_pruned_network_that_is_trained_again_stays_as_small_at_least(run: Any) -> None:
    ChannelPruning(share=0.5, first_epoch=1, last_epoch=1).after_batch(run)
    expected = silent(run.module)
    ChannelPruning(share=0.1, first_epoch=5, last_epoch=9).after_batch(run)
    assert silent(run.module) == expected


def test_frozen_parts_lose_nothing(run: Any) -> None:
    run.module.backbone.requires_grad_(False)
    ChannelPruning(share=0.5, first_epoch=1, last_epoch=1).after_batch(run)
    assert all((count > 0) == (not name.startswith("backbone")) for name, count in silent(run.module).items())


def test_processes_that_train_together_are_refused(run: Any) -> None:
    run.ranks = SimpleNamespace(world=2)
    with pytest.raises(ConfigError, match="pruning: found 2 processes that train together; expected one"):
        ChannelPruning().after_batch(run)
    assert set(silent(run.module).values()) == {0}


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 1.5])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=rf"pruning\.share: found {share}; expected more than 0, and less than 1"):
        ChannelPruning(share=share)


def test_a_schedule_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"pruning\.last_epoch: found 2; expected at least first_epoch, 3"):
        ChannelPruning(first_epoch=3, last_epoch=2)
