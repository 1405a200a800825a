"""A network of few bits and channels: trained, saved, loaded and gone on with as such."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import SMOKE, run_folder, train

from spikeyolo.engine.checkpoints.restore import restore_detector
from spikeyolo.model.blocks import SpikingConv
from spikeyolo.model.detector import Detector
from spikeyolo.model.inference import weight_bytes
from spikeyolo.model.neuron import Ilif
from spikeyolo.model.pruning import hidden_channels

SMALLER = (
    *SMOKE,
    "logger=none",
    "model.weight_bits=8",
    "loss.firing_rate.weight=0.1",
    "+pruning=channels",
    "trainer.callbacks.channels.first_epoch=2",
    "trainer.callbacks.channels.last_epoch=2",
)


def hidden_sizes(detector: Detector) -> dict[str, int]:
    return {hidden.name: len(hidden.heard()) for hidden in hidden_channels(detector)}


@pytest.mark.long
def test_a_pruned_network_of_eight_bits_is_saved_loaded_measured_and_gone_on_with_as_such(tmp_path: Path) -> None:
    ended = train(*SMALLER, cwd=tmp_path)
    assert ended.code == 0, ended.errors
    run = run_folder(tmp_path)
    detector, state = restore_detector(run / "checkpoints" / "best")
    assert state["position"]["best_epoch"] == 1  # of the pruned epoch, whatever the one before it saw
    whole = {key: state["model"][key] for key in ("depth", "width", "p5_ratio")}
    expected = hidden_sizes(Detector(num_classes=len(state["classes"]), neuron=Ilif, **whole))
    assert hidden_sizes(detector) == {name: size - round(0.5 * size) for name, size in expected.items()}
    assert {unit.weight_bits for unit in detector.modules() if isinstance(unit, SpikingConv)} == {8}
    figures = json.loads((run / "metrics.json").read_text())
    assert figures["size/weight_bytes"] == weight_bytes(detector)
    assert figures["last/train/firing_rate"] > 0

    going_on = f"trainer.resume={run}/checkpoints/last"
    refused = train(*SMALLER, going_on, "trainer.max_epochs=3", "model.weight_bits=4", cwd=tmp_path)
    assert refused.code == 2
    assert "model.weight_bits: found 4, where the checkpoint has 8" in refused.error_lines[-1]
    ended = train(*SMALLER, going_on, "trainer.max_epochs=3", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    assert hidden_sizes(restore_detector(run_folder(tmp_path) / "checkpoints" / "last")[0]) == hidden_sizes(detector)


def test_what_cannot_be_is_refused_by_name(tmp_path: Path) -> None:
    for override, sentence in {
        "model.weight_bits=2": "model.weight_bits: found 2",
        "trainer.compile=true": "loss.firing_rate.weight: found 0.1 with trainer.compile=true",
        "model/neuron=relu model.weight_bits=8": "model.weight_bits=8 is for weights that meet spikes, found",
        "trainer.callbacks.channels.share=1": "trainer.callbacks.channels.share: found 1",
        "trainer.callbacks.channels.share=0": "trainer.callbacks.channels.share: found 0",
        "trainer.callbacks.channels.last_epoch=1": "pruning.last_epoch: found 1; expected at least first_epoch, 2",
    }.items():
        ended = train(*SMALLER, *override.split(), cwd=tmp_path)
        assert ended.code == 2
        assert sentence in ended.error_lines[-1]
