"""Track ids that are none: columns which no tracker or annotator wrote, read as -1 ("no track")."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from spikeyolo.events.types import Array, Boxes

Ids = npt.NDArray[np.int64]
NO_TRACK = -1
SAME_OBJECT_IOU = 0.3  # boxes of successive times that overlap at least so much may be one object


def as_track_ids(column: Array) -> Ids:
    """Ids ``[M]`` of any number type as int64; -1 for those that stand for none.

    None are negative and undefined ones, and the largest number of an unsigned type of any width up to 32 bits and
    more (-1 as C writes it: 2³²-1, 2⁶⁴-1).
    """
    none = column < 0
    if column.dtype.kind == "f":
        none |= ~np.isfinite(column)
        column = np.where(none, 0, column)
    elif column.dtype.kind == "u":
        none |= column == np.iinfo(column.dtype).max
    ids = column.astype(np.int64)
    return np.where(none | (ids < 0) | (ids == 2**32 - 1), NO_TRACK, ids)


def shared_ids(t: Array, track_id: Ids) -> Ids:
    """Ids that several boxes of one time have, which is nothing that the identity of an object can do."""
    order = np.lexsort((track_id, t))
    t, track_id = t[order], track_id[order]
    twice = (t[1:] == t[:-1]) & (track_id[1:] == track_id[:-1]) & (track_id[1:] >= 0)
    return np.unique(track_id[1:][twice])


def identities(t: Array, kinds: Array, xywh: npt.NDArray[np.float64], track_id: Ids) -> tuple[Ids, Ids]:
    """Track ids with -1 for what names no object, and which ids several boxes of one time had.

    Of what several boxes of one time have in common, nothing is left. Where the rest is an id of its own for each box,
    although a box overlaps one of its class at the time before, the ids do not follow the objects. An id that one box
    of each time has, be it 0, is a track.

    Args:
        t, kinds, track_id: ``[M]`` times, classes in any numbering, and ids as in the file.
        xywh: ``[M, 4]`` left, top, width, height.
    """
    shared = shared_ids(t, track_id)
    ids = np.where(np.isin(track_id, shared), NO_TRACK, track_id)
    named = np.flatnonzero(ids >= 0)
    if len(np.unique(ids[named])) == len(named) and _any_successor(t[named], kinds[named], xywh[named]):
        ids = np.full_like(ids, NO_TRACK)
    return ids, shared


def _any_successor(t: Array, kinds: Array, xywh: npt.NDArray[np.float64]) -> bool:
    """Whether a box overlaps one of the same class at the next time by an IoU of at least 0.3."""
    order = np.argsort(t, kind="stable")
    looks = np.split(order, np.flatnonzero(np.diff(t[order])) + 1)
    return any(
        bool(((kinds[a][:, None] == kinds[b]) & (_iou(xywh[a], xywh[b]) >= SAME_OBJECT_IOU)).any())
        for a, b in pairwise(looks)
    )


def _iou(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``[A, B]`` of boxes ``[A, 4]`` and ``[B, 4]``."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    union = np.prod(a[:, 2:], axis=1)[:, None] + np.prod(b[:, 2:], axis=1) - shared
    iou: npt.NDArray[np.float64] = shared / np.where(union > 0, union, 1.0)
    return iou


def without_common_ids(boxes: Boxes, shared: Iterable[int]) -> Boxes:
    """Boxes of a recording whose only id is one that in other recordings of its set names no object: without it."""
    ids = np.unique(boxes.track_id)
    if len(ids) != 1 or int(ids[0]) not in set(shared):
        return boxes
    return Boxes(boxes.t, boxes.xyxy, boxes.class_id, np.full_like(boxes.track_id, NO_TRACK), boxes.confidence)
