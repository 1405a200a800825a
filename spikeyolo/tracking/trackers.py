"""Trackers as a configuration chooses them; each begins afresh with every recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol

from annotated_types import Ge, Gt, Interval

from spikeyolo.errors import ConfigError
from spikeyolo.tracking.lifecycle import Rules, Tracks
from spikeyolo.tracking.motion import ConstantVelocity, LastBox

Share = Annotated[float, Interval(ge=0, le=1)]


class Tracker(Protocol):
    """Settings of a tracker."""

    def start(self) -> Tracks | None:
        """The tracks of a recording, none yet; None leaves the ids that detections have."""


@dataclass(frozen=True, kw_only=True)
class ByteTrack:
    """Association in two stages (ByteTrack, Zhang et al., ECCV 2022, arXiv:2110.06864) over a Kalman filter in px/s.

    Args:
        high_score: detections from this score on go to tracks first, and may go to new ones.
        low_score: those from this score on go to tracks that found no better one.
        new_score: those from this score on, and from high_score on, may begin a track.
        confirm_us: a new track counts if over so long it was seen no less than missed, µs.
        lost_after_us: a track that was not seen for longer is over, µs.
        box_noise: standard deviation of detected sides, in box sizes.
        initial_speed: standard deviation of a new track's velocity, in box sizes a second.
        speed_change: standard deviation of what a velocity changes within one second, in box sizes a second.
        turn: and, as a share of the speed, on the way of one box size: what is twice as fast turns in half the time.
        gate: standard deviations up to which a detection may be of a track.
        embedding_weight: share of appearance in the cost, where detections have embeddings.
        embedding_gate: detections whose embedding has a lower cosine to the track's are of another object.
        embedding_memory_us: a track's embedding forgets in so long, µs.

    Raises:
        ConfigError: low_score is above high_score.
    """

    high_score: Share = 0.3
    low_score: Share = 0.1
    new_score: Share = 0.4
    confirm_us: Annotated[int, Ge(0)] = 20_000
    lost_after_us: Annotated[int, Ge(1)] = 1_000_000
    box_noise: Annotated[float, Gt(0)] = 0.1
    initial_speed: Annotated[float, Gt(0)] = 10.0
    speed_change: Annotated[float, Gt(0)] = 1.0
    turn: Annotated[float, Ge(0)] = 0.15
    gate: Annotated[float, Gt(0)] = 5.0
    embedding_weight: Share = 0.3
    embedding_gate: Annotated[float, Interval(ge=-1, le=1)] = 0.0
    embedding_memory_us: Annotated[int, Ge(1)] = 100_000

    def __post_init__(self) -> None:
        if self.low_score > self.high_score:
            raise ConfigError(
                f"tracker.low_score: found {self.low_score}; expected at most high_score, which is {self.high_score}"
            )

    def start(self) -> Tracks:
        """The tracks of a recording, none yet."""
        rules = Rules(
            high_score=self.high_score,
            low_score=self.low_score,
            new_score=self.new_score,
            confirm_us=self.confirm_us,
            lost_after_us=self.lost_after_us,
            embedding_weight=self.embedding_weight,
            embedding_gate=self.embedding_gate,
            embedding_memory_us=self.embedding_memory_us,
        )
        motion = ConstantVelocity(
            box_noise=self.box_noise,
            initial_speed=self.initial_speed,
            speed_change=self.speed_change,
            turn=self.turn,
            gate=self.gate,
        )
        return Tracks(rules, motion)


@dataclass(frozen=True, kw_only=True)
class IouTracker:
    """Boxes that overlap the last one of a track are its next (Bochinski et al., AVSS 2017): a baseline.

    Args:
        min_score: detections of a lower score are left out.
        min_iou: of a box with the track's last one.
        confirm_us, lost_after_us: as of :class:`ByteTrack`.
    """

    min_score: Share = 0.4
    min_iou: Annotated[float, Interval(gt=0, le=1)] = 0.3
    confirm_us: Annotated[int, Ge(0)] = 20_000
    lost_after_us: Annotated[int, Ge(1)] = 100_000

    def start(self) -> Tracks:
        """The tracks of a recording, none yet."""
        score = self.min_score
        rules = Rules(score, score, score, confirm_us=self.confirm_us, lost_after_us=self.lost_after_us)
        return Tracks(rules, LastBox(min_iou=self.min_iou))


@dataclass(frozen=True)
class NoTracker:
    """Detections keep the track ids that they have, as another program gave them."""

    def start(self) -> None:
        """There is nothing to be tracked."""
