"""Which windows an epoch takes when classes shall appear about equally often and files shall take turns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


class ClassBalance:
    """Draws epochs in which every class has its turn.

    Windows without any object keep their natural share of an epoch. The other draws are shared equally among the K
    classes that occur, so that each class is in at least a K-th of them; it is in more where it keeps company with
    others. Within a class, the files take turns for as long as they have windows left, and no window comes again
    before the class has shown all of its windows.

    Args:
        classes: ``[N, C]`` bool, which classes are to be seen at the end of each window.
        recording: ``[N]`` int64, each window's recording, ascending.
    """

    def __init__(self, *, classes: npt.NDArray[np.bool_], recording: Indices) -> None:
        self.size = len(recording)
        self.recording = recording
        members = [np.flatnonzero(column) for column in classes.T]
        self.groups: list[Indices] = [rows for rows in members if len(rows)]
        self.empty: Indices = np.flatnonzero(~classes.any(axis=1))

    def quotas(self, samples: int) -> list[int]:
        """Draws of each group, the windows without objects last; they sum to ``samples``."""
        if not self.groups:
            return [samples]
        empty = samples * len(self.empty) // self.size
        share, left = divmod(samples - empty, len(self.groups))
        return [share + (group < left) for group in range(len(self.groups))] + [empty]

    def draw(self, samples: int, generator: np.random.Generator) -> Indices:
        """Indices ``[samples]`` of one epoch, the groups evenly mixed."""
        drawn: list[Indices] = []
        place: list[npt.NDArray[np.float64]] = []
        groups = [*self.groups, self.empty]
        # Which classes get one draw more changes from epoch to epoch.
        order = [*generator.permutation(len(self.groups)), len(self.groups)]
        for group, quota in zip(order, self.quotas(samples), strict=True):
            for done in range(0, quota, max(len(groups[group]), 1)):
                drawn.append(self._take_turns(groups[group], generator)[: quota - done])
            place.append((np.arange(quota) + generator.random(quota)) / max(quota, 1))
        return np.concatenate([*drawn, np.empty(0, np.int64)])[np.argsort(np.concatenate(place), kind="stable")]

    def _take_turns(self, rows: Indices, generator: np.random.Generator) -> Indices:
        """All of ``rows``, shuffled: one of each file, then another one of each file, and so on."""
        file = self.recording[rows]
        shuffled = np.argsort(file + generator.random(len(rows)), kind="stable")  # within their files
        _, first, count = np.unique(file, return_index=True, return_counts=True)
        turn = np.arange(len(rows)) - np.repeat(first, count)
        return rows[shuffled][np.argsort(turn + generator.random(len(rows)), kind="stable")]
