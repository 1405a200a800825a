"""The whole diagnosis, in the order in which a senior colleague would look."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from spikeyolo import schema
from spikeyolo.diagnosis.finding import Finding, Section
from spikeyolo.diagnosis.labels.check import LabelDiagnosis, check_labels
from spikeyolo.diagnosis.machine import check_machine
from spikeyolo.diagnosis.network.check import check_network
from spikeyolo.diagnosis.network.overfit import Learnt, check_overfit
from spikeyolo.diagnosis.sampled import SampledFiles, SampledStore, sample
from spikeyolo.diagnosis.windows.check import check_windows
from spikeyolo.diagnosis.written import Written, written
from spikeyolo.engine.checkpoints.restore import restore_detector
from spikeyolo.engine.guards.memory import out_of_memory
from spikeyolo.errors import ConfigError, LabelError, RecordingError
from spikeyolo.evaluation import run_data
from spikeyolo.events.labels import LabelCorrection
from spikeyolo.metrics.protocols import Protocol
from spikeyolo.report.console import Console
from spikeyolo.windows.batch import Batch
from spikeyolo.windows.data import EventData
from spikeyolo.windows.dataset import Sample, WindowDataset
from spikeyolo.windows.parts import Part
from spikeyolo.windows.serving.loader import collate
from spikeyolo.windows.slicing import spread

log = logging.getLogger(__name__)

EIGHT = 8  # windows that are learnt by heart


def diagnose(
    config: DictConfig,
    options: Mapping[str, Any],
    *,
    checkpoint: Path | None,
    chosen: str | None,
    overridden: Sequence[str],
    seed: int,
) -> list[Section]:
    """Look at data, network and machine of a composed configuration.

    Args:
        config: with the groups of a training, and ``protocol``.
        options: of the entry point.
        checkpoint: whose network is looked at; None: a new one.
        chosen: option of the ``data`` group.
        overridden: the command line's overrides.
        seed: of a new network.

    Raises:
        SpikeyoloError: a key is wrong, or data or checkpoint cannot be read.
    """
    asked = set(options["sections"])
    detector: nn.Module | None = None
    state: Mapping[str, Any] = {}
    if checkpoint is not None:
        detector, state = restore_detector(checkpoint)
        config = _as_trained(config, state, overridden)
    schema.check(config, groups=[str(group) for group in config])
    if checkpoint is None:
        data: EventData = schema.build(config.data)
    else:
        without = {key: value for key, value in state.items() if key != "classes"}
        data, _ = run_data.build(config, without, chosen=chosen, overridden=overridden)
    trainer = schema.build(config.trainer)
    if trainer.threads is not None:
        torch.set_num_threads(trainer.threads)
    sections, dataset = look_at_data(data, asked, protocol=schema.build(config.protocol))
    if not asked & {"network", "machine"}:
        return sections
    learnt = None
    batch = None if dataset is None else first_batch(dataset, EIGHT)
    if "network" in asked:
        with _timed(sections) as end:
            section, learnt = _network(config, options, data, detector, state, batch, trainer, seed=seed)
            end(section)
    if "machine" in asked and dataset is not None:
        with _timed(sections) as end:
            section = check_machine(
                dataset,
                batch_size=data.batch_size,
                workers=data.workers,
                device=trainer.device,
                threads=trainer.threads,
                step_s=None if learnt is None else learnt.step_s,
                step_windows=EIGHT if batch is None else batch.frames.shape[1],
            )
            end(section)
    return sections


def look_at_data(data: EventData, asked: set[str], *, protocol: Protocol) -> tuple[list[Section], WindowDataset | None]:
    """Labels and windows of a sample of a data set, and the training windows as they are once labels are mended.

    Raises:
        SpikeyoloError: a recording cannot be read.
    """
    sections: list[Section] = []
    taken = sample(data)
    console = Console()
    with console.stages("making recordings") as progress:
        recordings = written(data, taken, "train", progress)
    diagnosis: LabelDiagnosis | None = None
    if "labels" in asked:
        with _timed(sections) as end:
            diagnosis = check_labels(
                recordings,
                current=_current(taken),
                stored=isinstance(taken, SampledStore),
                steps_us=data.rules.duration_us,
            )
            end(diagnosis.section)
    if not asked - {"labels"}:
        return sections, None
    mended = _mend(taken, diagnosis, recordings)
    with _timed(sections) as end:
        parts, val_parts, sentence = _parts(data, console)
        section, dataset = check_windows(
            data,
            parts,
            val_parts,
            recordings,
            protocol=protocol,
            whole=len(recordings) == taken.found.get("train"),
            mended=mended,
        )
        section.unknown += [sentence] if sentence else []
        section.facts.insert(0, ("recordings", _of(taken, recordings)))
        if "windows" in asked:
            end(section)
    return sections, dataset


def first_batch(dataset: WindowDataset, windows: int) -> Batch | None:
    """So many windows, spread evenly, each with a box at its supervised last step; None where there are none."""
    found: list[Sample] = []
    for index in spread(len(dataset), 20 * windows).tolist():
        one = dataset[0, index]
        if one.supervised[-1] and len(one.boxes.at(len(one.supervised) - 1)):
            found.append(one)
    return collate([found[index] for index in spread(len(found), windows).tolist()]) if found else None


def _network(
    config: DictConfig,
    options: Mapping[str, Any],
    data: EventData,
    detector: nn.Module | None,
    state: Mapping[str, Any],
    batch: Batch | None,
    trainer: Any,
    *,
    seed: int,
) -> tuple[Section, Learnt | None]:
    """The network's section, and how it learnt eight windows."""
    findings: list[Finding] = []
    if detector is not None:
        findings = _checkpoint(state, data)
        if findings:  # it has nothing to do with these data; a new one of its kind has
            detector = None
    trained = detector is not None
    if batch is None:
        section = Section("network", findings=findings)
        section.unknown.append("there is no window with a box to look at it with")
        return section, None

    def build() -> nn.Module:
        torch.manual_seed(seed)
        built: nn.Module = schema.build(config.model, num_classes=len(data.classes), in_channels=data.encoder.channels)
        return built.to(trainer.device)

    loss = schema.build(config.loss)
    batch = batch.to(trainer.device)
    try:
        section, _ = check_network(
            build() if detector is None else detector.to(trainer.device), loss, batch, trained=trained
        )
        section.findings[:0] = findings
        if not options["overfit_steps"]:
            return section, None
        learnt = check_overfit(
            build,
            loss,
            schema.build(config.optimizer, _partial_=True),
            batch,
            section,
            evaluator=schema.build(config.evaluator, classes=data.classes),
            steps=options["overfit_steps"],
            seconds=float(options["overfit_seconds"]),
            clip_gradient=trainer.clip_gradient,
            precision=trainer.precision,
        )
        return section, learnt
    except (RuntimeError, MemoryError) as error:
        full = out_of_memory(error, batch.frames.shape, trainer.device)
        if full is None:
            raise
        section = Section("network", findings=findings)
        half = max(1, batch.frames.shape[1] // 2)
        section.findings.append(
            Finding("batch", str(full), overrides=(f"data.batch_size={half}", f"trainer.nominal_batch={2 * half}"))
        )
        return section, None


def _checkpoint(state: Mapping[str, Any], data: EventData) -> list[Finding]:
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
                overrides=(f"data.classes=[{','.join(trained)}]",),
            )
        )
    if state["in_channels"] != data.encoder.channels:
        findings.append(
            Finding(
                "checkpoint_frames",
                f"the checkpoint takes frames of {state['in_channels']} channels, data.encoder makes "
                f"{data.encoder.channels}",
                remedy="take the encoder it was trained with (data/encoder=…)",
            )
        )
    return findings


