"""The network on its first batch: whether it fires, whether gradients reach all of it, whether the loss begins where an
untrained one begins."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from spikeyolo.diagnosis.finding import Draw, Fact, Finding, Section, listed, share
from spikeyolo.diagnosis.network import mends
from spikeyolo.diagnosis.network.layers import Examined, LayerActivity, activity, examine
from spikeyolo.diagnosis.settings import Settings
from spikeyolo.model.blocks import SpikingConv
from spikeyolo.model.detector import Detector
from spikeyolo.model.head import class_start
from spikeyolo.model.predictions import Predictions
from spikeyolo.report.pictures.diagnosis import draw_bars, draw_layers
from spikeyolo.windows.batch import Batch

SILENT = 1e-4  # share of outputs above 0 below which a layer says nothing
FULL = 0.8  # share of outputs at their most from which on it says nothing either
LAYERS = 0.1  # share of such layers from which on it matters
START = 3.0  # times the expected start, from which on a loss term begins wrongly
UNREACHED = 1e-12  # of the largest gradient norm of a block


def check_network(
    detector: nn.Module, loss: Callable[..., Any], batch: Batch, *, trained: bool, settings: Settings | None = None
) -> tuple[Section, Examined]:
    """Look at a network on one batch.

    Args:
        trained: whether it comes from a checkpoint.
        settings: the configuration, on which it depends what mends it; None knows nothing of it.
    """
    section = Section("network")
    settings = settings or Settings()
    found = examine(detector, loss, batch, trained=trained)
    layers = found.layers
    objects = int(batch.targets.supervised[batch.targets.time_step, batch.targets.batch_index].sum())
    section.facts += [
        ("looked at", f"{batch.frames.shape[1]} windows, {objects} boxes of all time steps"),
        ("parameters", f"{sum(p.numel() for p in detector.parameters()):,}"),
        *_activity_facts(layers),
        ("loss terms", ", ".join(f"{name} {value:.3g}" for name, value in found.terms.items())),
        ("positives an object", f"{found.positives / max(objects, 1):.1f}"),
        ("gradient norm a block", _range(list(found.gradients.values()))),
    ]
    section.pictures["network_layers"] = _draw(layers, found.gradients)
    if not all(math.isfinite(value) for value in found.terms.values()):
        bad = [name for name, value in found.terms.items() if not math.isfinite(value)]
        section.findings.append(
            Finding(
                "not_finite",
                f"the loss of the first batch is not finite ({listed(bad)})",
                remedy="a checkpoint's weights are damaged: take another one" if trained else "",
                overrides=() if trained else _finite(settings),
                draw=_draw(found.layers, found.gradients),
            )
        )
        return section, found
    section.findings += _activity(detector, batch, layers, found.gradients, trained, settings)
    if not trained:
        prior = detector.head.class_prior if isinstance(detector, Detector) else None
        section.findings += _start(found, loss, batch, section, settings, prior=prior)
    if objects and found.positives < objects:
        more = mends.more_positives(settings)
        section.findings.append(
            Finding(
                "positives",
                f"{found.positives} anchor points answer for {objects} boxes: some objects have none and cannot be "
                "learnt",
                remedy=""
                if more
                else "objects lie closer together than the anchor points: a longer lens or a finer sensor helps",
                overrides=more,
                evidence=(("positives an object", f"{found.positives / objects:.2f}"),),
                draw=lambda path: draw_bars(
                    path, [("boxes", float(objects)), ("anchor points", float(found.positives))], label="how many"
                ),
            )
        )
    section.findings += _gradients(detector, found, settings)
    return section, found


def check_activity(detector: nn.Module, batch: Batch, *, trained: bool, settings: Settings | None = None) -> Section:
    """Look at a network on frames alone, of which no boxes are known."""
    section = Section("network")
    layers = activity(detector, batch.frames, trained=trained)
    section.facts += [
        ("looked at", f"{batch.frames.shape[1]} windows without boxes"),
        ("parameters", f"{sum(p.numel() for p in detector.parameters()):,}"),
        *_activity_facts(layers),
    ]
    section.pictures["network_layers"] = _draw(layers, {})
    section.findings += _activity(detector, batch, layers, {}, trained, settings or Settings())
    section.unknown.append(
        "how the loss begins, whether gradients reach all blocks, which anchor points answer for objects and whether "
        "windows are learnt by heart: there is no window with a box to look at it with"
    )
    return section


def _activity_facts(layers: Sequence[LayerActivity]) -> list[Fact]:
    rates = [layer.firing for layer in layers]
    return [
        ("firing rate a layer", f"{share(min(rates))} to {share(max(rates))}" if rates else "no spiking layer"),
        ("membranes, nine tenths within", _membranes(layers)),
    ]


def _activity(
    detector: nn.Module,
    batch: Batch,
    layers: Sequence[LayerActivity],
    gradients: Mapping[str, float],
    trained: bool,
    settings: Settings,
) -> list[Finding]:
    findings = []
    silent = _silent(layers)
    if len(silent) > LAYERS * len(layers):
        remedy, overrides = _awake(detector, batch, trained, settings)
        findings.append(
            Finding(
                "silent",
                f"{len(silent)} of {len(layers)} layers do not fire (the first: {silent[0]}): what comes after them "
                "sees nothing, and no gradient passes",
                remedy=remedy,
                overrides=overrides,
                evidence=tuple((layer.name, share(layer.firing)) for layer in layers if layer.firing < SILENT)[:8],
                draw=_draw(layers, gradients),
            )
        )
    full = [layer for layer in layers if layer.full > FULL]
    if len(full) > LAYERS * len(layers):
        findings.append(
            Finding(
                "saturated",
                f"{len(full)} of {len(layers)} layers fire as often as they can at nearly every place (the first: "
                f"{full[0].name}): they say the same of everything, and no gradient passes",
                overrides=mends.calmer(detector, settings),
                evidence=tuple((layer.name, f"at its most {share(layer.full)}") for layer in full[:8]),
                draw=_draw(layers, gradients),
            )
        )
    return findings


def _silent(layers: Sequence[LayerActivity]) -> list[str]:
    return [layer.name for layer in layers if layer.firing < SILENT]


def _awake(detector: nn.Module, batch: Batch, trained: bool, settings: Settings) -> tuple[str, tuple[str, ...]]:
    """What makes silent neurons fire, in words and as overrides."""
    if not trained:
        words = "fewer events than usual may be the cause too: see events a slice"
        return words, mends.livelier(detector, settings, threshold=waking_threshold(detector, batch))
    alive = activity(detector, batch.frames, trained=False)
    if len(_silent(alive)) <= LAYERS * len(alive):
        words = "with the windows' own statistics they fire: its norms have seen too few updates. Train longer"
        return words, (f"trainer.max_epochs={2 * settings.get('trainer.max_epochs', 25)}",)
    words = "train again: a smaller learning rate and a decay of weights keep neurons alive"
    return words, (f"optimizer.lr={settings.get('optimizer.lr', 0.001) / 2:g}",)


def waking_threshold(detector: nn.Module, batch: Batch) -> float | None:
    """The first threshold at which layers fire, as that of the neurons is halved and halved again; None: they have
    none, or do not fire at a thousandth of it either."""
    awake = copy.deepcopy(detector)
    units = (unit.neuron for unit in awake.modules() if isinstance(unit, SpikingConv))
    neurons: list[Any] = [neuron for neuron in units if hasattr(neuron, "threshold")]
    thresholds = [neuron.threshold for neuron in neurons]
    for halvings in range(1, 11 if neurons else 1):
        for neuron, threshold in zip(neurons, thresholds):
            neuron.threshold = threshold / 2**halvings
        layers = activity(awake, batch.frames, trained=False)
        if len(_silent(layers)) <= LAYERS * len(layers):
            return float(neurons[0].threshold)
    return None


def _start(
    found: Examined,
    loss: Callable[..., Any],
    batch: Batch,
    section: Section,
    settings: Settings,
    *,
    prior: float | None,
) -> list[Finding]:
    expected = expected_start(found.predictions, loss, batch, prior=prior)
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
            overrides=settings.changed("model.pretrained=null"),
            evidence=tuple((name, f"{value:.4g}") for name, value in pairs),
            draw=lambda path: draw_bars(path, pairs, label="loss term"),
        )
    ]


def expected_start(
    predictions: Predictions, loss: Callable[..., Any], batch: Batch, *, prior: float | None = None
) -> dict[str, float]:
    """Terms of the loss of a network that gives every distance alike and every class its share of anchor points.

    Args:
        predictions: of any network of the same kind on this batch.
        prior: the network's ``class_prior``.
    """
    K = predictions.class_logits.shape[-1]
    start = [class_start(stride, num_classes=K, prior=prior) for stride in predictions.strides.tolist()]
    logits = predictions.strides.new_tensor(start)
    neutral = replace(
        predictions,
        box_logits=torch.zeros_like(predictions.box_logits),
        class_logits=logits.view(1, 1, -1, 1).expand_as(predictions.class_logits).contiguous(),
    )
    with torch.no_grad():
        terms = loss(neutral, batch.targets)
    return {name: float(value) for name, value in terms.named().items() if name != "track"}


def _gradients(detector: nn.Module, found: Examined, settings: Settings) -> list[Finding]:
    norms = found.gradients
    largest = max(norms.values(), default=0.0)
    if not math.isfinite(largest):
        bad = [name for name, norm in norms.items() if not math.isfinite(norm)]
        return [
            Finding(
                "gradient",
                f"gradients of {listed(bad)} are not finite",
                overrides=settings.changed(mends.SMALL_BRANCHES, "trainer.precision=float32"),
                draw=_draw(found.layers, norms),
            )
        ]
    unreached = [name for name, norm in norms.items() if norm <= UNREACHED * largest]
    untaught = mends.untaught(found.terms) if found.positives else ()
    if untaught:
        return [
            Finding(
                "gradient",
                f"no gradient reaches {listed(unreached)}: terms of the loss weigh nothing, and what they alone teach "
                "is not learnt",
                overrides=untaught,
                evidence=tuple((name, f"{value:.3g}") for name, value in found.terms.items()),
                draw=_draw(found.layers, norms),
            )
        ]
    if not unreached or len(unreached) < LAYERS * len(norms):
        return []
    return [
        Finding(
            "gradient",
            f"no gradient reaches {listed(unreached)}: it cannot learn",
            overrides=mends.open_to_gradients(detector, settings),
            evidence=tuple((name, f"{norm:.3g}") for name, norm in norms.items()),
            draw=_draw(found.layers, norms),
        )
    ]


def _finite(settings: Settings) -> tuple[str, ...]:
    if settings.get("model.pretrained") is not None:
        return ("model.pretrained=null",)
    return settings.changed(mends.SMALL_BRANCHES)


def _draw(layers: Sequence[LayerActivity], gradients: Mapping[str, float]) -> Draw:
    rows = [(layer.name, layer.firing, layer.full) for layer in layers]
    norms = [(block, norm if math.isfinite(norm) else 0.0) for block, norm in gradients.items()]
    return lambda path: draw_layers(path, rows, norms)


def _membranes(layers: Sequence[LayerActivity]) -> str:
    if not layers:
        return "–"
    return f"{min(layer.low for layer in layers):.2f} to {max(layer.high for layer in layers):.2f}"


def _range(values: list[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}" if values else "none"
