"""How events are read is part of a stored recording: its clock, its rules and counts, and when it is read anew."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spikeyolo.errors import LabelError, RecordingError
from spikeyolo.events.cleaning import EventRules
from spikeyolo.events.conversion import identity
from spikeyolo.events.conversion import prepare as prepare_module
from spikeyolo.events.conversion.convert import Conversion, convert
from spikeyolo.events.conversion.pool import convert_all
from spikeyolo.events.conversion.prepare import check_labels, prepare
from spikeyolo.events.datasets import DsecDetection, Etram, Gen1, Mpx1, SingleRecording, Source
from spikeyolo.events.labels import LabelRules
from spikeyolo.events.splits import Role
from spikeyolo.events.store import Recording

BOX = [("t", "<i8"), ("x", "<f4"), ("y", "<f4"), ("w", "<f4"), ("h", "<f4"), ("class_id", "<u4")]
CAMERA = LabelRules(label_clock="camera")
COUNT = 4000


def write_columns(path: Path, *, first_us: int = 20_000, bad_y: int | None = None, step_back: int = 0) -> None:
    """Events every 10 µs from ``first_us`` on, of which one may be dirty, and a box at each 1000th of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    t = first_us + 10 * np.arange(COUNT)
    y = np.arange(COUNT) % 48
    if bad_y is not None:
        y[77] = bad_y
    if step_back:
        t[500] -= step_back
    with h5py.File(path, "w") as file:
        columns = {"t": t, "x": np.arange(COUNT) % 64, "y": y, "p": np.arange(COUNT) % 2}
        for name, column in columns.items():
            file[f"events/{name}"] = column.astype(np.int64 if name == "t" else np.uint16)
        file["events/width"], file["events/height"] = 64, 48


def write_labels(path: Path, times: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array([(t, 5, 6, 20, 10, 0) for t in times], BOX))


def file_times() -> np.ndarray[Any, Any]:
    return 20_000 + 10 * np.arange(0, COUNT, 1000)


def converted(folder: Path, **how: Any) -> tuple[str, dict[str, Any]]:
    source = Source(folder / "a.h5", None, "a", "", **how)
    return convert(Conversion(source, folder / "out" / "a.zarr", ()))


def test_the_manifest_says_the_offset_the_rules_and_what_they_did(tmp_path: Path) -> None:
    write_columns(tmp_path / "a.h5", bad_y=33014, step_back=13)
    _, entry = converted(tmp_path)
    assert (entry["start_us"], entry["end_us"], entry["time_offset_us"], entry["clock"]) == (
        0,
        39_991,
        20_000,
        "camera",
    )
    assert entry["event_rules"] == {
        "strict": False,
        "max_step_back_us": 100_000,
        "beyond": "refuse",
        "max_dirty_share": 0.001,
    }
    assert entry["event_counts"] == {
        "in_file": COUNT,
        "kept": COUNT - 1,
        "outside_sensor": 1,
        "stepped_back": 1,
        "largest_step_back_us": 3,
    }
    assert entry["events"] == COUNT - 1
    assert ["of 4000 events: 1 outside the sensor" in sentence for sentence in entry["warnings"]] == [True]


def test_rules_that_change_nothing_find_the_recording_finished_and_others_do_not(tmp_path: Path) -> None:
    write_columns(tmp_path / "a.h5", bad_y=33014)
    converted(tmp_path)
    assert converted(tmp_path, event_rules=EventRules(max_dirty_share=0.01))[0] == "verified"
    assert converted(tmp_path, size=(304, 240))[0] == "verified"  # the file names its sensor
    with pytest.raises(RecordingError, match=r"its rules for events differ.*replace=true"):
        converted(tmp_path, event_rules=EventRules(strict=True))


def test_two_first_trainings_at_once_under_different_rules_each_get_their_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_columns(tmp_path / "a.h5", step_back=50)
    rules = {"lifted": EventRules(), "cut": EventRules(max_step_back_us=20, beyond="cut")}
    sources = {name: [Source(tmp_path / "a.h5", None, "a", "train", event_rules=rule)] for name, rule in rules.items()}
    first = []

    def overtaken(*arguments: Any, **settings: Any) -> None:
        """The other training begins and ends when this one has seen that nothing is stored yet."""
        monkeypatch.setattr(prepare_module, "convert_all", convert_all)
        first.extend(prepare(sources["lifted"], store=tmp_path / "store", classes=()))
        convert_all(*arguments, **settings)

    monkeypatch.setattr(prepare_module, "convert_all", overtaken)
    second = prepare(sources["cut"], store=tmp_path / "store", classes=())
    assert [item.open().num_events for item in (*first, *second)] == [COUNT, 500]
    for found, name in ((first, "lifted"), (second, "cut")):
        (again,) = prepare(sources[name], store=tmp_path / "store", classes=())
        assert again.path == found[0].path


