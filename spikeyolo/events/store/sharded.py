"""Writing a long column into a sharded Zarr array, a whole shard at a time, however the rows arrive."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from spikeyolo.events.types import Array


class ShardedColumn:
    """One growing array of 64-bit integers; memory stays bounded by a shard and one append.

    Args:
        group: where the array is made.
        name: of the array.
        dtype: ``uint64`` or ``int64``.
        chunk_rows, shard_rows: rows a chunk (the unit of reading), and rows a shard (the unit of writing).
        written: called with each stretch that was written, in order.
    """

    def __init__(
        self,
        group: zarr.Group,
        name: str,
        *,
        dtype: str,
        chunk_rows: int,
        shard_rows: int,
        written: Callable[[Array], None] | None = None,
    ) -> None:
        self._array = group.create_array(
            name,
            shape=(0,),
            dtype=dtype,
            chunks=(chunk_rows,),
            shards=(shard_rows,),
            compressors=[BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", typesize=8), Crc32cCodec()],
            # Never a row (all bits set), so that an absent chunk is seen.
            fill_value=np.iinfo(dtype).max if dtype == "uint64" else -1,
        )
        self._dtype = np.dtype(dtype)
        self._shard_rows = shard_rows
        self._pending: list[Array] = []
        self._pending_rows = 0
        self._told = written
        self.stored_rows = 0

    def __len__(self) -> int:
        """Rows so far, stored or pending."""
        return self.stored_rows + self._pending_rows

    def append(self, rows: Array) -> None:
        """Add rows; whole shards are written at once, the rest waits.

        Raises:
            OSError: the store cannot be written.
        """
        self._pending.append(rows)
        self._pending_rows += len(rows)
        if self._pending_rows >= self._shard_rows:
            self._write(self._pending_rows - self._pending_rows % self._shard_rows)

    def flush(self) -> None:
        """Write what waits; nothing may be appended afterwards.

        Raises:
            OSError: the store cannot be written.
        """
        self._write(self._pending_rows)

    def _write(self, size: int) -> None:
        rows: npt.NDArray[np.int64] | npt.NDArray[np.uint64]
        rows = np.concatenate([np.empty(0, self._dtype), *self._pending])
        for start in range(0, size, self._shard_rows):
            part = rows[start : min(start + self._shard_rows, size)]
            self._array.resize((self.stored_rows + len(part),))
            self._array[self.stored_rows :] = part
            if self._told is not None:
                self._told(part)
            self.stored_rows += len(part)
        rest = rows[size:].copy()
        self._pending = [rest] if len(rest) else []
        self._pending_rows = len(rest)
