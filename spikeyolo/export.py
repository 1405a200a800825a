"""Export a checkpoint: ``python -m spikeyolo.export checkpoint=FOLDER format=onnx|nir|torch_export``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge
from omegaconf import DictConfig

from spikeyolo import entry

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("spikeyolo")

OPTIONS: Mapping[str, Any] = {
    "checkpoint": str,
    "format": Literal["onnx", "nir", "torch_export"],
    "out": str | None,
    "backend": Literal["onnxruntime", "openvino"],
    "weight_bits": Literal[4, 8] | None,
    "window": Literal["run", "drawn"],
    "time_steps": Annotated[int, Ge(1)],
    "height": Annotated[int, Ge(32)],
    "width": Annotated[int, Ge(32)],
    "debug": bool,
}
SUFFIXES = {"onnx": ".onnx", "nir": ".nir", "torch_export": ".pt2"}


@entry.in_a_sentence
def export(config: DictConfig) -> Path:
    """One export of a composed configuration."""
    return run(config)


def run(config: DictConfig) -> Path:
    """Write the file and say by how much its logits differ.

    Raises:
        SpikeyoloError: a key is wrong, the checkpoint cannot be read, or an optional package is missing.
    """
    from omegaconf import OmegaConf

    from spikeyolo import schema
    from spikeyolo.errors import ConfigError

    if OmegaConf.is_missing(config, "checkpoint"):
        raise ConfigError("checkpoint: found nothing; expected checkpoint=FOLDER, such as outputs/…/checkpoints/best")
    options = schema.checked_options(config, OPTIONS)  # before torch is imported, which takes seconds
    from spikeyolo.engine.checkpoints.restore import restore_detector
    from spikeyolo.model.exchange import export_nir, export_onnx, export_torch

    folder = Path(options["checkpoint"])
    detector, state = restore_detector(folder, weight_bits=options["weight_bits"])
    frames = run_window(folder) if options["window"] == "run" else None
    if frames is None:
        frames = drawn_window(detector.in_channels, options["time_steps"], options["height"], options["width"])
    name = options["format"]
    out = Path(options["out"]) if options["out"] else folder.with_name(folder.name + SUFFIXES[name])
    out.parent.mkdir(parents=True, exist_ok=True)
    if name == "onnx":
        difference = export_onnx(detector, frames, out, described(state), backend=options["backend"])
    else:
        difference = {"nir": export_nir, "torch_export": export_torch}[name](detector, frames, out)
    log.info("%s: %s of %s", out, name, ", ".join(state.get("classes", [])))
    log.info("window [T, B, C, H, W] = %s, largest difference of a logit %.3g", list(frames.shape), difference)
    return out


def described(state: Mapping[str, Any]) -> dict[str, Any]:
    """What ``spikeyolo.predict`` needs to know of a checkpoint beside its network."""
    settings = state.get("settings") or {}
    data = settings.get("data") or {}
    reading = {key: data[key] for key in ("event_rules", "filters", "size", "time_unit") if key in data}
    kept = {key: state[key] for key in ("classes", "in_channels", "encoder", "windows", "frame") if key in state}
    return {**kept, "settings": {"data": reading, "evaluator": settings.get("evaluator") or {}}}


def run_window(folder: Path) -> Tensor | None:
    """The first validation window ``[T, 1, C, H, W]`` of the run that wrote a checkpoint; None where it is gone."""
    from omegaconf import OmegaConf

    from spikeyolo import schema
    from spikeyolo.errors import SpikeyoloError

    source = folder.parent.parent / ".hydra" / "config.yaml"
    if not source.is_file():
        log.warning("%s is not there: the check uses drawn counts", source)
        return None
    config = OmegaConf.load(source)
    assert isinstance(config, DictConfig)
    try:
        node = OmegaConf.create({"data": OmegaConf.to_container(config, resolve=True)["data"]})  # type: ignore[call-overload, index]
        if not Path(node.data.store).exists():  # an export makes no data set
            log.warning("%s is not there from here: the check uses drawn counts", node.data.store)
            return None
        node.data.workers = 0
        schema.check(node, groups=("data",))
        batch = next(schema.build(node.data).val_loader(pin_memory=False).epoch(0))
    except SpikeyoloError as error:
        log.warning("the run's data cannot be read (%s): the check uses drawn counts", error)
        return None
    frames: Tensor = batch.frames[:, :1]
    return frames


def drawn_window(channels: int, steps: int, height: int, width: int) -> Tensor:
    """Random event counts ``[T, 1, C, H, W]`` uint8, one in ten pixels."""
    import torch

    draw = torch.Generator().manual_seed(0)
    rates = torch.full((steps, 1, channels, height, width), 0.1)
    return torch.poisson(rates, generator=draw).to(torch.uint8)


def main() -> None:
    """Run from a command line."""
    entry.run(export, "export")


if __name__ == "__main__":
    main()
