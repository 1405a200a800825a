"""The Hydra sweeper: reads ``hydra.sweeper``, opens the study, runs the loop, writes the results.

``hydra_plugins/spikeyolo_sweeper`` is its door. Hydra imports this file at every start, so what is heavy (Optuna, the
storage drivers) is imported when a sweep begins.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper

from spikeyolo.errors import SweepError

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from spikeyolo.sweep.report.observer import Observer
    from spikeyolo.sweep.settings import Settings
    from spikeyolo.sweep.space import SearchSpace
    from spikeyolo.sweep.study.study import SweepStudy
    from spikeyolo.sweep.workers.pool import LocalPool

__all__ = ["OptunaSweeper"]

logger = logging.getLogger("spikeyolo.sweep")
BASIC_LAUNCHER = "BasicLauncher"
CONTROLLER_STRIDE = 100_003  # between the seeds of controllers that share a study


class OptunaSweeper(Sweeper):
    """Optuna 5 as a Hydra sweeper; the keys are described where they are declared, in the plugin's configuration.

    The arguments arrive as configuration, so that a mistake is told in one line when the sweep begins.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep; a mistake of the user's ends the process with one line and exit code 2, Ctrl-C with 130."""
        from spikeyolo.sweep.workers.forkserver import refuse_if_imported

        refuse_if_imported()
        try:
            return self.run(arguments)
        except SweepError as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            sys.stderr.write(f"sweep: {error}\n")
            raise SystemExit(2) from error
        except KeyboardInterrupt:
            sys.stderr.write("sweep: stopped; running trials are put back, the same command resumes\n")
            raise SystemExit(130) from None

    def run(self, arguments: Sequence[str]) -> Any:
        """The sweep itself.

        Raises:
            SweepError: the space, the storage, the devices or the trials contradict what is configured.
            KeyboardInterrupt: stopped by Ctrl-C or SIGTERM.
        """
        from hydra.core.utils import configure_log

        from spikeyolo.sweep.settings import Settings

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.task_function is not None
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        settings = Settings.read(self.settings, self.config)
        folder = _sweep_folder(self.config)
        with _stopped_by_sigterm():
            pool = self._pool(settings, folder)
            try:
                return self._run(arguments, settings, folder, pool)
            finally:
                pool.close()

    def _pool(self, settings: Settings, folder: Path) -> LocalPool:
        """The workers, warming up while the rest is prepared; through a launcher each waits for a job of it."""
        from spikeyolo.sweep.report import tracking
        from spikeyolo.sweep.study.storage import storage_address
        from spikeyolo.sweep.workers.cluster import Launching, connect_ray
        from spikeyolo.sweep.workers.devices import plan_workers
        from spikeyolo.sweep.workers.job import pack_application
        from spikeyolo.sweep.workers.pool import LocalPool

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.task_function is not None
        launcher = str(self.config.hydra.launcher._target_)
        launching = None
        if launcher.endswith(BASIC_LAUNCHER):
            slots = plan_workers(
                devices=settings.devices, workers=settings.workers, n_jobs=settings.n_jobs, threads=settings.threads
            )
        else:
            # A worker here only waits for its job; devices and threads are the launcher's to give.
            slots = [{} for _ in range(settings.n_jobs)]
            address = storage_address(settings.storage, folder)
            launching = Launching(address=address, study_name=settings.study_name, pruner=settings.pruner)
            if launcher.endswith("RayLauncher"):
                connect_ray(self.config)
        if settings.tracking:
            tracking.prepare()
        pool = LocalPool(
            slots=slots,
            application=pack_application(self.hydra_context, self.task_function, self.config, launching),
            preload=[*settings.preload, *(tracking.PRELOAD if settings.tracking else ())],
            log=folder / "workers.log",
            trial_timeout_s=settings.trial_timeout,
            grace_s=settings.grace,
        )
        pool.warm_up()
        return pool

    def _run(self, arguments: Sequence[str], settings: Settings, folder: Path, pool: LocalPool) -> Any:
        import optuna

        from spikeyolo.sweep.algorithms import build_pruner, build_sampler, build_terminator, rehearse
        from spikeyolo.sweep.loop import Limits, SweepLoop
        from spikeyolo.sweep.report.conclusion import conclude
        from spikeyolo.sweep.report.console import SweepConsole
        from spikeyolo.sweep.report.figures import import_drawing
        from spikeyolo.sweep.report.results import best_line
        from spikeyolo.sweep.space import read_space
        from spikeyolo.sweep.space.constraints import parse_constraints
        from spikeyolo.sweep.space.drawing import Drawing, check_keys, describe_shared
        from spikeyolo.sweep.study.starts import starting_points
        from spikeyolo.sweep.study.storage import open_storage, patiently, storage_address
        from spikeyolo.sweep.study.study import SweepStudy

        assert self.config is not None
        assert self.hydra_context is not None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", category=FutureWarning, module="optuna")
        config, loader = self.config, self.hydra_context.config_loader
        space = read_space(settings.params, list(arguments), settings.when, loader)
        check_keys(space, loader, config)
        terminator = build_terminator(settings.terminator, objectives=len(settings.directions))
        if terminator is not None:
            rehearse(terminator, space, settings.directions[0])
        constraints = parse_constraints(settings.constraints)
        pruner = build_pruner(settings.pruner, objectives=len(settings.directions))
        address = storage_address(settings.storage, folder)
        storage = open_storage(address)

        def begin() -> tuple[optuna.Study, int]:
            study = SweepStudy.open(
                storage=storage,
                name=settings.study_name,
                directions=settings.directions,
                sampler=optuna.samplers.RandomSampler(),
                pruner=pruner,
            )
            return study, len(study.get_trials(deepcopy=False))

        opened, drawn = patiently(begin, patience_s=0.0, what="opening the study")
        study = SweepStudy(
            study=opened,
            storage=storage,
            folder=folder,
            n_trials=settings.n_trials,
            retries=settings.retries,
            constraints=constraints,
            patience_s=settings.storage_patience,
        )
        shared = describe_shared(space, loader, config, settings)
        changed = study.check_configuration(shared, list(space.names), accept=settings.resume_changed)
        for change in changed:
            logger.warning("study %s goes on with another configuration: %s", settings.study_name, change)
        # Neither a resumed sampler nor a second machine's may draw the same numbers again.
        opened.sampler = build_sampler(
            settings.sampler,
            space=space,
            objectives=len(settings.directions),
            seed=settings.seed,
            drawn=drawn + CONTROLLER_STRIDE * study.join(),
            keep_seed=study.keep_seed,
        )
        study.n_trials = settings.budget(space, opened.sampler, study.trials())
        for change in study.check_space(space):
            logger.warning("study %s goes on with another space: %s", settings.study_name, change)
        if not self.settings.get("study_name") and settings.study_name != config.hydra.job.name:
            logger.info("a new study: hydra.sweeper.study_name=%s resumes it", settings.study_name)
        study.recover()
        if settings.retry_failed:
            logger.info("%d failed trials run again", study.retry_failed())
        counts = study.counts()
        if counts.finished:
            logger.info(
                "resuming study %s: %d of %d trials are done", settings.study_name, counts.finished, study.n_trials
            )
        points = starting_points(
            settings.enqueue, space=space, composed=config, folder=folder, constraints=study.constraints
        )
        if points and isinstance(opened.sampler, optuna.samplers.GridSampler):
            logger.warning("enqueue is left out: the grid tries every point")
        else:
            study.enqueue(points)
        observer = self._observer(settings, study, space)
        console = SweepConsole(
            n_trials=study.n_trials, capacity=pool.capacity, line=lambda params: best_line(space, params)
        )
        loop = SweepLoop(
            study=study,
            executor=pool,
            draw=Drawing(space, config, settings.custom_search_space),
            console=console,
            limits=Limits(
                timeout_s=settings.timeout, max_failure_rate=settings.max_failure_rate, grace_s=settings.grace
            ),
            terminator=terminator,
            observer=observer,
            keep_pruned=settings.pruned_checkpoints == "keep",
        )
        if settings.figures:
            threading.Thread(target=import_drawing, daemon=True).start()
        status = "KILLED"
        console.open()
        try:
            with study.alive():
                loop.run()
            status = "FINISHED"
        except SweepError:
            status = "FAILED"
            raise
        finally:
            console.close()
            conclude(settings, study, space, folder, observer, status, config=config, loader=loader)
        best = study.best()
        if best is None and not study.counts().complete and not study.counts().waiting:
            counts = study.counts()
            raise SweepError(f"no trial completed: {counts.failed} failed, {counts.pruned} were pruned")
        return None if best is None else list(best.values)

    def _observer(self, settings: Settings, study: SweepStudy, space: SearchSpace) -> Observer | None:
        if not settings.tracking:
            return None
        from spikeyolo.sweep.report.tracking import observe
        from spikeyolo.sweep.space import describe

        observer: Observer = observe(settings.tracking, study_name=settings.study_name)
        study.share_run(
            lambda known: observer.open(
                known,
                study_name=settings.study_name,
                directions=settings.directions,
                space={p.name: describe(p.distribution) for p in space.parameters},
            )
        )
        return observer


def _sweep_folder(config: DictConfig) -> Path:
    """Make the sweep's folder and keep its configuration there, as Hydra's own sweeper does.

    Raises:
        SweepError: the folder cannot be written.
    """
    from omegaconf import OmegaConf

    folder = Path(str(config.hydra.sweep.dir))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, folder / "multirun.yaml")
    except OSError as error:
        raise SweepError(f"hydra.sweep.dir {folder} cannot be written: {error.strerror or error}") from error
    return folder.absolute()


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM (a node's time limit, a container's stop) stop the sweep as Ctrl-C does."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
