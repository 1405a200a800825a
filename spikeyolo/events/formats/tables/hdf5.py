"""HDF5 recordings: columns as eTraM, Gen1 conversions and DSEC keep them, and Prophesee's ``CD/events`` records.

Layouts: https://dsec.ifi.uzh.ch/data-format/ (DSEC); https://docs.prophesee.ai/stable/data/file_formats/hdf5.html
(Prophesee); eTraM and Gen1 conversions keep ``events/{x,y,p,t}`` with ``width`` and ``height`` beside them.
HDF5 refuses a file that is cut off, so such a one is an error, strict or not; a damaged chunk leaves the events before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers blosc and its kin with HDF5
import numpy as np
import numpy.typing as npt

from spikeyolo.errors import RecordingError
from spikeyolo.events.formats.prophesee.ecf import ECF_FILTER, MAX_EVENTS, decode_chunk
from spikeyolo.events.formats.reader import CheckedReader, blank_columns, checked_columns
from spikeyolo.events.formats.tables.hdf5_search import SAMPLE_ROWS, FoundEvents, find_events
from spikeyolo.events.formats.tables.time_unit import TimeUnit, guess_unit, to_us, whole_numbers
from spikeyolo.events.types import Events

SIGNATURE = b"\x89HDF\r\n\x1a\n"
DSEC_SIZE = (640, 480)
CHUNK_LIMIT = 1 << 28
# What h5py raises where the file's own structure is damaged.
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)


def open_hdf5(path: Path, *, strict: bool, size: tuple[int, int] | None, time_unit: TimeUnit | None) -> CheckedReader:
    """Open by the layout found inside: one of the known ones, or columns of other names.

    Raises:
        RecordingError: HDF5 refuses the file (damaged or truncated), or no known layout is in it.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            if isinstance(file.get("CD/events"), h5py.Dataset):
                return RecordReader(path, file, strict=strict, size=size)
            group = file.get("events")
            if isinstance(group, h5py.Group) and time_unit in (None, "us") and _are_columns(group):
                return ColumnReader(path, file, strict=strict, size=size)
            events = find_events(file)
            if events:
                return FoundReader(path, file, events, strict=strict, size=size, time_unit=time_unit)
            found = ", ".join(sorted(file)) or "nothing"
    except DAMAGE as error:
        raise RecordingError(
            f"{path}: HDF5 cannot read it ({_first_line(error)}); expected a whole HDF5 recording"
        ) from error
    raise RecordingError(
        f"{path}: an HDF5 file that holds {found}; expected events/x,y,p,t (eTraM, Gen1, DSEC), CD/events (Prophesee), "
        "or columns named as those of events are (t ts timestamps, x xs, y ys, p ps polarity)"
    )


class ColumnReader(CheckedReader):
    """``events/{x,y,p,t}`` columns: eTraM and Gen1 conversions, and DSEC with its ``t_offset``."""

    def __init__(self, path: Path, file: Any, *, strict: bool, size: tuple[int, int] | None) -> None:
        dsec = "t_offset" in file
        offset = _scalar(file["t_offset"]) if dsec else 0
        super().__init__(path, "hdf5-dsec" if dsec else "hdf5-columns", 0, 0, clock_zero_us=offset or 0, strict=strict)
        found = _find_size(file, ("", "events")) or size or (DSEC_SIZE if dsec else None)
        self.width, self.height = found or (0, 0)
        datasets = {name: file["events"][name] for name in "txyp"}
        lengths = {name: dataset.shape for name, dataset in datasets.items()}
        if len(set(lengths.values())) > 1 or len(lengths["t"]) != 1:
            raise RecordingError(f"{path}: columns differ in shape ({lengths}); expected one row an event")
        for dataset in datasets.values():
            _require_stored(path, dataset)
            _require_filters(path, dataset)

    def _decode(self, max_events: int) -> Iterator[Events]:
        with _reopened(self.path) as file:
            datasets = [file["events"][name] for name in "txyp"]
            for parts in _slices(self, datasets, len(datasets[0]), max_events):
                yield checked_columns(self, *parts)


