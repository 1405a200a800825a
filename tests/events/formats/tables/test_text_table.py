"""Events as text: columns in any order, separator and unit; damage leaves the lines before it; faery agrees."""

from __future__ import annotations

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
from lab_format_writers import write_text

from spikeyolo.errors import RecordingError
from spikeyolo.events import Events
from spikeyolo.events.formats import open_recording
from spikeyolo.events.formats.tables.text_table import find_layout, is_event_text

SIZE = {"size": (1280, 720)}
separators = st.sampled_from([" ", "  ", ",", ", ", ";", "\t"])


@few
@given(recordings(), st.sampled_from([1, 7, 1 << 20]), separators)
def test_text_returns_what_was_written(tmp_path, events, max_events, separator):
    (path := tmp_path / "a.txt").write_bytes(write_text(events, separator=separator))
    assert_gives(path, events, "text", max_events, **SIZE)


@few
@given(recordings(min_events=2, max_gap=10**9), st.sampled_from(["x,y,t,p", "t,x,y,p,n", "n,p,y,x,t"]))
def test_a_header_names_the_columns_in_any_order(tmp_path, events, header):
    names = {"t": "timestamp", "x": "x", "y": "y", "p": "polarity", "n": "number"}
    order = header.replace(",", "")
    line = ",".join(names[role] for role in order)
    (path := tmp_path / "a.csv").write_bytes(write_text(events, separator=",", header=line, order=order))
    assert_gives(path, events, "text", **SIZE)


@few
@given(recordings(first_us=2**50), st.sampled_from(["s", "ns", "us"]))
def test_times_come_back_to_the_microsecond_in_the_unit_that_is_said(tmp_path, events, unit):
    (path := tmp_path / "a.txt").write_bytes(write_text(events, unit))
    assert_gives(path, events, "text", time_unit=unit, **SIZE)


@few
@given(recordings(first_us=2**50))
def test_times_with_a_decimal_point_are_seconds(tmp_path, events):
    events.t[:] += 20
    events.t[0] = events.t[0] // 10 * 10 - 1  # some time has a fraction
    (path := tmp_path / "a.txt").write_bytes(write_text(events, "s"))
    assert_gives(path, events, "text", **SIZE)


@pytest.mark.parametrize(
    "head",
    ["# t x y p\n", "% comment\n\n", "1280 720\n", "t x@1280 y@720 on\n", "# seconds since 1970\n# 1 2 3\n"],
)
def test_comments_sizes_and_headers_before_the_events_are_understood(tmp_path, head):
    (path := tmp_path / "a.txt").write_bytes(head.encode() + write_text(some_events()))
    reader = assert_gives(path, some_events(), "text", **({} if "1280" in head else SIZE))
    assert reader.warnings == []


def test_text_as_numpy_saves_it_is_read(tmp_path):
    events = some_events()
    table = np.stack([events.t, events.x, events.y, events.p], 1)
    np.savetxt(path := tmp_path / "a.txt", table.astype(float))
    assert_gives(path, events, "text", **SIZE)
    np.savetxt(path, table * [1e-6, 1, 1, 1], fmt="%.6f", delimiter=",", header="t,x,y,p")
    assert_gives(path, events, "text", **SIZE)


def test_polarities_of_minus_one_are_off(tmp_path):
    (path := tmp_path / "a.txt").write_text("5 1 2 -1\n6 1 2 1\n")
    assert rows(read(path, **SIZE)[1]) == [(0, 1, 2, 0), (1, 1, 2, 1)]


def test_a_file_of_many_blocks_is_read_whole(tmp_path, monkeypatch):
    events = some_events(5000)
    (path := tmp_path / "a.txt").write_bytes(write_text(events))
    monkeypatch.setattr("spikeyolo.events.formats.tables.text_table.BLOCK_BYTES", 1000)
    assert_gives(path, events, "text", 1 << 20, **SIZE)


@few
@given(recordings(), st.integers(0, 10**6), st.booleans())
def test_text_cut_at_any_byte_gives_the_lines_before(tmp_path, events, cut, named):
    """A number that is cut short is still a number: the last line alone may be another event."""
    header = "t,x,y,p"
    whole = write_text(events, separator=",", header=header if named else "")
    line_end = whole.rfind(b"\n", 0, cut % len(whole)) + 1
    if line_end > len(header) + 1:
        assert_a_cut_leaves_the_events_before(tmp_path / "a.csv", whole, line_end, 0, **SIZE)


