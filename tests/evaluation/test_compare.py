"""Runs are compared: copies do not differ, seeds are one configuration, differing settings are shown, data agree."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import compare, evaluate
from scored_scenes import imperfect, moving_truth

from spikeyolo.compare import with_runs
from spikeyolo.detections import DetectionTable
from spikeyolo.detections.table import concatenated
from spikeyolo.errors import ConfigError
from spikeyolo.evaluation.comparing import compared
from spikeyolo.evaluation.entrants import by_configuration, differing, find_entrants
from spikeyolo.metrics.protocols import Coco
from spikeyolo.report.pictures.comparison import cells, draw_forest, markdown, print_table

TRUTH = moving_truth(("car", "bus"), recordings=8, seed=1)  # the last one holds no true box
FOUND = imperfect(TRUTH)


def worse(found: DetectionTable, share: float) -> DetectionTable:
    """Without a share of its rows."""
    return found[np.random.default_rng(0).random(len(found)) >= share]


def run(
    folder: Path,
    found: DetectionTable = FOUND,
    *,
    seed: int = 0,
    data: str = "d1",
    split: str = "test",
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """A run's folder with an evaluation in it."""
    made = {"identity": {"data": data}, "recordings": list(TRUTH.looks.recordings)}
    place = folder / "evaluation" / f"best_{split}_0123"
    replace(found, metadata=made).write(place / "detections.parquet")
    looks: dict[str, list[int]] = {name: [] for name in TRUTH.looks.recordings}
    for index, t_us in zip(TRUTH.looks.recording, TRUTH.looks.t_us, strict=True):
        looks[TRUTH.looks.recordings[index]].append(int(t_us))
    replace(TRUTH.boxes, metadata={**made, "looks": looks}).write(place / "truth.parquet")
    config = {"seed": seed, "name": folder.name, "optimizer": {"lr": 0.001}, **(settings or {})}
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def rows_of(*named: Path, **options: Any) -> list[Any]:
    return compared(by_configuration(find_entrants([str(path) for path in named])), Coco(), draws=300, **options)


def test_two_copies_differ_by_nothing(tmp_path: Path) -> None:
    copies = [run(tmp_path / "a"), run(tmp_path / "b")]
    first, second = rows_of(*copies)
    assert (first.name, second.name) == ("a", "b")
    assert second.difference == 0
    assert second.low <= 0 <= second.high
    assert second.verdict == "cannot be told with 7 recordings"


def test_a_clearly_worse_run_is_said_to_be_worse(tmp_path: Path) -> None:
    first, second = rows_of(run(tmp_path / "a"), run(tmp_path / "b", worse(FOUND, 0.6)))
    assert second.verdict == "worse"
    assert second.difference == pytest.approx(second.figures["map50"] - first.figures["map50"])
    assert second.high < 0


def test_seeds_of_one_configuration_are_one_row_with_their_spread(tmp_path: Path) -> None:
    lr = {"optimizer": {"lr": 0.01}}
    runs = [
        run(tmp_path / "s0"),
        run(tmp_path / "s1", worse(FOUND, 0.1), seed=1),
        run(tmp_path / "l0", worse(FOUND, 0.5), settings=lr),
        run(tmp_path / "l1", worse(FOUND, 0.6), seed=1, settings=lr),
    ]
    first, second = rows_of(*runs)
    assert (first.seeds, second.seeds) == (2, 2)
    single = [rows_of(runs[0], runs[i])[1].figures["map50"] for i in (2, 3)]
    assert second.figures["map50"] == pytest.approx(np.mean(single))
    assert second.spread == pytest.approx(np.std(single, ddof=1))