class RecordReader(CheckedReader):
    """Prophesee's ``CD/events``: records of x, y, p, t, plain or in ECF chunks."""

    def __init__(self, path: Path, file: Any, *, strict: bool, size: tuple[int, int] | None) -> None:
        super().__init__(path, "hdf5-prophesee", 0, 0, strict=strict)
        dataset = file["CD/events"]
        names = dataset.dtype.names or ()
        if (
            len(dataset.shape) != 1
            or not set("xypt") <= set(names)
            or any(dataset.dtype[name].kind not in "iub" for name in "xypt")
        ):
            raise RecordingError(f"{path}: CD/events has type {dataset.dtype}; expected records of integers x, y, p, t")
        _require_stored(path, dataset)
        self._ecf = _require_filters(path, dataset)
        self.width, self.height = _find_size(file, ("", "CD", "CD/events")) or size or (0, 0)

    def _decode(self, max_events: int) -> Iterator[Events]:
        with _reopened(self.path) as file:
            dataset = file["CD/events"]
            if self._ecf:
                yield from self._decode_ecf(dataset, max_events)
                return
            for (records,) in _slices(self, [dataset], len(dataset), max_events):
                yield checked_columns(self, *(records[name] for name in "txyp"))

    def _decode_ecf(self, dataset: Any, max_events: int) -> Iterator[Events]:
        """Chunks are decoded here, as the codec is not among the filters h5py brings."""
        length, chunk = len(dataset), dataset.chunks[0]
        first = 0
        while first < length:
            room = min(max_events, length - first) + MAX_EVENTS
            t, x, y, p = blank_columns(room)
            rows = 0
            reason = ""
            while first + rows < length and rows < max_events and not reason:
                keep = min(chunk, length - first - rows)
                try:
                    mask, stored = dataset.id.read_direct_chunk((first + rows,))
                except DAMAGE as error:
                    reason = _first_line(error)
                    continue
                if mask or not decode_chunk(np.frombuffer(stored, np.uint8), keep, t, x, y, p, rows, self.origin_us):
                    reason = "its bytes are no ECF"
                    continue
                rows += keep
            first += rows
            self.share_read = first / length
            yield Events(t[:rows], x[:rows], y[:rows], p[:rows], self.width, self.height)
            if reason:
                self.damaged(_damage_sentence(self.path, first, reason))
                return


