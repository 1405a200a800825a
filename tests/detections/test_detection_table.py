"""The table of detections: what is written is read, foreign tables are read too, and wrong values are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikeyolo.detections import DetectionTable, DetectionWriter
from spikeyolo.detections.table import concatenated, empty
from spikeyolo.errors import DetectionError

CLASSES = ("car", "bus", "tram")


def drawn(seed: int, rows: int, *, embedding: int | None = None, recordings: int = 3) -> DetectionTable:
    rng = np.random.default_rng(seed)
    return DetectionTable(
        tuple(f"drive {n}" for n in range(recordings)),
        CLASSES,
        rng.integers(0, recordings, rows),
        rng.integers(0, 10**12, rows),
        rng.integers(-1, 8, rows),
        rng.integers(0, 3, rows),
        rng.random(rows, np.float32),
        (rng.random((rows, 4)) * 500).astype(np.float32),
        rng.integers(-1, 5, rows),
        None if embedding is None else rng.random((rows, embedding), np.float32),
        {"checkpoint": "abc", "window": {"steps": 8}},
    )


def assert_equal(found: DetectionTable, expected: DetectionTable) -> None:
    assert [found.recordings[i] for i in found.recording] == [expected.recordings[i] for i in expected.recording]
    assert found.classes == expected.classes
    for name in ("t_us", "step", "class_id", "score", "xywh", "track_id"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    if expected.embedding is None:
        assert found.embedding is None
    else:
        np.testing.assert_array_equal(found.embedding, expected.embedding)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.integers(0, 200), st.sampled_from([None, 4]))
def test_what_is_written_is_read(tmp_path: Path, seed: int, rows: int, embedding: int | None) -> None:
    table = drawn(seed, rows, embedding=embedding)
    found = DetectionTable.read(table.write(tmp_path / "detections.parquet"))
    assert_equal(found, table)
    assert found.metadata == {**table.metadata, "classes": list(CLASSES)}
    assert [path.name for path in tmp_path.iterdir()] == ["detections.parquet"]


def test_pieces_of_different_recordings_become_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikeyolo.detections.writer.ROW_GROUP", 50)
    pieces = [replace(drawn(seed, 40), recordings=(f"a{seed}", "shared", "b")) for seed in range(5)]
    with DetectionWriter(tmp_path / "t.parquet", classes=CLASSES) as writer:
        for piece in pieces:
            writer.append(piece)
        assert writer.rows == 200
    found = DetectionTable.read(tmp_path / "t.parquet")
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups > 2
    expected = [piece.recordings[i] for piece in pieces for i in piece.recording]
    assert [found.recordings[i] for i in found.recording] == expected
    np.testing.assert_array_equal(found.t_us, np.concatenate([piece.t_us for piece in pieces]))


def test_names_without_a_row_and_empty_pieces_take_no_room(tmp_path: Path) -> None:
    many = drawn(0, 40, recordings=1000)
    with DetectionWriter(tmp_path / "t.parquet", classes=CLASSES) as writer:
        for _ in range(50):
            writer.append(many[:0])
        assert not writer._waiting
        writer.append(many)
        (kept,) = writer._waiting
        assert len(kept.column("recording").chunk(0).dictionary) == len(set(many.recording.tolist()))
        with pytest.raises(DetectionError, match=r"found rows of the classes \['car'\]; expected"):
            writer.append(empty(["car"]))
    found = DetectionTable.read(tmp_path / "t.parquet")
    assert_equal(found, many)
    assert set(found.recordings) == {many.recordings[index] for index in many.recording}


def test_a_table_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    path = drawn(0, 5).write(tmp_path / "t.parquet")
    before = path.read_bytes()

    def interrupted() -> None:
        with DetectionWriter(path, classes=CLASSES) as writer:
            writer.append(drawn(1, 9))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_table_of_another_program_needs_no_steps_ids_or_tracks(tmp_path: Path) -> None:
    columns = {"recording": ["a", "b"], "t_us": [5, 7], "score": [0.5, 1.0], "class": ["tram", "car"]}
    columns |= {side: [1.0, 2.0] for side in "xywh"}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    found = DetectionTable.read(tmp_path / "t.parquet", classes=CLASSES)
    assert found.class_id.tolist() == [2, 0]
    assert found.step.tolist() == found.track_id.tolist() == [-1, -1]
    assert found.xyxy.tolist() == [[1, 1, 2, 2], [2, 2, 4, 4]]
    assert DetectionTable.read(tmp_path / "t.parquet").classes == ("car", "tram")
    with pytest.raises(DetectionError, match=r"t.parquet: holds the classes tram; expected only car, bus"):
        DetectionTable.read(tmp_path / "t.parquet", classes=("car", "bus"))


def test_embeddings_may_be_left_unread_and_are_joined_where_all_rows_have_them(tmp_path: Path) -> None:
    first, second, none = drawn(0, 5, embedding=4), drawn(1, 3, embedding=4), drawn(2, 2)
    path = first.write(tmp_path / "t.parquet")
    assert DetectionTable.read(path, embeddings=False).embedding is None
    joined = concatenated([first, empty(CLASSES), second]).embedding
    assert joined is not None
    np.testing.assert_array_equal(joined, np.concatenate((first.embedding, second.embedding)))  # type: ignore[arg-type]
    assert concatenated([first, none]).embedding is None
    wide = DetectionTable.read(empty(CLASSES).write(tmp_path / "none.parquet"))
    assert wide.embedding is None


def test_embeddings_of_another_program_are_lists_of_one_length(tmp_path: Path) -> None:
    columns = {"recording": ["a", "b"], "t_us": [5, 7], "score": [0.5, 1.0], "class": ["tram", "car"]}
    columns |= {side: [1.0, 2.0] for side in "xywh"}
    pq.write_table(pa.table(columns | {"embedding": [[0.6, 0.8], [1.0, 0.0]]}), tmp_path / "t.parquet")
    found = DetectionTable.read(tmp_path / "t.parquet").embedding
    np.testing.assert_array_equal(found, np.array([[0.6, 0.8], [1.0, 0.0]], np.float32))  # type: ignore[arg-type]
    pq.write_table(pa.table(columns | {"embedding": [[0.6], [1.0, 0.0]]}), tmp_path / "t.parquet")
    with pytest.raises(
        DetectionError, match=r"t.parquet: embedding holds 1 to 2 numbers; expected as many in each row"
    ):
        DetectionTable.read(tmp_path / "t.parquet")
    pq.write_table(pa.table(columns | {"embedding": ["x", "y"]}), tmp_path / "t.parquet")
    with pytest.raises(DetectionError, match="embedding holds string; expected lists of numbers"):
        DetectionTable.read(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("column", "values", "sentence"),
    [
        ("recording", ["a", None], "row 1 has no recording; expected one in each row"),
        ("t_us", [None, 7], "row 0 has no t_us"),
        ("t_us", ["soon", "later"], "t_us holds string; expected whole numbers"),
        ("t_us", [0.5, 7.0], "t_us holds double; expected whole numbers"),
        ("score", ["high", "low"], "score holds string; expected numbers"),
        ("score", [None, 1.0], r"row 0 \(a, 5 µs\) holds a score outside 0\.\.1"),
        ("x", [1.0, None], "a box that is not finite"),
        ("class", ["car", None], "row 1 has no class"),
    ],
)
def test_a_column_of_another_kind_or_without_a_value_is_refused(
    tmp_path: Path, column: str, values: list[object], sentence: str
) -> None:
    columns = {"recording": ["a", "b"], "t_us": [5, 7], "score": [0.5, 1.0], "class": ["tram", "car"]}
    columns |= {side: [1.0, 2.0] for side in "xywh"}
    pq.write_table(pa.table(columns | {column: values}), tmp_path / "t.parquet")
    with pytest.raises(DetectionError, match=rf"t\.parquet: .*{sentence}"):
        DetectionTable.read(tmp_path / "t.parquet")


@pytest.mark.parametrize("name", ["recording", "t_us", "score", "w", "class"])
def test_a_missing_column_is_named(tmp_path: Path, name: str) -> None:
    columns = {"recording": ["a"], "t_us": [5], "score": [0.5], "class": ["car"]} | {side: [1.0] for side in "xywh"}
    del columns[name]
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(DetectionError, match=rf"t\.parquet: has no column {name}; found "):
        DetectionTable.read(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("xywh", np.nan, r"row 3 \(drive \d, \d+ µs\) holds a box that is not finite; expected none"),
        ("xywh", -1.0, "a box of negative size"),
        ("score", 1.5, r"a score outside 0\.\.1"),
        ("score", np.nan, r"a score outside 0\.\.1"),
        ("class_id", 3, r"a class id outside 0\.\.2"),
    ],
)
def test_a_value_that_is_none_is_refused_with_its_row(tmp_path: Path, column: str, value: float, sentence: str) -> None:
    table = drawn(0, 8)
    getattr(table, column)[3] = value
    with pytest.raises(DetectionError, match=sentence):
        table.write(tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("boxes")
    with pytest.raises(DetectionError, match="cannot be read as a table of detections"):
        DetectionTable.read(tmp_path / "t.parquet")
    with pytest.raises(DetectionError, match="no such file"):
        DetectionTable.read(tmp_path / "absent.parquet")


def test_an_empty_table_is_a_table(tmp_path: Path) -> None:
    found = DetectionTable.read(empty(CLASSES).write(tmp_path / "t.parquet"))
    assert (len(found), found.classes) == (0, CLASSES)
