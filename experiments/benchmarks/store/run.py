"""Measure the recording store beside other ways to keep events: ``python experiments/benchmarks/store/run.py``.

Prints the tables of the README and writes ``results.json`` beside it. Nothing is kept of the recordings it makes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numba
import numpy as np
import zarr
from numcodecs import blosc
from zarr.codecs import BloscCodec

from spikeyolo.events import Boxes, Events
from spikeyolo.events.formats import open_recording
from spikeyolo.events.store.recording import ChunkCache, Recording, RecordingWriter, pack, unpack

WIDTH, HEIGHT = 1280, 720
REPEATS = 5


def made_events(count: int, span_us: int) -> Events:
    """Uniform over sensor and time: as hard to compress as events get."""
    rng = np.random.default_rng(0)
    return Events(
        np.sort(rng.integers(0, span_us, count)),
        rng.integers(0, WIDTH, count).astype(np.uint16),
        rng.integers(0, HEIGHT, count).astype(np.uint16),
        rng.integers(0, 2, count).astype(np.uint8),
        WIDTH,
        HEIGHT,
    )


def write_store(path: Path, events: Events, boxes: Boxes | None = None) -> None:
    with RecordingWriter(path, width=events.width, height=events.height, classes=["car"]) as writer:
        for start in range(0, len(events), 1 << 20):
            part = slice(start, start + (1 << 20))
            writer.append(
                Events(events.t[part], events.x[part], events.y[part], events.p[part], events.width, events.height)
            )
        if boxes is not None:
            writer.set_boxes(boxes)
        writer.seal()


def write_h5(path: Path, events: Events) -> None:
    """Four columns and ms_to_idx, blosc-zstd: DSEC's layout."""
    with h5py.File(path, "w") as file:
        for name in "txyp":
            column = getattr(events, name)
            file.create_dataset(
                f"events/{name}",
                data=column,
                chunks=(1 << 15,),
                **hdf5plugin.Blosc(cname="zstd", clevel=3, shuffle=hdf5plugin.Blosc.BITSHUFFLE),
            )
        file["ms_to_idx"] = ms_to_idx(events)


