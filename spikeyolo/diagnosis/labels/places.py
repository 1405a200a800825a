"""Whether a reading of the boxes fits because of where it puts them, whatever the time: foliage in the wind and lamps
give events all along, and boxes of a wrong reading may happen to lie on them.

Every bin is held beside the one half a stretch away. Both belong to one another, so that the places that only the boxes
of the one cover and those that only the boxes of the other cover are equally large on the whole::

    boxes of this moment   ┌────┬───┐
                           │here│ b ├─────────┐    here: events of this moment, more where boxes follow them
                           └────┤ o │elsewhere│    elsewhere: as many as here where places give them all along
                                └───┴─────────┘    both: tells neither
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from spikeyolo.diagnosis.labels.density import Change, Density, Stretch

FOLLOWS = 1.5  # a density ratio from which on boxes follow the events
_TELLS = 0.01  # and what they tell of an event then, nats
_PLAIN = 1.2  # times as dense as at other moments, from which on that is seen although noise covers the objects
_SURE = 10.0  # by so many standard deviations of independent events; they come in bursts
_FEWEST = 100  # events that must lie in places that boxes cover at times, for these to tell anything


@dataclass(frozen=True)
class Moments:
    """Events in boxes of their own moment only, in those of the other one only, and in both."""

    here: int
    elsewhere: int
    both: int

    @property
    def told(self) -> bool:
        """Whether boxes move so far that their places are not the same all along."""
        return self.here + self.elsewhere >= max(self.both, _FEWEST)

    @property
    def ratio(self) -> float:
        """How many times denser events are under the boxes of their own moment."""
        return self.here / max(self.elsewhere, 1)

    @property
    def plain(self) -> bool:
        """Whether they are denser there beyond doubt."""
        sure = self.here - self.elsewhere >= _SURE * np.sqrt(self.here + self.elsewhere)
        return bool(self.told and sure and self.ratio >= _PLAIN)


def moments(stretches: Sequence[Stretch], *, shift_us: float = 0.0, change: Change | None = None) -> Moments:
    """Of all stretches together.

    Args:
        shift_us, change: see :func:`density`.
    """
    total = np.zeros(3, np.int64)
    for item in stretches:
        xyxy = item.xyxy if change is None else np.ascontiguousarray(change(item.xyxy), np.float32)
        ahead = item.before - round(shift_us / item.bin_us)
        total += _count(item.x, item.y, item.first_event, xyxy, item.first_box, item.known, ahead)
    return Moments(*total.tolist())


def follows(
    stretches: Sequence[Stretch],
    found: Density,
    *,
    shift_us: float = 0.0,
    change: Change | None = None,
    now_us: float = 0.0,
) -> bool:
    """Whether boxes follow the events under a reading: they are much denser inside, and not because events lie there
    all along; or, where noise leaves little of that, they are plainly denser than at other moments.

    Args:
        found: the events under this reading: ``ratio`` is what boxes that follow would have, 1 those that do not.
        shift_us, change: the reading.
        now_us: shift under which boxes are as they are, which must not follow them as well.
    """
    seen = moments(stretches, shift_us=shift_us, change=change)
    if found.ratio >= FOLLOWS and found.information >= _TELLS:
        return not seen.told or seen.ratio >= np.sqrt(found.ratio)
    return seen.plain and seen.ratio >= moments(stretches, shift_us=now_us).ratio ** 2


@numba.njit(nogil=True, cache=True)
def _within(x: float, y: float, xyxy: Any, first: int, end: int) -> bool:
    for b in range(first, end):  # noqa: SIM110 numba knows no any
        if xyxy[b, 0] <= x + 0.5 < xyxy[b, 2] and xyxy[b, 1] <= y + 0.5 < xyxy[b, 3]:
            return True
    return False


@numba.njit(nogil=True, cache=True)
def _count(x: Any, y: Any, first_event: Any, xyxy: Any, first_box: Any, known: Any, ahead: int) -> Any:
    """Events ``[here, elsewhere, both]``; a bin of events belongs to that of labels ``ahead`` further on."""
    found = np.zeros(3, np.int64)
    half = (len(first_event) - 1) // 2
    for k in range(2 * half):
        j = k + ahead
        other = (k + half) % (2 * half) + ahead
        if min(j, other) < 0 or max(j, other) >= len(known) or not (known[j] and known[other]):
            continue
        for i in range(first_event[k], first_event[k + 1]):
            now = _within(x[i], y[i], xyxy, first_box[j], first_box[j + 1])
            then = _within(x[i], y[i], xyxy, first_box[other], first_box[other + 1])
            if now or then:
                found[2 if now and then else 0 if now else 1] += 1
    return found
