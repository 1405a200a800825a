"""Which split a recording belongs to: as its folder says, or drawn; and that no two splits share events."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from spikeyolo.errors import ConfigError, RecordingError

Role = Literal["train", "val", "test"]  # what a split is for

_SPLIT = re.compile(r"(train|val|test)(?:ing|idation|id)?([_-].*)?", re.IGNORECASE)


def splits_of(names: Sequence[str]) -> list[str]:
    """The split of each recording, as the folders in the recordings' names tell; empty where they tell none.

    ``train/a``, ``validation/b`` and ``set/test/c`` belong to ``train``, ``val`` and ``test``. Names that go on, as
    ``train_h5_1``, count only where there are such of training and of another split: a lone ``test_drive`` is none.
    """
    found = [_told(name) for name in names]
    splits = {split for split, _ in found}
    whole = "train" in splits and bool(splits & {"val", "test"})
    return [split if exact or whole else "" for split, exact in found]


def _told(name: str) -> tuple[str, bool]:
    """The split that a recording's folders tell, and whether one is called exactly so."""
    matches = [match for folder in PurePosixPath(name).parts[:-1] if (match := _SPLIT.fullmatch(folder))]
    best = next((match for match in matches if match[2] is None), matches[0] if matches else None)
    return ("", False) if best is None else (best[1].lower(), best[2] is None)


def drawn(names: Sequence[str], share: float, seed: int, *, where: str) -> frozenset[str]:
    """Names of the recordings that validate: ``share`` of them, at least one and not all.

    The order in which they are drawn is that of a digest of the seed and each name: it depends neither on the order
    in which files are found nor on how many there are.

    Raises:
        RecordingError: there are fewer than two.
    """
    if len(names) < 2:
        raise RecordingError(
            f"{where}: {len(names)} recordings to draw validation ones from (data.val_share); expected at least 2"
        )
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).digest())
    return frozenset(order[:count])


def check_share(train: str, val: str, found: Collection[str]) -> None:
    """Raise ConfigError where recordings should be drawn for validation, but the set has a split for it."""
    if val in found and val != train:
        raise ConfigError(
            f"data.val_share: the set has recordings of its own for validation (split {val!r}); leave val_share out, "
            "or name another data.val_split"
        )


class Span(NamedTuple):
    """A part of a recording: what identifies its events, its time, µs (None: to the end), and its name."""

    events: str
    start_us: int | None
    end_us: int | None
    name: str

    def meets(self, other: Span) -> bool:
        """Whether both have events in common."""
        before = self.end_us is not None and other.start_us is not None and self.end_us <= other.start_us
        after = other.end_us is not None and self.start_us is not None and other.end_us <= self.start_us
        return self.events == other.events and not before and not after


def digest(spans: Iterable[Span]) -> str:
    """Of what the events are, wherever they lie and however they are called."""
    return hashlib.sha256(repr([span[:3] for span in spans]).encode()).hexdigest()[:12]


def check_apart(spans: Mapping[str, Sequence[Span]]) -> None:
    """Raise RecordingError where two roles have events in common: what is trained on must not judge the training."""
    seen: dict[str, list[tuple[str, Span]]] = {}
    for role, items in spans.items():
        for span in items:
            for other_role, other in seen.get(span.events, ()):
                if other_role != role and span.meets(other):
                    raise RecordingError(
                        f"{span.name} of {role} holds the same events as {other.name} of {other_role}; "
                        "expected each recording in one split"
                    )
            seen.setdefault(span.events, []).append((role, span))
