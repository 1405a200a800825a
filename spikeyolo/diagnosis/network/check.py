"""The network on its first batch: whether it fires, whether gradients reach all of it, whether the loss begins where an
untrained one begins."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from spikeyolo.diagnosis.finding import Finding, Section, listed, share
from spikeyolo.diagnosis.network.layers import Examined, examine
from spikeyolo.model.head import REFERENCE_PIXELS
from spikeyolo.model.predictions import Predictions
from spikeyolo.report.pictures.diagnosis import draw_bars, draw_layers
from spikeyolo.windows.batch import Batch

SILENT = 1e-4  # share of outputs above 0 below which a layer says nothing
FULL = 0.8  # share of outputs at their most from which on it says nothing either
LAYERS = 0.1  # share of such layers from which on it matters
START = 3.0  # times the expected start, from which on a loss term begins wrongly
UNREACHED = 1e-12  # of the largest gradient norm of a block


def check_network(
    detector: nn.Module, loss: Callable[..., Any], batch: Batch, *, trained: bool
) -> tuple[Section, Examined]:
    """Look at a network on one batch.

    Args:
        trained: whether it comes from a checkpoint.
    """
    section = Section("network")
    found = examine(detector, loss, batch, trained=trained)
    layers = found.layers
    objects = int(batch.targets.supervised[batch.targets.time_step, batch.targets.batch_index].sum())
    rates = [layer.firing for layer in layers]
    section.facts += [
        ("looked at", f"{batch.frames.shape[1]} windows, {objects} boxes of all time steps"),
        ("parameters", f"{sum(p.numel() for p in detector.parameters()):,}"),
        ("firing rate a layer", f"{share(min(rates))} to {share(max(rates))}" if rates else "no spiking layer"),
        ("membranes, nine tenths within", _membranes(found)),
        ("loss terms", ", ".join(f"{name} {value:.3g}" for name, value in found.terms.items())),
        ("positives an object", f"{found.positives / max(objects, 1):.1f}"),
        ("gradient norm a block", _range(list(found.gradients.values()))),
    ]
    section.pictures["network_layers"] = _draw(found)
    if not all(math.isfinite(value) for value in found.terms.values()):
        bad = [name for name, value in found.terms.items() if not math.isfinite(value)]
        section.findings.append(
            Finding(
                "not_finite",
                f"the loss of the first batch is not finite ({listed(bad)})",
                remedy="a checkpoint's weights are damaged: take another one" if trained else "",
                overrides=() if trained else ("optimizer.lr=0.001", "trainer.clip_gradient=10"),
            )
        )
        return section, found
    section.findings += _activity(found, trained)
    if not trained:
        section.findings += _start(found, loss, batch, section)
    if objects and found.positives < objects:
        section.findings.append(
            Finding(
                "positives",
                f"{found.positives} anchor points answer for {objects} boxes: some objects have none and cannot be "
                "learnt",
                overrides=("loss.assigner=task_aligned", "loss.assign_top=10"),
                evidence=(("positives an object", f"{found.positives / objects:.2f}"),),
            )
        )
    section.findings += _gradients(found)
    return section, found


def _activity(found: Examined, trained: bool) -> list[Finding]:
    findings = []
    layers = found.layers
    silent = [layer.name for layer in layers if layer.firing < SILENT]
    if len(silent) > LAYERS * len(layers):
        findings.append(
            Finding(
                "silent",
                f"{len(silent)} of {len(layers)} layers do not fire (the first: {silent[0]}): what comes after them "
                "sees nothing, and no gradient passes",
                remedy="train again; a smaller learning rate and a decay of weights keep neurons alive"
                if trained
                else "lower the neurons' thresholds, or let gradients pass below them",
                overrides=("optimizer.lr=0.0005",) if trained else ("model.neuron.gain=2",),
                evidence=tuple((layer.name, share(layer.firing)) for layer in layers if layer.firing < SILENT)[:8],
                draw=_draw(found),
            )
        )
    full = [layer for layer in layers if layer.full > FULL]
    if len(full) > LAYERS * len(layers):
        findings.append(
            Finding(
                "saturated",
                f"{len(full)} of {len(layers)} layers fire as often as they can at nearly every place (the first: "
                f"{full[0].name}): they say the same of everything, and no gradient passes",
                overrides=("model.branch_scale=0.2",),
                evidence=tuple((layer.name, f"at its most {share(layer.full)}") for layer in full[:8]),
                draw=_draw(found),
            )
        )
    return findings


def _start(found: Examined, loss: Callable[..., Any], batch: Batch, section: Section) -> list[Finding]:
    expected = expected_start(found.predictions, loss, batch)
    words = ", ".join(f"{name} {value:.3g}" for name, value in expected.items())
    section.facts.append(("of a network that knows nothing", words))
    off = [name for name, value in expected.items() if found.terms[name] > START * value + 0.5]
    if not off:
        return []
    pairs = [(f"{name} {kind}", of[name]) for name in expected for kind, of in (("now", found.terms),
                                                                                ("expected", expected))]  # fmt: skip
    return [
        Finding(
            "loss_start",
            "the loss begins far above that of a network that knows nothing: "
            + ", ".join(f"{name} {found.terms[name]:.3g} in place of {expected[name]:.3g}" for name in off),
            remedy="weights that were loaded do not fit (model.pretrained), or the network's start was changed",
            overrides=("model.pretrained=null",),
            evidence=tuple((name, f"{value:.4g}") for name, value in pairs),
            draw=lambda path: draw_bars(path, pairs, label="loss term"),
        )
    ]


def expected_start(predictions: Predictions, loss: Callable[..., Any], batch: Batch) -> dict[str, float]:
    """Terms of the loss of a network that gives every distance alike and every class its share of anchor points.

    Args:
        predictions: of any network of the same kind on this batch.
    """
    K = predictions.class_logits.shape[-1]
    prior = torch.log(5 / K / (REFERENCE_PIXELS / predictions.strides) ** 2)
    neutral = replace(
        predictions,
        box_logits=torch.zeros_like(predictions.box_logits),
        class_logits=prior.view(1, 1, -1, 1).expand_as(predictions.class_logits).contiguous(),
    )
    with torch.no_grad():
        terms = loss(neutral, batch.targets)
    return {name: float(value) for name, value in terms.named().items() if name != "track"}


def _gradients(found: Examined) -> list[Finding]:
    norms = found.gradients
    largest = max(norms.values(), default=0.0)
    if not math.isfinite(largest):
        bad = [name for name, norm in norms.items() if not math.isfinite(norm)]
        return [
            Finding(
                "gradient",
                f"gradients of {listed(bad)} are not finite",
                overrides=("model.branch_scale=0.2", "trainer.precision=float32"),
                draw=_draw(found),
            )
        ]
    unreached = [name for name, norm in norms.items() if norm <= UNREACHED * largest]
    if not unreached or len(unreached) < LAYERS * len(norms):
        return []
    return [
        Finding(
            "gradient",
            f"no gradient reaches {listed(unreached)}: it cannot learn",
            overrides=("model.neuron.surrogate_margin=0.5",),
            evidence=tuple((name, f"{norm:.3g}") for name, norm in norms.items()),
            draw=_draw(found),
        )
    ]


def _draw(found: Examined) -> Any:
    rows = [(layer.name, layer.firing, layer.full) for layer in found.layers]
    return lambda path: draw_layers(path, rows, list(found.gradients.items()))


def _membranes(found: Examined) -> str:
    if not found.layers:
        return "–"
    return f"{min(layer.low for layer in found.layers):.2f} to {max(layer.high for layer in found.layers):.2f}"


def _range(values: list[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}" if values else "none"
