"""A table that is scored again, ours or another program's, against a file of truth or the labels of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from spikeyolo.detections import DetectionTable
from spikeyolo.detections.exchange import read_any
from spikeyolo.errors import ConfigError, DetectionError
from spikeyolo.evaluation import run_data
from spikeyolo.evaluation.present import Seen
from spikeyolo.evaluation.tables.identity import data_digest, recording_names
from spikeyolo.evaluation.tables.stored_truth import StoredTruth
from spikeyolo.evaluation.tables.tables import Tables, labelled_parts
from spikeyolo.evaluation.tables.truth_of_data import truth_of_data
from spikeyolo.events.splits import Role
from spikeyolo.metrics.protocols import Protocol
from spikeyolo.metrics.score import check_recordings


def stored_tables(config: DictConfig, options: Mapping[str, Any], protocol: Protocol) -> tuple[Tables, Seen | None]:
    """The tables, and the recordings behind them where a data set was named.

    What is true is ``truth=FILE``, or ``truth.parquet`` beside the detections unless another data set was named than
    it was made of, or that data set's labels, which are written as ``truth.parquet`` into the folder of the result.

    Raises:
        SpikeyoloError: a file is not there or cannot be read, the data set cannot, or they do not fit one another.
    """
    file = Path(options["detections"])
    out = Path(options["out"]) if options["out"] else None
    truth = Path(options["truth"]) if options["truth"] else None
    beside = file.with_name("truth.parquet")
    if not config.get("data"):
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
    if truth is None and beside.is_file():
        stored = StoredTruth.read(beside)
        if (stored.metadata.get("identity") or {}).get("data") == data_digest(parts):
            truth = beside
    if truth is not None:
        scored = StoredTruth.read(truth, classes=data.classes).scored()
        check_recordings(scored.boxes, recording_names(parts), what=str(truth), whose=split)
        return Tables(out or file.parent, file, truth, split, data.classes), seen
    folder = out or file.with_name(f"{file.stem}_{split}")
    made = truth_of_data(data, parts, split)
    found = read_any(file, classes=data.classes, embeddings=False)
    check_recordings(found, recording_names(parts), what=str(file), whose=split)
    return Tables(folder, file, made.write(folder / "truth.parquet"), split, data.classes), seen


def _windows(table: DetectionTable) -> dict[str, Any]:
    """Of the network that made a table of ours: in which its pictures are drawn."""
    told = {key: table.metadata[key] for key in ("slice_duration_us", "time_steps") if key in table.metadata}
    encoder = (table.metadata.get("data") or {}).get("encoder")
    return {"windows": told, **({} if encoder is None else {"encoder": encoder})}
