"""What decoders do with damaged, mislabelled and arbitrary files: events before the damage, or one clear line."""

from __future__ import annotations

import struct

import h5py
import numpy as np
import pytest
from format_writers import (
    raw_header,
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

from spikeyolo.errors import RecordingError
from spikeyolo.events import Events
from spikeyolo.events.cleaning import EventRules
from spikeyolo.events.formats import open_recording

some = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
BINARY = {
    "dat": write_dat,
    "evt2": write_evt2,
    "evt21": write_evt21,
    "evt3": write_evt3,
    "aedat4": write_aedat4,
    "saccade": write_saccade,
}
SUFFIX = {"dat": ".dat", "evt2": ".raw", "evt21": ".raw", "evt3": ".raw", "aedat4": ".aedat4", "saccade": ".bin"}
# a unit is lost whole: its bytes at least, its events at most
UNITS = {"dat": (8, 1), "evt2": (4, 1), "evt21": (8, 32), "evt3": (2, 12), "aedat4": (16, 50), "saccade": (5, 1)}
HDF5 = {"columns": write_columns, "records": write_records, "ecf": write_ecf}


def read(path, strict=False):
    """Events at the times that the file says."""
    reader = open_recording(path, strict=strict)
    offset = reader.time_offset_us
    batches = list(reader.batches(1000))
    for batch in batches:
        batch.check("a batch")
    return [(offset + t, *event) for batch in batches for t, *event in rows(batch)], reader.warnings


def assert_events_or_one_line(path):
    try:
        read(path)
    except RecordingError as error:
        sentence = str(error)
    else:
        return
    assert str(path) in sentence
    assert "\n" not in sentence


def some_events(count=50, width=240, height=180):
    rng = np.random.default_rng(3)
    t = np.sort(rng.integers(0, 20_000, count))
    x, y, p = rng.integers(0, width, count), rng.integers(0, height, count), rng.integers(0, 2, count)
    return Events(t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), width, height)


@some
@given(st.data(), st.sampled_from(sorted(BINARY)))
def test_a_file_cut_at_any_byte_gives_the_events_before_and_one_warning_or_an_error_under_strict(tmp_path, data, name):
    events = data.draw(recordings(width=34, height=34, max_events=60))
    whole = BINARY[name](events)
    (path := tmp_path / f"whole{SUFFIX[name]}").write_bytes(whole)
    expected, _ = read(path)
    cut = data.draw(st.integers(0, len(whole) - 1))
    (path := tmp_path / f"cut{SUFFIX[name]}").write_bytes(whole[:cut])
    try:
        found, warnings = read(path)
    except RecordingError:
        assert cut < len(BINARY[name](Events.empty(34, 34))) + 16  # no more than the header is there
        return
    unit_bytes, unit_events = UNITS[name]
    assert found == expected[: len(found)]
    assert len(expected) - len(found) <= -((cut - len(whole)) // unit_bytes) * unit_events
    assert len(warnings) <= 1
    if warnings:
        with pytest.raises(RecordingError, match=r"truncated|no events"):
            read(path, strict=True)
    else:
        assert read(path, strict=True)[0] == found


@some
@given(st.data(), st.sampled_from(sorted(HDF5)))
def test_a_cut_hdf5_file_is_refused_in_one_line(tmp_path, data, name):
    HDF5[name](whole := tmp_path / "whole.h5", some_events())
    content = whole.read_bytes()
    cut = data.draw(st.integers(1, len(content) - 1))
    (path := tmp_path / "cut.h5").write_bytes(content[:cut])
    with pytest.raises(RecordingError, match=r"cut\.h5") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@some
@given(
    st.sampled_from(
        [b"", b"% evt 2.0\n", b"% evt 2.1\n", b"% evt 3.0\n", b"% Version 2\n\x0c\x08", b"#!AER-DAT4.0\r\n"]
    ),
    st.binary(max_size=4000),
    st.sampled_from([".raw", ".dat", ".bin", ".h5", ".aedat4", ""]),
)
def test_arbitrary_bytes_give_valid_events_or_one_line(tmp_path, start, content, suffix):
    (path := tmp_path / f"noise{suffix}").write_bytes(start + content)
    assert_events_or_one_line(path)


@some
@given(st.data(), st.sampled_from(sorted(BINARY) + sorted(HDF5)))
def test_changed_bytes_give_valid_events_or_one_line(tmp_path, data, name):
    events = some_events(width=34, height=34)
    if name in HDF5:
        HDF5[name](path := tmp_path / "changed.h5", events)
    else:
        (path := tmp_path / f"changed{SUFFIX[name]}").write_bytes(BINARY[name](events))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 12))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    assert_events_or_one_line(path)


