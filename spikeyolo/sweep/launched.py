"""A trial through a Hydra launcher (submitit on SLURM, joblib, Ray): each worker of the pool launches one job and waits
for it, so the next trial starts as soon as one is done, whatever the launcher does with batches.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikeyolo.sweep.trial import TRIAL_VARIABLE

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from spikeyolo.sweep.job import Order

__all__ = ["Launching", "cancel_jobs", "connect_ray", "launch"]


OBJECT_STORE_BYTES = 78_643_200  # as small as Ray takes; trials send it no arrays


@dataclass(frozen=True)
class Launching:
    """What a launched trial needs to find its study."""

    address: str | Mapping[str, Any]
    study_name: str
    pruner: object = None

    def storage_of(self, order: Order) -> dict[str, Any]:
        return {
            "address": self.address,
            "study_name": self.study_name,
            "pruner": self.pruner,
            "trial_id": order.trial_id,
            "owner": order.owner,
        }


def launch(
    launching: Launching,
    order: Order,
    hydra_context: HydraContext,
    task_function: TaskFunction,
    config: DictConfig,
) -> Any:
    """Run one trial through the configured launcher; returns Hydra's JobReturn, or None where the launcher lost it."""
    from hydra.core.override_parser.types import Quote, QuotedString
    from hydra.core.plugins import Plugins

    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=hydra_context, task_function=task_function, config=config
    )
    context = {
        "number": order.number,
        "params": order.params,
        "storage": launching.storage_of(order),
        **order.tracking,
    }
    text = QuotedString(text=json.dumps(context), quote=Quote.single).with_quotes()
    overrides = [*order.overrides, f"++hydra.job.env_set.{TRIAL_VARIABLE}={text}"]
    results: Sequence[Any] = launcher.launch([overrides], initial_job_idx=order.number)
    return results[0] if results else None


def cancel_jobs() -> None:
    """Cancel what this process has submitted: submitit's jobs outlive the process that waits for them."""
    submitit = sys.modules.get("submitit")
    if submitit is None:
        return
    for job in [item for item in gc.get_objects() if isinstance(item, submitit.Job)]:
        job.cancel(check=False)


def connect_ray(config: DictConfig) -> None:
    """Start one local Ray for all trials where no cluster is named: each worker of the pool would start its own."""
    from omegaconf import OmegaConf, open_dict

    given = OmegaConf.to_container(config.hydra.launcher.ray.init, resolve=True)
    assert isinstance(given, dict)
    init = {str(key): value for key, value in given.items()}
    if init.get("address") is None:
        ray = importlib.import_module("ray")
        context = ray.init(**{"object_store_memory": OBJECT_STORE_BYTES, **init})
        init = {"address": context.address_info["address"]}
    with open_dict(config.hydra.launcher.ray.init):
        # The launcher sets a size of its own where the key is missing, which Ray refuses for a running cluster.
        config.hydra.launcher.ray.init = {**init, "object_store_memory": None}
