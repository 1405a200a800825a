"""What the documentation tells its readers to run does run: each kind of command that stands on some page, once, in
this process, over data as small as can be.

The fewest commands are chosen that together give every module every option (training, which takes longest, one of each
group of options, as ``model.…``), and every choice of a group, that any page gives it. Each runs as it stands there,
with files in the place of FILE, PATH and RUN, and with overrides that leave it little to do; what is new on a page
makes its command run. What needs a cluster, GPUs or a download, or takes long, is in ``NOT_HERE`` with the test that
runs its like; ``test_documented_commands.py`` composes and checks all of them.
"""

from __future__ import annotations

import csv
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from command_line import convert, evaluate, train
from documented import REPOSITORY, Command, commands, pages, split
from etram_set import LABEL
from format_writers import write_columns, write_dat, write_evt3
from running import WELL, run_words
from small_recording import drawn
from small_run import small_run

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
    (r"\+search=|hydra/sweeper=", "processes of its own", "tests/sweep/space/test_sweep_searches.py"),
    (r"--config-name", "what a search leaves", "tests/sweep/test_sweep_surface.py"),
    (r"spikeyolo\.export", "half a minute to trace a network", "tests/model/exchange/test_exchange.py"),
    (r"backend=(auto|openvino|onnxruntime)|\.onnx", "an export", "tests/prediction/test_predict_networks.py"),
    (r"protocol=(?!prophesee_gen1)", "one protocol runs for all", "tests/metrics/test_score.py"),
    (r"batch_size=auto", "many sizes are tried", "tests/engine/test_batch_size.py"),
    (r"\.train .*data=(dsec|mpx1|etram3)", "two published sets run for all", "tests/events/test_events_datasets.py"),
    (r"spikeyolo\.upload", "a server that had been away", "tests/report/test_report_mlflow.py"),
)
# Keys whose values are choices, each of which runs; of other keys any one value does.
CHOICES = {
    *("+experiment", "+pruning", "backend", "data", "data/encoder", "data.sampling", "data.slicing"),
    *("format", "layout", "model/neuron", "optimizer", "precision", "save", "scheduler", "tracker", "windows"),
}
# What a command is told besides, or in place of what it says.
SMALL_NETWORK = ("model=femto", "data.time_steps=2", "data.batch_size=2", "data.max_samples_per_file=3")
SHORT = ("trainer.max_epochs=1", "trainer.threads=1", "trainer.device=cpu", "logger=none", "data.samples_per_epoch=4")
EMBEDDED = (
    *("data.dataset.train_sequences=1", "data.dataset.val_sequences=2", "data.dataset.test_sequences=2"),
    *("data.dataset.duration_us=12000", "data.dataset.label_rate_hz=1000"),
)
RECORDED = ("data.slice_duration_us=1000",)
SMALLER = {
    "train": (*SMALL_NETWORK, *SHORT),
    "doctor": ("overfit_steps=0", "sections=[windows]"),
    "evaluate": ("threads=1", "costs=false"),
    "predict": ("threads=1", "filters.time_range_us=[0,4000]"),
    "view": ("duration_us=3000", "fps=5"),
    "convert": ("workers=1",),
    "compare": ("draws=100",),
}
# What takes the place of a value that is given.
GIVEN = ("start_us=500", "hop_us=200", "data.train_until_us=400000", "data.events_per_window=500")
BESIDE = {  # more, where a word stands in the command
    "+pruning=channels": (
        *("trainer.max_epochs=2", "trainer.callbacks.channels.first_epoch=1"),
        "trainer.callbacks.channels.last_epoch=1",
    ),
    "trainer.profile=true": ("data.samples_per_epoch=6",),
    "follow=true": ("timeout=0.3",),
}
OFFSET_US = 49_599_300_523  # between DSEC's events and its clock, as format_writers has it


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
RUNNABLE = [command for command in WHOLE if not any(re.search(what, str(command)) for what, _, _ in NOT_HERE)]
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
    """Where commands are started: recordings, published sets at their smallest, and ``RUN``."""
    folder = tmp_path_factory.mktemp("documented")
    for number, role in enumerate(("train", "val", "test")):
        write_sets(folder, role, number)
    for number, name in enumerate(("street", "friday", "NAME", "raw/one")):
        write_own(folder / f"{name}.raw", number)
    shutil.copy(folder / "street.csv", folder / "labels.csv")
    np.save(folder / "NAME_bbox.npy", labels(0, 1))
    for number in range(3):
        write_own(folder / "sets" / "flat" / "train" / f"{number}.raw", number)
    small_run(folder, "data.dataset.test_sequences=2").parent.parent.rename(folder / "RUN")
    return folder


def labels(*classes: int, shift_us: int = 0) -> npt.NDArray[np.void]:
    """Prophesee's rows: two large boxes every 50 ms, of these classes."""
    times = np.arange(50_000, 700_000, 50_000)
    rows = np.zeros(2 * len(times), LABEL)
    rows["t"], rows["class_id"] = np.repeat(times, 2) + shift_us, np.tile(classes, len(times))
    rows["track_id"], rows["class_confidence"] = np.tile((0, 1), len(times)), 1
    rows["x"], rows["y"] = np.tile((4, 10), len(times)), np.tile((6, 14), len(times))
    rows["w"], rows["h"] = 48, 44
    return rows


