"""Dirty events in files of every format: left out or lifted by the rules, counted, said once; times start at 0."""

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
from lab_format_writers import (
    write_aedat2,
    write_aedat3,
    write_event_stream,
    write_evt4,
    write_named,
    write_rosbag,
    write_table,
    write_text,
)

from spikeyolo.errors import RecordingError
from spikeyolo.events import Events
from spikeyolo.events.cleaning import EventCounts, EventRules
from spikeyolo.events.formats import open_recording

few = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIZE = (34, 30)


def ecf_in_small_chunks(path, events):
    write_ecf(path, events, per_chunk=1)  # only between chunks can its times step back


def aedat2_of_an_unnamed_davis(events):
    return write_aedat2(events).replace(b"# AEChip: eu.seebetter.ini.chips.davis.DAVIS346blue\r\n", b"")


# name of the file → how it is written
FORMATS = {
    "a.dat": lambda path, events: path.write_bytes(write_dat(events)),
    "evt2.raw": lambda path, events: path.write_bytes(write_evt2(events)),
    "evt21.raw": lambda path, events: path.write_bytes(write_evt21(events)),
    "evt3.raw": lambda path, events: path.write_bytes(write_evt3(events)),
    "a.aedat4": lambda path, events: path.write_bytes(write_aedat4(events)),
    "a.bin": lambda path, events: path.write_bytes(write_saccade(events)),
    "columns.h5": write_columns,
    "dsec.h5": lambda path, events: write_columns(path, events, "dsec"),
    "records.h5": write_records,
    "ecf.h5": ecf_in_small_chunks,
    "names.h5": lambda path, events: write_named(path, events, "raw_events/ts xs ys ps"),
    "table.h5": lambda path, events: write_table(path, events, "xypt"),
    "evt4.raw": lambda path, events: path.write_bytes(write_evt4(events)),
    "dvs.es": lambda path, events: path.write_bytes(write_event_stream(events)),
    "atis.es": lambda path, events: path.write_bytes(write_event_stream(events, "atis")),
    "a2.aedat": lambda path, events: path.write_bytes(aedat2_of_an_unnamed_davis(events)),
    "a3.aedat": lambda path, events: path.write_bytes(write_aedat3(events, camera="another", per_packet=2)),
    "a.csv": lambda path, events: path.write_bytes(write_text(events, separator=",", header="t,x,y,p")),
    "a.txt": lambda path, events: path.write_bytes(write_text(events, unit="s")),
    "a.bag": lambda path, events: write_rosbag(path, events, per_message=1000),
}
STEPPING = [name for name in FORMATS if not name.endswith(".es")]  # Event Stream writes steps ahead only
LAST_LINE = {"a.bin": 239, "a2.aedat": 500}  # what 8 and 9 bits hold


def some_events(t, y):
    n = len(t)
    x = np.arange(5, 5 + n)
    return Events(np.array(t), x.astype(np.uint16), np.array(y, np.uint16), np.ones(n, np.uint8), *SIZE)


def written(folder, name, events):
    FORMATS[name](path := folder / name, events)
    return path


def read(path, max_events=1 << 20, **how):
    reader = open_recording(path, size=SIZE, **how)
    found = [row for batch in reader.batches(max_events) for row in rows(batch)]
    return reader, found


def cleaned(reader):
    """What is said of the events, without what was said of the file when it was opened."""
    return reader.warnings[len(reader.opening_warnings) :]


def on_start(reader):
    """What the file's own clock is ahead of the recording's."""
    return reader.time_offset_us - (49_599_300_523 if reader.format == "hdf5-dsec" else 0)


@pytest.mark.parametrize("name", FORMATS)
def test_an_event_outside_the_sensor_is_left_out_and_counted(tmp_path, name, caplog):
    outside = LAST_LINE.get(name, 700)
    reader, found = read(written(tmp_path, name, some_events([1, 2, 3], [5, outside, 7])))
    if name == "dsec.h5":
        assert (reader.width, reader.height) == SIZE
    assert found == [(0, 5, 5, 1), (2, 7, 7, 1)]
    assert on_start(reader) == 1
    assert reader.counts == EventCounts(in_file=3, outside_sensor=1)
    assert reader.counts.as_dict() == {"in_file": 3, "kept": 2, "outside_sensor": 1}
    assert cleaned(reader) == [f"{reader.path}: of 3 events: 1 outside the sensor left out"]
    assert [record.message for record in caplog.records] == reader.warnings


def test_etrams_own_row_is_left_out(tmp_path):
    t, x, y, p = np.array([1, 2, 3]), *np.array([[5, 6, 7], [5, 33014, 7]], np.uint16), np.ones(3, np.uint8)
    write_columns(path := tmp_path / "train_day_0024_td.h5", Events(t, x, y, p, 1280, 720))
    reader, found = read(path)
    assert [row[:3] for row in found] == [(0, 5, 5), (2, 7, 7)]
    assert reader.counts.outside_sensor == 1


