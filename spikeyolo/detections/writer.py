"""Writing a table of detections piece by piece, in constant memory; it appears whole, when it is closed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from spikeyolo.detections.table import METADATA_KEY, DetectionTable
from spikeyolo.errors import DetectionError

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = 65536  # rows that are gathered before they are written


class DetectionWriter:
    """A Parquet file that grows beside its path and is renamed into place at the end of a ``with`` block.

    Args:
        path: of the file; what lies there is replaced at the end.
        classes: names, in the order of class ids.
        embedding: length of the rows' embeddings; None: there are none.
        metadata: JSON values, kept in the file.

    Attributes:
        metadata: may be added to until the end of the block, which writes it.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        classes: Sequence[str],
        embedding: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.classes = tuple(classes)
        self.metadata: dict[str, Any] = {**(metadata or {}), "classes": list(classes)}
        self.rows = 0
        self._embedding = embedding
        self._partial = self.path.with_name(f"{self.path.name}.partial-{os.getpid()}")
        self._file: Any = None
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0

    def __enter__(self) -> Self:
        import pyarrow.parquet as pq

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = pq.ParquetWriter(self._partial, self._schema(), compression="zstd")
        except OSError as error:
            raise self._cannot(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
                self._file.add_key_value_metadata({METADATA_KEY.decode(): json.dumps(self.metadata, allow_nan=False)})
            self._file.close()
            if kind is None:
                os.replace(self._partial, self.path)
        except OSError as failed:
            raise self._cannot(failed) from failed
        finally:
            self._partial.unlink(missing_ok=True)

    def append(self, table: DetectionTable) -> None:
        """Take in the rows of a table of the same classes.

        Raises:
            DetectionError: its classes differ, a value is none, or the file cannot be written.
        """
        if table.classes != self.classes:
            raise DetectionError(
                f"{self.path}: found rows of the classes {list(table.classes)}; expected {list(self.classes)}"
            )
        if not len(table):  # most steps of a sparse recording: nothing is to be kept of them
            return
        table.check(str(self.path))
        self._waiting.append(_rows(table, self._schema()))
        self._waiting_rows += len(table)
        self.rows += len(table)
        if self._waiting_rows >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting_rows:
            try:
                self._file.write_table(pa.concat_tables(self._waiting).unify_dictionaries(), row_group_size=ROW_GROUP)
            except OSError as error:
                raise self._cannot(error) from error
        self._waiting, self._waiting_rows = [], 0

    def _schema(self) -> pa.Schema:
        import pyarrow as pa

        name = pa.dictionary(pa.int32(), pa.string())
        columns = [("recording", name), ("t_us", pa.int64()), ("step", pa.int32()), ("class_id", pa.int32())]
        columns += [("class", name), ("score", pa.float32()), *((side, pa.float32()) for side in "xywh")]
        columns += [("track_id", pa.int64())]
        if self._embedding is not None:
            columns.append(("embedding", pa.list_(pa.float32(), self._embedding)))
        return pa.schema(columns)

    def _cannot(self, error: OSError) -> DetectionError:
        return DetectionError(f"{self.path}: cannot be written ({error.strerror or error})")


def _rows(table: DetectionTable, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    def named(codes: Any, names: Sequence[str]) -> pa.Array:
        used, codes = np.unique(codes, return_inverse=True)  # of hundreds of recordings, a window's rows name a few
        values = pa.array([names[code] for code in used], pa.string())
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), values)

    def nullable(values: Any, kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind, mask=values < 0)

    columns = [
        named(table.recording, table.recordings),
        pa.array(table.t_us),
        nullable(table.step, pa.int32()),
        pa.array(table.class_id, pa.int32()),
        named(table.class_id, table.classes),
        pa.array(table.score),
        *(pa.array(table.xywh[:, side]) for side in range(4)),
        nullable(table.track_id, pa.int64()),
    ]
    if "embedding" in schema.names:
        if table.embedding is None:
            raise DetectionError("rows without an embedding; expected one in each, as in the rows before")
        columns.append(
            pa.FixedSizeListArray.from_arrays(pa.array(table.embedding.reshape(-1)), table.embedding.shape[1])
        )
    return pa.Table.from_arrays(columns, schema=schema)