def test_a_guessed_sensor_is_said_once_and_named_where_labels_do_not_fit_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_columns(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["events/width"], file["events/height"]
    write_labels(tmp_path / "a_bbox.npy", file_times())
    single = SingleRecording(
        events=str(tmp_path / "a.h5"), classes=["car"], train_until_us=20_000, train_labels=CAMERA, val_labels=CAMERA
    )
    roles: tuple[Role, ...] = ("train", "val")
    for role in roles:
        check_labels(single.sources(role), store=tmp_path / "store", classes=["car"])
    for role in roles:
        prepare(single.sources(role), store=tmp_path / "store", classes=["car"])
    assert caplog.text.count("names no sensor size; took 240x180 px") == 1
    far = np.array([(20_000, 500, 6, 20, 10, 0)], BOX)
    np.save(tmp_path / "a_bbox.npy", far)
    sentence = r"outside the frame of 240x180 px .*240x180 px is a guess.*data\.size"
    with pytest.raises(LabelError, match=sentence):
        check_labels(single.sources("val"), store=tmp_path / "other", classes=["car"])
    with pytest.raises(LabelError, match=sentence):  # of what is stored
        prepare(single.sources("val"), store=tmp_path / "store", classes=["car"])


def test_a_clean_recording_is_the_same_under_any_rules(tmp_path: Path) -> None:
    write_columns(tmp_path / "a.h5")
    converted(tmp_path)
    assert converted(tmp_path, event_rules=EventRules(strict=True))[0] == "verified"


@pytest.mark.parametrize("before", [None, (64, 48), (80, 60)])
def test_another_sensor_size_converts_again_where_the_file_names_none(
    tmp_path: Path, before: tuple[int, int] | None
) -> None:
    write_columns(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["events/width"], file["events/height"]
    _, entry = converted(tmp_path, size=before)
    assert (entry["width"], entry["height"]) == (before or (240, 180))
    assert converted(tmp_path, size=before)[0] == "verified"
    with pytest.raises(RecordingError, match="its rules for events differ"):
        converted(tmp_path, size=(100, 90))
    assert converted(tmp_path, size=(entry["width"], entry["height"]))[0] == "verified"


def test_training_reads_again_only_under_rules_that_give_other_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_columns(tmp_path / "a.h5", bad_y=33014, step_back=13)
    source = Source(tmp_path / "a.h5", None, "a", "train")
    how: dict[str, Any] = {"store": tmp_path / "store", "classes": ["car"]}
    (first,) = prepare([source], **how)
    opened: list[Path] = []
    original = identity.open_recording
    monkeypatch.setattr(identity, "open_recording", lambda path, **k: (opened.append(path), original(path, **k))[1])
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        (again,) = prepare([replace(source, event_rules=EventRules(max_step_back_us=3))], **how)
    assert again.path == first.path
    assert opened == []
    assert [record.message for record in caplog.records] == [
        "train: 1 recordings are cleaned: of 4000 events: 1 outside the sensor left out, 1 stepped back in time by up "
        "to 3 µs, lifted to the time before them"
    ]
    cut = replace(source, event_rules=EventRules(max_step_back_us=2, beyond="cut"))
    (shorter,) = prepare([cut], **how)
    assert shorter.path != first.path
    assert shorter.open().num_events == 499
    assert first.open().num_events == COUNT - 1  # and the other is still there
    assert prepare([cut], **how)[0].path == shorter.path
    assert len(opened) == 1
    with pytest.raises(RecordingError, match="event 77 lies at x=13, y=33014"):
        prepare([replace(source, event_rules=EventRules(strict=True))], **how)


def in_folders(root: Path, suffix: str) -> tuple[Path, Path]:
    return root / "train" / f"a{suffix}", root / "train" / "a_bbox.npy"


def dsec(root: Path) -> tuple[Path, Path]:
    sequence = root / "train" / "zurich_city_00_a"
    return sequence / "events/left/events.h5", sequence / "object_detections/left/tracks.npy"


@pytest.mark.parametrize(
    ("data_set", "places"),
    [
        (Etram, lambda root: in_folders(root, ".h5")),
        (Gen1, lambda root: in_folders(root, "_td.h5")),
        (Mpx1, lambda root: in_folders(root, "_td.h5")),
        (DsecDetection, dsec),
    ],
)
@pytest.mark.parametrize("entry", ["training", "convert"])
def test_labels_that_share_the_files_clock_meet_the_events_they_were_drawn_on(
    tmp_path: Path, data_set: Any, places: Callable[[Path], tuple[Path, Path]], entry: str
) -> None:
    events, labels = places(tmp_path / "set")
    write_columns(events)
    on_clock = file_times()
    if data_set is DsecDetection:
        with h5py.File(events, "r+") as file:
            file["t_offset"] = np.int64(49_599_300_523)
        on_clock = on_clock + 49_599_300_523
    write_labels(labels, on_clock)
    more = {"val_sequences": []} if data_set is DsecDetection else {}
    found = data_set(root=str(tmp_path / "set"), classes=["car"], train_labels=CAMERA, **more)
    (source,) = found.sources("train")
    if entry == "training":
        (item,) = prepare([source], store=tmp_path / "store", classes=["car"])
        recording = item.open()
    else:
        convert(Conversion(source, tmp_path / "a.zarr", ("car",)))
        recording = Recording.open(tmp_path / "a.zarr")
    assert recording.start_us == 0
    assert recording.boxes.t.tolist() == [0, 10_000, 20_000, 30_000]
    stored = recording.slice(0, recording.end_us)
    np.testing.assert_array_equal(stored.t[::1000], recording.boxes.t)


def test_a_part_of_a_recording_counts_from_its_first_event(tmp_path: Path) -> None:
    from spikeyolo.windows.data import EventData
    from spikeyolo.windows.encoders import HistogramEncoder

    write_columns(tmp_path / "a.h5", first_us=913_716_224)
    write_labels(tmp_path / "a_bbox.npy", np.array([5_000, 35_000]))
    single = SingleRecording(events=str(tmp_path / "a.h5"), classes=["car"], train_until_us=30_000)
    data = EventData(dataset=single, classes=["car"], store=str(tmp_path / "store"), encoder=HistogramEncoder())
    ((train,), (val,)) = data.parts("train"), data.parts("val")
    assert [(part.start_us, part.end_us) for part in (train, val)] == [(0, 30_000), (30_000, 39_991)]
    assert train.boxes is not None
    assert train.boxes.t.tolist() == [5_000, 35_000]
