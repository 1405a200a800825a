"""Decoding speed of every format on one core, side by side with the packages that are installed.

Long files are made by repeating the real recordings with their times moved on, so that start-up does not count.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from spikeyolo.events import Events
from spikeyolo.events.formats import open_recording

sys.path.append(str(Path(__file__).resolve().parents[3] / "tests" / "events" / "formats"))
from lab_format_writers import (
    write_aedat2,
    write_aedat3,
    write_event_stream,
    write_evt4,
    write_rosbag,
    write_text,
)

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "real"
PEERS = ("faery", "evt3", "expelliarmus", "evlib", "aedat", "tonic", "h5py", "pandas", "rosbags")


def ours_streamed(path: Path) -> int:
    return sum(len(batch) for batch in open_recording(path).batches())


def ours_whole(path: Path) -> int:
    (events,) = open_recording(path).batches(1 << 24)  # room for all events of the file in one batch
    return len(events)


def faery_streamed(path: Path) -> int:
    import faery

    return sum(len(packet) for packet in faery.events_stream_from_file(path, dimensions_fallback=(1280, 720)))


def evt3_whole(path: Path) -> int:
    import evt3

    return len(evt3.decode_file(str(path)).x)


def expelliarmus_whole(path: Path) -> int:
    from expelliarmus import Wizard

    encoding = "dat" if path.suffix == ".dat" else "evt2" if "evt2" in path.name else "evt3"
    return len(Wizard(encoding=encoding, fpath=str(path)).read())


def evlib_whole(path: Path) -> int:
    import evlib

    return len(evlib.load_events(str(path), sort=False).collect())


def aedat_streamed(path: Path) -> int:
    import aedat

    return sum(len(packet["events"]) for packet in aedat.Decoder(path) if "events" in packet)


def tonic_whole(path: Path) -> int:
    import tonic

    return len(tonic.io.read_mnist_file(str(path), tonic.io.events_struct))


def h5py_streamed(path: Path) -> int:
    with h5py.File(path) as file:
        count = len(file["events/t"])
        for first in range(0, count, 1 << 20):
            for name in "txyp":
                file["events"][name][first : first + (1 << 20)]
    return count


def tonic_aedat2_whole(path: Path) -> int:
    import tonic

    return len(tonic.io.read_davis_346(str(path))[2])


def faery_csv_streamed(path: Path) -> int:
    import faery

    return sum(len(packet) for packet in faery.events_stream_from_file(path))


def pandas_whole(path: Path) -> int:
    import pandas

    return len(pandas.read_csv(path))


def rosbags_streamed(path: Path) -> int:
    from rosbags.highlevel import AnyReader

    with AnyReader([path]) as bag:
        links = [link for link in bag.connections if link.msgtype.endswith("EventArray")]
        return sum(len(bag.deserialize(data, link.msgtype).events) for link, _, data in bag.messages(links))


DECODERS: dict[str, list[Callable[[Path], int]]] = {
    "dat": [ours_streamed, ours_whole, faery_streamed, expelliarmus_whole, evlib_whole],
    "evt2": [ours_streamed, ours_whole, faery_streamed, expelliarmus_whole, evlib_whole],
    "evt3": [ours_streamed, ours_whole, faery_streamed, evt3_whole, expelliarmus_whole, evlib_whole],
    "aedat4": [ours_streamed, ours_whole, aedat_streamed, faery_streamed],
    "ecf": [ours_streamed, ours_whole, evlib_whole],
    "columns": [ours_streamed, ours_whole, h5py_streamed, evlib_whole],
    "bin": [ours_streamed, ours_whole, tonic_whole],
    "es": [ours_streamed, ours_whole, faery_streamed],
    "aedat2": [ours_streamed, ours_whole, tonic_aedat2_whole],
    "aedat3": [ours_streamed, ours_whole],
    "evt4": [ours_streamed, ours_whole],
    "csv": [ours_streamed, ours_whole, faery_csv_streamed, pandas_whole],
    "bag": [ours_streamed, ours_whole, rosbags_streamed],
}


def make_files(folder: Path) -> dict[str, Path]:
    """About ten million events a format, from the real recordings."""
    content = (REAL / "imx636_scene.dat").read_bytes()
    start = len(content) - 1_218_618 * 8
    events = np.frombuffer(content[start:], "<u4").reshape(-1, 2)
    shift = np.array([10_800_000, 0], np.uint32)
    parts = [(events + k * shift).tobytes() for k in range(8)]
    (folder / "scene.dat").write_bytes(content[:start] + b"".join(parts))

    content = (REAL / "vga_evt2.raw").read_bytes()
    start = content.index(b"% evt 2.0\n") + 10
    words = np.frombuffer(content[start:], "<u4")
    steps = (words >> 28 == 8) * np.uint32(2_000)
    parts = [(words + k * steps).astype("<u4").tobytes() for k in range(20)]
    (folder / "vga_evt2.raw").write_bytes(content[:start] + b"".join(parts))

    content = (REAL / "driving_evt3.raw").read_bytes()
    start = content.index(b"\n", content.index(b"system_ID")) + 1
    words = np.frombuffer(content[start:], "<u2")
    high = words >> 12 == 8
    parts = [np.where(high, 0x8000 | (words + 3 * k) % 4096, words).astype("<u2").tobytes() for k in range(40)]
    (folder / "driving_evt3.raw").write_bytes(content[:start] + b"".join(parts))

    scene = Events.concatenate(list(open_recording(REAL / "imx636_scene.dat").batches()))
    with h5py.File(folder / "columns.h5", "w") as file:
        for name in "txyp":
            column = np.concatenate([getattr(scene, name) + (10_800_000 * k if name == "t" else 0) for k in range(8)])
            column = column.astype(getattr(scene, name).dtype)
            file.create_dataset(f"events/{name}", data=column, chunks=(1 << 16,), **hdf5plugin.Blosc(cname="zstd"))
        file["events/width"], file["events/height"] = 1280, 720
    rng = np.random.default_rng(0)
    bits = np.empty((300_000, 5), np.uint8)
    bits[:, :2] = rng.integers(0, 34, (300_000, 2))
    time_us = np.sort(rng.integers(0, 2**23, 300_000)) | rng.integers(0, 2, 300_000) << 23
    bits[:, 2:] = time_us.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:]
    (folder / "nmnist.bin").write_bytes(bits.tobytes())
    small = Events.concatenate(list(open_recording(REAL / "davis346_cars.aedat4").batches()))
    (folder / "cars.es").write_bytes(write_event_stream(small))
    (folder / "cars2.aedat").write_bytes(write_aedat2(small))
    (folder / "cars3.aedat").write_bytes(write_aedat3(small, per_packet=2000))
    (folder / "cars_evt4.raw").write_bytes(write_evt4(small))
    header = f"t,x@{small.width},y@{small.height},on"
    (folder / "cars.csv").write_bytes(write_text(small, separator=",", header=header))
    write_rosbag(folder / "cars.bag", small, per_message=2000)
    return {
        "es": folder / "cars.es",
        "aedat2": folder / "cars2.aedat",
        "aedat3": folder / "cars3.aedat",
        "evt4": folder / "cars_evt4.raw",
        "csv": folder / "cars.csv",
        "bag": folder / "cars.bag",
        "dat": folder / "scene.dat",
        "evt2": folder / "vga_evt2.raw",
        "evt3": folder / "driving_evt3.raw",
        "aedat4": REAL / "davis346_cars.aedat4",
        "ecf": REAL / "imx636_scene_ecf.h5",
        "columns": folder / "columns.h5",
        "bin": folder / "nmnist.bin",
    }


def measure(decoders: list[Callable[[Path], int]], path: Path, rounds: int) -> list[str]:
    """Best of the rounds, the decoders taking turns; the first round only warms up."""
    seconds = dict.fromkeys(decoders, (np.inf, np.inf, 0))
    failed: dict[Callable[[Path], int], str] = {}
    for turn in range(rounds + 1):
        for decode in decoders[turn % len(decoders) :] + decoders[: turn % len(decoders)]:
            if decode in failed:
                continue
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                count = decode(path)
            except Exception as error:  # a peer may fail in any way of its own: it is shown in the table
                failed[decode] = f"{type(error).__name__}: {str(error).splitlines()[0][:70] if str(error) else ''}"
                continue
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            best = seconds[decode]
            if turn:
                seconds[decode] = (min(best[0], wall), min(best[1], cpu), count)
    rows = []
    for decode in decoders:
        wall, cpu, count = seconds[decode]
        name = decode.__name__.replace("_", ", ")
        rows.append(
            f"{name} | – | – | {failed[decode]}"
            if decode in failed
            else f"{name} | {count / wall / 1e6:.1f} | {count / cpu / 1e6:.1f} | {count:,}"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--formats", nargs="*", default=sorted(DECODERS))
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(f"{platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; pinned to one core")
    for peer in PEERS:
        try:
            print(peer, version(peer), end="; ")
        except PackageNotFoundError:
            print(peer, "absent", end="; ")
    print("\n\n| format | decoder | Mev/s, wall | Mev/s, CPU time | events |\n|---|---|---|---|---|")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder))
        for name in arguments.formats:
            for row in measure(DECODERS[name], files[name], arguments.rounds):
                print(f"| {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
