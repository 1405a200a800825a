"""What a person looks at after training: pictures of the best checkpoint's detections, precision, confusion, energy,
latency.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.engine.evaluator import DetectionEvaluator, truth_at
from spikeyolo.engine.hooks import Advance
from spikeyolo.engine.record import read_rows, write_metrics, write_rows
from spikeyolo.engine.task import Task
from spikeyolo.metrics.detection import DetectionMetrics
from spikeyolo.metrics.energy import EnergyMeter, EnergyReport
from spikeyolo.metrics.speed import Latency, window_latency
from spikeyolo.model import InferenceDetector, fold
from spikeyolo.model.inference import weight_bytes
from spikeyolo.model.inference.binary import in_integers
from spikeyolo.report.pictures.energy import draw_energy
from spikeyolo.report.pictures.figures import draw_confusion, draw_precision_recall
from spikeyolo.report.pictures.history import draw_history
from spikeyolo.report.pictures.render import RenderedWindow, render_windows
from spikeyolo.windows.batch import Batch
from spikeyolo.windows.serving.loader import WindowLoader
from spikeyolo.windows.slicing import spread

SIZE = "size/weight_bytes"
FINDS_NOTHING = 0.01  # mAP50 below this: what its spikes cost says little

log = logging.getLogger("spikeyolo")


def review(
    task: Task,
    figures: Mapping[str, float],
    *,
    evaluator: DetectionEvaluator,
    meter: EnergyMeter,
    inference: Callable[[nn.Module], InferenceDetector],
    device: torch.device,
) -> dict[str, float]:
    """Draw what the best checkpoint sees, measure what it costs, and hand the run's files to the logger.

    Args:
        task: that was trained.
        figures: of the training.
        evaluator: of its validations.
        meter: of energy.
        inference: what runs the detector where its latency is measured.
        device: the detector's.

    Returns:
        the figures of energy and latency.
    """
    checkpoints = task.folder / "checkpoints"
    checkpoint.load_weights(checkpoints / "best", task.detector)
    with task.console.progress("drawing figures", len(task.val)) as advance:
        drawn = draw_figures(
            task.folder / "figures",
            detector=task.detector,
            evaluator=evaluator,
            loader=task.val,
            classes=task.description["classes"],
            device=device,
            advance=advance,
        )
    drawn.append(draw_history(task.folder / "figures" / "history.png", read_rows(task.folder / "metrics.csv")))
    remark = (
        ""
        if figures.get("val/map50", 1.0) >= FINDS_NOTHING
        else f"of a network that finds nothing (mAP50 below {FINDS_NOTHING})"
    )
    with task.console.progress("measuring energy", len(task.val)) as advance:
        energy, energy_files = measure_energy(
            task.folder / "figures",
            detector=task.detector,
            loader=task.val,
            meter=meter,
            device=device,
            remark=remark,
            advance=advance,
        )
    drawn += energy_files
    network = inference(task.detector)
    log.info("measuring latency in %s, %s: some seconds of single windows", network.backend, network.precision)
    costs = energy | measure_latency(network, loader=task.val, device=device)
    write_metrics(task.folder / "metrics.json", {**figures, **costs})
    task.logger.log_metrics({**figures, **costs}, int(figures["epochs"]))
    task.logger.log_model(checkpoints / "best", int(figures["best_epoch"]))
    files = [(task.folder / ".hydra" / "config.yaml", "config"), (task.folder / "metrics.csv", None)]
    files += [(path, "environment") for path in sorted((task.folder / "environment").glob("*"))]
    files += [(task.folder / "metrics.json", None), *((path, "figures") for path in drawn)]
    for name in ("best", "last"):
        files += [(path, f"checkpoints/{name}") for path in checkpoint.paths(checkpoints / name)]
    for path, folder in files:
        task.logger.log_artifact(path, folder)
    for name in ("val/map50", "val/map", "seconds_per_epoch", "data_wait_share"):
        log.info("%s %.4f", name, figures[name])
    log.info(
        "energy of one window %.4f mJ, of its ANN twin %.4f mJ%s; %.1f ms a window (1 %% over %.1f ms), threads: %d",
        costs["energy/window_mj"],
        costs["energy/ann_window_mj"],
        f" ({remark}, so this saving says little)" if remark else "",
        costs["speed/window_ms"],
        costs["speed/window_p99_ms"],
        costs["speed/threads"],
    )
    log.info("weights of the spike-driven network %.1f kB", costs[SIZE] / 1e3)
    log.info("run folder: %s", task.folder)
    return costs


def draw_figures(
    folder: Path,
    *,
    detector: nn.Module,
    evaluator: DetectionEvaluator,
    loader: WindowLoader,
    classes: Sequence[str],
    device: torch.device,
    windows: int = 12,
    advance: Advance = lambda text: None,
) -> list[Path]:
    """Draw ``predictions.png``, ``precision_recall.png`` and ``confusion.png`` into ``folder``.

    Detections are drawn, and counted as confused, from the score on that makes F1 best on these windows.

    Args:
        folder: made where it does not exist.
        detector: with the weights to be looked at.
        evaluator: of the training's validations.
        loader: of the validation windows.
        classes: names, in the order of class ids.
        device: the detector's.
        windows: tiles of the first picture, spread evenly over the windows.
        advance: called after each batch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = set(spread(loader.dataset.looks, windows).tolist())
    metrics = DetectionMetrics(classes=classes)
    tiles: list[RenderedWindow] = []
    seen = 0

    def watched() -> Iterator[Batch]:
        for batch in loader.epoch(0):
            yield batch
            advance("")

    for batch, step, found in evaluator.detections(detector, watched(), device=device):
        for index, (window, detections) in enumerate(zip(batch.windows, found, strict=True)):
            truth = truth_at(batch.targets, batch_index=index, step=step)
            if bool(batch.targets.supervised[step, index]):
                metrics.add(detections, truth)
            elif batch.follows:  # another window's step
                continue
            if seen in chosen:
                frames = loader.dataset.encoder.off_on(batch.frames[: step + 1, index].numpy())
                name = loader.dataset.parts[window.recording].name
                end_us = window.start_us + (window.end_us - window.start_us) * (step + 1) // len(batch.frames)
                tiles.append(RenderedWindow(frames, truth, detections, f"{name} {end_us / 1e6:.4f} s"))
            seen += 1
    confidence = metrics.best_threshold(default=0.25)
    paths = [render_windows(folder / "predictions.png", tiles, classes=classes, confidence=confidence)]
    curves = metrics.curves()
    if curves:
        paths.append(draw_precision_recall(folder / "precision_recall.png", curves))
    title = f"confidence from {confidence:.2f}, IoU from 0.50"
    confusion = metrics.confusion(confidence=confidence)
    return [*paths, draw_confusion(folder / "confusion.png", confusion, classes, title=title)]


