"""Data sets' layouts: which files belong to which split, under which name, with which rules."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.events.datasets import (
    DsecDetection,
    Etram,
    Gen1,
    Mpx1,
    RecordingFolders,
    SingleRecording,
    SplitFolders,
)
from spikeyolo.events.labels import LabelRules
from spikeyolo.events.splits import Role

ROLES: tuple[Role, ...] = ("train", "val", "test")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_etram_finds_its_numbered_folders_and_the_labels_beside_each_recording(tmp_path: Path) -> None:
    touch(tmp_path, "train_h5_2/b.h5", "train_h5_2/b_bbox.npy", "train_h5_1/a_td.h5", "train_h5_1/a_bbox.npy")
    touch(tmp_path, "train_h5_1/notes.txt", "val_h5_1/a.h5", "val_h5_1/a_bbox.npy", "training/x.h5")
    data = Etram(root=str(tmp_path), classes=["car"])
    train, val = data.sources("train"), data.sources("val")
    assert [source.name for source in train] == ["train_h5_1/a_td", "train_h5_2/b"]
    assert [source.labels and source.labels.name for source in train] == ["a_bbox.npy", "b_bbox.npy"]
    assert [(source.name, source.split) for source in val] == [("val_h5_1/a", "val")]


def test_etram_validates_on_the_split_that_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "train_h5_1/a.h5", "test_h5_1/z.h5")
    data = Etram(root=str(tmp_path), classes=["car"], val_split="test")
    assert [source.name for source in data.sources("val")] == ["test_h5_1/z"]


def test_recordings_without_labels_are_kept_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "train/a.h5", "train/b.h5", "train/b_bbox.npy")
    with caplog.at_level(logging.WARNING):
        sources = Etram(root=str(tmp_path), classes=["car"]).sources("train")
    assert [source.labels is None for source in sources] == [True, False]
    assert "1 of 2 recordings have no label file" in caplog.text


def test_a_missing_folder_and_a_folder_without_recordings_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"nowhere: no such folder; expected one that holds train or train_h5_\*"):
        Etram(root=str(tmp_path / "nowhere"), classes=["car"]).sources("train")
    touch(tmp_path, "train_h5_1/readme.txt")
    with pytest.raises(RecordingError, match=r"no recordings of split 'train' \(none in train_h5_1\); expected files"):
        Etram(root=str(tmp_path), classes=["car"]).sources("train")
    with pytest.raises(RecordingError, match=r"no recordings of split 'val' \(no such folder\)"):
        Etram(root=str(tmp_path), classes=["car"]).sources("val")


def test_two_recordings_of_one_name_are_both_named(tmp_path: Path) -> None:
    touch(tmp_path, "train_h5_1/a.h5", "train_h5_1/a.hdf5")
    with pytest.raises(RecordingError, match=r"a\.hdf5 and .*a\.h5 are two recordings of the name 'train_h5_1/a'"):
        Etram(root=str(tmp_path), classes=["car"]).sources("train")
    touch(tmp_path, "val_h5_1/a.h5", "val_h5_2/a.h5")
    assert len(Etram(root=str(tmp_path), classes=["car"]).sources("val")) == 2


def test_classes_are_names_of_the_data_sets_own() -> None:
    names = ["pedestrian", "car", "bus"]
    rules = LabelRules(names=names)
    assert Etram(root=".", classes=["bus", "car"], train_labels=rules).classes == ("bus", "car")
    with pytest.raises(ConfigError, match=r"classes: found lorry; expected names .*\(pedestrian, car, bus\)"):
        Etram(root=".", classes=["car", "lorry"], train_labels=rules)
    grouped = LabelRules(names=names, class_map={"car": "vehicle", "bus": "vehicle"})
    assert Etram(root=".", classes=["vehicle"], val_labels=grouped).classes == ("vehicle",)
    with pytest.raises(ConfigError, match=r"classes: found car; expected names .*\(pedestrian, vehicle\)"):
        Etram(root=".", classes=["car"], val_labels=grouped)
    with pytest.raises(
        ConfigError, match=r"class_map: found tram; expected ids or names .*\(0 pedestrian, 1 car, 2 bus"
    ):
        Etram(root=".", classes=["car"], val_labels=LabelRules(names=names, class_map={"tram": "car"}))


def test_gen1_and_mpx1_lie_in_prophesees_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train_a/17-03_td.dat", "train_a/17-03_bbox.npy", "val_filelist_00/m_td.dat")
    (source,) = Gen1(root=str(tmp_path), classes=["car"]).sources("train")
    assert source.labels == tmp_path / "train_a" / "17-03_bbox.npy"
    assert [source.name for source in Mpx1(root=str(tmp_path), classes=["car"]).sources("val")] == [
        "val_filelist_00/m_td"
    ]


def test_dsec_splits_its_train_folder_by_sequence(tmp_path: Path) -> None:
    for name in ("zurich_city_00_a", "zurich_city_16_a"):
        touch(tmp_path, f"train/{name}/events/left/events.h5", f"train/{name}/object_detections/left/tracks.npy")
    touch(tmp_path, "test/thun_01_a/events/left/events.h5")
    data = DsecDetection(root=str(tmp_path), classes=["car"], val_sequences=["zurich_city_16_a"])
    (train,), (val,) = data.sources("train"), data.sources("val")
    assert (train.name, val.name) == ("train/zurich_city_00_a", "val/zurich_city_16_a")
    assert train.labels is not None
    judged = DsecDetection(root=str(tmp_path), classes=["car"], val_sequences=[], val_split="test").sources("val")
    assert [source.name for source in judged] == [source.name for source in data.sources("test")] == ["test/thun_01_a"]
    with pytest.raises(RecordingError, match="no sequences of split 'val'"):
        DsecDetection(root=str(tmp_path), classes=["car"], val_sequences=[]).sources("val")


def test_one_recording_is_cut_in_two_parts(tmp_path: Path) -> None:
    touch(tmp_path, "a.aedat4", "a_bbox.npy")
    data = SingleRecording(events=str(tmp_path / "a.aedat4"), classes=["car"], train_until_us=1_600_000)
    (train,), (val,) = data.sources("train"), data.sources("val")
    assert (train.start_us, train.end_us, val.start_us, val.end_us) == (None, 1_600_000, 1_600_000, None)
    assert train.labels == val.labels == tmp_path / "a_bbox.npy"


def test_the_end_of_a_recording_is_its_test_where_one_is_set_aside(tmp_path: Path) -> None:
    touch(tmp_path, "a.aedat4")
    event_file = str(tmp_path / "a.aedat4")
    data = SingleRecording(events=event_file, classes=["car"], train_until_us=1_600_000, test_from_us=2_000_000)
    spans = [(source.start_us, source.end_us) for role in ROLES for source in data.sources(role)]
    assert spans == [(None, 1_600_000), (1_600_000, 2_000_000), (2_000_000, None)]
    with pytest.raises(ConfigError, match=r"data\.test_from_us must be given"):
        SingleRecording(events=event_file, classes=["car"], train_until_us=5).sources("test")
    with pytest.raises(
        ConfigError, match=r"data\.test_from_us: found 5; expected more than data\.train_until_us \(5\)"
    ):
        SingleRecording(events=event_file, classes=["car"], train_until_us=5, test_from_us=5)


@pytest.mark.parametrize("kind", [Etram, Gen1, Mpx1, RecordingFolders])
def test_the_test_folder_tests_under_the_rules_of_validation(kind: type[SplitFolders], tmp_path: Path) -> None:
    touch(tmp_path, "train/a.h5", "val/b.h5", "test/c.h5", "late/d.h5")
    rules = LabelRules(skip_first_us=500_000)
    data = kind(root=str(tmp_path), classes=["car"], val_labels=rules)
    (test,) = data.sources("test")
    assert (test.name, test.split, test.rules) == ("test/c", "test", rules)
    (other,) = kind(root=str(tmp_path), classes=["car"], test_split="late").sources("test")
    assert other.name == "late/d"
    with pytest.raises(RecordingError, match="no recordings of split 'none'"):
        kind(root=str(tmp_path), classes=["car"], test_split="none").sources("test")


def test_a_folder_of_recordings_is_cut_one_by_one(tmp_path: Path) -> None:
    touch(tmp_path, "a.raw", "b.dat", "b_bbox.npy")
    data = SingleRecording(events=str(tmp_path), classes=["car"], train_until_us=5)
    assert [source.name for source in data.sources("val")] == ["a", "b"]
    with pytest.raises(ConfigError, match="expected labels beside each recording"):
        SingleRecording(events=str(tmp_path), classes=["car"], train_until_us=5, labels="x.npy")


def test_a_missing_recording_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=f"no such recording in {tmp_path}; expected"):
        SingleRecording(events=str(tmp_path / "a.raw"), classes=["car"], train_until_us=5).sources("train")
    with pytest.raises(RecordingError, match="a folder without recordings"):
        SingleRecording(events=str(tmp_path), classes=["car"], train_until_us=5).sources("train")


def test_a_folder_without_splits_is_split_by_whole_recordings_when_asked(tmp_path: Path) -> None:
    names = [f"{folder}{number}.{suffix}" for folder in ("", "deep/") for number, suffix in enumerate(("raw", "dat"))]
    touch(tmp_path, *names)
    with pytest.raises(
        RecordingError, match=r"no folder of split 'train'; expected train or train_\*, or data.val_share"
    ):
        RecordingFolders(root=str(tmp_path), classes=["car"]).sources("train")
    data = RecordingFolders(root=str(tmp_path), classes=["car"], val_share=0.25)
    train, val = ({source.name for source in data.sources(role)} for role in ("train", "val"))
    assert (len(train), len(val), train & val) == (3, 1, set())
    assert train | val == {name.rpartition(".")[0] for name in names}
    assert {source.split for source in data.sources("val")} == {"val"}


def test_validation_recordings_are_drawn_from_the_training_folder_where_there_is_no_other(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.raw", "train_2/b.dat", "notes/c.dat")
    data = RecordingFolders(root=str(tmp_path), classes=["car"], val_share=0.5)
    found = {source.name for role in ("train", "val") for source in data.sources(role)}
    assert found == {"train/a", "train_2/b"}
    touch(tmp_path, "val/d.dat")
    with pytest.raises(ConfigError, match=r"data\.val_share: the set has recordings of its own for validation"):
        data.sources("val")


def test_what_tests_is_never_drawn_from(tmp_path: Path) -> None:
    touch(tmp_path, "a.raw", "b.dat", "test/c.dat", "test_2/d.raw")
    data = RecordingFolders(root=str(tmp_path), classes=["car"], val_share=0.5)
    found = [source.name for role in ROLES for source in data.sources(role)]
    assert sorted(found) == ["a", "b", "test/c", "test_2/d"]
    assert [source.name for source in data.sources("test")] == ["test/c", "test_2/d"]


def test_folders_of_splits_may_hold_any_format(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.raw", "train/deep/b.aedat4", "val/c.dat")
    data = RecordingFolders(root=str(tmp_path), classes=["car"])
    assert [source.name for source in data.sources("train")] == ["train/a", "train/deep/b"]
