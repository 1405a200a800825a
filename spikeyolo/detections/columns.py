"""Columns of a Parquet file as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import DetectionError

if TYPE_CHECKING:
    import pyarrow as pa

NEEDED = ("recording", "t_us", "score", "x", "y", "w", "h")


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns of a Parquet file as arrays; what has another kind, or no value where one must be, is refused.

    Attributes:
        rows: as read.
        path: of the file.
    """

    rows: pa.Table
    path: Path | str

    def __contains__(self, name: str) -> bool:
        return name in self.rows.column_names

    def names(self, name: str) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
        """Names in the order in which they first occur, and the index of each row's."""
        import pyarrow as pa

        one = self._filled(name).combine_chunks()
        if not pa.types.is_dictionary(one.type):
            one = one.dictionary_encode()
        codes = np.asarray(one.indices.to_numpy(zero_copy_only=False), np.int64)
        used, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        place = np.empty(len(used), np.int64)
        place[order] = np.arange(len(used))
        listed = one.dictionary.to_pylist()
        return tuple(str(listed[used[i]]) for i in order), place[inverse.reshape(-1)]

    def whole(self, name: str) -> npt.NDArray[np.int64]:
        """Whole numbers; -1 where an optional one is null or absent."""
        import pyarrow.compute as pc

        if name not in self:
            return np.full(len(self.rows), -1, np.int64)
        column = self._filled(name) if name in (*NEEDED, "class_id") else self.rows.column(name)
        return np.asarray(pc.fill_null(self._cast(name, column, "int64"), -1).to_numpy(), np.int64)

    def real(self, name: str) -> npt.NDArray[np.float32]:
        """Numbers, NaN where one is null."""
        return np.asarray(self._cast(name, self.rows.column(name), "float32").to_numpy(), np.float32)

    def vectors(self, name: str) -> npt.NDArray[np.float32] | None:
        """``[M, E]``; None where there is no such column."""
        import pyarrow as pa

        if name not in self:
            return None
        column = self._filled(name).combine_chunks()
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False)).tolist()
            if len(lengths) > 1:
                raise DetectionError(
                    f"{self.path}: {name} holds {lengths[0]} to {lengths[-1]} numbers; expected as many in each row"
                )
        elif not pa.types.is_fixed_size_list(column.type):
            raise DetectionError(f"{self.path}: {name} holds {column.type}; expected lists of numbers")
        values = self._cast(name, pa.chunked_array([column.flatten()]), "float32").to_numpy()
        width = len(values) // len(self.rows) if len(self.rows) else getattr(column.type, "list_size", 0)
        return np.asarray(values, np.float32).reshape(len(self.rows), width)

    def _filled(self, name: str) -> pa.ChunkedArray:
        column = self.rows.column(name)
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy())[0])
            raise DetectionError(f"{self.path}: row {row} has no {name}; expected one in each row")
        return column

    def _cast(self, name: str, column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
        import pyarrow as pa

        try:
            return column.cast(kind)
        except pa.ArrowException as error:
            what = {"int64": "whole numbers", "float32": "numbers"}[kind]
            raise DetectionError(f"{self.path}: {name} holds {column.type}; expected {what}") from error