def write_zarr_columns(path: Path, events: Events) -> None:
    """Four columns, through zarr alone."""
    group = zarr.create_group(path)
    for name in "txyp":
        column = getattr(events, name)
        group.create_array(
            name,
            data=column,
            chunks=(1 << 15,),
            shards=(1 << 22,),
            compressors=[BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")],
        )


def ms_to_idx(events: Events) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.searchsorted(events.t, np.arange(int(events.t[-1]) // 1000 + 2) * 1000).astype(np.int64)


def h5_reader(path: Path) -> Callable[[int, int], Events]:
    file = h5py.File(path)
    columns, index = file["events"], file["ms_to_idx"][:]

    def read(start: int, end: int) -> Events:
        low, high = int(index[start // 1000]), int(index[-(-end // 1000)])
        t = columns["t"][low:high]
        first, last = np.searchsorted(t, (start, end))
        rest = (columns[name][low + first : low + last] for name in "xyp")
        return Events(t[first:last], *rest, WIDTH, HEIGHT)

    return read


def zarr_reader(path: Path, events: Events) -> Callable[[int, int], Events]:
    group, index = zarr.open_group(path, mode="r"), ms_to_idx(events)
    arrays = {name: group[name] for name in "txyp"}

    def read(start: int, end: int) -> Events:
        low, high = int(index[start // 1000]), int(index[-(-end // 1000)])
        t = arrays["t"][low:high]
        first, last = np.searchsorted(t, (start, end))
        rest = (arrays[name][low + first : low + last] for name in "xyp")
        return Events(t[first:last], *rest, WIDTH, HEIGHT)

    return read


def packed_through_zarr(path: Path) -> Callable[[int, int], Any]:
    """The same packed array as the store, read by zarr's own indexing."""
    array, index = zarr.open_array(path, path="events", mode="r"), zarr.open_array(path, path="ms_to_idx", mode="r")[:]

    def read(start: int, end: int) -> Any:
        rows = array[int(index[start // 1000]) : int(index[-(-end // 1000)])]
        return rows[slice(*np.searchsorted(rows, (np.uint64(start << 25), np.uint64(end << 25))))]

    return read


def windows_a_second(read: Callable[[int, int], Any], window_us: int, span_us: int, seconds: float) -> float:
    """Best of several stretches of random windows, on the clock: the machine should have no other work."""
    rng = np.random.default_rng(1)
    read(0, 1000)
    best = 0.0
    for _ in range(REPEATS):
        count, began = 0, time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            start = int(rng.integers(1000, span_us - window_us - 2000))
            read(start, start + window_us)
            count += 1
        best = max(best, count / passed)
    return best


def fastest(work: Callable[[], Any]) -> float:
    """Shortest time of several repeats, s."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def bytes_below(path: Path) -> int:
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )


def measure_windows(folder: Path, count: int, span_us: int, seconds: float) -> list[dict[str, Any]]:
    events = made_events(count, span_us)
    began = time.perf_counter()
    write_store(folder / "a.zarr", events)
    write_s = time.perf_counter() - began
    write_h5(folder / "a.h5", events)
    write_zarr_columns(folder / "columns.zarr", events)
    store_bytes = bytes_below(folder / "a.zarr")
    packed = pack(events)
    pack_s = fastest(lambda: pack(events))
    unpack_s = fastest(lambda: unpack(packed, WIDTH, HEIGHT))
    rates = {name: count / s / 1e6 for name, s in (("write", write_s), ("pack", pack_s), ("unpack", unpack_s))}
    print(", ".join(f"{name} {rate:.0f} Mev/s" for name, rate in rates.items()))
    # The recording's own cache is 4 MiB; random windows of 160 MB of events hardly ever meet in it.
    readers: dict[str, tuple[int, Callable[[int, int], Any]]] = {
        "store, packed()": (store_bytes, Recording.open(folder / "a.zarr").packed),
        "store, slice() to columns": (store_bytes, Recording.open(folder / "a.zarr").slice),
        "store, cache=mmap": (8 * count, Recording.open(folder / "a.zarr", cache="mmap", folder=folder).packed),
        "store, cache=ram": (8 * count, Recording.open(folder / "a.zarr", cache="ram").packed),
        "its packed array through zarr": (store_bytes, packed_through_zarr(folder / "a.zarr")),
        "zarr, four columns": (bytes_below(folder / "columns.zarr"), zarr_reader(folder / "columns.zarr", events)),
        "h5py, four columns (DSEC's layout)": (bytes_below(folder / "a.h5"), h5_reader(folder / "a.h5")),
    }
    rows: list[dict[str, Any]] = [rates]
    for name, (size, read) in readers.items():
        long, short = (windows_a_second(read, window, span_us, seconds) for window in (10_000, 800))
        rows.append({"reader": name, "bytes_an_event": size / count, "10 ms": long, "0.8 ms": short})
        print(f"| {name} | {size / count:.2f} | {long:,.0f} | {short:,.0f} |", flush=True)
    return rows


def measure_real(folder: Path, real: Path) -> list[dict[str, Any]]:
    rows = []
    for file in sorted(real.iterdir()):
        if file.suffix not in (".aedat4", ".dat", ".raw"):
            continue
        reader = open_recording(file)
        parts = list(reader.batches())
        path = folder / f"{file.stem}.zarr"
        write_store(path, Events.concatenate(parts))
        events = Recording.open(path).num_events
        only = sum(bytes_below(path / name) for name in ("events", "ms_to_idx"))
        rows.append(
            {
                "file": file.name,
                "events": events,
                "file_bytes_an_event": file.stat().st_size / events,
                "store_bytes_an_event": only / events,
            }
        )
        print("| {file} | {events:,} | {file_bytes_an_event:.2f} | {store_bytes_an_event:.2f} |".format(**rows[-1]))
    return rows


def measure_opening(folder: Path, recordings: int, boxes_each: int) -> dict[str, Any]:
    """Open many recordings and their labels: one is made, the others are copies of its files."""
    times = np.linspace(1000, 990_000, boxes_each).astype(np.int64)
    zeros = np.zeros(boxes_each, np.int64)
    corners = np.tile(np.array([1, 2, 30, 40], np.float32), (boxes_each, 1))
    write_store(
        folder / "0.zarr",
        made_events(1000, 1_000_000),
        Boxes(times, corners, zeros, zeros, np.ones(boxes_each, np.float32)),
    )
    for number in range(1, recordings):
        shutil.copytree(folder / "0.zarr", folder / f"{number}.zarr", copy_function=os.link)
    paths = [folder / f"{number}.zarr" for number in range(recordings)]
    tracemalloc.start()
    began = time.perf_counter()
    chunks = ChunkCache()
    opened = [Recording.open(path, chunks=chunks) for path in paths]
    windows = sum(len(recording.boxes) for recording in opened)
    seconds = time.perf_counter() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    began = time.perf_counter()
    for path in paths:
        _ = Recording.open(path).boxes
    plain_s = time.perf_counter() - began
    result = {"recordings": recordings, "boxes": windows, "seconds": plain_s, "traced_seconds": seconds, "bytes": peak}
    print(f"{recordings:,} recordings with {windows:,} boxes: {plain_s:.2f} s, {peak / 1e6:.0f} MB")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--span-us", type=int, nargs="+", default=[10_000_000, 4_000_000])
    parser.add_argument("--seconds", type=float, default=1.0, help="of each of the five repeats of a row")
    parser.add_argument("--recordings", type=int, default=10_000)
    parser.add_argument("--real", type=Path, default=Path(__file__).resolve().parents[4] / "shared" / "data" / "real")
    options = parser.parse_args()
    blosc.set_nthreads(1)
    numba.set_num_threads(1)
    results: dict[str, Any] = {
        "machine": platform.platform(),
        "python": platform.python_version(),
        "zarr": zarr.__version__,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.real.is_dir():
            results["real"] = measure_real(folder, options.real)
        for span_us in options.span_us:
            place = folder / str(span_us)
            place.mkdir()
            print(f"{options.events:,} events in {span_us / 1e6:.0f} s, {WIDTH}x{HEIGHT} px")
            results[f"windows {span_us}"] = measure_windows(place, options.events, span_us, options.seconds)
            shutil.rmtree(place)
        (folder / "many").mkdir()
        results["opening"] = measure_opening(folder / "many", options.recordings, 200)
    Path(__file__).with_name("results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
