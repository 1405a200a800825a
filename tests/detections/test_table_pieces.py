"""A table read piece by piece has the same rows, and less of them in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from spikeyolo.detections import DetectionTable, Looks, pieces
from spikeyolo.detections.pieces import joined, outline, read_at, read_pieces
from spikeyolo.detections.table import empty
from spikeyolo.errors import DetectionError

COLUMNS = ("recording", "t_us", "step", "class_id", "score", "xywh", "track_id")


def table(rows: int = 60, *, width: int | None = 3) -> DetectionTable:
    """Rows of two recordings, one after the other, in steps of four rows."""
    rng = np.random.default_rng(0)
    recording = np.repeat([0, 1], rows // 2)
    step = np.arange(rows) % (rows // 2) // 4
    return DetectionTable(
        ("b", "a"),
        ("car", "bus"),
        recording,
        1000 * (1 + step),
        step % 3,
        rng.integers(0, 2, rows),
        rng.random(rows).astype(np.float32),
        rng.uniform(1, 90, (rows, 4)).astype(np.float32),
        np.full(rows, -1),
        None if width is None else rng.normal(0, 1, (rows, width)).astype(np.float32),
        {"made": "here"},
    )


def assert_same(one: DetectionTable, other: DetectionTable) -> None:
    assert (one.recordings, one.classes, one.metadata) == (other.recordings, other.classes, other.metadata)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)


@pytest.mark.parametrize("width", [None, 3])
def test_the_pieces_are_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int | None) -> None:
    monkeypatch.setattr(pieces, "PIECE", 7)
    path = table(width=width).write(tmp_path / "a.parquet")
    parts = list(read_pieces(path))
    assert [len(part) for part in parts] == [7] * 8 + [4]
    whole = DetectionTable.read(path)
    assert_same(joined(parts), whole)
    if width is not None:
        np.testing.assert_array_equal(joined(parts).embedding, whole.embedding)
    assert all(part.embedding is None for part in read_pieces(path, embeddings=False))


def test_rows_at_some_times_are_those_that_the_times_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 7)
    path = table().write(tmp_path / "a.parquet")
    looks = Looks.named({"a": [2000, 2500, 8000], "b": [1000, 99_000], "c": [1000]})
    whole = DetectionTable.read(path, classes=("bus", "car"))
    found = read_at(path, looks, classes=("bus", "car"))
    assert len(found) == 12 - 2  # the eighth step of a recording has two rows
    assert_same(found, whole[looks.hold(whole)])
    assert len(read_at(path, Looks.named({}), classes=("bus", "car"))) == 0
    nothing = empty(("car",)).write(tmp_path / "none.parquet")
    assert len(read_at(nothing, looks, classes=("car",))) == 0


def test_an_outline_has_each_time_and_step_once_and_none_is_made_of_what_is_not_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 8)
    made = table()
    found = outline(made.write(tmp_path / "a.parquet"))
    assert found is not None
    places = {(made.recordings[r], t, s) for r, t, s in zip(made.recording, made.t_us, made.step, strict=True)}
    assert {(found.recordings[r], t, s) for r, t, s in zip(found.recording, found.t_us, found.step)} == places
    assert len(found) < len(made) / 2
    assert found.metadata["made"] == "here"
    order = np.arange(len(made))
    back, between = order.copy(), order.copy()
    back[[3, 8]] = 8, 3
    between[[3, 33]] = 33, 3  # a recording goes on after another began
    for wrong in (made[back], made[between], made[:0]):
        assert outline(wrong.write(tmp_path / "wrong.parquet")) is None
    rows = pq.read_table(tmp_path / "a.parquet").replace_schema_metadata(None)
    pq.write_table(rows, tmp_path / "theirs.parquet")  # tells no list of classes
    assert outline(tmp_path / "theirs.parquet") is None
    assert outline(tmp_path / "absent.parquet") is None


def test_a_piece_is_checked_as_the_table_is(tmp_path: Path) -> None:
    path = table().write(tmp_path / "a.parquet")
    rows = pq.read_table(path)
    score = rows.column("score").to_numpy().copy()
    score[5] = 2
    pq.write_table(rows.set_column(rows.column_names.index("score"), "score", [score]), path)
    with pytest.raises(DetectionError, match=r"row 5 \(b, 2000 µs\) holds a score outside 0..1"):
        list(read_pieces(path))
    with pytest.raises(DetectionError, match="no such file; expected a table of detections"):
        list(read_pieces(tmp_path / "absent.parquet"))
    assert outline(path) is None