def measure_energy(
    folder: Path,
    *,
    detector: nn.Module,
    loader: WindowLoader,
    meter: EnergyMeter,
    device: torch.device,
    remark: str = "",
    advance: Advance = lambda text: None,
) -> tuple[dict[str, float], list[Path]]:
    """Count spikes and operations of the folded detector on validation windows.

    Returns:
        flat figures of one time step, and of one window of T steps (``energy/window_mj``, ``energy/ann_window_mj``),
        and the bytes of its weights (``size/weight_bytes``);
        and the files ``energy.png`` and ``energy.csv``, one row a layer, written into ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folded = fold(in_integers(detector), synapses="single")

    def frames() -> Iterator[Tensor]:
        for batch in loader.epoch(0):
            yield batch.frames.to(device)
            advance("")

    report = meter.measure(folded, frames())
    figures = _energy_figures(report, loader.dataset.rules.time_steps) | {SIZE: float(weight_bytes(detector))}
    write_rows(folder / "energy.csv", report.rows())
    return figures, [draw_energy(folder / "energy.png", report.rows(), remark=remark), folder / "energy.csv"]


def cost_names() -> list[str]:
    """Names of the figures of :func:`measure_energy` and :func:`measure_latency`, known before a run."""
    energy = _energy_figures(EnergyReport((), steps=1, mac_pj=0.0, ac_pj=0.0), 1)
    return [*energy, SIZE, *Latency(0.0, 0.0, windows=0, threads=1, other_cores=0.0).metrics()]


def _energy_figures(report: EnergyReport, steps: int) -> dict[str, float]:
    figures = report.metrics()
    figures["energy/window_mj"] = steps * figures["energy/snn_mj"]
    figures["energy/ann_window_mj"] = steps * figures["energy/ann_mj"]
    return figures


def measure_latency(
    network: nn.Module, *, loader: WindowLoader, device: torch.device, windows: int = 8
) -> dict[str, float]:
    """``speed/window_ms`` and what belongs to it: how long a network takes for a validation window."""

    def single() -> Iterator[Tensor]:
        for batch in loader.epoch(0):
            for index in range(batch.frames.shape[1]):
                yield batch.frames[:, index : index + 1].contiguous().to(device)

    latency = window_latency(network, islice(single(), windows))
    if latency.other_cores > 0.25 and device.type == "cpu":
        log.warning(
            "speed/window_ms was measured while other processes kept %.1f cores busy: on a quiet machine it is less",
            latency.other_cores,
        )
    return latency.metrics()
