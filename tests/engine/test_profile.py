"""A profile says where a step goes, lies where viewers find it, and changes nothing of the training."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_training import World

from spikeyolo.engine.profile import STEPS, phase_table
from spikeyolo.engine.trainer import Trainer
from spikeyolo.errors import ConfigError
from spikeyolo.report.silent import SilentLogger

ON_CPU = ("loader", "transfer", "forward", "loss", "backward", "update")


def traced(folder: Path) -> Counter[str]:
    """How often the trace names each phase."""
    with gzip.open(folder / "profile" / "trace.json.gz") as file:
        events = json.load(file)["traceEvents"]
    return Counter(event["name"] for event in events if event.get("cat") == "user_annotation")


def test_a_profile_holds_a_trace_and_a_table_and_the_training_is_what_it_is_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[tuple[Path, str | None]] = []
    monkeypatch.setattr(SilentLogger, "log_artifact", lambda self, path, folder=None: kept.append((path, folder)))
    weights = []
    for profile in (True, False):
        folder = tmp_path / str(profile)
        with caplog.at_level("INFO"):
            World(train=24).fit(folder, max_epochs=2, profile=profile)
        weights.append(load_file(folder / "checkpoints" / "last" / "weights.safetensors")["weight"])
    assert torch.equal(*weights)
    assert not (tmp_path / "False" / "profile").exists()
    folder = tmp_path / "True" / "profile"
    assert kept == [(folder / "trace.json.gz", "profile"), (folder / "steps.txt", "profile")]
    assert {name: traced(tmp_path / "True")[name] for name in ON_CPU} == {
        **dict.fromkeys(ON_CPU, STEPS),
        "update": 2 * STEPS,  # clipping, and the update behind the look at the losses
    }
    title, *rows = (folder / "steps.txt").read_text().splitlines()
    assert title == f"where a training step goes, mean of {STEPS}"
    assert [row.split()[0] for row in rows] == [*ON_CPU, "rest", "step"]
    assert all(re.fullmatch(r"\w+ +\d+\.\d\d ms +\d+\.\d%", row) for row in rows)
    shares = [float(row.split()[-1].rstrip("%")) for row in rows]
    assert shares[-1] == 100.0
    assert sum(shares[:-1]) == pytest.approx(100.0, abs=0.5)
    assert "\n".join(rows) in caplog.text


def test_shares_are_of_the_whole_step_and_the_rest_is_what_no_phase_has() -> None:
    table = phase_table({"backward": 0.6, "forward": 0.2}, 1.0, steps=2).splitlines()
    assert [line.split() for line in table[1:]] == [
        ["forward", "100.00", "ms", "20.0%"],
        ["backward", "300.00", "ms", "60.0%"],
        ["rest", "100.00", "ms", "20.0%"],
        ["step", "500.00", "ms", "100.0%"],
    ]


@pytest.mark.parametrize("train", [3, 4, 7])
def test_short_epochs_are_profiled_between_two_validations(train: int, tmp_path: Path) -> None:
    World(train=train, val=5).fit(tmp_path, max_epochs=2, profile=True)
    steps = traced(tmp_path)["backward"]
    assert steps >= 1
    assert traced(tmp_path)["loader"] == steps


def test_an_epoch_that_is_too_short_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"trainer\.profile: found true, with 2 batches an epoch; expected at least 3"
    ):
        World(train=2).fit(tmp_path, max_epochs=1, profile=True)


def test_phases_cost_a_step_next_to_nothing_where_nobody_looks(tmp_path: Path) -> None:
    """Counted in calls of the profiler and of the clock, not in time."""
    world = World(train=3)
    task = world.task(tmp_path)
    calls: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.profiler, "record_function", lambda name: calls.append(name))
        patch.setattr(torch.cuda, "synchronize", lambda device: calls.append(device))
        Trainer(device="cpu", max_epochs=1, clock=world.clock).fit(task)
    assert calls == []
