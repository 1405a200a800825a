"""Whatever runs a trained detector gives the detector's own predictions."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from lively import lively
from torch import Tensor

from spikeyolo.errors import ConfigError
from spikeyolo.model.detector import Detector
from spikeyolo.model.inference import InferenceDetector, backend, fold
from spikeyolo.model.inference.window import onnx_model
from spikeyolo.model.neuron import Ilif, Lif
from spikeyolo.model.predictions import Predictions


def _detector(**changes: Any) -> Detector:
    torch.manual_seed(0)
    settings = {"num_classes": 2, "depth": 0.1, "width": 0.0625, "neuron": Ilif, "embedding": 8} | changes
    return lively(Detector(**settings)).eval()  # type: ignore[arg-type]


def _frames(batch: int = 3) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 4, (2, batch, 2, 50, 70), generator=draw, dtype=torch.uint8)


@pytest.fixture(scope="module")
def model() -> bytes:
    pytest.importorskip("onnxscript")
    return onnx_model(fold(_detector()), _frames(), optimize=False)


@pytest.fixture
def built(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Shapes for which a program was built, from one model that all tests share: to write it takes seconds."""
    shapes: list[list[int]] = []

    def write(network: Any, frames: Tensor, **optimize: bool) -> bytes:
        shapes.append(list(frames.shape))
        return request.getfixturevalue("model")  # type: ignore[no-any-return]

    monkeypatch.setattr(backend, "onnx_model", write)
    return shapes


