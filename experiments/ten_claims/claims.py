"""The ten optimisations of the recipe and what it expected of each, as a share of mAP, without having measured any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Budget = Literal["steps", "time"]
ALL_ON = "all_on"


@dataclass(frozen=True)
class Claim:
    """One optimisation.

    Attributes:
        number: in the recipe.
        name, on, off: in words.
        arm: option of ``conf/arm`` in which it alone is off.
        low, high: the relative gain in mAP that was claimed.
        remark: what has to be known to read its row.
        arm_of_time: the same as ``arm`` where all arms have equal time; None: ``arm`` itself.
        calibrates: whether a smaller calibration error was claimed too.
    """

    number: int
    name: str
    on: str
    off: str
    arm: str
    low: float
    high: float
    remark: str = ""
    arm_of_time: str | None = None
    calibrates: bool = False

    def arm_at(self, budget: Budget) -> str:
        return self.arm_of_time if budget == "time" and self.arm_of_time else self.arm


CLAIMS = (
    Claim(1, "linear warm-up", "3 epochs", "0", "no_warm_up", 0.15, 0.25),
    Claim(2, "box loss weight", "5.0", "2.0", "box_weight_2", 0.10, 0.20),
    Claim(
        3, "epochs", "25", "5", "few_epochs", 0.10, 0.15, arm_of_time="few_minutes",
        remark="the arm has a fifth of the steps, or of the time: that is what it claims",
    ),
    Claim(4, "temporal buffer", "0.2", "0.1", "buffer_0.1", 0.20, 0.30),
    Claim(5, "max samples per file", "50", "30", "samples_30", 0.15, 0.25),
    Claim(6, "focal loss (α 0.25, γ 2)", "focal", "plain BCE", "bce", 0.10, 0.15),
    Claim(
        7, "SGD, momentum 0.9", "sgd", "adamw", "adamw", 0.05, 0.10,
        remark="both at the recipe's learning rate, 0.001 to 0.002",
    ),
    Claim(8, "cyclic rate (max 0.002)", "cyclic", "step", "step", 0.05, 0.10),
    Claim(9, "label smoothing 0.1", "on", "0", "no_smoothing", 0.05, 0.10, calibrates=True),
    Claim(
        10, "loss for each time step", "per_step", "mean", "mean_loss", 0.15, 0.25,
        remark="off also answers with the mean over the window",
    ),
)  # fmt: skip


def arms(budget: Budget) -> list[str]:
    """Options of ``conf/arm``, the one with all on first."""
    return [ALL_ON, *(claim.arm_at(budget) for claim in CLAIMS)]
