"""Which overrides mend a network, for the neuron and the start that are configured.

They are those that were found to help (experiments/etram_like): residual branches that begin small, finer steps in the
first layers and the head. A higher gain and a surrogate that reaches below 0 were measured there to be harmful.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from spikeyolo.diagnosis.settings import Settings
from spikeyolo.model.blocks import SpikingConv
from spikeyolo.model.neuron import Ilif, Neuron

SMALL_BRANCHES = "model.branch_scale=0.2"
FINE_ENDS = 4
_MOST_LEVELS = 127  # spikes of a step
_UNKNOWN = object()
_SIZES = (("femto", 0.0625), ("pico", 0.125), ("t", 0.25), ("n", 0.375), ("s", 0.5), ("m", 0.625), ("l", 0.75))


def neuron_of(detector: nn.Module) -> Neuron | None:
    """A neuron of the network's; None where it has none."""
    units = (unit for unit in detector.modules() if isinstance(unit, SpikingConv))
    return next((unit.neuron for unit in units if unit.neuron is not None), None)


def livelier(detector: nn.Module, settings: Settings, *, threshold: float | None = None) -> tuple[str, ...]:
    """That neurons of a new network fire more.

    Args:
        threshold: at which they do; None: not known, half of theirs.
    """
    neuron = neuron_of(detector)
    overrides = list(settings.changed(SMALL_BRANCHES))
    configured = getattr(neuron, "threshold", None)
    if configured is not None:
        overrides.append(f"model.neuron.threshold={configured / 2 if threshold is None else threshold:g}")
    if (
        isinstance(neuron, Ilif) and settings.get("model.neuron.gain", 1.0) < 1
    ):  # of which a spike is so much the dearer
        overrides.append("model.neuron.gain=1")
    levels = settings.get("model.neuron.levels", 4)
    if isinstance(neuron, Ilif) and settings.get("model.fine_ends", 1) == 1 and FINE_ENDS * levels <= _MOST_LEVELS:
        overrides.append(f"model.fine_ends={FINE_ENDS}")
    return tuple(overrides)


def calmer(detector: nn.Module, settings: Settings) -> tuple[str, ...]:
    """That they are not full all the time."""
    neuron = neuron_of(detector)
    overrides = settings.changed(SMALL_BRANCHES)
    threshold = getattr(neuron, "threshold", None)
    if threshold is not None:
        return (*overrides, f"model.neuron.threshold={2 * threshold:g}")
    levels = settings.get("model.neuron.levels", 4)
    fits = 2 * levels * settings.get("model.fine_ends", 1) <= _MOST_LEVELS
    if not overrides and isinstance(neuron, Ilif) and fits:  # the ceiling costs with large branches only
        return (f"model.neuron.levels={2 * levels}",)
    return overrides


def open_to_gradients(detector: nn.Module, settings: Settings) -> tuple[str, ...]:
    """That gradients reach every block."""
    surrogate = getattr(neuron_of(detector), "surrogate", None)
    narrow = surrogate is not None and surrogate != "super"  # whose gradient is nowhere 0
    return (*settings.changed(SMALL_BRANCHES), *(("model.neuron.surrogate=super",) if narrow else ()))


def untaught(terms: Mapping[str, float]) -> tuple[str, ...]:
    """Weights of the loss without which classes, or boxes, are not learnt; empty where both are.

    Args:
        terms: of the loss of windows with objects, weighted: one that is 0 there has no weight.
    """
    overrides = [] if terms["class"] else ["loss.class_weight=1"]
    if not terms["box"] and not terms["dfl"]:  # either of them teaches where sides lie
        overrides += ["loss.box_weight=5", "loss.dfl_weight=1.5"]
    return tuple(overrides)


def more_positives(settings: Settings) -> tuple[str, ...]:
    """That every object has anchor points: more of them may answer for it, or frames are finer."""
    overrides = settings.changed("loss.assigner=task_aligned", "loss.assign_top=10")
    downsample = settings.get("data.encoder.downsample", 1)
    if not overrides and downsample > 1:
        return (f"data.encoder.downsample={max(1, downsample // 2)}",)
    return overrides


def more_able(settings: Settings) -> tuple[str, ...]:
    """That it can learn more: the next size, and a loss that weighs easy anchor points down less."""
    width = settings.get("model.width", _SIZES[0][1])
    larger = [f"model={name}" for name, wide in _SIZES if wide > width][:1]
    gamma = settings.get("loss.focal_gamma", 2.0)
    return (*larger, *(("loss.focal_gamma=1.0",) if gamma > 1 else ()))


def another_optimizer(settings: Settings, optimizer: tuple[str, ...], lr: float) -> tuple[str, ...]:
    """Another optimizer, and a schedule whose peak is not below its learning rate ``lr``."""
    peak = settings.get("scheduler.max_lr")
    return (*optimizer, *(("scheduler.max_lr=null",) if peak is not None and peak < lr else ()))


def lower_peak(settings: Settings, lr: float) -> tuple[str, ...]:
    """A schedule that does not rise above the optimizer's learning rate ``lr``."""
    known = settings.get("scheduler.max_lr", _UNKNOWN) is not _UNKNOWN
    return (f"scheduler.max_lr={lr:g}",) if known else ("scheduler=cosine",)
