"""A training in lanes validates as ``evaluate windows=every carry=true`` does: whole recordings, at the labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import evaluate
from omegaconf import OmegaConf
from small_run import small_run

from spikeyolo import schema
from spikeyolo.detections import DetectionTable
from spikeyolo.engine.checkpoints import restore
from spikeyolo.evaluation.looks import WholeRecordings


@pytest.mark.long
def test_the_figures_and_the_truth_of_a_training_in_lanes_are_those_of_evaluate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 12 ms are 24 windows of 5 slices: the last label lies in a last window, which is not whole.
    checkpoint = small_run(
        tmp_path, "data.sampling=streaming", "data.time_steps=7", "data.batch_size=2", "data.dataset.label_rate_hz=900"
    )
    monkeypatch.chdir(tmp_path)
    config = OmegaConf.load("run/.hydra/config.yaml")
    data = schema.build(config.data)
    loader = data.val_loader()
    looks = WholeRecordings(data, data.parts("val"))
    truth = {
        (int(stretch.recording[0]), int(stretch.ends_us[step, 0])): stretch.truth.xyxy[stretch.step == step]
        for stretch in looks
        for step in np.flatnonzero(stretch.scored[:, 0])
    }
    scale = data.encoder.placement().scale_x
    batches = list(loader.epoch(0))
    found = {
        (window.recording, window.start_us + 100 * (step + 1)): batch.targets.xyxy[
            (batch.targets.batch_index == row) & (batch.targets.time_step == step)
        ].numpy()
        / scale
        for batch in batches
        for row, window in enumerate(batch.windows)
        for step in batch.targets.supervised[:, row].nonzero().flatten().tolist()
    }
    assert found.keys() == truth.keys()
    assert len(found) == loader.dataset.looks > 10
    for key, boxes in truth.items():
        np.testing.assert_allclose(found[key], boxes, atol=1e-4)
    detector, _ = restore.restore_detector(checkpoint)
    evaluator = schema.build(config.evaluator, classes=data.classes)
    cpu = torch.device("cpu")
    own = evaluator.evaluate(detector, batches, device=cpu)
    done = evaluate(
        "checkpoint=run/checkpoints/best", "split=val", "windows=every", "carry=true", "pixels=frame", "out=every",
        "costs=false", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.errors
    figures = json.loads((tmp_path / "every" / "coco" / "scores.json").read_text())["figures"]
    assert figures["map50"] == pytest.approx(own["map50"], abs=1e-6)
    table = DetectionTable.read(tmp_path / "every" / "detections.parquet")
    looked_at = 0
    for batch, step, every in evaluator.detections(detector, batches, device=cpu):
        for row in batch.targets.supervised[step].nonzero().flatten().tolist():
            window, one = batch.windows[row], every[row]
            rows = (table.recording == window.recording) & (table.t_us == window.start_us + 100 * (step + 1))
            assert rows.sum() == len(one) > 0
            np.testing.assert_allclose(np.sort(table.score[rows]), np.sort(one.score), rtol=1e-4)
            looked_at += 1
    assert looked_at == len(truth)
    fresh = evaluate(
        "checkpoint=run/checkpoints/best", "split=val", "windows=as_trained", "out=trained", "costs=false", cwd=tmp_path
    )
    assert fresh.code == 2
    (line,) = fresh.error_lines
    assert "windows=every carry=true" in line
