"""LZ4 and Zstandard frames: whole ones unpack, damaged and oversized ones are refused."""

from __future__ import annotations

import lz4.frame
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.events.formats.inivation.compression import unpack_lz4, unpack_zstd_frame

LIMIT = 1 << 22
KINDS = [(lz4.frame.compress, unpack_lz4), (zstandard.ZstdCompressor().compress, unpack_zstd_frame)]
contents = st.one_of(
    st.binary(max_size=3000),
    st.builds(lambda part, times: part * times, st.binary(min_size=1, max_size=40), st.integers(1, 4000)),
)


@pytest.mark.parametrize(("pack", "unpack"), KINDS)
@given(content=contents)
def test_a_frame_unpacks_to_its_content(pack, unpack, content):
    assert unpack(pack(content), LIMIT) == content


@pytest.mark.parametrize(("pack", "unpack"), KINDS)
@given(content=contents, data=st.data())
def test_a_damaged_frame_unpacks_within_the_limit_or_is_refused(pack, unpack, content, data):
    frame = bytearray(pack(content))
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    frame = frame[: data.draw(st.integers(0, len(frame)))]
    try:
        unpacked = unpack(bytes(frame), LIMIT)
    except ValueError:
        return
    assert len(unpacked) <= LIMIT


@pytest.mark.parametrize(("pack", "unpack"), KINDS)
def test_a_frame_that_ends_early_is_refused(pack, unpack):
    frame = pack(bytes(range(256)) * 20)
    for length in (0, 3, 8, len(frame) // 2, len(frame) - 1):
        with pytest.raises(ValueError, match="frame"):
            unpack(frame[:length], LIMIT)


@pytest.mark.parametrize(("pack", "unpack"), KINDS)
def test_a_frame_that_holds_more_than_the_limit_is_refused(pack, unpack):
    content = np.zeros(1 << 20, np.uint8).tobytes()
    assert unpack(pack(content), 1 << 20) == content
    with pytest.raises(ValueError, match="holds more than 1048575 bytes"):
        unpack(pack(content), (1 << 20) - 1)


def test_a_frame_of_runs_that_states_no_size_is_refused_at_the_limit():
    runs = b"\x28\xb5\x2f\xfd\x00\x58" + b"\x02\x00\x10\x00" * 40 + b"\x03\x00\x10\x00"  # 128 KiB in one byte each
    with pytest.raises(ValueError, match="frame"):
        unpack_zstd_frame(runs, 1 << 18)
