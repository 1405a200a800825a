"""Score a checkpoint on a split: ``python -m spikeyolo.evaluate checkpoint=RUN/checkpoints/best split=test``."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Interval, MinLen
from omegaconf import DictConfig

from spikeyolo import entry

if TYPE_CHECKING:
    from spikeyolo.evaluation.outcome import Outcome

log = logging.getLogger("spikeyolo")

Split = Literal["train", "val", "test"]
GROUPS = ("protocol", "logger", "tracker")
OPTIONS: Mapping[str, Any] = {
    "checkpoint": str | None,
    "detections": str | None,
    "truth": str | None,
    "split": Split | Annotated[list[Split], MinLen(1)],
    "windows": Literal["around_labels", "as_trained", "every"],
    "carry": bool,
    "steps": Literal["all", "scored"],
    "pixels": Literal["sensor", "frame"],
    "embeddings": bool,
    "confidence": Annotated[float, Interval(ge=0, lt=1)] | None,
    "iou": Annotated[float, Interval(gt=0, le=1)] | None,
    "max_detections": Annotated[int, Ge(1)] | None,
    "backend": Literal["torch", "compile", "openvino", "onnxruntime", "auto"] | None,
    "precision": Literal["float32", "bfloat16"],
    "weight_bits": Literal[4, 8] | None,
    "device": str,
    "threads": Annotated[int, Ge(1)] | None,
    "out": str | None,
    "fresh": bool,
    "costs": bool,
    "mlflow_run": Literal["new", "child", "same"],
    "clock": Literal["start", "camera"],
    "save": list[Literal["coco", "prophesee", "mot"]],
    "debug": bool,
}


@entry.in_a_sentence
def evaluate(config: DictConfig) -> None:
    """One evaluation of a composed configuration."""
    for outcome in run(config):
        print(f"{outcome.tables.split}: {outcome.made.get('windows', outcome.tables.detections)}")
        print(outcome.table())
        log.info("%s", outcome.folder / "evaluation.html")


def run(config: DictConfig) -> list[Outcome]:
    """The evaluation itself: one outcome a split.

    Raises:
        SpikeyoloError: a key is wrong, or checkpoint, data or table cannot be evaluated.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from spikeyolo import schema
    from spikeyolo.errors import ConfigError
    from spikeyolo.tracking import NoTracker

    entry.quieten()
    options = schema.checked_options(config, OPTIONS)
    if (options["checkpoint"] is None) is (options["detections"] is None):
        raise ConfigError(
            f"checkpoint, detections: found {'neither' if options['checkpoint'] is None else 'both'}; expected "
            "checkpoint=FOLDER, such as outputs/…/checkpoints/best, or detections=FILE"
        )
    node = OmegaConf.create({group: OmegaConf.to_container(config[group]) for group in GROUPS})
    schema.check(node, groups=GROUPS)
    protocol, logger, chosen = (schema.build(node[group]) for group in GROUPS)
    tracker = None if isinstance(chosen, NoTracker) else chosen
    logger.check()
    command = shlex.join(["python", "-m", "spikeyolo.evaluate", *HydraConfig.get().overrides.task])
    from spikeyolo.evaluation.logged import log_outcomes, training_run
    from spikeyolo.evaluation.present import present

    if options["detections"] is not None:
        from spikeyolo.evaluation.tables.stored_tables import stored_tables

        tables, recordings = stored_tables(config, options, protocol)
        outcomes = [present(tables, protocol, options, command=command, seen=recordings, tracker=tracker)]
        log_outcomes(outcomes, logger, run="new", trained=None, command=command)
        return outcomes
    from spikeyolo.evaluation.checkpoints import evaluated

    trained = training_run(Path(options["checkpoint"]), logger, options["mlflow_run"])
    outcomes = [
        present(tables, protocol, options, command=command, seen=seen, costs=costs, tracker=tracker)
        for tables, seen, costs in evaluated(config, options, protocol)
    ]
    log_outcomes(outcomes, logger, run=options["mlflow_run"], trained=trained, command=command)
    return outcomes


def main() -> None:
    """Run from a command line."""
    from spikeyolo.evaluation import run_data

    run_data.offer(sys.argv[1:])
    entry.run(evaluate, "evaluate")


if __name__ == "__main__":
    main()
