"""The detector: sizes, its door, time, and what it does with bad input."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lively import lively
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from spikeyolo.errors import CheckpointError, ConfigError, RecordingError
from spikeyolo.model.blocks import Block, RepConv, SepRepConv
from spikeyolo.model.detector import Detector
from spikeyolo.model.inference.fold import fold
from spikeyolo.model.neuron import Ilif, Lif, LifBox, ParametricLif, Relu
from spikeyolo.model.norm import Norm

CONF = Path(__file__).resolve().parents[2] / "conf"
NEURONS = [Ilif, Lif, LifBox, ParametricLif, Relu]


def _detector(seed: int = 0, **changes: Any) -> Detector:
    torch.manual_seed(seed)
    settings = {"num_classes": 3, "depth": 0.33, "width": 0.0625, "neuron": Ilif} | changes
    return lively(Detector(**settings), seed)  # type: ignore[arg-type]


def _frames(*shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 5, shape, generator=draw, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("size", "classes", "parameters"),
    [("t", 3, 6_124_665), ("t", 80, 6_270_432), ("n", 80, 13_271_632), ("n", 2, 13_248_934), ("s", 80, 23_153_024),
     ("m", 80, 47_841_856), ("l", 80, 68_478_400), ("pico", 3, None), ("femto", 3, None)],
)  # fmt: skip
def test_each_size_has_the_published_number_of_parameters(size: str, classes: int, parameters: int | None) -> None:
    with initialize_config_dir(str(CONF / "model"), version_base="1.3"):
        config = compose(size)
    with torch.device("meta"):
        detector = instantiate(config, num_classes=classes, in_channels=3)
    fixed = 16  # the published count holds the constant ramp that reads distributions
    count = sum(parameter.numel() for parameter in detector.parameters()) + fixed
    assert count == parameters if parameters is not None else count < 2_000_000


@pytest.mark.parametrize("option", ["ilif", "lif", "lif_box", "plif", "relu"])
def test_each_neuron_option_builds_a_network_that_learns(option: str) -> None:
    with initialize_config_dir(str(CONF / "model"), version_base="1.3"):
        config = compose("femto", overrides=[f"neuron={option}"])
    torch.manual_seed(0)
    detector = instantiate(config, num_classes=2)
    predictions = detector(_frames(2, 1, 2, 32, 64))
    (predictions.box_logits.square().mean() + predictions.class_logits.square().mean()).backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())
    assert detector.backbone.down1.synapse.weight.grad.abs().sum() > 0


def test_predictions_have_a_row_for_each_cell_of_each_level() -> None:
    predictions = _detector(num_classes=4)(_frames(2, 3, 2, 64, 96))
    cells = 8 * 12 + 4 * 6 + 2 * 3
    assert predictions.box_logits.shape == (2, 3, cells, 4, 16)
    assert predictions.class_logits.shape == (2, 3, cells, 4)
    assert predictions.embedding is None
    assert predictions.points[:2].tolist() == [[4, 4], [12, 4]]
    assert predictions.points[12].tolist() == [4, 12]
    assert predictions.points[-1].tolist() == [80, 48]
    assert predictions.strides.unique(return_counts=True)[1].tolist() == [96, 24, 6]


def test_rows_of_predictions_are_the_raw_maps_row_by_row() -> None:
    detector = _detector().eval()
    frames = _frames(2, 1, 2, 64, 96)
    with torch.no_grad():
        predictions, levels = detector(frames), detector.levels(frames)
    assert torch.equal(predictions.box_logits[1, 0, 17].flatten(), levels[0][1, 0, :64, 1, 5])
    assert torch.equal(predictions.class_logits[0, 0, 96 + 8], levels[1][0, 0, 64:, 1, 2])


def test_a_frame_of_any_size_gives_what_the_padded_frame_gives() -> None:
    detector = _detector().eval()
    frames = _frames(2, 1, 2, 50, 70)
    with torch.no_grad():
        odd, padded = detector(frames), detector(F.pad(frames, (0, 26, 0, 14)))
    assert torch.equal(odd.class_logits, padded.class_logits)
    assert torch.equal(odd.points, padded.points)


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("cut", [1, 2])
def test_windows_that_follow_one_another_with_carried_state_equal_one_long_window(neuron: Any, cut: int) -> None:
    detector = _detector(neuron=neuron).double().eval()
    frames = _frames(4, 2, 2, 64, 64)
    with torch.no_grad():
        whole = detector(frames)
        first, state = detector.stream(frames[:cut])
        second, _ = detector.stream(frames[cut:], state)
    torch.testing.assert_close(torch.cat((first.class_logits, second.class_logits)), whole.class_logits)
    torch.testing.assert_close(torch.cat((first.box_logits, second.box_logits)), whole.box_logits)


def test_single_steps_leave_the_state_of_the_caller_as_it_was() -> None:
    detector = _detector().double().eval()
    frames = _frames(3, 1, 2, 64, 64)
    with torch.no_grad():
        _, state = detector.step(frames[0])
        once, later = detector.step(frames[1], state)
        again, _ = detector.step(frames[1], state)
        changed, _ = detector.step(frames[1], later)
    assert torch.equal(once.class_logits, again.class_logits)
    assert not torch.equal(once.class_logits, changed.class_logits)


def test_a_state_of_another_network_is_one_clear_error() -> None:
    detector = _detector()
    _, state = detector.step(_frames(1, 2, 32, 32))
    with pytest.raises(ConfigError, match="another network"):
        detector.step(_frames(1, 2, 32, 32), state[:-1])
    with pytest.raises(ConfigError, match="another network"):
        detector.step(_frames(1, 2, 32, 32), (*state, state[-1]))


@pytest.mark.parametrize("form", ["integer", "binary", "folded", "lif"])
def test_a_state_of_another_batch_or_frame_size_is_one_clear_error(form: str) -> None:
    neuron = Lif if form == "lif" else Ilif
    detector: Any = _detector(neuron=neuron, form="binary" if form == "binary" else "integer").eval()
    detector = fold(detector) if form == "folded" else detector
    with torch.no_grad():
        _, state = detector.step(_frames(1, 2, 32, 32))
        for frame in (_frames(4, 2, 32, 32), _frames(1, 2, 32, 64)):
            with pytest.raises(ConfigError, match=r"state carried along is .* expected"):
                detector.step(frame, state)


def test_mean_over_time_gives_every_step_the_published_logits() -> None:
    per_step, mean = _detector(), _detector(temporal="mean")
    mean.load_state_dict(per_step.state_dict())
    frames = _frames(3, 1, 2, 32, 32)
    with torch.no_grad():
        steps, averaged = per_step.eval()(frames), mean.eval()(frames)
    assert averaged.class_logits.shape == steps.class_logits.shape
    for step in range(3):
        torch.testing.assert_close(averaged.class_logits[step], steps.class_logits.mean(dim=0))
        torch.testing.assert_close(averaged.box_logits[step], steps.box_logits.mean(dim=0))


def test_embeddings_have_unit_length_and_leave_the_rest_as_it_is() -> None:
    plain, described = _detector(), _detector(embedding=128)
    described.load_state_dict(plain.state_dict(), strict=False)
    frames = _frames(2, 1, 2, 32, 32)
    with torch.no_grad():
        expected, found = plain.eval()(frames), described.eval()(frames)
    assert torch.equal(expected.class_logits, found.class_logits)
    assert found.embedding is not None
    assert found.embedding.shape == (2, 1, 21, 128)
    torch.testing.assert_close(found.embedding.norm(dim=-1), torch.ones(2, 1, 21))


def _padded(norm: Norm, maps: Tensor) -> Tensor:
    """BN-pad by the page's words: the norm, then a border of its value for zero."""
    if norm.training:
        mean, variance = maps.mean((0, 2, 3)), maps.var((0, 2, 3), correction=0)
    else:
        mean, variance = norm.running_mean, norm.running_var
    scale = norm.weight / (variance + norm.eps).sqrt()
    shift = norm.bias - mean * scale
    inner = maps * scale.view(-1, 1, 1, 1)[:, 0] + shift.view(-1, 1, 1)
    border = shift.view(1, -1, 1, 1).expand(*maps.shape[:2], maps.shape[2] + 2, maps.shape[3] + 2).clone()
    border[:, :, 1:-1, 1:-1] = inner
    return border


