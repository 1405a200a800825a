"""A trial as a job of the Hydra application: composed, run and saved in its folder as Hydra's own launchers do.

The controller packs the application once; the warm server unpacks it once; every fork then runs one order.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import math
import os
import random
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeyolo.errors import SweepError
from spikeyolo.sweep.messages import Order
from spikeyolo.sweep.report.observer import Observer, TrialRecord
from spikeyolo.sweep.trial import TRIAL_VARIABLE, TrialPruned
from spikeyolo.sweep.workers.cluster import Launching, StorageChannel, cancel_jobs, launch

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

__all__ = ["describe_error", "is_pruned", "load_application", "objective_values", "pack_application"]

CONSOLE = "console.log"
DETAIL_LINES = 12


def pack_application(
    hydra_context: HydraContext,
    task_function: TaskFunction,
    config: DictConfig,
    launching: Launching | None = None,
) -> dict[str, Any]:
    """Pack what a worker needs to run jobs of this application.

    The task function goes by its name where it can be found again (also under ``hydra.main``), so that the worker uses
    the module it has imported; otherwise, and for the rest, by cloudpickle, as Hydra's other launchers do.
    """
    import cloudpickle
    from hydra.core.singleton import Singleton

    try:
        task = _name_of(task_function) or cloudpickle.dumps(task_function)
        return {
            "task": task,
            "launching": launching,
            "hydra": cloudpickle.dumps((hydra_context, config, Singleton.get_state())),
        }
    except (TypeError, AttributeError, ValueError) as error:
        raise SweepError(f"the application cannot be sent to its workers: {error}") from error


def _name_of(task_function: TaskFunction) -> tuple[str, str, int] | None:
    """Module, qualified name, and how many decorators to look under; None where it is not found there."""
    module, name = getattr(task_function, "__module__", ""), getattr(task_function, "__qualname__", "")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    for depth in range(8):
        if found is task_function:
            return module, name, depth
        found = getattr(found, "__wrapped__", None)
    return None


def load_application(application: Mapping[str, Any]) -> Callable[[int, Order], None]:
    """Unpack the application; returns what runs one order over an open socket, in a process of its own."""
    import cloudpickle
    from hydra.core.singleton import Singleton
    from hydra.core.utils import setup_globals

    task = application["task"]
    if isinstance(task, tuple):
        module, name, depth = task
        task_function: Any = sys.modules[module]
        for part in name.split("."):
            task_function = getattr(task_function, part)
        for _ in range(depth):
            task_function = task_function.__wrapped__
    else:
        task_function = cloudpickle.loads(task)
    hydra_context, config, state = cloudpickle.loads(application["hydra"])
    setup_globals()
    Singleton.set_state(state)
    _warm_up(hydra_context, config)

    def run(descriptor: int, order: Order) -> None:
        run_order(descriptor, order, hydra_context, task_function, config, application["launching"])

    return run


def _warm_up(hydra_context: HydraContext, config: DictConfig) -> None:
    """Compose once before any fork: the grammar's tables are built at first use, and forks inherit them."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    # What only a trial's own overrides make whole is composed there.
    with contextlib.suppress(HydraException, OmegaConfBaseException):
        hydra_context.config_loader.load_sweep_config(config, ["++hydra.job.num=1", "++hydra.job.id='a-1.5e-3'"])


def run_order(
    descriptor: int,
    order: Order,
    hydra_context: HydraContext,
    task_function: TaskFunction,
    config: DictConfig,
    launching: Launching | None = None,
) -> None:
    """Run one trial in this process and tell the controller, in the words of :mod:`spikeyolo.sweep.workers.pool`."""
    connection = Connection(descriptor)
    try:
        message = _run(connection, descriptor, order, hydra_context, task_function, config, launching)
    except KeyboardInterrupt:
        message = ("interrupted",)
        cancel_jobs()
    except SystemExit as error:
        stopped = error.code in (130, 143)  # what a shell reports of Ctrl-C and SIGTERM
        message = (
            ("interrupted",) if stopped else ("failed", f"the task ended the process with exit code {error.code}", "")
        )
    except Exception as error:  # the whole trial: whatever it raises is its outcome
        traceback.print_exc()
        message = ("failed", *describe_error(error))
    if order.observer is not None:
        _log(connection, order, order.observer, message, launching)
    connection.send(message)
    connection.close()


