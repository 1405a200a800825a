"""Train a detector: ``python -m spikeyolo.train +experiment=highfreq``. Composes, builds, runs; returns mAP50."""

from __future__ import annotations

import io
import logging
import math
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from spikeyolo import entry

if TYPE_CHECKING:
    from spikeyolo.engine.ranks import Ranks

log = logging.getLogger("spikeyolo")

GROUPS = (
    "data",
    "augment",
    "model",
    "loss",
    "optimizer",
    "scheduler",
    "trainer",
    "evaluator",
    "energy",
    "inference",
    "logger",
)


@entry.in_a_sentence
def train(config: DictConfig) -> float | tuple[float, ...]:
    """One run of a composed configuration; returns what ``objective`` names, of the best epoch, for a sweep."""
    return run(config)


def run(config: DictConfig) -> float | tuple[float, ...]:
    """The run itself; errors are raised as they are."""
    from hydra.core.hydra_config import HydraConfig

    from spikeyolo import schema
    from spikeyolo.launch import partners

    entry.quieten()
    schema.check(config, groups=GROUPS)
    with partners(Path(HydraConfig.get().runtime.output_dir).resolve()):
        from spikeyolo.engine.ranks import joined
        from spikeyolo.sweep.trial import TrialPruned

        with joined(config.trainer.device, ends=(TrialPruned,)) as ranks:
            return run_shared(config, ranks)


