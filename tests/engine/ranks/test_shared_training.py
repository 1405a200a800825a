"""Several processes that train together do what one does: the same loss, gradients, windows and figures."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.ranks import Ranks
from spikeyolo.errors import ConfigError
from spikeyolo.launch import Place

SCRIPT = Path(__file__).with_name("shared_training.py")
REPOSITORY = Path(__file__).resolve().parents[3]


class Processes:
    """Runs cases of ``shared_training.py``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._script = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(SCRIPT), str(folder)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def codes(self, case: str, name: str, world: int, **more: Any) -> list[int]:
        """The exit codes of the processes of a case."""
        assert self._script.stdin is not None
        assert self._script.stdout is not None
        self._script.stdin.write(json.dumps({"case": case, "name": name, "world": world, **more}) + "\n")
        self._script.stdin.flush()
        found: list[int] = json.loads(self._script.stdout.readline())
        return found

    def found(self, case: str, name: str, world: int, **more: Any) -> list[Any]:
        """What each process of a case saved."""
        assert self.codes(case, name, world, **more) == [0] * world, self.said(name, world)
        return [torch.load(self.folder / f"{name}-{rank}.pt", weights_only=True) for rank in range(world)]

    def said(self, name: str, world: int) -> str:
        return "\n".join((self.folder / f"{name}-{rank}.log").read_text() for rank in range(world))

    def close(self) -> None:
        os.killpg(self._script.pid, signal.SIGKILL)  # with what it has forked, where a test has given up
        self._script.wait()


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    made = Processes(tmp_path_factory.mktemp("shared"))
    yield made
    made.close()


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(
            one[name], other[name], rtol=tolerance, atol=tolerance, check_dtype=False, msg=lambda m, n=name: f"{n}: {m}"
        )


KINDS = {
    "plain": {},
    "positives": {"overrides": ["loss.normalisation=positives", "loss.class_weights=inverse_frequency"]},
    "embedding": {"overrides": ["model.embedding=8", "augment=none"]},
    "teacher": {"overrides": ["loss.distillation.feature_weight=1.0"], "teacher": True},
    "firing": {"overrides": ["loss.firing_rate.weight=10", "loss.firing_rate.target=0.1"]},
    "firing of layers": {"overrides": ["loss.firing_rate.weight=10", "loss.firing_rate.of=layer"]},
    "recomputed": {"recomputed": True},
    "streaming": {"overrides": ["data.sampling=streaming", "data.batch_size=3"]},
    "accumulated": {"accumulate": 2},
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.long] if kind == "firing of layers" else []) for kind in KINDS]
)
def test_two_and_three_processes_have_the_loss_and_the_gradients_of_one(processes: Processes, kind: str) -> None:
    (alone,) = processes.found("gradients", f"{kind}-1", 1, **KINDS[kind])
    assert sum(len(batch["gradients"]) for batch in alone) > 100
    assert all(torch.isfinite(batch["total"]) for batch in alone)
    for world in {"plain": (2, 3), "accumulated": (2,)}.get(kind, (3,)):
        for together in processes.found("gradients", f"{kind}-{world}", world, **KINDS[kind]):
            for one, other in zip(alone, together, strict=True):
                close(one["terms"], other["terms"], 1e-10)
                close(one["gradients"], other["gradients"], 1e-10)
                buffers = {name: value for name, value in one["state"].items() if "running" in name}
                assert buffers
                close(buffers, {name: other["state"][name] for name in buffers}, 1e-10)


