"""The detector trains on files in eTraM's layout, and a file that is not what it claims to be ends in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from command_line import Ended, run_folder, train
from etram_set import CLASSES, DURATION_US, HEIGHT, LABEL, WIDTH, film, label_rows, write_events, write_set
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from spikeyolo import schema
from spikeyolo.entry import config_directory
from spikeyolo.events.store import Recording

TRAIN = (
    "data=etram",
    "data.root=etram",
    "data.store=store",
    "data.classes=[car,pedestrian]",  # not in the order of the files' ids
    "data.slice_duration_us=1000",
    "data.time_steps=2",
    "data.max_samples_per_file=4",
    "model=femto",
    "logger=none",
    "trainer.max_epochs=1",
    "trainer.threads=1",
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("original") / "etram"
    write_set(root)
    return root


@pytest.fixture(scope="module")
def trained(original: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """A folder in which a training on the set has ended."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(original, folder / "etram")
    return folder, train(*TRAIN, cwd=folder)


def test_the_set_is_the_published_layout_to_the_byte(original: Path) -> None:
    names = sorted(path.relative_to(original).as_posix() for path in original.rglob("*.*"))
    assert names[:2] == ["test_h5_1/day_2.h5", "test_h5_1/day_2_bbox.npy"]
    assert LABEL.itemsize == 40
    with h5py.File(original / "train_h5_1" / "day_0.h5") as file:
        assert set(file["events"]) == {"x", "y", "p", "t", "width", "height"}
        assert file["events/width"][()] == WIDTH


def test_training_on_the_set_ends_well_and_measures_its_classes(trained: tuple[Path, Ended]) -> None:
    folder, ended = trained
    assert ended.code == 0, ended.errors
    figures = json.loads((run_folder(folder) / "metrics.json").read_text())
    assert figures["val/windows"] == 4
    assert {name.removeprefix("val/ap50/") for name in figures if name.startswith("val/ap50/")} <= set(CLASSES)
    state = json.loads((run_folder(folder) / "checkpoints" / "last" / "state.json").read_text())
    assert state["classes"] == ["car", "pedestrian"]
    assert "train: 2 recordings (0 without labels)" in ended.errors
    assert "val: 1 recordings (0 without labels)" in ended.errors


def test_the_store_holds_every_event_of_the_files(trained: tuple[Path, Ended]) -> None:
    (stored,) = (trained[0] / "store").glob("night_0-*.zarr")
    events, _ = film(1)
    assert Recording.open(stored).num_events == len(events)
    assert np.array_equal(Recording.open(stored).slice(0, DURATION_US).x, events.x)


def test_the_test_split_can_be_the_one_that_is_measured(original: Path, tmp_path: Path) -> None:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        places = (f"data.root={original}", f"data.store={tmp_path}", "data.val_split=test")
        config = compose("train", [*TRAIN, *places])
    data = schema.build(config.data)
    assert [part.name for part in data.parts("val")] == ["test_h5_1/day_2"]
    assert next(iter(data.val_loader().epoch(0))).targets.supervised.all()
    assert data.encoder.frame_size(WIDTH, HEIGHT) == (WIDTH, HEIGHT), "auto is decided for whoever encodes besides"


def spoil(file: Path, change: Callable[[npt.NDArray[np.void]], None]) -> None:
    rows = np.load(file)
    change(rows)
    np.save(file, rows)


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def another_format(file: Path) -> None:
    file.write_bytes(b"an ordinary text under the name of an HDF5 file\n" * 100)


def without_columns(file: Path) -> None:
    with h5py.File(file, "w") as other:
        other["frames"] = np.zeros(10)


def no_events(file: Path) -> None:
    events, _ = film(0)
    write_events(file, events, **{name: [] for name in "xypt"})


def times_that_decrease(file: Path) -> None:
    events, _ = film(0)
    t = events.t.copy()
    t[len(t) // 2 :] -= 200_000
    write_events(file, events, t=t)


def x_outside(file: Path) -> None:
    events, _ = film(0)
    write_events(file, events, x=events.x + np.uint16(WIDTH))


def y_outside(file: Path) -> None:
    events, _ = film(0)
    write_events(file, events, y=np.where(np.arange(len(events)) % 100 == 9, HEIGHT, events.y))


BAD_EVENTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (truncated, "day_0.h5"),
    "empty": (empty, "empty"),
    "of another format": (another_format, "day_0.h5"),
    "HDF5 of something else": (without_columns, "day_0.h5"),
    "without events": (no_events, "no events"),
    "with times that decrease": (times_that_decrease, "damaged, time decreases"),
    "with x outside the sensor": (x_outside, f"{WIDTH}x{HEIGHT}"),
    "with y outside the sensor": (y_outside, "too many dirty events, of "),
}


@pytest.mark.parametrize("kind", BAD_EVENTS)
def test_an_events_file_that_is_bad_ends_in_one_line_and_leaves_nothing(
    kind: str, original: Path, tmp_path: Path
) -> None:
    damage, expected = BAD_EVENTS[kind]
    shutil.copytree(original, tmp_path / "etram")
    damage(tmp_path / "etram" / "train_h5_1" / "day_0.h5")
    line = refused(tmp_path)
    assert "train_h5_1/day_0.h5" in line
    assert expected in line
    assert list((tmp_path / "store").glob("day_0*")) == []


