"""Tracks from birth to loss: one step after the other goes in, and the track of each detection comes out.

Association in two stages is that of ByteTrack (Zhang et al., ECCV 2022, arXiv:2110.06864): confirmed tracks first take
sure detections, then those that are left take unsure ones. Times are µs in place of its frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import DetectionError
from spikeyolo.tracking.association import assign, candidates
from spikeyolo.tracking.motion import Floats, Index, Motion

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rules:
    """When tracks are born, kept and lost.

    Attributes:
        high_score: detections from this score on go to tracks first.
        low_score: those from this score on go to tracks that are left.
        new_score: those from this score on may begin a track.
        confirm_us: a new track counts if over so long it was seen no less than missed, µs.
        lost_after_us: a track that was not seen for longer is over, µs.
        embedding_weight: share of appearance in the cost, 0 to 1.
        embedding_gate: detections whose embedding has a lower cosine to the track's are of another object.
        embedding_memory_us: a track's embedding forgets in so long, µs.
    """

    high_score: float
    low_score: float
    new_score: float
    confirm_us: int
    lost_after_us: int
    embedding_weight: float = 0.0
    embedding_gate: float = -1.0
    embedding_memory_us: int = 100_000


class Tracks:
    """Every track of one recording that may still be seen.

    Args:
        rules: of their lives.
        motion: of their boxes, without a row.

    Attributes:
        serial: ``[N]`` int64, number of each, in the order of births.
        confirmed: ``[N]``, whether it counts; the others may still turn out to be none.
    """

    def __init__(self, rules: Rules, motion: Motion) -> None:
        self.rules, self.motion = rules, motion
        self.t_us: int | None = None
        self.serial = np.empty(0, np.int64)
        self.confirmed = np.empty(0, bool)
        self._class_id, self._born_us, self._seen_us, self._evidence_us = (np.empty(0, np.int64) for _ in range(4))
        self._embedding: npt.NDArray[np.float32] | None = None
        self._births = 0
        self._were: set[int] = set()

    def update(
        self,
        t_us: int,
        xywh: npt.NDArray[np.floating],
        score: npt.NDArray[np.floating],
        class_id: Index,
        embedding: npt.NDArray[np.float32] | None = None,
    ) -> Index:
        """Take in what was detected at one time; the order of rows means nothing.

        Args:
            t_us: later than the step before, µs.
            xywh: ``[M, 4]``, left, top, width, height in px.
            score: ``[M]``.
            class_id: ``[M]``; a track is of one class.
            embedding: ``[M, E]`` of unit length, or None.

        Returns:
            ``[M]`` int64, the track of each detection, -1 for none. A track counts once :meth:`counts` says so.

        Raises:
            DetectionError: the time does not go on, or a value is not finite.
        """
        if self.t_us is not None and t_us <= self.t_us:
            raise DetectionError(
                f"tracking: found a step at {t_us} µs after one at {self.t_us} µs; expected a later one"
            )
        if not (np.isfinite(xywh).all() and np.isfinite(score).all()):
            raise DetectionError(f"tracking: the step at {t_us} µs holds a box or score that is not finite")
        dt_us = 0 if self.t_us is None else t_us - self.t_us
        self.t_us = t_us
        self._drop(t_us - self._seen_us > self.rules.lost_after_us)
        if len(self.serial) and dt_us:
            self.motion.advance(dt_us)
        order = np.lexsort((*xywh.T, -score, class_id))  # whatever the order of rows was
        box = xywh[order].astype(np.float64)
        box[:, :2] += box[:, 2:] / 2
        score, class_id = score[order], class_id[order]
        look = None if embedding is None else embedding[order]
        track = np.full(len(order), -1, np.int64)
        sure = score >= self.rules.high_score
        waiting = np.ones(len(self.serial), bool)
        if len(self.serial) and len(order):
            unsure = (score >= self.rules.low_score) & ~sure
            recent = t_us - self._seen_us <= max(dt_us, self.rules.confirm_us)
            for of_stage, found in (
                (self.confirmed, sure),
                (self.confirmed & recent, unsure),
                (~self.confirmed, sure),
            ):
                self._associate(waiting & of_stage, found & (track < 0), track, waiting, box, class_id, look)
        self._evidence_us += np.where(waiting, -dt_us, dt_us)
        old = track >= 0
        rows = track[old]
        track[old] = self.serial[rows]
        if len(rows):
            self._seen_us[rows] = t_us
            self.motion.correct(rows, box[old])
            self._remember(rows, look, old, dt_us)
        ripe = t_us - self._born_us >= self.rules.confirm_us
        self._confirm(~self.confirmed & ripe & (self._evidence_us >= 0))
        self._drop(~self.confirmed & (self._evidence_us < 0))
        new = np.flatnonzero((track < 0) & (score >= self.rules.new_score) & sure)
        if len(new):
            track[new] = self._bear(t_us, box[new], class_id[new], None if look is None else look[new])
        ids = np.empty_like(track)
        ids[order] = track
        return ids

    @property
    def undecided_us(self) -> int | None:
        """When the oldest track was born that may still turn out to be none, µs; None: there is no such track."""
        born = self._born_us[~self.confirmed]
        return int(born.min()) if len(born) else None

    def counts(self, serials: Index) -> Mask:
        """``[M]``, whether each is the number of a track that is confirmed, or was."""
        return np.array([serial in self._were for serial in serials.tolist()], bool)

    def _associate(
        self,
        tracks: Mask,
        found: Mask,
        track: Index,
        waiting: Mask,
        box: Floats,
        class_id: Index,
        embedding: npt.NDArray[np.float32] | None,
    ) -> None:
        """Give some of the detections found to some of the tracks."""
        rows, columns = np.flatnonzero(tracks), np.flatnonzero(found)
        if not len(rows) or not len(columns):
            return
        row, column = candidates(self.motion.centres(rows), self._class_id[rows], box[columns, :2], class_id[columns])
        row, column = rows[row], columns[column]
        cost, limit = self.motion.cost(row, box[column]), self.motion.limit
        if embedding is not None and self._embedding is not None and self.rules.embedding_weight:
            weight = self.rules.embedding_weight
            cosine = np.einsum("pe,pe->p", self._embedding[row], embedding[column], dtype=np.float64)
            blended = (1 - weight) * cost + weight * limit * (1 - cosine)
            cost = np.where((cosine >= self.rules.embedding_gate) & (cost <= limit), blended, np.inf)
        row, column = assign(row, column, cost, limit=limit)
        track[column] = row
        waiting[row] = False

    def _remember(self, rows: Index, embedding: npt.NDArray[np.float32] | None, seen: Mask, dt_us: int) -> None:
        """How the tracks look: a mean that forgets with time."""
        if embedding is None or self._embedding is None:
            return
        new = 1 - np.exp(-max(dt_us, 1) / self.rules.embedding_memory_us)
        mean = (1 - new) * self._embedding[rows] + new * embedding[seen]
        self._embedding[rows] = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)

    def _bear(self, t_us: int, box: Floats, class_id: Index, embedding: npt.NDArray[np.float32] | None) -> Index:
        serials = np.arange(self._births, self._births + len(box))
        self._births += len(box)
        time, none = np.full(len(box), t_us), np.zeros(len(box), np.int64)
        self.motion.add(box)
        self.serial = np.concatenate((self.serial, serials))
        self.confirmed = np.concatenate((self.confirmed, np.zeros(len(box), bool)))
        self._class_id = np.concatenate((self._class_id, class_id))
        self._born_us = np.concatenate((self._born_us, time))
        self._seen_us = np.concatenate((self._seen_us, time))
        self._evidence_us = np.concatenate((self._evidence_us, none))
        if embedding is not None:
            before = self._embedding if self._embedding is not None else embedding[:0]
            self._embedding = np.concatenate((before, embedding))
        if not self.rules.confirm_us:
            self._confirm(~self.confirmed)
        return serials

    def _confirm(self, tracks: Mask) -> None:
        self.confirmed |= tracks
        self._were.update(self.serial[tracks].tolist())

    def _drop(self, tracks: Mask) -> None:
        kept = ~tracks
        if kept.all():
            return
        self.motion.keep(kept)
        self.serial, self.confirmed, self._class_id = self.serial[kept], self.confirmed[kept], self._class_id[kept]
        self._born_us, self._seen_us = self._born_us[kept], self._seen_us[kept]
        self._evidence_us = self._evidence_us[kept]
        if self._embedding is not None:
            self._embedding = self._embedding[kept]
