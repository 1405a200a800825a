"""Finding the events of an HDF5 file whose columns have other names: by what columns are called, and by their shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from spikeyolo.events.formats.tables.column_names import roles_of

# Orders of columns in tables without names, as published sets have them (rpg_e2vid, MVSEC, N-Caltech conversions).
TABLE_ORDERS = ("txyp", "xytp", "xypt")
SAMPLE_ROWS = 4096


@dataclass(frozen=True)
class FoundEvents:
    """Where a file keeps events.

    Attributes:
        datasets: the columns t, x, y, p; or one table.
        fields: names, or numbers, of the table's columns t, x, y, p; empty where each is a data set of its own.
    """

    datasets: tuple[str, ...]
    fields: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        if not self.fields:
            return ", ".join(self.datasets)
        return f"{self.datasets[0]} (columns {', '.join(map(str, self.fields))})"


def find_events(file: Any) -> list[FoundEvents]:
    """All events in an open HDF5 file, in the order of their names."""
    groups: dict[str, dict[str, Any]] = {}
    found: list[FoundEvents] = []

    def look(name: str, node: Any) -> None:
        if not isinstance(node, h5py.Dataset):
            return
        group, _, last = name.rpartition("/")
        if node.dtype.names and len(node.shape) == 1:
            roles = roles_of(node.dtype.names)
            if roles and all(node.dtype[field].kind in "iubf" for field in roles.values()):
                found.append(FoundEvents((name,), tuple(roles[role] for role in "txyp")))
        elif len(node.shape) == 2 and node.shape[1] == 4 and node.shape[0] and node.dtype.kind in "iuf":
            order = _order(np.asarray(node[:SAMPLE_ROWS]))
            if order:
                found.append(FoundEvents((name,), tuple(order.index(role) for role in "txyp")))
        elif len(node.shape) == 1 and node.dtype.kind in "iubf":
            groups.setdefault(group, {})[last] = node

    file.visititems(look)
    for group, columns in groups.items():
        roles = roles_of(columns)
        if roles and len({columns[name].shape for name in roles.values()}) == 1:
            found.append(FoundEvents(tuple(f"{group}/{roles[role]}".lstrip("/") for role in "txyp")))
    return sorted(found, key=lambda events: events.datasets)


def _order(sample: npt.NDArray[Any]) -> str | None:
    """The one order of columns in which the rows are events; None where there is none, or more than one.

    Times may step back now and then, which the event rules judge: the order with the fewest such steps is taken.
    """
    steps = {order: _steps_back(*(sample[:, order.index(role)] for role in "txyp")) for order in TABLE_ORDERS}
    fewest = min(steps.values())
    best = [order for order in TABLE_ORDERS if steps[order] == fewest]
    return best[0] if len(best) == 1 and fewest <= max(1, len(sample) // 100) else None


def _steps_back(t: npt.NDArray[Any], x: npt.NDArray[Any], y: npt.NDArray[Any], p: npt.NDArray[Any]) -> int:
    """How often time decreases from row to row; more than there are rows where these are no events at all."""
    whole = all(bool(((side >= 0) & (side == np.floor(side))).all()) for side in (x, y))
    if not whole or not np.isin(p, (-1, 0, 1)).all():
        return len(t) + 1
    return int((t[1:] < t[:-1]).sum())
