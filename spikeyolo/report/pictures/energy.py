"""What each stage of the network costs, beside its ANN twin, and how often its neurons fire."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikeyolo.report.pictures import canvas


@dataclass
class StageEnergy:
    """The layers of one stage together; energies in µJ a time step."""

    name: str
    snn_uj: float = 0.0
    real_uj: float = 0.0
    ann_uj: float = 0.0
    spikes: float = 0.0
    inputs: float = 0.0

    @property
    def firing_rate(self) -> float:
        """Mean spike count of the values that enter the stage's layers, weighted by the layers' operations."""
        return self.spikes / self.inputs if self.inputs else 0.0


def by_stage(rows: Sequence[Mapping[str, Any]]) -> list[StageEnergy]:
    """Sum the layers of each stage, in the network's order.

    Args:
        rows: ``layer``, ``snn_mj``, ``ann_mj`` (one time step), ``macs``, ``firing_rate``, ``spiking``.
    """
    stages: dict[str, StageEnergy] = {}
    for row in rows:
        name = stage_of(row["layer"])
        stage = stages.setdefault(name, StageEnergy(name))
        stage.ann_uj += row["ann_mj"] * 1e3
        if row["spiking"]:
            stage.snn_uj += row["snn_mj"] * 1e3
            stage.spikes += row["firing_rate"] * row["macs"]
            stage.inputs += row["macs"]
        else:
            stage.real_uj += row["snn_mj"] * 1e3
    return list(stages.values())


def stage_of(layer: str) -> str:
    """``backbone.stage2.layers.1.widen.synapse`` → ``backbone stage2``, ``head.box.0.layers.1`` → ``head box P3``."""
    room, _, rest = layer.partition(".")
    unit, _, inner = rest.partition(".")
    level = re.match(r"(\d+)\.", inner) if room == "head" else None
    return " ".join(filter(None, (room, unit, f"P{int(level[1]) + 3}" if level else "")))


def draw_energy(path: Path | str, rows: Sequence[Mapping[str, Any]], *, remark: str = "") -> Path:
    """Draw one pair of bars a stage, spikes beside the ANN twin, and firing rates to the right.

    Args:
        path: of the PNG; written whole or not at all.
        rows: as :func:`by_stage` takes them.
        remark: a line under the title.
    """
    stages = by_stage(rows)
    figure = canvas.sheet(9.0, max(3.0, 0.3 * len(stages) + 1.2))
    energy, rates = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    heights = list(range(len(stages)))
    energy.barh([h + 0.2 for h in heights], [s.ann_uj for s in stages], 0.38, color=canvas.MUTED, label="ANN twin")
    energy.barh(
        [h - 0.2 for h in heights], [s.snn_uj for s in stages], 0.38, color=canvas.series(0), label="driven by spikes"
    )
    real = [s.real_uj for s in stages]
    if any(real):
        energy.barh(
            [h - 0.2 for h in heights],
            real,
            0.38,
            left=[s.snn_uj for s in stages],
            color=canvas.series(1),
            label="real-valued input",
        )
    title = "energy of each stage, 45 nm" + (f"\n{remark}" if remark else "")
    energy.set(xlabel="µJ a time step", title=title)
    energy.set_yticks(heights, [stage.name for stage in stages])
    energy.set_ylim(len(stages) - 0.5, -0.5)  # the first one on top, and no empty band above or below
    energy.legend(fontsize=8, labelcolor=canvas.TEXT, facecolor=canvas.PANEL, edgecolor=canvas.FAINT, loc="lower right")
    rates.barh(heights, [stage.firing_rate for stage in stages], 0.6, color=canvas.series(0))
    rates.set(xlabel="spikes an input and step", title="firing rate")
    for axes in (energy, rates):
        canvas.darken(axes)
    return canvas.save(figure, path)
