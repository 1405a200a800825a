"""Samplers for memory across windows: each lane of the batch follows a recording, one window behind the other.

A batch's b-th window is that of lane b, so that ranks that take ``[rank::world]`` of every batch keep their lanes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import ConfigError
from spikeyolo.windows.serving.sampler import BatchSampler, Draw, EpochSampler

Indices = npt.NDArray[np.int64]

_LANES = 1  # beside the seed: the lanes' random numbers are not those of windows that stand alone


class LaneSampler(BatchSampler):
    """Lanes that go on from epoch to epoch.

    A pass lays all recordings end to end, in a random order and from a random window on, and divides this ribbon into
    ``batch_size`` equally long pieces, one a lane; at its end the next pass begins. So a recording may be divided
    between two lanes, and a pass takes each window once, but the fewer than ``batch_size`` that are left over (other
    ones in each pass). A lane's window follows the one before where both are neighbours in one recording, unless chance
    resets it.

    Args:
        recording: of each window ``[N]``, in time order within a recording, recordings one behind the other.
        batch_size: lanes.
        first: index of the first of these windows in the data set.
        samples_per_epoch: windows an epoch, rounded up to whole batches; None takes a pass.
        reset_share: of the windows that would follow, those that begin afresh all the same.
        seed: of the order and the resets.

    Raises:
        ConfigError: there are more lanes than windows.
    """

    def __init__(
        self,
        *,
        recording: Indices,
        batch_size: int,
        first: int = 0,
        samples_per_epoch: int | None = None,
        reset_share: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size)
        self.recording = recording
        self.first = first
        self.reset_share = reset_share
        self.seed = seed
        self.steps = len(recording) // batch_size  # windows of a lane in a pass
        if self.steps == 0:
            raise ConfigError(
                f"data.batch_size: found {batch_size} lanes; expected at most the {len(recording)} windows that the "
                "recordings hold one behind the other"
            )
        self._batches = self.steps if samples_per_epoch is None else -(-samples_per_epoch // batch_size)

    def __len__(self) -> int:
        return self._batches

    def batches(self, epoch: int, first: int) -> Iterator[list[Draw]]:
        yield from islice(self.onward(epoch * len(self) + first), len(self) - first)

    def onward(self, number: int) -> Iterator[list[Draw]]:
        """All batches from number ``number`` on, counted from the beginning of training; there is no last one."""
        for current in count(number // self.steps):
            drawn = self.drawn(current)
            for step in range(number % self.steps, self.steps):
                index, along, follows = (column[:, step].tolist() for column in drawn)
                yield [Draw(current, *row) for row in zip(index, along, follows, strict=True)]
            number = 0

    def drawn(self, number: int) -> tuple[Indices, Indices, npt.NDArray[np.bool_]]:
        """A pass, each ``[batch_size, steps]``: windows, the windows at which their lanes last began, and which follow
        the one before."""
        generator = np.random.default_rng([self.seed, number, _LANES])
        begins = np.flatnonzero(np.diff(self.recording, prepend=-1))
        pieces = np.split(np.arange(len(self.recording)), begins[1:])
        ribbon = np.concatenate([pieces[piece] for piece in generator.permutation(len(pieces))])
        ribbon = np.roll(ribbon, -int(generator.integers(len(ribbon))))
        index = ribbon[: self.batch_size * self.steps].reshape(self.batch_size, self.steps)
        follows = np.zeros(index.shape, np.bool_)
        before, after = index[:, :-1], index[:, 1:]
        follows[:, 1:] = (after == before + 1) & (self.recording[after] == self.recording[before])
        follows &= generator.random(index.shape) >= self.reset_share
        begun = np.maximum.accumulate(np.where(follows, 0, np.arange(self.steps)), axis=1)
        return self.first + index, self.first + np.take_along_axis(index, begun, axis=1), follows


class MixedSampler(BatchSampler):
    """Batches of lanes, and behind them windows that stand alone (as Gehrig and Scaramuzza train, arXiv 2212.05598).

    Args:
        alone: the windows that stand alone.
        lanes: the lanes, which go on for as long as an epoch of ``alone`` lasts.
    """

    def __init__(self, *, alone: EpochSampler, lanes: LaneSampler) -> None:
        super().__init__(alone.batch_size + lanes.batch_size)
        self.alone = alone
        self.lanes = lanes

    def __len__(self) -> int:
        return len(self.alone)

    def batches(self, epoch: int, first: int) -> Iterator[list[Draw]]:
        for alone, lanes in zip(self.alone.batches(epoch, first), self.lanes.onward(epoch * len(self) + first)):
            yield lanes + alone


class RecordingSampler(BatchSampler):
    """Every window once, whole recordings: a lane takes one behind the other, and ends when none is left.

    Args:
        recording: of each window ``[N]``, in time order within a recording, recordings one behind the other.
        batch_size: most lanes.
    """

    def __init__(self, *, recording: Indices, batch_size: int) -> None:
        super().__init__(batch_size)
        _, begins, counts = np.unique(recording, return_index=True, return_counts=True)
        lanes: list[list[Draw]] = [[] for _ in range(min(batch_size, len(counts)))]
        for which in np.argsort(-counts, kind="stable"):  # the longest recordings first, each to the shortest lane
            begin = int(begins[which])
            lane = min(lanes, key=len)
            lane += [Draw(0, index, begin, index > begin) for index in range(begin, begin + int(counts[which]))]
        # The longest lanes first, so that a lane keeps its place in the batch when others have ended.
        self.lanes = sorted(lanes, key=len, reverse=True)

    def __len__(self) -> int:
        return len(self.lanes[0])

    def batches(self, epoch: int, first: int) -> Iterator[list[Draw]]:
        for number in range(first, len(self)):
            yield [lane[number] for lane in self.lanes if number < len(lane)]
