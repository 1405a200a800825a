"""A run's folder as training leaves it, of a network that was never trained: quick to make, whose scores are low."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from spikeyolo import schema
from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.entry import config_directory
from spikeyolo.model.norm import Norm
from spikeyolo.train import GROUPS

SMALL = (
    "+experiment=smoke",
    "data.batch_size=4",
    "data.max_samples_per_file=3",
    "data.dataset.train_sequences=1",
    "data.dataset.val_sequences=2",
    "data.dataset.duration_us=12000",
    "data.dataset.label_rate_hz=1000",
    "data.encoder.downsample=2",
    "evaluator.confidence=0.01",
    "evaluator.iou=0.95",
)


def small_config(*overrides: str) -> DictConfig:
    """Of such a run."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose("train", [*SMALL, *overrides])


def small_run(cwd: Path, *overrides: str) -> Path:
    """Write ``cwd/run`` with ``checkpoints/best`` and the stored configuration; returns the checkpoint."""
    config = small_config(*overrides)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        data = schema.build(config.data)
        torch.manual_seed(0)
        detector = schema.build(config.model, num_classes=len(data.classes), in_channels=data.encoder.channels)
        batch = next(data.train_loader(augmentation=None, seed=0).epoch(0))
        data.parts("val")
        with torch.no_grad():  # norms that know their inputs, so that neurons fire and scores differ
            for module in detector.modules():
                if isinstance(module, Norm):
                    module.momentum = 1 - (1 - module.momentum) ** 60  # as after sixty times the same windows
            detector(batch.frames)
            for branch in detector.head.classes:
                branch.layers[-1].synapse.bias.fill_(-1.0)
                branch.layers[-1].synapse.weight.mul_(30.0)
        composed: Any = OmegaConf.to_container(config, resolve=True)
        state = {
            "classes": list(data.classes),
            "in_channels": data.encoder.channels,
            "model": composed["model"],
            "encoder": composed["data"]["encoder"],
            "windows": asdict(data.rules),
            "recordings": {role: data.spans(role) for role in ("train", "val")},
            "settings": {name: composed[name] for name in ("seed", *GROUPS) if name != "logger"},
        }
        folder = cwd / "run" / "checkpoints" / "best"
        checkpoint.save(folder, weights=detector, training=None, state=state)
        (cwd / "run" / ".hydra").mkdir()
        OmegaConf.save(config, cwd / "run" / ".hydra" / "config.yaml")
    return folder
