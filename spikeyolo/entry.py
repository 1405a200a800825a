"""How every entry point composes its configuration, runs, and ends: one sentence and exit code 2 for what the user
can mend, a trace and exit code 1 for a crash, 130 for Ctrl-C."""

from __future__ import annotations

import difflib
import errno
import functools
import logging
import os
import re
import select
import shlex
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import hydra
import hydra.errors
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, InterpolationResolutionError, OmegaConfBaseException

from spikeyolo import repeat
from spikeyolo.errors import SpikeyoloError
from spikeyolo.launch import arguments_of, give_way, launcher, place
from spikeyolo.suggest import config_directory as config_directory
from spikeyolo.suggest import elsewhere

# What hydra.verbose=true is not meant to let speak: they fill a log with their own inner life.
CHATTY = ("PIL", "alembic", "asyncio", "git", "matplotlib", "numba", "numcodecs", "sqlalchemy", "urllib3", "zarr")

Task = Callable[[DictConfig], Any]
T = TypeVar("T")

log = logging.getLogger(__name__)


def run(task: Task, config_name: str) -> None:
    """Compose ``conf/<config_name>.yaml`` with the command line's overrides and call ``task``.

    Never returns normally after an error: ends the process with exit code 2 (an error the user can mend),
    1 (a crash) or 130 (interrupted).
    """
    # Hydra then raises composition errors instead of printing its own paragraphs.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # How long torch's threads spin before they sleep, read when torch is imported. GNU OpenMP's own choice makes a
    # run beside other jobs up to forty times slower; none at all takes twice as long as needed on a quiet machine.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "8000")
    # Hydra 1.4 warns of what 1.5 will ask for; pyproject stays below that.
    migration = getattr(hydra.errors, "Hydra15MigrationWarning", None)
    if migration is not None:
        warnings.filterwarnings("ignore", category=migration)
    try:
        if config_name == "train" and (here := place()) is not None:
            sys.argv[1:] = arguments_of(here, sys.argv[1:])
        sys.argv[1:] = repeat.offer(sys.argv[1:], config_directory(), config_name)
        hydra.main(version_base="1.3", config_path=str(config_directory()), config_name=config_name)(task)()
        sys.stdout.flush()
    except SpikeyoloError as error:
        _fail(error, _one_line(str(error)))
    except (HydraException, OmegaConfBaseException) as error:
        _fail(error, composition_sentence(error))
    except ValueError as error:
        if isinstance(error.__cause__, OSError):  # logging says so of a file that it cannot open
            _fail(error, folder_sentence(error.__cause__))
        if not str(error).startswith("Config group override"):
            raise
        _fail(error, f"a group's choice is not a name ({_one_line(str(error))}); expected GROUP=OPTION")
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            sys.exit(128 + 13)  # as one whom SIGPIPE ends
        if _passed_through(error, task):
            raise
        _fail(error, folder_sentence(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "submitit":
            raise
        _fail(error, cluster_sentence(error))


def in_a_sentence(run: Callable[[DictConfig], T]) -> Callable[[DictConfig], T]:
    """An entry point's work, so that what the user can mend ends in a sentence.

    In a multirun the error is raised, so that the sweep sees a failed job.
    """

    @functools.wraps(run)
    def task(config: DictConfig) -> T:
        try:
            with interrupts():
                return run(config)
        except SpikeyoloError as error:
            end_with_sentence(error, debug=config.get("debug") is True)
            raise
        except OSError as error:
            full = full_disk(error)
            if full is None:
                raise
            end_with_sentence(full, debug=config.get("debug") is True)
            raise full from error

    return task


@contextmanager
def interrupts() -> Iterator[None]:
    """Ctrl-C stays an interrupt, also where a package that was being imported makes an error of its own of it.

    Raises:
        KeyboardInterrupt: an error came after Ctrl-C.
    """
    asked = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.default_int_handler(number, frame)

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception as error:
        if asked:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def resume_arguments(overrides: Sequence[str], checkpoint: Path) -> str:
    """The arguments of a command that goes on from a checkpoint, as a shell takes them."""
    kept = [override for override in overrides if not override.startswith("trainer.resume=")]
    return shlex.join([*kept, f"trainer.resume={_hydra_quoted(str(checkpoint))}"])


def resume_command(checkpoint: Path) -> str:
    """The command that goes on from a checkpoint of this run, where it lives and with what it was given.

    One job of a multirun goes on by itself, in its folder.
    """
    runtime = HydraConfig.get()
    words: list[str] = []
    for source in runtime.runtime.config_sources:
        if source.provider == "command-line":
            words += ["--config-dir", source.path]
    if runtime.job.config_name not in (None, "train"):
        words += ["--config-name", repeat.chosen_before(runtime.job.config_name)]
    if runtime.mode == RunMode.MULTIRUN:
        own = [f"hydra.run.dir={_hydra_quoted(str(Path(runtime.runtime.output_dir).resolve()))}"]
    else:
        own = [override for override in runtime.overrides.hydra if not override.startswith("hydra.mode=")]
    arguments = resume_arguments([*runtime.overrides.task, *own], checkpoint)
    return " ".join([f"{launcher()} -m spikeyolo.train", *map(shlex.quote, words), arguments])


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """A nested configuration as ``a.b.c → value``."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def quieten() -> None:
    """Keep other packages' debug lines out of a verbose log, unless they were asked for by name."""
    for name in CHATTY:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)


def full_disk(error: OSError) -> SpikeyoloError | None:
    """A disk without room, as an error the user can mend; None for any other."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return SpikeyoloError(f"{error.filename or 'the run folder'}: cannot be written ({error.strerror})")


def folder_sentence(error: OSError) -> str:
    """That the run's folder, which Hydra makes before anything else, cannot be made."""
    return (
        f"{error.filename or 'the run folder'}: cannot be made or written ({error.strerror}); "
        "start in another folder, or choose one with hydra.run.dir=FOLDER"
    )


def cluster_sentence(error: Exception) -> str:
    """That a job of a multirun died on the cluster: which, how, and the last that it said."""
    ended, _, said = str(error).partition("Error stream produced:")
    last = said.strip("- \n").rpartition("\n")[2]
    return _one_line(f"{ended}{f', the last that it said: {last};' if last else ';'} other jobs go on by themselves")


def _reader_is_gone() -> bool:
    """Whether nobody reads an output any more, as after ``| head``; Python is then kept from saying so at its end."""
    gone = False
    for stream in (sys.stdout, sys.stderr):
        try:
            descriptor = stream.fileno()
        except (OSError, ValueError):  # a stream of no file
            continue
        asked = select.poll()
        asked.register(descriptor, select.POLLOUT)
        if any(event & select.POLLERR for _, event in asked.poll(0)):
            gone = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return gone


def _passed_through(error: BaseException, task: Task) -> bool:
    """Whether the task had begun when the error was raised."""
    code = getattr(task, "__code__", None)
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))


