"""Encoders of every format a test can write, in plain loops, each from the public layout and not from the decoder."""

from __future__ import annotations

import struct
from itertools import groupby
from pathlib import Path

import h5py
import numpy as np
from hypothesis import strategies as st

from spikeyolo.events import Events

AEDAT4_XML = '<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">{nodes}</node></dv>'
AEDAT4_STREAM = (
    '<node name="{number}"><attr key="typeIdentifier" type="string">{kind}</attr>'
    '<node name="info"><attr key="sizeX" type="int">{width}</attr><attr key="sizeY" type="int">{height}</attr>'
    "</node></node>"
)


@st.composite
def recordings(draw, width=1280, height=720, max_events=120, first_us=2**23, max_gap=None, min_events=1):
    """Events with runs of equal times, rows and neighbouring columns, so that vectors and runs occur."""
    count = draw(st.integers(min_events, max_events))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    start = draw(st.integers(0, first_us))
    largest = draw(st.sampled_from([1, 70, 5000] if max_gap is None else [1, max_gap]))
    gaps = rng.integers(0, largest + 1, count) * (rng.random(count) < 0.4)
    t = start + np.cumsum(gaps)
    new_row = np.concatenate([[True], (gaps[1:] > 0) | (rng.random(count - 1) < 0.2)])
    row = np.cumsum(new_row) - 1
    y = rng.integers(0, height, count)[row]
    x = (rng.integers(0, width, count)[row] + np.arange(count)) % width
    scattered = rng.random(count) < 0.3
    x = np.where(scattered, rng.integers(0, width, count), x)
    p = rng.integers(0, 2, count)[np.cumsum(rng.random(count) < 0.2) % count]
    return Events(t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), width, height)


def rows(events: Events):
    """The events as tuples of Python integers (t, x, y, p)."""
    return list(zip(*(getattr(events, name).tolist() for name in "txyp")))


def write_dat(events: Events, version: int = 2) -> bytes:
    header = (
        f"% Data file containing CD events\n% Version {version}\n% Width {events.width}\n% Height {events.height}\n"
    )
    x_bits, y_bits = (9, 8) if version == 1 else (14, 14)
    body = b"".join(
        struct.pack("<II", t % 2**32, x | y << x_bits | p << (x_bits + y_bits)) for t, x, y, p in rows(events)
    )
    return header.encode() + b"\x0c\x08" + body


def raw_header(name: str, events: Events, more: str = "") -> bytes:
    return f"% format {name};height={events.height};width={events.width}{more}\n% end\n".encode()


def write_evt2(events: Events) -> bytes:
    words, high = [], None
    for t, x, y, p in rows(events):
        if t >> 6 != high:
            high = t >> 6
            words.append(8 << 28 | high % 2**28)
        words.append(p << 28 | (t & 63) << 22 | x << 11 | y)
    return raw_header("EVT2", events) + struct.pack(f"<{len(words)}I", *words)


