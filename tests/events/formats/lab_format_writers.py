"""Encoders of the formats that labs keep beside the usual ones, in plain loops, each from the public layout."""

from __future__ import annotations

import struct
from itertools import groupby
from pathlib import Path

import h5py
import numpy as np
from format_writers import raw_header, rows

from spikeyolo.events import Events

DVS_MSGS = """Header header
uint32 height
uint32 width
Event[] events
================================================================================
MSG: std_msgs/Header
uint32 seq
time stamp
string frame_id
================================================================================
MSG: {package}/Event
uint16 x
uint16 y
time ts
bool polarity
"""


def from_bottom(line: int, height: int) -> int:
    """Lines counted from the bottom; one outside the sensor stays where it is."""
    return height - 1 - line if line < height else line


def write_event_stream(events: Events, kind: str = "dvs", resets: bool = False, exposures: bool = False) -> bytes:
    """``resets`` lie between the events, ``exposures`` (of an ATIS) as events that are no changes."""
    atis = kind == "atis"
    step, low = (63, 2) if atis else (127, 1)
    body, now = b"", 0
    for t, x, y, p in rows(events):
        passed = t - now
        while passed >= step:
            body += b"\xff" if not atis else bytes([0xFC | min(passed // step, 3)])
            passed -= step * (min(passed // step, 3) if atis else 1)
        now = t
        place = struct.pack("<HH", x, from_bottom(y, events.height))
        body += bytes([passed << low | p << low - 1]) + place
        if resets:
            body += bytes([0xFC if atis else 0xFE]) * 5
        if atis and exposures:
            body += bytes([0b11]) + place
    version = bytes([2, 0, 0, 2 if atis else 1])
    return b"Event Stream" + version + struct.pack("<HH", events.width, events.height) + body


def write_evt4(events: Events) -> bytes:
    words, high = [], None
    for (t, y, p, block), group in groupby(rows(events), lambda e: (e[0], e[2], e[3], e[1] // 32)):
        if t >> 6 != high:
            high = t >> 6
            words.append(0xE << 28 | high % 2**28)
        low = (t & 63) << 22 | y
        columns = [x for _, x, _, _ in group]
        while columns:  # a mask keeps the order of columns only
            run = [columns[0]]
            while len(run) < len(columns) and columns[len(run)] > run[-1]:
                run.append(columns[len(run)])
            if len(run) == 1:
                words.append((0xA + p) << 28 | low | run[0] << 11)
            else:
                words.append((0xC + p) << 28 | low | block * 32 << 11)
                words.append(sum(1 << x % 32 for x in run))
            columns = columns[len(run) :]
    return raw_header("EVT4", events) + struct.pack(f"<{len(words)}I", *words)


def write_aedat2(
    events: Events, chip: str = "eu.seebetter.ini.chips.davis.DAVIS346blue", frames: bool = False
) -> bytes:
    """``frames``: a frame's pixel and an external signal follow each event."""
    lines = ["#!AER-DAT2.0", "# This is a raw AE data file - do not edit", "# Timestamps tick is 1 us"]
    lines += [f"# AEChip: {chip}"] if chip else []
    body = b""
    for t, x, y, p in rows(events):
        column, line = from_bottom(x, events.width), from_bottom(y, events.height)
        if "DAVIS" in chip:
            address = line << 22 | column << 12 | p << 11
            others = [0x80000000 | address, address | 0x400]
        else:
            address = line << 8 | column << 1 | 1 - p
            others = [0x8000 | address]
        for word in [address, *(others if frames else [])]:
            body += struct.pack(">II", word, t % 2**32)
    return "".join(f"{line}\r\n" for line in lines).encode() + body


def write_aedat3(events: Events, camera: str = "DAVIS346", per_packet: int = 50, others: bool = False) -> bytes:
    """``others``: packets of special events, of another source, and events that are marked invalid."""
    header = (
        f"#!AER-DAT3.1\r\n#Format: RAW\r\n#-Source 0: DVS128\r\n#Source 1: {camera}\r\n"
        "#Start-Time: 2016-01-01 00:00:00 (TZ+0100)\r\n#!END-HEADER\r\n"
    )
    body = b""
    for overflows, group in groupby(rows(events), lambda event: event[0] >> 31):
        table = list(group)
        for first in range(0, len(table), per_packet):
            words = [(x << 17 | y << 2 | p << 1 | 1, t % 2**31) for t, x, y, p in table[first : first + per_packet]]
            if others:
                words = [copy for address, t in words for copy in ((address, t), (address & ~1, t))]
            body += _packet(1, 1, overflows, words)
            if others:
                body += _packet(0, 1, overflows, [(5, 5)]) + _packet(1, 7, overflows, words)
    return header.encode() + body


def _packet(kind: int, source: int, overflows: int, words: list[tuple[int, int]]) -> bytes:
    count = len(words)
    head = struct.pack("<hhiiiiii", kind, source, 8, 4, overflows, count, count, count)
    return head + b"".join(struct.pack("<Ii", *word) for word in words)


def write_text(events: Events, unit: str = "us", separator: str = " ", header: str = "", order: str = "txyp") -> bytes:
    lines = [header] if header else []
    for t, x, y, p in rows(events):
        time = {"us": str(t), "ns": str(t * 1000 + 999), "s": f"{t // 10**6}.{t % 10**6:06d}"}[unit]
        words = {"t": time, "x": str(x), "y": str(y), "p": str(p), "n": "7"}
        lines.append(separator.join(words[role] for role in order))
    return "".join(f"{line}\n" for line in lines).encode()


def write_named(path: Path, events: Events, names: str, unit: str = "us", **storage) -> None:
    """HDF5 columns under four names, as in ``"raw_events/ts xs ys ps"`` (the first with the group)."""
    group, _, first = names.split()[0].rpartition("/")
    times = {"us": events.t, "ns": events.t * 1000 + 999, "s": events.t / 1e6}[unit]
    with h5py.File(path, "w") as file:
        place = file.require_group(group or "/")
        for name, column in zip([first, *names.split()[1:]], (times, events.x, events.y, events.p)):
            place.create_dataset(name, data=column, maxshape=(None,) if storage else None, **storage)
        file["other/numbers"] = np.arange(5)
        file.attrs["width"], file.attrs["height"] = events.width, events.height


def write_table(path: Path, events: Events, order: str) -> None:
    """An HDF5 table of floats without names, times in seconds, as MVSEC has them."""
    columns = {"t": events.t / 1e6, "x": events.x, "y": events.y, "p": events.p * 2.0 - 1}
    with h5py.File(path, "w") as file:
        file["davis/left/events"] = np.stack([columns[role] for role in order], 1).astype(np.float64)


def write_rosbag(
    path: Path, events: Events, package: str = "dvs_msgs", per_message: int = 50, topics: tuple[str, ...] = ("/events",)
) -> None:
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    kind = f"{package}/msg/EventArray"
    store.register(get_types_from_msg(DVS_MSGS.format(package=package), kind))
    event_type, stamp_type = store.types[f"{package}/msg/Event"], store.types["builtin_interfaces/msg/Time"]
    header_type, array_type = store.types["std_msgs/msg/Header"], store.types[kind]
    path.unlink(missing_ok=True)
    writer = Writer(path)
    writer.set_compression(Writer.CompressionFormat.LZ4)
    with writer as bag:
        links = [bag.add_connection(topic, kind, typestore=store) for topic in topics]
        note = store.types["std_msgs/msg/String"]
        text = bag.add_connection("/notes", note.__msgtype__, typestore=store)
        bag.write(text, 0, store.serialize_ros1(note("no events"), note.__msgtype__))
        table = rows(events)
        for first in range(0, len(table), per_message):
            part = [
                event_type(x, y, stamp_type(t // 10**6, t % 10**6 * 1000 + 999), bool(p))
                for t, x, y, p in table[first : first + per_message]
            ]
            stamp = stamp_type(table[first][0] // 10**6, 0)
            message = array_type(header_type(7, stamp, "camera"), events.height, events.width, part)
            for link in links:
                bag.write(link, table[first][0] * 1000, store.serialize_ros1(message, kind))