def end_with_sentence(error: SpikeyoloError, *, debug: bool) -> None:
    """End a single run with the error's sentence; in a multirun raise it, so that the sweep sees a failed job."""
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise error
    give_way()
    if debug:
        traceback.print_exception(error)
    log.error("error: %s", _one_line(str(error)))  # to the console and to the run's log file
    sys.exit(2)


def given_keys() -> set[str]:
    """Keys that the command line has, as ``filters.region``; those of a mapping (``filters={region:…}``) one by one."""
    keys = set()
    for override in OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task)):
        key, value = override.key_or_group, override.value()
        keys |= {f"{key}.{name}" for name in value} if isinstance(value, Mapping) else {key}
    return keys


def composition_sentence(error: Exception) -> str:
    """Hydra's and OmegaConf's paragraphs as one sentence, with the nearest known key where there is one."""
    text = str(error)
    if isinstance(error, MissingConfigException):
        text = text.split("Config search path")[0]
        option = re.search(r"Could not find '([^']+)/([^'/]+)'\s+Available options in '[^']+':\s+(.*)", text, re.DOTALL)
        if option is None:
            return _one_line(text)
        group, name, known = option.group(1), option.group(2), option.group(3).split()
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{group}: found {name!r}; expected {', '.join(known)}{hint}"
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override}: cannot be read as an override; expected KEY=VALUE, a list as [a,b], "
            "quotes around other signs"
        )
    ambiguous = re.match(r"Ambiguous value for argument '(.+)'\n", text)
    if ambiguous:
        key, _, values = ambiguous[1].partition("=")
        return f"{key}: found several values; expected one, a list as {key}=[{values}], or -m to run each"
    unchosen = re.match(r"Could not override '([^'@]+)'\.\s+No match in the defaults list", text)
    if unchosen and (config_directory() / unchosen[1]).is_dir():
        return f"{unchosen[1]}: nothing is chosen by default; expected +{unchosen[1]}=OPTION, with a plus sign"
    cause = error.__cause__ if error.__cause__ is not None else error
    match = re.search(r"Could not override '([^']+)'", text)
    if match:
        key = match.group(1)
        if key.startswith("hydra.sweeper."):
            return f"{key}: belongs to a search, of which there is none; expected -m and +search=NAME beside it"
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
    """The key that was probably meant: a near one in the same node, else one of that name anywhere."""
    parent = getattr(cause, "parent_node", None)
    if not isinstance(cause, (ConfigKeyError, OmegaConfBaseException)) or not isinstance(parent, DictConfig):
        return None
    missing = str(getattr(cause, "key", key.rpartition(".")[2]))
    close = difflib.get_close_matches(missing, [str(name) for name in parent], n=1)
    if close:
        depth = key.split(".").index(missing) if missing in key.split(".") else len(key.split(".")) - 1
        return ".".join([*key.split(".")[:depth], close[0]])
    return elsewhere(key, OmegaConf.to_container(parent._get_root(), resolve=False))


def _hydra_quoted(text: str) -> str:
    """A value that Hydra's grammar reads as it stands."""
    if re.fullmatch(r"[A-Za-z0-9_./:-]+", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _fail(error: Exception, sentence: str) -> None:
    give_way()
    if "debug=true" in sys.argv:
        traceback.print_exception(error)
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)
