"""What a CUDA device has to give: the CPU's values, gradients in every precision, and everything a training does.

Without one these tests are skipped, and say so. ``SPIKEYOLO_TEST_DEVICE=cpu`` runs them on the CPU, which proves the
tests and not the device.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lively import lively
from omegaconf import OmegaConf
from torch import Tensor

from spikeyolo.engine.update.optimizer import AdamW, build_optimizer
from spikeyolo.engine.update.step import TrainStep
from spikeyolo.entry import config_directory
from spikeyolo.loss import DetectionLoss
from spikeyolo.model import Detector
from spikeyolo.model.inference import fold
from spikeyolo.model.neuron import Ilif
from spikeyolo.windows.batch import Batch, Targets

DEVICE = os.environ.get("SPIKEYOLO_TEST_DEVICE", "cuda")
ON_CPU = ("femto", "pico")  # the larger ones take too long there
SIZES = [size for size in ("femto", "pico", "t", "n", "s", "m", "l") if DEVICE != "cpu" or size in ON_CPU]

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def frames(steps: int = 4, side: int = 64) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 4, (steps, 2, 2, side, side), generator=draw, dtype=torch.uint8)


def detector(size: str = "femto", **changes: Any) -> Detector:
    written = OmegaConf.load(config_directory() / "model" / f"{size}.yaml")
    scale: dict[str, Any] = {name: written[name] for name in ("depth", "width", "p5_ratio")}
    torch.manual_seed(0)
    return Detector(num_classes=3, **scale, **({"neuron": Ilif} | changes))


def spikes_and_gradient(device: str, dtype: torch.dtype, **settings: Any) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(2)
    currents = (3 * torch.randn(8, 3, 5, 7, generator=draw)).to(dtype)
    weights = torch.randn(8, 3, 5, 7, generator=draw).to(dtype)
    leaf = currents.to(device).requires_grad_()
    spikes, state = Ilif(**settings)(leaf)
    (spikes * weights.to(device)).sum().backward()
    assert leaf.grad is not None
    return spikes.detach().cpu(), state.residual.detach().cpu(), leaf.grad.cpu()


@pytest.mark.parametrize("settings", [{}, {"levels": 2, "decay": 0.5}, {"gain": 1.7, "surrogate_margin": 0.25}])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_neuron_gives_the_cpus_spikes_and_gradients(dtype: torch.dtype, settings: dict[str, Any]) -> None:
    on_cpu, on_device = (spikes_and_gradient(device, dtype, **settings) for device in ("cpu", DEVICE))
    assert torch.equal(on_cpu[0], on_device[0])
    for one, other in zip(on_cpu[1:], on_device[1:]):
        tolerance = torch.finfo(dtype).eps
        torch.testing.assert_close(other, one, rtol=2 * tolerance, atol=2 * tolerance)


def test_a_recording_streamed_in_stretches_equals_one_window() -> None:
    network = lively(detector()).double().eval().to(DEVICE)
    given = frames().to(DEVICE)
    with torch.no_grad():
        whole = network(given).class_logits
        first, state = network.stream(given[:3])
        second, _ = network.stream(given[3:], state)
    torch.testing.assert_close(torch.cat((first.class_logits, second.class_logits)), whole, rtol=1e-9, atol=1e-9)


def test_the_network_gives_the_cpus_predictions() -> None:
    network = lively(detector()).double().eval()
    with torch.no_grad():
        expected = network(frames()).class_logits
        found = network.to(DEVICE)(frames().to(DEVICE)).class_logits.cpu()
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


def gradients(network: Detector) -> list[Tensor]:
    network.zero_grad()
    predictions = network(frames().to(DEVICE))
    (predictions.class_logits.square().mean() + predictions.box_logits.square().mean()).backward()
    return [p.grad.cpu().clone() for p in network.parameters() if p.grad is not None]


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    from spikeyolo.engine.update.execution import arrange

    found = []
    for recompute in (False, True):
        network = detector().double().train().to(DEVICE)
        arrange(network, channels_last=True, gradient_checkpointing=recompute)
        found.append(gradients(network))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_the_compiled_network_gives_the_same_predictions() -> None:
    network = fold(lively(detector()).double().to(DEVICE))
    with torch.no_grad():
        expected = network(frames().to(DEVICE)).class_logits
        found = torch.compile(network)(frames().to(DEVICE)).class_logits
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


def test_the_exported_network_gives_the_same_predictions(tmp_path: Path) -> None:
    from spikeyolo.model.exchange.torch_export import export_torch

    network = lively(detector()).double().to(DEVICE)
    assert export_torch(network, frames().to(DEVICE), tmp_path / "network.pt2") < 1e-7


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("size", SIZES)
def test_a_training_step_of_every_size_is_finite_and_changes_the_weights(size: str, precision: str) -> None:
    steps, windows = 2, 2
    rows = torch.arange(steps * windows)
    targets = Targets(
        batch_index=rows % windows,
        time_step=rows // windows,
        xyxy=torch.tensor([[8.0, 8.0, 40.0, 40.0]] * len(rows)),
        class_id=rows % 3,
        track_id=torch.full_like(rows, -1),
        recording=torch.zeros_like(rows),
        supervised=torch.ones(steps, windows, dtype=torch.bool),
    )
    network = detector(size).train().to(DEVICE)
    before = network.head.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    step = TrainStep(
        network,
        run=network,
        loss=DetectionLoss(),
        optimizer=build_optimizer(partial(AdamW, lr=1e-3), network),
        average=None,
        precision=precision,  # type: ignore[arg-type]
        clip_gradient=10.0,
    )
    batch = Batch(frames(steps), targets, windows=()).to(DEVICE)
    for _ in range(20):  # float16 begins with scales that overflow
        loss, _ = step.gradients(batch)
        assert torch.isfinite(loss)
        step.clip()
        if step.update():
            break
    else:
        raise AssertionError("no update in 20 steps")
    after = network.head.state_dict()
    assert all(bool(torch.isfinite(value).all()) for value in after.values())
    assert any(not torch.equal(value, before[name]) for name, value in after.items())


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_the_second_device_gives_what_the_first_gives() -> None:
    network = lively(detector()).double().eval()
    with torch.no_grad():
        found = [network.to(f"cuda:{index}")(frames().to(f"cuda:{index}")).class_logits.cpu() for index in (0, 1)]
    assert torch.equal(*found)
