"""Reading rows of a recording's long arrays: decoded chunks, checked against their checksums and kept for a while.

zarr spends 2 to 3 ms on each read, more than decoding takes. On a local disk the chunks of a shard are therefore read
here, after the Zarr v3 specification (``sharding_indexed``: an index of offset and size at the shard's end); a store
elsewhere, or one written with other codecs, is read through zarr itself.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, Protocol

import google_crc32c
import numpy as np
from numcodecs import blosc

from spikeyolo.errors import RecordingError
from spikeyolo.events.store.location import reason, store_errors
from spikeyolo.events.types import Array

_ABSENT = (1 << 64) - 1  # offset of a chunk that was never written, after the specification
_CHECKSUM_BYTES = 4
_RESIDUE = 0x48674BC7  # crc32c of any bytes followed by their own crc32c


class ChunkCache:
    """Decoded chunks used last, up to ``max_bytes``; share one among recordings. Copies sent to workers start empty."""

    def __init__(self, *, max_bytes: int = 64 << 20) -> None:
        self.max_bytes = max_bytes
        self._reset()

    def _reset(self) -> None:
        self._arrays: OrderedDict[Hashable, Array] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, int]:
        return {"max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.max_bytes = state["max_bytes"]
        self._reset()

    def get(self, key: Hashable) -> Array | None:
        with self._lock:
            array = self._arrays.get(key)
            if array is not None:
                self._arrays.move_to_end(key)
            return array

    def put(self, key: Hashable, array: Array) -> None:
        with self._lock:
            if key in self._arrays:
                return
            self._arrays[key] = array
            self._bytes += array.nbytes
            while self._bytes > self.max_bytes and len(self._arrays) > 1:
                self._bytes -= self._arrays.popitem(last=False)[1].nbytes


class ChunkSource(Protocol):
    """The chunks of one stored array of 64-bit integers."""

    chunk_rows: int
    bulk_chunks: int  # as many are worth reading at once

    def read(self, first: int, last: int) -> list[Array]:
        """Decode the chunks ``first`` to ``last``, each as a whole; RecordingError where one is damaged."""


class LocalChunks:
    """Chunks in shard files on a local disk, encoded as blosc then crc32c."""

    bulk_chunks = 1

    def __init__(
        self, recording: Path, name: str, dtype: str, *, chunk_rows: int, chunks_per_shard: int, cache: ChunkCache
    ) -> None:
        self.chunk_rows = chunk_rows
        self._key = str(recording)
        self._name = name
        self._shards = os.path.join(recording, name, "c", "")
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._chunks_per_shard = chunks_per_shard
        self._cache = cache

    @classmethod
    def open(cls, recording: Path, name: str, cache: ChunkCache) -> LocalChunks | None:
        """The reader of this array's chunks, or None where they are encoded in another way."""
        try:
            metadata: dict[str, Any] = json.loads((recording / name / "zarr.json").read_bytes())
            (sharding,) = metadata["codecs"]
            configuration = sharding["configuration"]
            (shard_rows,) = metadata["chunk_grid"]["configuration"]["chunk_shape"]
            (chunk_rows,) = configuration["chunk_shape"]
            names = [codec["name"] for codec in configuration["codecs"]]
            index_names = [codec["name"] for codec in configuration["index_codecs"]]
            endian = configuration["codecs"][0]["configuration"]["endian"]
            index_at = configuration.get("index_location", "end")
            dtype = metadata["data_type"]
        except OSError as error:
            raise RecordingError(
                f"{recording}: its array {name!r} cannot be read ({error}); convert it anew"
            ) from error
        except (KeyError, ValueError, TypeError):
            return None
        layout = (sharding["name"], names, index_names, endian, index_at)
        known = ("sharding_indexed", ["bytes", "blosc", "crc32c"], ["bytes", "crc32c"], "little", "end")
        if layout != known or dtype not in ("uint64", "int64"):
            return None
        return cls(
            recording, name, dtype, chunk_rows=chunk_rows, chunks_per_shard=shard_rows // chunk_rows, cache=cache
        )

    def read(self, first: int, last: int) -> list[Array]:
        return [self._read(chunk) for chunk in range(first, last + 1)]

    def _read(self, chunk: int) -> Array:
        shard, place = divmod(chunk, self._chunks_per_shard)
        file = f"{self._shards}{shard}"
        try:
            descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise self._damaged(chunk, f"shard {shard} cannot be read ({error.strerror})") from error
        try:
            offset, size = self._index(descriptor, shard, chunk)[place]
            if offset == _ABSENT:
                raise self._damaged(chunk, "it is absent")
            if size > 2 * 8 * self.chunk_rows + 1024:
                raise self._damaged(chunk, f"its index gives it {size} bytes")
            encoded = _read_at(descriptor, int(offset), int(size))
        finally:
            os.close(descriptor)
        if len(encoded) != size or size <= _CHECKSUM_BYTES:
            raise self._damaged(chunk, f"{len(encoded)} of its {size} bytes are there")
        body = _verified(encoded)
        if body is None:
            raise self._damaged(chunk, "its checksum does not match its bytes")
        rows = np.empty(self.chunk_rows, self._dtype)
        decoded_bytes = int.from_bytes(body[4:8], "little")  # blosc's header
        if decoded_bytes != rows.nbytes:
            raise self._damaged(chunk, f"it decodes to {decoded_bytes} bytes, not {rows.nbytes}")
        try:
            blosc.decompress(body, rows)
        except (RuntimeError, ValueError) as error:
            raise self._damaged(chunk, str(error)) from error
        rows.flags.writeable = False
        return rows

    def _index(self, descriptor: int, shard: int, chunk: int) -> Array:
        key = (self._key, self._name, "shard", shard)
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        size = self._chunks_per_shard * 16 + _CHECKSUM_BYTES
        length = os.fstat(descriptor).st_size
        encoded = _read_at(descriptor, length - size, size) if length >= size else b""
        body = _verified(encoded) if encoded else None
        if body is None:
            raise self._damaged(chunk, f"the index of shard {shard} does not match its checksum")
        index = np.frombuffer(body, "<u8").reshape(-1, 2)
        self._cache.put(key, index)
        return index

    def _damaged(self, chunk: int, why: str) -> RecordingError:
        return damaged(self._key, self._name, chunk, self.chunk_rows, why)


