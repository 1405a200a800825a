"""From a command's options to the table: what runs and how is settled, then found again, gone on with, or begun."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from spikeyolo import __version__, processes, schema
from spikeyolo.detections.clock import OFFSETS
from spikeyolo.engine.guards.interrupt import StopRequested, StopWatch
from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.evaluation.tables.identity import is_made_from, short
from spikeyolo.events.conversion.identity import check_stored
from spikeyolo.events.store import Recording
from spikeyolo.prediction.detecting import Detecting
from spikeyolo.prediction.formats import save_as
from spikeyolo.prediction.parts import Parts
from spikeyolo.prediction.reading import reading_of
from spikeyolo.prediction.run import Prediction, write_table
from spikeyolo.prediction.sources import Input, inputs_at
from spikeyolo.prediction.trained import Trained, load_trained
from spikeyolo.report.console import Console
from spikeyolo.tracking import Tracker

USUAL_IOU = 0.65  # where a run's configuration does not tell

log = logging.getLogger("spikeyolo")


def predicted(options: Mapping[str, Any], rules: Mapping[str, Any], given: Set[str], *, command: str) -> Path:
    """The table of a checkpoint on recordings.

    Args:
        options: of the entry point.
        rules: nodes ``event_rules``, ``filters`` and ``tracker``.
        given: keys that the command line has.
        command: that makes the same again.

    Raises:
        SpikeyoloError: what is wrong, in a sentence.
        StopRequested: it was stopped; a table of what is done is there.
    """
    if options["threads"] is not None:
        torch.set_num_threads(options["threads"])
    running = {key: options[key] for key in ("device", "backend", "precision", "weight_bits")}
    trained = load_trained(options["checkpoint"], **running)
    trained = settled(trained, options)
    own = {
        key: {name: value for name, value in rules[key].items() if f"{key}.{name}" in given}
        for key in ("event_rules", "filters")
    }
    reading = reading_of(trained, **own, size=options["size"], time_unit=options["time_unit"])
    carry = trained.in_lanes and trained.stream is not None if options["carry"] is None else options["carry"]
    iou = options["iou"] or float((trained.settings.get("evaluator") or {}).get("iou") or USUAL_IOU)
    detecting = Detecting(
        carry=carry,
        iou=iou,
        **{key: options[key] for key in ("steps", "hop_us", "confidence", "max_detections", "fit")},
        classes=chosen_classes(trained, options["classes"]),
    ).checked(trained)
    with StopWatch() as stop:
        inputs = inputs_at(
            options["source"], followed=options["follow"], timeout_s=options["timeout"], stopped=lambda: stop.requested
        )
        for item in inputs:
            if isinstance(item.place, Recording):
                check_stored(item.name, given)
        identity = {
            "checkpoint": trained.digest,
            "recordings": {item.name: item.identity for item in inputs},
            "windows": {key: getattr(trained, key) for key in ("slice_duration_us", "time_steps", "max_events")},
            "detecting": asdict(detecting),
            "reading": reading.as_dict(),
            "runs": {"backend": trained.backend, "precision": options["precision"], "device": trained.device.type},
        }
        tracked = dict(rules["tracker"]) if options["track"] else None
        tracker: Tracker | None = schema.build(OmegaConf.create(tracked)) if tracked else None
        whole = {**identity, "tracker": tracked}  # tracks are made of detections that are kept
        folder = Path(options["out"]) if options["out"] else usual_folder(trained, inputs, whole)
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"out: found {folder}, which is a file; expected a folder")
        path = folder / "detections.parquet"
        again = all(item.identity is not None for item in inputs) and not options["fresh"]
        if again and not options["follow"] and is_made_from(path, whole):
            log.info("%s: checkpoint, recordings and settings are unchanged (fresh=true makes it again)", path)
        else:
            with _only_one(path):
                parts = Parts(path.with_suffix(".parts"), identity=identity, classes=trained.classes, again=again)
                prediction = Prediction(trained, detecting, inputs, reading, parts)
                metadata = {
                    "spikeyolo": __version__,
                    "identity": whole,
                    "command": command,
                    "checkpoint": str(trained.source.resolve()),
                    "slice_duration_us": trained.slice_duration_us,
                    "time_steps": trained.time_steps,
                    "steps_at_once": detecting.steps_at_once(trained),
                    "carry": detecting.carry,
                    "tracker": tracked,
                }
                _make(prediction, path, metadata, stop, tracker)
        written = save_as(path, options["save"], min_score=options["min_score"], clock=options["clock"])
    for place in written:
        log.info("%s", place)
    return path


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Keep other predictions out of the folder of a table: both would write the same parts.

    Raises:
        ConfigError: another one is at work there.
    """
    folder = path.parent
    with suppress(OSError):  # whether it can be written is said by what writes there
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with processes.alone(path, patience_s=0) as free:
            if not free:
                raise ConfigError(
                    f"{folder}: another predict is writing there; wait until it has ended, or take another out=…"
                )
            yield
    finally:
        with suppress(OSError):
            folder.rmdir()  # where nothing came of it