def _distance(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference ``[T, B, ...]`` over that of the value: of the median window.

    In a window where rounding moves a membrane over a tie, spikes differ and all that follows from them.
    """
    assert found.shape == expected.shape
    assert expected.std() > 0.1  # the network is not silent
    rest = [dim for dim in range(expected.dim()) if dim != 1]
    difference, value = ((each.square().mean(rest).sqrt()) for each in (found.float() - expected, expected))
    return float((difference / value).median())


def _distances(found: Predictions, expected: Predictions) -> list[float]:
    """Of boxes, classes and embeddings."""
    assert torch.equal(found.points, expected.points)
    assert torch.equal(found.strides, expected.strides)
    assert found.embedding is not None
    assert expected.embedding is not None
    return [
        _distance(found.box_logits, expected.box_logits),
        _distance(found.class_logits, expected.class_logits),
        _distance(found.embedding, expected.embedding),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", "openvino", "onnxruntime"])
def test_every_backend_gives_the_unfolded_detectors_predictions(name: Any, built: list[list[int]]) -> None:
    pytest.importorskip(name)
    detector = _detector()
    network = InferenceDetector(detector, backend=name)
    with torch.no_grad():
        assert max(_distances(network(_frames()), detector(_frames()))) < 1e-4
        assert network(_frames(1)).class_logits.shape[1] == 1  # the last batch of a set is often a smaller one
    assert len(built) == (0 if name == "torch" else 1)


BFLOAT16 = (0.25, 0.05, 0.5)  # boxes, classes, embeddings: a membrane near a tie fires one spike more or less


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_bfloat16_stays_within_its_stated_distance(
    name: Any, built: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    package = pytest.importorskip(name)
    able = name == "torch" or "BF16" in package.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    detector = _detector()
    with torch.no_grad():
        network = InferenceDetector(detector, backend=name, precision="bfloat16")
        distances = _distances(network(_frames()), detector(_frames()))
    assert ("cannot multiply it" in caplog.text) is not able
    if able:
        assert all(1e-3 < found < allowed for found, allowed in zip(distances, BFLOAT16, strict=True)), distances
    else:
        assert max(distances) < 1e-4  # of float32


@pytest.mark.slow
def test_the_compiled_network_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler, graphs = torch.compile, []

    def eager(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda module: compiler(module, backend=eager))  # inductor takes minutes
    detector = _detector()
    network = InferenceDetector(detector, backend="compile")
    with torch.no_grad():
        assert max(_distances(network(_frames()), detector(_frames()))) < 1e-4
    assert len(graphs) == 1


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_program_is_built_for_each_shape_and_for_larger_batches_only(
    name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(name)
    shapes: list[list[int]] = []

    def program(model: Any, precision: str = "float32") -> Any:
        fixed = shapes[-1]

        def run(frames: Tensor) -> tuple[Tensor, ...]:
            assert list(frames.shape) == fixed  # takes that shape alone, as those of the runtimes do
            mean = frames.float().mean((2, 3, 4))
            return mean, 2 * mean, 3 * mean

        return run

    monkeypatch.setattr(backend, "onnx_model", lambda network, frames, **optimize: shapes.append(list(frames.shape)))
    monkeypatch.setattr(backend, f"{name}_program", program)
    network = InferenceDetector(_detector(), backend=name)
    for frames in (_frames(1), _frames(3), _frames(2), _frames(3), _frames(2)[..., :40, :]):
        found = network(frames)
        mean = frames.float().mean((2, 3, 4))
        assert torch.equal(found.box_logits, mean)
        assert torch.equal(found.class_logits, 2 * mean)
        assert found.embedding is not None
        assert torch.equal(found.embedding, 3 * mean)
        assert len(found.points) == 8 * 12 + 4 * 6 + 2 * 3  # 64×96 px
    assert shapes == [[2, 1, 2, 50, 70], [2, 3, 2, 50, 70], [2, 2, 2, 40, 70]]


def test_runtimes_use_as_many_threads_as_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, openvino = pytest.importorskip("onnxruntime"), pytest.importorskip("openvino")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    asked: list[int] = []
    monkeypatch.setattr(
        runtime, "InferenceSession", lambda model, options, providers: asked.append(options.intra_op_num_threads)
    )
    backend.onnxruntime_program(b"")

    class Core:
        def read_model(self, model: bytes) -> bytes:
            return model

        def compile_model(self, model: bytes, device: str, settings: dict[str, Any]) -> None:
            asked.append(settings["INFERENCE_NUM_THREADS"])

    monkeypatch.setattr(openvino, "Core", Core)
    backend.openvino_program(b"")
    assert asked == [3, 3]


def test_torch_streams_and_the_others_say_that_they_cannot() -> None:
    detector, frames = _detector(), _frames()
    with torch.no_grad():
        network = InferenceDetector(detector)
        first, state = network.stream(frames[:1])
        second, _ = network.stream(frames[1:], state)
        joined = torch.cat((first.class_logits, second.class_logits))
        assert _distance(joined, detector(frames).class_logits) < 1e-4
    for name in ("compile", "openvino", "onnxruntime"):
        pytest.importorskip("torch" if name == "compile" else name)
        with pytest.raises(ConfigError, match=f"backend={name} starts every window from a fresh state"):
            InferenceDetector(detector, backend=name).stream(frames)  # type: ignore[arg-type]


def test_a_detector_in_binary_form_runs_in_binary_form() -> None:
    integer, binary = _detector(), _detector(form="binary")
    binary.load_state_dict(integer.state_dict())
    with torch.no_grad():
        assert max(_distances(InferenceDetector(binary)(_frames()), integer(_frames()))) < 1e-3


def test_auto_takes_openvino_for_what_it_runs_and_torch_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    assert InferenceDetector(_detector(), backend="auto").backend == "openvino"
    assert InferenceDetector(_detector(neuron=Lif), backend="auto").backend == "torch"
    assert InferenceDetector(_detector().to("meta"), backend="auto").backend == "torch"
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    assert InferenceDetector(_detector(), backend="auto").backend == "torch"


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_what_a_backend_cannot_do_is_one_sentence(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name)
    detector = _detector()
    with pytest.raises(ConfigError, match=f"backend={name} runs on a CPU, found the detector on meta"):
        InferenceDetector(_detector().to("meta"), backend=name)
    with pytest.raises(ConfigError, match="3 channels"):
        InferenceDetector(detector, backend=name)(torch.zeros(1, 1, 3, 64, 64))
    if name == "onnxruntime":
        with pytest.raises(ConfigError, match="precision=bfloat16"):
            InferenceDetector(detector, backend=name, precision="bfloat16")
    monkeypatch.setitem(sys.modules, name, None)
    extra = {"openvino": "openvino", "onnxruntime": "export"}[name]
    with pytest.raises(ConfigError, match=rf"pip install 'spikeyolo\[{extra}\]'"):
        InferenceDetector(detector, backend=name)
