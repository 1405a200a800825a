"""The whole path at its smallest, as a user starts it: what a run leaves behind, and that it can be had again."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import SMOKE, Ended, run_folder, train, train_process
from mlflow import MlflowClient
from mlflow.entities import Run

from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.checkpoints.restore import restore_detector
from spikeyolo.mlflow_store import open_client
from spikeyolo.model.decode import Decoder


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Ended]:
    """The folder a smoke run was started in, the run's own folder, and how it ended."""
    cwd = tmp_path_factory.mktemp("bare")
    ended = train_process(*SMOKE, "trainer.device=cpu", "hydra.verbose=true", cwd=cwd)
    return cwd, run_folder(cwd), ended


@pytest.fixture(scope="module")
def tracked(smoke: tuple[Path, Path, Ended]) -> tuple[MlflowClient, Run]:
    """What ``mlflow ui`` would show in that folder."""
    client = MlflowClient(f"sqlite:///{smoke[0] / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name == "spikeyolo"]
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def figures(folder: Path) -> dict[str, Any]:
    """Everything measured but the times."""
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    times = ("seconds_per_epoch", "warm_up_seconds", "data_wait_share", "speed/")
    return {name: value for name, value in found.items() if not name.startswith(times)}


def test_a_smoke_run_ends_well_and_leaves_nothing_unexpected(smoke: tuple[Path, Path, Ended]) -> None:
    cwd, folder, ended = smoke
    assert ended.code == 0, ended.errors
    assert sorted(path.name for path in cwd.iterdir()) == ["data", "mlflow.db", "mlruns", "outputs"]
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    files = [name for name in files if name != "environment/uncommitted.diff"]  # where the checkout has changes
    names = {re.sub(r"/\d{6}/", "/NUMBER/", name) for name in files}
    assert len(names) == len(files)
    (log,) = [name for name in names if re.fullmatch(r"training_\d{8}_\d{6}\.log", name)]
    assert names == {
        log,
        ".hydra/config.yaml",
        ".hydra/hydra.yaml",
        ".hydra/overrides.yaml",
        "environment/environment.json",
        "environment/packages.txt",
        "metrics.csv",
        "metrics.json",
        "checkpoints/best/state.json",
        "checkpoints/best/weights.safetensors",
        "checkpoints/best/NUMBER/weights.safetensors",
        "checkpoints/last/state.json",
        "checkpoints/last/weights.safetensors",
        "checkpoints/last/NUMBER/weights.safetensors",
        "checkpoints/last/NUMBER/training.pt",
        "figures/predictions.png",
        "figures/history.png",
        "figures/precision_recall.png",
        "figures/confusion.png",
        "figures/energy.png",
        "figures/energy.csv",
    }
    assert all((folder / name).stat().st_size > 0 for name in files)


def test_metrics_json_is_flat_and_names_what_matters(smoke: tuple[Path, Path, Ended]) -> None:
    found = json.loads((smoke[1] / "metrics.json").read_text())
    assert all(value is None or isinstance(value, (int, float)) for value in found.values())
    assert {"val/map50", "val/map", "last/train/total", "seconds_per_epoch"} <= set(found)
    assert any(name.startswith("val/ap50/") for name in found)
    assert 0 <= found["val/map50"] <= 1
    assert found["epochs"] == 2


def test_metrics_csv_has_a_row_an_epoch_and_every_term_of_the_loss(smoke: tuple[Path, Path, Ended]) -> None:
    found = rows(smoke[1])
    assert [row["epoch"] for row in found] == ["1.0", "2.0"]
    for row in found:
        terms = [float(row[f"train/{name}"]) for name in ("box", "class", "dfl")]
        assert sum(terms) == pytest.approx(float(row["train/total"]), rel=1e-5)
        assert float(row["train/lr"]) > 0
    assert float(found[1]["train/total"]) < float(found[0]["train/total"])


def test_the_saved_configuration_and_checkpoint_say_what_was_trained(smoke: tuple[Path, Path, Ended]) -> None:
    _, folder, _ = smoke
    config = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
    assert (config["name"], config["trainer"]["max_epochs"]) == ("smoke", 2)
    state = checkpoint.read_state(folder / "checkpoints" / "best")
    assert state["classes"] == config["data"]["classes"]
    assert state["model"]["width"] == config["model"]["width"]
    assert {role: len(spans) for role, spans in state["recordings"].items()} == {"train": 4, "val": 2}


def test_counts_are_said_and_a_verbose_run_tells_of_each_recording(smoke: tuple[Path, Path, Ended]) -> None:
    errors = smoke[2].errors
    assert re.search(r"^train: 4 recordings \(0 without labels\), \d+ boxes, \d+ windows of 4 × 100 µs$", errors, re.M)
    assert re.search(r"^val: 2 recordings \(0 without labels\), \d+ boxes, \d+ windows of 4 × 100 µs$", errors, re.M)
    line = r"sequence_\d{4}.zarr: \d+ events \[\d+–\d+ µs\] → \d+ boxes, \d+ labelled windows"
    assert len(re.findall(line, errors)) == 6
    for noise in ("findfont", "bytecode", "FutureWarning"):
        assert noise not in errors


def test_the_log_file_holds_what_the_terminal_showed(smoke: tuple[Path, Path, Ended]) -> None:
    (log,) = smoke[1].glob("training_*.log")
    text = log.read_text()
    assert "INFO spikeyolo.engine.run: epoch 2/2" in text
    assert "DEBUG spikeyolo.windows.chosen: sequence_0000.zarr" in text


def test_the_tracked_run_has_every_parameter_and_says_where_it_took_place(
    smoke: tuple[Path, Path, Ended], tracked: tuple[MlflowClient, Run]
) -> None:
    _, run = tracked
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "smoke femto adamw s0"
    assert run.data.params["trainer.max_epochs"] == "2"
    chosen = {"model": "femto", "optimizer": "adamw", "model/neuron": "ilif", "experiment": "smoke"}
    assert chosen.items() <= run.data.params.items()
    assert not [name for name in run.data.params if "_target_" in name or name.startswith(("hydra", "logger"))]
    assert run.data.params["data.dataset.train_sequences"] == "4"
    assert run.data.params["optimizer.lr"] == "0.003"
    assert run.data.tags["overrides"].split()[: len(SMOKE)] == list(SMOKE)
    assert run.data.tags["device"] == "cpu"
    assert run.data.tags["folder"] == str(smoke[1].resolve())  # compare finds the run by its id
    assert "version.torch" in run.data.tags
    if (Path(__file__).parents[1] / ".git").exists():
        assert re.fullmatch(r"[0-9a-f]{40}", run.data.tags["git_commit"])


def test_the_tracked_table_shows_metrics_json_and_the_curves_are_the_epochs(
    smoke: tuple[Path, Path, Ended], tracked: tuple[MlflowClient, Run]
) -> None:
    client, run = tracked
    written = json.loads((smoke[1] / "metrics.json").read_text())
    shown = {name: value for name, value in run.data.metrics.items() if not name.startswith(("system/", "curves/"))}
    assert shown.keys() == written.keys()
    for name, value in written.items():
        assert shown[name] == pytest.approx(math.nan if value is None else value, nan_ok=True), name
    epochs = rows(smoke[1])
    times = set()
    for name, column in (
        ("curves/loss", "train/total"),
        ("curves/map", "val/map"),
        ("curves/map50", "val/map50"),
        ("last/train/box", "train/box"),
        ("last/val/recall", "val/recall"),
    ):
        # The costs of the best checkpoint are sent with the figures once more.
        history = {metric.step: metric for metric in client.get_metric_history(run.info.run_id, name)}
        assert sorted(history) == [1, 2]
        for metric, row in zip((history[1], history[2]), epochs, strict=True):
            assert metric.value == pytest.approx(float(row[column]), nan_ok=True)
        if name.startswith("curves/"):
            times |= {(metric.step, metric.timestamp) for metric in history.values()}
    assert len(times) == 2  # one time an epoch: all of it was sent at once
    # MLflow's page of charts is in the order of names.
    assert min(name.rpartition("/")[0] for name in run.data.metrics if "/" in name) == "curves"


def test_the_tracked_run_says_what_it_learnt_from_and_where_it_is(
    smoke: tuple[Path, Path, Ended], tracked: tuple[MlflowClient, Run]
) -> None:
    _, run = tracked
    used = {item.tags[0].value: item.dataset for item in run.inputs.dataset_inputs}
    assert {split: item.name for split, item in used.items()} == {"train": "single_shapes", "val": "single_shapes"}
    assert used["train"].digest != used["val"].digest
    assert json.loads(used["train"].profile)["recordings"] == 4
    tags = run.data.tags
    assert tags["mlflow.source.name"] == "spikeyolo.train"
    assert "+experiment=smoke" in tags["mlflow.note.content"]
    assert str(smoke[1]) in tags["mlflow.note.content"]
    assert run.data.metrics["system/cpu_utilization_percentage"] >= 0
    state = checkpoint.read_state(smoke[1] / "checkpoints" / "last")
    assert state["run_id"] == run.info.run_id


def test_the_tracked_model_is_registered_and_loaded_without_a_pickle(
    smoke: tuple[Path, Path, Ended], tracked: tuple[MlflowClient, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickle

    import mlflow

    _, run = tracked
    (output,) = run.outputs.model_outputs
    found = json.loads((smoke[1] / "metrics.json").read_text())
    assert output.step == found["best_epoch"]
    uri = f"sqlite:///{smoke[0] / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    try:
        mlflow.register_model(f"models:/{output.model_id}", "shapes")
        with monkeypatch.context() as patch:
            patch.setattr(pickle, "load", None)
            patch.setattr(pickle, "loads", None)
            model = mlflow.pyfunc.load_model("models:/shapes/1")
        frames = np.random.default_rng(0).integers(0, 3, (3, 4, 2, 64, 64), dtype=np.uint8)  # B, T, C, H, W
        table = model.predict(frames)
    finally:
        mlflow.set_tracking_uri("")
    assert list(table.columns) == ["window", "left", "top", "right", "bottom", "confidence", "class"]
    detector, _ = restore_detector(smoke[1] / "checkpoints" / "best")
    with torch.inference_mode():
        expected = Decoder()(detector(torch.from_numpy(frames).transpose(0, 1)), frame_size=(64, 64))
    assert len(table) == sum(map(len, expected)) > 0
    np.testing.assert_allclose(table["confidence"], np.concatenate([one.score for one in expected]), rtol=1e-5)
    assert set(table["class"]) <= {"disc", "triangle", "cross"}


def test_a_mistake_in_labels_leaves_no_run_behind(smoke: tuple[Path, Path, Ended], tmp_path: Path) -> None:
    cwd = tmp_path / "start"
    cwd.mkdir()
    shutil.copy(smoke[0] / "mlflow.db", cwd / "mlflow.db")
    recording = tmp_path / "recording"
    labels = np.zeros(1, [("t", "<i8"), ("x", "<f4"), ("y", "<f4"), ("w", "<f4"), ("h", "<f4"), ("class_id", "u1")])
    labels["class_id"], labels["t"], labels["w"], labels["h"] = 77, 5000, 9, 9
    for split in ("train", "val"):
        (recording / split).mkdir(parents=True)
        events = "".join(f"{t},1,1,1\n" for t in range(0, 9000, 10))
        (recording / split / "a.csv").write_text(f"t,x,y,p\n{events}")
        np.save(recording / split / "a_bbox.npy", labels)
    before = runs(cwd)
    options = ("data=folders", f"data.root={recording}", "data.classes=[car]", "data.size=[64,64]", "trainer.threads=1")
    ended = train(*options, "model=femto", cwd=cwd)
    assert ended.code == 2, ended.errors
    assert "77" in ended.errors
    assert runs(cwd) == before


def runs(cwd: Path) -> set[str]:
    client = open_client(f"sqlite:///{cwd / 'mlflow.db'}")
    return {run.info.run_id for run in client.search_runs([e.experiment_id for e in client.search_experiments()])}


def test_the_tracked_artifacts_are_the_files_of_the_run(
    smoke: tuple[Path, Path, Ended], tracked: tuple[MlflowClient, Run], tmp_path: Path
) -> None:
    client, run = tracked
    listed = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert listed == {"config", "checkpoints", "environment", "figures", "metrics.csv", "metrics.json"}
    assert {item.path for item in client.list_artifacts(run.info.run_id, "figures")} >= {"figures/predictions.png"}
    fetched = client.download_artifacts(run.info.run_id, "checkpoints/best/weights.safetensors", str(tmp_path))
    original = smoke[1] / "checkpoints" / "best" / "weights.safetensors"
    assert Path(fetched).read_bytes() == original.read_bytes()


def test_the_same_command_finds_its_recordings_again_and_gives_the_same_digits_in_whatever_latency_is_measured(
    smoke: tuple[Path, Path, Ended],
) -> None:
    cwd, first, _ = smoke
    made = {path: path.stat().st_mtime_ns for path in (cwd / "data").rglob("*") if path.is_file()}
    ended = train(*SMOKE, "trainer.device=cpu", "logger=none", "inference.precision=bfloat16", cwd=cwd)
    assert ended.code == 0, ended.errors
    assert "measuring latency in torch, bfloat16" in ended.errors
    assert "measuring latency in torch, float32" in smoke[2].errors
    second = run_folder(cwd)
    assert second != first
    assert {path: path.stat().st_mtime_ns for path in (cwd / "data").rglob("*") if path.is_file()} == made
    timed = {"seconds"}
    assert [{k: v for k, v in row.items() if k not in timed} for row in rows(second)] == [
        {k: v for k, v in row.items() if k not in timed} for row in rows(first)
    ]
    assert figures(second) == figures(first)
    for name in ("best", "last"):
        weights = [(folder / "checkpoints" / name / "weights.safetensors").read_bytes() for folder in (first, second)]
        assert weights[0] == weights[1]


def test_a_multirun_trains_one_job_a_choice_and_another_seed_gives_another_run(smoke: tuple[Path, Path, Ended]) -> None:
    cwd, first, _ = smoke
    recordings = sorted((cwd / "data").rglob("*.zarr"))
    options = ("trainer.max_epochs=1", "trainer.device=cpu", "logger=none", "seed=1")
    ended = train("-m", *SMOKE, *options, "optimizer=sgd,adamw", cwd=cwd, reviewed=False)
    assert ended.code == 0, ended.errors
    jobs = sorted(path.parent for path in (cwd / "multirun").rglob(".hydra"))
    assert [job.name for job in jobs] == ["0", "1"]
    targets = [yaml.safe_load((job / ".hydra" / "config.yaml").read_text())["optimizer"]["_target_"] for job in jobs]
    assert [target.rpartition(".")[2] for target in targets] == ["Sgd", "AdamW"]
    assert all(figures(job)["epochs"] == 1 for job in jobs)
    assert rows(jobs[1])[0]["train/total"] != rows(first)[0]["train/total"]
    assert sorted((cwd / "data").rglob("*.zarr")) == recordings  # the seed of the data is its own


def test_a_multirun_with_a_mistake_ends_in_its_sentence(smoke: tuple[Path, Path, Ended]) -> None:
    ended = train("-m", *SMOKE, "logger=none", "trainer.max_epochs=0,-1", cwd=smoke[0])
    assert ended.code == 2
    assert ended.error_lines == ["error: trainer.max_epochs: found 0; expected greater than or equal to 1"]


def test_the_energy_of_a_network_that_finds_nothing_is_said_to_be_so(smoke: tuple[Path, Path, Ended]) -> None:
    assert json.loads((smoke[1] / "metrics.json").read_text())["val/map50"] < 0.01
    assert "of a network that finds nothing" in smoke[2].errors


def test_learning_rates_can_be_looked_at_and_found_before_a_training(
    smoke: tuple[Path, Path, Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikeyolo.training.rates.UPDATES", 40)  # less than half, for the tests' time
    before = runs(smoke[0])
    ended = train(*SMOKE, "trainer.preview_schedule=true", "trainer.range_test=true", cwd=smoke[0])
    assert ended.code == 0, ended.errors
    folder = run_folder(smoke[0])
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"figures/schedule.png", "figures/range_test.png", "range_test.csv"} <= files
    assert not [name for name in files if name.startswith(("checkpoints", "metrics"))]
    assert runs(smoke[0]) == before
    assert "learning rates from 3.00e-03 over " in ended.errors
    (found,) = re.findall(r"try optimizer.lr=(\S+?),", ended.errors)
    assert 1e-5 < float(found) < 0.3
    with (folder / "range_test.csv").open(newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert min(losses) < losses[0]


def test_a_loss_that_explodes_names_its_first_term_and_step(smoke: tuple[Path, Path, Ended]) -> None:
    options = ("logger=none", "optimizer=sgd", "optimizer.lr=1e30", "trainer.clip_gradient=null")
    ended = train(*SMOKE, *options, cwd=smoke[0])
    assert ended.code == 2
    (line,) = ended.error_lines
    assert re.search(r"loss term '\w+' is not finite at step \d+; training stopped .*there is no checkpoint yet$", line)
    assert not (run_folder(smoke[0]) / "checkpoints").exists()


def test_a_checkpoint_of_another_model_or_of_other_classes_is_refused_before_data_is_made(
    smoke: tuple[Path, Path, Ended], tmp_path: Path
) -> None:
    resume = f"trainer.resume={smoke[1] / 'checkpoints' / 'last'}"
    for change, expected in (
        ("model=pico", "model.width: found 0.125, where the checkpoint has 0.0625; cannot change"),
        ("data.classes=[disc,cross]", "a checkpoint of the classes ['disc', 'triangle', 'cross']; this run's are ['di"),
        ("data.classes=[cross,triangle,disc]", "a checkpoint of the classes ['disc', 'triangle', 'cross']"),
    ):
        ended = train(*SMOKE, "logger=none", change, resume, cwd=tmp_path)
        assert ended.code == 2
        assert expected in ended.errors
        assert len(ended.errors.splitlines()) == 1
    best = f"trainer.resume={smoke[1] / 'checkpoints' / 'best'}"
    ended = train(*SMOKE, "logger=none", best, cwd=tmp_path)
    assert "training.pt: missing; expected a checkpoint to go on from, such as checkpoints/last" in ended.errors
    assert not (tmp_path / "data").exists()


def test_a_checkpoint_of_other_data_is_refused_before_the_run_is_tracked(
    smoke: tuple[Path, Path, Ended], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(smoke[1] / "checkpoints" / "last", other, symlinks=True)
    state = json.loads((other / "state.json").read_text())
    kept = state["digests"]["val"]
    (other / "state.json").write_text(json.dumps({**state, "digests": {**state["digests"], "val": "0" * 16}}))
    before = runs(smoke[0])
    ended = train(*SMOKE, f"trainer.resume={other}", "trainer.max_epochs=3", cwd=smoke[0])
    assert ended.code == 2
    assert f"error: val: recordings or labels with digest {kept}, where {other} was trained with {'0' * 16};" in (
        ended.errors
    )
    assert runs(smoke[0]) == before


def test_a_finished_run_can_be_gone_on_with_and_keeps_its_best(smoke: tuple[Path, Path, Ended]) -> None:
    cwd, first, _ = smoke
    options = ("logger=none", "trainer.device=cpu", f"trainer.resume={first / 'checkpoints' / 'last'}")
    same = train(*SMOKE, *options, cwd=cwd)  # nothing is left to train: it only draws and reports
    assert same.code == 0, same.errors
    assert figures(run_folder(cwd)) == figures(first)
    best = [(folder / "checkpoints" / "best" / "weights.safetensors") for folder in (first, run_folder(cwd))]
    assert best[0].read_bytes() == best[1].read_bytes()
    tracked_before = runs(cwd)
    longer = train(*SMOKE, *options[1:], "trainer.max_epochs=3", cwd=cwd)
    assert longer.code == 0, longer.errors
    assert runs(cwd) == tracked_before  # the same MLflow run has gone on
    run_id = checkpoint.read_state(first / "checkpoints" / "last")["run_id"]
    kept = open_client(f"sqlite:///{cwd / 'mlflow.db'}").get_run(run_id)
    assert (kept.info.status, kept.data.metrics["epochs"]) == ("FINISHED", 3)
    after = rows(run_folder(cwd))
    assert [row["epoch"] for row in after] == ["1.0", "2.0", "3.0"]
    assert after[:2] == rows(first)


def test_a_runs_own_configuration_repeats_it_digit_for_digit(smoke: tuple[Path, Path, Ended]) -> None:
    cwd, first, _ = smoke
    repeat = cwd / "repeat"
    options = ("--config-dir", str(first / ".hydra"), "--config-name", "config", f"hydra.run.dir={repeat}")
    ended = train(*options, cwd=cwd, reviewed=False)
    assert ended.code == 0, ended.errors
    untimed = [[{k: v for k, v in row.items() if k != "seconds"} for row in rows(run)] for run in (first, repeat)]
    assert untimed[0][:2] == untimed[1]
    weights = [run / "checkpoints" / "best" / "weights.safetensors" for run in (first, repeat)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


# Of SMOKE with seed 0, and the processors they were computed on: others round otherwise.
GOLDEN = {"AVX2": [8.688810110092163, 7.549695253372192]}  # AMD EPYC, torch 2.14.1


def test_the_smoke_runs_losses_are_what_they_were(smoke: tuple[Path, Path, Ended]) -> None:
    family = torch.backends.cpu.get_cpu_capability()
    if family not in GOLDEN:
        pytest.skip(f"golden losses are known for {', '.join(GOLDEN)}, this processor is {family}")
    assert [float(row["train/total"]) for row in rows(smoke[1])[:2]] == pytest.approx(GOLDEN[family], rel=1e-4)