def _log(
    connection: Connection, order: Order, observer: Observer, message: tuple[Any, ...], launching: Launching | None
) -> None:
    """Show the observer the trial from its own process; a tracking server that fails must not fail the trial."""
    states = {"completed": "COMPLETE", "pruned": "PRUNED", "interrupted": "INTERRUPTED"}
    try:
        if launching is None:
            connection.send(("summary?",))
            run_id, metrics, reports = connection.recv()
        else:
            run_id, metrics, reports = StorageChannel(**launching.storage_of(order)).summary()
        trial = TrialRecord(
            number=order.number,
            params=order.params,
            state=states.get(message[0], "FAIL"),
            run_id=run_id,
            values=message[1] if message[0] == "completed" else (),
            metrics=metrics,
            reports=reports,
        )
        connection.send(("logged", observer.log_trial(trial)))
    except Exception:  # observers raise what their drivers raise
        traceback.print_exc()


def _run(
    connection: Connection,
    descriptor: int,
    order: Order,
    hydra_context: HydraContext,
    task_function: TaskFunction,
    config: DictConfig,
    launching: Launching | None,
) -> tuple[object, ...]:
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.utils import run_job
    from omegaconf import OmegaConf, open_dict

    context = {"pid": os.getpid(), "descriptor": descriptor, "number": order.number, "params": order.params}
    if launching is None:
        os.environ[TRIAL_VARIABLE] = json.dumps({**context, "context": dict(order.context)})
    # A fork begins with its parent's random numbers.
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    job = hydra_context.config_loader.load_sweep_config(config, list(order.overrides))
    with open_dict(job):
        job.hydra.job.id = f"{job.hydra.job.name}_{order.number}"
        job.hydra.job.num = order.number
    HydraConfig.instance().set_config(job)
    folder = Path(str(OmegaConf.select(job, "hydra.sweep.dir")), str(OmegaConf.select(job, "hydra.sweep.subdir")))
    folder.mkdir(parents=True, exist_ok=True)
    _write_console_to(folder / CONSOLE)
    connection.send(("started", str(folder.absolute())))
    if launching is None:
        result = run_job(
            hydra_context=hydra_context,
            config=job,
            task_function=task_function,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    else:
        try:
            result = launch(launching, order, hydra_context, task_function, config)
        except Exception as error:  # a launcher raises what its cluster tells: the job is lost, not wrong
            traceback.print_exc()
            return ("crashed", *describe_error(error))
        if result is None:
            return ("crashed", "the launcher returned no result", "")
    try:
        return ("completed", objective_values(result.return_value))
    except Exception as error:  # what the task raised, kept by Hydra
        if is_pruned(error):
            return ("pruned",)
        traceback.print_exc()
        return ("failed", *describe_error(error))


def _write_console_to(path: Path) -> None:
    """Send what the trial prints to its folder: workers must not write over the sweep's table or one another."""
    console = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        stream.flush()
        os.dup2(console, descriptor)
    os.close(console)
    # Built anew: the server's own streams may have been replaced (under pytest) and not lead to 1 and 2.
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    faulthandler.enable(sys.stderr)


def objective_values(value: Any) -> tuple[float, ...]:
    """What the task returned as numbers: a number, or one number per objective in a list or tuple.

    Raises:
        SweepError: it returned something else.
    """
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return tuple(_number(item) for item in value)
    return (_number(value),)


def _number(value: Any) -> float:
    if value is None or isinstance(value, str | bytes):
        raise SweepError(f"the task returned {value!r}, expected a number")
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise SweepError(f"the task returned a {type(value).__name__}, expected a number") from error
    if math.isnan(number):
        raise SweepError("the task returned NaN, expected a number")
    return number


def is_pruned(error: BaseException) -> bool:
    """Whether an exception gives the trial up: ours, or Optuna's by the same name (not imported for this)."""
    if isinstance(error, TrialPruned):
        return True
    return any(c.__name__ == "TrialPruned" and c.__module__.startswith("optuna") for c in type(error).__mro__)


def describe_error(error: BaseException) -> tuple[str, str]:
    """One line that names an error, and the last lines of its trace."""
    lines = str(error).strip().splitlines()
    message = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, SweepError):
        return lines[0], ""
    trace = "".join(traceback.format_exception(error)).strip().splitlines()
    return message, "\n".join(trace[-DETAIL_LINES:])
