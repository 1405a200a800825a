"""A table that is scored again, ours or another program's, against a file of truth or the labels of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from spikeyolo.detections import DetectionTable
from spikeyolo.detections.clock import OFFSETS, from_camera, is_ours
from spikeyolo.detections.exchange import read_any
from spikeyolo.detections.table import read_metadata
from spikeyolo.errors import ConfigError, DetectionError
from spikeyolo.evaluation import run_data
from spikeyolo.evaluation.entrants import DETECTIONS
from spikeyolo.evaluation.present import Seen
from spikeyolo.evaluation.tables.identity import data_digest, recording_names, time_offsets_us
from spikeyolo.evaluation.tables.stored_truth import StoredTruth
from spikeyolo.evaluation.tables.tables import Tables, labelled_parts
from spikeyolo.evaluation.tables.truth_of_data import truth_of_data
from spikeyolo.events.splits import Role
from spikeyolo.metrics.protocols import Protocol
from spikeyolo.metrics.score import check_recordings
from spikeyolo.windows import Part


def stored_tables(config: DictConfig, options: Mapping[str, Any], protocol: Protocol) -> tuple[Tables, Seen | None]:
    """The tables, and the recordings behind them where a data set was named.

    What is true is ``truth=FILE``, or ``truth.parquet`` beside the detections unless another data set was named than
    it was made of, or that data set's labels, which are written as ``truth.parquet`` into the folder of the result.
    Detections on their cameras' clocks (``clock=camera``) are written there too, on ours.

    Raises:
        SpikeyoloError: a file is not there or cannot be read, the data set cannot, or they do not fit one another.
    """
    file = Path(options["detections"])
    out = Path(options["out"]) if options["out"] else None
    truth = Path(options["truth"]) if options["truth"] else None
    beside = file.with_name("truth.parquet")
    camera = options["clock"] == "camera"
    if not config.get("data"):
        if camera and not (file.suffix == ".parquet" and is_ours(read_metadata(file))):
            raise ConfigError(
                "clock: found camera for a table of another program without a data set; expected data=NAME "
                "data.root=PATH, whose recordings tell what their cameras' clocks began at"
            )
        truth = truth or beside
        if not truth.exists():
            raise DetectionError(
                f"{truth}: no such file; expected truth=FILE, or data=NAME data.root=PATH for the labels of a data set"
            )
        return Tables(out or file.parent, file, truth, file.stem), None
    split = options["split"]
    if not isinstance(split, str):
        raise ConfigError(f"split: found {split}; expected one, of which the detections are")
    found = read_any(file, embeddings=False) if file.suffix == ".parquet" else None  # others tell nothing of windows
    data, _ = run_data.build(
        config,
        {} if found is None else _windows(found),
        chosen=HydraConfig.get().runtime.choices.get("data"),
        overridden=list(HydraConfig.get().overrides.task),
    )
    protocol.class_ids(data.classes)
    role: Role = split  # type: ignore[assignment]
    parts = labelled_parts(data, [role])[role]
    seen = Seen(data, parts)
    folder = out or file.with_name(f"{file.stem}_{split}")
    foreign = camera and not (found is not None and is_ours(found.metadata))
    if truth is None and beside.is_file():
        stored = StoredTruth.read(beside)
        if (stored.metadata.get("identity") or {}).get("data") == data_digest(parts):
            truth = beside
    if truth is not None:
        scored = StoredTruth.read(truth, classes=data.classes).scored()
        check_recordings(scored.boxes, recording_names(parts), what=str(truth), whose=split)
        if foreign:
            file = _on_our_clock(file, folder / DETECTIONS, data.classes, parts, split)
        return Tables(out or file.parent, file, truth, split, data.classes), seen
    made = truth_of_data(data, parts, split)
    if foreign:
        file = _on_our_clock(file, folder / DETECTIONS, data.classes, parts, split)
    found = read_any(file, classes=data.classes, embeddings=False)
    check_recordings(found, recording_names(parts), what=str(file), whose=split)
    return Tables(folder, file, made.write(folder / "truth.parquet"), split, data.classes), seen


def _on_our_clock(file: Path, place: Path, classes: Sequence[str], parts: Sequence[Part], split: str) -> Path:
    """Another program's detections with times that count from each recording's first event, as a table of ours.

    Raises:
        DetectionError: they cannot be read, or are of recordings that the split has not.
        ConfigError: the table would replace their file.
    """
    if place.resolve() == file.resolve():
        raise ConfigError(f"out: found {place.parent}, where {file.name} would be replaced; expected another folder")
    offsets_us = time_offsets_us(parts)
    found = read_any(file, classes=classes)
    check_recordings(found, list(offsets_us), what=str(file), whose=split)
    found = from_camera(found, offsets_us)
    metadata = {**found.metadata, "read_from": str(file.resolve()), "clock": "camera", OFFSETS: offsets_us}
    return replace(found, metadata=metadata).write(place)


def _windows(table: DetectionTable) -> dict[str, Any]:
    """Of the network that made a table of ours: in which its pictures are drawn."""
    told = {key: table.metadata[key] for key in ("slice_duration_us", "time_steps") if key in table.metadata}
    encoder = (table.metadata.get("data") or {}).get("encoder")
    return {"windows": told, **({} if encoder is None else {"encoder": encoder})}
