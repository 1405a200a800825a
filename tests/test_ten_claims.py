"""``experiments/ten_claims``: each arm switches off what it says, verdicts follow from figures, the command runs."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from experiments.ten_claims import cost
from experiments.ten_claims import run as grid
from experiments.ten_claims.claims import ALL_ON, CLAIMS, Claim, arms
from experiments.ten_claims.run import HERE, Run, runs_of, study
from experiments.ten_claims.table import FIGURES, Difference, Row, draw_forest, markdown
from spikeyolo import schema
from spikeyolo.engine.update.optimizer import build_optimizer
from spikeyolo.entry import config_directory, flatten
from spikeyolo.train import GROUPS
from spikeyolo.windows import EventData

SMALL = (
    "data.dataset.train_sequences=2",
    "data.dataset.val_sequences=1",
    "data.dataset.test_sequences=2",
    "data.dataset.width=64",
    "data.dataset.height=64",
)


def composed(*words: str) -> Any:
    GlobalHydra.instance().clear()
    search = [f"file://{HERE / 'conf'}", f"file://{HERE.parent / 'etram_like' / 'conf'}"]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose("train", [f"hydra.searchpath=[{','.join(search)}]", "+experiment=ten_claims", *words])


def settings(*words: str) -> dict[str, Any]:
    return flatten(OmegaConf.to_container(composed(*words), resolve=True))


@pytest.mark.parametrize("arm", sorted({*arms("steps"), *arms("time")}))
def test_every_arm_is_a_valid_configuration(arm: str) -> None:
    schema.check(composed(f"arm={arm}"), groups=GROUPS)


@pytest.mark.parametrize("words", [("set=etram_like",), ("budget=time",), ("set=etram_like", "budget=time")])
def test_both_sets_and_budgets_are_valid_configurations(words: tuple[str, ...]) -> None:
    schema.check(composed(*words), groups=GROUPS)


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        ("no_warm_up", {"scheduler.warmup_epochs": (3, 0)}),
        ("box_weight_2", {"loss.box_weight": (5.0, 2.0)}),
        ("few_epochs", {"trainer.max_epochs": (25, 5)}),
        ("buffer_0.1", {"data.temporal_buffer": (0.2, 0.1)}),
        ("samples_30", {"data.max_samples_per_file": (50, 30)}),
        ("bce", {"loss.classification": ("focal", "bce")}),
        ("no_smoothing", {"loss.label_smoothing": (0.1, 0.0)}),
        ("mean_loss", {"model.temporal": ("per_step", "mean")}),
    ],
)
def test_an_arm_switches_off_one_optimisation_and_changes_nothing_else(arm: str, expected: dict[str, Any]) -> None:
    on, off = settings(), settings(f"arm={arm}")
    assert {key: (on.get(key), off.get(key)) for key in on.keys() | off.keys() if on.get(key) != off.get(key)} == (
        expected
    )


@pytest.mark.parametrize(("arm", "group"), [("adamw", "optimizer."), ("step", "scheduler.")])
def test_an_arm_of_another_optimizer_or_schedule_changes_that_group_alone(arm: str, group: str) -> None:
    on, off = settings(), settings(f"arm={arm}")
    changed = {key for key in on.keys() | off.keys() if on.get(key) != off.get(key)}
    assert f"{group}_target_" in changed
    assert all(key.startswith(group) for key in changed)
    assert on["optimizer.lr"] == off["optimizer.lr"] == 0.001
    assert on["scheduler.warmup_epochs"] == off["scheduler.warmup_epochs"] == 3


def test_the_recipe_is_plain_sgd_with_momentum_and_a_cycle_up_to_its_highest_rate() -> None:
    config = composed()
    detector = schema.build(config.model, num_classes=3)
    optimizer = build_optimizer(schema.build(config.optimizer, _partial_=True), detector)
    assert (optimizer.defaults["momentum"], optimizer.defaults["nesterov"]) == (0.9, False)
    schedule = schema.build(config.scheduler)
    rates = [0.001 * schedule.factor(i / 1000, base_lr=0.001, max_epochs=25) for i in range(1000)]
    assert max(rates) == pytest.approx(0.002, rel=1e-4)
    assert rates[0] < 0.0001  # the warm-up


def test_an_arm_of_less_time_has_a_fifth_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEN_CLAIMS_MINUTES", "20")
    monkeypatch.setenv("TEN_CLAIMS_FIFTH", "4")
    assert settings("budget=time")["trainer.max_minutes"] == 20
    assert settings("budget=time", "arm=few_minutes")["trainer.max_minutes"] == 4


def embedded(tmp_path: Path, *words: str) -> EventData:
    data: EventData = schema.build(composed(f"data.store={tmp_path}", *SMALL, *words).data)
    return data


def supervised(data: EventData) -> tuple[int, int]:
    """Number of windows, and of their time steps of which something is known."""
    dataset = data.train_loader(augmentation=None, seed=0).dataset
    return len(dataset), sum(int(dataset[(0, index)].supervised.sum()) for index in range(len(dataset)))


def test_the_buffer_and_the_number_of_samples_decide_about_windows_of_the_embedded_set(tmp_path: Path) -> None:
    windows, steps = supervised(embedded(tmp_path))
    assert windows == 2 * 50
    assert supervised(embedded(tmp_path, "arm=buffer_0.1")) == (windows, pytest.approx(0.85 * steps, rel=0.05))
    assert supervised(embedded(tmp_path, "arm=samples_30"))[0] == 2 * 30


def test_where_windows_end_at_labels_and_boxes_are_interpolated_the_buffer_decides_nothing(tmp_path: Path) -> None:
    usual = ("data.slicing=around_labels", "data.max_label_gap_us=null", "data.dataset.label_rate_hz=200")
    assert supervised(embedded(tmp_path, *usual)) == supervised(embedded(tmp_path, *usual, "arm=buffer_0.1"))


CLAIM = Claim(1, "warm-up", "on", "off", "no_warm_up", 0.15, 0.25)
SEEDS = {0: 0.40, 1: 0.42, 2: 0.41}


def row(on: dict[int, float], off: dict[int, float], **changes: Any) -> Row:
    figures = {name: Difference.of(on, off) for name in FIGURES}
    return Row(CLAIM, figures | changes.pop("figures", {}), **changes)


def shifted(by: float, spread: float = 0.001) -> dict[int, float]:
    return {seed: value + by + (seed - 1) * spread for seed, value in SEEDS.items()}


def test_a_difference_is_paired_by_seed_with_students_interval() -> None:
    found = Difference.of({0: 0.5, 1: 0.6, 2: 0.7, 3: 1.0}, {2: 0.6, 1: 0.4, 0: 0.4, 4: 0.0})
    assert (found.seeds, found.mean) == (3, pytest.approx(0.4 / 3))
    half = 4.3027 * 0.057735 / math.sqrt(3)  # t(0.975, 2), the deviation of 0.1, 0.2, 0.1
    assert (found.low, found.high) == (pytest.approx(0.4 / 3 - half, abs=1e-5), pytest.approx(0.4 / 3 + half, abs=1e-5))


@pytest.mark.parametrize(
    ("on", "off", "verdict", "reason"),
    [
        (shifted(0.08), SEEDS, "holds", "+20%"),
        (shifted(0.02), SEEDS, "does not hold", "a gain, but less"),
        (shifted(-0.02), SEEDS, "does not hold", "it costs mAP"),
        (shifted(0.001, 0.01), SEEDS, "does not hold", "ends below"),
        (shifted(0.05, 0.08), SEEDS, "cannot be told here", "3 seeds"),
        (SEEDS, SEEDS, "cannot be told here", "changes nothing"),
        ({0: 0.5}, {0: 0.4}, "cannot be told here", "one seed"),
        ({0: 0.001, 1: 0.002}, {0: 0.0, 1: 0.0}, "cannot be told here", "neither learnt"),
        ({0: 0.5}, {1: 0.4}, "cannot be told here", "no seed of both"),
    ],
)
def test_a_verdict_follows_from_the_interval_and_the_claim(
    on: dict[int, float], off: dict[int, float], verdict: str, reason: str
) -> None:
    found, why = row(on, off).verdict()
    assert found == verdict
    assert reason in why


def test_what_seeds_agree_on_is_not_told_where_recordings_disagree() -> None:
    assert row(shifted(0.08), SEEDS, recordings=(0.05, 0.12)).verdict()[0] == "holds"
    assert row(shifted(0.08), SEEDS, recordings=(-0.01, 0.17)).verdict()[0] == "cannot be told here"


def test_the_table_has_a_line_a_claim_with_failures_and_the_figure_is_drawn(tmp_path: Path) -> None:
    rows = [
        row(shifted(0.08), SEEDS, recordings=(0.05, 0.12)),
        row({}, {}, failures=("no_warm_up: it | died",)),
    ]
    lines = markdown(rows, title="a study").splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines[2:]}) == 1
    assert "| holds |" in lines[4]
    assert "no_warm_up: it \\| died" in lines[5]
    assert draw_forest(tmp_path / "forest.png", rows, title="a study").stat().st_size > 1000


def test_every_claim_of_the_recipe_is_there_once() -> None:
    assert [claim.number for claim in CLAIMS] == list(range(1, 11))
    assert len(set(arms("steps"))) == len(set(arms("time"))) == 11


def placed(folder: Path, arm: str, seed: int, value: float | None) -> Run:
    """A finished training whose best epoch was scored; None: not yet."""
    run = folder / f"{arm}_{seed}"
    best = run / "checkpoints" / "best"
    best.mkdir(parents=True)
    data = {"temporal_buffer": 0.2, "max_samples_per_file": 50}
    (best / "state.json").write_text(json.dumps({"settings": {"data": data}}))
    (run / "metrics.json").write_text(json.dumps({"seconds_per_epoch": 6.0, "epochs": 10 + seed}))
    if value is not None:
        scores = run / "evaluation" / "best_test_1" / "coco" / "scores.json"
        scores.parent.mkdir(parents=True)
        figures = {"map": value + seed / 1000, "map50": 2 * value, "calibration_error": None}
        scores.write_text(json.dumps({"figures": figures}))
    return Run(arm, seed, run)


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs of a grid in which evaluation crashes wherever it is needed, and comparison wherever AdamW is."""
    scored = {ALL_ON: 0.4, "no_warm_up": 0.3, "box_weight_2": None, "adamw": 0.2}
    runs = [placed(tmp_path, arm, seed, value) for arm, value in scored.items() for seed in (0, 1)]

    def crash(config: Any) -> None:
        raise RuntimeError("no such | kernel")

    def compare_but_adamw(config: Any) -> list[Any]:
        arms = dict.fromkeys(Path(name).name.rpartition("_")[0] for name in config.runs)
        if "adamw" in arms:
            raise KeyError("recording")
        return [SimpleNamespace(low=-0.5, high=0.3, over_recordings=(-0.12, -0.08)) for _ in arms]

    monkeypatch.setattr(grid, "train", lambda *_: None)
    monkeypatch.setattr(grid, "runs_of", lambda folder: runs)
    monkeypatch.setattr(grid.evaluate, "run", crash)
    monkeypatch.setattr(grid.compare, "run", compare_but_adamw)
    return runs


