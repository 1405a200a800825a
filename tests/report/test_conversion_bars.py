"""What is shown while recordings are converted."""

from __future__ import annotations

import io

import pytest

from spikeyolo.events.conversion.pool import Running
from spikeyolo.report.recordings import ConversionBars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_how_far_the_whole_and_each_file_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    screen = Terminal()
    with ConversionBars(["a", "b"], stream=screen) as bars:
        bars.watch([Running(0, 2_500_000, 0.25)])
        bars._bars.refresh()
        bars.finished("a", "converted", "")
        bars.watch([Running(0, -1, 1.0), Running(1, 9_000_000, 0.9)])
        bars._bars.refresh()
    shown = screen.getvalue()
    assert "25%" in shown
    assert "2.5 M events" in shown
    assert "1/2" in shown
    assert "50%" in shown
    assert "90%" in shown


def test_without_a_terminal_each_end_is_a_line() -> None:
    stream = io.StringIO()
    with ConversionBars(["a", "b"], stream=stream) as bars:
        bars.watch([Running(0, 10, 0.5)])
        bars.finished("a", "converted", "")
        bars.finished("b", "failed", "b.raw: truncated")
    assert stream.getvalue().splitlines() == ["1/2 a: converted", "2/2 b: failed b.raw: truncated"]