def test_three_processes_have_each_window_once_in_the_order_of_one(processes: Processes) -> None:
    (alone,) = processes.found("windows", "windows-1", 1)
    together = processes.found("windows", "windows-3", 3)
    for role, batches in enumerate(alone):
        assert len(batches) > 1
        for at, batch in enumerate(batches):
            shares = [process[role][at] for process in together]
            assert [shares[i % 3][i // 3] for i in range(len(batch))] == batch
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_validation_shared_over_processes_has_the_figures_of_one(processes: Processes) -> None:
    (alone,) = processes.found("figures", "figures-1", 1)
    assert 0.05 < alone["map"] < 0.95
    for world in (2, 3):
        for found in processes.found("figures", f"figures-{world}", world):
            assert found == pytest.approx(alone, abs=1e-9, nan_ok=True)


def test_to_import_what_trains_does_not_load_torchs_compiler(processes: Processes) -> None:
    assert processes.found("imported", "imported", 1) == [False]  # two seconds of every command's start


def left(folder: Path) -> dict[str, Any]:
    """All that a training leaves, but the seconds it took."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    last = folder / "checkpoints" / "last"
    training = torch.load(checkpoint.paths(last)[-1], weights_only=True)
    weights = {name: (folder / "checkpoints" / name / "weights.safetensors").read_bytes() for name in ("best", "last")}
    return {"rows": rows, **weights, "module": training["module"], "optimizer": training["optimizer"]["state"]}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.long)])
def test_a_training_goes_on_bit_for_bit_after_a_process_was_killed(processes: Processes, world: int) -> None:
    assert processes.codes("training", f"whole-{world}", world) == [0] * world, processes.said(f"whole-{world}", world)
    name, began = f"killed-{world}", time.monotonic()
    codes = processes.codes("training", name, world, kill=1)
    assert codes[1] == -signal.SIGKILL
    assert all(code == 2 for rank, code in enumerate(codes) if rank != 1), processes.said(name, world)
    assert time.monotonic() - began < 60
    sentences = [line for line in processes.said(name, world).splitlines() if line.startswith("error:")]
    assert len(sentences) == 1
    assert f"process 1 of {world}" in sentences[0]
    assert "ended without a word" in sentences[0]
    assert "the last good checkpoint is" in sentences[0]
    assert processes.codes("training", name, world, resume=True) == [0] * world, processes.said(name, world)
    assert same(left(processes.folder / name), left(processes.folder / f"whole-{world}"))


def test_gradients_that_wait_are_those_of_all_processes_after_one_was_killed(processes: Processes) -> None:
    settings: dict[str, Any] = {"trainer": {"accumulate_batches": 2}}
    assert processes.codes("training", "added", 2, **settings) == [0, 0], processes.said("added", 2)
    codes = processes.codes("training", "added-killed", 2, kill=1, after=1, batch=1, **settings)
    assert codes == [2, -signal.SIGKILL], processes.said("added-killed", 2)
    last = processes.folder / "added-killed" / "checkpoints" / "last"
    assert torch.load(checkpoint.paths(last)[-1], weights_only=True)["step"]["pending"] == 1
    assert processes.codes("training", "added-killed", 2, resume=True, **settings) == [0, 0]
    assert same(left(processes.folder / "added-killed"), left(processes.folder / "added"))


def test_sigterm_to_one_process_stops_all_and_another_number_goes_on(processes: Processes) -> None:
    # In float64, where a training does not make rounding grow to something that can be seen.
    settings: dict[str, Any] = {"trainer": {"accumulate_batches": 2}, "dtype": "float64"}
    codes = processes.codes("training", "stopped", 3, kill=2, signal=signal.SIGTERM, after=1, batch=1, **settings)
    assert codes == [143] * 3, processes.said("stopped", 3)
    assert processes.codes("training", "stopped", 2, resume=True, **settings) == [0, 0], processes.said("stopped", 2)
    assert processes.codes("training", "alone", 1, **settings) == [0], processes.said("alone", 1)
    found, alone = (left(processes.folder / name) for name in ("stopped", "alone"))
    assert len(found["rows"]) == len(alone["rows"]) == 2
    for one, other in zip(found["rows"], alone["rows"], strict=True):
        assert {name: float(value) for name, value in one.items()} == pytest.approx(
            {name: float(value) for name, value in other.items()}, rel=1e-6, nan_ok=True
        )
    close(found["module"], alone["module"], 1e-6)


@pytest.mark.timeout(120)
def test_a_disk_that_fails_one_process_ends_all_with_its_sentence(processes: Processes) -> None:
    began = time.monotonic()
    codes = processes.codes("training", "full", 2, full="epoch_0001", trainer={"keep": 2})
    assert codes == [2, 2], processes.said("full", 2)
    assert time.monotonic() - began < 60
    (line,) = [line for line in processes.said("full", 2).splitlines() if line.startswith("error:")]
    assert "checkpoints/epoch_0001: the checkpoint cannot be written (No space left on device)" in line


@pytest.mark.long
def test_lanes_of_two_processes_that_are_stopped_go_on_bit_for_bit(processes: Processes) -> None:
    lanes = {"overrides": ["data.sampling=mixed", "data.reset_share=0", "data.batch_size=4", "augment=light",
                           "data.dataset.duration_us=3000", "data.dataset.label_rate_hz=2000"]}  # fmt: skip
    assert processes.codes("training", "lanes", 2, **lanes) == [0, 0], processes.said("lanes", 2)
    codes = processes.codes("training", "lanes-stopped", 2, kill=1, signal=signal.SIGTERM, **lanes)
    assert codes == [143] * 2, processes.said("lanes-stopped", 2)
    last = processes.folder / "lanes-stopped" / "checkpoints" / "last"
    carried = torch.load(checkpoint.paths(last)[-1], weights_only=True)["step"]["carried"]
    assert len(carried["windows"]) == 4  # those of both processes
    assert sum(window is not None for window in carried["windows"]) == 2
    assert processes.codes("training", "lanes-stopped", 2, resume=True, **lanes) == [0, 0]
    assert same(left(processes.folder / "lanes-stopped"), left(processes.folder / "lanes"))


@pytest.mark.parametrize("who", [0, 2])
def test_an_error_of_one_process_ends_all_with_its_sentence(processes: Processes, who: int) -> None:
    began = time.monotonic()
    codes = processes.codes("failing", f"failing-{who}", 3, who=who)
    assert codes == [2, 2, 2], processes.said(f"failing-{who}", 3)
    assert time.monotonic() - began < 60
    main = (processes.folder / f"failing-{who}-0.log").read_text()
    assert "/data/train: is not there" in main
    assert f"process {who} of 3" in main or who == 0


def test_processes_of_different_configurations_are_refused_by_key(processes: Processes) -> None:
    assert processes.codes("differing", "differing", 2, who=1) == [2, 2]
    said = (processes.folder / "differing-0.log").read_text()
    assert "configuration optimizer.lr: found 0.02 in process 1 and 0.01 in process 0; expected the same" in said


@pytest.mark.parametrize(
    ("batch", "world", "sentence"),
    [
        (8, 3, "data.batch_size: found 8 for 3 processes, which they cannot share equally; .* such as 9"),
        (2, 4, "data.batch_size: found 2 for 4 processes, fewer windows than processes; .* such as 4"),
        ("auto", 3, "data.batch_size: found auto for 3 processes; expected a number, of all of them"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused(batch: Any, world: int, sentence: str) -> None:
    ranks = Ranks(Place(0, world, 0, world, "localhost", 1))
    with pytest.raises(ConfigError, match=sentence):
        ranks.check_batch(batch)
    ranks.check_batch(2 * world)
    for alone in (7, "auto"):
        Ranks().check_batch(alone)  # type: ignore[arg-type]
