"""What a network was trained on is what it is scored on, or a sentence says what is not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import evaluate
from small_run import small_run

import spikeyolo
from spikeyolo.errors import ConfigError
from spikeyolo.evaluation import costs
from spikeyolo.evaluation.checkpoints import say_how_it_was_trained
from spikeyolo.windows.encoders import HistogramEncoder

pytestmark = pytest.mark.usefixtures("undrawn")


def said(caplog: pytest.LogCaptureFixture, settings: dict[str, Any], *given: str, windows: str = "every") -> str:
    caplog.clear()
    caplog.set_level("INFO", "spikeyolo")
    say_how_it_was_trained({"settings": settings}, windows=windows, carry=False, slice_us=250, given=set(given))
    return caplog.text


def test_windows_of_equally_many_events_are_named_where_others_are_scored(caplog: pytest.LogCaptureFixture) -> None:
    counted = {"data": {"slicing": "by_count"}}
    for windows in ("every", "around_labels"):
        found = said(caplog, counted, windows=windows)
        assert "windows of equally many events; scored on time steps of 250 µs" in found
    assert not said(caplog, counted, windows="as_trained")
    assert not said(caplog, counted, "data.slice_duration_us")
    assert not said(caplog, {"data": {"slicing": "around_labels"}})


def test_a_validation_that_pooled_time_steps_is_named_and_not_promised(caplog: pytest.LogCaptureFixture) -> None:
    pooled = {"evaluator": {"steps": "all"}}
    assert "evaluator.steps=all" in said(caplog, pooled, windows="around_labels")
    with pytest.raises(ConfigError, match=r"windows: found as_trained, .*evaluator\.steps=all.*; expected windows="):
        said(caplog, pooled, windows="as_trained")
    assert not said(caplog, {"evaluator": {"steps": "last"}}, windows="as_trained")
    # In lanes each step was scored by itself, whatever the key says.
    assert "evaluator.steps" not in said(caplog, {**pooled, "data": {"sampling": "streaming"}})


def test_a_network_that_was_trained_on_thinned_windows_sees_no_others_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, seen = 40, dict[str, int]()
    real = HistogramEncoder.encode

    def encode(self: HistogramEncoder, packed: Any, **given: Any) -> Any:
        caller = sys._getframe(1).f_code
        place = f"{Path(caller.co_filename).stem}.{caller.co_name}"
        seen[place] = max(seen.get(place, 0), len(packed))
        return real(self, packed, **given)

    monkeypatch.setattr(HistogramEncoder, "encode", encode)
    monkeypatch.setattr(costs, "WINDOWS", 2)
    monkeypatch.setattr(costs, "TIMED", 2)
    small_run(tmp_path, f"data.max_events_per_sample={limit}")
    other = ("data=synthetic", "data.store=other", "data.dataset.val_sequences=1", "data.dataset.duration_us=6000")
    quick = ("checkpoint=run/checkpoints/best", "split=val", "windows=every", "device=cpu", "threads=1")
    size = ("data.dataset.width=64", "data.dataset.height=64", "data.dataset.size_max_px=30")
    ended = evaluate(*quick, *other, *size, cwd=tmp_path)
    assert ended.code == 0, ended.errors
    (recording,) = (tmp_path / "other").rglob("val/*.zarr")
    events = spikeyolo.open(recording)
    for carry in (False, True):
        spikeyolo.load(tmp_path / "run" / "checkpoints" / "best", device="cpu").predict(
            events, carry=carry, hop_us=100 if carry else None
        )
        seen[f"predict carry={carry}"] = seen.pop("detecting.__iter__")
    everywhere = ("dataset.__getitem__", "looks._unlabelled", "costs.encode", "pictures.draw_worst")
    expected = dict.fromkeys((*everywhere, "predict carry=False"), limit)
    assert seen == {**expected, "predict carry=True": limit // 4}  # one of a window's four time steps at once
