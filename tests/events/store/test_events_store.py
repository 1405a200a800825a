"""The recording store: what is appended is what is read, and nothing half-written or damaged is ever served."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikeyolo.errors import RecordingError
from spikeyolo.events import Boxes, Events
from spikeyolo.events.packing import MAX_TIME_US, Packed
from spikeyolo.events.store import writer as writer_module
from spikeyolo.events.store.chunks import ChunkCache, LocalChunks, ZarrChunks
from spikeyolo.events.store.mapped import mapped_copy
from spikeyolo.events.store.recording import Recording, RecordingWriter, pack, unpack

WIDTH, HEIGHT = 64, 48


def make_events(n: int, *, seed: int = 0, start: int = 0, step: int = 20) -> Events:
    rng = np.random.default_rng(seed)
    t = start + np.cumsum(rng.integers(0, step, n)).astype(np.int64)
    x = rng.integers(0, WIDTH, n).astype(np.uint16)
    y = rng.integers(0, HEIGHT, n).astype(np.uint16)
    return Events(t, x, y, rng.integers(0, 2, n).astype(np.uint8), WIDTH, HEIGHT)


def rows(events: Events, keep: npt.NDArray[np.bool_] | slice) -> Events:
    return Events(events.t[keep], events.x[keep], events.y[keep], events.p[keep], events.width, events.height)


def make_boxes(times: list[int]) -> Boxes:
    n = len(times)
    corners = np.tile(np.array([1.5, 2.25, 10.0, 12.0], np.float32), (n, 1))
    zeros = np.zeros(n, np.int64)
    return Boxes(np.array(times, np.int64), corners, zeros, np.arange(n, dtype=np.int64), np.ones(n, np.float32))


def store(path: Path, events: Events, boxes: Boxes | None = None, **options: object) -> Path:
    with RecordingWriter(path, width=WIDTH, height=HEIGHT, **options) as recording:  # type: ignore[arg-type]
        recording.append(events)
        if boxes is not None:
            recording.set_boxes(boxes)
        recording.seal()
    return path


def assert_equal(left: Events, right: Events) -> None:
    for name in "txyp":
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
        assert getattr(left, name).dtype == getattr(right, name).dtype
    assert (left.width, left.height) == (right.width, right.height)


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "CHUNK_EVENTS", 64)
    monkeypatch.setattr(writer_module, "SHARD_EVENTS", 256)
    monkeypatch.setattr(writer_module, "CHUNK_MS", 8)
    monkeypatch.setattr(writer_module, "SHARD_MS", 32)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_slice_equals_the_mask_of_all_events_however_they_were_batched(
    data: st.DataObject, small_shards: None, module_folder: Path
) -> None:
    n = data.draw(st.integers(1, 900), label="events")
    step = data.draw(st.sampled_from([1, 3, 50, 2000]), label="step")
    start = data.draw(st.sampled_from([0, 999, 1000, 5_123_456]), label="start")
    events = make_events(n, seed=n, start=start, step=step)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=5), label="cuts"))
    cache = data.draw(st.sampled_from(["none", "ram", "mmap"]), label="cache")
    path = module_folder / f"law-{len(list(module_folder.iterdir()))}.zarr"
    with RecordingWriter(path, width=WIDTH, height=HEIGHT) as recording:
        for low, high in zip([0, *cuts], [*cuts, n]):
            recording.append(rows(events, slice(low, high)))
        recording.seal()

    opened = Recording.open(path, cache=cache, folder=module_folder / "mapped")
    opened.verify()
    assert opened.num_events == n
    assert (opened.start_us, opened.end_us) == (events.t[0], events.t[-1] + 1)
    last = int(events.t[-1])
    for _ in range(4):
        a, b = sorted(data.draw(st.lists(st.integers(max(start - 2000, -5), last + 2000), min_size=2, max_size=2)))
        mask = (events.t >= a) & (events.t < b)
        assert_equal(opened.slice(a, b), rows(events, mask))
        assert opened.count(a, b) == mask.sum()
        assert opened.index_at(a) == np.searchsorted(events.t, a)


@given(
    t=st.lists(st.integers(0, MAX_TIME_US), min_size=1, max_size=20),
    x=st.integers(0, 4095),
    y=st.integers(0, 4095),
    p=st.integers(0, 1),
)
@settings(deadline=None)
def test_unpacking_inverts_packing_up_to_the_largest_time_and_sensor(t: list[int], x: int, y: int, p: int) -> None:
    n = len(t)
    events = Events(
        np.sort(np.array(t, np.int64)),
        np.full(n, x, np.uint16),
        np.full(n, y, np.uint16),
        np.full(n, p, np.uint8),
        4096,
        4096,
    )
    assert_equal(unpack(pack(events), 4096, 4096), events)


def test_ms_to_idx_holds_the_first_event_at_or_after_each_millisecond(tmp_path: Path) -> None:
    events = make_events(5000, start=3_500)
    path = store(tmp_path / "a.zarr", events)
    index = zarr.open_array(path, path="ms_to_idx", mode="r")[:]
    expected = np.searchsorted(events.t, (3 + np.arange(len(index))) * 1000)
    np.testing.assert_array_equal(index, expected)
    assert index[-1] == len(events)


def test_a_recording_may_pause_for_long(tmp_path: Path) -> None:
    pause = 1800 * 1_000_000
    before, after = make_events(10), make_events(10, start=pause)
    with RecordingWriter(tmp_path / "a.zarr", width=WIDTH, height=HEIGHT) as recording:
        recording.append(before)
        recording.append(after)
        recording.seal()
    opened = Recording.open(tmp_path / "a.zarr")
    assert_equal(opened.slice(pause, opened.end_us), after)
    assert opened.index_at(pause // 2 + 1) == 10


def test_reading_chunks_directly_equals_reading_them_through_zarr(tmp_path: Path, small_shards: None) -> None:
    path = store(tmp_path / "a.zarr", make_events(1000))
    direct = LocalChunks.open(path, "events", ChunkCache())
    through_zarr = ZarrChunks("a", "events", zarr.open_array(path, path="events", mode="r"))
    assert direct is not None
    assert direct.chunk_rows == through_zarr.chunk_rows == 64
    for direct_rows, zarr_rows in zip(direct.read(0, 14), through_zarr.read(0, 14), strict=True):
        np.testing.assert_array_equal(direct_rows, zarr_rows)


def test_boxes_come_back_ordered_by_time_and_exact(tmp_path: Path) -> None:
    boxes = make_boxes([400, 100, 300])
    path = store(tmp_path / "a.zarr", make_events(100), boxes, classes=["car", "bus"])
    opened = Recording.open(path)
    assert opened.classes == ("car", "bus")
    assert opened.labelled
    np.testing.assert_array_equal(opened.boxes.t, [100, 300, 400])
    np.testing.assert_array_equal(opened.boxes.track_id, [1, 2, 0])
    np.testing.assert_array_equal(opened.boxes.xyxy, boxes.xyxy)
    stored = zarr.open_array(path, path="labels", mode="r")
    assert stored.attrs["columns"][0] == "t"
    np.testing.assert_array_equal(stored[:, 0], [100, 300, 400])


def test_no_boxes_and_no_labels_are_told_apart(tmp_path: Path) -> None:
    without = Recording.open(store(tmp_path / "a.zarr", make_events(10)))
    empty = Recording.open(store(tmp_path / "b.zarr", make_events(10), Boxes.empty()))
    assert (without.labelled, len(without.boxes)) == (False, 0)
    assert (empty.labelled, len(empty.boxes)) == (True, 0)


def test_other_boxes_may_be_laid_over_the_same_events(tmp_path: Path) -> None:
    recording = Recording.open(store(tmp_path / "a.zarr", make_events(10), make_boxes([5]), classes=["car"]))
    other = pickle.loads(pickle.dumps(recording.with_boxes(make_boxes([7, 8]), ("bus",))))
    assert other.classes == ("bus",)
    np.testing.assert_array_equal(other.boxes.t, [7, 8])
    np.testing.assert_array_equal(recording.boxes.t, [5])
    assert_equal(other.slice(0, 1000), recording.slice(0, 1000))


def _count_in_worker(recording: Recording) -> int:
    return recording.count(recording.start_us, recording.end_us)


def test_a_recording_opens_anew_in_a_spawned_worker(tmp_path: Path) -> None:
    recording = Recording.open(store(tmp_path / "a.zarr", make_events(300)), cache="mmap", folder=tmp_path)
    assert recording.count(0, recording.end_us) == 300
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(_count_in_worker, recording).result(timeout=300) == 300


def test_a_shared_cache_keeps_no_more_than_it_may() -> None:
    cache = ChunkCache(max_bytes=1000)
    for key in range(10):
        cache.put(key, np.zeros(50, np.uint64))
    assert cache.get(7) is None
    assert cache.get(8) is not None
    assert cache.get(9) is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.array([0, 64], np.uint16)}, "x=64.*outside the sensor of 64x48"),
        ({"t": np.array([5, 4], np.int64)}, "time decreases at event 1"),
        ({"t": np.array([-5, 4], np.int64)}, "negative time -5"),
        ({"t": np.array([0, MAX_TIME_US + 1], np.int64)}, "expected at most"),
        ({"p": np.array([0, 2], np.uint8)}, "polarity 2"),
        ({"t": np.array([0], np.int64)}, "differ in length"),
        ({"x": np.array([0, 1], np.int32)}, "column x is of type int32; expected uint16"),
        ({"width": 65}, "65x48 px; expected 64x48 px"),
    ],
)
def test_events_that_break_an_invariant_are_refused_and_nothing_stays_behind(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    good = make_events(2)
    columns = {name: getattr(good, name) for name in ("t", "x", "y", "p", "width", "height")}
    with (
        pytest.raises(RecordingError, match=message),
        RecordingWriter(tmp_path / "a.zarr", width=WIDTH, height=HEIGHT) as recording,
    ):
        recording.append(Events(**{**columns, **change}))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_time_may_not_decrease_between_batches(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "a.zarr", width=WIDTH, height=HEIGHT, source="cam.dat") as recording:
        recording.append(make_events(5, start=1000))
        with pytest.raises(RecordingError, match=r"cam.dat: time decreases from .* between two batches"):
            recording.append(make_events(5, start=0))
    assert list(tmp_path.iterdir()) == []


def test_a_recording_without_events_is_refused(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "a.zarr", width=WIDTH, height=HEIGHT) as recording:
        recording.append(Events.empty(WIDTH, HEIGHT))
        with pytest.raises(RecordingError, match="no events"):
            recording.seal()
    assert list(tmp_path.iterdir()) == []


def test_leaving_without_a_seal_leaves_nothing(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "a.zarr", width=WIDTH, height=HEIGHT) as recording:
        recording.append(make_events(5))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RecordingError, match="writer is closed"):
        recording.seal()


def test_a_recording_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", make_events(5))
    with pytest.raises(RecordingError, match="already exists"):
        store(path, make_events(7))
    assert Recording.open(path).num_events == 5
    store(path, make_events(7), replace=True)
    assert Recording.open(path).num_events == 7
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize("writes_before", [0, 1, 2, 5, 9])
def test_a_full_disk_ends_in_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_shards: None, writes_before: int
) -> None:
    done = 0
    original = zarr.storage.LocalStore.set

    async def fails_later(self: zarr.storage.LocalStore, key: str, value: object) -> None:
        nonlocal done
        done += 1
        if done > writes_before:
            raise OSError(errno.ENOSPC, "No space left on device")
        await original(self, key, value)  # type: ignore[arg-type]

    monkeypatch.setattr(zarr.storage.LocalStore, "set", fails_later)
    with pytest.raises(RecordingError, match="the disk is full after"):
        store(tmp_path / "a.zarr", make_events(2000), make_boxes([3]))
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
import numpy as np
from pathlib import Path
from spikeyolo.events.store import RecordingWriter
sys.path.insert(0, sys.argv[2])
from test_events_store import make_events
with RecordingWriter(Path(sys.argv[1]), width=64, height=48) as recording:
    recording.append(make_events(5_000_000))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_killed_while_writing_leaves_nothing_that_opens(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "a.zarr"), str(Path(__file__).parent)]
    result = subprocess.run(command, timeout=300, check=False, cwd=Path(__file__).parents[3])
    assert result.returncode == -signal.SIGKILL
    left = list(tmp_path.iterdir())
    assert len(left) == 1
    assert ".partial-" in left[0].name
    for path in [tmp_path / "a.zarr", *left]:
        with pytest.raises(RecordingError, match=r"no stored recording|no sealed recording"):
            Recording.open(path)


def test_an_older_format_version_is_named(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", make_events(10))
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"]["format_version"] = 1
    (path / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(RecordingError, match=r"format version 1 by an older spikeyolo.*convert the recording anew"):
        Recording.open(path)


def test_a_lost_file_is_seen_by_its_size_alone(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", make_events(5000), make_boxes([5]), classes=["car"])
    recording = Recording.open(path)
    recording.check_files()
    shard = path / "events" / "c" / "0"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(RecordingError, match=r"bytes in \d files are there; expected \d+ in \d"):
        recording.check_files()


def test_a_newer_format_version_is_named(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", make_events(5))
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"]["format_version"] = 99
    (path / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(RecordingError, match="format version 99 by a newer spikeyolo"):
        Recording.open(path)


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "other.zarr")
    (tmp_path / "text.zarr").mkdir()
    (tmp_path / "text.zarr" / "zarr.json").write_text("{")
    for name, message in [
        ("none.zarr", "no stored recording"),
        ("other.zarr", "no sealed"),
        ("text.zarr", "zarr.json"),
    ]:
        with pytest.raises(RecordingError, match=message):
            Recording.open(tmp_path / name)


@pytest.mark.parametrize("through_zarr", [False, True])
def test_a_chunk_whose_bytes_were_changed_is_detected_and_named(
    tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch, through_zarr: bool
) -> None:
    if through_zarr:
        monkeypatch.setattr(LocalChunks, "open", lambda *_: None)
    events = make_events(300)
    path = store(tmp_path / "a.zarr", events)
    shard = path / "events" / "c" / "0"
    content = bytearray(shard.read_bytes())
    offset, size = np.frombuffer(content[-4 - 16 * 4 : -4], "<u8").reshape(-1, 2)[2]
    content[int(offset + size // 2)] ^= 0x10
    shard.write_bytes(content)
    recording = Recording.open(path)
    assert len(recording.rows(0, 128)) == 128
    with pytest.raises(RecordingError, match=r"a\.zarr: chunk 2 of events \(rows 128 to 191\) is damaged"):
        recording.rows(120, 130)
    with pytest.raises(RecordingError, match="chunk 2"):
        recording.verify()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_of_any_file_is_an_error_or_changes_nothing(
    data: st.DataObject, small_shards: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    events = make_events(300)
    path = store(folder / "a.zarr", events, make_boxes([10, 20]))
    file = data.draw(st.sampled_from(sorted(p for p in path.rglob("*") if "/c/" in str(p) and p.is_file())))
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    recording = Recording.open(path)
    try:
        recording.verify()
        boxes = recording.boxes
    except RecordingError as error:
        message = str(error)
    else:
        message = "a.zarr"
        assert_equal(recording.slice(0, recording.end_us), events)
        np.testing.assert_array_equal(boxes.t, [10, 20])
    assert "a.zarr" in message


def test_a_missing_shard_is_an_error_and_not_silence(tmp_path: Path, small_shards: None) -> None:
    path = store(tmp_path / "a.zarr", make_events(600))
    (path / "events" / "c" / "1").unlink()
    with pytest.raises(RecordingError, match=r"chunk 4 .* is damaged"):
        Recording.open(path).rows(0, 600)
    array = zarr.open_array(path, path="events", mode="r")
    with pytest.raises(RecordingError, match=r"chunk 4 .* is absent"):
        ZarrChunks("a", "events", array).read(0, 9)


def test_a_mapped_copy_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    events = make_events(1000)
    path = store(tmp_path / "a.zarr", events)
    assert_equal(Recording.open(path, cache="mmap", folder=tmp_path / "maps").slice(0, 10**9), events)
    (copy,) = (tmp_path / "maps").glob("decoded-*.npy")
    assert not list(path.glob("decoded-*"))
    copy.write_bytes(copy.read_bytes()[:1000])
    assert_equal(Recording.open(path, cache="mmap", folder=tmp_path / "maps").slice(0, 10**9), events)
    assert copy.stat().st_size > 8000


def test_a_mapped_copy_is_decoded_once_however_many_ask_for_it(tmp_path: Path) -> None:
    decoded = []

    def parts() -> Iterator[Packed]:
        decoded.append(1)
        for _ in range(50):
            time.sleep(0.002)
            yield np.arange(10, dtype=np.uint64)

    def ask() -> Packed:
        return mapped_copy(tmp_path / "maps", "a", "0123456789abcdef", 500, parts())

    with ThreadPoolExecutor(4) as pool:
        copies = list(pool.map(lambda _: ask(), range(4)))
    assert len(decoded) == 1
    assert all(len(copy) == 500 and copy[-1] == 9 for copy in copies)


def test_a_folder_of_mapped_copies_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", make_events(10))
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match=r"a\.zarr: the memory-mapped copy .*data\.cache_folder"):
        Recording.open(path, cache="mmap", folder=tmp_path / "file").rows(0, 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into any folder")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RecordingError, match="cannot be written"):
            store(tmp_path / "a.zarr", make_events(5))
    finally:
        tmp_path.chmod(0o700)
