"""Detections (or truth) of any number of recordings as one table, in pixels of the sensor, in a Parquet file.

One row a box: ``recording``, ``t_us``, ``step``, ``class_id``, ``class``, ``score``, ``x``, ``y``, ``w``, ``h``,
``track_id``, and ``embedding`` where the network has that branch. Other programs may write the same columns; of theirs
``step``, ``class_id`` or ``class``, and ``track_id`` may be absent. https://parquet.apache.org/docs/file-format/
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spikeyolo.detections.columns import NEEDED, Columns
from spikeyolo.errors import DetectionError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

METADATA_KEY = b"spikeyolo"
COLUMNS = (*NEEDED, "step", "class_id", "class", "track_id")
EMBEDDING = "embedding"


@dataclass(frozen=True, eq=False)
class DetectionTable:
    """Columns of detections; the order of rows means nothing.

    Attributes:
        recordings: names; ``recording`` counts in them.
        classes: names, in the order of class ids.
        recording: ``[M]`` int64, index of the recording.
        t_us: ``[M]`` int64, µs from the recording's start: the end of the time step that made the detection.
        step: ``[M]`` int64, that time step within its window; -1 where unknown.
        class_id: ``[M]`` int64.
        score: ``[M]`` float32 in 0..1; 1 for truth.
        xywh: ``[M, 4]`` float32, left, top, width, height in px of the sensor.
        track_id: ``[M]`` int64, -1 where there is none.
        embedding: ``[M, E]`` float32 of unit length, or None.
        metadata: what can be told of the table's making, JSON values only: digests, settings, versions.
    """

    recordings: tuple[str, ...]
    classes: tuple[str, ...]
    recording: npt.NDArray[np.int64]
    t_us: npt.NDArray[np.int64]
    step: npt.NDArray[np.int64]
    class_id: npt.NDArray[np.int64]
    score: npt.NDArray[np.float32]
    xywh: npt.NDArray[np.float32]
    track_id: npt.NDArray[np.int64]
    embedding: npt.NDArray[np.float32] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.t_us)

    @property
    def xyxy(self) -> npt.NDArray[np.float32]:
        """``[M, 4]`` float32, left, top, right, bottom in px of the sensor."""
        return np.concatenate((self.xywh[:, :2], self.xywh[:, :2] + self.xywh[:, 2:]), axis=1)

    def __getitem__(self, rows: npt.NDArray[Any] | slice) -> DetectionTable:
        """The chosen rows (mask, indices or slice), in that order."""
        return replace(
            self,
            recording=self.recording[rows],
            t_us=self.t_us[rows],
            step=self.step[rows],
            class_id=self.class_id[rows],
            score=self.score[rows],
            xywh=self.xywh[rows],
            track_id=self.track_id[rows],
            embedding=None if self.embedding is None else self.embedding[rows],
        )

    def write(self, path: Path | str) -> Path:
        """Write the Parquet file beside ``path`` and rename it into place.

        Raises:
            DetectionError: it cannot be written; nothing half-written is left.
        """
        from spikeyolo.detections.writer import DetectionWriter

        width = None if self.embedding is None else self.embedding.shape[1]
        with DetectionWriter(path, classes=self.classes, embedding=width, metadata=self.metadata) as writer:
            writer.append(self)
        return Path(path)

    @classmethod
    def read(
        cls,
        path: Path | str,
        *,
        classes: Sequence[str] | None = None,
        embeddings: bool = True,
        between_us: tuple[int, int] | None = None,
    ) -> DetectionTable:
        """Read a table, of ours or with the same columns from another program.

        Args:
            path: of the Parquet file.
            classes: names by id; None takes the file's own list, or its class names in alphabetical order.
            embeddings: read those too, where there are some; they take more room than all other columns.
            between_us: first and last time of the rows that are read, µs; None: all.

        Raises:
            DetectionError: it is no Parquet file, a column is missing or of another kind, or a value is none (null,
                NaN, negative size, a class that the list has not).
        """
        rows, kept, named = _rows(path, (*COLUMNS, EMBEDDING) if embeddings else COLUMNS, between_us)
        return cls.of_rows(rows, path, classes=classes, metadata=metadata_of(kept, path), named=named)

    @classmethod
    def of_rows(
        cls,
        rows: pa.Table,
        path: Path | str,
        *,
        classes: Sequence[str] | None,
        metadata: Mapping[str, Any],
        named: Sequence[str],
    ) -> DetectionTable:
        """Rows of a Parquet file, checked.

        Args:
            rows: as read.
            path: of the file.
            classes: see :meth:`read`.
            metadata: that the file tells.
            named: the names of all its columns.

        Raises:
            DetectionError: as of :meth:`read`.
        """
        missing = [name for name in NEEDED if name not in rows.column_names]
        if "class_id" not in rows.column_names and "class" not in rows.column_names:
            missing.append("class")
        if missing:
            raise DetectionError(f"{path}: has no column {', '.join(missing)}; found {', '.join(named) or 'none'}")
        columns = Columns(rows, path)
        names, recording = columns.names("recording")
        known, class_id = _classes(columns, classes or metadata.get("classes"))
        table = cls(
            names,
            known,
            recording,
            columns.whole("t_us"),
            columns.whole("step"),
            class_id,
            columns.real("score"),
            np.stack([columns.real(name) for name in "xywh"], axis=1) if len(rows) else np.empty((0, 4), np.float32),
            columns.whole("track_id"),
            columns.vectors(EMBEDDING),
            metadata,
        )
        table.check(str(path))
        return table

    def check(self, source: str) -> None:
        """Raise one sentence if a value is none.

        Raises:
            DetectionError: a box or score is not finite, a size is negative, a score lies outside 0..1, or a class id
                is not in the list.
        """
        for wrong, what in (
            (~np.isfinite(self.xywh).all(1), "a box that is not finite"),
            ((self.xywh[:, 2:] < 0).any(1), "a box of negative size"),
            (~((self.score >= 0) & (self.score <= 1)), "a score outside 0..1"),
            (
                (self.class_id < 0) | (self.class_id >= len(self.classes)),
                f"a class id outside 0..{len(self.classes) - 1}",
            ),
        ):
            rows = np.flatnonzero(wrong)
            if len(rows):
                row = int(rows[0])
                where = f"row {row} ({self.recordings[self.recording[row]]}, {self.t_us[row]} µs)"
                more = f", and {len(rows) - 1} more" if len(rows) > 1 else ""
                raise DetectionError(f"{source}: {where} holds {what}{more}; expected none")


def _rows(
    path: Path | str, names: Sequence[str], between_us: tuple[int, int] | None = None
) -> tuple[pa.Table, Mapping[bytes, bytes], list[str]]:
    """Those of the named columns that there are, the file's metadata, and the names of all its columns.

    Raises:
        DetectionError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            kept, named = file.metadata.metadata or {}, file.schema_arrow.names
            chosen = [name for name in named if name in names]
            if between_us is None or "t_us" not in chosen:
                return file.read(chosen), kept, named
        time, (low, high) = pc.field("t_us"), between_us
        return pq.read_table(path, columns=chosen, filters=(time >= low) & (time <= high)), kept, named
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


