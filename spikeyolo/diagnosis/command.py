"""The command line that starts the doctor on what another command was given, ready to be pasted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from spikeyolo.training.review import FINDS_NOTHING


def doctor_command(overrides: Sequence[str], sources: Iterable[Any], *, checkpoint: Path | None = None) -> str:
    """``python -m spikeyolo.doctor …`` as a shell takes it.

    Args:
        overrides: of the configuration, as the command line gave them.
        sources: Hydra's ``runtime.config_sources``, of which the command line's ``--config-dir`` is one.
        checkpoint: whose network is to be looked at; None adds none.
    """
    # Resuming is no matter of a diagnosis, and the checkpoint it names need not be there any more.
    words = [word for word in overrides if checkpoint is None or not word.startswith("trainer.resume=")]
    folders = [str(source.path) for source in sources if source.provider == "command-line"]
    words = [*(word for folder in folders for word in ("--config-dir", folder)), *words]
    if checkpoint is not None:
        words.append(f"checkpoint={_hydra_quoted(str(checkpoint))}")
    return shlex.join(["python", "-m", "spikeyolo.doctor", *words])


def word_on_the_doctor(
    map50: float, overrides: Sequence[str], sources: Iterable[Any], *, checkpoint: Path
) -> str | None:
    """What a training says at its end where it finds nothing, or where nothing tells whether it does; None else.

    Args:
        map50: of the validation; NaN where that had no box.
        overrides, sources, checkpoint: see :func:`doctor_command`.
    """
    if map50 >= FINDS_NOTHING:
        return None
    command = doctor_command(overrides, sources, checkpoint=checkpoint)
    if map50 < FINDS_NOTHING:
        return f"mAP50 {map50:.3f}: nothing is found; why, says {command}"
    return f"mAP50 is not defined: nothing tells whether anything is found; why, says {command}"


def _hydra_quoted(text: str) -> str:
    """A value that Hydra's grammar reads as it stands."""
    if re.fullmatch(r"[A-Za-z0-9_./:-]+", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
