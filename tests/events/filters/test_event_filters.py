"""Filters: each against a plain loop of its definition, whatever the stretches; nothing lost uncounted."""

from __future__ import annotations

import numpy as np
import pytest
from format_writers import recordings, rows, write_evt3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.events import Events
from spikeyolo.events.filters import EventFilters, FilterChain, filtered
from spikeyolo.events.formats import open_recording

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
crowded = recordings(width=9, height=7, first_us=50, max_gap=40)
stretches = st.sampled_from([1, 3, 1000])
every_filter = st.builds(
    EventFilters,
    time_range_us=st.one_of(st.none(), st.tuples(st.integers(0, 300), st.integers(301, 4000))),
    region=st.one_of(st.none(), st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(5, 9), st.integers(4, 8))),
    hot_pixel_factor=st.one_of(st.none(), st.floats(1.1, 3)),
    background_us=st.one_of(st.none(), st.integers(1, 60)),
)


def parts_of(events, size):
    for first in range(0, len(events), size):
        part = slice(first, first + size)
        yield Events(events.t[part], events.x[part], events.y[part], events.p[part], events.width, events.height)


def passed(events, filters, size=1000):
    """What the chain keeps, as rows, and the chain."""
    chain = FilterChain(filters, events.width, events.height)
    if chain.needs_counting:
        for part in parts_of(events, size):
            chain.count(part)
    kept = [row for part in parts_of(events, size) for row in rows(chain.apply(part))]
    return kept, chain