def run_shared(config: DictConfig, ranks: Ranks) -> float | tuple[float, ...]:
    """The run of one of the processes that train together; the others than the first return NaN."""
    import torch
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from spikeyolo import schema
    from spikeyolo.diagnosis.command import word_on_the_doctor
    from spikeyolo.engine.batch_size import find_batch_size, keep_in_configuration, kept_batch_size
    from spikeyolo.engine.checkpoints import checkpoint
    from spikeyolo.engine.task import Pruned, Stopped, Task
    from spikeyolo.engine.update.teacher import Teacher
    from spikeyolo.errors import ConfigError
    from spikeyolo.events.splits import digest
    from spikeyolo.model.inference import check_backend
    from spikeyolo.report.console import Console
    from spikeyolo.report.environment import run_tags, write_environment
    from spikeyolo.report.silent import SilentLogger
    from spikeyolo.sweep.trial import TrialPruned, current_trial
    from spikeyolo.training import objective, rates, tracked
    from spikeyolo.training.review import cost_names, review

    runtime = HydraConfig.get()
    folder = ranks.first(Path(runtime.runtime.output_dir).resolve())
    overrides = list(runtime.overrides.task)
    torch.manual_seed(config.seed)

    composed: Any = OmegaConf.to_container(config, resolve=True)
    ranks.same("configuration", entry.flatten(composed))

    console = Console() if ranks.is_main else Console(stream=io.StringIO())
    trainer = schema.build(config.trainer)
    data = schema.build(config.data)
    augmentation = schema.build(config.augment)
    detector = schema.build(config.model, num_classes=len(data.classes), in_channels=data.encoder.channels)
    loss, schedule = schema.build(config.loss), schema.build(config.scheduler)
    loss.check_classes(data.classes)
    optimizer = schema.build(config.optimizer, _partial_=True)  # its parameters come when training begins
    evaluator = schema.build(config.evaluator, classes=data.classes, ranks=ranks)
    meter = schema.build(config.energy)
    inference = schema.build(config.inference, _partial_=True)  # its detector comes when the training is done
    asked = config.objective or f"val/{trainer.select_by}"
    names = [asked] if isinstance(asked, str) else list(asked)
    description = {
        "classes": list(data.classes),
        "in_channels": data.encoder.channels,
        "model": composed["model"],
        "encoder": composed["data"]["encoder"],
        "windows": asdict(data.rules),
        "settings": {name: composed[name] for name in ("seed", *GROUPS) if name != "logger"},
    }
    teacher = None
    if loss.teacher is not None:
        teacher = Teacher(loss.teacher, detector, loss.distillation, description)
        description["settings"]["teacher"] = {"weights": teacher.digest}
        if trainer.compile and loss.distillation.feature_weight:
            raise ConfigError(
                f"loss.distillation.feature_weight: found {loss.distillation.feature_weight} with "
                "trainer.compile=true, where maps are not seen; expected 0, or trainer.compile=false"
            )
    firing_rate = loss.firing_rate if loss.firing_rate.weight else None
    if firing_rate is not None:
        firing_rate.check(detector)
        if trainer.compile:
            raise ConfigError(
                f"loss.firing_rate.weight: found {firing_rate.weight} with trainer.compile=true, where spikes are not "
                "counted; expected 0, or trainer.compile=false"
            )
    trial = current_trial() if ranks.is_main else None
    trainer.find_checkpoint(folder, put_back=trial is not None)
    trainer.resume = ranks.first(trainer.resume)
    kept = kept_batch_size(trainer.resume) if data.finds_batch_size else None
    if kept is not None:
        data.use_batch_size(kept)
        composed["data"]["batch_size"] = kept
        if ranks.is_main:
            keep_in_configuration(folder, kept)
    ranks.check_batch("auto" if data.finds_batch_size else data.batch_size)
    trainer.check(detector, optimizer, description)
    check_backend(trainer.device, **inference.keywords)
    named = evaluator.evaluate(detector, (), device=trainer.device)
    trainer.check_selection(named)
    known = objective.known_figures(named, cost_names())
    objective.check(names, known=known)
    bounded = getattr(runtime.sweeper, "constraints", None) or {}  # Hydra's own sweeper has none
    objective.check(map(str, bounded), known=known, key="hydra.sweeper.constraints")
    data.check()
    logger: Any = schema.build(config.logger) if ranks.is_main else SilentLogger()
    logger.check()
    pinned = trainer.device.type == "cuda"
    # What is wrong with recordings leaves no run behind.
    with ranks.first_alone(), console.stages("making recordings") as progress:
        serving: dict[str, Any] = {"pin_memory": pinned, "progress": progress}
        train = data.train_loader(augmentation=augmentation, seed=config.seed, **serving)
        val = data.val_loader(**serving)
    loss.weigh_classes(data.classes, train.dataset.class_counts(len(data.classes)), trainer.device)
    for role, loader in (("train", train), ("val", val)):
        ranks.same(role, {"windows": len(loader.dataset), "recordings": digest(data.spans(role))})
        loader.share(ranks.rank, ranks.world)
    if teacher is not None:
        teacher.check_frame(val.dataset.frame["size"])
    choices = runtime.runtime.choices
    datasets = [
        tracked.dataset_use(loader.dataset, name=choices.get("data") or config.name, split=split)
        for split, loader in (("train", train), ("val", val))
    ]
    digests = {used.split: used.digest for used in datasets}
    trainer.check_data(digests, description)
    former = None if trainer.resume is None else checkpoint.read_state(trainer.resume).get("run_id")
    task = Task(
        detector=detector,
        loss=loss,
        optimizer=optimizer,
        schedule=schedule,
        train=train,
        val=val,
        evaluator=evaluator,
        logger=logger,
        console=console,
        folder=folder,
        description={
            **description,
            "frame": val.dataset.frame,
            "recordings": {role: data.spans(role) for role in ("train", "val")},
            "digests": digests,
            "run_id": former,
        },
        pruner=trial,
        teacher=teacher,
        firing_rate=firing_rate,
        ranks=ranks,
    )
    if data.finds_batch_size:
        found = find_batch_size(trainer, task)
        for loader in (train, val):
            loader.set_batch_size(found)
        composed["data"]["batch_size"] = keep_in_configuration(folder, found)
    if trainer.preview_schedule or trainer.range_test:
        rates.show(trainer, task)
        return math.nan
    about = tracked.description(overrides=overrides, folder=folder, classes=data.classes, datasets=datasets)
    logger.start(
        folder=folder,
        name=tracked.run_name(composed, choices, overrides) if trial is None else trial.name,
        params=tracked.parameters(composed, choices),
        tags={
            **run_tags(device=str(trainer.device)),
            "overrides": " ".join(overrides),
            "folder": str(folder.resolve()),
            "mlflow.note.content": about,
            **({} if trial is None else {"trial.number": str(trial.number)}),
        },
        datasets=datasets,
        parent_run_id=None if trial is None else trial.parent_run_id,
        former_run_id=former,
    )
    if ranks.is_main:
        write_environment(folder / "environment", device=str(trainer.device), seed=config.seed, digests=digests)
    if trial is not None and trial.parent_run_id and logger.run_id:
        trial.attach_run(logger.run_id)
    status = "FAILED"
    try:
        task = replace(task, description={**task.description, "run_id": logger.run_id or former})
        figures = trainer.fit(task)
        if not ranks.is_main:
            return math.nan
        val.share(0, 1)
        figures |= review(task, figures, evaluator=evaluator, meter=meter, inference=inference, device=trainer.device)
        word = word_on_the_doctor(
            figures.get("val/map50", 1.0),
            overrides,
            runtime.runtime.config_sources,
            checkpoint=folder / "checkpoints" / "best",
        )
        if word is not None:
            log.warning("%s", word)
        values = objective.chosen(figures, names)
        if trial is not None:
            trial.record({name: float(value) for name, value in figures.items() if math.isfinite(value)})
        status = "FINISHED"
        return values
    except Stopped as stop:
        status = "KILLED"
        if ranks.is_main:
            log.warning("%s; go on with: %s", stop, entry.resume_command(stop.checkpoint))
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    except Pruned as pruned:
        status = "FINISHED"  # given up, which is no failure
        if not ranks.is_main:
            return math.nan
        raise TrialPruned(str(pruned)) from pruned
    finally:
        logger.finish(status)
        train.close()
        val.close()


def main() -> None:
    """Run from a command line."""
    entry.run(train, "train")


if __name__ == "__main__":
    main()
