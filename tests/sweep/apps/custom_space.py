"""A user's own search space, as the official plugin calls it."""

from __future__ import annotations

import optuna
from omegaconf import DictConfig


def configure(config: DictConfig, trial: optuna.trial.Trial) -> None:
    assert trial.user_attrs["n"] == "7"
    high = 1.0 if config.n == 7 else 0.0
    trial.suggest_float("optimizer.momentum", 0.1, high if trial.params["x"] < 10 else 0.2)