class ZarrChunks:
    """Chunks read through zarr: any store (S3 too), any codecs."""

    def __init__(self, recording: str, name: str, array: Any) -> None:
        self.chunk_rows = int(array.chunks[0])
        self.bulk_chunks = int((array.shards or array.chunks)[0]) // self.chunk_rows
        self._recording = recording
        self._name = name
        self._array = array

    def read(self, first: int, last: int) -> list[Array]:
        size = self.chunk_rows
        try:
            rows = np.asarray(self._array[first * size : (last + 1) * size])
        except (ValueError, RuntimeError) as error:
            if first < last:  # find out which one it is
                return [rows for chunk in range(first, last + 1) for rows in self.read(chunk, chunk)]
            raise self._damaged(first, reason(error)) from error
        except store_errors() as error:
            raise RecordingError(f"{self._recording}: cannot be read ({reason(error)})") from error
        rows.flags.writeable = False
        chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
        for chunk, part in enumerate(chunks, start=first):
            if part[0] == rows.dtype.type(self._array.fill_value):
                raise self._damaged(chunk, "it is absent")
        if len(chunks) != last - first + 1:
            raise self._damaged(first + len(chunks), "it is absent")
        return chunks

    def _damaged(self, chunk: int, why: str) -> RecordingError:
        return damaged(self._recording, self._name, chunk, self.chunk_rows, why)


class ChunkedRows:
    """Rows of one stored array by number, out of cached chunks."""

    def __init__(self, source: ChunkSource, key: Hashable, cache: ChunkCache) -> None:
        self._source = source
        self._key = key
        self._cache = cache

    def __getitem__(self, row: int) -> int:
        chunk, place = divmod(row, self._source.chunk_rows)
        return int(self._chunks(chunk, chunk)[0][place])

    def read(self, low: int, high: int) -> Array:
        """Rows ``low`` to ``high - 1``, read-only; without a copy where they lie in one chunk."""
        size = self._source.chunk_rows
        first, last = low // size, (high - 1) // size
        parts = self._chunks(first, last)
        if first == last:
            return parts[0][low - first * size : high - first * size]
        parts[0], parts[-1] = parts[0][low - first * size :], parts[-1][: high - last * size]
        rows = np.concatenate(parts)
        rows.flags.writeable = False
        return rows

    def decode(self, num_rows: int) -> Iterator[Array]:
        """All rows in order, a few at a time, past the cache."""
        size = self._source.chunk_rows
        last = (num_rows - 1) // size
        for first in range(0, last + 1, self._source.bulk_chunks):
            for chunk, rows in enumerate(
                self._source.read(first, min(first + self._source.bulk_chunks - 1, last)), start=first
            ):
                yield rows[: num_rows - chunk * size]

    def _chunks(self, first: int, last: int) -> list[Array]:
        """Whole chunks, those that are not in the cache read in one go."""
        found = [self._cache.get((self._key, chunk)) for chunk in range(first, last + 1)]
        missing = [first + place for place, rows in enumerate(found) if rows is None]
        if missing:
            for chunk, rows in enumerate(self._source.read(missing[0], missing[-1]), start=missing[0]):
                found[chunk - first] = rows
                self._cache.put((self._key, chunk), rows)
        return [rows for rows in found if rows is not None]


def damaged(recording: str, name: str, chunk: int, chunk_rows: int, why: str) -> RecordingError:
    """The one sentence for a chunk that is not as it was written."""
    first = chunk * chunk_rows
    return RecordingError(
        f"{recording}: chunk {chunk} of {name} (rows {first} to {first + chunk_rows - 1}) is damaged: {why}; "
        "convert the recording anew"
    )


def _read_at(descriptor: int, offset: int, size: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, size)


def _verified(encoded: bytes) -> memoryview | None:
    """The bytes before a trailing crc32c, or None where it does not match."""
    return memoryview(encoded)[:-_CHECKSUM_BYTES] if google_crc32c.value(encoded) == _RESIDUE else None
