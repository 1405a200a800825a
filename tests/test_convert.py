"""``python -m spikeyolo.convert``: from a user's words to stored recordings, or to one clear line."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import convert
from hydra import compose, initialize_config_dir

from spikeyolo import schema
from spikeyolo.convert import run
from spikeyolo.entry import config_directory
from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.events.conversion.converted import ConvertedSet
from spikeyolo.events.conversion.manifest import read_manifest
from spikeyolo.events.conversion.sources import sources_at
from spikeyolo.events.labels import LabelRules
from spikeyolo.events.store import Recording
from spikeyolo.windows.data import EventData

BOX = [("t", "<i8"), ("x", "<f4"), ("y", "<f4"), ("w", "<f4"), ("h", "<f4"), ("class_id", "<u4")]


def write_recording(folder: Path, name: str, *, labels: bool = True, seed: int = 0) -> None:
    """A recording in eTraM's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with h5py.File(folder / f"{name}.h5", "w") as file:
        group = file.create_group("events")
        group["t"] = np.sort(rng.integers(0, 100_000, 3000))
        group["x"] = rng.integers(0, 64, 3000).astype(np.uint16)
        group["y"] = rng.integers(0, 48, 3000).astype(np.uint16)
        group["p"] = rng.integers(0, 2, 3000).astype(np.uint8)
        group["width"], group["height"] = 64, 48
    if labels:
        np.save(folder / f"{name}_bbox.npy", np.array([(t, 5, 6, 20, 10, 1) for t in (40_000, 80_000)], BOX))


def configured(*overrides: str | Path) -> None:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        run(compose("convert", [str(override) for override in overrides]))


def test_a_folder_is_converted_shown_and_verified_when_started_again(tmp_path: Path) -> None:
    write_recording(tmp_path / "raw", "a")
    write_recording(tmp_path / "raw" / "deep", "b", labels=False)
    overrides = [f"source={tmp_path}/raw", f"out={tmp_path}/out", "classes=[bus,car]", "workers=1"]
    first = convert(*overrides, cwd=tmp_path)
    assert first.code == 0, first.errors
    assert "converted" in first.output
    assert "3,000" in first.output
    entries = read_manifest(tmp_path / "out")
    assert sorted(entries) == ["a.zarr", "deep/b.zarr"]
    assert (tmp_path / "out" / "a.png").read_bytes().startswith(b"\x89PNG")
    recording = Recording.open(tmp_path / "out" / "a.zarr")
    assert (recording.classes, list(recording.boxes.class_id)) == (("bus", "car"), [1, 1])
    second = convert(*overrides, cwd=tmp_path)
    assert second.code == 0, second.errors
    assert second.output.count("verified") == 2
    assert read_manifest(tmp_path / "out") == entries


def test_a_failure_is_one_line_and_exit_code_two(tmp_path: Path) -> None:
    write_recording(tmp_path / "raw", "a", labels=False)
    (tmp_path / "raw" / "b.raw").write_bytes(b"% evt 3.0\n% end\nx")
    result = convert(f"source={tmp_path}/raw", f"out={tmp_path}/out", "workers=1", cwd=tmp_path)
    assert result.code == 2
    assert result.errors.splitlines()[-1].startswith("error: 1 of 2 recordings failed; the first: ")
    assert "Traceback" not in result.errors
    assert list(read_manifest(tmp_path / "out")) == ["a.zarr"]


def test_etram_is_converted_split_by_split_and_found_again_by_its_manifest(tmp_path: Path) -> None:
    write_recording(tmp_path / "set" / "train_h5_1", "a")
    write_recording(tmp_path / "set" / "val_h5_1", "a", seed=1)
    configured("data=etram", f"data.root={tmp_path}/set", f"out={tmp_path}/out", "workers=1", "previews=0")
    entries = read_manifest(tmp_path / "out")
    assert {name: entry["split"] for name, entry in entries.items()} == {
        "train_h5_1/a.zarr": "train",
        "val_h5_1/a.zarr": "val",
    }
    classes = entries["train_h5_1/a.zarr"]["classes"]
    (recording,) = ConvertedSet(root=str(tmp_path / "out"), classes=classes).recordings("val")
    assert recording.num_events == 3000


