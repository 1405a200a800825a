"""README's tour and its five commands for one's own data run as they stand, only with less to do, and leave what they
promise."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from command_line import SMOKE
from documented import REPOSITORY, Command, split
from format_writers import write_evt3
from running import COMMANDS, run

from spikeyolo.events.simulator.synthetic import SyntheticDataset

pytestmark = pytest.mark.slow
README = (REPOSITORY / "README.md").read_text()
# What each command of the tour is told besides, so that it has as little to do as can be.
LESS = {
    "train": (*SMOKE[1:], "trainer.max_epochs=1", "data.dataset.test_sequences=2", "logger=none"),
    "evaluate": ("threads=1", "costs=false"),
    "predict": ("threads=1",),
    "view": ("duration_us=10000", "fps=5"),
}
SMALL_TRAINING = (
    *("data.train_until_us=40000", "data.slice_duration_us=500", "data.time_steps=2", "data.max_samples_per_file=4"),
    *("model=femto", "trainer.max_epochs=1", "trainer.threads=1", "logger=none", "data.batch_size=4"),
)


def block(mark: str) -> list[Command]:
    """The commands between two marks of README."""
    text = README.partition(f"<!-- {mark} -->\n```sh\n")[2].partition("```")[0]
    return [Command("README.md", tuple(words)) for words in split(text)]


@pytest.mark.long
def test_the_tour_runs_from_training_to_export(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs spikeyolo[export]")
    tour = block("tour")
    said = {}
    assert {command.module for command in tour} == set(COMMANDS) - {"convert", "doctor"}
    for command in tour:
        less = LESS.get(str(command.module), ())
        if command.arguments[0] == "-m":
            less = (*LESS["train"], "hydra.sweeper.n_trials=1", "hydra.sweeper.n_jobs=1", "hydra.sweeper.figures=false")
        said[command.module] = run(command, *less, cwd=tmp_path)
    for left in (
        "runs/spikes/metrics.json",
        "runs/spikes/evaluation/test/coco/evaluation.html",
        "runs/spikes/checkpoints/best.onnx",
        "runs/spikes/evaluation/test/tracks.parquet",
        "demo/demo.mp4",
        "found/detections.parquet",
        "film.gif",
        "multirun/highfreq/study.journal",
    ):
        assert (tmp_path / left).exists(), left
    assert "Relu" in said["compare"].output
    assert re.search(r"HOTA|hota", said["track"].output + said["track"].errors)


def test_five_commands_lead_from_a_raw_file_and_a_csv_to_a_trained_model(tmp_path: Path) -> None:
    scene = SyntheticDataset(root=str(tmp_path / "scene"), classes=("disc",), width=96, height=96, duration_us=60_000)
    events, boxes = scene.simulate("train", 0)
    (tmp_path / "street.raw").write_bytes(write_evt3(events))
    with open(tmp_path / "street.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["t_us", "x", "y", "w", "h", "class", "track"])
        for t, (left, top, right, bottom), number in zip(boxes.t, boxes.xyxy, boxes.track_id, strict=True):
            writer.writerow([int(t), left, top, right - left, bottom - top, "car", int(number)])
    commands = block("own data")
    assert len(commands) == 5
    less = {"train": SMALL_TRAINING, "evaluate": LESS["evaluate"], "predict": LESS["predict"]}
    said = [run(command, *less.get(str(command.module), ()), cwd=tmp_path) for command in commands]
    assert f"{len(events.t):,}" in said[0].output + said[0].errors
    for left in ("look.png", "runs/street/checkpoints/best"):
        assert (tmp_path / left).exists(), left
    assert list(tmp_path.glob("runs/street/evaluation/*/coco/evaluation.html"))
    assert (tmp_path / "street" / "detections.parquet").is_file()
