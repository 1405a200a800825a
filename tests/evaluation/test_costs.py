"""What a network costs is measured on windows from all over the split, and again where the tables are others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import evaluate
from small_run import small_run

from spikeyolo.evaluation import costs
from spikeyolo.evaluation.looks import Stretch
from spikeyolo.metrics.speed import Latency

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a run was started."""
    folder = tmp_path_factory.mktemp("costs")
    small_run(folder)
    return folder


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[int, int]]]:
    """Of each measurement, in which latency takes no time, recording and end of the windows that are timed."""
    found: list[list[tuple[int, int]]] = []

    def quick(restored: Any, looks: Any, stretches: Sequence[Stretch], detecting: Any) -> dict[str, Latency]:
        found.append([(int(one.recording[0]), int(one.ends_us[-1, 0])) for one in stretches])
        return {name: Latency(1.0, 1.0, 1, 1, 0.0) for name in ("encode", "network", "decode")}

    monkeypatch.setattr(costs, "latencies", quick)
    monkeypatch.setattr(costs, "WINDOWS", 8)
    monkeypatch.setattr(costs, "TIMED", 4)
    return found


def test_costs_are_of_the_whole_split_and_measured_again_where_the_tables_below_one_folder_are_others(
    cwd: Path, measured: list[list[tuple[int, int]]]
) -> None:
    usual = ("checkpoint=run/checkpoints/best", "windows=every", "steps=scored", "device=cpu", "threads=1", "out=one")
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
    # Of the 29 whole windows of 400 µs of each of the two recordings of val.
    assert [(recording, end // 400) for recording, end in measured[0]] == [(0, 11), (0, 26), (1, 11), (1, 26)]