def training_data(*overrides: str | Path) -> EventData:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        data = schema.build(compose("train", [str(override) for override in overrides]).data)
    assert isinstance(data, EventData)
    return data


def served(*overrides: str | Path) -> list[str]:
    """Names of the classes of the boxes that a training of this data would see, in the order of time."""
    data = training_data(*overrides)
    (part,) = data.parts("train")
    return [data.classes[class_id] for class_id in part.boxes.class_id]


def test_a_subset_of_etrams_classes_is_chosen_by_name_in_training_and_in_convert_alike(tmp_path: Path) -> None:
    write_recording(tmp_path / "set" / "train_h5_1", "a", labels=False)
    ids = [3, 0, 1, 7, 1, 3, 2]  # bus, pedestrian, car, wheelchair, car, bus, bicycle
    rows = [(10_000 * n, 5, 6, 20, 10, class_id) for n, class_id in enumerate(ids, start=1)]
    np.save(tmp_path / "set" / "train_h5_1" / "a_bbox.npy", np.array(rows, BOX))
    etram, out = ["data=etram", f"data.root={tmp_path}/set", f"data.store={tmp_path}/store"], tmp_path / "out"
    for classes in ("[car,bus]", "[bus,car]"):
        assert served(*etram, f"data.classes={classes}") == ["bus", "car", "car", "bus"]
    grouped = ["vehicle", "pedestrian", "vehicle", "micro_mobility", "vehicle", "vehicle", "micro_mobility"]
    assert served("data=etram3", *etram[1:]) == grouped

    configured(*etram[:2], "data.classes=[car,bus]", f"out={out}", "splits=[train]", "workers=1", "previews=0")
    (entry,) = read_manifest(out).values()
    assert (entry["classes"], entry["boxes"]["kept"], entry["boxes"]["dropped_class_not_kept"]) == (
        ["car", "bus"],
        4,
        3,
    )
    converted = ["data=converted", f"data.root={out}"]
    assert served(*converted) == ["bus", "car", "car", "bus"]
    assert served(*converted, "data.classes=[bus]") == ["bus", "bus"]
    with pytest.raises(
        ConfigError, match=r"classes: found tram; expected names out of car, bus, with which train_h5_1"
    ):
        served(*converted, "data.classes=[car,tram]")


def test_labels_of_any_format_are_taken_alike_by_training_and_convert(tmp_path: Path) -> None:
    raw, labels, out = tmp_path / "raw", tmp_path / "labels", tmp_path / "out"
    write_recording(raw, "a", labels=False)
    labels.mkdir()
    times = (20_000, 50_000, 80_000)
    (labels / "a.csv").write_text("t_us,x,y,w,h,class\n" + "".join(f"{t},5,6,20,10,bus\n" for t in times))
    (raw / "a_bbox").mkdir()
    for t in times:
        (raw / "a_bbox" / f"{t}.txt").write_text(f"1 {15 / 64} {11 / 48} {20 / 64} {10 / 48}\n")
    recording = ["data=recording", "data.classes=[bus]", "data.train_until_us=90000", f"data.store={tmp_path}/store"]
    for events, found in (("raw/a.h5", "labels/a.csv"), ("raw/a.h5", "labels"), ("raw", "labels")):
        training = [*recording, f"data.events={tmp_path}/{events}", f"data.labels={tmp_path}/{found}"]
        assert served(*training) == ["bus"] * 3
        configured(
            f"source={tmp_path}/{events}", f"labels_at={tmp_path}/{found}", "classes=[bus]", f"out={out}", "workers=1"
        )
    (entry,) = read_manifest(out).values()
    assert (entry["boxes"]["kept"], entry["labels"]) == (3, f"{labels}/a.csv")
    (part,) = training_data("data=converted", f"data.root={out}", "data.train_split=''").parts("train")
    named = ["data.names=[car,bus]", f"data.events={raw}/a.h5"]
    (other,) = training_data(*recording, *named).parts("train")  # YOLO, beside
    np.testing.assert_allclose(part.boxes.xyxy, other.boxes.xyxy, atol=1e-3)
    np.testing.assert_array_equal(part.boxes.t, other.boxes.t)

    configured(f"source={raw}", f"out={tmp_path}/other", "classes=[bus]", "labels.names=[car,bus]", "workers=1")
    assert served("data=converted", f"data.root={tmp_path}/other", "data.train_split=''") == ["bus"] * 3
    (raw / "a_bbox" / "80000.txt").write_text("")  # any file of the folder counts
    with pytest.raises(RecordingError, match="its label file differ"):
        configured(f"source={raw}", f"out={tmp_path}/other", "classes=[bus]", "labels.names=[car,bus]", "workers=1")
    with pytest.raises(ConfigError, match=r"labels_at: found .*expected a folder of labels"):
        configured(f"source={raw}", f"labels_at={labels}/a.csv", f"out={out}", "classes=[bus]")


