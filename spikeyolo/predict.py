"""Detect on recordings: ``python -m spikeyolo.predict checkpoint=RUN/checkpoints/best source=FILE``."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, Len, MinLen
from omegaconf import DictConfig

from spikeyolo import entry

log = logging.getLogger("spikeyolo")

OPTIONS: Mapping[str, Any] = {
    "checkpoint": str,
    "demo": bool,
    "source": str | Annotated[list[str], MinLen(1)],
    "follow": bool,
    "timeout": Annotated[float, Gt(0)],
    "out": str | None,
    "hop_us": Annotated[int, Ge(1)] | None,
    "carry": bool | None,
    "steps": Literal["all", "last"],
    "classes": Annotated[list[str], MinLen(1)] | None,
    "confidence": Annotated[float, Interval(ge=0, lt=1)],
    "iou": Annotated[float, Interval(gt=0, le=1)] | None,
    "max_detections": Annotated[int, Ge(1)],
    "fit": Literal["pad", "scale", "refuse"],
    "encoder": str | None,
    "slice_duration_us": Annotated[int, Ge(1)] | None,
    "time_steps": Annotated[int, Ge(1)] | None,
    "size": Annotated[list[Annotated[int, Interval(ge=1, le=4096)]], Len(2, 2)] | None,
    "time_unit": Literal["s", "ms", "us", "ns"] | None,
    "track": bool,
    "clock": Literal["start", "camera"],
    "save": list[Literal["coco", "prophesee", "mot", "labels"]],
    "min_score": Annotated[float, Interval(ge=0, le=1)],
    "backend": Literal["torch", "compile", "openvino", "onnxruntime", "auto"] | None,
    "precision": Literal["float32", "bfloat16"],
    "weight_bits": Literal[4, 8] | None,
    "device": str,
    "threads": Annotated[int, Ge(1)] | None,
    "fresh": bool,
    "debug": bool,
}


@entry.in_a_sentence
def predict(config: DictConfig) -> None:
    """One prediction of a composed configuration."""
    from spikeyolo.engine.guards.interrupt import StopRequested

    try:
        print(run(config))
    except StopRequested:
        sys.exit(130)


def run(config: DictConfig) -> Path:
    """The prediction itself; returns the table.

    Raises:
        SpikeyoloError: a key is wrong, checkpoint or recording cannot be read, or the table cannot be written.
        StopRequested: Ctrl-C or SIGTERM; a table of what is done is written.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from spikeyolo import schema
    from spikeyolo.errors import ConfigError

    entry.quieten()
    if config.demo is True:
        from spikeyolo.demo.show import fill_in

        fill_in(config)
    for key, example in (("checkpoint", "FOLDER, such as outputs/…/checkpoints/best"), ("source", "FILE")):
        if OmegaConf.is_missing(config, key):
            raise ConfigError(f"{key}: found nothing; expected {key}={example}")
    options = schema.checked_options(config, OPTIONS)
    nodes = ("event_rules", "filters", "tracker")
    rules = {key: OmegaConf.to_container(schema.checked_node(config, key), resolve=True) for key in nodes}
    schema.check(OmegaConf.create(rules))
    command = shlex.join(["python", "-m", "spikeyolo.predict", *HydraConfig.get().overrides.task])

    from spikeyolo.prediction.command import predicted

    table = predicted(options, rules, entry.given_keys(), command=command)
    if options["demo"]:
        from spikeyolo.demo.show import show

        log.info("%s: the film of it", show(table, options["source"]))
    return table


def main() -> None:
    """Run from a command line."""
    entry.run(predict, "predict")


if __name__ == "__main__":
    main()