def test_an_evaluation_or_comparison_that_crashes_takes_only_its_own_row(finished: list[Run], tmp_path: Path) -> None:
    rows = {row.claim.arm: row for row in study("embedded", "steps", out=tmp_path, seeds=[0, 1], jobs=1)}
    table = (tmp_path / "embedded_steps" / "table.md").read_text()
    assert len(re.findall(r"^\| \d+ \|", table, re.M)) == 10
    for seed in (0, 1):
        assert f"box_weight_2, seed {seed}: not evaluated (RuntimeError: no such \\| kernel)" in table
    assert "adamw: not compared over recordings (KeyError: 'recording')" in table
    assert rows["box_weight_2"].differences["map"].seeds == 0
    assert (rows["no_warm_up"].recordings, rows["no_warm_up"].failures) == ((0.08, 0.12), ())
    assert rows["no_warm_up"].verdict()[0] == "holds"
    assert rows["adamw"].recordings is None
    assert rows["adamw"].differences["map"].mean == pytest.approx(0.2)
    assert rows["adamw"].differences["minutes"].on == pytest.approx(1.05)
    figures = json.loads((tmp_path / "embedded_steps" / "figures.json").read_text())
    assert {row["arm"] for row in figures} == {ALL_ON, "no_warm_up", "adamw"}
    assert (tmp_path / "embedded_steps" / "forest.png").is_file()


