"""LZ4 and Zstandard frames: whole ones unpack, damaged and oversized ones are refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import LZ4, Zstd

from spikeyolo.events.formats.compression import unpack_lz4, unpack_zstd_frame

LIMIT = 1 << 22
contents = st.one_of(
    st.binary(max_size=3000),
    st.builds(lambda part, times: part * times, st.binary(min_size=1, max_size=40), st.integers(1, 4000)),
)


def lz4_frame(content: bytes, block_size: int = 1 << 16, stored: bool = False, checks: bool = False) -> bytes:
    """A frame of independent blocks, each packed by numcodecs, which puts four bytes of length before a block."""
    frame = b"\x04\x22\x4d\x18" + bytes([0x60 | 0x10 * checks | 0x04 * checks, 0x40, 0])
    for first in range(0, len(content), block_size):
        block = content[first : first + block_size]
        packed = block if stored else bytes(LZ4().encode(block))[4:]
        frame += struct.pack("<I", len(packed) | stored << 31) + packed + (b"sum " if checks else b"")
    return frame + bytes(4) + (b"sum " if checks else b"")


@settings(deadline=None)
@given(contents, st.booleans(), st.booleans())
def test_an_lz4_frame_unpacks_to_its_content(content, stored, checks):
    assert unpack_lz4(lz4_frame(content, stored=stored, checks=checks), LIMIT) == content


def test_a_block_may_refer_to_the_block_before():
    first, again = b"0123456789abcdefghij", bytes([0x0F, 20, 0, 1]) + bytes([0x10]) + b"!"
    frame = b"\x04\x22\x4d\x18\x40\x40\x00" + struct.pack("<I", len(first) | 1 << 31) + first
    frame += struct.pack("<I", len(again)) + again + bytes(4)
    assert unpack_lz4(frame, LIMIT) == first + first + b"!"


@settings(deadline=None)
@given(contents, st.data())
def test_a_damaged_frame_unpacks_within_the_limit_or_is_refused(content, data):
    for pack, unpack in ((lz4_frame, unpack_lz4), (Zstd().encode, unpack_zstd_frame)):
        frame = bytearray(pack(content))
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
        frame = frame[: data.draw(st.integers(0, len(frame)))]
        try:
            unpacked = unpack(bytes(frame), LIMIT)
        except ValueError:
            continue
        assert len(unpacked) <= LIMIT


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_noise_behind_a_frame_header_is_refused_or_unpacks_within_the_limit(content):
    try:
        unpacked = unpack_lz4(b"\x04\x22\x4d\x18\x60\x40\x00" + content, LIMIT)
    except ValueError:
        return
    assert len(unpacked) <= LIMIT


@settings(deadline=None)
@given(contents.filter(len))
def test_a_zstandard_frame_unpacks_to_its_content(content):
    assert unpack_zstd_frame(bytes(Zstd().encode(content)), LIMIT) == content


def test_frames_that_hold_more_than_the_limit_are_refused():
    content = np.zeros(1 << 20, np.uint8).tobytes()
    with pytest.raises(ValueError, match="more than"):
        unpack_lz4(lz4_frame(content), 1 << 18)
    with pytest.raises(ValueError, match="more than"):
        unpack_zstd_frame(bytes(Zstd().encode(content)), 1 << 18)
    with pytest.raises(ValueError, match="does not fit"):  # runs of 128 KiB in one byte each, and no size stated
        unpack_zstd_frame(b"\x28\xb5\x2f\xfd\x00\x58" + b"\x02\x00\x10\x00" * 40 + b"\x03\x00\x10\x00", 1 << 18)
