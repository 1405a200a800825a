"""AEDAT 2.0 and 3.1: addresses as each camera has them, what is no change event left out, tonic as a second reader."""

from __future__ import annotations

import struct

import numpy as np
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
from lab_format_writers import write_aedat2, write_aedat3

from spikeyolo.errors import RecordingError
from spikeyolo.events import Events
from spikeyolo.events.formats import open_recording

JAER = "eu.seebetter.ini.chips.davis.DAVIS346blue"
DVS128 = "ch.unizh.ini.jaer.chip.retina.DVS128"
davis = recordings(width=346, height=260)
dvs = recordings(width=128, height=128)
places, values = st.lists(st.integers(0, 10**6), max_size=12), st.binary(min_size=12, max_size=12)


@few
@given(davis, st.sampled_from([1, 7, 1 << 20]), st.booleans())
def test_aedat2_of_a_davis_returns_what_was_written_without_its_frames(tmp_path, events, max_events, frames):
    (path := tmp_path / "a.aedat").write_bytes(write_aedat2(events, JAER, frames))
    assert_gives(path, events, "aedat2", max_events)


@few
@given(dvs, st.sampled_from([DVS128, "ch.unizh.ini.jaer.chip.retina.Tmpdiff128", ""]), st.booleans())
def test_aedat2_of_a_dvs128_returns_what_was_written_also_where_no_chip_is_named(tmp_path, events, chip, frames):
    (path := tmp_path / "a.aedat").write_bytes(write_aedat2(events, chip, frames))
    assert_gives(path, events, "aedat2")


def test_aedat2_time_goes_on_when_its_counter_wraps(tmp_path):
    t = np.arange(2**32 - 3000, 2**32 + 3000, 7)
    zeros = np.zeros(len(t), np.uint16)
    events = Events(t, zeros, zeros, zeros.astype(np.uint8), 346, 260)
    (path := tmp_path / "a.aedat").write_bytes(write_aedat2(events))
    assert_gives(path, events, "aedat2", 100)


def test_aedat2_addresses_are_as_jaer_reads_them(tmp_path):
    """Columns from the right, rows from the bottom; a DAVIS marks ON with 1, a DVS128 with 0."""
    head = "#!AER-DAT2.0\r\n# AEChip: {}\r\n"
    word = struct.pack(">II", 5 << 22 | 3 << 12 | 1 << 11, 10)
    (path := tmp_path / "a.aedat").write_bytes(head.format(JAER).encode() + word)
    assert rows(read(path)[1]) == [(0, 345 - 3, 259 - 5, 1)]
    path.write_bytes(head.format(DVS128).encode() + struct.pack(">II", 5 << 8 | 3 << 1 | 1, 10))
    assert rows(read(path)[1]) == [(0, 127 - 3, 127 - 5, 0)]


@pytest.mark.parametrize("end", ["", "#End Of ASCII Header\r\n"])
def test_an_aedat2_header_with_names_and_settings_ends_where_the_events_begin(tmp_path, end):
    """The first event's first byte is that of a hash sign."""
    lines = f'#!AER-DAT2.0\r\n# AEChip: {JAER}\r\n# operator: J\xfcrgen\r\n#<entry key="a"/>\r\n{end}'
    word = struct.pack(">II", 0x23 << 24 | 9 << 12, 0x0A0A0A0A)
    (path := tmp_path / "a.aedat").write_bytes(lines.encode("latin-1") + word * 3)
    reader, found = read(path, strict=True)
    assert rows(found) == [(0, 345 - 9, 259 - (0x23 << 2), 0)] * 3
    assert reader.time_offset_us == 0x0A0A0A0A


def test_an_aedat2_camera_that_is_not_known_is_named(tmp_path):
    (path := tmp_path / "a.aedat").write_bytes(b"#!AER-DAT2.0\r\n# AEChip: cochlea.CochleaAMS1c\r\n" + bytes(8))
    with pytest.raises(RecordingError, match=r"chip 'cochlea\.CochleaAMS1c'; expected a line '# AEChip:' of dvs128"):
        open_recording(path)


def test_aedat2_without_a_chip_takes_the_given_size_where_it_is_no_dvs128(tmp_path):
    events = Events(
        np.array([1]), np.array([3], np.uint16), np.array([5], np.uint16), np.array([1], np.uint8), 640, 480
    )
    content = write_aedat2(events, "DAVIS640").replace(b"# AEChip: DAVIS640\r\n", b"")
    (path := tmp_path / "a.aedat").write_bytes(content)
    with pytest.raises(RecordingError, match=r"chip 'unknown'.*or `size`"):
        open_recording(path)
    assert_gives(path, events, "aedat2", size=(640, 480))


