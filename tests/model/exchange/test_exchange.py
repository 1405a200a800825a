"""What is exported gives the detector's logits when it is read back."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from lively import lively
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import Tensor, nn

from spikeyolo import export, schema
from spikeyolo.errors import CheckpointError, ConfigError
from spikeyolo.model import exchange
from spikeyolo.model.blocks import Block, Chain, spiking_conv
from spikeyolo.model.detector import Detector
from spikeyolo.model.exchange import export_nir, export_onnx, export_torch
from spikeyolo.model.exchange.nir import run_nir, to_nir
from spikeyolo.model.inference.window import EXPORTERS, PlainIlif
from spikeyolo.model.neuron import Ilif, Relu
from spikeyolo.model.predictions import Predictions
from spikeyolo.model.pruning import hidden_channels, silencing
from spikeyolo.model.quantisation import steps
from spikeyolo.optional import optional

MODEL = {
    "_target_": "spikeyolo.model.detector.Detector",
    "depth": 0.1,
    "width": 0.0625,
    "neuron": {"_target_": "spikeyolo.model.neuron.ilif.Ilif", "_partial_": True},
}


def _detector(**changes: Any) -> Detector:
    torch.manual_seed(0)
    return lively(Detector(**({"num_classes": 2, "depth": 0.1, "width": 0.0625, "neuron": Ilif} | changes)))


def _frames(steps: int = 2) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 4, (steps, 1, 2, 64, 96), generator=draw, dtype=torch.uint8)


class _Small(nn.Module):
    """A block and two outputs: what the whole network, which takes long to trace, is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.units = lively(Chain(spiking_conv(None, 2, 4, 3), Block(4, 1, rep=True, neuron=Ilif)))
        self.outputs = nn.ModuleList(spiking_conv(Ilif, 4, count, 1, bias=True, norm=False) for count in (64, 2))

    def forward(self, frames: Tensor) -> Predictions:
        maps = self.units(frames.float())
        box, classes = (unit(maps).flatten(3).transpose(2, 3) for unit in self.outputs)
        return Predictions(box.unflatten(-1, (4, 16)), classes, torch.empty(0), torch.empty(0))


def test_the_plain_neuron_is_the_fused_one() -> None:
    currents = torch.randn(4, 2, 3, 5, dtype=torch.float64) * 2
    for expected, found in zip(Ilif(levels=3, decay=0.5)(currents), PlainIlif(levels=3, decay=0.5)(currents)):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    carried = Ilif()(currents)[1]
    for expected, found in zip(Ilif()(currents, carried), PlainIlif()(currents, carried)):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    with pytest.raises(ConfigError, match=r"carried along is \[2, 3, 5\], expected \[4, 3, 5\]"):
        PlainIlif()(torch.randn(1, 4, 3, 5, dtype=torch.float64), carried)
    with pytest.raises(ConfigError, match=r"carried along is \[2, 3, 5\], expected \[3, 5\]"):  # it would broadcast
        PlainIlif()(currents[:, 0], carried)


def test_a_torch_export_program_gives_the_detectors_logits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert export_torch(_Small(), _frames()[..., :16, :24], tmp_path / "net.pt2") < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt2"]