@pytest.mark.parametrize(
    "bad", ["700 1 2", "700 1 2 1 9", "7o0 1 2 1", "700 1  \x00 1", '"700 1 2 1', '"700" 1 2 1', "700 1 2 1 #"]
)
def test_a_line_that_is_no_event_is_shown_and_leaves_those_before(tmp_path, bad):
    events = some_events(20)
    lines = write_text(events).decode().splitlines(keepends=True)
    (path := tmp_path / "a.txt").write_text("# events\n" + "".join(lines[:12]) + bad + "\n" + "".join(lines[12:]))
    reader, found = read(path, **SIZE)
    start = int(events.t[0])
    assert rows(found) == [(t - start, x, y, p) for t, x, y, p in rows(events)[:12]]
    assert ["line 14 is " in warning for warning in reader.warnings] == [True]
    with pytest.raises(RecordingError, match=r"line 14 is .*expected 4 numbers"):
        read(path, strict=True, **SIZE)


def test_a_bad_line_is_counted_from_the_files_start_in_every_block(tmp_path, monkeypatch):
    monkeypatch.setattr("spikeyolo.events.formats.tables.text_table.BLOCK_BYTES", 1000)
    lines = write_text(some_events(500)).decode().splitlines(keepends=True)
    (path := tmp_path / "a.txt").write_text("# events\n" + "".join(lines[:400]) + "nothing\n" + "".join(lines[400:]))
    reader, found = read(path, **SIZE)
    assert len(found) == 400
    assert ["line 402 is 'nothing'" in warning for warning in reader.warnings] == [True]


@few
@given(recordings(), st.lists(st.integers(0, 10**6), max_size=12), st.binary(min_size=12, max_size=12))
def test_damaged_text_gives_valid_events_or_one_line(tmp_path, events, places, values):
    (path := tmp_path / "a.txt").write_bytes(changed(write_text(events), places, values))
    assert_events_or_one_line(path, **SIZE)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("5 1.5 2 1\n", r"x=1\.5, no whole number"),
        ("5 1 2 0\n6 1 2 7\n", "polarities 0 to 7"),
        ("5 1 2 1\n" + "9" * 30 + " 1 2 1\n", "the time|too large"),
    ],
)
def test_values_that_are_no_events_are_named(tmp_path, text, line):
    (path := tmp_path / "a.txt").write_text(text)
    with pytest.raises(RecordingError, match=line):
        read(path, **SIZE)


def test_a_fraction_of_a_microsecond_names_the_unit(tmp_path):
    (path := tmp_path / "a.txt").write_text("5.5 1 2 1\n")
    with pytest.raises(RecordingError, match=r"the time 5\.5 in whole µs \(time_unit=us\)"):
        read(path, time_unit="us", **SIZE)


@pytest.mark.parametrize(
    "text",
    [
        "t_us,x,y,w,h,class\n100,5,5,20,10,car\n",
        "t,x,y,w,h,p\n100,5,5,20,10,0.5\n",
        "0 0.5 0.5 0.1 0.2\n",
        "1,1,10,20,5,5,1,-1,-1,-1\n",
        "100 5 5 20\n",
        "100 5 5 1 7\n",
        "What this folder holds\n",
        "12\n13\n14\n",
        "",
    ],
)
def test_labels_and_other_texts_are_no_events(tmp_path, text):
    (path := tmp_path / "a.txt").write_text(text)
    assert find_layout(text.encode()) is None
    assert not is_event_text(path)
    with pytest.raises(RecordingError, match="expected"):
        open_recording(path)


@few
@given(recordings())
def test_the_faery_package_writes_and_reads_the_same_events(tmp_path, events):
    faery = pytest.importorskip("faery")
    table = np.zeros(len(events), faery.EVENTS_DTYPE)
    for theirs, ours in (("t", "t"), ("x", "x"), ("y", "y"), ("on", "p")):
        table[theirs] = getattr(events, ours)
    path = tmp_path / "a.csv"
    faery.events_stream_from_array(table, (events.width, events.height)).to_file(path, zero_t0=False)
    assert_gives(path, events, "text")


def some_events(count=50):
    rng = np.random.default_rng(3)
    t = np.sort(rng.integers(0, 20_000, count))
    x, y, p = (rng.integers(0, limit, count) for limit in (1280, 720, 2))
    return Events(t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), 1280, 720)


@pytest.mark.parametrize(
    "head", ["t,x,y,p\n", "# timestamp x y polarity", "x@346;y@260;t;p\n\n", "# made today\nt x y p\n"]
)
def test_a_file_that_is_a_header_alone_is_said_to_hold_no_event(tmp_path, head):
    (path := tmp_path / "a.csv").write_text(head)
    with pytest.raises(RecordingError, match=r"a\.csv: names columns, but no event stands below"):
        open_recording(path)


@pytest.mark.parametrize("text", ["t_us,x,y,w,h,class\n", "hello\n", "t,x,y,p\nfour words are here\n"])
def test_other_text_is_still_no_known_events_file(tmp_path, text):
    (path := tmp_path / "a.csv").write_text(text)
    with pytest.raises(RecordingError, match="which is no known events file"):
        open_recording(path)
