"""A bar chart of what each layer costs, beside its ANN twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikeyolo.report import canvas


def draw_energy(path: Path | str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Draw one bar a layer: energy of spikes before that of the ANN twin, and firing rates below.

    Args:
        path: of the PNG; written whole or not at all.
        rows: ``layer``, ``snn_mj``, ``ann_mj`` (one time step), ``firing_rate``, ``spiking``, in the network's order.
    """
    figure = canvas.sheet(max(8.0, 0.16 * len(rows)), 7.0)
    energy, rates = figure.subplots(2, 1, sharex=True)
    places = list(range(len(rows)))
    energy.bar(places, [row["ann_mj"] * 1e3 for row in rows], color=canvas.FAINT, label="ANN twin: every MAC")
    for spiking, label in ((True, "behind spikes"), (False, "real-valued input")):
        chosen = [place for place in places if rows[place]["spiking"] == spiking]
        values = [rows[place]["snn_mj"] * 1e3 for place in chosen]
        energy.bar(chosen, values, color=canvas.series(0 if spiking else 1), label=label)
    energy.set_yscale("log")
    energy.set(ylabel="µJ a time step", title="energy of each layer, 45 nm")
    energy.legend(fontsize=8, labelcolor=canvas.TEXT, facecolor=canvas.PANEL, edgecolor=canvas.FAINT)
    rates.bar(places, [row["firing_rate"] if row["spiking"] else 0.0 for row in rows], color=canvas.series(0))
    rates.set(ylabel="spikes an element and step")
    for axes in (energy, rates):
        canvas.darken(axes)
    rates.set_xticks(places, [row["layer"] for row in rows], rotation=90, fontsize=5)
    return canvas.save(figure, path)
