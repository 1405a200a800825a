"""What the documentation tells its readers to run does run: each kind of command that stands on some page, once, in
this process, over data as small as can be.

The fewest commands are chosen that together give every module every option (training, which takes longest, one of each
group of options, as ``model.…``), and every choice of a group, that any page gives it. Each runs as it stands there,
with files in the place of FILE, PATH and RUN, and with overrides that leave it little to do; what is new on a page
makes its command run. What needs a cluster, GPUs or a download, or takes long, is in ``NOT_HERE`` with the test that
runs its like; searches and exports are in ``test_documented_searches.py``; ``test_documented_commands.py`` composes and
checks all of them.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from command_line import convert, evaluate, train
from documented import REPOSITORY, Command, commands, pages, split
from places import labels, make
from running import WELL, run_words
from smaller import RECORDED, SMALLER, smaller

from spikeyolo.detections import DetectionTable

if not (REPOSITORY / "docs").is_dir():
    pytest.skip("docs/ is not part of this distribution", allow_module_level=True)

# What is only composed: by what stands in the command, why, and which test runs its like.
NOT_HERE = (
    (r"torchrun|srun", "several processes", "tests/test_train_ranks.py"),
    (r"submitit_slurm|SLURM_ARRAY", "a cluster", "tests/sweep/workers/test_sweep_launchers.py"),
    (r"hydra\.sweeper\.devices=", "several GPUs", "tests/sweep/workers/test_sweep_devices.py"),
    (r"postgresql://", "a database server", "tests/sweep/study/test_sweep_storage.py"),
    (r"s3://", "a bucket", "tests/test_s3_training.py"),
    (r"real_cars|davis346", "a download", "tests/evaluation/test_real_evaluation.py"),
    (r"data=etram_like", "a set of an experiment, which takes its time to be made", "tests/test_etram_like.py"),
    (r"demo=true", "a film of some seconds", "tests/demo/test_demo.py"),
    (r"protocol=(?!prophesee_gen1)", "one protocol runs for all", "tests/metrics/test_score.py"),
    (r"batch_size=auto", "many sizes are tried", "tests/engine/test_batch_size.py"),
    (r"\.train .*data=(dsec|mpx1|etram3)", "two published sets run for all", "tests/events/test_events_datasets.py"),
    (r"spikeyolo\.upload", "a server that had been away", "tests/report/test_report_mlflow.py"),
)
# What runs in test_documented_searches.py: processes of its own, long to trace a network, and what these leave.
OF_SEARCHES_AND_EXPORTS = (
    r"\+search=|hydra/sweeper=",
    r"--config-name",
    r"spikeyolo\.export",
    r"backend=(auto|openvino|onnxruntime)|\.onnx",
)
ELSEWHERE = tuple(what for what, _, _ in NOT_HERE)
# Keys whose values are choices, each of which runs; of other keys any one value does.
CHOICES = {
    *("+experiment", "+pruning", "backend", "data", "data/encoder", "data.sampling", "data.slicing"),
    *("format", "layout", "model/neuron", "optimizer", "precision", "save", "scheduler", "tracker", "windows"),
}


def options(command: Command) -> set[tuple[str, str]]:
    """Module and option of every word of a command; a choice with its value, several values apart; of a training, which
    has many and takes longest, the group of options."""
    found = set()
    for word in command.arguments:
        key, given, value = word.partition("=")
        if key in CHOICES and not (key == "data" and command.module == "evaluate"):
            found |= {f"{key}={choice}" for choice in re.split(r"[\[\],]", value) if choice}
        elif command.module == "train" and "." in key:
            found.add(key.rpartition(".")[0])
        else:
            found.add(key if given or word.startswith("-") else word.partition("/")[0])
    return {(str(command.module), option) for option in found}


def chosen(among: Sequence[Command]) -> list[Command]:
    """The fewest of them that together have all their options, those with the most first."""
    left = {option for command in among for option in options(command)}
    picked = []
    while left:
        best = max(among, key=lambda command: len(options(command) & left))
        picked.append(best)
        left -= options(best)
    return picked


def is_whole(command: Command) -> bool:
    """Whether it is a command, and no name of one in a text."""
    return command.module is not None and bool(command.arguments) and "…" not in str(command)


WHOLE = [command for path in pages() for command in commands(path) if is_whole(command)]
LEFT_OUT = (*ELSEWHERE, *OF_SEARCHES_AND_EXPORTS)
RUNNABLE = [command for command in WHOLE if not any(re.search(what, str(command)) for what in LEFT_OUT)]
CHOSEN = chosen(RUNNABLE)


def test_what_is_only_composed_stands_on_a_page_and_is_run_by_the_test_that_is_named() -> None:
    for what, _, where in NOT_HERE:
        assert any(re.search(what, str(command)) for command in WHOLE), f"{what}: no page has it"
        assert (REPOSITORY / where).is_file(), where
    assert len(RUNNABLE) > 100


def test_what_no_other_command_has_makes_its_command_run() -> None:
    (words,) = split("python -m spikeyolo.train +experiment=smoke evaluator.device=cpu")
    new = Command("here", tuple(words))
    assert new not in RUNNABLE
    assert new in chosen([*RUNNABLE, new])
    (words,) = split("python -m spikeyolo.train +experiment=smoke optimizer=adamw")
    assert Command("here", tuple(words)) not in chosen([*RUNNABLE, Command("here", tuple(words))])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where commands are started."""
    return make(tmp_path_factory.mktemp("documented"))


