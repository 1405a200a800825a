"""A set is converted into a bucket and trained on from there, both by command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import convert, run_folder, train
from etram_set import CLASSES, write_recording, write_set
from test_convert import configured

from spikeyolo.events.conversion.manifest import read_manifest, read_published

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
    assert "data.store: found s3://bucket/store; expected a local folder" in line
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


def test_raw_files_in_a_bucket_are_fetched_again_only_where_they_have_changed(
    bucket: str, tmp_path: Path, requests_made: Callable[[], list[str]]
) -> None:
    import s3fs

    write_set(tmp_path / "etram")
    raw = f"{bucket.removeprefix('s3://')}/raw"
    for path in (tmp_path / "etram").rglob("*.*"):
        s3fs.S3FileSystem().put_file(str(path), f"{raw}/{path.parent.name}/{path.name}")
    options = [f"source={bucket}/raw", f"classes=[{','.join(CLASSES)}]", f"out={bucket}/set", "workers=1", "previews=0"]

    def fetched_names() -> set[str]:
        requests_made()
        configured(*options, "replace=true")
        return {
            url.rpartition("/")[2] for url in requests_made() if url.startswith("GET ") and "/raw/" in url.split("?")[0]
        }

    assert len(fetched_names()) == 8
    before = read_manifest(f"{bucket}/set")
    assert {entry["split"] for entry in before.values()} == {"train", "val", "test"}
    assert fetched_names() == set()
    write_recording(tmp_path / "other.h5", 7)
    s3fs.S3FileSystem().put_file(str(tmp_path / "other.h5"), f"{raw}/val_h5_1/day_1.h5")
    assert fetched_names() == {"day_1.h5", "day_1_bbox.npy"}
    after = read_manifest(f"{bucket}/set")
    assert [name for name in after if after[name]["digest"] != before[name]["digest"]] == ["val_h5_1/day_1.zarr"]


def test_two_jobs_that_convert_the_same_set_at_once_both_end_well_and_leave_one_whole_set(
    bucket: str, tmp_path: Path
) -> None:
    import s3fs

    write_set(tmp_path / "etram")
    command = [sys.executable, "-m", "spikeyolo.convert", "source=etram", f"classes=[{','.join(CLASSES)}]"]
    jobs = [
        subprocess.Popen(
            [*command, f"out={bucket}/set", "workers=1", f"hydra.run.dir={tmp_path}/run{number}"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    errors = [job.communicate(timeout=300)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], errors
    published = read_published(f"{bucket}/set")
    assert len(published) == 4
    for item in published.values():
        item.open(f"{bucket}/set").verify()
    names = s3fs.S3FileSystem(use_listings_cache=False).find(f"{bucket}/set")
    stored = {name.partition(".zarr/")[0].partition("/set/")[2] + ".zarr" for name in names if ".zarr/" in name}
    assert stored == {item.stored for item in published.values()}


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
