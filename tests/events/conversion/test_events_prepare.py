"""Preparing a data set: converted once, found again, labels always those of this run."""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spikeyolo.errors import LabelError, RecordingError
from spikeyolo.events.conversion import identity
from spikeyolo.events.conversion.convert import Conversion, convert
from spikeyolo.events.conversion.prepare import prepare
from spikeyolo.events.datasets import Etram, SingleRecording, Source
from spikeyolo.events.labels import LabelRules
from spikeyolo.events.store import Recording
from spikeyolo.windows.parts import stored_parts

WIDTH, HEIGHT = 64, 48
BOX = [("t", "<i8"), ("x", "<f4"), ("y", "<f4"), ("w", "<f4"), ("h", "<f4"), ("class_id", "<u4")]


def write_etram(folder: Path, name: str, *, seed: int = 0, events: int = 2000) -> Path:
    """A recording in eTraM's layout, with one box every 10 ms."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 100_000, events))
    with h5py.File(folder / f"{name}.h5", "w") as file:
        group = file.create_group("events")
        group["t"] = t.astype(np.int64)
        group["x"] = rng.integers(0, WIDTH, events).astype(np.uint16)
        group["y"] = rng.integers(0, HEIGHT, events).astype(np.uint16)
        group["p"] = rng.integers(0, 2, events).astype(np.uint8)
        group["width"], group["height"] = WIDTH, HEIGHT
    boxes = np.array([(time, 5, 6, 20, 10, 1) for time in range(10_000, 100_000, 10_000)], BOX)
    np.save(folder / f"{name}_bbox.npy", boxes)
    return folder / f"{name}.h5"


@pytest.fixture
def etram(tmp_path: Path) -> Etram:
    for number, name in enumerate(["a", "b"]):
        write_etram(tmp_path / "set" / "train_h5_1", name, seed=number)
    return Etram(root=str(tmp_path / "set"), classes=["car", "bus"])


def test_an_etram_set_is_converted_with_its_labels(tmp_path: Path, etram: Etram) -> None:
    told: list[tuple[int, int, str]] = []
    prepared = prepare(
        etram.sources("train"),
        store=tmp_path / "store",
        classes=["car", "bus"],
        progress=lambda *news: told.append(news),
    )
    assert [item.source.name for item in prepared] == ["train_h5_1/a", "train_h5_1/b"]
    assert told[-1][:2] == (2, 2)
    recording = prepared[0].open()
    with h5py.File(prepared[0].source.events) as file:
        np.testing.assert_array_equal(recording.slice(0, 10**6).t, file["events/t"][:] - file["events/t"][0])
    np.testing.assert_array_equal(recording.boxes.class_id, 1)
    assert (recording.width, recording.height, recording.classes) == (WIDTH, HEIGHT, ("car", "bus"))
    assert prepared[0].counts == {"in_file": 9, "kept": 9, "clipped_to_frame": 0}
    assert len(recording.attributes["source_sha256"]) == 64


def test_looks_that_a_label_file_lists_are_the_same_prepared_and_converted(tmp_path: Path) -> None:
    events = write_etram(tmp_path / "raw", "a")
    images = [{"id": n, "t_us": 10_000 * n, "width": WIDTH, "height": HEIGHT} for n in range(5)]
    boxes = [{"image_id": 2, "bbox": [5, 6, 20, 10], "category_id": 1}]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "car"}]}
    (tmp_path / "raw" / "a.json").write_text(json.dumps(content))
    source = Source(events, tmp_path / "raw" / "a.json", "a", "")
    prepared = prepare([source], store=tmp_path / "store", classes=["car"])[0]
    convert(Conversion(source, tmp_path / "out" / "a.zarr", ("car",)))
    convert(
        Conversion(replace(source, labels=events.with_name("a_bbox.npy")), tmp_path / "out" / "b.zarr", ("car", "bus"))
    )
    listed, unlisted = stored_parts([Recording.open(tmp_path / "out" / f"{name}.zarr") for name in "ab"], ("car",))
    for looks in (prepared.looks_us, listed.looks_us):
        np.testing.assert_array_equal(looks, [0, 10_000, 20_000, 30_000, 40_000])
    assert unlisted.looks_us is None


def test_a_second_run_finds_the_store_and_decodes_nothing(
    tmp_path: Path, etram: Etram, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(etram.sources("train"), store=tmp_path / "store", classes=["car", "bus"])
    monkeypatch.setattr(identity, "open_recording", lambda *_, **__: pytest.fail("decoded again"))
    second = prepare(etram.sources("train"), store=tmp_path / "store", classes=["car", "bus"])
    assert [item.path for item in first] == [item.path for item in second]


def test_a_changed_events_file_is_converted_anew(tmp_path: Path, etram: Etram) -> None:
    sources = etram.sources("train")
    before = prepare(sources, store=tmp_path / "store", classes=["car", "bus"])
    file = write_etram(tmp_path / "set" / "train_h5_1", "a", seed=9, events=100)
    os.utime(file, ns=(1, 1))
    after = prepare(sources, store=tmp_path / "store", classes=["car", "bus"])
    assert before[0].path != after[0].path
    assert after[0].open().num_events == 100
    assert before[1].path == after[1].path


def test_labels_and_class_lists_may_change_without_decoding(
    tmp_path: Path, etram: Etram, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (source, _) = etram.sources("train")
    prepare([source], store=tmp_path / "store", classes=["car", "bus"])
    monkeypatch.setattr(identity, "open_recording", lambda *_, **__: pytest.fail("decoded again"))
    rules = LabelRules(class_map={1: "vehicle"}, skip_first_us=30_000)
    other = Source(source.events, source.labels, source.name, source.split, rules=rules)
    with caplog.at_level(logging.INFO):
        (item,) = prepare([other], store=tmp_path / "store", classes=["vehicle"])
    assert item.boxes is not None
    np.testing.assert_array_equal(item.boxes.class_id, 0)
    assert item.counts["dropped_skip_first"] + len(item.boxes) == 9
    assert item.boxes.t[0] >= 30_000
    assert "boxes kept (dropped_skip_first" in caplog.text
    with pytest.raises(LabelError, match="class id 1 in 9 boxes is beyond the class list"):
        prepare([source], store=tmp_path / "store", classes=["car"])


def test_a_recording_without_labels_has_no_boxes_rather_than_none_at_all(tmp_path: Path) -> None:
    file = write_etram(tmp_path / "set" / "train", "a")
    file.with_name("a_bbox.npy").unlink()
    (item,) = prepare([Source(file, None, "a", "train")], store=tmp_path / "store", classes=["car"])
    assert item.boxes is None
    assert not item.open().labelled


def test_labels_of_another_recording_are_refused(tmp_path: Path, etram: Etram) -> None:
    source = etram.sources("train")[0]
    assert source.labels is not None
    boxes = np.load(source.labels)
    boxes["t"] += 10**9
    np.save(source.labels, boxes)
    with pytest.raises(LabelError, match="labels of another recording"):
        prepare([source], store=tmp_path / "store", classes=["car", "bus"])


def test_a_damaged_file_leaves_no_recording(tmp_path: Path) -> None:
    file = tmp_path / "a.h5"
    file.write_bytes(b"\x89HDF\r\n\x1a\nand no more")
    with pytest.raises(RecordingError, match=r"a\.h5"):
        prepare([Source(file, None, "a", "train")], store=tmp_path / "store", classes=["car"])
    assert [path.name for path in (tmp_path / "store").iterdir()] == [".locks"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"gone\.h5: no such recording"):
        prepare([Source(tmp_path / "gone.h5", None, "a", "train")], store=tmp_path / "store", classes=["car"])


def test_several_processes_at_once_convert_each_recording_once(
    tmp_path: Path, etram: Etram, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    original = identity.open_recording

    def counted(path: Path, **how: Any) -> object:
        opened.append(path)
        return original(path, **how)

    monkeypatch.setattr(identity, "open_recording", counted)
    results: list[int] = []

    def work() -> None:
        results.append(len(prepare(etram.sources("train"), store=tmp_path / "store", classes=["car", "bus"])))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert results == [2, 2, 2]
    assert len(opened) == 2


@pytest.mark.real
def test_the_real_cars_are_prepared_in_two_parts(real_data: Path, tmp_path: Path) -> None:
    data = SingleRecording(events=str(real_data / "davis346_cars.aedat4"), classes=["car"], train_until_us=1_600_000)
    (train,) = prepare(data.sources("train"), store=tmp_path, classes=["car"])
    (val,) = prepare(data.sources("val"), store=tmp_path, classes=["car"])
    assert train.path == val.path
    recording = train.open()
    assert (recording.num_events, recording.width, recording.height) == (78_830, 346, 260)
    assert recording.start_us == 0
    assert len(recording.boxes) == 145