def prepare(module: str, place: Path) -> None:
    """What the commands of a module find there besides."""
    done = []
    if module == "train":
        splits = ("data=gen1", "data.root=sets/gen1", "splits=[train,val,test]")
        done.append(convert(*splits, "out=converted", "workers=1", cwd=place))
    if module == "evaluate":
        words = ("data=gen1", "data.root=sets/gen1", *RECORDED, *SMALLER["train"], "hydra.run.dir=gen1")
        done.append(train(*words, cwd=place))
        done.append(evaluate("checkpoint=gen1/checkpoints/best", *scored("gen1"), cwd=place))
    if module in ("track", "compare"):
        done.append(evaluate("checkpoint=RUN/checkpoints/best", *scored("RUN"), cwd=place))
    if module == "compare":
        for copy in ("OTHER", "multirun/NAME/0", "multirun/NAME/1"):
            shutil.copytree(place / "RUN", place / copy)
    if module == "view":
        rows = labels(0, 1)
        whole, scores = np.stack([rows[key] for key in "xywh"], axis=1), np.ones(len(rows), np.float32)
        zero, ids = np.zeros(len(rows), np.int64), rows["class_id"].astype(np.int64)
        columns = (zero, rows["t"].astype(np.int64), zero, ids, scores, whole.astype(np.float32))
        for name, tracks in (("detections", zero - 1), ("tracks", ids)):
            table = DetectionTable(("street",), ("car", "person"), *columns, tracks)
            table.write(place / "found" / f"{name}.parquet")
    for ended in done:
        assert ended.code == 0, ended.errors


def scored(run: str) -> tuple[str, ...]:
    return ("split=test", "threads=1", "costs=false", f"out={run}/evaluation/best_test")


def left(place: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}


LONG = ("train", "evaluate")  # over a minute together; what they are made of runs elsewhere too


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(module, marks=[pytest.mark.long] if module.endswith(LONG) else [])
        for module in sorted({str(command.module) for command in CHOSEN})
    ],
)
def test_every_option_that_a_page_gives_a_command_runs(
    module: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What follows a training, pictures and costs, and the list of packages are the same for each: once is enough.
    looked_at = module == "train"
    if not looked_at:
        monkeypatch.setattr("spikeyolo.training.review.review", lambda *_, **__: {})
    prepare(module, place)
    wrong = []
    for number, command in enumerate(CHOSEN):
        if command.module != module:
            continue
        words = smaller(command, number)
        before = left(place)
        ended = run_words(module, words, cwd=place)
        where = f"{command}\n  as {shlex.join(words)}"
        if ended.code not in WELL.get(module, (0,)):
            wrong.append(f"{where}\n  ended with {ended.code}: {ended.errors[-1500:]}")
        elif left(place) == before and module != "compare" and "info=true" not in words:
            wrong.append(f"{where}\n  left nothing: {ended.errors[-500:]}")
        elif module == "compare" and "held against" not in ended.output:
            wrong.append(f"{where}\n  compared nothing: {ended.output}")
        if looked_at:
            monkeypatch.setattr("spikeyolo.training.review.review", lambda *_, **__: {})
            monkeypatch.setattr("spikeyolo.report.environment.frozen", list)
            looked_at = False
    assert not wrong, "\n\n".join(wrong)
