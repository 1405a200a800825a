"""Event Stream files: what their layout says comes back, damage leaves the events before it, faery agrees."""

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
from lab_format_writers import write_event_stream

from spikeyolo.errors import RecordingError
from spikeyolo.events.formats import open_recording

KINDS = ["dvs", "atis"]
small = recordings(width=300, height=200, first_us=5000)


@few
@given(small, st.sampled_from(KINDS), st.sampled_from([1, 7, 1 << 20]), st.booleans())
def test_event_stream_returns_what_was_written(tmp_path, events, kind, max_events, resets):
    (path := tmp_path / "a.es").write_bytes(write_event_stream(events, kind, resets))
    assert_gives(path, events, f"event-stream-{kind}", max_events)


@few
@given(small)
def test_exposure_measurements_of_an_atis_are_passed_over(tmp_path, events):
    (path := tmp_path / "a.es").write_bytes(write_event_stream(events, "atis", exposures=True))
    assert_gives(path, events, "event-stream-atis", 7)


@few
@given(small, st.sampled_from(KINDS), st.integers(0, 10**6))
def test_an_event_stream_cut_at_any_byte_gives_the_events_before(tmp_path, events, kind, cut):
    whole = write_event_stream(events, kind)
    assert_a_cut_leaves_the_events_before(tmp_path / "a.es", whole, cut % len(whole), 21)


def test_an_event_cut_within_is_said_with_its_bytes(tmp_path):
    events = next_events()
    (path := tmp_path / "a.es").write_bytes(write_event_stream(events)[:-2])
    reader, found = read(path)
    assert rows(found) == rows(events)[:-1]
    assert ["truncated, 3 bytes" in warning for warning in reader.warnings] == [True]
    with pytest.raises(RecordingError, match="truncated, 3 bytes"):
        read(path, strict=True)


@few
@given(small, st.sampled_from(KINDS), st.lists(st.integers(0, 10**6), max_size=12), st.binary(min_size=12, max_size=12))
def test_a_damaged_event_stream_gives_valid_events_or_one_line(tmp_path, events, kind, places, values):
    (path := tmp_path / "a.es").write_bytes(changed(write_event_stream(events, kind), places, values))
    assert_events_or_one_line(path)


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_that_lies_across_two_buffers_is_whole(tmp_path, monkeypatch, kind):
    events = next_events(40)
    (path := tmp_path / "a.es").write_bytes(write_event_stream(events, kind))
    for size in range(1, 12):
        monkeypatch.setattr("spikeyolo.events.formats.words.BUFFER_BYTES", size)
        assert rows(read(path)[1]) == rows(events)


@pytest.mark.parametrize(
    ("place", "value", "line"),
    [
        (12, 1, r"Event Stream 1\.0\.0; expected version 2"),
        (15, 4, "holds color events"),
        (15, 9, "holds kind 9 events"),
    ],
)
def test_another_version_or_kind_is_named(tmp_path, place, value, line):
    (path := tmp_path / "a.es").write_bytes(changed(write_event_stream(next_events()), [place], [value]))
    with pytest.raises(RecordingError, match=line):
        open_recording(path)


@few
@given(small)
def test_the_faery_package_reads_and_writes_the_same_events(tmp_path, events):
    faery = pytest.importorskip("faery")
    (path := tmp_path / "a.es").write_bytes(write_event_stream(events))
    theirs = np.concatenate(list(faery.events_stream_from_file(path)))
    assert list(zip(*(theirs[name].astype(int).tolist() for name in ("t", "x", "y", "on")))) == rows(events)
    faery.events_stream_from_array(theirs, (events.width, events.height)).to_file(path, zero_t0=False)
    assert_gives(path, events, "event-stream-dvs")


def next_events(count=50):
    from spikeyolo.events import Events

    rng = np.random.default_rng(5)
    t = np.cumsum(rng.integers(0, 400, count))
    t -= t[0]
    x, y, p = (rng.integers(0, limit, count) for limit in (300, 200, 2))
    return Events(t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), 300, 200)
