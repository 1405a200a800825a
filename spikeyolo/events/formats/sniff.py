"""The door of the room: finds out by content what a file is, and opens the decoder for it."""

from __future__ import annotations

from pathlib import Path

from spikeyolo.errors import RecordingError
from spikeyolo.events.cleaning import EventRules
from spikeyolo.events.formats import event_stream, rosbag, saccade
from spikeyolo.events.formats.inivation import aedat2, aedat3, aedat4
from spikeyolo.events.formats.prophesee import dat, evt
from spikeyolo.events.formats.prophesee.header import TextHeader
from spikeyolo.events.formats.reader import MAX_SIDE, CheckedReader, EventReader
from spikeyolo.events.formats.tables import hdf5, text_table
from spikeyolo.events.formats.tables.time_unit import TimeUnit

SUFFIXES = {
    ".dat": "dat",
    ".raw": "evt",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".aedat4": "aedat4",
    ".bin": "saccade",
    ".es": "event stream",
    ".bag": "rosbag",
    ".csv": "text",
    ".txt": "text",
}
SIGNATURES = {
    hdf5.SIGNATURE: "hdf5",
    aedat2.SIGNATURE: "aedat2",
    aedat3.SIGNATURE: "aedat3",
    aedat4.SIGNATURE: "aedat4",
    event_stream.SIGNATURE: "event stream",
    rosbag.SIGNATURE: "rosbag",
}
DAT_KEYWORDS = {"data", "date", "version", "width", "height"}
EXPECTED = (
    "expected Prophesee DAT or RAW (EVT 2.0, 2.1, 3.0, 4.0), HDF5 (eTraM, Gen1, DSEC, Prophesee or other columns), "
    "AEDAT 2.0, 3.1 or 4, Event Stream, a ROS 1 bag, text (t x y p) or N-MNIST .bin"
)


def open_recording(
    path: Path | str,
    *,
    strict: bool = False,
    size: tuple[int, int] | None = None,
    rules: EventRules | None = None,
    time_unit: TimeUnit | None = None,
) -> EventReader:
    """Open an events file of any known format, found by its content and not by its name.

    Args:
        path: the file.
        strict: raise where a damaged file, or a name of another format, would otherwise only be warned about.
        size: sensor width and height, px, for files that name none.
        rules: how dirty events are cleaned; by default ``EventRules(strict=strict)``.
        time_unit: of times in text, and in HDF5 columns; None takes seconds where they have fractions, µs otherwise.

    Raises:
        RecordingError: the file is absent, empty, unreadable, or of no known format.
    """
    path = Path(path)
    head = _head(path)
    header = TextHeader.read(path) if head.startswith(b"%") else None
    family = _family(head, header)
    layout = text_table.find_layout(head) if family is None else None
    if layout is not None:
        family = "text"
    if family is None and path.suffix.lower() == ".bin":
        family = "saccade"  # no mark in the content: the name is all there is
    if family is None and text_table.is_header_alone(head):
        raise RecordingError(f"{path}: names columns, but no event stands below; expected lines of t x y p")
    if family is None:
        raise RecordingError(f"{path}: starts with {head[:16]!r}, which is no known events file; {EXPECTED}")
    claimed = SUFFIXES.get(path.suffix.lower())
    warning = ""
    if claimed not in (None, family):
        warning = f"{path}: its name says {claimed}, its content is {family}; expected the two to agree"
        if strict:
            raise RecordingError(warning)
    if layout is not None:
        reader: CheckedReader = text_table.TextReader(path, layout, strict=strict, size=size, time_unit=time_unit)
    else:
        reader = _open(path, family, header, strict, size, time_unit)
    reader.rules = rules or EventRules(strict=strict)
    reader.settle_size(size)
    _check_size(reader)
    if warning:
        reader.opening_warnings.insert(0, warning)
    reader.warnings = list(reader.opening_warnings)
    return reader


def _open(
    path: Path,
    family: str,
    header: TextHeader | None,
    strict: bool,
    size: tuple[int, int] | None,
    time_unit: TimeUnit | None,
) -> CheckedReader:
    if header is not None and family == "evt":
        return evt.open_raw(path, header, strict=strict, size=size)
    if header is not None:
        return dat.DatReader(path, header, strict=strict, size=size)
    if family == "hdf5":
        return hdf5.open_hdf5(path, strict=strict, size=size, time_unit=time_unit)
    if family == "saccade":
        return saccade.SaccadeReader(path, strict=strict, size=size)
    if family == "aedat2":
        return aedat2.Aedat2Reader(path, strict=strict, size=size)
    if family == "aedat3":
        return aedat3.Aedat3Reader(path, strict=strict, size=size)
    if family == "event stream":
        return event_stream.EventStreamReader(path, strict=strict)
    if family == "rosbag":
        return rosbag.RosbagReader(path, strict=strict)
    return aedat4.Aedat4Reader(path, strict=strict)


def _check_size(reader: CheckedReader) -> None:
    if not (0 < reader.width <= MAX_SIDE and 0 < reader.height <= MAX_SIDE):
        raise RecordingError(
            f"{reader.path}: states a sensor of {reader.width}x{reader.height} px; expected sides of 1 to {MAX_SIDE}"
        )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(text_table.HEAD_BYTES)
    except FileNotFoundError as error:
        raise RecordingError(f"{path}: no such file; expected a recording") from error
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror}); expected a recording") from error
    if not head:
        raise RecordingError(f"{path}: is empty; {EXPECTED}")
    return head


def _family(head: bytes, header: TextHeader | None) -> str | None:
    if header is not None and header.format_name:
        return "evt"
    if header is not None and DAT_KEYWORDS & header.values.keys():
        return "dat"
    return next((family for signature, family in SIGNATURES.items() if head.startswith(signature)), None)
