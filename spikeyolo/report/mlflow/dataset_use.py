"""The data sets that a run uses, as MLflow shows them in its Dataset column."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class DatasetUse:
    """A data set as a run uses it: MLflow's Dataset column.

    Attributes:
        name: such as ``etram``.
        digest: of the events and labels, at most 36 signs.
        split: ``train`` or ``val``.
        source: folder or URL.
        profile: counts of it.
    """

    name: str
    digest: str
    split: str
    source: str
    profile: Mapping[str, int] = field(default_factory=dict)


def log_datasets(client: MlflowClient, run_id: str, datasets: Sequence[DatasetUse]) -> None:
    """Record what a run trains on and is judged by, each data set once with all its splits."""
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    splits: dict[tuple[str, str], list[str]] = {}  # a run has each data set once, whatever it does with it
    for used in datasets:
        splits.setdefault((used.name, used.digest), []).append(used.split)
    for used in {(used.name, used.digest): used for used in datasets}.values():
        context = ", ".join(splits[used.name, used.digest])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a path is a path, though two of MLflow's classes take one
            source = resolve_dataset_source(used.source)
        dataset = Dataset(
            name=used.name,
            digest=used.digest,
            source_type=source._get_source_type(),
            source=source.to_json(),
            profile=json.dumps(dict(used.profile)),
        )
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
    if inputs:
        client.log_inputs(run_id, inputs)
