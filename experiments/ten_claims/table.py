"""What the runs of a study say of each claim: paired differences over seeds, a verdict, a table and a forest plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from experiments.ten_claims.claims import Claim
from spikeyolo.report.pictures import canvas

CONFIDENCE = 0.95
LEARNT = 0.01  # mAP below which a detector has learnt nothing
FIGURES = ("map50", "map", "calibration_error", "minutes")


@dataclass(frozen=True)
class Difference:
    """A figure with the optimisation on less the same figure with it off, seed by seed.

    Attributes:
        on, off: means over the seeds that both have.
        mean: of the differences.
        low, high: Student's interval of that mean; NaN with fewer than two seeds.
        seeds: how many there are.
        equal: whether every one of them is 0.
    """

    on: float
    off: float
    mean: float
    low: float
    high: float
    seeds: int
    equal: bool

    @classmethod
    def of(cls, on: Mapping[int, float], off: Mapping[int, float]) -> Difference:
        """Of the figures of each seed."""
        seeds = sorted(seed for seed in on.keys() & off.keys() if math.isfinite(on[seed]) and math.isfinite(off[seed]))
        if not seeds:
            nothing = math.nan
            return cls(nothing, nothing, nothing, nothing, nothing, 0, False)
        first, second = np.array([on[seed] for seed in seeds]), np.array([off[seed] for seed in seeds])
        found = first - second
        count, mean = len(seeds), float(found.mean())
        half = math.nan
        if count > 1:
            half = float(student.ppf((1 + CONFIDENCE) / 2, count - 1) * found.std(ddof=1) / math.sqrt(count))
        return cls(
            float(first.mean()), float(second.mean()), mean, mean - half, mean + half, count, bool((found == 0).all())
        )

    def text(self, digits: int = 3) -> str:
        """``+0.031 [+0.004, +0.058]``."""
        if not self.seeds:
            return "–"
        interval = "" if math.isnan(self.low) else f" [{self.low:+.{digits}f}, {self.high:+.{digits}f}]"
        return f"{self.mean:+.{digits}f}{interval}"


@dataclass(frozen=True)
class Row:
    """One claim and what was found.

    Attributes:
        claim: what was claimed.
        differences: name of a figure → on less off.
        recordings: low and high of the difference of mAP over test recordings, from ``compare``; None: not compared.
        failures: what went wrong, a sentence a run.
    """

    claim: Claim
    differences: Mapping[str, Difference]
    recordings: tuple[float, float] | None = None
    failures: Sequence[str] = field(default_factory=tuple)

    def bounds(self) -> tuple[float, float]:
        """Of the difference of mAP: both intervals together, that over seeds and that over recordings."""
        found = self.differences["map"]
        if self.recordings is None or any(map(math.isnan, self.recordings)):
            return found.low, found.high
        return min(found.low, self.recordings[0]), max(found.high, self.recordings[1])

    def verdict(self) -> tuple[str, str]:
        """``holds``, ``does not hold`` or ``cannot be told here``, and why."""
        found, claim = self.differences["map"], self.claim
        unknown = "cannot be told here"
        if not found.seeds:
            return unknown, "no seed of both runs ended"
        if max(found.on, found.off) < LEARNT:
            return unknown, f"neither learnt anything (mAP below {LEARNT:g})"
        if all(difference.equal for name, difference in self.differences.items() if name != "minutes"):
            return unknown, "the setting changes nothing here: both trainings are the same, figure for figure"
        if math.isnan(found.low):
            return unknown, "one seed has no spread to judge by"
        low, high = self.bounds()
        least = claim.low * found.off  # the smallest gain that was claimed, in points
        gain = f"{found.mean / found.off:+.0%} of mAP" if found.off >= LEARNT else f"from {found.off:.3f} mAP"
        claimed = f"claimed {claim.low:+.0%} to {claim.high:+.0%}"
        if low > 0 and high >= least:
            return "holds", f"{gain}: a gain is sure, and the interval reaches what was {claimed}"
        if low > 0:
            return "does not hold", f"{gain}: a gain, but less than {claimed}"
        if high < 0:
            return "does not hold", f"{gain}: it costs mAP; {claimed}"
        if high < least:
            return "does not hold", f"{gain}: the interval ends below what was {claimed}"
        return unknown, f"{gain}, but the interval holds 0 as well as what was {claimed}; {found.seeds} seeds"

    def why(self) -> str:
        """The reason of the verdict, with what else is to be known."""
        parts = [self.verdict()[1]]
        error = self.differences["calibration_error"]
        if self.claim.calibrates and error.seeds and not math.isnan(error.low):
            better = "smaller" if error.high < 0 else "larger" if error.low > 0 else "not told apart"
            parts.append(f"calibration error {better}")
        parts += [self.claim.remark] if self.claim.remark else []
        return "; ".join([*parts, *self.failures])


def markdown(rows: Sequence[Row], *, title: str) -> str:
    """The table; a sentence below it where no row has minutes."""
    head = [
        "#", "optimisation", "on / off", "claimed", "mAP on", "mAP off", "mAP", "mAP, over recordings", "mAP50",
        "calibration error", "minutes", "verdict", "why",
    ]  # fmt: skip
    lines = [head]
    for row in rows:
        claim, found = row.claim, row.differences
        among = "–"
        if row.recordings is not None and not math.isnan(row.recordings[0]):
            among = f"[{row.recordings[0]:+.3f}, {row.recordings[1]:+.3f}]"
        level = [f"{value:.3f}" if found["map"].seeds else "–" for value in (found["map"].on, found["map"].off)]
        lines.append(
            [
                str(claim.number), claim.name, f"{claim.on} / {claim.off}", f"+{claim.low:.0%} to +{claim.high:.0%}",
                *level, found["map"].text(), among, found["map50"].text(), found["calibration_error"].text(),
                found["minutes"].text(2), row.verdict()[0], row.why(),
            ]
        )  # fmt: skip
    escaped = [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) for line in lines]
    body = [f"| {escaped[0]} |", "|" + "---|" * len(head), *(f"| {line} |" for line in escaped[1:])]
    untold = "Minutes are not on record: of no row do both runs tell how long they trained (`metrics.json`)."
    said = [] if any(row.differences["minutes"].seeds for row in rows) else ["", untold]
    return "\n".join([f"## {title}", "", *body, *said]) + "\n"


def draw_forest(path: Path, rows: Sequence[Row], *, title: str) -> Path:
    """Draw the difference of mAP of each claim over seeds (thick) and recordings (thin), beside what was claimed."""
    figure = canvas.sheet(8.0, 1.4 + 0.42 * len(rows))
    axes = figure.add_subplot()
    canvas.darken(axes)
    axes.axvline(0, color=canvas.MUTED, linewidth=1.0, linestyle="dashed")
    colours = {"holds": canvas.series(0), "does not hold": canvas.series(1)}
    for height, row in enumerate(rows):
        found, verdict = row.differences["map"], row.verdict()[0]
        colour = colours.get(verdict, canvas.MUTED)
        if not found.seeds:
            axes.annotate("no run", (0, height), color=canvas.TEXT, fontsize=7, ha="center", va="center")
            continue
        claimed = [share * found.off for share in (row.claim.low, row.claim.high)]
        axes.plot(claimed, [height, height], color=canvas.OFF, linewidth=9, alpha=0.35, solid_capstyle="butt")
        if row.recordings is not None and not math.isnan(row.recordings[0]):
            axes.plot(row.recordings, [height, height], color=colour, linewidth=1.0)
        if not math.isnan(found.low):
            axes.plot([found.low, found.high], [height, height], color=colour, linewidth=3.0, solid_capstyle="butt")
        axes.plot([found.mean], [height], color=colour, marker="s", markersize=6, linestyle="none")
    axes.set_yticks(range(len(rows)), [f"{row.claim.number} {row.claim.name}" for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.7)
    axes.margins(x=0.1)
    axes.set(
        xlabel="mAP on less off: 95 % interval over seeds (thick), over recordings (thin)\nblue: what was claimed",
        title=title,
    )
    axes.grid(color=canvas.FAINT, linewidth=0.5, axis="x")
    return canvas.save(figure, path)