def test_without_all_on_every_row_says_why(finished: list[Run], tmp_path: Path) -> None:
    for run in finished[:2]:
        shutil.rmtree(run.folder / "evaluation")
    rows = study("embedded", "steps", out=tmp_path, seeds=[0, 1], jobs=1)
    assert all("all_on, seed 0: not evaluated" in row.why() for row in rows)
    assert "minutes are not on record" in (tmp_path / "embedded_steps" / "table.md").read_text().lower()


def test_minutes_that_no_run_tells_are_said_to_be_missing() -> None:
    untold = {"minutes": Difference.of({}, {})}
    assert "Minutes are not on record" in markdown([row(SEEDS, SEEDS, figures=untold)], title="a study")
    assert "Minutes are not on record" not in markdown([row(SEEDS, SEEDS)], title="a study")


def test_the_cost_of_an_arm_is_its_median_round_without_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {
        "quick": iter([9.0, 9.0, 1.0, 1.0, 5.0, 5.0, 1.0, 1.0]),
        "slow": iter([9.0, 9.0, 2.0, 4.0, 3.0, 3.0, 2.0, 4.0]),
    }
    monkeypatch.setattr(cost, "endless", lambda one: iter(range(99)))
    monkeypatch.setattr(cost, "update", lambda one, batch: next(taken[one]))
    every: Any = {arm: arm for arm in taken}
    assert cost.measure(every, rounds=3, updates=2) == {"quick": 1.0, "slow": 3.0}


