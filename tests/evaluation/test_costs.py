"""What a network costs is measured on windows from all over the split, and again where the tables are others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import evaluate
from small_run import small_run

from spikeyolo.evaluation import costs
from spikeyolo.metrics.speed import Latency


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a run was started."""
    folder = tmp_path_factory.mktemp("costs")
    small_run(folder)
    return folder


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One number for each measurement, of which latency takes no time."""
    found: list[int] = []

    def quick(*given: Any) -> dict[str, Latency]:
        found.append(len(found))
        return {name: Latency(1.0, 1.0, 1, 1, 0.0) for name in ("encode", "network", "decode")}

    monkeypatch.setattr(costs, "latencies", quick)
    monkeypatch.setattr(costs, "WINDOWS", 4)
    return found


def test_costs_are_measured_again_where_the_tables_below_one_folder_are_others(cwd: Path, measured: list[int]) -> None:
    usual = ("checkpoint=run/checkpoints/best", "windows=as_trained", "device=cpu", "threads=1", "out=one")
    energy = []
    for changes, measurements in (
        (("split=val",), 1),
        (("split=val",), 1),
        (("split=val", "data.slice_duration_us=300"), 2),
        (("split=test", "data.dataset.test_sequences=1"), 3),
    ):
        ended = evaluate(*usual, *changes, cwd=cwd)
        assert ended.code == 0, ended.errors
        assert len(measured) == measurements, changes
        scores = json.loads((cwd / "one" / "coco" / "scores.json").read_text())
        energy.append(scores["costs"]["energy/window_mj"])
    assert energy[0] == energy[1]
    assert len(set(energy)) == 3
