"""Published weights: the network is the published one, and its weights find their places by name."""

from __future__ import annotations

import json
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from spikeyolo.errors import CheckpointError
from spikeyolo.model.detector import Detector
from spikeyolo.model.exchange.published import FIXED, load_published, published_names
from spikeyolo.model.neuron import Ilif

SEED = 7


def _weights(names: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """The recipe of the reference vectors, each entry drawn from its own name's seed."""
    state = {}
    for name, shape in names.items():
        rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.int64)
            continue
        if name == FIXED:
            value = np.arange(16.0).reshape(shape)
        elif name.endswith("running_mean"):
            value = 0.1 * rng.standard_normal(shape)
        elif name.endswith("running_var"):
            value = rng.uniform(0.5, 1.5, shape)
        elif name.endswith("bias"):
            value = 0.2 * rng.standard_normal(shape)
        elif len(shape) == 1:
            value = rng.uniform(0.8, 1.6, shape)
        else:
            value = rng.standard_normal(shape) * 1.4 / np.sqrt(np.prod(shape[1:]))
        state[name] = torch.from_numpy(np.asarray(value).astype(np.float32))
    return state


@pytest.fixture(scope="module")
def names(reference_data: Path) -> dict[str, list[int]]:
    return json.loads((reference_data / "w25_nc3_names.json").read_text())


@pytest.fixture(scope="module")
def weights_file(names: dict[str, list[int]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "t.pt"
    torch.save(_weights(names), path)
    return path


def _detector(**changes: object) -> Detector:
    settings = {"num_classes": 3, "in_channels": 3, "depth": 0.33, "width": 0.25, "neuron": Ilif, "temporal": "mean"}
    return Detector(**(settings | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_the_network_gives_the_reference_vectors(
    steps: int, dtype: torch.dtype, tolerance: float, weights_file: Path, reference_data: Path
) -> None:
    detector = _detector()
    load_published(detector, weights_file, strict=True)
    # In float32 one membrane of the longer sequence is a tie but for rounding: sums must be taken in the usual order.
    detector = detector.to(dtype, memory_format=torch.contiguous_format).eval()
    frames = np.random.default_rng([SEED, 99]).standard_normal((steps, 2, 3, 64, 96)).astype(np.float32)
    with torch.no_grad():
        levels = [level.mean(dim=0).double().numpy() for level in detector.levels(torch.from_numpy(frames).to(dtype))]
    expected = np.load(reference_data / f"w25_nc3_T{steps}.npz")
    for index, level in enumerate(levels):
        wanted = expected[f"level{index}"]
        assert np.abs(level - wanted).max() / np.abs(wanted).max() < tolerance


def test_every_published_name_has_one_place_of_its_shape(names: dict[str, list[int]]) -> None:
    detector = _detector()
    ours = {name: list(tensor.shape) for name, tensor in detector.state_dict().items()}
    mapping = published_names(detector)
    assert set(mapping) == set(ours)
    assert {published: ours[name] for name, published in mapping.items()} == {
        name: shape for name, shape in names.items() if name != FIXED
    }


def test_other_classes_and_channels_load_what_fits_and_list_the_rest(weights_file: Path) -> None:
    detector = _detector(num_classes=5, in_channels=2)
    report = load_published(detector, weights_file)
    assert set(report.mismatched) == {"backbone.down1.synapse.weight"} | {
        f"head.classes.{level}.layers.2.synapse.{part}" for level in range(3) for part in ("weight", "bias")
    }
    assert not report.missing
    assert not report.unused
    stored = torch.load(weights_file, weights_only=True)
    assert torch.equal(detector.state_dict()["backbone.down1.norm.weight"], stored["model.1.encode_bn.weight"])


def test_strict_refuses_what_does_not_fit_and_changes_nothing(weights_file: Path) -> None:
    detector = _detector(num_classes=5)
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    with pytest.raises(CheckpointError, match="of another shape"):
        load_published(detector, weights_file, strict=True)
    assert all(torch.equal(before[name], tensor) for name, tensor in detector.state_dict().items())


def test_own_names_and_safetensors_load_too(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    first, second = _detector(), _detector()
    save_file({name: value.contiguous() for name, value in first.state_dict().items()}, tmp_path / "own.safetensors")
    report = load_published(second, tmp_path / "own.safetensors", strict=True)
    assert len(report.loaded) == len(first.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def test_a_file_with_pickled_code_is_refused_and_the_code_does_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"weights": _Code()}, tmp_path / "code.pt")
    with pytest.raises(CheckpointError, match="pickled code"):
        load_published(_detector(), tmp_path / "code.pt")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no weights here", pickle.dumps([1, 2])])
def test_a_damaged_or_foreign_file_is_one_clear_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged\.pt"):
        load_published(_detector(), path)


def test_an_absent_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such weights file"):
        load_published(_detector(), tmp_path / "absent.pt")
