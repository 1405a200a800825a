"""What AEDAT4 packets are packed with: LZ4 and Zstandard frames, unpacked within a limit of bytes.

https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md and lz4_Block_format.md; RFC 8878 for Zstandard, whose
content numcodecs unpacks after its size is bounded here. LZ4 checksums are skipped over.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from numcodecs.zstd import decompress as unpack_zstd

LZ4_MAGIC = b"\x04\x22\x4d\x18"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_BLOCK = 1 << 17  # no block unpacks to more
BLOCK_SIZES = {4: 1 << 16, 5: 1 << 18, 6: 1 << 20, 7: 1 << 22}

Bytes = npt.NDArray[np.uint8]


def unpack_lz4(packed: bytes, limit: int) -> bytes:
    """The content of one LZ4 frame.

    Raises:
        ValueError: the bytes are no whole LZ4 frame, or hold more than ``limit`` bytes.
    """
    if len(packed) < 7 or not packed.startswith(LZ4_MAGIC):
        raise ValueError("no LZ4 frame")
    data = np.frombuffer(packed, np.uint8)
    flags, block_size = packed[4], BLOCK_SIZES.get(packed[5] >> 4 & 7)
    if flags >> 6 != 1 or flags & 1 or block_size is None:
        raise ValueError(f"LZ4 frame with flags 0x{flags:02X}, 0x{packed[5]:02X}")
    at = 7 + (8 if flags & 8 else 0)
    content = np.empty(max(4 * len(data), block_size), np.uint8)
    filled = 0
    while True:
        if at + 4 > len(data):
            raise ValueError("LZ4 frame ends early")
        size = struct.unpack_from("<I", packed, at)[0]
        at += 4
        if size == 0:
            return content[:filled].tobytes()
        stored, size = bool(size >> 31), size & 0x7FFFFFFF
        if size > block_size or at + size > len(data):
            raise ValueError("LZ4 block is longer than its frame allows")
        if filled + block_size > limit:
            raise ValueError(f"LZ4 frame holds more than {limit} bytes")
        if filled + block_size > len(content):
            content = np.concatenate([content[:filled], np.empty(filled + block_size, np.uint8)])
        if stored:
            content[filled : filled + size] = data[at : at + size]
            filled += size
        else:
            filled = _unpack_block(data[at : at + size], content[: filled + block_size], filled)
            if filled < 0:
                raise ValueError("LZ4 block does not decode")
        at += size + (4 if flags & 16 else 0)


def unpack_zstd_frame(packed: bytes, limit: int) -> bytes:
    """The content of one Zstandard frame.

    Raises:
        ValueError: the bytes are no whole Zstandard frame, or may hold more than ``limit`` bytes.
    """
    if len(packed) < 6 or not packed.startswith(ZSTD_MAGIC):
        raise ValueError("no Zstandard frame")
    descriptor = packed[4]
    single, dictionary, width = descriptor >> 5 & 1, descriptor & 3, descriptor >> 6
    size_at, size_bytes = 5 + (1 - single) + (0, 1, 2, 4)[dictionary], (single, 2, 4, 8)[width]
    at = size_at + size_bytes
    if int.from_bytes(packed[size_at:at], "little") > limit:
        raise ValueError(f"Zstandard frame that says it holds more than {limit} bytes")
    blocks, last = 0, 0
    while not last:
        if at + 3 > len(packed):
            raise ValueError("Zstandard frame ends early")
        head = int.from_bytes(packed[at : at + 3], "little")
        last, kind, size = head & 1, head >> 1 & 3, head >> 3
        at += 3 + (1 if kind == 1 else size)  # a run-length block stores one byte
        blocks += 1
    if blocks * ZSTD_BLOCK > limit + ZSTD_BLOCK or at + (4 if descriptor & 4 else 0) != len(packed):
        raise ValueError(f"Zstandard frame of {blocks} blocks does not fit its {len(packed)} bytes")
    try:
        return bytes(unpack_zstd(packed))
    except RuntimeError as error:
        raise ValueError(str(error)) from error


@njit(nogil=True, cache=True)
def _unpack_block(data: Bytes, content: Bytes, filled: Any) -> Any:
    """Decode a block behind the ``filled`` bytes it may refer to; the new fill, or -1 where it makes no sense.

    Unsigned places need no test for negative indices; 16 bytes at once are copied where there is room for them, as
    what lies behind the copied ones is written again.
    """
    one, two, four, wide, full = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(16), np.uint64(15)
    at, fill = np.uint64(0), np.uint64(filled)
    size, room = np.uint64(len(data)), np.uint64(len(content))
    while at < size:
        token = np.uint64(data[at])
        at += one
        count = token >> four
        if count == full:
            at, count = _longer(data, at, count)
        if at + count > size or fill + count > room:
            return -1
        if count <= wide and at + wide <= size and fill + wide <= room:
            for i in range(16):
                content[fill + np.uint64(i)] = data[at + np.uint64(i)]
        else:
            for i in range(count):
                content[fill + np.uint64(i)] = data[at + np.uint64(i)]
        at += count
        fill += count
        if at == size:
            return np.int64(fill)  # the last sequence has literals only
        if at + two > size:
            return -1
        offset = np.uint64(data[at]) | np.uint64(data[at + one]) << np.uint64(8)
        at += two
        count = token & full
        if count == full:
            at, count = _longer(data, at, count)
        count += four
        if at > size or offset == np.uint64(0) or offset > fill or fill + count > room:
            return -1
        source = fill - offset
        if offset >= wide and count <= wide and fill + wide <= room:
            for i in range(16):
                content[fill + np.uint64(i)] = content[source + np.uint64(i)]
        else:
            for i in range(count):  # source and target may overlap: a run repeats itself
                content[fill + np.uint64(i)] = content[source + np.uint64(i)]
        fill += count
    return -1


@njit(nogil=True, cache=True)
def _longer(data: Bytes, at: Any, count: Any) -> Any:
    """A length that goes on in further bytes; past the end of the data where it never ends."""
    while at < np.uint64(len(data)):
        more = data[at]
        at += np.uint64(1)
        count += np.uint64(more)
        if more != 255:
            return at, count
    return at + np.uint64(1), count
