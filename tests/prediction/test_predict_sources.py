"""Recordings of any kind reach the network alike: files, stored ones, folders, globs, lists, buckets, and live ones."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import convert, environment, predict
from format_writers import write_dat, write_evt2, write_evt3, write_evt21
from hypothesis import given
from hypothesis import strategies as st
from small_recording import drawn
from small_run import small_run

from spikeyolo.detections import DetectionTable
from spikeyolo.errors import RecordingError
from spikeyolo.events import Events
from spikeyolo.events.formats import open_recording
from spikeyolo.events.formats.live import LiveSource

FILE = write_evt2(drawn())


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    small_run(folder)
    for place in ("recording.raw", "raw/one.raw", "raw/deeper/one.raw"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(FILE)
    assert convert("source=recording.raw", "out=stored", "previews=0", cwd=folder).code == 0
    return folder


def table(cwd: Path, *overrides: str) -> DetectionTable:
    ended = predict("checkpoint=run/checkpoints/best", "device=cpu", "confidence=0.3", *overrides, cwd=cwd)
    assert ended.code == 0, ended.errors
    return DetectionTable.read(cwd / ended.output.splitlines()[-1])


@pytest.fixture(scope="module")
def expected(cwd: Path) -> DetectionTable:
    return table(cwd, "source=recording.raw")


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("stored", ["recording"]),
        ("stored/recording.zarr", ["recording"]),
        ("stored/*.zarr", ["recording"]),
        ("raw", ["deeper/one", "one"]),
        ("raw/**/*.raw", ["deeper/one", "one"]),
        ("[raw/one.raw,stored/recording.zarr]", ["one", "recording"]),
    ],
)
def test_each_recording_of_a_source_gives_the_rows_it_gives_alone(
    cwd: Path, expected: DetectionTable, source: str, names: list[str]
) -> None:
    found = table(cwd, f"source={source}" if source.startswith("[") else f"source='{source}'")
    assert sorted(found.recordings) == names == sorted(found.metadata["recordings"])
    for index, name in enumerate(found.recordings):
        rows = found[found.recording == index]
        np.testing.assert_array_equal(rows.t_us, expected.t_us)
        np.testing.assert_array_equal(rows.score, expected.score)
        assert found.metadata["ended"][name]["span_us"] == expected.metadata["ended"]["recording"]["span_us"]


def test_recordings_in_a_bucket_are_fetched_or_read_there(cwd: Path, expected: DetectionTable, bucket: str) -> None:
    import s3fs

    files = s3fs.S3FileSystem()
    files.pipe_file(f"{bucket}/raw/one.raw", FILE)
    files.put(str(cwd / "stored"), f"{bucket}/stored", recursive=True)
    for source in (f"{bucket}/raw/one.raw", f"{bucket}/raw", f"{bucket}/stored"):
        found = table(cwd, f"source={source}")
        np.testing.assert_array_equal(found.score, expected.score)


def test_events_are_cleaned_by_the_rules_and_left_out_by_the_filters_that_are_given(cwd: Path) -> None:
    dirty = drawn()
    dirty.x[5] = 70
    (cwd / "dirty.raw").write_bytes(write_evt2(Events(dirty.t, dirty.x, dirty.y, dirty.p, 64, 64)))
    found = table(cwd, "source=dirty.raw", "filters.region=[0,0,32,64]")
    notes = found.metadata["ended"]["dirty"]
    assert notes["event_counts"]["outside_sensor"] == 1
    assert notes["filter_counts"]["outside_region"] > 1000
    mapped = table(cwd, "source=dirty.raw", "filters={region:[0,0,32,64]}", "out=mapped")
    assert mapped.metadata["ended"]["dirty"]["filter_counts"] == notes["filter_counts"]
    ended = predict(
        "checkpoint=run/checkpoints/best", "source=dirty.raw", "event_rules.strict=true", "out=strict", cwd=cwd
    )
    assert "event 5 lies at x=70" in ended.error_lines[0]
    assert not (cwd / "strict").exists()
    ended = predict("checkpoint=run/checkpoints/best", "source=stored", "filters.background_us=9", cwd=cwd)
    assert "filters.background_us: found beside the stored recording recording" in ended.error_lines[0]


def test_a_file_that_ends_within_a_word_is_predicted_on_up_to_there_and_that_is_said(
    cwd: Path, expected: DetectionTable
) -> None:
    (cwd / "cut.raw").write_bytes(FILE + b"\x01")
    ended = predict("checkpoint=run/checkpoints/best", "confidence=0.3", "source=cut.raw", "out=cut", cwd=cwd)
    assert ended.code == 0
    assert ended.errors.count("truncated, 1 bytes of an unfinished event") == 1
    np.testing.assert_array_equal(DetectionTable.read(cwd / "cut" / "detections.parquet").score, expected.score)


@pytest.mark.parametrize("write", [write_evt2, write_evt21, write_evt3, write_dat])
@pytest.mark.parametrize("piece", [3, 1000, 1 << 20])
def test_a_file_that_grows_gives_the_events_of_the_whole_file(tmp_path: Path, write: object, piece: int) -> None:
    whole = write(drawn(700))  # type: ignore[operator]
    (tmp_path / "whole.raw").write_bytes(whole)
    reader = open_recording(tmp_path / "whole.raw")
    events = Events.concatenate(list(reader.batches()))
    growing = tmp_path / "growing.raw"
    growing.write_bytes(whole[:400])

    def grow() -> None:
        with growing.open("ab") as file:
            for first in range(400, len(whole), piece):
                file.write(whole[first : first + piece])
                file.flush()
                if piece > 3:
                    time.sleep(0.01)

    writer = threading.Thread(target=grow)
    writer.start()
    with LiveSource(str(growing), timeout_s=0.5).open() as live:
        found = Events.concatenate(list(live.batches()))
        writer.join()
        assert live.time_offset_us == reader.time_offset_us
    for name in "txyp":
        np.testing.assert_array_equal(getattr(found, name), getattr(events, name))


@given(st.integers(1, 200), st.integers(1, 64))
def test_a_pipe_gives_the_same_events_however_its_bytes_come(count: int, piece: int) -> None:
    whole = write_evt3(drawn(count))
    source, sink = os.pipe()

    def feed() -> None:
        with os.fdopen(sink, "wb", buffering=0) as file:
            for first in range(0, len(whole), piece):
                file.write(whole[first : first + piece])

    feeder = threading.Thread(target=feed)
    feeder.start()
    with LiveSource(f"/dev/fd/{source}", timeout_s=5).open() as live:
        found = Events.concatenate(list(live.batches()))
    feeder.join()
    os.close(source)
    expected = drawn(count)
    for name in "txyp":
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_standard_input_is_a_source(cwd: Path, expected: DetectionTable) -> None:
    arguments = [
        "checkpoint=run/checkpoints/best",
        "device=cpu",
        "confidence=0.3",
        "source=-",
        "out=piped",
        "track=true",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "spikeyolo.predict", *arguments],
        cwd=cwd,
        input=FILE,
        env=environment(),
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    found = DetectionTable.read(cwd / "piped" / "detections.parquet")
    assert found.recordings == ("stdin",)
    order = np.lexsort((found.class_id, -found.score, found.t_us))
    other = np.lexsort((expected.class_id, -expected.score, expected.t_us))
    np.testing.assert_array_equal(found.score[order], expected.score[other])


def test_a_live_source_that_cannot_be_followed_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (tmp_path / "none.raw").write_bytes(b"")
    (tmp_path / "unsized.raw").write_bytes(FILE.replace(b";height=64;width=64", b""))
    for name, sentence in (
        ("absent.raw", "no such file; expected a recording that grows"),
        ("none.raw", "gave no byte within 0.1 s before its end"),
        ("a.h5", "a.h5"),
        ("unsized.raw", "names no sensor size; expected size="),
    ):
        with pytest.raises(RecordingError, match=sentence), LiveSource(str(tmp_path / name), timeout_s=0.1).open():
            pass