def test_a_constant_track_column_is_none_in_the_whole_set_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, out = tmp_path / "set" / "train_h5_1", tmp_path / "out"
    for name, per_look in (("a", 2), ("b", 1), ("c", 2)):
        write_recording(folder, name, labels=False)
        rows = [(10_000 * n, 5 + 25 * which, 6, 20, 10, 1, 0) for n in range(1, 9) for which in range(per_look)]
        np.save(folder / f"{name}_bbox.npy", np.array(rows, [*BOX, ("track_id", "<u4")]))
    etram = ["data=etram", f"data.root={tmp_path}/set"]
    parts = training_data(*etram, f"data.store={tmp_path}/store").parts("train")
    assert [set(part.boxes.track_id) for part in parts] == [{-1}] * 3
    assert [len(part.boxes) for part in parts] == [16, 8, 16]
    said = [line for line in caplog.messages if "name no objects" in line]
    assert len(said) == 1
    assert said[0].endswith("(so in 2 of 3 label files)")
    caplog.clear()
    configured(*etram, f"out={out}", "splits=[train]", "workers=1", "previews=0")
    assert len([line for line in caplog.messages if "name no objects" in line]) == 1
    parts = training_data("data=converted", f"data.root={out}").parts("train")
    assert [set(part.boxes.track_id) for part in parts] == [{-1}] * 3

    for name in ("a", "c"):
        (folder / f"{name}_bbox.npy").unlink()
    lone = [part for part in training_data(*etram, f"data.store={tmp_path}/store").parts("train") if part.boxes]
    assert [set(part.boxes.track_id) for part in lone] == [{0}]  # nothing says that this is no track


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["out=x"], "give either source=PATH or data=NAME: found neither"),
        (["source=x", "data=synthetic", "out=x"], "found both"),
        (["source=gone/*.dat", "out=x"], r"gone/\*\.dat: no such recording; expected a file, a folder or a glob"),
        (["source=x"], "out must be given"),
        (["source=x", "out=x", "workers=0"], "workers: found 0"),
        (["source=x", "out=x", "strict=maybe"], "strict: found 'maybe'"),
        (["data=etram", "data.root=x", "out=x", "split=train"], "split: found train beside data=…"),
        (["source=x", "out=x", "split=a/b"], "split: found 'a/b'"),
        (["source=x", "out=x", "splits=[none]"], r"splits: found \['none'\]"),
        (["source=x", "out=x", "labels=x.csv"], "labels: found x.csv; expected labels.NAME=VALUE .*; labels_at=FILE"),
        (["source=x", "out=x", "labels.min_side_px=-1"], "labels.min_side_px: found -1"),
        (["data=etram", "out=x"], "data.root must be given"),
        (["data=etram", "out=x", "data.root=x", "data.classes=[car,lorry]"], "classes: found lorry; expected names"),
        (["data=etram", "out=x", "data.root=gone"], "gone: no such folder; expected one that holds train"),
        (["info=true"], "source must be given with info=true"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises((ConfigError, RecordingError), match=message):
        configured(*overrides)


def test_boxes_without_a_class_list_are_refused(tmp_path: Path) -> None:
    write_recording(tmp_path, "a")
    with pytest.raises(ConfigError, match=r"classes must be given, because .*a_bbox\.npy holds boxes"):
        configured(f"source={tmp_path}/a.h5", f"out={tmp_path}/out")


def test_two_files_of_one_name_are_both_named(tmp_path: Path) -> None:
    write_recording(tmp_path / "one", "a", labels=False)
    write_recording(tmp_path / "two", "a", labels=False)
    with pytest.raises(RecordingError, match=r"two/a\.h5 and .*one/a\.h5 are two recordings of the name 'a'"):
        configured(f"source={tmp_path}/*/a.h5", f"out={tmp_path}/out")
    configured(f"source={tmp_path}", f"out={tmp_path}/out", "previews=0", "workers=1")
    assert sorted(read_manifest(tmp_path / "out")) == ["one/a.zarr", "two/a.zarr"]


def test_info_prints_what_files_and_stored_recordings_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recording(tmp_path / "raw", "a", labels=False)
    configured(f"source={tmp_path}/raw", "info=true")
    assert "3,000" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    configured(f"source={tmp_path}/raw", f"out={tmp_path}/out", "previews=0", "workers=1")
    capsys.readouterr()
    configured(f"source={tmp_path}/out", f"out={tmp_path}/pictures", "info=true")
    assert "stored" in capsys.readouterr().out
    assert (tmp_path / "pictures" / "a.png").is_file()


def test_filters_and_units_are_set_on_the_command_line_and_shown(tmp_path: Path) -> None:
    lines = [f"{i / 1e6:.6f} {i % 64} {i % 48} {i % 2}" for i in range(0, 90_000, 30)]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n")
    overrides = [f"source={tmp_path}/a.txt", "size=[64,48]", "time_unit=s", "filters.region=[0,0,32,48]"]
    shown = convert(*overrides, "info=true", cwd=tmp_path)
    assert shown.code == 0, shown.errors
    assert "outside_region 1,500" in shown.output
    configured(*overrides, f"out={tmp_path}/out", "workers=1", "previews=0", "filters.time_range_us=[0,45000]")
    (entry,) = read_manifest(tmp_path / "out").values()
    assert entry["filter_counts"]["kept"] == entry["events"] == 750
    assert entry["reading"] == {
        "filters": {"time_range_us": [0, 45_000], "region": [0, 0, 32, 48]},
        "time_unit": "s",
    }


def test_filters_of_source_are_not_taken_for_those_of_a_data_set(tmp_path: Path) -> None:
    write_recording(tmp_path / "set" / "train_h5_1", "a")
    given = [
        "data=etram",
        f"data.root={tmp_path}/set",
        f"out={tmp_path}/out",
        "workers=1",
        "previews=0",
        "splits=[train]",
    ]
    with pytest.raises(ConfigError, match=r"expected data\.filters"):
        configured(*given, "filters.background_us=900")
    configured(*given, "data.filters.time_range_us=[0,50000]")
    (entry,) = read_manifest(tmp_path / "out").values()
    assert entry["reading"] == {"filters": {"time_range_us": [0, 50_000]}}
    assert entry["boxes"]["dropped_outside_time_range"] == 1


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("filters.region=[5,0,5,9]", r"filters\.region: found \[5, 0, 5, 9\]"),
        ("filters.hot_pixel_factor=0.5", r"filters\.hot_pixel_factor"),
        ("filters.background_us=soon", r"filters\.background_us"),
        ("filters.time_range_us=[1]", r"filters\.time_range_us"),
        ("time_unit=minutes", "time_unit"),
    ],
)
def test_a_filter_that_cannot_be_is_named(tmp_path: Path, override: str, line: str) -> None:
    write_recording(tmp_path, "a", labels=False)
    with pytest.raises(ConfigError, match=line):
        configured(f"source={tmp_path}/a.h5", f"out={tmp_path}/out", override)


def test_texts_behind_a_url_are_taken_where_they_are_named() -> None:
    """In a folder they may be labels, and telling them apart would fetch them all."""
    files = pytest.importorskip("fsspec").filesystem("memory")
    for name in ("a.txt", "a_bbox.csv", "b.dat"):
        files.pipe(f"/raw/{name}", b"1 2 3 1\n")
    found = {
        part: [item.name for item in sources_at(f"memory://raw{part}", ("car",), LabelRules())]
        for part in ("", "/a.txt", "/*.txt")
    }
    assert found == {"": ["b"], "/a.txt": ["a"], "/*.txt": ["a"]}
