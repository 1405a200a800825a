"""The whole look at a network: on a few windows, with boxes where there are any, and then learning them by heart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from spikeyolo import schema
from spikeyolo.diagnosis.deadline import Deadline
from spikeyolo.diagnosis.finding import Finding, Section
from spikeyolo.diagnosis.network.by_heart import Learnt
from spikeyolo.diagnosis.network.check import check_activity, check_network
from spikeyolo.diagnosis.network.overfit import check_overfit
from spikeyolo.diagnosis.settings import Settings, smaller_batch
from spikeyolo.engine.guards.memory import out_of_memory
from spikeyolo.engine.trainer import Trainer
from spikeyolo.windows.batch import Batch
from spikeyolo.windows.data import EventData
from spikeyolo.windows.dataset import Sample, WindowDataset
from spikeyolo.windows.serving.loader import collate
from spikeyolo.windows.slicing import spread

MOST_WINDOWS = 8  # that are looked at and learnt by heart, where batches are not smaller


def first_batch(dataset: WindowDataset, windows: int, deadline: Deadline | None = None) -> Batch | None:
    """So many windows, spread evenly, each with a box at its supervised last step; where none has one, windows as they
    come, and None where there are none.

    Args:
        deadline: until when windows are looked through; None looks through twenty times as many.
    """
    found: list[tuple[int, Sample]] = []
    candidates = spread(len(dataset), 20 * windows)
    shuffled = torch.randperm(len(candidates), generator=torch.Generator().manual_seed(0))
    labelled = any(len(part.inside) for part in dataset.parts)
    for index in (
        candidates[shuffled.numpy()].tolist() if labelled else ()
    ):  # so that an early end is still spread evenly
        one = dataset[0, index]
        if one.supervised[-1] and len(one.boxes.at(len(one.supervised) - 1)):
            found.append((index, one))
        if found and deadline is not None and deadline.over:
            break
    if not found:
        found = [(index, dataset[0, index]) for index in spread(len(dataset), windows).tolist()]
    found.sort(key=lambda item: item[0])
    return collate([found[index][1] for index in spread(len(found), windows).tolist()]) if found else None


def shows_boxes(batch: Batch) -> bool:
    """Whether a batch has a box at a supervised step."""
    targets = batch.targets
    return bool(targets.supervised[targets.time_step, targets.batch_index].any())


def look_at_network(
    config: DictConfig,
    options: Mapping[str, Any],
    data: EventData,
    detector: nn.Module | None,
    batch: Batch | None,
    trainer: Trainer,
    *,
    settings: Settings,
    deadline: Deadline,
    seed: int,
) -> tuple[Section, Learnt | None]:
    """The network's section, and how a new one learnt the windows.

    Args:
        config: with the groups of a training.
        options: of the entry point.
        detector: of a checkpoint; None: a new one.
        batch: windows; None: there are none.
        settings: ``config``, resolved.
        deadline: of the two attempts to learn.
        seed: of new networks.
    """
    if batch is None:
        section = Section("network")
        section.unknown.append("anything of the network: there is no window to look at it with")
        return section, None

    def build() -> nn.Module:
        torch.manual_seed(seed)
        built: nn.Module = schema.build(config.model, num_classes=len(data.classes), in_channels=data.encoder.channels)
        return built.to(trainer.device)

    trained = detector is not None
    batch = batch.to(trainer.device)
    try:
        network = build() if detector is None else detector.to(trainer.device)
        if not shows_boxes(batch):
            return check_activity(network, batch, trained=trained, settings=settings), None
        loss = schema.build(config.loss)
        section, _ = check_network(network, loss, batch, trained=trained, settings=settings)
        if not options["overfit_steps"]:
            section.unknown.append("whether windows are learnt by heart: overfit_steps=0 leaves that out")
            return section, None
        return section, _by_heart(config, options, data, build, loss, batch, section, trainer, settings, deadline)
    except (RuntimeError, MemoryError) as error:
        found = _too_large(error, batch, trainer.device, data, settings)
        if found is None:
            raise
        return found, None


def _by_heart(
    config: DictConfig,
    options: Mapping[str, Any],
    data: EventData,
    build: Callable[[], nn.Module],
    loss: Callable[..., Any],
    batch: Batch,
    section: Section,
    trainer: Trainer,
    settings: Settings,
    deadline: Deadline,
) -> Learnt | None:
    if deadline.over:
        section.unknown.append(
            "whether windows are learnt by heart: the time was up (overfit_seconds=… gives it longer)"
        )
        return None
    return check_overfit(
        build,
        loss,
        schema.build(config.optimizer, _partial_=True),
        batch,
        section,
        evaluator=schema.build(config.evaluator, classes=data.classes),
        steps=options["overfit_steps"],
        seconds=float(options["overfit_seconds"]),
        deadline=deadline,
        clip_gradient=trainer.clip_gradient,
        precision=trainer.precision,
        schedule=schema.build(config.scheduler),
        max_epochs=trainer.max_epochs,
        settings=settings,
    )


def _too_large(
    error: BaseException, batch: Batch, device: torch.device, data: EventData, settings: Settings
) -> Section | None:
    """That a step does not fit into memory, with what does; None where the error is another one."""
    full = out_of_memory(error, batch.frames.shape, device)
    if full is None:
        return None
    windows = batch.frames.shape[1]
    section = Section("network")
    section.unknown.append(f"whether the network learns: a step of {windows} windows does not fit into memory")
    if data.finds_batch_size and windows > 1:
        return section  # training looks for one that fits
    overrides: tuple[str, ...]
    if windows > 1:
        overrides = smaller_batch(settings, windows // 2)
    else:
        downsample = settings.get("data.encoder.downsample", 1)
        overrides = settings.changed("trainer.gradient_checkpointing=true") or (
            f"data.encoder.downsample={2 * downsample}",
        )
    sentence = str(full).partition("; expected")[0]
    section.findings.append(Finding("batch", f"{sentence}: a step does not fit", overrides=overrides))
    return section
