"""A set is converted into a bucket and trained on from there, both by command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import convert, run_folder, train
from etram_set import CLASSES, write_set

from spikeyolo.events.manifest import read_manifest

CONVERTED = (
    "data=converted",
    f"data.classes=[{','.join(CLASSES)}]",
    "data.slice_duration_us=1000",
    "data.time_steps=2",
    "data.max_samples_per_file=4",
    "model=femto",
    "logger=none",
    "trainer.max_epochs=1",
    "trainer.threads=1",
)


def test_a_set_converted_into_a_bucket_is_trained_on_from_there(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_set(tmp_path / "etram")
    options = (
        "data=etram",
        "data.root=etram",
        f"data.classes=[{','.join(CLASSES)}]",
        f"out={bucket}/etram",
        "workers=1",
    )
    done = convert(*options, cwd=tmp_path)
    assert done.code == 0, done.errors
    assert {entry["split"] for entry in read_manifest(f"{bucket}/etram").values()} == {"train", "val"}

    shown = convert(f"source={bucket}/etram", "info=true", cwd=tmp_path)
    assert shown.code == 0, shown.errors
    assert all(name in shown.output for name in ("day_0.zarr", "night_0.zarr", "day_1.zarr"))

    ended = train(*CONVERTED, f"data.root={bucket}/etram", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    assert json.loads((run_folder(tmp_path) / "metrics.json").read_text())["val/windows"] == 4
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "s3:").exists()


def test_a_bucket_without_a_set_ends_training_in_one_line(bucket: str, tmp_path: Path) -> None:
    ended = train(*CONVERTED, f"data.root={bucket}/nothing", cwd=tmp_path)
    assert ended.code == 2
    assert ended.error_lines == [f"error: {bucket}/nothing: no recordings of split 'train' (found no manifest)"]


def test_a_store_for_training_is_a_local_folder(tmp_path: Path) -> None:
    ended = train("+experiment=smoke", "data.store=s3://bucket/store", cwd=tmp_path)
    assert ended.code == 2
    (line,) = ended.error_lines
    assert "store: found s3://bucket/store; expected a local folder" in line
    assert not (tmp_path / "s3:").exists()