def _as_trained(config: DictConfig, state: Mapping[str, Any], overridden: Sequence[str]) -> DictConfig:
    """The configuration with the checkpoint's model, and with loss and optimizer of its run unless the command line
    chooses others."""
    changed = OmegaConf.to_container(config)
    assert isinstance(changed, dict)
    changed["model"] = {**state["model"], "pretrained": None}
    for group in ("loss", "optimizer"):
        given = any(override.lstrip("+").startswith((f"{group}=", f"{group}.")) for override in overridden)
        settings = (state.get("settings") or {}).get(group)
        if settings and not given:
            changed[group] = {**settings, **({"teacher": None} if "teacher" in settings else {})}
    return OmegaConf.create(changed)


@contextmanager
def _timed(sections: list[Section]) -> Iterator[Any]:
    yield partial(_end, sections, time.monotonic())


def _end(sections: list[Section], began: float, section: Section) -> None:
    section.seconds = time.monotonic() - began
    sections.append(section)


def _current(taken: SampledFiles | SampledStore) -> LabelCorrection | None:
    """The correction that the set's labels have already."""
    if isinstance(taken, SampledStore):
        return None
    return next((source.rules.correction for source in taken.sources("train")), None)


def _mend(taken: SampledFiles | SampledStore, diagnosis: LabelDiagnosis | None, recordings: Sequence[Written]) -> bool:
    """Let what follows see labels as they will be once they are mended, so that it finds no consequences."""
    if isinstance(taken, SampledStore):
        return False
    taken.lenient = any(item.refusal for item in recordings)
    taken.correction = None if diagnosis is None else diagnosis.correction
    return taken.correction is not None


def _parts(data: EventData, console: Console) -> tuple[list[Part], list[Part], str]:
    """Recordings of training and of validation; empty, and why, where their labels cannot be read at all."""
    try:
        with console.stages("making recordings") as progress:
            train = data.parts("train", progress=progress)
    except LabelError as error:
        return [], [], str(error)
    try:
        with console.stages("making recordings") as progress:
            return train, data.parts("val", progress=progress), ""
    except (LabelError, RecordingError, ConfigError) as error:
        return train, [], f"validation: {error}"


def _of(taken: SampledFiles | SampledStore, recordings: Sequence[Written]) -> str:
    found = taken.found.get("train", len(recordings))
    return f"{len(recordings)}" if found == len(recordings) else f"{len(recordings)} of {found}, spread evenly"