@dataclass(frozen=True, eq=False)
class RowTimes:
    """When the rows of a table are, and of what: a tenth of the table.

    Attributes:
        recordings: names.
        recording, t_us, track_id: ``[M]`` int64, as of :class:`DetectionTable`.
    """

    recordings: tuple[str, ...]
    recording: npt.NDArray[np.int64]
    t_us: npt.NDArray[np.int64]
    track_id: npt.NDArray[np.int64]

    @classmethod
    def read(cls, path: Path | str) -> RowTimes:
        """Read these columns alone.

        Raises:
            DetectionError: it is no Parquet file, or one of them is missing or of another kind.
        """
        rows, _, named = _rows(path, ("recording", "t_us", "track_id"))
        missing = [name for name in ("recording", "t_us") if name not in rows.column_names]
        if missing:
            raise DetectionError(f"{path}: has no column {', '.join(missing)}; found {', '.join(named) or 'none'}")
        columns = Columns(rows, path)
        names, recording = columns.names("recording")
        return cls(names, recording, columns.whole("t_us"), columns.whole("track_id"))


def empty(classes: Sequence[str] = (), metadata: Mapping[str, Any] | None = None) -> DetectionTable:
    """A table without a row."""
    none, box = np.empty(0, np.int64), np.empty((0, 4), np.float32)
    score = np.empty(0, np.float32)
    return DetectionTable((), tuple(classes), none, none, none, none, score, box, none, None, metadata or {})


