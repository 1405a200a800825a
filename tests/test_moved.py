"""What an older configuration or checkpoint names by its former path is still found."""

from __future__ import annotations

import pkgutil

import pytest
from omegaconf import OmegaConf

from spikeyolo import schema
from spikeyolo.model.neuron import LifBox
from spikeyolo.moved import MOVED, moved


@pytest.mark.parametrize("old", MOVED)
def test_each_former_path_is_gone_and_leads_to_a_class_of_the_same_name(old: str) -> None:
    found = pkgutil.resolve_name(MOVED[old])
    assert isinstance(found, type)
    assert found.__name__ == old.rpartition(".")[2]
    assert MOVED[old] not in MOVED


def test_targets_are_found_wherever_they_stand() -> None:
    old, new = next(iter(MOVED.items()))
    tree = {"a": [{"_target_": old, "name": old}, [{"b": {"_target_": old}}]], "_target_": "other", "none": None}
    expected = {"a": [{"_target_": new, "name": old}, [{"b": {"_target_": new}}]], "_target_": "other", "none": None}
    assert moved(tree) == expected


def test_a_model_of_an_older_configuration_is_checked_and_built() -> None:
    neuron = {"_target_": "spikeyolo.model.neuron_norse.LifBox", "_partial_": True, "membrane_rate": 0.5}
    model = {"_target_": "spikeyolo.model.detector.Detector", "depth": 0.33, "width": 0.0625, "neuron": neuron}
    config = OmegaConf.create({"model": model})
    schema.check(config, groups=("model",))
    built = schema.build(config.model, num_classes=1).backbone.down2.neuron
    assert isinstance(built, LifBox)
    assert built.membrane_rate == 0.5
