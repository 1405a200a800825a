"""A run learns from a teacher, goes on with it, and refuses one that is gone or does not fit, as a user would do it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import SMOKE, train

RUN = (*SMOKE, "logger=none", "trainer.max_epochs=1", "data.max_samples_per_file=2", "data.dataset.val_sequences=1")


@pytest.mark.slow
def test_a_twin_teaches_a_spiking_network_by_the_command_line(tmp_path: Path) -> None:
    ended = train(*RUN, "model/neuron=relu", "hydra.run.dir=twin", cwd=tmp_path, reviewed=False)
    assert ended.code == 0, ended.errors
    best = "twin/checkpoints/best"
    taught = (*RUN, f"loss.teacher={best}", f"model.pretrained={best}/weights.safetensors", "hydra.run.dir=student")
    for overrides, sentence in {
        (
            "loss.distillation.feature_weight=1",
            "trainer.compile=true",
        ): "feature_weight: found 1 with trainer.compile=true",
        ("data.encoder.downsample=2",): "has the encoder",
        ("data.dataset.width=160",): "was trained on frames of",
    }.items():
        refused = train(*taught, *overrides, cwd=tmp_path)
        assert refused.code == 2, overrides
        assert sentence in refused.error_lines[-1]
        assert not (tmp_path / "student" / "checkpoints").exists()
    ended = train(*taught, cwd=tmp_path)
    assert ended.code == 0, ended.errors
    figures = json.loads((tmp_path / "student" / "metrics.json").read_text())
    assert figures["last/train/teacher_class"] > 0
    assert 0 < figures["teacher_share"] < 1

    going_on = (*taught, "trainer.resume=auto", "trainer.max_epochs=2")
    (tmp_path / "twin").rename(tmp_path / "elsewhere")
    refused = train(*going_on, "model.pretrained=null", cwd=tmp_path)
    assert refused.code == 2
    assert f"loss.teacher: {best} is not there; expected a checkpoint" in refused.error_lines[-1]
    (tmp_path / "elsewhere").rename(tmp_path / "twin")
    ended = train(*going_on, cwd=tmp_path, reviewed=False)
    assert ended.code == 0, ended.errors
    assert json.loads((tmp_path / "student" / "metrics.json").read_text())["epochs"] == 2
