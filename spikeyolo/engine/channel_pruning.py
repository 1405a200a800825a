"""Structured pruning on a schedule: a growing share of the hidden channels is silenced while the rest goes on learning.

Silent channels have weights of zero and stay in the run's checkpoints at full size, so that a run goes on; they are
left out wherever a checkpoint is loaded or a network is folded (see :mod:`spikeyolo.model.pruning`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn

from spikeyolo.engine.callbacks import Callback, Outcome, Run
from spikeyolo.errors import ConfigError
from spikeyolo.model.inference.fold import folded_kernel
from spikeyolo.model.pruning import Hidden, hidden_channels, silencing

log = logging.getLogger(__name__)


class ChannelPruning(Callback):
    """Silences hidden channels, the same share of each layer's, by the schedule of Zhu and Gupta (arXiv 1710.01878).

    In epoch e the share is ``share · (1 − (1 − t)³)`` with t from 0 to 1 between the first and the last pruning epoch.
    What is silent stays so. The best epoch is chosen among those with the share of the last.

    Args:
        share: of each layer's hidden channels that is silent in the end; one channel stays at least.
        first_epoch, last_epoch: in which the share begins to grow, and in which it is reached, from 1; the epochs after
            them let the network recover.

    Raises:
        ConfigError: the last epoch comes before the first.
    """

    def __init__(
        self,
        *,
        share: Annotated[float, Interval(gt=0, lt=1)] = 0.5,
        first_epoch: Annotated[int, Ge(1)] = 1,
        last_epoch: Annotated[int, Ge(1)] = 10,
    ) -> None:
        if not 0 < share < 1:
            raise ConfigError(
                f"pruning.share: found {share}; expected more than 0, and less than 1, which is everything"
            )
        if last_epoch < first_epoch:
            raise ConfigError(f"pruning.last_epoch: found {last_epoch}; expected at least first_epoch, {first_epoch}")
        self.share = share
        self.first_epoch = first_epoch
        self.last_epoch = last_epoch
        self._kept: dict[str, Tensor] = {}
        self._reached = 0.0

    def share_in(self, epoch: int) -> float:
        """The share of channels that are silent in an epoch, from 1."""
        passed = (epoch - self.first_epoch + 1) / (self.last_epoch - self.first_epoch + 1)
        return self.share * (1 - (1 - min(max(passed, 0.0), 1.0)) ** 3)

    def after_batch(self, run: Run) -> Outcome:
        if run.ranks.world > 1:  # only the first one's callbacks are asked, and the others' networks would go on whole
            raise ConfigError(f"pruning: found {run.ranks.world} processes that train together; expected one")
        found = [hidden for hidden in hidden_channels(run.module) if hidden.entry.requires_grad]  # not of frozen parts
        if not self._kept:
            self._kept = {hidden.name: hidden.heard() for hidden in found}
        share = self.share_in(run.position.epoch + 1)
        if share > self._reached:
            self._reached = share
            before = sum(int(kept.sum()) for kept in self._kept.values())
            known = {hidden.name: self._kept.get(hidden.name, hidden.heard()) for hidden in found}  # it may thaw
            self._kept = {hidden.name: remaining(hidden, known[hidden.name], share) for hidden in found}
            kept, every = (sum(map(count, self._kept.values())) for count in (lambda mask: int(mask.sum()), len))
            log.info("pruning: %d of %d hidden channels stay (%d before)", kept, every, before)
            run.position.choose_anew()  # those so far are of a larger network
        self._silence(run.module)
        if run.weights is not run.module:
            self._silence(run.weights)
        return Outcome.CONTINUE

    @torch.no_grad()
    def _silence(self, network: nn.Module) -> None:
        """After each update, which moves all weights."""
        pairs = [
            pair
            for hidden in hidden_channels(network)
            if hidden.name in self._kept
            for pair in silencing(hidden, self._kept[hidden.name].to(hidden.entry.device))
        ]
        for values, factor in pairs:
            values.mul_(factor)

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self._kept, "reached": self._reached}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        reached = float(state["reached"])
        if reached > self.share:
            raise ConfigError(
                f"pruning.share: found {self.share}, where {reached:.4g} of the channels are silent in the checkpoint "
                "and stay so; expected at least that, or model.pretrained=FILE of a larger network"
            )
        self._kept, self._reached = dict(state["kept"]), reached


def remaining(hidden: Hidden, kept: Tensor, share: float) -> Tensor:
    """``[C]`` bool: which of those that are ``kept`` stay where ``share`` of all is to be silent; one at least."""
    count = min(max(len(kept) - round(share * len(kept)), 1), int(kept.sum()))
    rank = torch.where(kept, importance(hidden), -torch.inf)
    chosen = torch.zeros_like(kept)
    chosen[rank.argsort(descending=True, stable=True)[:count]] = True
    return chosen


@torch.no_grad()
def importance(hidden: Hidden) -> Tensor:
    """``[C]``: the norm of what a channel is made of times the norm of what is made of it, norms folded.

    Filters of little weight cost least where they are left out (Li et al., arXiv 1608.08710); the product stays the
    same where a scale moves from one side to the other. A channel's shift counts too, since it drives its neuron.
    """
    made = folded_kernel(hidden.makes)
    reached = made.weight.flatten(1).square().sum(dim=1)
    if made.bias is not None:
        reached = reached + made.bias.square()
    read = folded_kernel(hidden.reads).weight.transpose(0, 1).flatten(1).square().sum(dim=1)
    product = reached * read.view(hidden.repeats, -1).sum(dim=0)
    if hidden.mixes is not None:
        product = product * folded_kernel(hidden.mixes).weight.flatten(1).square().sum(dim=1)
    return product.sqrt()
