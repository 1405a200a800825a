"""A trial through a Hydra launcher (submitit on SLURM, joblib, Ray): each worker of the pool launches one job and waits
for it, so the next trial starts as soon as one is done, whatever the launcher does with batches. The job runs
elsewhere and talks to its study through the study's own storage.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikeyolo.sweep.messages import Order
from spikeyolo.sweep.study.ledger import METRICS, OWNER, RUN_ID
from spikeyolo.sweep.trial import TRIAL_VARIABLE

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig
    from optuna.trial import FrozenTrial

__all__ = ["Launching", "StorageChannel", "cancel_jobs", "connect_ray", "launch"]

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
        "context": dict(order.context),
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


class StorageChannel:
    """Reports and prunes through the storage.

    A job may outlive its controller. Once the trial has been put back and belongs to another, this one stops, so that
    no two processes write one trial.
    """

    def __init__(
        self, *, address: str | Mapping[str, Any], study_name: str, trial_id: int, owner: str, pruner: object = None
    ) -> None:
        # Not above: the workers' server imports this file for every sweep, a job of a cluster alone opens the storage.
        import optuna

        from spikeyolo.sweep.algorithms import build_pruner
        from spikeyolo.sweep.study.storage import open_storage

        storage = open_storage(address, mend=False)
        directions = len(storage.get_study_directions(storage.get_study_id_from_name(study_name)))
        # A random sampler: a job only tells, and loading the study's own would draw here.
        self._study = optuna.load_study(
            study_name=study_name,
            storage=storage,
            sampler=optuna.samplers.RandomSampler(),
            pruner=build_pruner(pruner, objectives=directions),
        )
        self._storage = self._study._storage
        self._trial_id = trial_id
        self._owner = owner
        self._several = directions > 1

    def report(self, value: float, step: int) -> None:
        trial = self._mine()
        if not self._several and step not in trial.intermediate_values:
            self._storage.set_trial_intermediate_value(self._trial_id, step, value)

    def should_prune(self) -> bool:
        trial = self._mine()
        return not self._several and bool(trial.intermediate_values) and self._study.pruner.prune(self._study, trial)

    def record(self, metrics: Mapping[str, float]) -> None:
        known = self._mine().user_attrs.get(METRICS, {})
        self._storage.set_trial_user_attr(self._trial_id, METRICS, {**known, **metrics})

    def attach_run(self, run_id: str) -> None:
        self._mine()
        self._storage.set_trial_user_attr(self._trial_id, RUN_ID, run_id)

    def summary(self) -> tuple[str | None, dict[str, float], dict[int, float]]:
        """The observer's run, metrics and reports of the trial so far."""
        trial = self._storage.get_trial(self._trial_id)
        return trial.user_attrs.get(RUN_ID), trial.user_attrs.get(METRICS, {}), trial.intermediate_values

    def _mine(self) -> FrozenTrial:
        trial = self._storage.get_trial(self._trial_id)
        if trial.state.name != "RUNNING" or trial.user_attrs.get(OWNER) != self._owner:
            raise SystemExit(f"trial {trial.number} was put back and belongs to another process")
        return trial
