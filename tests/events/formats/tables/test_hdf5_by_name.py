"""HDF5 files whose columns have other names: found by name and shape, said once, read as if they had the usual ones."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from format_laws import assert_events_or_one_line, assert_gives, changed, few, read
from format_writers import recordings, rows, write_columns
from hypothesis import given
from hypothesis import strategies as st
from lab_format_writers import write_named, write_table

from spikeyolo.errors import RecordingError
from spikeyolo.events import Events
from spikeyolo.events.formats import open_recording

NAMES = [
    "raw_events/t x y p",
    "events/ts xs ys ps",
    "timestamps x y polarity",
    "prophesee/left/t x y p",
    "raw_events/event_timestamp event_x event_y event_polarity",
    "Time X Y Polarity",
]


@few
@given(recordings(), st.sampled_from(NAMES), st.sampled_from([1, 7, 1 << 20]), st.sampled_from(["us", "ns", "s"]))
def test_columns_of_other_names_return_what_was_written(tmp_path, events, names, max_events, unit):
    write_named(path := tmp_path / "a.h5", events, names, unit, chunks=(16,))
    reader = assert_gives(path, events, "hdf5-by-name", max_events, time_unit=unit)
    said = [warning for warning in reader.warnings if "as events t, x, y, p" in warning]
    assert len(said) == 1
    assert all(name.split("/")[-1] in said[0] for name in names.split())


@few
@given(recordings(min_events=5), st.sampled_from(["txyp", "xytp", "xypt"]))
def test_a_table_without_names_is_told_by_its_columns(tmp_path, events, order):
    events.t[0] -= 1
    events.x[1], events.p[1], events.y[1] = 5, 1, 9  # neither polarity nor time can be taken for the other
    events.x[2], events.y[2] = 3, 7
    write_table(path := tmp_path / "a.hdf5", events, order)
    options = {"size": (1280, 720), "time_unit": "s"}
    assert_gives(path, events, "hdf5-by-name", 7, **options)


@few
@given(recordings())
def test_records_with_fields_of_other_names_return_what_was_written(tmp_path, events):
    kind = np.dtype([("timestamp", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "?")])
    table = np.empty(len(events), kind)
    for theirs, ours in (("timestamp", "t"), ("x", "x"), ("y", "y"), ("on", "p")):
        table[theirs] = getattr(events, ours)
    with h5py.File(path := tmp_path / "a.h5", "w") as file:
        file["dvs/events"] = table
        file.attrs["geometry"] = f"{events.width}x{events.height}"
    assert_gives(path, events, "hdf5-by-name", 7)


def test_times_of_floats_with_fractions_are_seconds(tmp_path):
    write_named(path := tmp_path / "a.h5", some_events(), "events/t x y p", "s")
    assert_gives(path, some_events(), "hdf5-by-name")


def test_of_two_cameras_the_first_is_taken_and_the_other_named(tmp_path):
    write_named(path := tmp_path / "a.h5", some_events(), "prophesee/left/t x y p")
    with h5py.File(path, "a") as file:
        file.copy("prophesee/left", "prophesee/right")
    reader = assert_gives(path, some_events(), "hdf5-by-name")
    assert ["left out prophesee/right/t, prophesee/right/x" in warning for warning in reader.warnings] == [True]


@pytest.mark.parametrize("missing", ["t", "x", "y", "p"])
def test_a_file_that_lacks_a_column_is_refused_with_what_it_holds(tmp_path, missing):
    write_columns(path := tmp_path / "a.h5", some_events())
    with h5py.File(path, "a") as file:
        del file[f"events/{missing}"]
    with pytest.raises(RecordingError, match=r"holds events; expected events/x,y,p,t.*named as those of events"):
        open_recording(path)


def test_a_table_that_fits_more_than_one_order_is_not_guessed(tmp_path):
    with h5py.File(path := tmp_path / "a.h5", "w") as file:
        file["events"] = np.zeros((9, 4))
    with pytest.raises(RecordingError, match="expected"):
        open_recording(path)


def test_two_columns_that_could_be_the_time_are_not_chosen_from(tmp_path):
    write_named(path := tmp_path / "a.h5", some_events(), "raw/ts xs ys ps")
    with h5py.File(path, "a") as file:
        file["raw/timestamps"] = file["raw/ts"][:] + 5
    with pytest.raises(RecordingError, match="expected"):
        open_recording(path)


def test_columns_of_different_lengths_are_no_events(tmp_path):
    write_named(path := tmp_path / "a.h5", some_events(), "raw/ts xs ys ps")
    with h5py.File(path, "a") as file:
        del file["raw/xs"]
        file["raw/xs"] = np.arange(7)
    with pytest.raises(RecordingError, match="expected"):
        open_recording(path)


@pytest.mark.parametrize(
    ("column", "value", "line"), [("xs", 1.5, r"x=1\.5, no whole number"), ("ts", np.nan, "a time that is no number")]
)
def test_values_that_are_no_events_are_named(tmp_path, column, value, line):
    write_named(path := tmp_path / "a.h5", some_events(), "raw/ts xs ys ps")
    with h5py.File(path, "a") as file:
        numbers = file[f"raw/{column}"][:].astype(float)
        numbers[20] = value
        del file[f"raw/{column}"]
        file[f"raw/{column}"] = numbers
    with pytest.raises(RecordingError, match=line):
        read(path)


@few
@given(st.lists(st.integers(0, 10**6), max_size=12), st.binary(min_size=12, max_size=12), st.sampled_from(NAMES))
def test_a_damaged_file_gives_valid_events_or_one_line(tmp_path, places, values, names):
    write_named(path := tmp_path / "a.h5", some_events(), names)
    path.write_bytes(changed(path.read_bytes(), places, values))
    assert_events_or_one_line(path)


def test_the_usual_columns_stay_what_they_were(tmp_path):
    write_columns(path := tmp_path / "a.h5", events := some_events())
    reader, found = read(path)
    assert (reader.format, reader.warnings) == ("hdf5-columns", [])
    assert len(rows(found)) == len(events)


def some_events(count=50):
    rng = np.random.default_rng(3)
    t = np.sort(rng.integers(0, 20_000, count))
    x, y, p = (rng.integers(0, limit, count) for limit in (1280, 720, 2))
    return Events(t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), 1280, 720)
