"""Boxes as columns inside a stored recording: five small Zarr arrays, one chunk each, guarded by a crc32c."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from spikeyolo.errors import LabelError, RecordingError
from spikeyolo.events.store.location import is_remote, reason, store_errors, zarr_store
from spikeyolo.events.types import Array, Boxes

# Column, dtype and values a row; fixed by the store's format version.
COLUMNS: dict[str, tuple[str, tuple[int, ...]]] = {
    "t": ("<i8", ()),
    "xyxy": ("<f4", (4,)),
    "class_id": ("<i8", ()),
    "track_id": ("<i8", ()),
    "confidence": ("<f4", ()),
}


def write_boxes(group: zarr.Group, boxes: Boxes) -> None:
    """Add the label columns to an unsealed recording's group."""
    labels = group.create_group("labels")
    for name, (dtype, row) in COLUMNS.items():
        column = getattr(boxes, name)
        array = labels.create_array(
            name,
            shape=column.shape,
            dtype=dtype,
            chunks=(max(len(column), 1), *row),
            compressors=[Crc32cCodec()],
            fill_value=0,
            config={"write_empty_chunks": True},
        )
        if len(column):
            array[...] = column


def read_boxes(path: Path | str, num_boxes: int) -> Boxes:
    """The label columns of the recording at ``path``.

    Raises:
        RecordingError: a column is absent, short, or does not match its checksum.
    """
    if not num_boxes:
        return Boxes.empty()
    columns = {name: _read_column(path, name, num_boxes) for name in COLUMNS}
    try:
        return Boxes(**columns)
    except LabelError as error:
        raise RecordingError(f"{path}: its labels are damaged ({error}); convert the recording anew") from error


def _read_column(path: Path | str, name: str, num_boxes: int) -> Array:
    dtype, row = COLUMNS[name]
    if is_remote(path):
        return _read_through_zarr(str(path), name)
    # One plain file a column: through zarr, the labels of ten thousand recordings would take minutes to read.
    # Plain text and open(): pathlib's joining takes longer than the reading.
    try:
        with open(f"{path}/labels/{name}/c{'/0' * (1 + len(row))}", "rb", buffering=0) as file:
            encoded = file.read()
    except OSError as error:
        raise RecordingError(
            f"{path}: its label column {name!r} cannot be read ({error.strerror}); convert the recording anew"
        ) from error
    body = encoded[:-4]
    shape = (num_boxes, *row)
    expected_bytes = np.dtype(dtype).itemsize * math.prod(shape)
    if len(body) != expected_bytes or google_crc32c.value(body) != int.from_bytes(encoded[-4:], "little"):
        raise RecordingError(
            f"{path}: its label column {name!r} does not match its checksum; convert the recording anew"
        )
    return np.frombuffer(body, dtype).reshape(shape)


def _read_through_zarr(path: str, name: str) -> Array:
    try:
        array: Any = zarr.open_array(zarr_store(path, read_only=True), path=f"labels/{name}", mode="r", zarr_format=3)
        return np.asarray(array[...])
    except store_errors(ValueError, RuntimeError, KeyError) as error:
        raise RecordingError(f"{path}: its label column {name!r} cannot be read ({reason(error)})") from error