@pytest.mark.parametrize("name", STEPPING)
@pytest.mark.parametrize("max_events", [1, 3, 100])
def test_a_time_that_steps_back_is_lifted_to_the_largest_so_far(tmp_path, name, max_events):
    reader, found = read(written(tmp_path, name, some_events([10, 20, 17, 30], [5, 6, 7, 8])), max_events)
    assert [t for t, *_ in found] == [0, 10, 10, 20]
    assert on_start(reader) == 10
    assert reader.counts == EventCounts(in_file=4, stepped_back=1, largest_step_back_us=3)
    assert ["1 stepped back in time by up to 3 µs" in sentence for sentence in cleaned(reader)] == [True]


@pytest.mark.parametrize("name", FORMATS)
def test_the_first_event_is_the_first_that_is_kept(tmp_path, name):
    last = 145 if name in STEPPING else 150
    path = written(tmp_path, name, some_events([100, 140, 150, last], [LAST_LINE.get(name, 700), 6, 7, 8]))
    reader, found = read(path, rules=EventRules(max_dirty_share=0.5))
    assert [t for t, *_ in found] == [0, 10, 10]
    assert on_start(reader) == 140


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("t", "y", "sentence"),
    [
        ([1, 2, 3], [5, 200, 7], r"event 1 lies at x=6, y=200; expected a pixel of the 34x30 sensor"),
        ([10, 20, 17], [5, 6, 7], r"time decreases at event 2 \(20 µs, then 17 µs\)"),
    ],
)
def test_strict_rules_refuse_at_the_first_dirty_event(tmp_path, name, t, y, sentence):
    if name not in STEPPING and "time" in sentence:
        return
    path = written(tmp_path, name, some_events(t, y))
    for how in ({"rules": EventRules(strict=True)}, {"strict": True}):
        with pytest.raises(RecordingError, match=sentence):
            read(path, **how)


@pytest.mark.parametrize("name", STEPPING)
def test_a_larger_step_back_is_damage_that_is_refused_or_cut(tmp_path, name):
    path = written(tmp_path, name, some_events([10, 20, 300, 40, 300, 310], [5, 6, 7, 8, 9, 9]))
    with pytest.raises(RecordingError, match=r"damaged, time decreases at event 3 \(300 µs, then 40 µs\).*beyond=cut"):
        read(path, rules=EventRules(max_step_back_us=259))
    reader, found = read(path, rules=EventRules(max_step_back_us=259, beyond="cut"))
    assert [t for t, *_ in found] == [0, 10, 290]
    assert reader.counts == EventCounts(in_file=3, cut=True)
    assert ["cut at a larger step back" in sentence for sentence in cleaned(reader)] == [True]
    reader, found = read(path, rules=EventRules(max_step_back_us=260))
    assert [t for t, *_ in found] == [0, 10, 290, 290, 290, 300]


def dirty(count, outside, lifted):
    t = np.arange(count) * 10
    y = np.full(count, 3)
    y[5 : 5 + outside] = 200
    t[100 : 100 + 2 * lifted : 2] -= 15
    x, p = np.zeros(count, np.uint16), np.zeros(count, np.uint8)
    return Events(t, x, y.astype(np.uint16), p, *SIZE)


@pytest.mark.parametrize("name", ["a.dat", "evt3.raw", "columns.h5"])
def test_too_large_a_share_of_dirty_events_refuses_the_file_with_the_counts(tmp_path, name):
    path = written(tmp_path, name, dirty(2000, 1, 1))
    assert read(path)[0].counts.dirty == 2
    path = written(tmp_path, name, dirty(2000, 2, 1))
    with pytest.raises(RecordingError, match=r"of 2000 events: 2 outside the sensor .*1 stepped back.*share of 0.001"):
        read(path)
    assert read(path, rules=EventRules(max_dirty_share=0.0015))[0].counts.dirty == 3
    path = written(tmp_path, name, dirty(300, 1, 0))
    assert read(path)[0].counts.dirty == 1  # one event is never too much
    with pytest.raises(RecordingError, match="expected at most a share of 0 "):
        read(path, rules=EventRules(max_dirty_share=0.0))


def by_hand(table, width, height):
    """The rules as a person would apply them."""
    kept, largest, outside, lifted = [], None, 0, 0
    for t, x, y, p in table:
        if x >= width or y >= height:
            outside += 1
            continue
        lifted += largest is not None and t < largest
        largest = t if largest is None else max(largest, t)
        kept.append((largest, x, y, p))
    first = kept[0][0] if kept else 0
    return [(t - first, *rest) for t, *rest in kept], outside, lifted


@few
@given(
    st.sampled_from([name for name in FORMATS if name not in ("ecf.h5", "table.h5")]),
    recordings(width=34, height=30, max_gap=70),
    st.integers(0, 2**32),
    st.sampled_from([1, 7, 1 << 20]),
)
def test_cleaning_equals_cleaning_by_hand_for_any_size_of_batches(tmp_path, name, events, seed, max_events):
    rng = np.random.default_rng(seed)
    events.y[rng.random(len(events)) < 0.2] = 200
    if name in STEPPING:
        events.t[:] += rng.integers(0, 60, len(events)) * (rng.random(len(events)) < 0.3)
    written(tmp_path, name, events)
    expected, outside, lifted = by_hand(rows(events), *SIZE)
    reader, found = read(tmp_path / name, max_events, rules=EventRules(max_dirty_share=1.0))
    assert found == expected
    assert (reader.counts.outside_sensor, reader.counts.stepped_back) == (outside, lifted)
    assert reader.counts.kept == len(found)


