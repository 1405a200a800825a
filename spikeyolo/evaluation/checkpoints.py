"""A checkpoint restored with the data of its run, and its tables of each split that was asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from spikeyolo.detections.table import read_metadata
from spikeyolo.engine.checkpoints.restore import restore_detector
from spikeyolo.engine.device import choose_device
from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.evaluation import run_data
from spikeyolo.evaluation.costs import measure
from spikeyolo.evaluation.looks import looks_of
from spikeyolo.evaluation.present import Seen
from spikeyolo.evaluation.tables.detect import Detecting
from spikeyolo.evaluation.tables.identity import checkpoint_digest
from spikeyolo.evaluation.tables.tables import Restored, Tables, labelled_parts, tables_of
from spikeyolo.events.splits import Role, Span
from spikeyolo.metrics.protocols import Protocol

log = logging.getLogger("spikeyolo")

USUAL = {"confidence": 0.001, "iou": 0.65, "max_detections": 100}  # where a run's configuration does not tell


def evaluated(
    config: DictConfig, options: Mapping[str, Any], protocol: Protocol
) -> Iterator[tuple[Tables, Seen, dict[str, Any]]]:
    """Tables, recordings and costs of each split; what does not fit is found before the network runs.

    Raises:
        SpikeyoloError: checkpoint or data cannot be evaluated.
    """
    runtime = HydraConfig.get()
    if options["threads"] is not None:
        torch.set_num_threads(options["threads"])
    folder, device = Path(options["checkpoint"]), choose_device(options["device"])
    bits = options["weight_bits"]
    detector, state = restore_detector(folder, weight_bits=bits)
    digest = checkpoint_digest(folder, weight_bits=bits)
    restored = Restored(folder, detector.to(device), state, digest, device)
    run_data.say_where(folder)
    data, configured = run_data.build(
        config, state, chosen=runtime.runtime.choices.get("data"), overridden=list(runtime.overrides.task)
    )
    trained = (state.get("settings") or {}).get("evaluator") or {}
    judged = {key: trained.get(key, value) if options[key] is None else options[key] for key, value in USUAL.items()}
    detecting = Detecting(
        carry=options["carry"],
        steps=options["steps"],
        backend=options["backend"],
        precision=options["precision"],
        embeddings=options["embeddings"],
        **judged,
    )
    if detecting.carry and options["windows"] != "every":
        raise ConfigError(f"carry: found true with windows={options['windows']}; expected windows=every")
    say_how_it_was_trained(
        state,
        windows=options["windows"],
        carry=detecting.carry,
        slice_us=data.rules.slice_duration_us,
        given=run_data.keys_of(runtime.overrides.task),
    )
    detecting.check(device)
    protocol.class_ids(data.classes)
    named = options["split"]
    splits: list[Role] = list(dict.fromkeys(named if isinstance(named, list) else [named]))
    out = Path(options["out"]) if options["out"] else None
    recordings = labelled_parts(data, splits)
    for split in splits:
        say_what_was_seen(state, data.spans(split), split)
    for split, parts in recordings.items():
        tables, looks = tables_of(
            restored,
            data,
            configured,
            split,
            parts,
            windows=options["windows"],
            detecting=detecting,
            out=out / split if out and len(splits) > 1 else out,
            fresh=options["fresh"],
        )
        costs: dict[str, Any] = {}
        if options["costs"]:
            looks = looks or looks_of(data, parts, options["windows"], split)
            made_from = read_metadata(tables.detections)["identity"]
            costs = measure(restored, looks, detecting, tables=made_from, folder=tables.folder, fresh=options["fresh"])
        yield tables, Seen(data, parts), costs


def say_how_it_was_trained(
    state: Mapping[str, Any], *, windows: str, carry: bool, slice_us: int, given: Set[str]
) -> None:
    """Tell a user whose network was trained or validated otherwise than it is scored in what that differs, and how to
    score it so where that can be done.

    Args:
        state: readable part of the checkpoint.
        windows, carry: of the command.
        slice_us: length of the time steps it is scored on, µs.
        given: keys that the command line has.

    Raises:
        ConfigError: the windows of training are asked for, which were whole recordings, or whose figures were of all
            time steps together.
    """
    data = (state.get("settings") or {}).get("data") or {}
    if data.get("slicing") == "by_count" and windows != "as_trained" and "data.slice_duration_us" not in given:
        log.warning(
            "trained on windows of equally many events; scored on time steps of %d µs (data.slice_duration_us; "
            "windows=as_trained takes the windows of validation)",
            slice_us,
        )
    sampling = data.get("sampling")
    in_lanes = sampling in ("streaming", "mixed")
    if not in_lanes and ((state.get("settings") or {}).get("evaluator") or {}).get("steps") == "all":
        if windows == "as_trained":
            raise ConfigError(
                "windows: found as_trained, of a network that was validated with evaluator.steps=all, on what all time "
                "steps of a window show together; expected windows=around_labels or every, which score each by itself"
            )
        log.warning("validated with evaluator.steps=all, which pools time steps; scored at each time step by itself")
    if not in_lanes or carry:
        return
    if windows == "as_trained":
        raise ConfigError(
            f"windows: found as_trained, of a network that was trained with data.sampling={sampling} and validated on "
            "whole recordings; expected windows=every carry=true"
        )
    log.info(
        "the network was trained with data.sampling=%s: windows=every carry=true lets states go on as in training",
        sampling,
    )


def say_what_was_seen(state: Mapping[str, Any], spans: Sequence[Span], split: str) -> None:
    """Hold a split against the recordings that a checkpoint was trained on, and chosen on; one of before they were
    kept tells none.

    Raises:
        RecordingError: the network was trained on one of them, and the split is not that of training.
    """
    kept = state.get("recordings") or {}
    trained, chosen = ([Span(*row) for row in kept.get(role, ())] for role in ("train", "val"))
    of_training = _in_common(spans, trained)
    if of_training is not None and split != "train":
        raise RecordingError(
            f"{of_training[0].name} of {split} holds the same events as {of_training[1].name}, on which the checkpoint "
            "was trained; expected recordings it has not seen (split=train scores those of training)"
        )
    if of_training is not None:
        log.warning("%s: the network was trained on these recordings; its score on others is lower", split)
    elif _in_common(spans, chosen) is not None:
        log.info("%s: the best epoch was chosen on these recordings; split=test is the better judge", split)


def _in_common(spans: Sequence[Span], others: Sequence[Span]) -> tuple[Span, Span] | None:
    known: dict[str, list[Span]] = {}
    for other in others:
        known.setdefault(other.events, []).append(other)
    pairs = ((span, other) for span in spans for other in known.get(span.events, ()) if span.meets(other))
    return next(pairs, None)