def test_only_settings_that_differ_are_shown(tmp_path: Path) -> None:
    named = [run(tmp_path / "a"), run(tmp_path / "b", settings={"optimizer": {"lr": 0.01}, "trainer": {"threads": 1}})]
    entrants = find_entrants([str(path) for path in named])
    assert differing(entrants) == {"optimizer.lr": [0.001, 0.01]}
    lines = cells(compared([[e] for e in entrants], Coco(), draws=300), "map50", differing(entrants))
    assert lines[0][:3] == ["run", "optimizer.lr", "map50"]
    assert [line[1] for line in lines[1:]] == ["0.001", "0.01"]
    assert "optimizer.lr" in print_table(lines)
    text = markdown(lines).splitlines()
    assert len(text) == 4
    assert {line.count("|") for line in text} == {len(lines[0]) + 1}


def test_runs_of_different_data_are_refused_unless_they_are_forced(tmp_path: Path) -> None:
    one, other = run(tmp_path / "a"), run(tmp_path / "b", data="d2")
    with pytest.raises(ConfigError, match="a was evaluated on the data d1, b on d2; expected the same, or force=true"):
        rows_of(one, other)
    assert rows_of(one, other, force=True)[1].difference == 0


def test_the_command_refuses_runs_of_different_data_in_a_sentence_and_compares_them_where_it_is_forced(
    tmp_path: Path,
) -> None:
    run(tmp_path / "a"), run(tmp_path / "b", worse(FOUND, 0.6), data="d2")
    ended = compare("a", "b", "draws=300", "save=[markdown,csv,figure]", cwd=tmp_path)
    assert ended.code == 2
    assert "a was evaluated on the data d1, b on d2; expected the same, or force=true" in ended.error_lines[0]
    assert not (tmp_path / "comparison").exists()
    ended = compare("a", "b", "draws=300", "save=[markdown,csv,figure]", "force=true", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    assert "compared over the recordings that all have" in ended.errors
    first, second = ended.output.splitlines()[1:]
    assert "held against" in first
    assert "worse" in second
    assert {path.name for path in (tmp_path / "comparison").iterdir()} == {
        "comparison.md", "comparison.csv", "comparison.png"
    }  # fmt: skip


def test_forced_tables_are_compared_over_the_recordings_that_all_have(tmp_path: Path) -> None:
    kept = [index for index, name in enumerate(FOUND.recordings) if index < 3]
    part = FOUND[np.isin(FOUND.recording, kept)]
    names = [FOUND.recordings[index] for index in kept]
    one, other = run(tmp_path / "a"), run(tmp_path / "b", part, data="d2")
    table = other / "evaluation" / "best_test_0123" / "detections.parquet"
    replace(part, metadata={"identity": {"data": "d2"}, "recordings": names}).write(table)
    second = rows_of(one, other, force=True)[1]
    assert second.difference == 0
    assert second.verdict == "cannot be told with 3 recordings (6 are needed)"


def test_only_times_that_all_evaluations_scored_are_compared(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from_us = 700_000  # longer windows have none before the first labels
    one, other = run(tmp_path / "a"), run(tmp_path / "b", FOUND[FOUND.t_us >= from_us])
    path = other / "evaluation" / "best_test_0123" / "truth.parquet"
    true = DetectionTable.read(path)
    looks = {name: [t for t in times if t >= from_us] for name, times in true.metadata["looks"].items()}
    late = replace(true[true.t_us >= from_us], metadata={**true.metadata, "looks": looks})
    late.write(path)
    assert rows_of(one, other)[1].difference == 0
    assert rows_of(other, one)[1].difference == 0
    assert f"those that all evaluations scored are compared, {sum(map(len, looks.values()))}" in caplog.text
    replace(late[:0], metadata={**true.metadata, "looks": {name: [1] for name in looks}}).write(path)
    with pytest.raises(ConfigError, match="no time was scored in all evaluations; expected the same windows="):
        rows_of(one, other)


def test_evaluations_on_other_windows_are_refused_with_the_command_that_makes_them_alike(tmp_path: Path) -> None:
    one, other = windowed(tmp_path / "a", "around_labels", 4), windowed(tmp_path / "b", "every", 4)
    for name in ("detections", "truth"):
        path = other / "evaluation" / "best_test_0123" / f"{name}.parquet"
        table = DetectionTable.read(path)
        metadata = {**table.metadata, "checkpoint": "b/checkpoints/best", "looks": {"scene0": [1]}}
        replace(table[:0], metadata=metadata).write(path)
    command = r"python -m spikeyolo\.evaluate checkpoint=b/checkpoints/best split=test windows=around_labels$"
    with pytest.raises(ConfigError, match=rf"found a: windows=around_labels, b: windows=every\), as after {command}"):
        rows_of(one, other)


def test_of_several_evaluations_the_one_scored_last_is_compared(tmp_path: Path) -> None:
    one = windowed(tmp_path / "a", "every", 4)
    again = one / "evaluation" / "best_test_4567"
    shutil.copytree(one / "evaluation" / "best_test_0123", again)
    (again / "coco").mkdir()
    (again / "coco" / "scores.json").write_text("{}")
    replace(FOUND[:0], metadata={"identity": {"data": "again"}}).write(again / "detections.parquet")
    os.utime(again / "detections.parquet", (1, 1))  # it was found unchanged
    assert [found.data_digest for found in find_entrants([str(one), str(one)])] == ["again"] * 2


def windowed(folder: Path, windows: str, time_steps: int) -> Path:
    """A run that found the same as any other, evaluated on windows of so many steps. Where windows overlap, as those
    before labels do, earlier steps of others end at the same times; these found nonsense."""
    place = run(folder) / "evaluation" / "best_test_0123"
    made = {"identity": {"data": "d1", "windows": {"windows": windows, "time_steps": time_steps}}}
    made |= {"time_steps": time_steps, "recordings": list(TRUTH.looks.recordings)}
    found = replace(FOUND, step=FOUND.t_us // 100_000 % time_steps)
    if windows != "every":
        nonsense = replace(TRUTH.boxes, xywh=TRUTH.boxes.xywh + 300, step=np.zeros(len(TRUTH.boxes), np.int64))
        found = replace(FOUND, step=np.full(len(FOUND), time_steps - 1))
        found = concatenated([found, nonsense[: len(nonsense) if time_steps > 1 else 0]])
        found = replace(found, recordings=FOUND.recordings, recording=found.recording % len(FOUND.recordings))
    replace(found, metadata=made).write(place / "detections.parquet")
    true = DetectionTable.read(place / "truth.parquet")
    scored = None if windows == "every" else time_steps - 1
    step = np.full(len(true), time_steps - 1)
    metadata = {**true.metadata, **made, "scored_step": scored}
    replace(true, step=step, metadata=metadata).write(place / "truth.parquet")
    return folder


@pytest.mark.parametrize("one", [("around_labels", 4), ("every", 4)], ids=str)
@pytest.mark.parametrize("other", [("around_labels", 8), ("around_labels", 1), ("every", 8)], ids=str)
def test_windows_of_any_steps_are_compared_by_their_own_last_one(
    tmp_path: Path, one: tuple[str, int], other: tuple[str, int]
) -> None:
    a, b = windowed(tmp_path / "a", *one), windowed(tmp_path / "b", *other)
    plain = rows_of(run(tmp_path / "c"), run(tmp_path / "d"))[0].figures
    for rows in (rows_of(a, b), rows_of(b, a)):
        assert [row.figures for row in rows] == [plain, plain]


def test_a_table_is_scored_by_its_own_last_step_whatever_the_steps_of_the_truth(tmp_path: Path) -> None:
    tables = {steps: windowed(tmp_path / str(steps), "around_labels", steps) for steps in (4, 8)}
    places = {steps: folder / "evaluation" / "best_test_0123" for steps, folder in tables.items()}
    figures = {}
    for of_truth, place in places.items():
        ended = evaluate(
            f"detections={places[8]}/detections.parquet",
            f"truth={place}/truth.parquet",
            f"out={tmp_path}/of_{of_truth}",
            cwd=tmp_path,
        )
        assert ended.code == 0, ended.errors
        found = json.loads((tmp_path / f"of_{of_truth}" / "coco" / "scores.json").read_text())["figures"]
        figures[of_truth] = found["map50"]
    assert figures[4] == figures[8] > 0.1


def test_that_one_seed_speaks_for_no_other_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lr = {"optimizer": {"lr": 0.01}}
    runs = [run(tmp_path / f"s{seed}", worse(FOUND, 0.1 * seed), seed=seed) for seed in (0, 1)]
    runs += [run(tmp_path / f"l{seed}", worse(FOUND, 0.4 + 0.1 * seed), seed=seed, settings=lr) for seed in (0, 1)]
    with caplog.at_level("INFO", "spikeyolo"):
        second = rows_of(*runs)[1]
        assert second.low < second.over_recordings[0] < second.over_recordings[1] < second.high
        assert "alone" not in caplog.text
        second = rows_of(*runs[:3])[1]
        assert (second.low, second.high) == second.over_recordings
    assert "compare: the interval of l0 is over recordings alone: one side has a single seed" in caplog.text


def test_a_multirun_a_table_and_a_checkpoint_are_found_too(tmp_path: Path) -> None:
    for job in range(11):
        run(tmp_path / "sweep" / str(job), seed=job)
    assert [e.seed for e in find_entrants([str(tmp_path / "sweep")])] == list(range(11))
    table = tmp_path / "sweep" / "3" / "evaluation" / "best_test_0123" / "detections.parquet"
    best = tmp_path / "sweep" / "4" / "checkpoints" / "best"
    assert [e.seed for e in find_entrants([str(table), str(table.parent), str(best)])] == [3, 3, 4]


def test_a_run_is_found_by_its_id_in_mlflow(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    folder = run(tmp_path / "a")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracked = client.create_run(client.create_experiment("e"), tags={"folder": str(folder)})
    found = find_entrants([tracked.info.run_id, str(folder)])
    assert [entrant.name for entrant in found] == ["a", "a (2)"]
    with pytest.raises(ConfigError, match="has no such run"):
        find_entrants(["0" * 32, str(folder)])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda path: (path / ".hydra").mkdir() or (path / ".hydra" / "config.yaml").write_text("a: 1"),
            r"was not evaluated",
        ),
        (lambda path: None, "holds neither a run nor an evaluation"),
        (lambda path: path.rmdir(), "is not there; expected a run folder"),
        (lambda path: run(path / "x") and path.joinpath("x").rename(path / "evaluation"), "was not evaluated"),
    ],
)
def test_what_is_no_evaluated_run_is_refused(tmp_path: Path, make: Any, sentence: str) -> None:
    (tmp_path / "r").mkdir()
    make(tmp_path / "r")
    with pytest.raises(ConfigError, match=sentence):
        find_entrants([str(tmp_path / "r"), str(run(tmp_path / "other"))])


def test_all_runs_that_were_not_evaluated_are_told_with_one_command_for_them(tmp_path: Path) -> None:
    for job in range(6):
        folder = run(tmp_path / "sweep" / str(job), seed=job)
        if job != 2:
            shutil.rmtree(folder / "evaluation")
    sweep = tmp_path / "sweep"
    loop = "for run in {}; do python -m spikeyolo.evaluate checkpoint=$run/checkpoints/best split=test; done"
    with pytest.raises(ConfigError) as told:
        find_entrants([str(sweep)])
    assert str(told.value).startswith(
        f"{sweep / '0'}, {sweep / '1'}, {sweep / '3'}, {sweep / '4'}, …: 5 of 6 runs were"
    )
    assert str(told.value).endswith(loop.format(f"{sweep}/*"))
    other = run(tmp_path / "other")
    shutil.rmtree(other / "evaluation")
    with pytest.raises(ConfigError) as told:
        find_entrants([str(other), str(sweep / "2"), str(sweep / "5")])
    assert str(told.value).endswith(loop.format(f"{other} {sweep / '5'}"))


def test_of_several_evaluated_splits_one_must_be_named(tmp_path: Path) -> None:
    folder = run(tmp_path / "a")
    (folder / "evaluation" / "best_test_0123").rename(folder / "evaluation" / "best_val_77")
    run_again = run(tmp_path / "b")
    (run_again / "evaluation" / "best_test_0123").rename(folder / "evaluation" / "best_test_0123")
    other = run(tmp_path / "c")
    with pytest.raises(ConfigError, match=r"was evaluated on test, val; expected split=NAME"):
        find_entrants([str(folder), str(other)])
    assert len(find_entrants([str(folder), str(other)], split="test")) == 2
    with pytest.raises(ConfigError, match=r"c: was not evaluated on val yet; .*split=val"):
        find_entrants([str(folder), str(other)], split="val")


def test_split_and_checkpoint_are_those_of_the_table_whatever_its_folder_is_called(tmp_path: Path) -> None:
    folder, other = run(tmp_path / "a"), run(tmp_path / "b")
    shutil.rmtree(folder / "evaluation")
    paths = {}
    for name, split, checkpoint in (("test", "test", "best"), ("mine", "val", "best"), ("of_val", "test", "last")):
        paths[name] = folder / "evaluation" / name / "detections.parquet"
        made = {"identity": {"split": split}, "checkpoint": f"/elsewhere/checkpoints/{checkpoint}"}
        replace(worse(FOUND, 0.5), metadata={**made, "name": name}).write(paths[name])
    with pytest.raises(ConfigError, match=r"was evaluated on test, val; expected split=NAME"):
        find_entrants([str(folder), str(other)])
    for split, name in (("test", "test"), ("val", "mine")):
        first = find_entrants([str(folder), str(paths["test"])], split=split)[0]
        assert first.table.metadata["name"] == name
    paths["test"].write_bytes(b"damaged")
    assert find_entrants([str(folder), str(paths["mine"])], split="val")[0].table.metadata["name"] == "mine"


def test_words_of_the_command_line_are_runs() -> None:
    assert with_runs(["a", "it's b", "metric=map"]) == [r"runs=['a','it\'s b']", "metric=map"]
    assert with_runs(["metric=map"]) == ["metric=map"]
    assert with_runs(["metric=map", "x" * 300 + "=1"]) == ["metric=map", "x" * 300 + "=1"]


def test_what_belongs_to_an_option_is_no_run() -> None:
    assert with_runs(["--cfg", "job"]) == ["--cfg", "job"]
    assert with_runs(["a", "--config-dir", "conf", "-c", "job", "b"]) == [
        "runs=['a','b']", "--config-dir", "conf", "-c", "job"
    ]  # fmt: skip
    assert with_runs(["--resolve", "a", "--config-dir=conf"]) == ["--resolve", "runs=['a']", "--config-dir=conf"]


def test_a_run_whose_folder_is_named_after_its_overrides_is_found(tmp_path: Path) -> None:
    (tmp_path / "multirun").mkdir()
    run(tmp_path / "multirun" / "lr=0.1,seed=1"), run(tmp_path / "+lr=0.2", settings={"optimizer": {"lr": 0.2}})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        words = with_runs(["multirun/lr=0.1,seed=1", "+lr=0.2", "draws=300"])
    ended = compare(*words, cwd=tmp_path)
    assert ended.code == 0, ended.errors
    assert ended.output.splitlines()[1].startswith("lr=0.1,seed=1 ")


def test_the_forest_plot_shows_each_difference(tmp_path: Path) -> None:
    rows = rows_of(run(tmp_path / "a"), run(tmp_path / "b", worse(FOUND, 0.6)), run(tmp_path / "c", worse(FOUND, 0.02)))
    assert draw_forest(tmp_path / "f.png", rows, "map50", confidence=0.95).stat().st_size > 5000