def concatenated(tables: Sequence[DetectionTable]) -> DetectionTable:
    """The rows of tables of the same classes, each of recordings of its own; metadata are not kept, and embeddings
    where all that have rows have them."""
    first = np.cumsum([0, *(len(table.recordings) for table in tables)])

    def joined(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(table, name) for table in tables])

    return DetectionTable(
        tuple(name for table in tables for name in table.recordings),
        tables[0].classes,
        np.concatenate([table.recording + start for table, start in zip(tables, first)]),
        joined("t_us"),
        joined("step"),
        joined("class_id"),
        joined("score"),
        joined("xywh"),
        joined("track_id"),
        _embeddings(tables),
    )


def _embeddings(tables: Sequence[DetectionTable]) -> npt.NDArray[np.float32] | None:
    filled = [table for table in tables if len(table)] or tables
    found = [table.embedding for table in filled if table.embedding is not None]
    return np.concatenate(found) if len(found) == len(filled) else None


def read_metadata(path: Path | str) -> dict[str, Any]:
    """What a table tells of its making, without its rows.

    Raises:
        DetectionError: it cannot be read.
    """
    return metadata_of(_footer(path).metadata or {}, path)


def row_count(path: Path | str) -> int:
    """How many rows a table has.

    Raises:
        DetectionError: it cannot be read.
    """
    return int(_footer(path).num_rows)


def _footer(path: Path | str) -> pq.FileMetaData:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path | str, error: Exception) -> DetectionError:
    """Why a file cannot be read as a table."""
    if isinstance(error, FileNotFoundError):
        return DetectionError(f"{path}: no such file; expected a table of detections, as predict and evaluate write it")
    return DetectionError(f"{path}: cannot be read as a table of detections ({str(error).splitlines()[0]})")


def metadata_of(kept: Mapping[bytes, bytes], path: Path | str) -> dict[str, Any]:
    """What a table tells of its making, from what its file keeps beside the rows.

    Raises:
        DetectionError: it is not JSON.
    """
    text = kept.get(METADATA_KEY)
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise DetectionError(f"{path}: its metadata 'spikeyolo' is not JSON ({error})") from error
    return found if isinstance(found, dict) else {}


def _classes(columns: Columns, known: Sequence[str] | None) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """The class list and each row's id in it; names go before ids, where the file has both."""
    if "class" in columns:
        names, codes = columns.names("class")
        known = tuple(known) if known is not None else tuple(sorted(names))
        foreign = sorted(set(names) - set(known))
        if foreign:
            raise DetectionError(
                f"{columns.path}: holds the classes {', '.join(foreign)}; expected only {', '.join(known)}"
            )
        ids = np.array([known.index(name) for name in names] or [0], np.int64)
        return known, ids[codes]
    class_id = columns.whole("class_id")
    most = int(class_id.max(initial=-1)) + 1
    return tuple(known) if known is not None else tuple(f"class {k}" for k in range(most)), class_id
