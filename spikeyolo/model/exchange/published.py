"""Names of published weights: a user may start from a state dict that carries the published implementation's names."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from spikeyolo.errors import CheckpointError
from spikeyolo.model.detector import Detector

LAYERS = {
    "backbone.down1": "1",
    "backbone.stage1": "2",
    "backbone.down2": "3",
    "backbone.stage2": "4",
    "backbone.down3": "5",
    "backbone.stage3": "6",
    "backbone.down4": "7",
    "backbone.stage4": "8",
    "backbone.pyramid": "9",
    "backbone.reduce": "10",
    "neck.top": "12",
    "neck.merge16": "14",
    "neck.block16": "16",
    "neck.merge8": "18",
    "neck.p3": "19",
    "neck.down8": "20",
    "neck.p4": "22",
    "neck.down16": "23",
    "neck.p5": "25",
}
SEPARABLE = {
    "separable.expand.synapse": "Conv.pwconv1",
    "separable.expand.norm": "Conv.bn1",
    "separable.mix.synapse": "Conv.dwconv2",
    "separable.mix.norm": "Conv.bn2",
    "separable.project.synapse.norm": "Conv.pwconv3.body.0.bn",
    "separable.project.synapse.project": "Conv.pwconv3.body.1.0",
    "separable.project.synapse.depthwise": "Conv.pwconv3.body.1.1",
    "separable.project.norm": "Conv.bn3",
}
REP = {"enter": "0", "enter_norm": "1.bn", "depthwise": "2.0", "leave": "2.1", "leave_norm": "2.2"}
FINENESS = "fineness"  # the key of a file's metadata
FIXED = "model.26.dfl.conv.weight"  # the ramp 0..15 that reads a distribution: a constant here, not a weight


@dataclass(frozen=True)
class LoadReport:
    """What of a weights file went where.

    Attributes:
        loaded: our names that were filled.
        missing: our names the file has nothing for.
        unused: names in the file that the network does not have.
        mismatched: our name → shape in the file, shape here.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} entries loaded"]
        for title, names in (("missing", self.missing), ("unused", self.unused)):
            if names:
                parts.append(f"{len(names)} {title} ({_some(names)})")
        if self.mismatched:
            shapes = [f"{n} {list(theirs)} for {list(ours)}" for n, (theirs, ours) in self.mismatched.items()]
            parts.append(f"{len(shapes)} of another shape ({_some(shapes)})")
        return ", ".join(parts)


