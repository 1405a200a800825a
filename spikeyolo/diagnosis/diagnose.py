"""The whole diagnosis, in the order in which a senior colleague would look."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from spikeyolo import schema
from spikeyolo.diagnosis.checkpoint import against_data, as_trained
from spikeyolo.diagnosis.deadline import Deadline
from spikeyolo.diagnosis.finding import Section
from spikeyolo.diagnosis.labels.check import DROP_INVALID, LabelDiagnosis, check_labels
from spikeyolo.diagnosis.machine.check import check_machine
from spikeyolo.diagnosis.network.by_heart import Learnt
from spikeyolo.diagnosis.network.look import MOST_WINDOWS, first_batch, look_at_network
from spikeyolo.diagnosis.origin import origin_of
from spikeyolo.diagnosis.sampled import SampledFiles, SampledStore, sample
from spikeyolo.diagnosis.settings import Settings
from spikeyolo.diagnosis.windows.check import check_windows
from spikeyolo.diagnosis.written import Written, written
from spikeyolo.engine.checkpoints.restore import restore_detector
from spikeyolo.engine.guards.budget import Clock
from spikeyolo.errors import ConfigError, LabelError, RecordingError
from spikeyolo.evaluation import run_data
from spikeyolo.events.labels import LabelCorrection
from spikeyolo.metrics.protocols import Protocol
from spikeyolo.report.console import Console
from spikeyolo.windows.data import EventData
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.parts import Part

LOOKING_S = 50.0  # for everything but learning windows by heart: with its usual 60 s, less than two minutes
LABELS_S, WINDOWS_S, MACHINE_S = 20.0, 20.0, 3.0  # of these


def diagnose(
    config: DictConfig,
    options: Mapping[str, Any],
    *,
    checkpoint: Path | None,
    chosen: str | None,
    overridden: Sequence[str],
    seed: int,
    clock: Clock = time.monotonic,
) -> list[Section]:
    """Look at data, network and machine of a composed configuration.

    Args:
        config: with the groups of a training, and ``protocol``.
        options: of the entry point.
        checkpoint: whose network is looked at; None: a new one.
        chosen: option of the ``data`` group.
        overridden: the command line's overrides.
        seed: of a new network.
        clock: by which it has to be done in time; converting recordings is not counted.

    Raises:
        SpikeyoloError: a key is wrong, or data or checkpoint cannot be read.
    """
    asked = set(options["sections"])
    detector: nn.Module | None = None
    state: Mapping[str, Any] = {}
    if checkpoint is not None:
        detector, state = restore_detector(checkpoint)
        config = as_trained(config, state, overridden)
    schema.check(config, groups=[str(group) for group in config])
    if checkpoint is None:
        data: EventData = schema.build(config.data)
    else:
        without = {key: value for key, value in state.items() if key != "classes"}
        data, _ = run_data.build(config, without, chosen=chosen, overridden=overridden)
    trainer = schema.build(config.trainer)
    if trainer.threads is not None:
        torch.set_num_threads(trainer.threads)
    deadline = Deadline(LOOKING_S + float(options["overfit_seconds"]), clock=clock)
    sections, dataset = look_at_data(data, asked, protocol=schema.build(config.protocol), deadline=deadline)
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    decided = getattr(data.encoder if dataset is None else dataset.encoder, "downsample", None)
    if isinstance(decided, int):  # what auto has become
        resolved["data"]["encoder"]["downsample"] = decided
    settings = Settings({str(key): value for key, value in resolved.items()})
    if not asked & {"network", "machine"}:
        return sections
    learnt: Learnt | None = None
    windows = min(MOST_WINDOWS, data.batch_size)
    if "network" in asked:
        with _timed(sections) as end:
            batch = None if dataset is None else first_batch(dataset, windows, deadline.part(WINDOWS_S))
            unfit = [] if detector is None else against_data(state, data)
            section, learnt = look_at_network(
                config,
                options,
                data,
                None if unfit else detector,  # one that has nothing to do with these data; a new one of its kind has
                batch,
                trainer,
                settings=settings,
                deadline=deadline.part(max(0.0, deadline.left - MACHINE_S)),
                seed=seed,
            )
            section.findings[:0] = unfit
            end(section)
    if "machine" in asked:
        with _timed(sections) as end:
            end(_machine(dataset, data, trainer, learnt, settings, windows=windows))
    return sections


def look_at_data(
    data: EventData, asked: set[str], *, protocol: Protocol, deadline: Deadline | None = None
) -> tuple[list[Section], WindowDataset | None]:
    """Labels and windows of a sample of a data set, and the training windows as they are once labels are mended.

    Args:
        deadline: of everything, of which these sections take their parts; None: as long as it takes.

    Raises:
        SpikeyoloError: a recording cannot be read.
    """
    sections: list[Section] = []
    taken = sample(data)
    console = Console()
    paused: Callable[[], AbstractContextManager[None]] = nullcontext if deadline is None else deadline.paused
    with paused(), console.stages("making recordings") as progress:
        recordings = written(data, taken, "train", progress)
    diagnosis: LabelDiagnosis | None = None
    if "labels" in asked:
        with _timed(sections) as end:
            diagnosis = check_labels(
                recordings,
                current=_current(taken),
                origin=origin_of(taken),
                steps_us=data.rules.duration_us,
                deadline=None if deadline is None else deadline.part(LABELS_S),
            )
            end(diagnosis.section)
    if not asked - {"labels"}:
        return sections, None
    mended = _mend(taken, diagnosis, recordings)
    with paused():
        parts, val_parts, sentence = _parts(data, recordings, console)
        if "drop_invalid_boxes" in sentence and diagnosis is not None and _leave_out(taken, diagnosis):
            parts, val_parts, sentence = _parts(data, recordings, console)
    with _timed(sections) as end:
        section, dataset = check_windows(
            data,
            parts,
            val_parts,
            recordings,
            protocol=protocol,
            whole=len(recordings) == taken.found.get("train"),
            mended=mended,
            deadline=None if deadline is None else deadline.part(WINDOWS_S),
        )
        section.unknown += [sentence] if sentence else []
        section.facts.insert(0, ("recordings", _of(taken, recordings)))
        if "windows" in asked:
            end(section)
    return sections, dataset


def _machine(
    dataset: WindowDataset | None,
    data: EventData,
    trainer: Any,
    learnt: Learnt | None,
    settings: Settings,
    *,
    windows: int,
) -> Section:
    """The machine's section.

    Args:
        learnt: how ``windows`` windows were learnt by heart.
    """
    return check_machine(
        dataset,
        batch_size=data.batch_size,
        workers=data.workers,
        device=trainer.device,
        threads=trainer.threads,
        step_s=None if learnt is None else learnt.step_s,
        step_windows=windows if learnt is None else learnt.windows,
        usage=None if learnt is None else learnt.usage,
        fixed_bytes=0 if learnt is None else learnt.fixed_bytes,
        seconds=MACHINE_S,
        settings=settings,
    )


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
    """Let what follows see labels as they will be once they are mended, so that it finds no consequences; those of a
    store stay as they are."""
    if isinstance(taken, SampledStore):
        return False
    if diagnosis is not None:
        taken.correction, taken.unit = diagnosis.correction, diagnosis.unit
    mended = taken.correction is not None or taken.unit is not None
    taken.lenient = not mended and any(item.refusal for item in recordings)
    return mended


def _leave_out(taken: SampledFiles | SampledStore, diagnosis: LabelDiagnosis) -> bool:
    """Let mended labels be read without those boxes that training refuses still, which what mends them then says too;
    returns whether there are any mended."""
    findings = diagnosis.section.findings
    mended = diagnosis.correction is not None or diagnosis.unit is not None
    if not isinstance(taken, SampledFiles) or not mended or taken.lenient:
        return False
    taken.lenient = True
    if findings[0].overrides:
        findings[0] = replace(findings[0], overrides=(*findings[0].overrides, DROP_INVALID))
    return True


def _parts(data: EventData, recordings: Sequence[Written], console: Console) -> tuple[list[Part], list[Part], str]:
    """Recordings of training and of validation; without labels, and why, where they cannot be read at all."""
    try:
        with console.stages("making recordings") as progress:
            train = data.parts("train", progress=progress)
    except LabelError as error:
        bare = [item.recording for item in recordings]
        return [Part(one, None, one.start_us, one.end_us, one.name) for one in bare], [], str(error)
    try:
        with console.stages("making recordings") as progress:
            return train, data.parts("val", progress=progress), ""
    except (LabelError, RecordingError, ConfigError) as error:
        return train, [], f"validation: {error}"


def _of(taken: SampledFiles | SampledStore, recordings: Sequence[Written]) -> str:
    found = taken.found.get("train", len(recordings))
    return f"{len(recordings)}" if found == len(recordings) else f"{len(recordings)} of {found}, spread evenly"