def test_a_single_channels_last_map_keeps_its_values_in_onnx() -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    unit = spiking_conv(None, 3, 4, 3).eval().to(memory_format=torch.channels_last)
    chain = Chain(unit, spiking_conv(None, 4, 2, 1).eval().to(memory_format=torch.channels_last)).eval()
    maps = torch.randn(1, 3, 5, 6).contiguous(memory_format=torch.channels_last).unsqueeze(0)
    program = torch.onnx.export(chain, (maps,), input_names=["maps"], dynamo=True, verbose=False)
    assert program is not None
    session = runtime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = chain(maps)
    torch.testing.assert_close(torch.from_numpy(session.run(None, {"maps": maps.numpy()})[0]), expected)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_an_onnx_model_gives_the_networks_logits_where_it_is_run(
    backend: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip(backend)
    pytest.importorskip("onnxscript")
    caplog.set_level(logging.INFO)  # as Hydra sets the root
    torch.manual_seed(0)
    network = _Small()
    frames = _frames()[..., :16, :24]
    assert network.eval()(frames).class_logits.std() > 0.1
    assert export_onnx(network, frames, tmp_path / "net.onnx", backend=backend) < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    assert [record.getMessage() for record in caplog.records if record.levelno < logging.WARNING] == []
    assert {logging.getLogger(name).level for name in EXPORTERS} == {logging.NOTSET}


def test_a_nir_graph_run_in_sub_steps_gives_the_detectors_logits(tmp_path: Path) -> None:
    pytest.importorskip("nir")
    detector, frames = _detector(), _frames(3)
    assert export_nir(detector, frames, tmp_path / "net.nir") < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["net.nir"]
    graph = to_nir(detector, 64, 96)
    levels = detector.eval().levels(frames)
    assert levels[0].std() > 0.1  # the network is not silent
    assert run_nir(graph, frames)["box2"].shape == (3, 1, 64, 2, 3)


@torch.no_grad()
def test_a_nir_graph_of_a_pruned_network_has_its_logits_and_none_of_its_silent_channels(tmp_path: Path) -> None:
    pytest.importorskip("nir")
    detector = _detector()
    whole = to_nir(detector, 64, 96)
    for hidden in hidden_channels(detector):
        for values, factor in silencing(hidden, torch.arange(len(hidden.heard())) % 2 == 0):
            values.mul_(factor)
    assert export_nir(detector, _frames(), tmp_path / "net.nir") < 1e-4
    pruned = to_nir(detector, 64, 96)
    sizes = [
        sum(node.weight.size for node in graph.nodes.values() if hasattr(node, "weight")) for graph in (whole, pruned)
    ]
    assert sizes[1] < 0.75 * sizes[0]


def test_a_nir_neuron_leaks_like_ours() -> None:
    pytest.importorskip("nir")
    node = to_nir(_detector(neuron=lambda: Ilif(decay=0.4)), 32, 32).nodes["backbone.down2.neuron"]
    leak = 1 - node.metadata["dt"] / node.tau.flat[0]
    assert leak == pytest.approx(0.4)
    assert node.r.flat[0] * node.metadata["dt"] / node.tau.flat[0] == pytest.approx(1)
    assert (node.metadata["levels"], node.metadata["decay"]) == (4, 0.4)


@pytest.mark.parametrize(
    ("changes", "size", "words"), [({}, (64, 70), "multiples of 32"), ({"neuron": Relu}, (64, 64), "Relu")]
)
def test_what_nir_cannot_take_is_one_clear_error(changes: dict[str, Any], size: tuple[int, int], words: str) -> None:
    pytest.importorskip("nir")
    with pytest.raises(ConfigError, match=words):
        to_nir(_detector(**changes), *size)


def test_a_missing_optional_package_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'spikeyolo\[export\]'"):
        optional("onnxruntime")


def _checkpoint(folder: Path, **changes: Any) -> Path:
    """A checkpoint as training writes it."""
    folder.mkdir(parents=True)
    weights = {name: value.contiguous() for name, value in _detector().state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    state = {"format_version": 1, "classes": ["car", "bus"], "in_channels": 2, "model": MODEL} | changes
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def _config(**changes: Any) -> Any:
    base = {"checkpoint": "???", "format": "torch_export", "out": None, "window": "drawn", "time_steps": 2}
    base |= {"weight_bits": None, "backend": "onnxruntime", "height": 64, "width": 64, "debug": False}
    return OmegaConf.create(base | changes)


def test_the_entry_point_exports_a_checkpoint_beside_its_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = _checkpoint(tmp_path / "checkpoints" / "best")
    with caplog.at_level("INFO", logger="spikeyolo"):
        out = export.run(_config(checkpoint=str(folder)))
    assert out == tmp_path / "checkpoints" / "best.pt2"
    assert out.stat().st_size > 0
    (difference,) = re.findall(r"largest difference of a logit (\S+)", caplog.text)
    assert float(difference) < 1e-4


def test_the_entry_point_checks_an_onnx_file_where_it_was_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(exchange, "export_onnx", lambda *window, backend: (asked.append(backend), 0.0)[1])
    folder = _checkpoint(tmp_path / "checkpoints" / "best")
    for backend in ("onnxruntime", "openvino"):
        export.run(_config(checkpoint=str(folder), format="onnx", backend=backend))
    assert asked == ["onnxruntime", "openvino"]
    with pytest.raises(ConfigError, match="backend: found 'torch'"):
        export.run(_config(checkpoint=str(folder), format="onnx", backend="torch"))


def test_weights_of_a_network_that_was_trained_without_are_rounded_where_it_is_exported(tmp_path: Path) -> None:
    folder = _checkpoint(tmp_path / "checkpoints" / "best")
    out = export.run(_config(checkpoint=str(folder), weight_bits=4))
    weights = [weight for weight in torch.export.load(out).state_dict.values() if weight.dim() == 4]
    parts = [[weight / steps(weight, bits) for bits in (4, 8)] for weight in weights]
    on_grids = [[bool(((part - part.round()).abs() < 1e-3).all()) for part in each] for each in parts]
    assert sum(four for four, _ in on_grids) == len(weights) - 7  # but for the first layer and those of the logits
    assert all(four or eight for four, eight in on_grids)
    with pytest.raises(ConfigError, match="weight_bits: found 2; expected 4 or 8"):
        export.run(_config(checkpoint=str(folder), weight_bits=2))


def test_a_run_whose_data_are_gone_is_checked_on_drawn_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = _checkpoint(tmp_path / "checkpoints" / "best")
    assert export.run_window(folder) is None
    assert "drawn counts" in caplog.text


def test_the_check_uses_the_first_validation_window_of_the_run(tmp_path: Path) -> None:
    with initialize_config_dir(str(Path(__file__).resolve().parents[3] / "conf"), version_base="1.3"):
        small = [f"data.store={tmp_path / 'store'}", "data.dataset.train_sequences=1", "data.dataset.val_sequences=1"]
        size = ["data.dataset.width=64", "data.dataset.height=32", "data.dataset.duration_us=20000"]
        sized = ["data.dataset.size_min_px=8", "data.dataset.size_max_px=16", "data.workers=1", "data.time_steps=3"]
        config = compose("train", overrides=["data=synthetic", *small, *size, *sized])
    folder = tmp_path / "run" / "checkpoints" / "best"
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    OmegaConf.save(config, tmp_path / "run" / ".hydra" / "config.yaml")
    assert export.run_window(folder) is None  # no store yet, and none is made
    assert not (tmp_path / "store").exists()
    config.data.workers = 0
    expected = next(schema.build(config.data).val_loader(pin_memory=False).epoch(0)).frames[:, :1]
    found = export.run_window(folder)
    assert found is not None
    assert found.shape == (3, 1, 2, 32, 64)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"checkpoint": "x", "format": "tflite"}, ConfigError, "format"),
        ({"checkpoint": "x", "time_steps": 0}, ConfigError, "time_steps"),
        ({"checkpoint": "nowhere"}, CheckpointError, "no checkpoint here"),
        ({}, ConfigError, "checkpoint=FOLDER"),
    ],
)
def test_bad_options_are_one_clear_error(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        export.run(_config(**changes))


def test_a_checkpoint_without_its_model_is_one_clear_error(tmp_path: Path) -> None:
    folder = _checkpoint(tmp_path / "best")
    (folder / "state.json").write_text(json.dumps({"format_version": 1}))
    with pytest.raises(CheckpointError, match="does not describe its model"):
        export.run(_config(checkpoint=str(folder)))