@few
@given(recordings(width=346, height=260, max_gap=2**30), st.sampled_from([1, 7, 1 << 20]), st.booleans())
def test_aedat3_returns_what_was_written_without_other_packets(tmp_path, events, max_events, others):
    (path := tmp_path / "a.aedat").write_bytes(write_aedat3(events, others=others))
    assert_gives(path, events, "aedat3", max_events)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (b"#Format: RAW", b"#Format: Serial-TS", "format 'Serial-TS'; expected RAW"),
        (b"#!END-HEADER", b"#END", "header does not end"),
        (b"#Source 1: ", b"#Camera: ", "names no source"),
    ],
)
def test_an_aedat3_header_that_cannot_be_followed_is_one_line(tmp_path, old, new, line):
    (path := tmp_path / "a.aedat").write_bytes(write_aedat3(some_events()).replace(old, new))
    with pytest.raises(RecordingError, match=line):
        open_recording(path)


@pytest.mark.parametrize("version", ["1.0", "3.0", "5.0"])
def test_another_version_of_aedat_is_refused_with_what_is_read(tmp_path, version):
    (path := tmp_path / "a.aedat").write_bytes(f"#!AER-DAT{version}\r\n".encode() + bytes(40))
    with pytest.raises(RecordingError, match=r"AER-DAT.*expected .*AEDAT 2\.0, 3\.1 or 4"):
        open_recording(path)


@few
@given(davis, st.integers(0, 10**6), st.sampled_from([write_aedat2, write_aedat3]))
def test_an_aedat_file_cut_at_any_byte_gives_the_events_before(tmp_path, events, cut, write):
    whole = write(events)
    header = len(write(Events.empty(346, 260)))
    assert_a_cut_leaves_the_events_before(tmp_path / "a.aedat", whole, cut % len(whole), header + 1)


@few
@given(davis, st.sampled_from([write_aedat2, write_aedat3]), places, values)
def test_a_damaged_aedat_file_gives_valid_events_or_one_line(tmp_path, events, write, places, values):
    (path := tmp_path / "a.aedat").write_bytes(changed(write(events), places, values))
    assert_events_or_one_line(path)


def test_a_damaged_aedat3_packet_leaves_those_before_and_is_refused_under_strict(tmp_path):
    content = write_aedat3(events := some_events(), per_packet=20)
    second = content.index(b"#!END-HEADER\r\n") + 14 + 28 + 20 * 8
    (path := tmp_path / "a.aedat").write_bytes(changed(content, range(second + 20, second + 24), b"\xff\xff\xff\x7f"))
    reader, found = read(path)
    assert rows(found) == rows(read_whole(tmp_path, events))[:20]
    assert ["says it has 2147483647 events" in warning for warning in reader.warnings] == [True]
    with pytest.raises(RecordingError, match="says it has 2147483647 events"):
        read(path, strict=True)


@few
@given(davis)
def test_the_tonic_package_reads_the_same_events_of_a_davis(tmp_path, events):
    tonic = pytest.importorskip("tonic.io")
    (path := tmp_path / "a.aedat").write_bytes(write_aedat2(events))
    theirs = tonic.read_davis_346(str(path))[2]
    ours = read(path)[1]
    for name in "xyp":
        np.testing.assert_array_equal(getattr(ours, name), theirs[name].astype(int))
    np.testing.assert_array_equal(ours.t, theirs["t"] - theirs["t"][0])


@few
@given(dvs)
def test_the_tonic_package_finds_the_same_addresses_in_aedat3(tmp_path, events):
    """Its ``read_dvs_ibm`` for DVS Gesture takes these words apart in the same way, and fails on its own header."""
    tonic = pytest.importorskip("tonic.io")
    content = write_aedat3(events, "DVS128")
    (path := tmp_path / "a.aedat").write_bytes(content)
    theirs = tonic.get_aer_events_from_file(str(path), 3.1, content.index(b"#!END-HEADER\r\n") + 14)
    ours = read(path)[1]
    address = theirs["address"].astype(np.int64)
    for name, column in (("x", address >> 17 & 0x1FFF), ("y", address >> 2 & 0x1FFF), ("p", address >> 1 & 1)):
        np.testing.assert_array_equal(getattr(ours, name), column)
    np.testing.assert_array_equal(ours.t, theirs["timeStamp"].astype(np.int64) - int(theirs["timeStamp"][0]))


def some_events(count=50):
    rng = np.random.default_rng(3)
    t = np.sort(rng.integers(0, 20_000, count))
    x, y, p = (rng.integers(0, limit, count) for limit in (346, 260, 2))
    return Events(t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), 346, 260)


def read_whole(folder, events):
    (path := folder / "whole.aedat").write_bytes(write_aedat3(events))
    return read(path)[1]
