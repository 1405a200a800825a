"""What a sweep asks of a run: held against the known figures before training, and never a crash after it."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import pytest
from command_line import SMOKE, run_folder, train

from spikeyolo.training.objective import chosen

LONELY = (
    "data.dataset.val_sequences=1",
    "data.dataset.objects_max=1",
    "data.max_samples_per_file=2",
    "trainer.max_epochs=1",
    "logger=none",
)


def test_every_figure_of_a_run_was_known_before_it_and_an_absent_class_is_undefined(tmp_path: Path) -> None:
    wanted = [f"val/ap50/{name}" for name in ("disc", "triangle", "cross")]
    ended = train(*SMOKE, *LONELY, f"objective=[{','.join(wanted)}]", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    figures = json.loads((run_folder(tmp_path) / "metrics.json").read_text())
    absent = [name for name in wanted if figures[name] is None]
    assert len(absent) == 2
    for name in wanted:
        assert (f"objective: {name} is not defined for this run" in ended.errors) == (name in absent)
    # Each of them can be an objective: all are found to be known, and only then is the recording missing.
    known = ",".join(f"'{name}'" for name in figures)
    other = ("data=recording", "data.events=nowhere", "data.classes=[disc,triangle,cross]", "data.train_until_us=1")
    refused = train(*other, "logger=none", f"objective=[{known}]", cwd=tmp_path)
    assert refused.errors.startswith("error: nowhere: no such recording")


def test_a_figure_that_is_not_a_number_is_handed_on_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        values = chosen({"val/map": 0.5, "val/ap/bus": math.nan}, ["val/map", "val/ap/bus"])
    assert isinstance(values, tuple)
    assert values[0] == 0.5
    assert math.isnan(values[1])
    assert len(caplog.messages) == 1
