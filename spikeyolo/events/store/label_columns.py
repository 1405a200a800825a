"""Boxes inside a stored recording: one Zarr array ``labels`` ``[M, 8]`` float64, one chunk, guarded by a crc32c."""

from __future__ import annotations

from pathlib import Path

import google_crc32c
import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from spikeyolo.errors import LabelError, RecordingError
from spikeyolo.events.store.location import child, read_bytes, reason, store_errors
from spikeyolo.events.types import Boxes

NAME = "labels"
# float64 holds each of them exactly: times up to 285 years, in one object that takes one read.
COLUMNS = ("t", "x0", "y0", "x1", "y1", "class_id", "track_id", "confidence")


def write_boxes(group: zarr.Group, boxes: Boxes) -> None:
    """Add the labels to an unsealed recording's group."""
    rows = np.column_stack([boxes.t, boxes.xyxy, boxes.class_id, boxes.track_id, boxes.confidence]).astype("<f8")
    array = group.create_array(
        NAME,
        shape=rows.shape,
        dtype="<f8",
        chunks=(max(len(rows), 1), len(COLUMNS)),
        compressors=[Crc32cCodec()],
        fill_value=0,
        attributes={"columns": list(COLUMNS)},
        config={"write_empty_chunks": True},
    )
    if len(rows):
        array[...] = rows


def read_boxes(path: Path | str, num_boxes: int) -> Boxes:
    """The labels of the recording at ``path``.

    Raises:
        RecordingError: they are absent, cut short, or do not match their checksum.
    """
    if not num_boxes:
        return Boxes.empty()
    # Plain bytes: through zarr, the labels of ten thousand recordings would take minutes, and several requests each.
    try:
        encoded = read_bytes(child(path, f"{NAME}/c/0/0"))
    except store_errors() as error:
        raise RecordingError(
            f"{path}: its labels cannot be read ({reason(error)}); convert the recording anew"
        ) from error
    body = encoded[:-4]
    if len(body) != 8 * len(COLUMNS) * num_boxes or google_crc32c.value(body) != int.from_bytes(encoded[-4:], "little"):
        raise RecordingError(f"{path}: its labels do not match their checksum; convert the recording anew")
    rows = np.frombuffer(body, "<f8").reshape(num_boxes, len(COLUMNS))
    t, class_id, track_id = (np.ascontiguousarray(rows[:, column], np.int64) for column in (0, 5, 6))
    xyxy, confidence = np.ascontiguousarray(rows[:, 1:5], np.float32), np.ascontiguousarray(rows[:, 7], np.float32)
    try:
        return Boxes(t, xyxy, class_id, track_id, confidence)
    except LabelError as error:
        raise RecordingError(f"{path}: its labels are damaged ({error}); convert the recording anew") from error
