"""A run's name in MLflow tells what its command line chose."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from spikeyolo.training.tracked import USUAL_NEURON, run_name

CHOSEN = {"model": "femto", "model/neuron": "ilif", "optimizer": "adamw", "augment": "none", "hydra/launcher": "basic"}


@pytest.mark.parametrize(
    ("choices", "overrides", "name"),
    [
        ({}, ["+experiment=smoke"], "smoke femto adamw s0"),
        ({"model/neuron": "relu"}, ["model/neuron=relu"], "smoke femto relu adamw s0"),
        ({"model/neuron": "relu_as_run"}, [], "smoke femto relu adamw s0"),  # of a run that is repeated
        ({"augment": "strong"}, ["augment=strong", "optimizer.lr=0.1"], "smoke femto strong adamw s0"),
        (
            {"pruning": "channels", "logger": "none"},
            ["+pruning=channels", "logger=none"],
            "smoke femto channels adamw s0",
        ),
    ],
)
def test_a_name_tells_what_was_chosen(choices: dict[str, str], overrides: list[str], name: str) -> None:
    assert run_name({"name": "smoke", "seed": 0}, {**CHOSEN, **choices}, overrides) == name


def test_the_usual_neuron_is_that_of_every_model() -> None:
    for path in (Path(__file__).parents[1] / "conf" / "model").glob("*.yaml"):
        assert {"neuron": USUAL_NEURON} in OmegaConf.load(path).defaults, path