class FoundReader(CheckedReader):
    """Columns or a table of other names; of several, the first. What was taken is said."""

    def __init__(
        self,
        path: Path,
        file: Any,
        events: list[FoundEvents],
        *,
        strict: bool,
        size: tuple[int, int] | None,
        time_unit: TimeUnit | None,
    ) -> None:
        super().__init__(path, "hdf5-by-name", 0, 0, strict=strict)
        self._events = events[0]
        for name in self._events.datasets:
            _require_stored(path, file[name])
            _require_filters(path, file[name])
        group = self._events.datasets[0].rpartition("/")[0]
        self.width, self.height = _find_size(file, ("", group, *self._events.datasets[:1])) or size or (0, 0)
        times = self._columns([np.asarray(file[name][:SAMPLE_ROWS]) for name in self._events.datasets])[0]
        self._unit: TimeUnit = time_unit or guess_unit(times)
        left = f" and left out {'; '.join(map(str, events[1:]))}" if events[1:] else ""
        self.opening_warnings.append(f"{path}: took {self._events} as events t, x, y, p, times in {self._unit}{left}")

    def _columns(self, parts: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """t, x, y and p of a stretch of the data sets."""
        if not self._events.fields:
            return list(parts)
        (table,) = parts
        return [table[field] if isinstance(field, str) else table[:, field] for field in self._events.fields]

    def _decode(self, max_events: int) -> Iterator[Events]:
        with _reopened(self.path) as file:
            datasets = [file[name] for name in self._events.datasets]
            for parts in _slices(self, datasets, len(datasets[0]), max_events):
                t, *others = self._columns(parts)
                try:
                    time = to_us(t, self._unit)
                    x, y, p = (whole_numbers(column, name) for column, name in zip(others, "xyp"))
                except ValueError as error:
                    raise RecordingError(f"{self.path}: found {error}; expected events in {self._events}") from error
                yield checked_columns(self, time, x, y, p)


def _are_columns(group: Any) -> bool:
    """Whether ``x``, ``y``, ``p`` and ``t`` are in the group, all of integers."""
    columns = [group.get(name) for name in "xypt"]
    return all(isinstance(column, h5py.Dataset) and column.dtype.kind in "iub" for column in columns)


def _reopened(path: Path) -> Any:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        raise RecordingError(f"{path}: HDF5 cannot read it ({_first_line(error)}); expected a whole file") from error


def _slices(
    reader: CheckedReader, datasets: list[Any], length: int, max_events: int
) -> Iterator[tuple[npt.NDArray[Any], ...]]:
    """Row ranges of all data sets together; where a chunk is damaged, the rows before it and one report."""
    first, step = 0, max_events
    while first < length:
        last = min(first + step, length)
        try:
            parts = tuple(np.asarray(dataset[first:last]) for dataset in datasets)
        except DAMAGE as error:
            if step > 1024:
                step = max(step // 8, 1024)  # come closer to the damage before giving up
                continue
            reader.damaged(_damage_sentence(reader.path, first, _first_line(error)))
            return
        first = last
        reader.share_read = first / length
        yield parts


def _require_stored(path: Path, dataset: Any) -> None:
    """Refuse rows that the file claims and does not hold, which would be read as zeros without end."""
    chunk_rows = dataset.chunks[0] if dataset.chunks else 0
    if chunk_rows * dataset.dtype.itemsize > CHUNK_LIMIT:
        raise RecordingError(
            f"{path}: {dataset.name} has chunks of {chunk_rows} rows; expected under {CHUNK_LIMIT} bytes"
        )
    if chunk_rows:
        held = dataset.id.get_num_chunks() * chunk_rows
    else:
        held = dataset.id.get_storage_size() // dataset.dtype.itemsize
    if held < len(dataset):
        raise RecordingError(
            f"{path}: {dataset.name} claims {len(dataset)} rows and holds {held}; expected a whole file"
        )


def _require_filters(path: Path, dataset: Any) -> bool:
    """Whether the chunks are ECF's; any other filter that HDF5 lacks is named."""
    create = dataset.id.get_create_plist()
    codes = [create.get_filter(i)[0] for i in range(create.get_nfilters())]
    if codes == [ECF_FILTER] and dataset.dtype.names:
        return True
    missing = [code for code in codes if not h5py.h5z.filter_avail(code)]
    if missing:
        raise RecordingError(
            f"{path}: {dataset.name} is packed with HDF5 filters {missing}, which are not here; expected ECF alone or "
            "a filter of hdf5plugin (for another, put its plugin in a folder and name that in HDF5_PLUGIN_PATH)"
        )
    return False


def _find_size(file: Any, places: tuple[str, ...]) -> tuple[int, int] | None:
    """Sensor size from scalars or attributes ``width``/``height``, or an attribute ``geometry`` of ``WxH``."""
    for place in places:
        node = file[place] if place else file
        width, height = (
            _scalar(node[name]) if isinstance(node, h5py.Group) and name in node else _scalar(node.attrs.get(name))
            for name in ("width", "height")
        )
        if width and height:
            return width, height
        geometry = node.attrs.get("geometry")
        geometry = geometry.decode("ascii", "replace") if isinstance(geometry, bytes) else geometry
        if isinstance(geometry, str) and geometry.count("x") == 1:
            sides = geometry.split("x")
            if all(side.isascii() and side.isdigit() and 0 < int(side) <= 4096 for side in sides):
                return int(sides[0]), int(sides[1])
    return None


def _scalar(node: Any) -> int | None:
    if node is None:
        return None
    value = np.asarray(node[()] if isinstance(node, h5py.Dataset) else node)
    if value.size != 1 or value.dtype.kind not in "iuf" or not float(value.reshape(-1)[0]).is_integer():
        return None
    return int(value.reshape(-1)[0])


def _damage_sentence(path: Path, first: int, reason: str) -> str:
    return f"{path}: damaged after {first} events ({reason}); expected a whole recording"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__