def _some(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def published_name(name: str) -> str | None:
    """The published name of one of our state entries; None for what the published network does not have."""
    module, _, leaf = name.rpartition(".")
    if module.startswith("head."):
        _, kind, level, _, layer, part = module.split(".")
        branch = {"box": "cv2", "classes": "cv3"}.get(kind)
        return branch and f"model.26.{branch}.{level}.{layer}.{'bn' if part == 'norm' else 'conv'}.{leaf}"
    layer = ".".join(module.split(".")[:2])
    rest = module[len(layer) + 1 :]
    if layer not in LAYERS or "neuron" in rest:
        return None
    prefix = f"model.{LAYERS[layer]}"
    if layer.startswith("backbone.down"):
        return f"{prefix}.{'encode_bn' if rest == 'norm' else 'encode_conv'}.{leaf}"
    if layer == "backbone.pyramid":
        half, part = rest.split(".")
        return f"{prefix}.{'cv1' if half == 'reduce' else 'cv2'}.{'bn' if part == 'norm' else 'conv'}.{leaf}"
    if rest in ("norm", "synapse"):
        return f"{prefix}.{'bn' if rest == 'norm' else 'conv'}.{leaf}"
    if rest.startswith("layers."):
        _, index, rest = rest.split(".", 2)
        prefix = f"{prefix}.{index}"
    if rest in SEPARABLE:
        return f"{prefix}.{SEPARABLE[rest]}.{leaf}"
    half, _, part = rest.partition(".")
    number = "1" if half == "widen" else "2"
    if part.startswith("synapse."):
        return f"{prefix}.conv{number}.body.{REP[part.removeprefix('synapse.')]}.{leaf}"
    if part == "synapse":
        return f"{prefix}.conv{number}.conv.{leaf}"
    return f"{prefix}.norm{number}.{leaf}"  # the outer norm: resolved by published_names, which sees the whole block


def published_names(detector: nn.Module) -> dict[str, str]:
    """Our state entry → published name, for all that both have."""
    ours = list(detector.state_dict())
    single = {layer for layer in LAYERS if f"{layer}.layers.0.separable.expand.synapse.weight" in ours} - {
        layer for layer in LAYERS if f"{layer}.layers.1.separable.expand.synapse.weight" in ours
    }
    names = {}
    for name in ours:
        published = published_name(name)
        if published is None:
            continue
        layer = ".".join(name.split(".")[:2])
        if layer in single:  # a stage of one block carries no index there
            published = published.replace(f"model.{LAYERS[layer]}.0.", f"model.{LAYERS[layer]}.", 1)
        for number, half in (("1", "widen"), ("2", "narrow")):
            if f".norm{number}." in published:
                rep = name.rpartition(f".{half}.norm.")[0] + f".{half}.synapse.enter.weight" in ours
                published = published.replace(f".norm{number}.", f".bn{number}." if rep else f".conv{number}.bn.")
        names[name] = published
    return names


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """A plain state dict (torch, weights only) or a safetensors file.

    Raises:
        CheckpointError: the file is absent, damaged, holds code, or is no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, it holds pickled code and not only weights; expected a plain state dict or safetensors"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        # A KeyError's text is a byte of the file.
        reason = "" if isinstance(error, KeyError) or not str(error) else f" ({str(error).splitlines()[0]})"
        raise CheckpointError(f"{path}: damaged or not a torch file{reason}") from error
    if isinstance(content, Mapping):
        for key in ("state_dict", "model"):
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
    raise CheckpointError(f"{path}: holds no weights, expected a state dict of name → tensor")


def load_published(detector: nn.Module, path: Path | str, *, strict: bool = False) -> LoadReport:
    """Fill the detector from a weights file with published names or our own.

    Other classes or channels than the file's keep their start values and are listed in the report. Where neurons count
    more or less finely than those of the file (``fine_ends``; the published ones, and an ANN twin's, count by 1), the
    norms behind them take its statistics in their own units.

    Raises:
        CheckpointError: the file cannot be read, nothing in it fits, or ``strict`` and something does not.
    """
    weights = read_weights(path)
    weights.pop(FIXED, None)
    state = detector.state_dict()
    names = published_names(detector)
    if any(name in weights for name in state):
        names = {name: name for name in state}
    loaded: dict[str, Tensor] = {}
    missing, mismatched = [], {}
    for name, tensor in state.items():
        theirs = weights.pop(names.get(name, ""), None)
        if theirs is None:
            missing.append(name)
        elif theirs.shape != tensor.shape:
            mismatched[name] = (tuple(theirs.shape), tuple(tensor.shape))
        else:
            loaded[name] = theirs
    report = LoadReport(tuple(loaded), tuple(missing), tuple(weights), mismatched)
    if not loaded or (strict and (missing or weights or mismatched)):
        raise CheckpointError(f"{path}: does not fit this model: {report}")
    detector.load_state_dict(loaded, strict=False)
    if isinstance(detector, Detector):
        factor = detector.fineness / fineness_of(path)
        if factor != 1.0:
            detector.rescale_statistics(factor, loaded)
    return report


def fineness_of(path: Path | str) -> float:
    """How finely the neurons count whose statistics a weights file holds: our checkpoints say it, others count by 1."""
    from safetensors import safe_open

    if Path(path).suffix != ".safetensors":
        return 1.0
    with safe_open(path, "pt") as file:
        return float((file.metadata() or {}).get(FINENESS, 1.0))
