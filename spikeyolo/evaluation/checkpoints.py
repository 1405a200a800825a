"""A checkpoint restored with the data of its run, and its tables of each split that was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from spikeyolo.engine.checkpoints.restore import restore_detector
from spikeyolo.engine.device import choose_device
from spikeyolo.evaluation import run_data
from spikeyolo.evaluation.costs import measure
from spikeyolo.evaluation.detect import Detecting
from spikeyolo.evaluation.identity import checkpoint_digest
from spikeyolo.evaluation.looks import looks_of
from spikeyolo.evaluation.present import Seen
from spikeyolo.evaluation.tables import Restored, Tables, tables_of

USUAL = {"confidence": 0.001, "iou": 0.65, "max_detections": 100}  # where a run's configuration does not tell


def evaluated(config: DictConfig, options: Mapping[str, Any]) -> Iterator[tuple[Tables, Seen, dict[str, Any]]]:
    """Tables, recordings and costs of each split.

    Raises:
        SpikeyoloError: checkpoint or data cannot be evaluated.
    """
    runtime = HydraConfig.get()
    if options["threads"] is not None:
        torch.set_num_threads(options["threads"])
    folder, device = Path(options["checkpoint"]), choose_device(options["device"])
    detector, state = restore_detector(folder)
    restored = Restored(folder, detector.to(device), state, checkpoint_digest(folder), device)
    run_data.stored_data(folder)  # which says what is wrong with it
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
    splits = [options["split"]] if isinstance(options["split"], str) else list(dict.fromkeys(options["split"]))
    out = Path(options["out"]) if options["out"] else None
    for split in splits:
        tables, parts, looks = tables_of(
            restored,
            data,
            configured,
            split,
            windows=options["windows"],
            detecting=detecting,
            out=out / split if out and len(splits) > 1 else out,
            fresh=options["fresh"],
        )
        costs: dict[str, Any] = {}
        if options["costs"]:
            looks = looks or looks_of(data, parts, options["windows"], split)
            costs = measure(restored, looks, detecting, folder=tables.folder, fresh=options["fresh"])
        yield tables, Seen(data, parts), costs
