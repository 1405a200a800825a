"""A checkpoint is a folder: weights (safetensors), the optimizer's state, and a JSON file that anyone can read.

checkpoints/last/
  weights.safetensors   what is validated and shipped (the running average of the weights)
  training.pt           what is needed to go on: raw weights, optimizer, random generators
  state.json            epoch, step, metrics so far, classes, the model's configuration
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from spikeyolo.errors import CheckpointError

FORMAT_VERSION = 1


def save(folder: Path, *, weights: nn.Module, training: Mapping[str, Any] | None, state: Mapping[str, Any]) -> None:
    """Write a checkpoint beside ``folder`` and put it in its place, so that a reader never meets half of one.

    Raises:
        CheckpointError: it cannot be written (a full disk); the checkpoint that was there is kept.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.state_dict().items()}
    text = json.dumps({"format_version": FORMAT_VERSION, **state}, indent=2, allow_nan=True)
    with _replacing(folder) as partial:
        partial.mkdir()
        save_file(tensors, partial / "weights.safetensors")
        if training is not None:
            buffer = io.BytesIO()  # written to a full disk by torch itself, this ends in an error without a reason
            torch.save(dict(training), buffer)
            (partial / "training.pt").write_bytes(buffer.getvalue())
        (partial / "state.json").write_text(text + "\n")


def copy(source: Path, folder: Path) -> None:
    """Copy a checkpoint to ``folder``, whole or not at all.

    Raises:
        CheckpointError: it cannot be read or written.
    """
    if source.resolve() == folder.resolve():
        return
    with _replacing(folder) as partial:
        shutil.copytree(source, partial)


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A place beside ``folder`` to write to, which takes its place at the end."""
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    replaced = folder.with_name(f"{folder.name}.replaced-{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        yield partial
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
    except (OSError, shutil.Error, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise CheckpointError(f"{folder}: the checkpoint cannot be written ({reason})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        shutil.rmtree(replaced, ignore_errors=True)


def read_state(folder: Path) -> dict[str, Any]:
    """The JSON part of a checkpoint.

    Raises:
        CheckpointError: there is none, it is damaged, or it was written by a newer format.
    """
    path = folder / "state.json"
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: no checkpoint here (state.json is missing); expected a folder such as checkpoints/best"
        )
    try:
        state = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged ({error}); expected JSON") from error
    if not isinstance(state, dict) or "format_version" not in state:
        raise CheckpointError(f"{path}: no format_version; expected a checkpoint of spikeyolo")
    if state["format_version"] > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: written by a newer format ({state['format_version']}); this version reads up to {FORMAT_VERSION}"
        )
    return state


def load_weights(folder: Path, module: nn.Module) -> None:
    """Load the weights of a checkpoint into ``module``, all of them or none.

    Raises:
        CheckpointError: the file is damaged or belongs to another model.
    """
    path = folder / "weights.safetensors"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); expected the weights of a checkpoint") from error
    _check_fit(path, tensors, module)
    module.load_state_dict(tensors)


def load_training(folder: Path, module: nn.Module) -> dict[str, Any]:
    """What is needed to go on with training; its ``module`` entry is checked against ``module``.

    Raises:
        CheckpointError: the file is missing, damaged, or belongs to another model.
    """
    path = folder / "training.pt"
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; expected a checkpoint to go on from, such as checkpoints/last")
    try:
        training: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from error
    _check_fit(path, training["module"], module)
    return training


def _check_fit(path: Path, tensors: Mapping[str, torch.Tensor], module: nn.Module) -> None:
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if expected == found:
        return
    missing = sorted(expected.keys() - found.keys())
    surplus = sorted(found.keys() - expected.keys())
    shapes = sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])
    example = ""
    if shapes:
        example = f", e.g. {shapes[0]}: found {found[shapes[0]]}, expected {expected[shapes[0]]}"
    elif missing or surplus:
        example = f", e.g. {(missing or surplus)[0]}"
    raise CheckpointError(
        f"{path}: a checkpoint of another model ({len(missing)} entries missing, {len(surplus)} unknown, "
        f"{len(shapes)} of another shape{example}); expected the model of this configuration"
    )
