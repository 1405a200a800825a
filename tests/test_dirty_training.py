"""A set with every dirt of real ones trains by README's command, its cleaning counted and its truth what was filmed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from command_line import Ended, convert, run_folder, train
from dirty_set import CLOCK_US, MIN_SIDE_PX, SET, clean, write_dirty_set
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from spikeyolo import schema
from spikeyolo.entry import config_directory
from spikeyolo.events.conversion.manifest import read_manifest
from spikeyolo.windows.data import EventData

README = ("+experiment=highfreq", "data=etram", "data.root=etram", "data.classes=[car,bus]")
RULE = f"+data.dataset.train_labels.min_side_px={MIN_SIDE_PX}"
TINY = (
    "data.encoder.downsample=1",
    "data.max_samples_per_file=2",
    "data.store=store",
    "trainer.max_epochs=1",
    "trainer.threads=1",
    "logger=none",
)
TRAIN = [name for name in SET if name.startswith("train")]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended, Ended]:
    """A folder in which the set was trained on, and converted."""
    folder = tmp_path_factory.mktemp("dirty")
    write_dirty_set(folder / "etram")
    trained = train(*README, RULE, *TINY, cwd=folder)
    converted = convert(*README[1:], RULE, "out=out", "splits=[train,val,test]", "workers=1", "previews=0", cwd=folder)
    return folder, trained, converted


def data_of(folder: Path, *choice: str) -> EventData:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        overrides = [*README[:1], *choice, f"data.store={folder}/store", "data.encoder.downsample=1"]
        data = schema.build(compose("train", overrides).data)
    assert isinstance(data, EventData)
    return data


def test_readmes_command_trains_on_it(ended: tuple[Path, Ended, Ended]) -> None:
    folder, trained, _ = ended
    assert trained.code == 0, trained.errors
    figures = json.loads((run_folder(folder) / "metrics.json").read_text())
    assert math.isfinite(figures["val/ap50/car"])
    assert figures["val/ap50/bus"] is None  # not defined, as JSON says it


@pytest.mark.parametrize(
    "sentence",
    [
        f"train: 1 of {len(TRAIN)} recordings have no label file beside them",
        "train: 2 recordings are cleaned: of ",
        "1 outside the sensor left out, 1 stepped back in time by up to 3 µs",
        "val: no box of bus in 1 recordings: val/ap/bus, val/ap50/bus will not be defined",
        f"these boxes are read as without a track (so in 2 of {len(TRAIN) - 1} label files)",
    ],
)
def test_what_was_cleaned_is_said_once(ended: tuple[Path, Ended, Ended], sentence: str) -> None:
    assert ended[1].errors.count(sentence) == 1, ended[1].errors


def test_the_manifest_counts_what_was_cleaned(ended: tuple[Path, Ended, Ended]) -> None:
    folder, _, converted = ended
    assert converted.code == 0, converted.errors
    entries = read_manifest(folder / "out")
    assert set(entries) == {f"{name}.zarr" for name in SET}
    for name, dirty in SET.items():
        entry, (events, boxes) = entries[f"{name}.zarr"], clean(dirty.number)
        counts, outside = dirty.event_counts or {}, (dirty.event_counts or {}).get("outside_sensor", 0)
        assert entry["event_counts"] == {"in_file": len(events), "kept": len(events) - outside, **counts}, name
        assert (entry["split"], entry["labelled"]) == (name.partition("_")[0], dirty.labels is not None)
        assert entry["time_offset_us"] == CLOCK_US + events.t[1 if outside else 0]
        if dirty.labels is not None:
            count = int(np.isin(boxes.class_id, dirty.ids).sum()) if dirty.truth else len(boxes)
            expected = {"in_file": count, "kept": count, "clipped_to_frame": 0, **dirty.box_counts(count)}
            assert entry["boxes"] == expected, name


def test_the_store_of_training_counts_the_same_events(ended: tuple[Path, Ended, Ended]) -> None:
    folder = ended[0]
    converted = {entry["source"].removeprefix(f"{folder}/"): entry for entry in read_manifest(folder / "out").values()}
    stored = {entry["source"].removeprefix(f"{folder}/"): entry for entry in read_manifest(folder / "store").values()}
    assert set(stored) == {source for source in converted if "test" not in source}
    for source, entry in stored.items():
        for key in ("event_counts", "time_offset_us", "digest", "warnings"):
            assert entry[key] == converted[source][key]


@pytest.mark.parametrize("source", ["etram", "converted"])
def test_every_box_is_what_was_filmed_under_its_own_name(ended: tuple[Path, Ended, Ended], source: str) -> None:
    folder = ended[0]
    choices = {
        "etram": ("data=etram", f"data.root={folder}/etram", README[3], RULE),
        "converted": ("data=converted", f"data.root={folder}/out", "data.classes=[bus,car]"),
    }
    data, roles = data_of(folder, *choices[source]), ("train", "val", "test")
    parts = {part.name.removesuffix(".zarr"): part for role in roles for part in data.parts(role)}
    for name, dirty in SET.items():
        part = parts[name if source == "etram" else name.rpartition("/")[2]]
        if dirty.labels is None:
            assert not part.recording.labelled
            continue
        boxes = clean(dirty.number)[1]
        mine = np.isin(boxes.class_id, dirty.ids)
        t = boxes.t[mine] + CLOCK_US - part.recording.time_offset_us
        found = [data.classes[index] for index in part.inside.class_id]
        assert found == [dirty.name_of(id_) for id_ in boxes.class_id[mine]], name
        assert np.array_equal(part.inside.t, t)
        assert np.array_equal(part.inside.xyxy, boxes.xyxy[mine])


def test_a_recording_of_which_all_boxes_were_left_out_teaches_no_emptiness(ended: tuple[Path, Ended, Ended]) -> None:
    folder = ended[0]
    data = data_of(folder, "data=etram", f"data.root={folder}/etram", README[3], RULE, "data.negative_share=5")
    windows = data.train_loader(augmentation=None, seed=0).dataset
    served = {windows.parts[windows.window(index).recording].name for index in range(len(windows))}
    assert served == set(TRAIN) - {"train_h5_2/tiny", "train_h5_2/unlabelled"}
