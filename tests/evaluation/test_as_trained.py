"""What a network was trained on is what it is scored on, or a sentence says what is not."""

from __future__ import annotations

from typing import Any

import pytest

from spikeyolo.evaluation.checkpoints import say_how_it_was_trained


def said(caplog: pytest.LogCaptureFixture, settings: dict[str, Any], *given: str, windows: str = "every") -> str:
    caplog.clear()
    caplog.set_level("INFO", "spikeyolo")
    say_how_it_was_trained({"settings": settings}, windows=windows, carry=False, slice_us=250, given=set(given))
    return caplog.text


def test_windows_of_equally_many_events_are_named_where_others_are_scored(caplog: pytest.LogCaptureFixture) -> None:
    counted = {"data": {"slicing": "by_count"}}
    for windows in ("every", "around_labels"):
        assert "windows of equally many events; scored on time steps of 250 µs" in said(caplog, counted, windows=windows)
    assert not said(caplog, counted, windows="as_trained")
    assert not said(caplog, counted, "data.slice_duration_us")
    assert not said(caplog, {"data": {"slicing": "around_labels"}})
