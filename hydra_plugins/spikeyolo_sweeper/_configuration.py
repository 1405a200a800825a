"""The keys of ``hydra/sweeper=optuna`` with their defaults, and Optuna's samplers and pruners by name.

The underscore keeps Hydra's scan from loading this file twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from hydra_plugins.spikeyolo_sweeper._arguments import ARGUMENTS

PROVIDER = "spikeyolo_sweeper"


@dataclass
class OptunaSweeperConf:
    """Every key of ``hydra.sweeper``; those up to ``params`` are the official plugin's and mean the same."""

    defaults: list[Any] = field(default_factory=lambda: [{"sampler": "tpe"}, {"pruner": "none"}])
    _target_: str = "hydra_plugins.spikeyolo_sweeper.optuna_sweeper.OptunaSweeper"
    _recursive_: bool = False
    # How to search: hydra/sweeper/sampler=tpe|random|cmaes|nsgaii|nsgaiii|motpe|gp|qmc|grid|bruteforce|partialfixed,
    # with the arguments of Optuna's class under hydra.sweeper.sampler.
    sampler: Any = MISSING
    # minimize, maximize, or a list of them, one per value that the task returns.
    direction: Any = "minimize"
    # Where the study lives: null for study.journal in the sweep's folder; a path to a journal; a URL of SQLite,
    # PostgreSQL, MySQL, Redis or gRPC; or a mapping with _target_.
    storage: Any = None
    # Name of the study in its storage; null for the job's name in a journal, a new study in a database.
    study_name: str | None = None
    # Trials in all, those of earlier runs of the same study included.
    n_trials: int = 20
    # Trials at a time where there are no CUDA devices, or through a launcher.
    n_jobs: int = 2
    # The share of n_trials that may fail, in all runs of the study, before the sweep stops.
    max_failure_rate: float = 0.0
    # The official plugin's older form of params, in typed mappings.
    search_space: Any = None
    # Key → sweep, in the syntax of overrides or as {type: float|int|categorical, low, high, step, log, choices}.
    params: Any = None
    # Dotted path of function(config, trial), which may suggest more.
    custom_search_space: str | None = None
    # Key → condition: the parameter exists only where it holds, e.g. optimizer.momentum: optimizer=sgd.
    when: Any = None
    # hydra/sweeper/pruner=none|median|percentile|successive_halving|hyperband|wilcoxon|patient|threshold.
    pruner: Any = MISSING
    # Seconds after which no trial begins.
    timeout: float | None = None
    # Starting points: a list of defaults, of mappings key → value, and of {best_of: STORAGE, study_name:, top: 1}.
    enqueue: Any = None
    # How often the parameters of a trial whose process died are run again.
    retries: int = 1
    # Seconds that one trial may take before it is stopped and fails; through a launcher, waiting in its queue included.
    trial_timeout: float | None = None
    # Run the parameters of failed trials of earlier runs again.
    retry_failed: bool = False
    # Go on with a study although what its trials share (fixed overrides, configuration files) has changed.
    resume_changed: bool = False
    # Workers of this machine; auto (or null) for one a CUDA device, or n_jobs on a CPU.
    workers: Any = "auto"
    # auto (every CUDA device, else the CPU), cpu, a number, or a list of indices or identifiers, also of MIG slices;
    # [[0, 1], [2, 3]] gives each trial two, and trains it in two processes; [[cpu, cpu]] does so on a CPU.
    devices: Any = "auto"
    # Threads of a worker; null for an equal share of the cores.
    threads: int | None = None
    # Of the sampler, where it has none of its own.
    seed: int | None = None
    # Metric → bound ("<= 5"), of what the trials record.
    constraints: Any = None
    # Stop when no improvement is in sight: true (by expected regret; needs torch), or a mapping for
    # optuna.terminator.Terminator.
    terminator: Any = None
    # remove or keep the checkpoints folder of a pruned trial.
    pruned_checkpoints: str = "remove"
    # {tracking_uri, experiment_name, run_name} for a parent run and one child a trial; null for none.
    mlflow: Any = None
    # Modules that the workers' server imports besides the application.
    preload: Any = None
    # Draw the figures at the end.
    figures: bool = True
    # Seconds that running trials get to stop cleanly.
    grace: float = 10.0
    # Seconds to wait for a storage that went away.
    storage_patience: float = 300.0


def declare() -> None:
    """Tell Hydra."""
    store = ConfigStore.instance()
    store.store(group="hydra/sweeper", name="optuna", node=OptunaSweeperConf, provider=PROVIDER)
    for group, options in ARGUMENTS.items():
        for name, node in options.items():
            # Plain mappings take any argument; the sweeper checks them against Optuna's class.
            store.store(group=f"hydra/sweeper/{group}", name=name, node=dict(node), provider=PROVIDER)
