"""A set is converted into a bucket and trained on from there, both by command line."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from command_line import convert, run_folder, train
from etram_set import CLASSES, write_set

from spikeyolo.events.conversion.manifest import read_manifest

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
    expected = "no converted set; expected the out of python -m spikeyolo.convert, of this version"
    assert ended.error_lines == [f"error: {bucket}/nothing: {expected}"]


def test_a_store_for_training_is_a_local_folder(tmp_path: Path) -> None:
    ended = train("+experiment=smoke", "data.store=s3://bucket/store", cwd=tmp_path)
    assert ended.code == 2
    (line,) = ended.error_lines
    assert "store: found s3://bucket/store; expected a local folder" in line
    assert not (tmp_path / "s3:").exists()


def test_raw_files_in_a_bucket_are_fetched_and_converted(bucket: str, tmp_path: Path) -> None:
    import s3fs

    write_set(tmp_path / "etram")
    files = sorted(path for path in (tmp_path / "etram").rglob("*") if path.is_file())
    for path in files:
        s3fs.S3FileSystem().put_file(str(path), f"{bucket.removeprefix('s3://')}/raw/{path.parent.name}/{path.name}")
    classes = f"classes=[{','.join(CLASSES)}]"
    local = convert("source=etram", classes, "out=here", "workers=1", cwd=tmp_path)
    assert local.code == 0, local.errors
    before = set(Path(tempfile.gettempdir()).glob("spikeyolo-fetched-*"))
    for _ in "ab":  # the second time they are verified
        remote = convert(f"source={bucket}/raw", classes, "out=there", "workers=1", cwd=tmp_path)
        assert remote.code == 0, remote.errors
    assert "verified" in remote.output
    here, there = read_manifest(tmp_path / "here"), read_manifest(tmp_path / "there")
    assert here.keys() == there.keys()
    assert len(here) == sum(path.suffix == ".h5" for path in files)
    for name, entry in there.items():
        assert entry["source"].startswith(f"{bucket}/raw/")
        assert entry["labels"].startswith(f"{bucket}/raw/")
        assert {**entry, "source": "", "labels": ""} == {**here[name], "source": "", "labels": ""}
    assert set(Path(tempfile.gettempdir()).glob("spikeyolo-fetched-*")) == before

    one = convert(f"source={bucket}/raw/*/*_0.h5", classes, "out=some", "workers=1", cwd=tmp_path)
    assert one.code == 0, one.errors
    assert 0 < len(read_manifest(tmp_path / "some")) < len(here)


def test_what_is_wrong_with_raw_files_in_a_bucket_is_one_line_that_names_them(bucket: str, tmp_path: Path) -> None:
    import s3fs

    s3fs.S3FileSystem().pipe(f"{bucket.removeprefix('s3://')}/raw/broken.dat", b"no events in here")
    broken = convert(f"source={bucket}/raw/broken.dat", "out=there", cwd=tmp_path)
    assert broken.code == 2
    assert f"{bucket}/raw/broken.dat: " in broken.error_lines[-1]
    assert not list((tmp_path / "there").rglob("*.zarr"))
    missing = convert(f"source={bucket}/nothing", "out=there", cwd=tmp_path)
    assert missing.code == 2
    assert f"{bucket}/nothing: no such recording" in missing.error_lines[-1]
