"""Law of the decoders: what an encoder of the public layout wrote comes back event by event."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from pathlib import Path

import hdf5plugin
import numpy as np
import pytest
from format_writers import (
    recordings,
    rows,
    write_aedat4,
    write_columns,
    write_dat,
    write_ecf,
    write_evt2,
    write_evt3,
    write_evt21,
    write_records,
    write_saccade,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikeyolo.events import Events
from spikeyolo.events.cleaning import EventCounts
from spikeyolo.events.formats import EventReader, open_recording

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
batch_sizes = st.sampled_from([1, 7, 1 << 20])


def read(path: Path, max_events: int = 1 << 20, **options) -> tuple[EventReader, Events]:
    reader = open_recording(path, **options)
    batches, shares = [], [0.0]
    for batch in reader.batches(max_events):
        batches.append(batch)
        shares.append(reader.share_read)
    assert all(0 <= before <= after <= 1 for before, after in pairwise(shares))
    assert not batches or shares[-1] > 0
    assert all(0 < len(batch) <= max_events for batch in batches)
    return reader, Events.concatenate(batches)


def check(path: Path, events: Events, max_events: int, format_name: str, clock_zero_us: int = 0, **options) -> None:
    """The events come back, from 0 µs on, and the offset says what their first time was."""
    reader, found = read(path, max_events, strict=True, **options)
    first = int(events.t[0])
    assert rows(found) == [(t - first, x, y, p) for t, x, y, p in rows(events)]
    assert reader.time_offset_us == open_recording(path, **options).time_offset_us == clock_zero_us + first
    assert reader.counts == EventCounts(in_file=len(events))
    assert (reader.format, reader.width, reader.height) == (format_name, events.width, events.height)
    assert [column.dtype for column in (found.t, found.x, found.y, found.p)] == [
        np.int64,
        np.uint16,
        np.uint16,
        np.uint8,
    ]
    assert (reader.dropped_events, reader.warnings) == (0, [])


@few
@given(recordings(), batch_sizes)
def test_dat_version_2_returns_what_was_written(tmp_path, events, max_events):
    (path := tmp_path / "a.dat").write_bytes(write_dat(events))
    check(path, events, max_events, "dat2")


@few
@given(recordings(width=304, height=240), batch_sizes)
def test_dat_version_1_returns_what_was_written(tmp_path, events, max_events):
    (path := tmp_path / "a.dat").write_bytes(write_dat(events, version=1))
    check(path, events, max_events, "dat1")


@few
@given(recordings(), batch_sizes)
def test_evt2_returns_what_was_written(tmp_path, events, max_events):
    (path := tmp_path / "a.raw").write_bytes(write_evt2(events))
    check(path, events, max_events, "evt2")


@few
@given(recordings(), batch_sizes, st.sampled_from(["little", "legacy", "big"]))
def test_evt21_returns_what_was_written_in_every_byte_order(tmp_path, events, max_events, order):
    (path := tmp_path / "a.raw").write_bytes(write_evt21(events, order))
    check(path, events, max_events, "evt21")


@few
@given(recordings(), st.sampled_from(["little", "legacy"]))
def test_evt21_without_a_stated_byte_order_is_told_by_its_time_words(tmp_path, events, order):
    (path := tmp_path / "a.raw").write_bytes(write_evt21(events, order, said=False))
    check(path, events, 1 << 20, "evt21")


@few
@given(recordings(), batch_sizes, st.sampled_from(["little", "big"]))
def test_evt3_returns_what_was_written(tmp_path, events, max_events, order):
    (path := tmp_path / "a.raw").write_bytes(write_evt3(events, order))
    check(path, events, max_events, "evt3")


@few
@given(recordings(max_gap=2**24))
def test_evt3_time_goes_on_when_its_24_bits_wrap(tmp_path, events):
    (path := tmp_path / "a.raw").write_bytes(write_evt3(events))
    check(path, events, 1 << 20, "evt3")


@pytest.mark.parametrize(
    ("write", "bits", "name"), [(write_dat, 32, "dat2"), (write_evt2, 34, "evt2"), (write_evt21, 34, "evt21")]
)
def test_time_goes_on_when_its_counter_wraps(tmp_path, write, bits, name):
    t = np.arange(2**bits - 3000, 2**bits + 3000, 7)
    zeros = np.zeros(len(t))
    events = Events(t, zeros.astype(np.uint16), zeros.astype(np.uint16), zeros.astype(np.uint8), 1280, 720)
    (path := tmp_path / "a.bits").write_bytes(write(events))
    check(path, events, 100, name)


@few
@given(recordings(width=34, height=34), batch_sizes)
def test_n_mnist_returns_what_was_written(tmp_path, events, max_events):
    (path := tmp_path / "a.bin").write_bytes(write_saccade(events))
    check(path, events, max_events, "saccade", size=(34, 34))


@few
@given(recordings(), batch_sizes, st.booleans(), st.sampled_from(["etram", "attributes"]))
def test_hdf5_columns_return_what_was_written(tmp_path, events, max_events, signed, layout):
    write_columns(path := tmp_path / "a.h5", events, layout, signed)
    check(path, events, max_events, "hdf5-columns")


@few
@given(recordings(width=640, height=480), batch_sizes)
def test_dsec_returns_what_was_written_and_its_offset(tmp_path, events, max_events):
    write_columns(path := tmp_path / "a.h5", events, "dsec", chunks=(16,), **hdf5plugin.Blosc(cname="zstd"))
    check(path, events, max_events, "hdf5-dsec", clock_zero_us=49_599_300_523)


@few
@given(recordings(), batch_sizes)
def test_prophesee_hdf5_without_codec_returns_what_was_written(tmp_path, events, max_events):
    write_records(path := tmp_path / "a.hdf5", events)
    check(path, events, max_events, "hdf5-prophesee")


@few
@given(
    recordings(max_gap=10**6), batch_sizes, st.sampled_from(["runs", "columns", "all"]), st.sampled_from([3, 40, 500])
)
def test_prophesee_hdf5_with_ecf_returns_what_was_written(tmp_path, events, max_events, packing, per_chunk):
    write_ecf(path := tmp_path / "a.hdf5", events, packing, per_chunk)
    check(path, events, max_events, "hdf5-prophesee")


@few
@given(recordings(width=346, height=260), batch_sizes, st.booleans())
def test_aedat4_returns_what_was_written(tmp_path, events, max_events, table):
    (path := tmp_path / "a.aedat4").write_bytes(write_aedat4(events, table=table))
    check(path, events, max_events, "aedat4")


@few
@given(recordings(width=346, height=260))
def test_aedat4_under_zstandard_returns_what_was_written(tmp_path, events):
    from numcodecs.zstd import compress

    (path := tmp_path / "a.aedat4").write_bytes(write_aedat4(events, compress=compress, compression=3))
    check(path, events, 1 << 20, "aedat4")


@few
@given(recordings())
def test_a_second_pass_over_a_reader_gives_the_same_events(tmp_path, events):
    (path := tmp_path / "a.raw").write_bytes(write_evt3(events))
    reader = open_recording(path)
    assert [rows(part) for part in reader.batches()] == [rows(part) for part in reader.batches()]


def long_recording(count=200_000):
    t = np.arange(count) // 3
    x, y = (np.arange(count) % side for side in (1280, 720))
    return Events(t, x.astype(np.uint16), y.astype(np.uint16), (t % 2).astype(np.uint8), 1280, 720)


@pytest.mark.parametrize("write", [write_dat, write_evt2, write_evt3, write_evt21])
def test_a_file_longer_than_the_buffer_is_read_whole_in_bounded_memory(tmp_path, write):
    (path := tmp_path / "a.bits").write_bytes(write(events := long_recording()))
    list(open_recording(path).batches(3_000))  # compiled
    tracemalloc.start()
    longest = max(len(batch) for batch in open_recording(path).batches(3_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert longest == 3_000
    assert peak < 1_000_000  # of 2,600,000 bytes of events
    _, found = read(path, 30_000)
    for name in "txyp":
        np.testing.assert_array_equal(getattr(found, name), getattr(events, name))