def evt3_words(*words):
    return raw_header("EVT3", Events.empty(1280, 720)) + struct.pack(f"<{len(words)}H", *words)


HIGH, LOW, LINE, PIXEL, BASE, MASK_12 = (kind << 12 for kind in (8, 6, 0, 2, 3, 4))


def test_evt3_time_high_starts_a_new_time_at_once(tmp_path):
    content = evt3_words(
        HIGH, LOW | 1, LINE, PIXEL, BASE | 10, MASK_12 | 1, MASK_12, HIGH | 255, PIXEL | 1, HIGH | 255, LOW | 7, PIXEL
    )
    (path := tmp_path / "a.raw").write_bytes(content)
    reader, found = read(path)
    assert [t + reader.time_offset_us for t, *_ in found] == [1, 1, 1_044_480, 1_044_487]


def test_evt3_time_high_that_repeats_keeps_the_time(tmp_path):
    content = evt3_words(HIGH | 1, LOW | 100, LINE, PIXEL, HIGH | 1, PIXEL, HIGH | 2, PIXEL)
    (path := tmp_path / "a.raw").write_bytes(content)
    reader, found = read(path)
    assert [t + reader.time_offset_us for t, *_ in found] == [4196, 4196, 8192]


def test_evt3_time_words_that_jump_far_ahead_and_back_are_counted_and_said(tmp_path):
    content = evt3_words(HIGH | 10, LOW, LINE, PIXEL, HIGH | 4000, HIGH | 11, LOW, PIXEL)
    (path := tmp_path / "a.raw").write_bytes(content)
    reader, _ = read(path)
    assert reader.counts.time_jumps == 1
    assert ["1 time words jump far ahead and back" in sentence for sentence in reader.warnings] == [True]
    # the counter turning over is no jump
    (path := tmp_path / "b.raw").write_bytes(evt3_words(*(HIGH | k % 4096 for k in range(0, 9000, 1000)), LOW, LINE))
    assert read(path)[0].counts.time_jumps == 0


@pytest.mark.parametrize("form", ["EVT2", "EVT21"])
def test_evt2_time_words_that_jump_by_more_than_a_minute_and_back_are_counted_and_said(tmp_path, form):
    def word(high):
        return 8 << 28 | high

    minute = 61_000_000 >> 6
    words = [word(10), 1 << 28, word(10 + minute), word(11), 1 << 28]
    if form == "EVT21":
        body = b"".join(struct.pack("<II", int(w >> 28 == 1), w) for w in words)
    else:
        body = struct.pack("<5I", *words)
    header = raw_header(form, Events.empty(640, 480), ";endianness=little" if form == "EVT21" else "")
    (path := tmp_path / "a.raw").write_bytes(header + body)
    reader, found = read(path)
    assert [t for t, *_ in found] == [0, 64]
    assert reader.counts.time_jumps == 1
    assert ["time words jump far ahead" in sentence for sentence in cleaned(reader)] == [True]


@pytest.mark.parametrize("bad", [-1, 70_000])
def test_hdf5_pixels_that_16_bits_cannot_hold_are_outside_the_sensor(tmp_path, bad):
    with h5py.File(path := tmp_path / "a.h5", "w") as file:
        for name in "xypt":
            file[f"events/{name}"] = np.array([1, bad if name == "x" else 1, 1], np.int32)
        file["events/width"], file["events/height"] = 64, 48
    reader, found = read(path)
    assert len(found) == 2
    assert reader.counts.outside_sensor == 1


@pytest.mark.parametrize(
    "rules", [EventRules(max_step_back_us=10), EventRules(max_dirty_share=0.5), EventRules(beyond="cut")]
)
def test_rules_that_would_clean_alike_are_told_from_those_that_would_not(rules):
    counts = EventCounts(in_file=2000, outside_sensor=1, stepped_back=1, largest_step_back_us=10)
    assert rules.leave(counts)
    assert not EventRules(strict=True).leave(counts)
    assert not EventRules(max_step_back_us=9).leave(counts)
    assert not EventRules(max_dirty_share=0.0005).leave(counts)
    assert not rules.leave(EventCounts(in_file=2000, cut=True))
    assert EventRules(strict=True).leave(EventCounts(in_file=2000))


@pytest.mark.parametrize("name", STEPPING)
def test_events_after_a_lifted_one_are_lifted_in_later_batches_too(tmp_path, name):
    path = written(tmp_path, name, some_events([10, 20, 12, 13, 25], [5, 6, 7, 8, 9]))
    reader, found = read(path, 1, rules=EventRules(max_dirty_share=0.5))
    assert [t for t, *_ in found] == [0, 10, 10, 10, 15]
    assert reader.counts.stepped_back == 2