def supported(table, tau_us):
    """Delbruck's rule, said event by event."""
    last: dict[tuple[int, int], int] = {}
    for t, x, y, p in table:
        around = [(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
        if any(t - last[pixel] <= tau_us for pixel in around if pixel in last):
            yield t, x, y, p
        last[x, y] = t


def cool(table, factor):
    pixels = [(x, y) for _, x, y, _ in table]
    counts = {pixel: pixels.count(pixel) for pixel in pixels}
    limit = factor * np.median(list(counts.values())) if counts else 0
    return [row for row in table if counts[row[1], row[2]] <= limit]


def by_definition(events, filters):
    """All filters in their order, each as a plain list."""
    table = rows(events)
    if filters.time_range_us:
        table = [row for row in table if filters.time_range_us[0] <= row[0] < filters.time_range_us[1]]
    if filters.region:
        left, top, right, bottom = filters.region
        table = [row for row in table if left <= row[1] < right and top <= row[2] < bottom]
    if filters.hot_pixel_factor:
        table = cool(table, filters.hot_pixel_factor)
    return list(supported(table, filters.background_us)) if filters.background_us else table


@few
@given(crowded, every_filter, stretches)
def test_filters_keep_what_their_definitions_say_whatever_the_stretches(events, filters, size):
    kept, chain = passed(events, filters, size)
    assert kept == by_definition(events, filters)
    counts = chain.counts
    left_out = counts.outside_time_range + counts.outside_region + counts.on_hot_pixels + counts.background_activity
    assert (counts.offered, counts.kept, left_out) == (len(events), len(kept), len(events) - len(kept))
    assert counts.end_us == events.t[-1] + 1


def events_at(*table, width=9, height=7):
    t, x, y, p = (np.array(column) for column in zip(*table))
    return Events(t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), width, height)


@pytest.mark.parametrize(
    ("second", "kept"),
    [
        ((10, 4, 3, 0), True),  # a neighbour, τ later, of the other polarity
        ((11, 4, 3, 1), False),  # later than τ
        ((1, 3, 3, 1), False),  # its own pixel
        ((1, 5, 3, 1), False),  # two columns away
        ((1, 4, 4, 1), True),  # across the corner
        ((0, 2, 2, 1), True),  # at the same time
    ],
)
def test_an_event_is_supported_by_a_neighbour_within_tau(second, kept):
    first = (0, 3, 3, 1)
    found, chain = passed(events_at(first, second), EventFilters(background_us=10))
    assert found == ([second] if kept else [])
    assert chain.counts.background_activity == 2 - len(found)


def test_each_of_the_eight_neighbours_supports_for_tau_and_no_longer():
    filters = EventFilters(background_us=10)
    for x, y in [(x, y) for x in (2, 3, 4) for y in (2, 3, 4) if (x, y) != (3, 3)]:
        assert passed(events_at((0, x, y, 1), (10, 3, 3, 0)), filters)[0] == [(10, 3, 3, 0)]
        assert passed(events_at((0, x, y, 1), (11, 3, 3, 0)), filters)[0] == []


def test_events_at_opposite_edges_are_no_neighbours():
    found, _ = passed(events_at((0, 0, 0, 1), (0, 8, 6, 1), (1, 8, 0, 1), (1, 0, 6, 1)), EventFilters(background_us=10))
    assert found == []


def test_hot_pixels_are_counted_and_give_nothing():
    table = [(i, 5, 5, 1) for i in range(40)] + [(40 + i, i, 2, 0) for i in range(9)]
    kept, chain = passed(events_at(*table), EventFilters(hot_pixel_factor=30))
    assert kept == table[40:]
    assert chain.counts.as_dict() == {
        "offered": 49,
        "kept": 9,
        "on_hot_pixels": 40,
        "hot_pixels": 1,
        "end_us": 49,
    }


def test_a_pixel_with_exactly_the_factor_is_not_hot():
    table = [(i, 5, 5, 1) for i in range(40)] + [(40 + i, i, 2, 0) for i in range(9)]
    assert passed(events_at(*table), EventFilters(hot_pixel_factor=40))[0] == table
    assert passed(events_at(*table), EventFilters(hot_pixel_factor=39.9))[0] == table[40:]


def test_rates_are_those_within_the_time_range_and_the_region():
    """The pixel at (5, 5) is busy before the range only, the one at (8, 6) outside the region."""
    busy = [(i, 5, 5, 1) for i in range(40)] + [(50 + i, 8, 6, 1) for i in range(40)]
    quiet = [(100 + i, i, 2, 0) for i in range(8)] + [(120, 5, 5, 1)]
    filters = EventFilters(time_range_us=(45, 200), region=(0, 0, 8, 6), hot_pixel_factor=3)
    assert passed(events_at(*busy, *quiet), filters)[0] == quiet


def written(folder, table):
    (path := folder / "a.raw").write_bytes(write_evt3(events_at(*table)))
    return path


def test_a_filtered_reader_gives_what_passes_and_says_what_it_left_out(tmp_path, caplog):
    table = [(100 + i, 5, 5, 1) for i in range(40)] + [(140 + i, i, 2, 0) for i in range(9)]
    reader = open_recording(written(tmp_path, table))
    filters = EventFilters(time_range_us=(0, 48), hot_pixel_factor=30)
    with caplog.at_level("INFO"):
        through = filtered(reader, filters)
        for max_events in (7, 1000):
            found = [row for part in through.batches(max_events) for row in rows(part)]
            assert found == [(t - 100, x, y, p) for t, x, y, p in table[40:48]]
    assert (through.time_offset_us, through.format, through.width) == (100, "evt3", 9)
    assert (through.counts.kept, through.share_read, through.warnings) == (49, 1.0, [])
    assert "of 49 events the filters left out 1 outside the time range, 40 on 1 hot pixels" in caplog.text


def test_without_filters_a_reader_is_left_as_it_is(tmp_path):
    reader = open_recording(written(tmp_path, [(0, 1, 1, 1)]))
    assert filtered(reader, EventFilters()) is reader


def test_filters_that_leave_nothing_are_an_error_that_says_which(tmp_path):
    reader = open_recording(written(tmp_path, [(0, 1, 1, 1), (900, 5, 5, 1)]))
    with pytest.raises(RecordingError, match="of 2 events the filters left out 2 as background activity; expected"):
        list(filtered(reader, EventFilters(background_us=10)).batches())


def test_a_region_beside_the_sensor_is_refused(tmp_path):
    reader = open_recording(written(tmp_path, [(0, 1, 1, 1)]))
    with pytest.raises(RecordingError, match=r"region \[20, 0, 30, 5\] has no pixel of its sensor of 9x7 px"):
        filtered(reader, EventFilters(region=(20, 0, 30, 5)))


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"time_range_us": (5, 5)}, r"time_range_us: found \[5, 5\]; expected \[START,END\]"),
        ({"region": (5, 0, 5, 9)}, r"region: found \[5, 0, 5, 9\]; expected \[LEFT,TOP,RIGHT,BOTTOM\]"),
        ({"region": (0, 9, 5, 2)}, r"region: found"),
    ],
)
def test_an_empty_range_or_region_is_refused(values, line):
    with pytest.raises(ConfigError, match=line):
        EventFilters(**values)


def test_the_tonic_package_agrees_where_the_two_definitions_do():
    """tonic looks at four neighbours and asks for less than τ: events in one row, none exactly τ apart."""
    tonic = pytest.importorskip("tonic.functional")
    rng = np.random.default_rng(1)
    t = 1000 + np.cumsum(rng.integers(1, 9, 400)) * 2  # it lets pass what lies before its own filter time
    table = [(int(time), int(x), 3, 1) for time, x in zip(t, rng.integers(0, 9, 400))]
    theirs = np.zeros(400, np.dtype([("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")]))
    theirs["t"], theirs["x"], theirs["y"], theirs["p"] = (np.array(column) for column in zip(*table))
    kept = tonic.denoise_numpy(theirs, filter_time=21)
    ours, _ = passed(events_at(*table), EventFilters(background_us=20))
    assert 0 < len(ours) < 400
    assert [row[:2] for row in ours] == list(zip(kept["t"].tolist(), kept["x"].tolist()))