@pytest.mark.slow
def test_what_an_update_costs_in_each_arm_is_told_as_a_ratio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.set_num_threads", lambda threads: None)  # of the whole test run
    short = ("data.dataset.duration_us=10000", "data.batch_size=2", "data.encoder.downsample=2", "data.time_steps=2")
    found = cost.main(["--rounds", "1", "--updates", "1", f"data.store={tmp_path}", *SMALL, *short])
    assert set(found) == set(arms("steps")) - {"few_epochs"}
    assert all(seconds > 0 for seconds in found.values())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == ALL_ON
    assert lines[0].split()[-1] == "1.000"
    assert float(lines[-1].split()[-1]) == pytest.approx(found["mean_loss"] / found[ALL_ON], abs=1e-3)


@pytest.mark.slow
@pytest.mark.long
def test_the_command_trains_evaluates_compares_and_goes_on_where_a_run_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEN_CLAIMS_FIFTH", "soon")  # so that the arm of a fifth of the time fails
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(HERE.parents[1])
    short = (
        "data.dataset.duration_us=10000", "data.samples_per_epoch=4", "data.batch_size=2", "data.encoder.downsample=2",
        "data.time_steps=2", "data.slice_duration_us=400", "trainer.max_epochs=1",
        "arm=choice(all_on,few_minutes,mean_loss)",
    )  # fmt: skip
    asked: dict[str, Any] = {
        "out": tmp_path, "seeds": [0], "jobs": 1, "overrides": [f"data.store={tmp_path / 'data'}", *SMALL, *short]
    }  # fmt: skip
    rows = study("embedded", "time", **asked)
    folder = tmp_path / "embedded_time"
    runs = {run.arm: run for run in runs_of(folder)}
    assert set(runs) == {ALL_ON, "few_minutes", "mean_loss"}
    assert "max_minutes" in runs["few_minutes"].failure
    assert not runs[ALL_ON].failure
    printed = capsys.readouterr().out
    assert "held against" in printed  # of compare
    assert runs["few_minutes"].failure in (folder / "table.md").read_text()
    assert (folder / "forest.png").is_file()
    assert (folder / "comparison" / "comparison.png").is_file()
    figures = json.loads((folder / "figures.json").read_text())
    assert {row["arm"] for row in figures} == {ALL_ON, "mean_loss"}
    assert all(row["minutes"] > 0 and 0 <= row["map"] <= 1 for row in figures)
    assert rows[2].failures
    assert rows[9].differences["map"].seeds == 1
    weights = [path.stat().st_mtime_ns for path in sorted(folder.rglob("*.safetensors"))]
    again = study("embedded", "time", **asked)  # nothing is left to do
    assert [path.stat().st_mtime_ns for path in sorted(folder.rglob("*.safetensors"))] == weights
    first, second = (found[9].differences["map"] for found in (rows, again))
    assert (first.on, first.off, first.seeds) == (second.on, second.off, second.seeds)
