"""The store in an S3 bucket, over the real protocol on loopback: written, read, trained from, refused in one line."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr
from test_events_conversion import write_dat, write_labels
from test_events_store import assert_equal, make_boxes, make_events, store

from spikeyolo.errors import RecordingError
from spikeyolo.events.conversion.convert import Conversion, convert, place_of
from spikeyolo.events.conversion.manifest import ConvertedSet, write_manifest
from spikeyolo.events.datasets import Source
from spikeyolo.events.store import Recording
from spikeyolo.events.store.attributes import FORMAT_VERSION
from spikeyolo.windows.dataset import Part, WindowDataset, WindowRules
from spikeyolo.windows.encoders import HistogramEncoder
from spikeyolo.windows.loader import WindowLoader
from spikeyolo.windows.sampler import EpochSampler

s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed (spikeyolo[s3] brings it)")


def test_a_recording_in_a_bucket_is_what_was_written(bucket: str, tmp_path: Path) -> None:
    events = make_events(40_000)
    place = f"{bucket}/set/a.zarr"
    store(place, events, make_boxes([5, 10]), classes=["car"])  # type: ignore[arg-type]
    recording = pickle.loads(pickle.dumps(Recording.open(place)))
    assert_equal(recording.slice(0, recording.end_us), events)
    assert recording.count(1000, 2000) == np.sum((events.t >= 1000) & (events.t < 2000))
    np.testing.assert_array_equal(recording.boxes.t, [5, 10])
    assert recording.name == "a.zarr"
    recording.verify()
    with pytest.raises(RecordingError, match="already exists"):
        store(place, events)  # type: ignore[arg-type]


def test_a_remote_recording_is_mapped_from_a_local_copy(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    events = make_events(40_000)
    store(f"{bucket}/a.zarr", events)  # type: ignore[arg-type]
    assert_equal(Recording.open(f"{bucket}/a.zarr", cache="mmap").slice(0, 10**9), events)
    assert len(list((tmp_path / "spikeyolo").glob("decoded-*.npy"))) == 1


def test_a_set_is_converted_into_a_bucket_and_read_from_it(bucket: str, tmp_path: Path) -> None:
    file = write_dat(tmp_path / "a.dat")
    source = Source(file, write_labels(tmp_path / "a_bbox.npy"), "a", "train")
    conversion = Conversion(source, place_of(source, f"{bucket}/set"), ("car",))
    status, entry = convert(conversion)
    write_manifest(f"{bucket}/set", {"train/a.zarr": {"split": "train", **entry}})
    assert status == "converted"
    assert convert(conversion)[0] == "verified"
    (place,) = ConvertedSet(root=f"{bucket}/set", classes=["car"]).recordings("train")
    assert (Recording.open(place).num_events, len(Recording.open(place).boxes)) == (5000, 9)


def test_a_broken_off_attempt_does_not_open_and_is_cleared_by_the_next(bucket: str) -> None:
    left = f"{bucket}/a.zarr/events/c/7"
    s3fs.S3FileSystem().pipe(left, b"by a process that was killed")
    with pytest.raises(RecordingError, match="no stored recording"):
        Recording.open(f"{bucket}/a.zarr")
    store(f"{bucket}/a.zarr", make_events(10))  # type: ignore[arg-type]
    assert not s3fs.S3FileSystem().exists(left)
    Recording.open(f"{bucket}/a.zarr").verify()


def test_a_recording_of_a_newer_version_in_a_bucket_is_named_and_left_alone(bucket: str, tmp_path: Path) -> None:
    file = write_dat(tmp_path / "a.dat")
    conversion = Conversion(Source(file, None, "a", ""), f"{bucket}/a.zarr", ())
    convert(conversion)
    group = zarr.open_group(f"{bucket}/a.zarr", mode="a")
    group.update_attributes({"format_version": FORMAT_VERSION + 1})
    with pytest.raises(RecordingError, match=r"a\.zarr: written in format version 2 by a newer spikeyolo"):
        convert(conversion)
    with pytest.raises(RecordingError, match="already exists"):
        store(f"{bucket}/a.zarr", make_events(10))  # type: ignore[arg-type]
    assert zarr.open_array(f"{bucket}/a.zarr/events", mode="r").shape == (5000,)


def test_a_bucket_that_is_not_there_or_refuses_ends_in_one_line(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecordingError, match="no stored recording"):
        Recording.open("s3://elsewhere/a.zarr")
    with pytest.raises(RecordingError, match=r"s3://elsewhere/a\.zarr: cannot be written .*bucket does not exist"):
        store("s3://elsewhere/a.zarr", make_events(10))  # type: ignore[arg-type]
    monkeypatch.setattr(s3fs.S3FileSystem, "_pipe_file", refused)
    with pytest.raises(RecordingError, match=r"cannot be written .*Access Denied") as caught:
        store(f"{bucket}/a.zarr", make_events(10))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


async def refused(*arguments: object, **options: object) -> None:
    raise PermissionError("Access Denied")


def test_a_server_that_drops_the_connection_ends_in_one_line(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store(f"{bucket}/a.zarr", make_events(10))  # type: ignore[arg-type]
    recording = Recording.open(f"{bucket}/a.zarr")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(RecordingError, match=r"a\.zarr.* \(.*connect.*\)"):
        recording.count(0, 50)


def test_training_windows_are_served_from_a_bucket_by_a_worker_process(bucket: str) -> None:
    events = make_events(40_000)
    store(f"{bucket}/a.zarr", events, make_boxes([200_000, 300_000]), classes=["car"])  # type: ignore[arg-type]
    recording = Recording.open(f"{bucket}/a.zarr")
    part = Part(recording, recording.boxes, recording.start_us, recording.end_us, recording.name)
    rules = WindowRules(slice_duration_us=10_000, time_steps=2, negative_share=0.0)
    dataset = WindowDataset([part], rules=rules, encoder=HistogramEncoder(downsample=1), role="val")
    loader = WindowLoader(dataset, EpochSampler(size=len(dataset), batch_size=2, shuffle=False), workers=1)
    (batch,) = list(loader.epoch(0))
    for place, window in enumerate(batch.windows):
        inside = (events.t >= window.start_us) & (events.t < window.end_us)
        assert int(batch.frames[:, place].sum()) == int(inside.sum()) > 0
    assert len(batch.targets) > 0
