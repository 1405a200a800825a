"""A checkpoint is a folder that can be copied, moved and packed: a readable file, and a numbered folder it names.

checkpoints/last/
  state.json                       epoch, step, figures so far, classes, the configuration; names the folder beside it
  000012/weights.safetensors       what is validated and shipped (the running average of the weights)
  000012/training.pt               what is needed to go on: raw weights, optimizer, random generators
  weights.safetensors              a link to the weights for other programs, where the file system has links

A save writes the next number's folder, then replaces ``state.json``, then removes the folder before, each step on the
disk before the next: whenever it is interrupted, ``state.json`` names a whole checkpoint. Checkpoints of version 0.1
have all files beside ``state.json``.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from spikeyolo.engine.checkpoints.behind import Behind
from spikeyolo.engine.checkpoints.files import Files, replace_text
from spikeyolo.errors import CheckpointError

FORMAT_VERSION = 2
WEIGHTS = "weights.safetensors"
TRAINING = "training.pt"
STATE = "state.json"

T = TypeVar("T")


def save(
    folder: Path,
    *,
    weights: nn.Module,
    training: Mapping[str, Any] | None,
    state: Mapping[str, Any],
    files: Files | None = None,
    behind: Behind | None = None,
) -> None:
    """Make ``folder`` a checkpoint of these weights, so that a reader, or a power cut, never meets half of one.

    Args:
        folder: made where it does not exist; the checkpoint that is there is replaced.
        weights: whose state is kept.
        training: what is needed to go on; None for a checkpoint to use only.
        state: what ``state.json`` says; a number that is not finite is null, since JSON has no NaN.
        files: the file system's steps; for tests.
        behind: writes it while the caller goes on, who may change weights and state at once, and raises its errors.

    Raises:
        CheckpointError: it cannot be written (a full disk); the checkpoint that was there is kept.
    """
    kind = {"fineness": str(getattr(weights, "fineness", 1.0))}  # of a detector's neurons, for who loads the file alone
    tensors, kept, told = weights.state_dict(), training, finite(state)
    files = files or Files()
    if behind is None:
        _write(folder, _contents(tensors, kind, kept), told, files)
        return
    tensors, kept = _copied(tensors), _copied(kept)  # what takes time is to make files of it
    behind.do(lambda: _write(folder, _contents(tensors, kind, kept), told, files))


def _contents(
    tensors: Mapping[str, torch.Tensor], kind: Mapping[str, str], training: Mapping[str, Any] | None
) -> dict[str, bytes]:
    """The files of a checkpoint beside its ``state.json``, by name."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    contents = {WEIGHTS: safetensors.torch.save(plain, metadata=dict(kind))}
    if training is not None:
        buffer = io.BytesIO()
        torch.save(dict(training), buffer)
        contents[TRAINING] = buffer.getvalue()
    return contents