@pytest.mark.parametrize("training", [True, False])
def test_rep_convolutions_pad_with_the_norms_value_for_zero(training: bool) -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, 4, 5, 6, dtype=torch.float64)
    for synapse in (RepConv(4, 6), SepRepConv(4, 2)):
        for norm in synapse.modules():
            if isinstance(norm, Norm):
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.normal_(norm.bias)
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)
        synapse.double().train(training)
        if isinstance(synapse, RepConv):
            inner = _padded(synapse.enter_norm, synapse.enter(maps))
            found = synapse.linear(maps)
            expected = synapse.leave(F.conv2d(inner, synapse.depthwise.weight, groups=4))
        else:
            inner = F.conv2d(_padded(synapse.norm, maps), synapse.project.weight)
            found = synapse(maps)
            expected = F.conv2d(inner, synapse.depthwise.weight, groups=2)
        torch.testing.assert_close(found, expected)


def test_the_start_bias_is_one_for_boxes_and_rare_for_classes() -> None:
    head = _detector(num_classes=4).head
    assert all(bool((branch.layers[-1].synapse.bias == 1).all()) for branch in head.box)
    expected = [torch.log(torch.tensor(5 / 4 / (640 / stride) ** 2)) for stride in (8, 16, 32)]
    for branch, value in zip(head.classes, expected, strict=True):
        torch.testing.assert_close(branch.layers[-1].synapse.bias, value.expand(4))


