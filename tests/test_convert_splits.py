"""``python -m spikeyolo.convert``: which split each recording goes into, and what the manifest says afterwards."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from test_convert import configured, write_recording
from test_events_conversion import write_dat, write_labels

from spikeyolo import schema
from spikeyolo.entry import config_directory
from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.events.conversion.converted import ConvertedSet
from spikeyolo.events.conversion.manifest import read_manifest
from spikeyolo.events.splits import Role


def splits(out: Path) -> dict[str, str]:
    return {name: entry["split"] for name, entry in read_manifest(out).items()}


@pytest.mark.parametrize("folders", [("train", "val", "test"), ("train_h5_1", "val_h5_1", "test_h5_1")])
def test_a_folder_keeps_its_own_splits_and_is_trained_on_by_them(folders: tuple[str, ...], tmp_path: Path) -> None:
    for seed, folder in enumerate(folders):
        write_recording(tmp_path / "raw" / folder, "a", seed=seed)
    configured(f"source={tmp_path}/raw", f"out={tmp_path}/out", "classes=[bus,car]", "previews=0")
    assert splits(tmp_path / "out") == dict(zip([f"{folder}/a.zarr" for folder in folders], ["train", "val", "test"]))
    data = ConvertedSet(root=str(tmp_path / "out"), classes=["bus", "car"])
    roles: tuple[Role, ...] = ("train", "val", "test")
    assert [[item.name for item in data.recordings(role)] for role in roles] == [["a.zarr"]] * 3
    digests = {item.attributes["digest"] for role in roles for item in data.recordings(role)}
    assert len(digests) == 3


def test_a_data_sets_test_split_is_converted_and_served_where_it_is_named(tmp_path: Path) -> None:
    for seed, folder in enumerate(("train_h5_1", "val_h5_1", "test_h5_1")):
        write_recording(tmp_path / "raw" / folder, "a", seed=seed)
    command = ("data=etram", f"data.root={tmp_path}/raw", "data.classes=[car,bus]", f"out={tmp_path}/out", "previews=0")
    configured(*command)
    data = ConvertedSet(root=str(tmp_path / "out"))
    with pytest.raises(RecordingError, match=r"no recordings of split 'test' \(found train, val\); convert those with"):
        data.recordings("test")
    configured(*command, "splits=[test]")
    assert splits(tmp_path / "out") == {f"{name}_h5_1/a.zarr": name for name in ("train", "val", "test")}
    assert len(ConvertedSet(root=str(tmp_path / "out")).recordings("test")) == 1


def test_a_glob_over_folders_keeps_their_splits(tmp_path: Path) -> None:
    write_recording(tmp_path / "raw" / "train", "a", labels=False)
    write_recording(tmp_path / "raw" / "val", "b", labels=False, seed=1)
    configured(f"source={tmp_path}/raw/*/*.h5", f"out={tmp_path}/out", "previews=0")
    assert splits(tmp_path / "out") == {"train/a.zarr": "train", "val/b.zarr": "val"}


def test_a_flat_folder_is_put_into_the_split_that_is_named(tmp_path: Path) -> None:
    write_recording(tmp_path / "raw", "a", labels=False)
    write_recording(tmp_path / "more", "b", labels=False, seed=1)
    configured(f"source={tmp_path}/raw", "split=train", f"out={tmp_path}/out", "previews=0")
    configured(f"source={tmp_path}/more", "split=val", f"out={tmp_path}/out", "previews=0")
    assert splits(tmp_path / "out") == {"train/a.zarr": "train", "val/b.zarr": "val"}


def test_a_split_that_contradicts_the_folders_is_refused(tmp_path: Path) -> None:
    write_recording(tmp_path / "raw" / "train", "a", labels=False)
    with pytest.raises(ConfigError, match=r"split: found val, but folders of .*raw tell train"):
        configured(f"source={tmp_path}/raw", "split=val", f"out={tmp_path}/out")
    configured(f"source={tmp_path}/raw", "split=train", f"out={tmp_path}/out", "previews=0")


def test_a_set_without_splits_says_so_and_is_split_by_whole_recordings_when_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for seed, name in enumerate("abcde"):
        write_recording(tmp_path / "raw", name, labels=False, seed=seed)
    with caplog.at_level(logging.INFO):
        configured(f"source={tmp_path}/raw", f"out={tmp_path}/out", "previews=0")
    assert "of no split: split=train puts them into one, data.val_share=0.2 draws one" in caplog.text
    with pytest.raises(RecordingError, match=r"found 5 recordings of no split\); add data\.val_share=0\.2"):
        ConvertedSet(root=str(tmp_path / "out"), classes=["car"]).recordings("train")
    drawn = {}
    for seed in (0, 1):
        data = ConvertedSet(root=str(tmp_path / "out"), classes=["car"], val_share=0.4, split_seed=seed)
        train, val = ({item.name for item in data.recordings(role)} for role in ("train", "val"))
        assert (len(train), len(val), train & val) == (3, 2, set())
        drawn[seed] = val
    assert drawn[0] != drawn[1]


def test_the_manifest_follows_the_last_conversion(tmp_path: Path) -> None:
    write_recording(tmp_path / "raw" / "train", "a", labels=False)
    write_recording(tmp_path / "raw" / "train", "b", labels=False, seed=1)
    configured(f"source={tmp_path}/raw", f"out={tmp_path}/out", "previews=0")
    (tmp_path / "raw" / "val").mkdir()
    (tmp_path / "raw" / "train" / "b.h5").rename(tmp_path / "raw" / "val" / "b.h5")
    configured(f"source={tmp_path}/raw", f"out={tmp_path}/out", "previews=0")
    assert splits(tmp_path / "out") == {"train/a.zarr": "train", "val/b.zarr": "val"}
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.zarr")) == ["a.zarr", "b.zarr"]


def test_another_split_for_the_same_names_is_the_one_that_counts(tmp_path: Path) -> None:
    write_recording(tmp_path / "raw", "a", labels=False)
    for split in ("train", "val"):
        configured(f"source={tmp_path}/raw", f"split={split}", f"out={tmp_path}/out", "previews=0")
    assert splits(tmp_path / "out") == {"val/a.zarr": "val"}


def test_the_recipe_of_contributing_trains_on_recordings_of_any_format(tmp_path: Path) -> None:
    contributing = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
    (recipe,) = re.findall(r"```yaml\n(# conf/data/parking\.yaml\n.*?)```", contributing, re.DOTALL)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "parking.yaml").write_text(recipe)
    write_dat(tmp_path / "set" / "train" / "a.dat")
    write_labels(tmp_path / "set" / "train" / "a_bbox.npy")
    write_recording(tmp_path / "set" / "val", "b", seed=1)
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        overrides = [f"hydra.searchpath=[file://{tmp_path}/conf]", "data=parking", f"data.root={tmp_path}/set"]
        config = compose("train", [*overrides, f"data.store={tmp_path}/store"])
    data = schema.build(config.data)
    data.check()
    assert [[part.name for part in data.parts(role)] for role in ("train", "val")] == [["train/a"], ["val/b"]]
    assert data.classes == ("car", "person")
