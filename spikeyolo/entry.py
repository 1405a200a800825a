"""How every entry point composes its configuration, runs, and ends: one sentence and exit code 2 for what the user
can mend, a trace and exit code 1 for a crash, 130 for Ctrl-C."""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import ConfigKeyError, InterpolationResolutionError, OmegaConfBaseException

from spikeyolo.errors import SpikeyoloError

Task = Callable[[DictConfig], Any]

log = logging.getLogger(__name__)


def config_directory() -> Path:
    """The configuration tree: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def run(task: Task, config_name: str) -> None:
    """Compose ``conf/<config_name>.yaml`` with the command line's overrides and call ``task``.

    Never returns normally after an error: ends the process with exit code 2 (an error the user can mend),
    1 (a crash) or 130 (interrupted).
    """
    # Hydra then raises composition errors instead of printing its own paragraphs.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Threads that spin while they wait make every process beside them slow, up to forty times on shared cores; read
    # when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        hydra.main(version_base="1.3", config_path=str(config_directory()), config_name=config_name)(task)()
    except SpikeyoloError as error:
        _fail(error, _one_line(str(error)))
    except (HydraException, OmegaConfBaseException) as error:
        _fail(error, composition_sentence(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def end_with_sentence(error: SpikeyoloError, *, debug: bool) -> None:
    """End a single run with the error's sentence; in a multirun raise it, so that the sweep sees a failed job."""
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise error
    if debug:
        traceback.print_exception(error)
    log.error("error: %s", _one_line(str(error)))  # to the console and to the run's log file
    sys.exit(2)


def composition_sentence(error: Exception) -> str:
    """Hydra's and OmegaConf's paragraphs as one sentence, with the nearest known key where there is one."""
    text = str(error)
    if isinstance(error, MissingConfigException):
        text = text.split("Config search path")[0]
        return _one_line(re.sub(r"\n\t", " ", text))
    cause = error.__cause__ if error.__cause__ is not None else error
    match = re.search(r"Could not override '([^']+)'", text)
    if match:
        key = match.group(1)
        sentence = f"{key}: there is no such key in the configuration"
        nearest = _nearest(cause, key)
        if nearest:
            return f"{sentence}; did you mean {nearest}?"
        return f"{sentence}; --cfg job prints those that exist"
    if isinstance(cause, InterpolationResolutionError):
        text = str(cause)
    lines = [line for line in text.splitlines() if not re.match(r"\s*(full_key|object_type|reference_type)", line)]
    return _one_line(" ".join(lines))


def _nearest(cause: BaseException, key: str) -> str | None:
    parent = getattr(cause, "parent_node", None)
    if not isinstance(cause, (ConfigKeyError, OmegaConfBaseException)) or not isinstance(parent, DictConfig):
        return None
    missing = str(getattr(cause, "key", key.rpartition(".")[2]))
    close = difflib.get_close_matches(missing, [str(name) for name in parent], n=1)
    if not close:
        return None
    depth = key.split(".").index(missing) if missing in key.split(".") else len(key.split(".")) - 1
    return ".".join([*key.split(".")[:depth], close[0]])


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _fail(error: Exception, sentence: str) -> None:
    if "debug=true" in sys.argv:
        traceback.print_exception(error)
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)