def write_own(path: Path, number: int) -> None:
    """``NAME.raw`` and ``NAME.csv``, which ``NAME_labels.csv`` is too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write_evt3(drawn(7000, 700_000, seed=number)))
    table = path.with_suffix(".csv")
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["t_us", "x", "y", "w", "h", "class", "track"])
        for row in labels(0, 1):
            name = ("car", "person")[row["class_id"]]
            writer.writerow([row["t"], row["x"], row["y"], row["w"], row["h"], name, row["track_id"]])
    shutil.copy(table, path.with_name(f"{path.stem}_labels.csv"))


def write_sets(folder: Path, role: str, number: int) -> None:
    """One recording of a split in the layout of each published set, and in that of folders."""
    events, sets = drawn(7000, 700_000, seed=10 + number), folder / "sets"
    for name, classes in (("gen1", (0, 1)), ("mpx1", (0, 2))):
        (sets / name / role).mkdir(parents=True)
        (sets / name / role / f"{role}_td.dat").write_bytes(write_dat(events))
        np.save(sets / name / role / f"{role}_bbox.npy", labels(*classes))
    etram = sets / "etram" / f"{role}_h5_1"
    etram.mkdir(parents=True)
    write_columns(etram / f"{role}.h5", events)
    np.save(etram / f"{role}_bbox.npy", labels(1, 3))
    sequence = {"train": "train/zurich_city_00_a", "val": "train/zurich_city_16_a", "test": "test/thun_02_a"}[role]
    for part in ("events", "object_detections"):
        (sets / "dsec" / sequence / part / "left").mkdir(parents=True)
    write_columns(sets / "dsec" / sequence / "events" / "left" / "events.h5", events, "dsec")
    np.save(sets / "dsec" / sequence / "object_detections" / "left" / "tracks.npy", labels(0, 2, shift_us=OFFSET_US))
    write_own(folder / "PATH" / role / f"{role}.raw", 20 + number)


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


def smaller(command: Command, number: int) -> list[str]:
    """The command's words with files that are there, and with as little to do as can be."""
    module, words = str(command.module), list(placed(command))
    more = [*SMALLER.get(module, ()), *of_data(command)]
    more += [word for there, beside in BESIDE.items() if there in words for word in beside]
    keys = {key_of(word) for word in words}
    more += [word for word in GIVEN if key_of(word) in keys]
    if module in ("train", "doctor"):
        more.append(f"hydra.{'sweep' if '-m' in words else 'run'}.dir=made/{number}")
    elif module == "predict" or (module == "convert" and "info=true" not in words) or "out" in keys:
        suffix = next((Path(word).suffix for word in words if word.startswith("out=")), "")
        more.append(f"out=made/{number}{suffix}")
    for word in more:
        same = [old for old in words if key_of(old) == key_of(word)]
        if not same:
            words.append(word)
        elif not same[0].endswith("=auto"):  # what is found out by itself stays so
            words[words.index(same[0])] = word
    return words


def key_of(word: str) -> str:
    return word.partition("=")[0]


def of_data(command: Command) -> tuple[str, ...]:
    """What makes a data set small."""
    words = command.arguments
    if command.module not in ("train", "doctor") or any(word.startswith("checkpoint=") for word in words):
        return ()
    recorded = any(word.startswith(("data.root=", "data.events=")) for word in words)
    network = () if command.module == "train" else SMALL_NETWORK
    return (*network, *(RECORDED if recorded else EMBEDDED))


def placed(command: Command) -> Iterator[str]:
    """Its words, with what is there in the place of FILE, PATH, FOLDER and runs."""
    words, run = command.arguments, run_of(command)
    data = next((word.partition("=")[2] for word in words if word.startswith("data=")), "etram")
    tables = "found" if command.module == "view" else f"{run}/evaluation/best_test"
    root = {"folders": "PATH", "converted": "converted", "etram3": "sets/etram"}.get(data, f"sets/{data}")
    if command.module == "evaluate":
        root = f"sets/{run}"
    if "data.val_share=0.2" in words:
        root = "sets/flat"
    runs = iter(("RUN", "OTHER"))
    for word in words:
        key, given, value = word.partition("=")
        if command.module == "compare" and not given:
            yield word if word.startswith("multirun/") else next(runs)
        elif "/checkpoints/" in value:
            yield f"{key}={run}/checkpoints/{value.partition('/checkpoints/')[2]}"
        elif key in ("detections", "truth", "tracks"):
            yield f"{key}={tables}/{key}.parquet"
        elif key == "data.root":
            yield f"{key}={root}"
        elif value in ("FILE", "demo/demo.zarr") and key != "out":
            yield f"{key}=street.{'csv' if key.endswith('labels') else 'raw'}"
        else:
            yield word


def run_of(command: Command) -> str:
    """The run that a command of an evaluation is about."""
    if command.module == "evaluate" and any(word.startswith(("protocol=", "data.root=")) for word in command.arguments):
        return "gen1"
    return "RUN"


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
