"""A checkpoint held against the data: whether it is for their classes and frames, and how it was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from spikeyolo.diagnosis.finding import Finding, name_list
from spikeyolo.windows.data import EventData

# Class of an encoder → its option of data/encoder.
ENCODERS = {
    "HistogramEncoder": "histogram",
    "BinaryEncoder": "binary",
    "VoxelEncoder": "voxel",
    "TimeSurfaceEncoder": "time_surface",
    "MixedDensityEncoder": "mixed_density",
}


def as_trained(config: DictConfig, state: Mapping[str, Any], overridden: Sequence[str]) -> DictConfig:
    """The configuration with the checkpoint's model, and with loss, optimizer and schedule of its run unless the
    command line chooses others.

    Args:
        state: readable part of the checkpoint.
        overridden: the command line's overrides.
    """
    changed = OmegaConf.to_container(config)
    assert isinstance(changed, dict)
    changed["model"] = {**state["model"], "pretrained": None}
    for group in ("loss", "optimizer", "scheduler"):
        given = any(override.lstrip("+").startswith((f"{group}=", f"{group}.")) for override in overridden)
        settings = (state.get("settings") or {}).get(group)
        if settings and not given:
            changed[group] = {**settings, **({"teacher": None} if "teacher" in settings else {})}
    return OmegaConf.create(changed)


def against_data(state: Mapping[str, Any], data: EventData) -> list[Finding]:
    """That a checkpoint's network was made for other classes or frames than the data's."""
    trained = [str(name) for name in state["classes"]]
    findings = []
    if trained != list(data.classes):
        same = sorted(trained) == sorted(data.classes)
        findings.append(
            Finding(
                "checkpoint_classes",
                f"the checkpoint's classes are [{', '.join(trained)}], the data's [{', '.join(data.classes)}]"
                + (": they are in another order" if same else ""),
                remedy="a new network of its kind is looked at in its place",
                overrides=(f"data.classes={name_list(trained)}",),
            )
        )
    if state["in_channels"] != data.encoder.channels:
        overrides = _encoder(state.get("encoder") or {})
        findings.append(
            Finding(
                "checkpoint_frames",
                f"the checkpoint takes frames of {state['in_channels']} channels, data.encoder makes "
                f"{data.encoder.channels}",
                remedy="" if overrides else "take the encoder it was trained with (data/encoder=…)",
                overrides=overrides,
            )
        )
    return findings


def _encoder(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Overrides that choose an encoder with these settings; none where it is not one of ours."""
    name = str(settings.get("_target_", "")).rpartition(".")[2]
    if name not in ENCODERS:
        return ()
    values = {key: value for key, value in settings.items() if key != "_target_"}
    return (
        f"data/encoder={ENCODERS[name]}",
        *(f"data.encoder.{key}={'null' if value is None else value}" for key, value in values.items()),
    )
