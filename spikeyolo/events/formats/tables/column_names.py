"""What others call the four columns of events: names that differ from ``t x y p``, told apart here for every format."""

from __future__ import annotations

from collections.abc import Iterable

NAMES = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "p": ("p", "ps", "pol", "pols", "polarity", "polarities", "on"),
}
_BEFORE = ("events_", "event_", "evs_", "ev_", "e_")
_AFTER = ("_s", "_ms", "_us", "_ns")


def role_of(name: str) -> str | None:
    """``t``, ``x``, ``y`` or ``p`` for a known name of such a column, with or without ``event_`` before it."""
    plain = name.strip().strip("'\"").lower()
    for start in _BEFORE:
        plain = plain.removeprefix(start)
    for end in _AFTER:
        plain = plain.removesuffix(end)
    return next((role for role, names in NAMES.items() if plain in names), None)


def roles_of(names: Iterable[str]) -> dict[str, str] | None:
    """The names of the columns t, x, y and p among ``names``; None where one is missing or there are two for one."""
    found: dict[str, str] = {}
    for name in names:
        role = role_of(name)
        if role is not None and role in found:
            return None
        if role is not None:
            found[role] = name
    return found if len(found) == 4 else None
