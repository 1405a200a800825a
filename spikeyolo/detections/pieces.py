"""A table of detections read piece by piece: what is kept of it takes memory, not how many rows its file has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikeyolo.detections.table import COLUMNS, EMBEDDING, DetectionTable, metadata_of, read_metadata, unreadable
from spikeyolo.detections.truth import Looks
from spikeyolo.errors import DetectionError

PIECE = 65536  # rows


def read_pieces(
    path: Path | str, *, classes: Sequence[str] | None = None, embeddings: bool = True
) -> Iterator[DetectionTable]:
    """The rows of a table that tells its classes, in their order, some at a time; arguments as of
    :meth:`DetectionTable.read`.

    Raises:
        DetectionError: as there; rows are then counted from the piece's first.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = (*COLUMNS, EMBEDDING) if embeddings else COLUMNS
    try:
        with pq.ParquetFile(path) as file:
            metadata, named = metadata_of(file.metadata.metadata or {}, path), file.schema_arrow.names
            chosen = [name for name in named if name in names]
            for group in range(file.num_row_groups):  # asked for together, they are all kept until the last is read
                for batch in file.iter_batches(PIECE, [group], chosen):
                    rows = pa.Table.from_batches([batch])
                    yield DetectionTable.of_rows(rows, path, classes=classes, metadata=metadata, named=named)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


def read_at(path: Path | str, looks: Looks, *, classes: Sequence[str]) -> DetectionTable:
    """The rows at some times, without embeddings; arguments as of :meth:`DetectionTable.read`.

    Raises:
        DetectionError: as there.
    """
    times = {name: np.unique(looks.t_us[looks.recording == r]) for r, name in enumerate(looks.recordings)}
    pieces = read_pieces(path, classes=classes, embeddings=False)
    kept = [piece[_at(piece, times)] for piece in pieces]
    return joined(kept) if kept else DetectionTable.read(path, classes=classes, embeddings=False)


def outline(path: Path | str) -> DetectionTable | None:
    """Of each time and step of a table one row, without embeddings; None where the table is to be read at once: it has
    no rows, its recordings do not follow one another in order of time, or something is wrong with it."""
    kept: list[DetectionTable] = []
    try:
        if "classes" not in read_metadata(path):
            return None
        for piece in read_pieces(path, embeddings=False):
            changes = np.any([np.diff(column) != 0 for column in (piece.recording, piece.t_us, piece.step)], axis=0)
            kept.append(piece[np.append(True, changes)])
    except DetectionError:
        return None
    if not kept:
        return None
    table = joined(kept)
    again = np.diff(table.recording)  # numbered as they first occur
    return table if (again >= 0).all() and (np.diff(table.t_us)[again == 0] >= 0).all() else None


def joined(pieces: Sequence[DetectionTable]) -> DetectionTable:
    """The rows of tables of the same classes, whose recordings of one name are one."""
    names = tuple(dict.fromkeys(name for piece in pieces for name in piece.recordings))
    index = {name: i for i, name in enumerate(names)}
    places = [np.array([index[name] for name in piece.recordings] or [0], np.int64) for piece in pieces]
    columns = ["t_us", "step", "class_id", "score", "xywh", "track_id"]
    if pieces[0].embedding is not None:
        columns.append("embedding")
    rows: dict[str, Any] = {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in columns}
    recording = np.concatenate([place[piece.recording] for place, piece in zip(places, pieces)])
    return replace(pieces[0], recordings=names, recording=recording, **rows)


def _at(piece: DetectionTable, times: dict[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.bool_]:
    """Which rows ``[M]`` lie at one of their recording's times."""
    held = np.zeros(len(piece), np.bool_)
    for recording, name in enumerate(piece.recordings):
        own = np.flatnonzero(piece.recording == recording)
        known = times.get(name)
        if known is not None and len(known):
            t_us = piece.t_us[own]
            held[own] = known[np.minimum(np.searchsorted(known, t_us), len(known) - 1)] == t_us
    return held
