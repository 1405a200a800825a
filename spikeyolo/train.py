"""Train a detector: ``python -m spikeyolo.train +experiment=highfreq``. Composes, builds, runs; returns mAP50."""

from __future__ import annotations

import logging
import math
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from spikeyolo import entry

if TYPE_CHECKING:
    from spikeyolo.engine.evaluator import DetectionEvaluator
    from spikeyolo.engine.task import Task
    from spikeyolo.engine.trainer import Trainer
    from spikeyolo.metrics.energy import EnergyMeter

log = logging.getLogger("spikeyolo")

GROUPS = ("data", "augment", "model", "loss", "optimizer", "scheduler", "trainer", "evaluator", "energy", "logger")


def train(config: DictConfig) -> float | tuple[float, ...]:
    """One run of a composed configuration; returns what ``objective`` names, of the best epoch, for a sweep."""
    from spikeyolo.errors import SpikeyoloError

    try:
        return run(config)
    except SpikeyoloError as error:
        entry.end_with_sentence(error, debug=config.debug is True)
        raise
    except OSError as error:
        full = entry.full_disk(error)
        if full is None:
            raise
        entry.end_with_sentence(full, debug=config.debug is True)
        raise full from error


def run(config: DictConfig) -> float | tuple[float, ...]:
    """The run itself; errors are raised as they are."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from spikeyolo import schema

    entry.quieten()
    schema.check(config, groups=GROUPS)
    import torch

    from spikeyolo import objective
    from spikeyolo.engine.task import Pruned, Stopped, Task
    from spikeyolo.report.console import Console
    from spikeyolo.report.environment import run_tags
    from spikeyolo.review import cost_names
    from spikeyolo.sweep.trial import TrialPruned, current_trial

    runtime = HydraConfig.get()
    folder = Path(runtime.runtime.output_dir)
    overrides = list(runtime.overrides.task)
    torch.manual_seed(config.seed)

    console = Console()
    trainer = schema.build(config.trainer)
    data = schema.build(config.data)
    augmentation = schema.build(config.augment)
    detector = schema.build(config.model, num_classes=len(data.classes), in_channels=data.encoder.channels)
    loss, optimizer, schedule = (schema.build(config[name]) for name in ("loss", "optimizer", "scheduler"))
    evaluator = schema.build(config.evaluator, classes=data.classes)
    meter = schema.build(config.energy)
    wanted = config.objective or f"val/{trainer.select_by}"
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    description = {
        "classes": list(data.classes),
        "in_channels": data.encoder.channels,
        "model": OmegaConf.to_container(config.model, resolve=True),
        "seed": config.seed,
    }
    trial = current_trial()
    if trial is not None and trainer.resume is None and (folder / "checkpoints" / "last").is_dir():
        trainer.resume = folder / "checkpoints" / "last"  # the trial was put back: it goes on
    trainer.check_resume(detector, description)
    judged = evaluator.evaluate(detector, (), device=trainer.device)
    trainer.check_selection(judged)
    known = objective.known_figures(judged, cost_names())
    objective.check(names, known=known)
    bounded = getattr(runtime.sweeper, "constraints", None) or {}  # Hydra's own sweeper has none
    objective.check(map(str, bounded), known=known, key="hydra.sweeper.constraints")
    data.check()
    logger = schema.build(config.logger)
    logger.start(
        folder=folder,
        params=flatten(OmegaConf.to_container(config, resolve=True)),
        tags={**run_tags(device=str(trainer.device)), "overrides": " ".join(overrides)},
        parent_run_id=None if trial is None else trial.parent_run_id,
    )
    if trial is not None and trial.parent_run_id and logger.run_id:
        trial.attach_run(logger.run_id)
    status = "FAILED"
    task: Task | None = None
    try:
        pinned = trainer.device.type == "cuda"
        with console.stages("making recordings") as progress:
            task = Task(
                detector=detector,
                loss=loss,
                optimizer=optimizer,
                schedule=schedule,
                train=data.train_loader(
                    augmentation=augmentation, seed=config.seed, pin_memory=pinned, progress=progress
                ),
                val=data.val_loader(pin_memory=pinned, progress=progress),
                evaluator=evaluator,
                logger=logger,
                console=console,
                folder=folder,
                description=description,
                pruner=trial,
            )
        figures = trainer.fit(task)
        figures |= finish(task, trainer, evaluator, meter, figures)
        values = objective.chosen(figures, names)
        if trial is not None:
            trial.record({name: float(value) for name, value in figures.items() if math.isfinite(value)})
        status = "FINISHED"
        return values
    except Stopped as stop:
        status = "KILLED"
        log.warning("%s; go on with: python -m spikeyolo.train %s", stop, again(overrides, stop.checkpoint))
        sys.exit(130)
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    except Pruned as pruned:
        status = "FINISHED"  # given up, which is no failure
        raise TrialPruned(str(pruned)) from pruned
    finally:
        logger.finish(status)
        if task is not None:
            task.train.close()
            task.val.close()


def again(overrides: Sequence[str], checkpoint: Path) -> str:
    """The arguments that go on from a checkpoint, as a shell takes them."""
    kept = [override for override in overrides if not override.startswith("trainer.resume=")]
    place = str(checkpoint)
    if not re.fullmatch(r"[A-Za-z0-9_./:-]+", place):  # Hydra's own grammar asks for quotes too
        place = "'" + place.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return shlex.join([*kept, f"trainer.resume={place}"])


def finish(
    task: Task, trainer: Trainer, evaluator: DetectionEvaluator, meter: EnergyMeter, figures: Mapping[str, float]
) -> dict[str, float]:
    """Draw what the best checkpoint sees, measure what it costs, and hand the run's files to the logger.

    Returns:
        the figures of energy and latency.
    """
    from spikeyolo.engine import checkpoint
    from spikeyolo.engine.record import write_metrics
    from spikeyolo.review import draw_figures, measure_energy, measure_latency

    checkpoints = task.folder / "checkpoints"
    checkpoint.load_weights(checkpoints / "best", task.detector)
    drawn = draw_figures(
        task.folder / "figures",
        detector=task.detector,
        evaluator=evaluator,
        loader=task.val,
        classes=task.description["classes"],
        device=trainer.device,
    )
    energy, energy_files = measure_energy(
        task.folder / "figures", detector=task.detector, loader=task.val, meter=meter, device=trainer.device
    )
    drawn += energy_files
    costs = energy | measure_latency(detector=task.detector, loader=task.val, device=trainer.device)
    write_metrics(task.folder / "metrics.json", {**figures, **costs})
    task.logger.log_metrics(costs, int(figures["epochs"]))
    files = [(task.folder / ".hydra" / "config.yaml", "config"), (task.folder / "metrics.csv", None)]
    files += [(task.folder / "metrics.json", None), *((path, "figures") for path in drawn)]
    files += [(checkpoints / "best", "checkpoints"), (checkpoints / "last", "checkpoints")]
    for path, folder in files:
        task.logger.log_artifact(path, folder)
    for name in ("val/map50", "val/map", "seconds_per_epoch", "data_wait_share"):
        log.info("%s %.4f", name, figures[name])
    log.info(
        "energy of one window %.4f mJ, of its ANN twin %.4f mJ; %.1f ms a window",
        costs["energy/window_mj"],
        costs["energy/ann_window_mj"],
        costs["speed/window_ms"],
    )
    log.info("run folder: %s", task.folder)
    return costs


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """A nested configuration as ``a.b.c → value``."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def main() -> None:
    """Run from a command line."""
    entry.run(train, "train")


if __name__ == "__main__":
    main()