def _make(
    prediction: Prediction, path: Path, metadata: Mapping[str, Any], stop: StopWatch, tracker: Tracker | None
) -> None:
    """Predict on what is left and write the table, also where it was stopped."""
    parts, speed = prediction.parts, prediction.speed
    if parts.reached.current is not None or parts.reached.ended:
        log.info("%s: going on with what is done (fresh=true begins again)", path)
    stopped = False
    with Console().stages("predicting") as tell:
        try:
            prediction.go(stop, tell)
        except StopRequested:
            stopped = True
            parts.save()
    reached = parts.reached
    current = [] if reached.current is None else [reached.current]
    complete = not stopped and not prediction.failed
    rows, tracks = write_table(
        parts,
        path,
        metadata={
            **metadata,
            "identity": metadata["identity"] if complete else None,  # so that it is not taken for done
            "complete": complete,
            "recordings": [*reached.ended, *current],
            "ended": {**reached.ended, **{name: {"end_us": reached.position.until_us} for name in current}},
            OFFSETS: {name: facts[OFFSETS] for name, facts in reached.ended.items() if OFFSETS in facts},
            "failed": {name: str(error) for name, error in prediction.failed.items()},
        },
        tracker=tracker,
        step_us=prediction.detecting.step_us(prediction.trained),
    )
    in_tracks = "" if tracker is None else f" in {tracks} tracks" if tracks else ", none of them in a track"
    log.info("%s: %d detections%s; %s (%s)", path, rows, in_tracks, speed.words(), speed.shares())
    if stopped:
        again = all(item.identity is not None for item in prediction.inputs)
        if not again:  # what came through a pipe does not come again
            parts.remove()
        log.warning(
            "stopped; the table holds what is done%s", ", and the same command goes on from there" if again else ""
        )
        raise StopRequested
    if prediction.failed:
        first = next(iter(prediction.failed.values()))
        if current:
            raise RecordingError(f"{first}; the table holds what was found until then") from first
        raise RecordingError(
            f"{len(prediction.failed)} of {len(prediction.inputs)} recordings failed; the first: {first}"
        )
    parts.remove()


def settled(trained: Trained, options: Mapping[str, Any]) -> Trained:
    """What runs, with the windows that the command asks for.

    Raises:
        ConfigError: they contradict the network.
    """
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(trained.encoder).__name__.removesuffix("Encoder")).lower()
    if options["encoder"] not in (None, name):
        raise ConfigError(
            f"encoder: found {options['encoder']}; expected {name}, with which the checkpoint was trained"
        )
    given = {key: options[key] for key in ("slice_duration_us", "time_steps") if options[key] is not None}
    if trained.fixed is not None and given.get("time_steps", trained.time_steps) != trained.time_steps:
        raise ConfigError(
            f"time_steps: found {given['time_steps']}; expected {trained.time_steps}, with which it was exported"
        )
    for key, value in given.items():
        if value != getattr(trained, key):
            log.warning("%s: %d, where the checkpoint was trained with %d", key, value, getattr(trained, key))
    windows = (trained.settings.get("data") or {}).get("slicing")
    if windows == "by_count" and "slice_duration_us" not in given:
        log.warning(
            "trained on windows of equally many events; predicts on time steps of %d µs (slice_duration_us)",
            trained.slice_duration_us,
        )
    return replace(trained, **given)


def chosen_classes(trained: Trained, names: list[str] | None) -> tuple[str, ...] | None:
    """The classes to keep; None: all.

    Raises:
        ConfigError: one is not the checkpoint's.
    """
    unknown = [name for name in names or () if name not in trained.classes]
    if unknown:
        raise ConfigError(
            f"classes: found {', '.join(unknown)}; expected some of the checkpoint's {', '.join(trained.classes)}"
        )
    return None if names is None else tuple(names)


def usual_folder(trained: Trained, inputs: list[Input], identity: Mapping[str, Any]) -> Path:
    """Where the table goes: below the run's folder, or beside the file, named after what decides."""
    source = trained.source
    run = source.parent.parent if source.parent.name == "checkpoints" else source.parent
    names = inputs[0].name if len(inputs) == 1 else f"{len(inputs)}_recordings"
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", names).strip("-.") or "recording"
    return run / "predictions" / f"{source.stem}_{plain}_{short(identity)}"
