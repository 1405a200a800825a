"""What every decoder keeps to, as checks that the tests of the single formats share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from format_writers import rows
from hypothesis import HealthCheck, settings

from spikeyolo.errors import RecordingError
from spikeyolo.events import Events
from spikeyolo.events.formats import open_recording

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path: Path, max_events: int = 1 << 20, **options):
    """The reader after a pass, and its events; every batch keeps the invariants."""
    reader = open_recording(path, **options)
    batches = list(reader.batches(max_events))
    for batch in batches:
        batch.check(str(path))
        assert 0 < len(batch) <= max_events
    size = (reader.width, reader.height)
    return reader, Events.concatenate(batches) if batches else Events.empty(*size)


def assert_gives(path: Path, events: Events, format_name: str, max_events: int = 1 << 20, **options):
    """The file holds exactly these events, from the first one's time."""
    reader, found = read(path, max_events, strict=True, **options)
    start = int(events.t[0])
    assert rows(found) == [(t - start, x, y, p) for t, x, y, p in rows(events)]
    assert (reader.format, reader.width, reader.height) == (format_name, events.width, events.height)
    assert reader.time_offset_us == start
    assert [getattr(found, name).dtype for name in "txyp"] == [np.int64, np.uint16, np.uint16, np.uint8]
    assert rows(Events.concatenate(list(reader.batches()))) == rows(found)
    return reader


def assert_a_cut_leaves_the_events_before(path: Path, whole: bytes, cut: int, header_bytes: int, **options):
    """Cut at a byte, a file gives a beginning of its events, with one warning or an error under strict."""
    path.write_bytes(whole)
    expected = rows(read(path, **options)[1])
    path.write_bytes(whole[:cut])
    if cut < header_bytes:
        assert_events_or_one_line(path, **options)
        return
    reader, found = read(path, **options)
    assert rows(found) == expected[: len(found)]
    damage = [warning for warning in reader.warnings if warning not in reader.opening_warnings]
    assert len(damage) <= 1
    if damage:
        with pytest.raises(RecordingError):
            read(path, strict=True, **options)
    else:
        assert rows(read(path, strict=True, **options)[1]) == rows(found)


def assert_events_or_one_line(path: Path, **options):
    """Whatever the bytes are: events that keep the invariants, or one sentence that names the file."""
    try:
        read(path, **options)
    except RecordingError as error:
        sentence = str(error)
    else:
        return
    assert str(path) in sentence
    assert "\n" not in sentence


def changed(content: bytes, places, values) -> bytes:
    """The bytes with some of them replaced; places count around."""
    damaged = bytearray(content)
    for place, value in zip(places, values):
        damaged[place % len(damaged)] = value
    return bytes(damaged)