@pytest.mark.parametrize("name", sorted(BINARY) + sorted(HDF5))
def test_a_pixel_outside_the_sensor_is_named_under_strict_rules(tmp_path, name):
    events = some_events(width=34, height=34)
    events.x[7] = 200
    if name in HDF5:
        HDF5[name](path := tmp_path / "a.h5", events)
        options = {}
    else:
        (path := tmp_path / f"a{SUFFIX[name]}").write_bytes(BINARY[name](events))
        options = {"size": (34, 34)} if name == "saccade" else {}
    with pytest.raises(RecordingError, match=r"event 7 lies at x=200.*34x34"):
        list(open_recording(path, rules=EventRules(strict=True), **options).batches())


@pytest.mark.parametrize("name", ["dat", "aedat4", "saccade", "columns", "records", "evt2", "evt21", "evt3"])
def test_times_that_decrease_are_named_under_strict_rules_also_across_batches(tmp_path, name):
    events = some_events()
    events.t[:] = np.arange(50) * 100
    events.t[30] = 5
    if name in HDF5:
        HDF5[name](path := tmp_path / "a.h5", events)
    else:
        (path := tmp_path / f"a{SUFFIX[name]}").write_bytes(BINARY[name](events))
    for max_events in (10, 1000):
        with pytest.raises(RecordingError, match=r"time decreases at event 30 \(2900 µs, then 5 µs\)"):
            list(open_recording(path, rules=EventRules(strict=True)).batches(max_events))


def test_a_damaged_chunk_leaves_the_events_before_it(tmp_path):
    write_ecf(path := tmp_path / "a.h5", events := some_events(200), per_chunk=40)
    with h5py.File(path) as file:
        place = file["CD/events"].id.get_chunk_info(3)
    content = bytearray(path.read_bytes())
    content[place.byte_offset : place.byte_offset + 4] = b"\xff" * 4
    path.write_bytes(content)
    found, warnings = read(path)
    assert found == rows(events)[:120]
    assert ["damaged after 120 events" in warning for warning in warnings] == [True]
    with pytest.raises(RecordingError, match="damaged after 120 events"):
        read(path, strict=True)


@pytest.mark.parametrize("suffix", [".dat", ".raw", ".h5", ".aedat4", ".bin", ".txt"])
def test_an_empty_file_is_refused(tmp_path, suffix):
    (path := tmp_path / f"a{suffix}").touch()
    with pytest.raises(RecordingError, match="is empty; expected"):
        open_recording(path)


def test_unknown_content_is_named_with_what_was_expected(tmp_path):
    (path := tmp_path / "a.raw").write_bytes(b"\x89PNG\r\n\x1a\n and so on")
    with pytest.raises(RecordingError, match=r"a\.raw: starts with b'.x89PNG.*expected Prophesee DAT"):
        open_recording(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecordingError, match="no such file"):
        open_recording(tmp_path / "a.raw")


def test_a_name_of_another_format_is_read_by_content_with_a_warning_and_refused_under_strict(tmp_path):
    (path := tmp_path / "a.dat").write_bytes(write_evt3(events := some_events()))
    found, warnings = read(path)
    assert found == rows(events)
    assert ["its name says dat, its content is evt" in warning for warning in warnings] == [True]
    with pytest.raises(RecordingError, match="its name says dat, its content is evt"):
        open_recording(path, strict=True)


def test_a_recording_without_events_is_warned_about_and_refused_under_strict(tmp_path):
    (path := tmp_path / "a.raw").write_bytes(raw_header("EVT3", some_events()))
    assert ["holds no events" in warning for warning in read(path)[1]] == [True]
    with pytest.raises(RecordingError, match="holds no events"):
        read(path, strict=True)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"% format HISTO3D;height=720;width=1280\n% end\n", "'HISTO3D'; expected EVT2, EVT21, EVT3 or EVT4"),
        (b"% format EVT3;endianness=middle\n", "byte order 'middle'"),
        (b"% evt 3.0\n% geometry 99999x720\n", "99999x720 px; expected sides of 1 to 4096"),
        (b"% Version 2\n\x0e\x08", "type 0x0E and 8 bytes; expected CD events"),
        (b"% Version 7\n\x0c\x08", "version '7'; expected 1 or 2"),
        (b"% evt 3.0\n% geom", "ends within its text header"),
        (b"#!AER-DAT4.0\r\n", "header is damaged"),
    ],
)
def test_a_header_that_cannot_be_followed_is_one_line(tmp_path, content, line):
    (path := tmp_path / "a.raw").write_bytes(content)
    with pytest.raises(RecordingError, match=line):
        open_recording(path)


def test_a_file_without_a_sensor_size_takes_the_given_one_or_guesses_aloud(tmp_path):
    (path := tmp_path / "a.raw").write_bytes(b"% evt 2.0\n" + struct.pack("<II", 8 << 28, 3 << 11 | 4))
    guessed, given_size = open_recording(path), open_recording(path, size=(64, 32))
    assert (guessed.width, guessed.height, given_size.width, given_size.height) == (240, 180, 64, 32)
    assert [len(part) for part in guessed.batches()] == [1]
    assert ["names no sensor size" in warning for warning in guessed.warnings] == [True]
    assert next(iter(given_size.batches())).x[0] == 3
    assert given_size.warnings == []