def test_a_recording_with_a_dirty_event_is_cleaned_said_once_and_trained_on(original: Path, tmp_path: Path) -> None:
    """eTraM's own train_day_0024 holds one event at y = 33014."""
    shutil.copytree(original, tmp_path / "etram")
    events, boxes = film(0)
    t, y = events.t.copy() + 20_000, events.y.copy()
    y[9] = 33014
    middle = len(t) // 2
    t[middle] = t[middle - 1] - 1
    write_events(tmp_path / "etram" / "train_h5_1" / "day_0.h5", events, t=t, y=y)
    rows = label_rows(boxes)
    rows["t"] += 20_000  # the labels share the file's clock, whose first event is late
    np.save(tmp_path / "etram" / "train_h5_1" / "day_0_bbox.npy", rows)
    ended = train(*TRAIN, "data.event_rules.max_dirty_share=0.01", cwd=tmp_path, reviewed=False)
    assert ended.code == 0, ended.errors
    counted = f"of {len(events)} events: 1 outside the sensor left out, 1 stepped back in time by up to 1 µs"
    assert ended.errors.count(f"train: 1 recordings are cleaned: {counted}") == 1
    (stored,) = (tmp_path / "store").glob("day_0-*.zarr")
    recording = Recording.open(stored)
    assert recording.num_events == len(events) - 1
    assert (recording.start_us, recording.time_offset_us) == (0, int(t[0]))
    line = refused(tmp_path, "data.event_rules.strict=true")
    assert "event 9 lies at " in line


def lacking_a_field(file: Path) -> None:
    rows = np.load(file)
    np.save(file, rows[["t", "x", "y", "w", "class_id"]])


BAD_LABELS: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (truncated, "not a complete .npy label file"),
    "empty": (empty, "not a complete .npy label file"),
    "lacking a field": (lacking_a_field, "have no field h"),
    "with a class beyond the list": (
        lambda file: spoil(file, lambda rows: rows["class_id"].__setitem__(0, 8)),
        "class id 8 in 1 boxes is beyond the class list; expected one of 0 pedestrian, 1 car, 2 bicycle",
    ),
    "with a box outside the frame": (
        lambda file: spoil(file, lambda rows: rows["x"].__setitem__(0, WIDTH + 10)),
        f"1 boxes lie wholly outside the frame of {WIDTH}x{HEIGHT} px",
    ),
    "with a box of no area": (
        lambda file: spoil(file, lambda rows: rows["w"].__setitem__(0, 0)),
        "1 boxes have no area",
    ),
    "with a time outside the recording": (
        lambda file: spoil(file, lambda rows: rows["t"].__setitem__(-1, 10_000_000)),
        "label times lie outside the recording",
    ),
    "of another recording": (
        lambda file: spoil(file, lambda rows: rows["t"].__iadd__(10_000_000)),
        "labels of another recording",
    ),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_a_label_file_that_is_bad_ends_in_one_line(kind: str, original: Path, tmp_path: Path) -> None:
    damage, expected = BAD_LABELS[kind]
    shutil.copytree(original, tmp_path / "etram")
    damage(tmp_path / "etram" / "train_h5_1" / "day_0_bbox.npy")
    line = refused(tmp_path)
    assert "train_h5_1/day_0_bbox.npy: " in line
    assert expected in line


def test_a_folder_without_recordings_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "etram" / "train_h5_1").mkdir(parents=True)
    assert "no recordings of split 'train' (none in train_h5_1)" in refused(tmp_path)
    assert not (tmp_path / "store").exists()


def test_a_store_that_cannot_be_written_ends_in_one_line(original: Path, tmp_path: Path) -> None:
    shutil.copytree(original, tmp_path / "etram")
    (tmp_path / "store").write_text("a file where the folder should be")
    assert "store" in refused(tmp_path)


def test_labels_that_leave_no_window_are_said(original: Path, tmp_path: Path) -> None:
    shutil.copytree(original, tmp_path / "etram")
    ended = train(*TRAIN, "data.slice_duration_us=50000", cwd=tmp_path)
    assert ended.code == 2
    (line,) = ended.error_lines
    assert "none of 2 recordings has a window of 2 × 50000 µs before a label" in line


def refused(folder: Path, *overrides: str) -> str:
    """The one error line of a training that is refused; nothing half-written is left."""
    ended = train(*TRAIN, *overrides, cwd=folder)
    assert ended.code == 2, ended.errors
    (line,) = ended.error_lines
    assert ended.errors.splitlines()[-1] == line
    assert "Traceback" not in ended.errors
    assert [path.name for path in folder.rglob("*partial*")] == []
    for recording in (folder / "store").glob("*.zarr"):
        Recording.open(recording).verify()
    assert not list(run_folder(folder).glob("checkpoints"))
    return line
