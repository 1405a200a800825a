"""Which detection belongs to which track: pairs that may be one object, and the cheapest choice among them.

Only pairs that may be are looked at, and of very many detections only the nearest ones to each track, so that time and
memory grow with the number of tracks and not with its square.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

ALL_PAIRS = 1 << 14  # up to so many all pairs are looked at
NEAREST = 32  # beyond, so many detections of each track
DENSE = 1 << 16  # cells of a matrix of costs; beyond, a sparse one
APART = 1e7  # px between classes


def candidates(centres: Floats, class_id: Index, found_centres: Floats, found_class_id: Index) -> tuple[Index, Index]:
    """Pairs of track and detection of one class, row and column of each.

    Args:
        centres, class_id: ``[N, 2]`` and ``[N]``, of tracks, px.
        found_centres, found_class_id: ``[M, 2]`` and ``[M]``, of detections.
    """
    tracks, found = len(class_id), len(found_class_id)
    if tracks * found <= ALL_PAIRS:
        rows, columns = np.nonzero(class_id[:, None] == found_class_id)
        return rows, columns
    nearest = min(NEAREST, found)
    tree = cKDTree(np.column_stack((found_centres, APART * found_class_id)))
    _, columns = tree.query(np.column_stack((centres, APART * class_id)), k=nearest)
    rows = np.repeat(np.arange(tracks), nearest)
    columns = np.asarray(columns, np.int64).reshape(-1)
    same = class_id[rows] == found_class_id[columns]
    return rows[same], columns[same]


def assign(rows: Index, columns: Index, cost: Floats, *, limit: float) -> tuple[Index, Index]:
    """Choose pairs, no row or column twice, so that the sum of what each costs less than the limit is greatest.

    Args:
        rows, columns: ``[P]``, of each pair that may be chosen.
        cost: ``[P]``; pairs of more than the limit are not chosen.
        limit: what leaving a row or column alone costs.

    Returns:
        Rows and columns that were chosen, in the order of rows.
    """
    kept = cost <= limit
    rows, columns, cost = rows[kept], columns[kept], cost[kept]
    if not len(rows):
        return rows, columns
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    if alone.all():
        return rows, columns
    contested = ~alone
    some_rows, row = np.unique(rows[contested], return_inverse=True)
    some_columns, column = np.unique(columns[contested], return_inverse=True)
    if len(some_rows) * len(some_columns) <= DENSE:
        matrix = np.full((len(some_rows), len(some_columns)), limit)
        matrix[row, column] = cost[contested]
        admitted = np.zeros(matrix.shape, bool)
        admitted[row, column] = True
        chosen_row, chosen_column = linear_sum_assignment(matrix)
        taken = admitted[chosen_row, chosen_column]
    else:
        chosen_row, chosen_column = _sparse(row, column, cost[contested], len(some_rows), len(some_columns), limit)
        taken = chosen_column < len(some_columns)
    all_rows = np.concatenate((rows[alone], some_rows[chosen_row[taken]]))
    all_columns = np.concatenate((columns[alone], some_columns[chosen_column[taken]]))
    order = np.argsort(all_rows)
    return all_rows[order], all_columns[order]


def _sparse(row: Index, column: Index, cost: Floats, rows: int, columns: int, limit: float) -> tuple[Index, Index]:
    """Every row gets a column: one of its own at the limit's cost, if no other."""
    every = np.arange(rows)
    weight = np.concatenate((cost, np.full(rows, limit)))
    weight += 1 - weight.min()  # a weight of 0 would be no pair
    places = (np.concatenate((row, every)), np.concatenate((column, columns + every)))
    matrix = csr_array((weight, places), shape=(rows, columns + rows))
    chosen_row, chosen_column = min_weight_full_bipartite_matching(matrix)
    return np.asarray(chosen_row, np.int64), np.asarray(chosen_column, np.int64)