def test_an_hdf5_filter_that_is_not_here_is_named_with_the_way_to_get_it(tmp_path):
    with h5py.File(path := tmp_path / "a.h5", "w") as file:
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_chunk((10,))
        layout.set_filter(0x7ABC, h5py.h5z.FLAG_OPTIONAL)
        group = file.create_group("events")
        for name in "xypt":
            h5py.h5d.create(group.id, name.encode(), h5py.h5t.STD_I64LE, h5py.h5s.create_simple((10,)), layout)
            group[name].id.write_direct_chunk((0,), b"packed", 0)
    with pytest.raises(RecordingError, match=r"\[31420\].*HDF5_PLUGIN_PATH"):
        open_recording(path)


def test_an_hdf5_file_that_claims_endless_rows_is_refused(tmp_path):
    with h5py.File(path := tmp_path / "a.h5", "w") as file:
        for name in "xypt":
            file.create_dataset(f"events/{name}", (2**50,), np.int64, chunks=(1024,))
    with pytest.raises(RecordingError, match="claims 1125899906842624 rows and holds 0"):
        open_recording(path)


@pytest.mark.parametrize("name", ["t", "x", "p"])
def test_hdf5_records_that_are_no_integers_are_refused(tmp_path, name):
    kind = np.dtype([(column, "<f4" if column == name else "<i4") for column in "xypt"])
    with h5py.File(path := tmp_path / "records.h5", "w") as file:
        file["CD/events"] = np.zeros(5, kind)
    with pytest.raises(RecordingError, match=r"expected .*integers"):
        open_recording(path)


@pytest.mark.parametrize(
    ("column", "bad", "line"), [("x", -1, "x=65535"), ("y", 70_000, "y=65535"), ("p", 3, "polarities 0 to 3")]
)
def test_hdf5_values_that_would_wrap_in_our_columns_are_named_under_strict_rules(tmp_path, column, bad, line):
    with h5py.File(path := tmp_path / "a.h5", "w") as file:
        for name in "xypt":
            file[f"events/{name}"] = np.array([0, bad if name == column else 0], np.int32)
    with pytest.raises(RecordingError, match=line):
        list(open_recording(path, rules=EventRules(strict=True)).batches())


def evt3_words(*words):
    return raw_header("EVT3", some_events()) + struct.pack(f"<{len(words)}H", *words)


HIGH, LOW, LINE, PIXEL, BASE, MASK_12, MASK_8 = (kind << 12 for kind in (8, 6, 0, 2, 3, 4, 5))


def test_evt3_events_before_the_first_time_are_dropped_and_counted(tmp_path):
    content = evt3_words(
        LINE | 7, PIXEL | 1, BASE | 10, MASK_12 | 0b1011, LOW | 5, PIXEL | 2, HIGH | 1, PIXEL | 3, LOW | 6, PIXEL | 4
    )
    (path := tmp_path / "a.raw").write_bytes(content)
    reader = open_recording(path)
    assert [row for part in reader.batches() for row in rows(part)] == [(0, 4, 7, 0)]
    assert reader.time_offset_us == 4096 + 6
    assert reader.dropped_events == 6


def test_evt3_vectors_move_their_base_and_keep_its_polarity(tmp_path):
    content = evt3_words(
        HIGH, LOW | 9, LINE | 7, BASE | 1 << 11 | 20, MASK_12 | 0b100000000001, MASK_8 | 0b11, MASK_8 | 0b1
    )
    (path := tmp_path / "a.raw").write_bytes(content)
    assert read(path)[0] == [(9, 20, 7, 1), (9, 31, 7, 1), (9, 32, 7, 1), (9, 33, 7, 1), (9, 40, 7, 1)]


def test_evt3_time_words_are_taken_as_they_stand(tmp_path):
    """A time word of another source runs ahead with no event at it: the pixels' own time follows and holds."""
    content = evt3_words(HIGH, LOW | 799, LINE | 7, PIXEL | 1, HIGH, LOW | 811, LOW | 800, PIXEL | 2)
    (path := tmp_path / "a.raw").write_bytes(content)
    assert read(path)[0] == [(799, 1, 7, 0), (800, 2, 7, 0)]


def test_a_binary_word_that_begins_with_a_percent_sign_is_no_header_line(tmp_path):
    words = struct.pack("<II", 8 << 28 | 0x2025, 3 << 11 | 4)
    (path := tmp_path / "a.raw").write_bytes(b"% evt 2.0\n% geometry 64x32\n" + words + b"\n")
    assert read(path)[0] == [(0x2025 << 6, 3, 4, 0)]
