"""Filtered recordings in the store: what was left out is in the manifest, labels follow, other filters are others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from format_writers import rows, write_evt3
from lab_format_writers import write_text

from spikeyolo.errors import RecordingError
from spikeyolo.events import Events
from spikeyolo.events.conversion.convert import Conversion, convert
from spikeyolo.events.conversion.prepare import prepare
from spikeyolo.events.conversion.sources import files_at
from spikeyolo.events.datasets import SingleRecording, Source, find_recordings
from spikeyolo.events.filters import EventFilters
from spikeyolo.events.labels import LabelRules
from spikeyolo.events.store import Recording

BOX = [("t", "<i8"), ("x", "<f4"), ("y", "<f4"), ("w", "<f4"), ("h", "<f4"), ("class_id", "<u4")]
START_US = 7_000_000
LABELS = [
    (10_000, 5, 6, 20, 10, 0),  # wholly inside the region
    (20_000, 30, 6, 20, 10, 0),  # reaches over its right edge
    (30_000, 50, 30, 10, 10, 0),  # outside it
    (80_000, 5, 6, 20, 10, 0),  # after the time range
]
FILTERS = EventFilters(time_range_us=(5_000, 60_000), region=(0, 0, 40, 30))


def some_events(count: int = 3000) -> Events:
    rng = np.random.default_rng(4)
    t = START_US + np.sort(rng.integers(0, 100_000, count))
    x, y, p = (rng.integers(0, side, count) for side in (64, 48, 2))
    return Events(t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), 64, 48)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.raw").write_bytes(write_evt3(some_events()))
    np.save(tmp_path / "raw" / "a_bbox.npy", np.array(LABELS, BOX))
    return Source(tmp_path / "raw" / "a.raw", tmp_path / "raw" / "a_bbox.npy", "a", "", filters=FILTERS)


def expected() -> list[tuple[int, ...]]:
    first = int(some_events().t[0])
    table = [(t - first, x, y, p) for t, x, y, p in rows(some_events())]
    return [row for row in table if 5_000 <= row[0] < 60_000 and row[1] < 40 and row[2] < 30]


def test_a_filtered_recording_says_in_the_manifest_what_was_left_out(tmp_path: Path, source: Source) -> None:
    _, entry = convert(Conversion(source, tmp_path / "out" / "a.zarr", ("car",)))
    recording = Recording.open(tmp_path / "out" / "a.zarr")
    assert rows(recording.slice(0, 200_000)) == expected()
    counts = entry["filter_counts"]
    assert (counts["offered"], counts["kept"]) == (3000, len(expected()))
    assert counts["outside_time_range"] + counts["outside_region"] == 3000 - len(expected())
    assert entry["reading"] == {"filters": {"time_range_us": [5_000, 60_000], "region": [0, 0, 40, 30]}}
    assert entry["boxes"] == {
        "in_file": 4,
        "kept": 2,
        "clipped_to_frame": 0,
        "dropped_outside_time_range": 1,
        "dropped_outside_region": 1,
    }
    np.testing.assert_array_equal(recording.boxes.xyxy, [[5, 6, 25, 16], [30, 6, 40, 16]])


def test_labels_keep_their_times_when_the_recordings_start_is_filtered_away(tmp_path: Path, source: Source) -> None:
    labels = np.array(LABELS, BOX)
    labels["t"] += int(some_events().t[0])
    assert source.labels is not None
    np.save(source.labels, labels)
    camera = replace(source, rules=LabelRules(label_clock="camera", time_tolerance_us=0))
    convert(Conversion(camera, tmp_path / "out" / "a.zarr", ("car",)))
    assert list(Recording.open(tmp_path / "out" / "a.zarr").boxes.t) == [10_000, 20_000]


def test_a_box_of_which_the_region_leaves_too_little_is_unknown_and_one_outside_it_is_not_there(
    tmp_path: Path, source: Source
) -> None:
    narrow = replace(source, filters=EventFilters(region=(0, 0, 31, 30)), rules=LabelRules(min_side_px=2))
    convert(Conversion(narrow, tmp_path / "out" / "a.zarr", ("car",)))
    recording = Recording.open(tmp_path / "out" / "a.zarr")
    assert list(recording.boxes.t) == [10_000, 80_000]
    assert recording.attributes["notes"]["left_out_us"] == [20_000]


def test_other_filters_are_refused_in_one_place_and_replaced_when_told(tmp_path: Path, source: Source) -> None:
    conversion = Conversion(source, tmp_path / "out" / "a.zarr", ("car",))
    convert(conversion)
    assert convert(conversion)[0] == "verified"
    other = replace(conversion, source=replace(source, filters=EventFilters(background_us=900)))
    with pytest.raises(RecordingError, match=r"its rules for events differ\); expected another out, or replace=true"):
        convert(other)
    _, entry = convert(replace(other, replace=True))
    assert list(entry["reading"]["filters"]) == ["background_us"]


def test_training_keeps_recordings_of_each_filter_apart(tmp_path: Path, source: Source) -> None:
    plain = prepare([replace(source, filters=EventFilters())], store=tmp_path / "store", classes=["car"])
    filtered = prepare([source], store=tmp_path / "store", classes=["car"])
    again = prepare([source], store=tmp_path / "store", classes=["car"])
    assert plain[0].path != filtered[0].path == again[0].path
    assert (plain[0].open().num_events, filtered[0].open().num_events) == (3000, len(expected()))
    assert filtered[0].boxes is not None
    assert plain[0].boxes is not None
    assert (len(plain[0].boxes), len(filtered[0].boxes)) == (4, 2)


def test_a_time_unit_is_part_of_how_a_recording_is_read(tmp_path: Path) -> None:
    (path := tmp_path / "a.txt").write_bytes(write_text(some_events(), "ns"))
    source = Source(path, None, "a", "", size=(64, 48), time_unit="ns")
    _, entry = convert(Conversion(source, tmp_path / "out" / "a.zarr", ()))
    assert (entry["reading"], entry["events"]) == ({"time_unit": "ns"}, 3000)
    assert (entry["time_offset_us"], entry["end_us"]) == (some_events().t[0], np.ptp(some_events().t) + 1)


def test_a_folder_of_texts_gives_those_that_hold_events(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(write_text(some_events()))
    (tmp_path / "b.csv").write_bytes(write_text(some_events(), "s", ",", "t,x,y,p"))
    (tmp_path / "a_bbox.csv").write_text("t_us,x,y,w,h,class\n1000,5,5,20,10,car\n")
    (tmp_path / "labels.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "README.txt").write_text("What these are\n")
    data = SingleRecording(events=str(tmp_path), classes=["car"], train_until_us=50_000, size=(64, 48))
    assert [source.name for source in data.sources("train")] == ["a", "b"]
    assert find_recordings(tmp_path, (".raw",)) == []
    assert [name for _, name, _ in files_at(f"{tmp_path}/*")] == ["a", "b"]