def write_evt21(events: Events, order: str = "little", said: bool = True) -> bytes:
    words, high = [], None
    for (t, y, p, block), group in groupby(rows(events), lambda e: (e[0], e[2], e[3], e[1] // 32)):
        if t >> 6 != high:
            high = t >> 6
            words.append((8 << 28 | high % 2**28) << 32)
        mask, last = 0, -1
        for _, x, _, _ in group:
            if x <= last:  # a mask keeps the order of columns only
                words.append((p << 28 | (t & 63) << 22 | block * 32 << 11 | y) << 32 | mask)
                mask = 0
            mask |= 1 << (x % 32)
            last = x
        words.append((p << 28 | (t & 63) << 22 | block * 32 << 11 | y) << 32 | mask)
    halves = {"little": lambda w: struct.pack("<Q", w), "big": lambda w: struct.pack(">Q", w)}
    halves["legacy"] = lambda w: struct.pack("<II", w >> 32, w & 0xFFFFFFFF)
    return raw_header("EVT21", events, f";endianness={order}" if said else "") + b"".join(map(halves[order], words))


def write_evt3(events: Events, order: str = "little") -> bytes:
    words, high, low, line = [], None, None, None
    for (t, y, p), group in groupby(rows(events), lambda e: (e[0], e[2], e[3])):
        if t >> 12 != high:
            if high is not None:  # the sensor repeats the time's high part: no wrap may be skipped unseen
                words += [8 << 12 | step % 4096 for step in range(high + 1024, t >> 12, 1024)]
            high, low = t >> 12, None
            words.append(8 << 12 | high % 4096)
        if t != low:
            low = t
            words.append(6 << 12 | t % 4096)
        if y != line:
            line = y
            words.append(y)
        columns = [x for _, x, _, _ in group]
        while columns:
            run = [columns[0]]
            while len(run) < len(columns) and run[-1] < columns[len(run)] < columns[0] + 20:
                run.append(columns[len(run)])
            if len(run) < 3:
                words.append(2 << 12 | p << 11 | columns.pop(0))
                continue
            base = run[0]
            words.append(3 << 12 | p << 11 | base)
            words.append(4 << 12 | sum(1 << (x - base) for x in run if x < base + 12))
            words.append(5 << 12 | sum(1 << (x - base - 12) for x in run if x >= base + 12))
            columns = columns[len(run) :]
    form = "<" if order == "little" else ">"
    return raw_header("EVT3", events, f";endianness={order}") + struct.pack(f"{form}{len(words)}H", *words)


def write_saccade(events: Events) -> bytes:
    body, added = [], 0
    for t, x, y, p in rows(events):
        while t - added >= 2**23:
            body.append(bytes([0, 240, 0, 0, 0]))
            added += 8192
        body.append(bytes([x, y]) + (p << 23 | t - added).to_bytes(3, "big"))
    return b"".join(body)


def write_columns(path: Path, events: Events, layout: str = "etram", signed: bool = False, **storage) -> None:
    with h5py.File(path, "w") as file:
        group = file.create_group("events")
        time = np.uint32 if layout == "dsec" else np.int64
        polarity = events.p.astype(np.int8) * 2 - 1 if signed else events.p
        for name, column in (("t", events.t.astype(time)), ("x", events.x), ("y", events.y), ("p", polarity)):
            group.create_dataset(name, data=column, maxshape=(None,) if storage else None, **storage)
        if layout == "dsec":
            file["ms_to_idx"] = np.searchsorted(events.t, np.arange(0, int(events.t[-1]) + 1000, 1000))
            file["t_offset"] = np.int64(49_599_300_523)
        elif layout == "etram":
            group["width"], group["height"] = events.width, events.height
        else:
            file.attrs["width"], file.attrs["height"] = events.width, events.height


def records(events: Events):
    """Prophesee's ``CD/events`` records."""
    kind = np.dtype({"names": list("xypt"), "formats": ["<u2", "<u2", "<i2", "<i8"], "itemsize": 16})
    table = np.empty(len(events), kind)
    for name in "xypt":
        table[name] = getattr(events, name)
    return table


def write_records(path: Path, events: Events, **storage) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("CD").create_dataset("events", data=records(events), **storage)
        file.attrs["geometry"] = f"{events.width}x{events.height}"


def write_ecf_chunk(events: Events, packing: str) -> bytes:
    """One ECF chunk; ``packing`` is ``all``, ``columns`` or ``runs``."""
    table = rows(events)
    out = struct.pack("<IQ", len(table) << 2 | (packing == "all") << 1 | (packing == "columns"), table[0][0])
    now = table[0][0]
    for t, group in groupby(event[0] for event in table):
        count, step, now = len(list(group)), t - now, t
        if step >= 15:
            while step:
                out += bytes([0xF0 | step & 15])
                step >>= 4
        out += bytes([step << 4 | min(count, 15)]) + (struct.pack("<H", count) if count >= 15 else b"")
    if packing == "all":
        for i in range(0, len(table), 4):
            four = [y << 12 | x << 1 | p for _, x, y, p in table[i : i + 4]]
            a, b, c, d = four + [0] * (4 - len(four))
            out += struct.pack("<III", a << 8 | b & 255, (b >> 8) << 16 | c & 65535, (c >> 16) << 24 | d)
        return out
    for y, group in groupby(event[2] for event in table):
        count = len(list(group))
        out += struct.pack("<H", y << 5 | min(count, 31)) + (struct.pack("<H", count) if count >= 31 else b"")
    if packing == "columns":
        for i in range(0, len(table), 4):
            four = [x << 1 | p for _, x, _, p in table[i : i + 4]]
            a, b, c, d = four + [0] * (4 - len(four))
            out += struct.pack("<HHH", a << 4 | b & 15, (b >> 4) << 8 | c & 255, (c >> 8) << 12 | d)
        return out
    i = 0
    while i < len(table):
        base, mask = table[i][1], 0
        i += 1
        while i < len(table) and base < table[i][1] <= base + 5 and not mask & ((1 << (6 - table[i][1] + base)) - 1):
            mask |= 1 << (5 - (table[i][1] - base))
            i += 1
        out += struct.pack("<H", base << 5 | mask)
    for p, group in groupby(event[3] for event in table):
        count = len(list(group))
        out += bytes([p << 7 | min(count, 127)]) + (struct.pack("<H", count) if count >= 127 else b"")
    return out


def write_aedat4(
    events: Events, per_packet: int = 50, compress=None, compression: int = 0, table: bool = True
) -> bytes:
    """Frames of another stream lie between the packets of events."""
    streams = (("0", "EVTS"), ("1", "FRME"))
    nodes = "".join(
        AEDAT4_STREAM.format(number=number, kind=kind, width=events.width, height=events.height)
        for number, kind in streams
    )
    xml = AEDAT4_XML.format(nodes=nodes).encode()
    compress = compress or bytes
    packets = b""
    for first in range(0, len(events), per_packet):
        part = slice(first, first + per_packet)
        data = compress(event_packet(events, part))
        packets += struct.pack("<ii", 0, len(data)) + data + struct.pack("<ii", 1, 3) + b"any"
    header_size = len(io_header(xml, compression, 0))
    end = 14 + header_size + len(packets) if table else -1
    return (
        b"#!AER-DAT4.0\r\n" + io_header(xml, compression, end) + packets + (b"the table of packets" if table else b"")
    )


def io_header(xml: bytes, compression: int, table: int) -> bytes:
    # size, root at 24, identifier; vtable of three fields; table: vtable offset, compression, XML, position
    vtable = struct.pack("<HHHHHxx", 10, 24, 4, 16, 8)
    body = struct.pack("<I4s", 20, b"IOHE") + vtable
    body += struct.pack("<iiIxxxxq", 12, compression, 16, table) + struct.pack("<I", len(xml)) + xml + b"\0"
    return struct.pack("<I", len(body)) + body


def event_packet(events: Events, part: slice) -> bytes:
    vector = b"".join(struct.pack("<qhh?xxx", t, x, y, bool(p)) for t, x, y, p in rows(events)[part])
    vtable = struct.pack("<HHHxx", 6, 8, 4)
    body = struct.pack("<I4s", 16, b"EVTS") + vtable
    body += struct.pack("<iI", 8, 4) + struct.pack("<I", len(vector) // 16) + vector
    return struct.pack("<I", len(body)) + body


def write_ecf(path: Path, events: Events, packing: str = "runs", per_chunk: int = 40) -> None:
    """A file whose chunks are ECF; the last one is padded to a whole chunk with zeros, as HDF5 hands it to codecs."""
    with h5py.File(path, "w") as file:
        group = file.create_group("CD")
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_chunk((per_chunk,))
        layout.set_filter(0x8ECF, h5py.h5z.FLAG_OPTIONAL)
        kind = h5py.h5t.py_create(records(events).dtype, logical=True)
        dataset = h5py.h5d.create(
            group.id, b"events", kind, h5py.h5s.create_simple((len(events),), (h5py.h5s.UNLIMITED,)), layout
        )
        for first in range(0, len(events), per_chunk):
            part = [getattr(events, name)[first : first + per_chunk] for name in "txyp"]
            short = per_chunk - len(part[0])
            padded = [np.concatenate([column, np.full(short, column[-1])]) for column in part]
            chunk = write_ecf_chunk(Events(*padded, events.width, events.height), packing)
            dataset.write_direct_chunk((first,), chunk, 0)
        file.attrs["geometry"] = f"{events.width}x{events.height}"
