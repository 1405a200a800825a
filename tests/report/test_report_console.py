"""Progress reaches a person as a bar on a terminal, and as few plain lines elsewhere."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.report import console as module
from spikeyolo.report.console import Console, brief_time
from spikeyolo.report.environment import device_name, git_state, run_tags

ON_A_TERMINAL = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
from spikeyolo.report.console import Console
console = Console()
assert console.live
with console.progress("epoch 1", 3) as advance:
    for step in range(3):
        advance(f"loss {3 - step}.50")
        sys.stdin.readline()  # whoever watches has seen the bar move
        logging.info("a line of the log")
console.epoch_line(1, {"train/loss": 1.23456, "val/map50": 0.5})
"""


def test_off_a_terminal_lines_come_only_after_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    stream = io.StringIO()
    console = Console(stream=stream, line_interval_s=10.0)
    assert not console.live
    with console.progress("epoch 3", 100) as advance:
        for _ in range(100):
            clock[0] += 0.3
            advance("loss 1.50")
    assert stream.getvalue().splitlines() == [
        "epoch 3: 34/100, 20 s left  loss 1.50",
        "epoch 3: 68/100, 10 s left  loss 1.50",
    ]


@pytest.mark.parametrize("begins", [True, False], ids=["told that it begins", "told of what is done only"])
def test_what_is_left_is_told_once_some_steps_after_the_first_tell_it(
    begins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    stream = io.StringIO()
    with Console(stream=stream, line_interval_s=1.0).stages("making") as tell:
        if begins:
            tell(0, 32, "")
        for done, seconds in enumerate((17, 2, 2, 2), start=1):  # the first compiles
            clock[0] += seconds
            tell(done, 32, "")
    assert stream.getvalue().splitlines() == [
        "making: 1/32", "making: 2/32", "making: 3/32, 58 s left", "making: 4/32, 56 s left",
    ]  # fmt: skip


def test_stages_that_do_not_come_leave_no_trace() -> None:
    stream = io.StringIO()
    with Console(stream=stream).stages("making recordings"):
        pass
    assert stream.getvalue() == ""


def test_an_epoch_is_one_line() -> None:
    stream = io.StringIO()
    Console(stream=stream).epoch_line(7, {"train/loss": 1.23456, "val/map50": float("nan")})
    assert stream.getvalue() == "epoch 7  train/loss 1.235  val/map50 nan\n"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_on_a_terminal_the_bar_moves_and_log_lines_stay_whole() -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL],
        stdin=subprocess.PIPE,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(follower)
    assert process.stdin is not None
    shown = b""
    answered = 0
    try:
        while piece := os.read(leader, 4096):
            shown += piece
            if answered < 3 and f"{answered + 1}/3".encode() in shown:
                answered += 1
                process.stdin.write(b"\n")
                process.stdin.flush()
    except OSError:
        pass  # the terminal's other end is closed
    os.close(leader)
    assert process.wait(timeout=300) == 0, shown.decode()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
    assert lines.count("a line of the log") == 3
    assert any(line.startswith("epoch 1") and "2/3" in line and "loss 2.50" in line for line in lines)
    assert lines[-2] == "epoch 1  train/loss 1.235  val/map50 0.5"


def test_log_handlers_get_their_stream_back(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    try:
        with module.log_lines_above(stream):
            assert handler.stream is sys.stderr
        assert handler.stream is stream
    finally:
        logging.getLogger().removeHandler(handler)


@given(seconds=st.floats(0, 1e6))
def test_a_time_span_reads_back_to_the_second_or_the_minute(seconds: float) -> None:
    parts = {unit: int(number) for number, unit in re.findall(r"(\d+) (h|min|s)", brief_time(seconds))}
    total = parts.get("h", 0) * 3600 + parts.get("min", 0) * 60 + parts.get("s", 0)
    assert abs(total - seconds) <= (60.5 if "h" in parts else 0.5)
    assert parts.get("s", 0) < 60
    assert parts.get("h", 0) == 0 or parts["min"] < 60


def test_tags_tell_where_a_run_took_place() -> None:
    tags = run_tags(device="cpu")
    assert tags["device"] == "cpu"
    assert tags["device_name"] == device_name("cpu") != ""
    assert re.fullmatch(r"\d+\.\d+.*", tags["version.torch"])
    assert all(isinstance(value, str) and value for value in tags.values())


def test_the_commit_is_known_inside_a_repository_only(tmp_path: Path) -> None:
    assert git_state(tmp_path) == (None, False)

    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            check=True,
            capture_output=True,
        )

    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first")
    commit, dirty = git_state(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{40}", commit or "")
    assert not dirty
    (tmp_path / "file").write_text("2")
    assert git_state(tmp_path) == (commit, True)
    (tmp_path / "installed").mkdir()
    assert git_state(tmp_path / "installed") == (None, False)


def test_where_nobody_knows_the_total_only_what_is_done_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    stream = io.StringIO()
    with Console(stream=stream, line_interval_s=10.0).stages("predicting") as tell:
        clock[0] += 11
        tell(7, None, "3 windows/s, 2.3 × real time")
    assert stream.getvalue() == "predicting: 7  3 windows/s, 2.3 × real time\n"
