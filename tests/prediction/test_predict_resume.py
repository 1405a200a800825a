"""A prediction that was stopped or killed goes on where it was, to the same rows in every digit."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command_line import predict
from format_writers import write_evt2
from small_recording import drawn, same
from small_run import small_run

import spikeyolo
from spikeyolo.detections import DetectionTable
from spikeyolo.engine.guards.interrupt import StopRequested, StopWatch
from spikeyolo.events.filters import EventFilters
from spikeyolo.prediction import parts as module
from spikeyolo.prediction.detecting import Detecting
from spikeyolo.prediction.parts import Parts
from spikeyolo.prediction.reading import Reading
from spikeyolo.prediction.run import Prediction, write_table
from spikeyolo.prediction.sources import inputs_at
from spikeyolo.prediction.trained import Trained

FILE = write_evt2(drawn(6000, 3900))


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    small_run(folder)
    (folder / "one.raw").write_bytes(FILE)
    (folder / "two.raw").write_bytes(write_evt2(drawn(seed=1)))
    return folder


@pytest.fixture(scope="module")
def trained(cwd: Path) -> Trained:
    return spikeyolo.load(cwd / "run" / "checkpoints" / "best", device="cpu").trained


def begun(cwd: Path, trained: Trained, folder: Path, *, carry: bool) -> Prediction:
    detecting = Detecting(carry=carry, confidence=0.3, hop_us=300).checked(trained)
    parts = Parts(folder, identity={"carry": carry}, classes=trained.classes)
    reading = Reading(filters=EventFilters(background_us=300))
    inputs = inputs_at([str(cwd / "one.raw"), str(cwd / "two.raw")])
    return Prediction(trained, detecting, inputs, reading, parts)


def gone_on(prediction: Prediction, *, windows: int | None = None) -> DetectionTable | None:
    """The table; None where it is stopped after so many windows, of which what the disk has is kept."""
    stop, done = StopWatch(), 0

    def tell(number: int, total: int | None, text: str) -> None:
        nonlocal done
        done += 1
        stop.requested = done == windows

    try:
        prediction.go(stop, tell)
    except StopRequested:
        return None
    file = prediction.parts.folder.with_suffix(".parquet")
    write_table(prediction.parts, file, metadata={})
    return DetectionTable.read(file)


@pytest.mark.parametrize("carry", [True, False])
@pytest.mark.parametrize("saved_s", [0.0, 1e9])  # killed with every window on the disk, or stopped and then saved
def test_one_that_is_stopped_at_any_window_equals_one_that_was_not(
    cwd: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, carry: bool, saved_s: float
) -> None:
    monkeypatch.setattr(module, "SAVE_S", saved_s)
    whole = gone_on(begun(cwd, trained, tmp_path / "whole", carry=carry))
    assert whole is not None
    assert set(whole.recordings) == {"one", "two"}
    found = None
    stops = 0
    for windows in (2, 1, 5, 1, 7, 3, None):
        prediction = begun(cwd, trained, tmp_path / "parts", carry=carry)
        found = gone_on(prediction, windows=windows)
        if saved_s and windows is not None:
            prediction.parts.save()
        stops += found is None
        if found is not None:
            break
    assert stops >= 3
    assert found is not None
    same(found, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_table_and_the_same_command_goes_on_though_the_file_has_grown(
    cwd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(module, "SAVE_S", 0.0)
    growing = tmp_path / "one.raw"
    growing.write_bytes(FILE[:-9000])
    run = cwd / "run" / "checkpoints" / "best"
    common = (f"checkpoint={run}", "device=cpu", "confidence=0.3", "out=out", "source=one.raw")

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("out/detections.parts/*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    stopped = predict(*common, "follow=true", "timeout=60.0", cwd=tmp_path)
    interrupting.join()
    assert stopped.code == 130
    assert "the same command goes on from there" in stopped.errors
    table = DetectionTable.read(tmp_path / "out" / "detections.parquet")
    assert table.metadata["complete"] is False
    assert len(table)
    growing.write_bytes(FILE)
    ended = predict(*common, "follow=true", "timeout=0.3", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    assert "going on with what is done" in ended.errors
    assert "gave nothing for 0.3 s, which is taken as its end (timeout)" in ended.errors
    found = DetectionTable.read(tmp_path / "out" / "detections.parquet")
    assert found.metadata["complete"] is True
    whole = predict(*common, "fresh=true", cwd=tmp_path)
    assert whole.code == 0
    same(found, DetectionTable.read(tmp_path / "out" / "detections.parquet"))


def test_a_live_recording_that_breaks_off_leaves_the_table_of_what_was_found(
    cwd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVE_S", 0.0)
    growing = tmp_path / "one.raw"
    growing.write_bytes(FILE)

    def shorten() -> None:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("out/detections.parts/*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.01)
        monkeypatch.setattr(module, "SAVE_S", 3600.0)  # what comes now is in no part until the end
        os.truncate(growing, 100)

    shortening = threading.Thread(target=shorten)
    shortening.start()
    common = (f"checkpoint={cwd / 'run' / 'checkpoints' / 'best'}", "device=cpu", "confidence=0.3", "out=out")
    broken = predict(*common, "source=one.raw", "follow=true", "timeout=60.0", cwd=tmp_path)
    shortening.join()
    assert broken.code == 2
    assert "became shorter while it was read" in broken.errors
    assert "the table holds what was found until then" in broken.errors
    table = DetectionTable.read(tmp_path / "out" / "detections.parquet")
    assert table.metadata["complete"] is False
    whole = predict(*common[:-1], f"source={cwd / 'one.raw'}", "out=whole", cwd=tmp_path)
    assert whole.code == 0
    every = DetectionTable.read(tmp_path / "whole" / "detections.parquet")
    until = table.metadata["ended"]["one"]["end_us"]
    same(table, every[every.t_us <= until])  # of every window that was done, the last of them too
    assert until > 0


def test_one_recording_of_several_that_is_damaged_is_named_and_the_others_are_in_the_table(
    cwd: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.raw").write_bytes((cwd / f"{name}.raw").read_bytes())
    (tmp_path / "middle.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    arguments = (f"checkpoint={cwd}/run/checkpoints/best", "device=cpu", "confidence=0.3", "out=out", "source=.")
    for _ in range(2):  # again: not taken for done
        ended = predict(*arguments, cwd=tmp_path)
        assert ended.code == 2
        assert "1 of 3 recordings failed; the first: " in ended.error_lines[-1]
        assert "middle.h5" in ended.error_lines[-1]
        table = DetectionTable.read(tmp_path / "out" / "detections.parquet")
        assert set(table.recordings) == {"one", "two"}
        assert list(table.metadata["failed"]) == ["middle"]


def test_a_full_disk_is_said_and_what_was_there_stays(
    cwd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (f"checkpoint={cwd}/run/checkpoints/best", "device=cpu", f"source={cwd}/one.raw", "out=out")
    assert predict(*arguments, cwd=tmp_path).code == 0
    before = (tmp_path / "out" / "detections.parquet").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", full)
        ended = predict(*arguments, "confidence=0.5", cwd=tmp_path)
    assert ended.code == 2
    assert "cannot be written (No space left on device)" in ended.error_lines[0]
    assert (tmp_path / "out" / "detections.parquet").read_bytes() == before
    assert not list(tmp_path.rglob("*.partial*"))
