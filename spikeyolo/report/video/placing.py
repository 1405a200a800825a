"""Labels that keep their side of a box from picture to picture."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikeyolo.report.pictures.labels import covered_area, label_spots
from spikeyolo.report.video.overlap import overlaps

Float64 = npt.NDArray[np.float64]

_NEAR = 12  # spots that touch the box: above, below, inside, beside it
_FORGOTTEN = 15  # pictures after which the place of a label that is gone is forgotten
_PATIENCE = 20  # pictures after which a label that had to be short, or was left out, may try again


@dataclass
class _Place:
    """Where a label stood last: its form (-1: left out), its spot, since when, and when it was last asked for."""

    form: int
    spot: int
    first: int
    since: int
    last: int


class LabelPlacer:
    """Places the labels of one picture after the other.

    A label stays where it was beside its box as long as that spot is free; those that have been there longest are
    placed first. One that finds no free spot takes a shorter form, and is left out rather than cover another.

    Args:
        width, height: of the picture, px.
        taken: ``[R, 4]`` xyxy, px, where no label may stand.
    """

    def __init__(self, *, width: int, height: int, taken: npt.NDArray[np.floating] | None = None) -> None:
        self._limit = np.array([width, height], float)
        self._taken = np.empty((0, 4)) if taken is None else np.asarray(taken, float).reshape(-1, 4)
        self._places: dict[Hashable, _Place] = {}
        self._picture = 0

    def place(
        self, keys: Sequence[Hashable], boxes: npt.NDArray[np.floating], sizes: npt.NDArray[np.floating]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Corners of one picture's labels.

        Args:
            keys: ``[N]`` what each label belongs to, the same from picture to picture.
            boxes: ``[N, 4]`` xyxy, px of the picture.
            sizes: ``[N, F, 2]`` width and height of each form of a label, the longest first, px.

        Returns:
            ``[N]`` the form of each, -1 where it is left out, and ``[N, 2]`` left and top, px.
        """
        self._picture += 1
        forms, corners = np.full(len(keys), -1, np.int64), np.zeros((len(keys), 2), np.int64)
        taken = self._taken
        first = [self._places[key].first if key in self._places else self._picture for key in keys]
        for index in sorted(range(len(keys)), key=lambda i: (first[i], i)):
            place = self._places.setdefault(keys[index], _Place(-1, 0, self._picture, -_PATIENCE, 0))
            place.last = self._picture
            found = self._found(place, boxes[index], np.asarray(sizes[index], float), taken)
            if found is None:
                continue
            forms[index], corners[index] = place.form, found
            taken = np.vstack((taken, np.concatenate((found, found + sizes[index][place.form]))))
        for key in [key for key, place in self._places.items() if self._picture - place.last > _FORGOTTEN]:
            del self._places[key]
        return forms, corners

    def _found(self, place: _Place, box: npt.NDArray[np.floating], sizes: Float64, taken: Float64) -> Float64 | None:
        """The corner of a label, as ``place`` then has it; None where it is left out."""
        again = place.form != 0 and self._picture - place.since >= _PATIENCE
        if place.form >= 0 and not again:
            spot = self._spots(box, sizes[place.form])[place.spot : place.spot + 1]
            if not covered_area(spot, sizes[place.form], taken)[0]:
                return np.asarray(spot[0], np.float64)
        elif place.form < 0 and not again:
            return None
        for form, size in enumerate(sizes):
            if (form < place.form and not again) or (size > self._limit).any():
                continue
            spots = self._spots(box, size)
            free = np.flatnonzero(covered_area(spots, size, taken) == 0)
            if len(free):
                chosen = place.spot if form == place.form and place.spot in free else int(free[0])
                place.form, place.spot, place.since = form, chosen, self._picture
                return np.asarray(spots[chosen], np.float64)
        place.form, place.since = -1, self._picture
        return None

    def _spots(self, box: npt.NDArray[np.floating], size: Float64) -> Float64:
        spots: Float64 = np.rint(np.clip(label_spots(box, size)[:_NEAR], 0.0, np.floor(self._limit - size)))
        return spots


class Follower:
    """Names boxes so that an object's box has one name from look to look: its track, or found by overlap."""

    def __init__(self) -> None:
        self._made = 0
        self._names: list[Hashable] = []
        self._class_id: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._xyxy: Float64 = np.empty((0, 4))

    def names(self, xyxy: Float64, class_id: npt.NDArray[np.int64], track_id: npt.NDArray[np.int64]) -> list[Hashable]:
        """A name for each box ``[M, 4]`` of the next picture."""
        overlap = overlaps(xyxy, self._xyxy) * (class_id[:, None] == self._class_id[None])
        names: list[Hashable] = [int(k) if k >= 0 else None for k in track_id]
        overlap[track_id >= 0] = 0.0
        while overlap.size and overlap.max() > 0.2:
            row, before = divmod(int(overlap.argmax()), overlap.shape[1])
            if names[row] is None and isinstance(self._names[before], str):
                names[row] = self._names[before]
            overlap[row], overlap[:, before] = 0.0, 0.0
        for row, name in enumerate(names):
            if name is None:
                self._made += 1
                names[row] = f"box {self._made}"
        self._names, self._class_id, self._xyxy = names, class_id, xyxy
        return names
