"""The store in an S3 bucket, over the real protocol on loopback: written, read, trained from, refused in one line."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_events_conversion import write_dat, write_labels
from test_events_store import assert_equal, make_boxes, make_events, store

from spikeyolo.errors import RecordingError
from spikeyolo.events.conversion.abandoned import remove_abandoned
from spikeyolo.events.conversion.convert import Conversion, convert
from spikeyolo.events.conversion.converted import ConvertedSet
from spikeyolo.events.conversion.manifest import read_manifest
from spikeyolo.events.conversion.places import place_of
from spikeyolo.events.datasets import Source
from spikeyolo.events.store import Recording
from spikeyolo.events.store.attributes import FORMAT_VERSION
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.encoders import HistogramEncoder
from spikeyolo.windows.parts import Part
from spikeyolo.windows.rules import WindowRules
from spikeyolo.windows.serving.loader import WindowLoader
from spikeyolo.windows.serving.sampler import EpochSampler

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


def converted(bucket: str, tmp_path: Path, *, replace: bool = False, classes: tuple[str, ...] = ("car",)) -> Conversion:
    file = write_dat(tmp_path / "a.dat")
    source = Source(file, write_labels(tmp_path / "a_bbox.npy"), "a", "train")
    root = f"{bucket}/set"
    return Conversion(source, place_of(source, root), classes, replace=replace, root=root)


def folders(bucket: str) -> list[str]:
    """Names of the recordings whose objects are in the set, published or not."""
    names = s3fs.S3FileSystem(use_listings_cache=False).find(bucket.removeprefix("s3://"))
    return sorted({name.split("/")[3] for name in names if name.split("/")[2:3] == ["train"]})


def test_a_set_is_converted_into_a_bucket_and_read_from_it(bucket: str, tmp_path: Path) -> None:
    conversion = converted(bucket, tmp_path)
    assert convert(conversion)[0] == "converted"
    assert convert(conversion)[0] == "verified"
    (recording,) = ConvertedSet(root=f"{bucket}/set", classes=["car"]).recordings("train")
    assert (recording.num_events, len(recording.boxes)) == (5000, 9)
    assert list(read_manifest(f"{bucket}/set")) == ["train/a.zarr"]
    assert len(folders(bucket)) == 1


def test_what_a_killed_job_left_is_neither_read_nor_touched(bucket: str, tmp_path: Path) -> None:
    left = f"{bucket}/set/train/a-0123.zarr/events/c/7"
    s3fs.S3FileSystem().pipe(left, b"by a process that was killed, or that is at work")
    with pytest.raises(RecordingError, match="no stored recording"):
        Recording.open(f"{bucket}/set/train/a-0123.zarr")
    convert(converted(bucket, tmp_path))
    assert s3fs.S3FileSystem(use_listings_cache=False).exists(left)
    (recording,) = ConvertedSet(root=f"{bucket}/set", classes=["car"]).recordings("train")
    recording.verify()


def test_what_killed_jobs_left_of_the_converted_recordings_is_removed_once_it_is_old(
    bucket: str, tmp_path: Path
) -> None:
    convert(converted(bucket, tmp_path))
    (kept,) = folders(bucket)
    left = [f"train/{name}-0123456789ab.zarr" for name in ("a", "another")]
    others = ["train/a-b.zarr", "train/a.zarr"]  # not named as a job names what it writes
    for name in (*left, *others):
        s3fs.S3FileSystem().pipe(f"{bucket}/set/{name}/events/c/7", b"by a process that was killed, or is at work")
    root, before = f"{bucket}/set", folders(bucket)
    assert remove_abandoned(root, {"train/a.zarr"}) == []  # not a day old
    assert folders(bucket) == before
    assert remove_abandoned(root, {"train/a.zarr"}, older_than_s=0.0) == [f"{root}/{left[0]}"]
    assert folders(bucket) == sorted(["a-b.zarr", "a.zarr", "another-0123456789ab.zarr", kept])
    (recording,) = ConvertedSet(root=root, classes=["car"]).recordings("train")
    recording.verify()


def test_of_two_jobs_that_convert_the_same_both_end_well_and_one_whole_recording_remains(
    bucket: str, tmp_path: Path
) -> None:
    conversion = converted(bucket, tmp_path)
    second: list[str] = []

    def between(events: int, share: float) -> None:
        """Another job begins and ends while this one writes."""
        if not second:
            second.append("begun")
            second.append(convert(conversion)[0])

    status, entry = convert(conversion, progress=between)
    assert (status, second[-1]) == ("verified", "converted")
    (recording,) = ConvertedSet(root=f"{bucket}/set", classes=["car"]).recordings("train")
    recording.verify()
    assert recording.attributes["digest"] == entry["digest"]
    assert folders(bucket) == [str(recording.path).rpartition("/")[2]]


def test_of_two_jobs_that_replace_the_same_one_whole_recording_remains(bucket: str, tmp_path: Path) -> None:
    convert(converted(bucket, tmp_path))
    conversion = converted(bucket, tmp_path, replace=True, classes=("bus",))
    second: list[str] = []

    def between(events: int, share: float) -> None:
        if not second:
            second.append("begun")
            second.append(convert(conversion)[0])

    assert (convert(conversion, progress=between)[0], second[-1]) == ("verified", "converted")
    (recording,) = ConvertedSet(root=f"{bucket}/set", classes=["bus"]).recordings("train")
    recording.verify()
    assert folders(bucket) == [str(recording.path).rpartition("/")[2]]


def test_a_job_with_other_classes_does_not_replace_what_another_has_converted_meanwhile(
    bucket: str, tmp_path: Path
) -> None:
    other = converted(bucket, tmp_path, classes=("bus",))

    def between(events: int, share: float) -> None:
        if not read_manifest(f"{bucket}/set"):
            convert(other)

    with pytest.raises(RecordingError, match=r"was converted from other files, classes or rules.*classes differ"):
        convert(converted(bucket, tmp_path), progress=between)
    assert [entry["classes"] for entry in read_manifest(f"{bucket}/set").values()] == [["bus"]]
    assert len(folders(bucket)) == 1


def test_a_lost_object_is_seen_and_its_recording_converted_anew(bucket: str, tmp_path: Path) -> None:
    conversion = converted(bucket, tmp_path)
    convert(conversion)
    (before,) = folders(bucket)
    s3fs.S3FileSystem().rm(f"{bucket}/set/train/{before}/events/c/0")
    assert convert(conversion)[0] == "repaired"
    (after,) = folders(bucket)
    assert after != before
    Recording.open(f"{bucket}/set/train/{after}").verify()


def test_opening_a_recording_takes_at_most_two_requests(
    bucket: str, tmp_path: Path, requests_made: Callable[[], list[str]]
) -> None:
    for number in range(3):
        file = write_dat(tmp_path / f"{number}.dat", seed=number)
        source = Source(file, write_labels(tmp_path / f"{number}_bbox.npy"), str(number), "train")
        convert(Conversion(source, place_of(source, f"{bucket}/set"), ("car",), root=f"{bucket}/set"))
    requests_made()
    recordings = ConvertedSet(root=f"{bucket}/set", classes=["car"]).recordings("train")
    assert [len(recording.boxes) for recording in recordings] == [9, 9, 9]
    made = requests_made()
    assert 3 < len(made) <= 2 * 3 + 1, made  # and one listing for the set
    assert len(recordings[0].rows(0, 10)) == 10
    assert not [url for url in requests_made() if "zarr.json" in url]  # its arrays' metadata are known
    alone = Recording.open(recordings[0].path)
    assert len(alone.boxes) == 9
    assert len(requests_made()) == 2


def test_a_recording_of_a_newer_version_in_a_bucket_is_named_and_left_alone(bucket: str, tmp_path: Path) -> None:
    conversion = converted(bucket, tmp_path)
    convert(conversion)
    files = s3fs.S3FileSystem()
    published = f"{bucket}/set/manifest/train/a.json"
    content = json.loads(files.cat_file(published))
    content["attributes"]["format_version"] = FORMAT_VERSION + 1
    files.pipe_file(published, json.dumps(content).encode())
    with pytest.raises(RecordingError, match=r"a-.*\.zarr: written in format version 3 by a newer spikeyolo"):
        convert(conversion)
    assert len(folders(bucket)) == 1


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