def _copied(value: Any) -> Any:
    """The same tree with tensors of its own, on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return type(value)(_copied(item) for item in value) if isinstance(value, list | tuple) else value


def copy(source: Path, folder: Path) -> None:
    """Copy a checkpoint to ``folder``, whole or not at all.

    Raises:
        CheckpointError: it cannot be read or written.
    """
    if source.resolve() == folder.resolve():
        return
    state = read_state(source)
    try:
        contents = {path.name: path.read_bytes() for path in paths(source, state) if path.name != STATE}
    except OSError as error:
        raise CheckpointError(f"{source}: cannot be read ({error.strerror})") from error
    _write(folder, contents, finite(state), Files())


def _write(folder: Path, contents: Mapping[str, bytes], state: Mapping[str, Any], files: Files) -> None:
    try:
        if not folder.is_dir():
            files.make_folder(folder)
            files.sync(folder.parent)
            files.sync(folder.parent.parent)
        former = _numbered(folder)
        if len(former) > 1:  # left behind by a save that was interrupted
            files.sync(folder)  # what state.json says is on the disk before anything is removed
            kept = _named(folder)
            for stray in [path for path in former if path.name != kept]:
                files.remove(stray)
        numbered = folder / f"{max((int(path.name) for path in former), default=0) + 1:06d}"
    except OSError as error:
        raise _not_written(folder, error) from error
    try:
        files.make_folder(numbered)
        for name, data in contents.items():
            files.write(numbered / name, data)
            files.sync(numbered / name)
        files.sync(numbered)
        files.sync(folder)
        named = {**state, "format_version": FORMAT_VERSION, "folder": numbered.name}
        replace_text(folder / STATE, json.dumps(named, indent=2, allow_nan=False) + "\n", files=files)
    except OSError as error:
        if _named(folder) != numbered.name:
            shutil.rmtree(numbered, ignore_errors=True)
        raise _not_written(folder, error) from error
    with contextlib.suppress(OSError):  # what stays behind, the next save removes
        for path in [*(path for path in _numbered(folder) if path != numbered), folder / TRAINING]:
            files.remove(path)
    _link(folder / WEIGHTS, f"{numbered.name}/{WEIGHTS}")


def _not_written(folder: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"{folder}: the checkpoint cannot be written ({error.strerror or error})")


def _numbered(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.isdigit() and path.is_dir()]


def _named(folder: Path) -> str | None:
    """The numbered folder that ``state.json`` names now; None where it names none."""
    try:
        name = json.loads((folder / STATE).read_text()).get("folder")
    except (OSError, ValueError, AttributeError):
        return None
    return None if name is None else str(name)


def _link(link: Path, target: str) -> None:
    """For people and other programs; nothing here reads it where the numbered folder is."""
    partial = link.with_name(f"{link.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        partial.symlink_to(target)
        partial.replace(link)
    except (OSError, NotImplementedError):
        link.unlink(missing_ok=True)  # no links here: better no file than one of another checkpoint


def paths(folder: Path, state: Mapping[str, Any] | None = None) -> list[Path]:
    """The files of a checkpoint, ``state.json`` first.

    Args:
        state: as read; None reads it.
    """
    state = read_state(folder) if state is None else state
    found = [_path(folder, state, name) for name in (WEIGHTS, TRAINING)]
    return [folder / STATE, *(path for path in found if path.is_file())]


def _path(folder: Path, state: Mapping[str, Any], name: str) -> Path:
    numbered = state.get("folder")
    if numbered is None or not (folder / str(numbered)).is_dir():
        return folder / name  # as version 0.1 wrote it, or as an artifact store keeps it
    return folder / str(numbered) / name


def _read(folder: Path, name: str, read: Callable[[Path], T]) -> tuple[Path, T]:
    """What a file of a checkpoint holds, though its run may replace the checkpoint meanwhile."""
    while True:
        state = read_state(folder)
        path = _path(folder, state, name)
        try:
            return path, read(path)
        except FileNotFoundError:
            if _named(folder) == state.get("folder"):
                raise


def finite(value: Any) -> Any:
    """The same tree with null in place of numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def is_there(folder: Path) -> bool:
    """Whether a checkpoint is whole; not where its first save was interrupted."""
    return (folder / STATE).is_file()


def read_state(folder: Path) -> dict[str, Any]:
    """``state.json`` of a checkpoint.

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
    except (OSError, ValueError) as error:
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
    try:
        path, tensors = _read(folder, WEIGHTS, safetensors.torch.load_file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder / WEIGHTS}: cannot be read ({error}); expected the weights of a checkpoint"
        ) from error
    _check_fit(path, tensors, module)
    module.load_state_dict(tensors)


def load_training(folder: Path, module: nn.Module) -> dict[str, Any]:
    """What is needed to go on with training; its ``module`` entry is checked against ``module``.

    Raises:
        CheckpointError: the file is missing, damaged, or belongs to another model.
    """
    try:
        path, training = _read(folder, TRAINING, _load_training)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder / TRAINING}: missing; expected a checkpoint to go on from, such as checkpoints/last"
        ) from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{folder / TRAINING}: cannot be read ({reason})") from error
    _check_fit(path, training["module"], module)
    return training


def _load_training(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]


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
