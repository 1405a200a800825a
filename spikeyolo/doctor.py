"""Find out why a detector learns nothing or slowly: ``python -m spikeyolo.doctor data=… [checkpoint=…]``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, MinLen
from omegaconf import DictConfig

from spikeyolo import entry

if TYPE_CHECKING:
    from spikeyolo.diagnosis.finding import Section

log = logging.getLogger("spikeyolo")

FINDINGS = 3  # exit code where something was found
GROUPS = ("data", "augment", "model", "loss", "optimizer", "scheduler", "trainer", "evaluator", "protocol")
OPTIONS: Mapping[str, Any] = {
    "name": str,
    "checkpoint": str | None,
    "sections": Annotated[list[Literal["labels", "windows", "network", "machine"]], MinLen(1)],
    "overfit_steps": Annotated[int, Ge(0)],
    "overfit_seconds": Annotated[float, Gt(0)] | Annotated[int, Gt(0)],
    "out": str | None,
    "debug": bool,
}


@entry.in_a_sentence
def doctor(config: DictConfig) -> None:
    """One diagnosis of a composed configuration; ends the process with exit code 3 where something was found."""
    if any(section.findings for section in run(config)):
        sys.exit(FINDINGS)


def run(config: DictConfig) -> list[Section]:
    """The diagnosis itself.

    Raises:
        SpikeyoloError: a key is wrong, or neither data nor checkpoint can be read.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from spikeyolo import schema
    from spikeyolo.errors import ConfigError

    entry.quieten()
    options = schema.checked_options(config, OPTIONS)
    runtime = HydraConfig.get()
    overrides = list(runtime.overrides.task)
    from spikeyolo.diagnosis.command import doctor_command
    from spikeyolo.diagnosis.diagnose import diagnose
    from spikeyolo.diagnosis.present import present, words
    from spikeyolo.evaluation import run_data

    chosen = runtime.runtime.choices.get("data")
    checkpoint = None if options["checkpoint"] is None else Path(options["checkpoint"])
    if checkpoint is not None and not _names_data(overrides) and chosen != run_data.NAME:
        from spikeyolo.engine.checkpoints.checkpoint import read_state

        read_state(checkpoint)  # which says that there is none
        raise ConfigError(
            "data: nothing tells what the checkpoint was trained on (its run's .hydra/config.yaml is not there); "
            "expected data=NAME data.root=PATH"
        )
    node = OmegaConf.create({group: OmegaConf.to_container(config[group]) for group in GROUPS if group in config})
    sections = diagnose(
        node, options, checkpoint=checkpoint, chosen=chosen, overridden=overrides, seed=int(config.seed)
    )
    folder = Path(options["out"] or runtime.runtime.output_dir)
    command = doctor_command(overrides, runtime.runtime.config_sources)
    page = present(sections, folder, subtitle=" ".join(overrides) or str(chosen), command=command)
    print(words(sections, page))
    return sections


def with_data_of_run(arguments: Sequence[str]) -> list[str]:
    """The arguments, with ``data=of_run`` where they name a checkpoint that tells its data, and no data."""
    from hydra.core.config_store import ConfigStore

    from spikeyolo.evaluation import run_data

    run_data.offer(arguments)
    offered = f"{run_data.NAME}.yaml" in ConfigStore.instance().repo.get("data", {})
    return [*arguments, f"data={run_data.NAME}"] if offered and not _names_data(arguments) else list(arguments)


def _names_data(overrides: Sequence[str]) -> bool:
    return any(override.startswith(("data=", "+experiment=")) for override in overrides)


def main() -> None:
    """Run from a command line."""
    sys.argv[1:] = with_data_of_run(sys.argv[1:])
    entry.run(doctor, "doctor")


if __name__ == "__main__":
    main()
