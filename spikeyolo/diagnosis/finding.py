"""What the doctor hands over: findings, and what was looked at although nothing was wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Fact = tuple[str, str]
Draw = Callable[[Path], Path]


@dataclass(frozen=True, eq=False)
class Finding:
    """One reason why a detector learns nothing or slowly.

    Attributes:
        name: of the kind, one word or two with an underscore.
        sentence: what is wrong, with the figure that shows it.
        remedy: what mends it, in words; empty where the overrides say all.
        overrides: arguments of ``spikeyolo.train`` that mend it.
        evidence: figures, named.
        draw: draws the picture of it at a path and returns the path; None: there is none.
    """

    name: str
    sentence: str
    remedy: str = ""
    overrides: tuple[str, ...] = ()
    evidence: tuple[Fact, ...] = ()
    draw: Draw | None = None


@dataclass(eq=False)
class Section:
    """One place that the doctor looked at.

    Attributes:
        title: labels against events, windows, network, machine.
        facts: what was measured, named, in words.
        findings: the gravest first.
        unknown: what could not be told, and why.
        pictures: name of a file → what draws it, also where all is well.
        seconds: that it took.
    """

    title: str
    facts: list[Fact] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    pictures: dict[str, Draw] = field(default_factory=dict)
    seconds: float = 0.0


def share(value: float) -> str:
    """A share in percent, as people read it."""
    return f"{100 * value:.1f} %" if 0 < value < 0.1 else f"{100 * value:.0f} %"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Names in a sentence, the first few of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
