"""What a network costs on a device: time of encoding, network and decoding apart, operations, spikes and energy."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeyolo import schema
from spikeyolo.engine.checkpoints.files import replace_text
from spikeyolo.engine.record import write_rows
from spikeyolo.evaluation.looks import Looks, Stretch, WindowsAtLabels
from spikeyolo.evaluation.tables.detect import Detecting
from spikeyolo.evaluation.tables.identity import short
from spikeyolo.evaluation.tables.tables import Restored
from spikeyolo.metrics.energy import EnergyMeter
from spikeyolo.metrics.speed import Latency, call_latency
from spikeyolo.model import fold
from spikeyolo.model.decode import Decoder
from spikeyolo.model.inference import weight_bytes
from spikeyolo.model.inference.binary import in_integers
from spikeyolo.report.environment import device_name
from spikeyolo.windows import collate
from spikeyolo.windows.slicing import spread, thinned

WINDOWS = 32  # that spikes are counted on
TIMED = 8  # that are timed, again and again

log = logging.getLogger("spikeyolo")


def measure(
    restored: Restored, looks: Looks, detecting: Detecting, *, tables: Mapping[str, Any], folder: Path, fresh: bool
) -> dict[str, Any]:
    """Figures of cost, kept in ``costs.json`` beside the tables and found there again for the same tables and device.

    Args:
        restored: the checkpoint.
        looks: the split's windows.
        detecting: how its detections are made.
        tables: what they were made from.
        folder: of the tables.
        fresh: measure although they are there.

    Returns:
        ``device``, ``parameters``, ``size/weight_bytes``, ``energy/…`` of one time step and of one window,
        ``speed/encode_ms``, ``speed/network_ms``, ``speed/decode_ms``, each with ``_p99_ms``, and
        ``speed/windows_per_second``.
    """
    path = folder / "costs.json"
    about = {
        "device": device_name(str(restored.device)),
        "threads": torch.get_num_threads(),
        "backend": detecting.backend,
        "precision": detecting.precision,
        "checkpoint": restored.digest,
        "tables": short(tables),
    }
    if not fresh and path.is_file():
        try:
            known: dict[str, Any] = json.loads(path.read_text())
            if all(known.get(key) == value for key, value in about.items()):
                return known
        except ValueError:
            pass  # damaged: measured again
    log.info("measuring latency and energy: some seconds of single windows")
    stretches = list(_single(looks, WINDOWS))
    timed = [stretches[index] for index in spread(len(stretches), TIMED).tolist()]
    times = latencies(restored, looks, timed, detecting)
    busy = max(latency.other_cores for latency in times.values())
    if busy > 0.25 and restored.device.type == "cpu":
        log.warning(
            "latency was measured while other processes kept %.1f cores busy: on a quiet machine it is less", busy
        )
    figures: dict[str, Any] = {**about, "parameters": sum(p.numel() for p in restored.detector.parameters())}
    for name, latency in times.items():
        figures |= {f"speed/{name}_ms": latency.median_ms, f"speed/{name}_p99_ms": latency.p99_ms}
    figures["speed/windows_per_second"] = 1000.0 / sum(latency.median_ms for latency in times.values())
    figures["speed/other_cores"] = busy
    figures["size/weight_bytes"] = weight_bytes(restored.detector)
    energy, rows = _energy(restored, stretches)
    figures |= energy
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "energy.csv", rows)
    replace_text(path, json.dumps(figures, indent=2) + "\n")
    return figures


def latencies(restored: Restored, looks: Looks, stretches: list[Stretch], detecting: Detecting) -> dict[str, Latency]:
    """Median and 99th percentile of ``encode``, ``network`` and ``decode`` of single windows, after a warm-up."""
    encoder, device = looks.data.encoder, restored.device
    network = detecting.network(restored.detector)
    decoder = Decoder(confidence=detecting.confidence, iou=detecting.iou, max_detections=detecting.max_detections)
    height, width = stretches[0].frames.shape[-2:]

    def encode(stretch: Stretch) -> None:
        first, last = int(stretch.ends_us[0, 0]), int(stretch.ends_us[-1, 0])
        steps = len(stretch.ends_us)
        slice_us = (last - first) // max(steps - 1, 1) or looks.data.rules.slice_duration_us
        recording = looks.parts[int(stretch.recording[0])].recording
        frames = np.empty((steps, encoder.channels, height, width), np.uint8)
        start = first - slice_us
        packed = thinned(recording.packed(start, last), looks.data.rules.max_events_per_sample)
        encoder.encode(packed, start_us=start, slice_us=slice_us, out=frames)

    with torch.inference_mode():
        frames = [stretch.frames.to(device) for stretch in stretches]
        predictions = [network(window).at_step(window.shape[0] - 1) for window in frames]
        return {
            "encode": call_latency(encode, stretches, device=torch.device("cpu")),
            "network": call_latency(network, frames, device=device),
            "decode": call_latency(lambda p: decoder(p, frame_size=(height, width)), predictions, device=device),
        }


def _single(looks: Looks, count: int) -> Iterator[Stretch]:
    """Up to ``count`` windows of a batch of one, spread over the split."""
    if not isinstance(looks, WindowsAtLabels):
        yield from looks.sample(count)
        return
    dataset = looks.dataset
    for index in spread(len(dataset), count).tolist():
        batch = collate([dataset[0, index]])
        (window,) = batch.windows
        steps = batch.frames.shape[0]
        ends = window.start_us + (window.end_us - window.start_us) // steps * np.arange(1, steps + 1)[:, None]
        yield Stretch.unlabelled(batch.frames, np.array([window.recording]), ends)


def _energy(restored: Restored, stretches: list[Stretch]) -> tuple[dict[str, float], list[dict[str, Any]]]:
    settings: Mapping[str, Any] = restored.state.get("settings") or {}
    meter = _meter(settings.get("energy"))

    def frames() -> Iterator[Tensor]:
        for stretch in stretches:
            yield stretch.frames.to(restored.device)

    report = meter.measure(fold(in_integers(restored.detector), synapses="single"), frames())
    figures, steps = report.metrics(), stretches[0].frames.shape[0]
    figures["energy/window_mj"] = steps * figures["energy/snn_mj"]
    figures["energy/ann_window_mj"] = steps * figures["energy/ann_mj"]
    return {name: value for name, value in figures.items() if np.isfinite(value)}, report.rows()


def _meter(node: Mapping[str, Any] | None) -> EnergyMeter:
    from omegaconf import OmegaConf

    if not node:
        return EnergyMeter()
    config = OmegaConf.create({"energy": dict(node)})
    schema.check(config)
    meter: EnergyMeter = schema.build(config.energy)
    return meter
