"""EVT 4.0: single events, vectors in two words, time words; damage leaves the events before it."""

from __future__ import annotations

import struct

import pytest
from format_laws import (
    assert_a_cut_leaves_the_events_before,
    assert_events_or_one_line,
    assert_gives,
    changed,
    few,
    read,
)
from format_writers import recordings, rows
from hypothesis import given
from hypothesis import strategies as st
from lab_format_writers import write_evt4

from spikeyolo.errors import RecordingError

HEADER = b"% format EVT4;height=720;width=1280\n% end\n"


def words(*values):
    return HEADER + struct.pack(f"<{len(values)}I", *values)


@few
@given(recordings(), st.sampled_from([1, 7, 1 << 20]))
def test_evt4_returns_what_was_written(tmp_path, events, max_events):
    (path := tmp_path / "a.raw").write_bytes(write_evt4(events))
    assert_gives(path, events, "evt4", max_events)


@few
@given(recordings(max_gap=2**33))
def test_evt4_time_goes_on_when_its_34_bits_wrap(tmp_path, events):
    (path := tmp_path / "a.raw").write_bytes(write_evt4(events))
    assert_gives(path, events, "evt4")


@few
@given(recordings(), st.integers(0, 10**6))
def test_evt4_cut_at_any_byte_gives_the_events_before(tmp_path, events, cut):
    whole = write_evt4(events)
    assert_a_cut_leaves_the_events_before(tmp_path / "a.raw", whole, cut % len(whole), len(HEADER) + 1)


@few
@given(recordings(), st.lists(st.integers(0, 10**6), max_size=12), st.binary(min_size=12, max_size=12))
def test_damaged_evt4_gives_valid_events_or_one_line(tmp_path, events, places, values):
    (path := tmp_path / "a.raw").write_bytes(changed(write_evt4(events), places, values))
    assert_events_or_one_line(path)


def test_evt4_words_of_every_kind(tmp_path):
    """Triggers, monitoring words, what continues them and padding are passed over; a mask is no word of its own."""
    content = words(
        0xE << 28 | 2, 0xB << 28 | 5 << 22 | 3 << 11 | 2, 0x9 << 28, 0x6 << 28 | 0x14, 0x7 << 28 | 99, 0xFFFFFFFF,
        0xC << 28 | 6 << 22 | 64 << 11 | 9, 0xE0000001, 0xA << 28 | 7 << 22 | 4 << 11 | 1,
    )  # fmt: skip
    (path := tmp_path / "a.raw").write_bytes(content)
    reader, found = read(path, strict=True)
    first = 2 * 64 + 5
    vector = [(x, 9, 0) for x in (64, 93, 94, 95)]
    assert reader.time_offset_us == first
    assert rows(found) == [(0, 3, 2, 1), *((1, *event) for event in vector), (2, 4, 1, 0)]


def test_evt4_events_before_the_first_time_are_dropped_and_counted(tmp_path):
    content = words(0xA << 28, 0xD << 28, 0b101, 0xE << 28 | 1, 0xA << 28)
    (path := tmp_path / "a.raw").write_bytes(content)
    reader, found = read(path)
    assert (len(found), reader.dropped_events, reader.time_offset_us) == (1, 3, 64)


@pytest.mark.parametrize(
    ("dirty", "kept"),
    [
        ((0xC << 28 | 1264 << 11 | 9, 0x00018000), [(1279, 9)]),  # the vector's last column lies beyond the sensor
        ((0xA << 28 | 5 << 11 | 720,), []),  # below it
        ((0xB << 28 | 63 << 22 | 4 << 11, 0xB << 28 | 5 << 11), [(4, 0), (5, 0)]),  # a time that steps back
    ],
)
def test_dirty_evt4_events_are_found(tmp_path, dirty, kept):
    (path := tmp_path / "a.raw").write_bytes(words(0xE << 28 | 1, 0xA << 28 | 7 << 11 | 7, *dirty))
    reader, found = read(path)
    assert [(x, y) for _, x, y, _ in rows(found)] == [(7, 7), *kept]
    assert reader.counts.dirty == 1


def test_evt4_that_ends_within_a_vector_is_said_and_refused_under_strict(tmp_path):
    (path := tmp_path / "a.raw").write_bytes(words(0xE << 28, 0xA << 28, 0xD << 28))
    reader, found = read(path)
    assert len(found) == 1
    assert ["truncated within a vector" in warning for warning in reader.warnings] == [True]
    with pytest.raises(RecordingError, match="truncated within a vector"):
        read(path, strict=True)


def test_an_evt4_vector_that_lies_across_two_buffers_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("spikeyolo.events.formats.words.BUFFER_BYTES", 4)
    (path := tmp_path / "a.raw").write_bytes(words(0xE << 28, 0xD << 28 | 32 << 11 | 5, 0b11))
    assert rows(read(path)[1]) == [(0, 32, 5, 1), (0, 33, 5, 1)]