@pytest.mark.parametrize("training", [True, False])
def test_silence_and_a_flood_in_one_pixel_give_finite_logits(training: bool) -> None:
    detector = _detector().train(training)
    silence, flood = torch.zeros(3, 2, 2, 64, 64), torch.zeros(3, 2, 2, 64, 64)
    flood[:, :, 1, 20, 20] = 1e6
    for frames in (silence, flood):
        predictions = detector(frames)
        assert torch.isfinite(predictions.box_logits).all()
        assert torch.isfinite(predictions.class_logits).all()


def test_bfloat16_autocast_trains_with_finite_gradients() -> None:
    detector = _detector()
    with torch.autocast("cpu", torch.bfloat16):
        predictions = detector(_frames(2, 2, 2, 64, 64))
    predictions.class_logits.float().square().mean().backward()
    assert torch.isfinite(predictions.class_logits).all()
    gradients = [p.grad for p in detector.head.classes.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


def test_one_sample_does_not_depend_on_another_in_eval_mode() -> None:
    detector = _detector().double().eval()
    frames = _frames(2, 3, 2, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(detector(frames[:, 1:2]).class_logits, detector(frames).class_logits[:, 1:2])


@pytest.mark.parametrize(
    ("shape", "words"),
    [((0, 1, 2, 32, 32), "T at least 1"), ((1, 2, 32, 32), "T, B, C, H, W"),
     ((1, 1, 3, 32, 32), "3 channels"), ((1, 1, 2, 31, 64), "at least 32 px")],
)  # fmt: skip
def test_frames_that_do_not_fit_are_one_clear_error(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _detector()(torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_frames_that_are_not_finite_are_one_clear_error(value: float) -> None:
    frames = torch.zeros(1, 1, 2, 32, 32)
    frames[0, 0, 1, 3, 3] = value
    with pytest.raises(RecordingError, match="not finite"):
        _detector()(frames)


@pytest.mark.parametrize(
    "changes",
    [{"num_classes": 0}, {"in_channels": 0}, {"depth": 0.0}, {"width": -1.0}, {"temporal": "max"}, {"form": "ternary"}],
)
def test_settings_out_of_range_are_one_clear_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        _detector(**changes)


def test_pretrained_weights_are_loaded_where_they_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(_detector(seed=1).state_dict(), tmp_path / "own.pt")
    with caplog.at_level("INFO", logger="spikeyolo.model.detector"):
        detector = _detector(num_classes=7, pretrained=str(tmp_path / "own.pt"))
    assert torch.equal(detector.neck.p3.widen.synapse.weight, _detector(seed=1).neck.p3.widen.synapse.weight)
    assert "6 of another shape" in caplog.text
    with pytest.raises(CheckpointError, match="another shape"):
        _detector(num_classes=7, pretrained=str(tmp_path / "own.pt"), strict=True)


@pytest.mark.parametrize("rep", [False, True])
def test_compile_takes_a_block_without_a_graph_break(rep: bool) -> None:
    torch.manual_seed(0)
    block = lively(Block(8, 2, rep=rep, neuron=Ilif))
    plain, traced = (torch.randn(2, 3, 8, 6, 5, generator=torch.Generator().manual_seed(1)) for _ in "ab")
    compiled = torch.compile(copy.deepcopy(block), backend="aot_eager", fullgraph=True)
    gradients = []
    for run, maps in ((block, plain), (compiled, traced)):
        run(maps.requires_grad_()).square().sum().backward()
        gradients.append(maps.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-3)


def test_checkpointing_a_block_gives_the_same_gradients() -> None:
    torch.manual_seed(0)
    block = lively(Block(8, 2, rep=True, neuron=Ilif)).eval()
    plain, again = (torch.randn(2, 3, 8, 6, 5, generator=torch.Generator().manual_seed(1)) for _ in "ab")
    block(plain.requires_grad_()).square().sum().backward()
    checkpoint(block, again.requires_grad_(), use_reentrant=False).square().sum().backward()
    assert torch.equal(plain.grad, again.grad)


def test_a_block_leaves_what_is_kept_to_hooks_from_outside() -> None:
    torch.manual_seed(0)
    block = Block(8, 2, rep=True, neuron=Ilif)
    seen: list[Tensor] = []
    maps = torch.randn(2, 3, 8, 6, 5, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (seen.append(tensor), tensor)[1], lambda tensor: tensor
    ):
        block(maps)
    inputs = [module.in_channels for module in block.modules() if isinstance(module, nn.Conv2d)]
    entering = [tensor.shape[1] for tensor in seen if tensor.dim() == 4 and tensor.shape[0] == 6]
    assert all(entering.count(channels) >= inputs.count(channels) for channels in set(inputs))


def test_bytes_kept_for_the_backward_pass_give_the_same_gradients() -> None:
    torch.manual_seed(0)
    unit = Block(8, 2, rep=False, neuron=Ilif).widen
    maps, again = (torch.randn(2, 3, 8, 6, 5, generator=torch.Generator().manual_seed(1)) for _ in "ab")
    bytes_kept = unit(maps.requires_grad_())
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
        kept_whole = unit(again.requires_grad_())
    bytes_kept.square().sum().backward()
    gradient = unit.synapse.weight.grad.clone()
    unit.zero_grad()
    kept_whole.square().sum().backward()
    assert torch.equal(maps.grad, again.grad)
    assert torch.equal(unit.synapse.weight.grad, gradient)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_map_computed_again_in_the_backward_pass_gives_the_same_gradients(autocast: bool) -> None:
    torch.manual_seed(0)
    rep = Block(8, 2, rep=True, neuron=Ilif).widen.synapse
    spikes = torch.randint(0, 5, (6, 8, 6, 5)).float()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        forgetting = rep.linear(spikes)
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
            keeping = rep.linear(spikes)
    first, second = (forgetting.grad_fn._saved_input for _ in "ab")  # the leaving convolution's
    assert first.data_ptr() != second.data_ptr()
    assert torch.equal(first, keeping.grad_fn._saved_input)
    assert torch.equal(forgetting, keeping)
    gradients = [torch.autograd.grad(out.float().square().sum(), rep.parameters(), allow_unused=True)
                 for out in (forgetting, keeping)]  # fmt: skip
    assert sum(g is not None for g in gradients[0]) == 5
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True) if a is not None)
