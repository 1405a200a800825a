"""Structured numpy arrays: the label files of Prophesee, eTraM and DSEC, their columns found by name."""

from __future__ import annotations

import tokenize
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import LabelError
from spikeyolo.events.labels.formats.rows import LabelRows
from spikeyolo.events.labels.formats.text import no_label_file
from spikeyolo.events.labels.tracks import NO_TRACK, as_track_ids
from spikeyolo.events.types import Array

_BOX = ("x", "y", "w", "h")
_TIMES = ("t", "ts")
_CONFIDENCES = ("class_confidence", "confidence")
# All that numpy's parser of headers has been seen to raise.
_NOT_NPY = (ValueError, EOFError, TypeError, SyntaxError, OverflowError, tokenize.TokenError, zipfile.BadZipFile)


def read_npy(path: Path) -> LabelRows:
    """Boxes of a ``.npy`` file.

    The file holds a structured array with fields ``t`` or ``ts``, ``x y w h`` (top-left), ``class_id``, and where known
    ``track_id`` and ``class_confidence`` or ``confidence``, in any order and among others.

    Raises:
        LabelError: the file is no such array.
    """
    rows = _load(path)
    names = rows.dtype.names or ()
    time = next(name for name in _TIMES if name in names)
    return LabelRows(
        rows[time],
        np.stack([rows[name].astype(np.float64) for name in _BOX], axis=1),
        rows["class_id"],
        _track_ids(rows),
        _optional(rows, _CONFIDENCES, 1, np.dtype(np.float32)),
    )


def _load(path: Path) -> Array:
    try:
        # Mapped first: a header that promises more than the file holds then fails without allocating it.
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise no_label_file(path) from error
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror or error})") from error
    except _NOT_NPY as error:
        reason = str(error).splitlines()[0]
        if "pickle" in reason:  # numpy's words for what is not its own; they end in bad advice
            reason = "it holds no plain numpy array"
        raise LabelError(f"{path}: not a complete .npy label file ({reason})") from error
    if not isinstance(rows, np.ndarray) or rows.ndim != 1 or rows.dtype.names is None:
        found = f"an array of {rows.dtype}, shape {rows.shape}" if isinstance(rows, np.ndarray) else "an archive"
        raise LabelError(f"{path}: {found}; expected a list of boxes with the fields t, x, y, w, h, class_id")
    names = rows.dtype.names
    missing = [name for name in (*_BOX, "class_id") if name not in names]
    if not any(name in names for name in _TIMES):
        missing.insert(0, "t")
    if missing:
        raise LabelError(
            f"{path}: its boxes have no field {' and no '.join(missing)} (found {', '.join(names)}); "
            "expected t (or ts), x, y, w, h and class_id"
        )
    for name in names:
        if name in (*_BOX, *_TIMES, *_CONFIDENCES, "class_id", "track_id") and rows.dtype[name].kind not in "iuf":
            raise LabelError(f"{path}: its field {name} is of type {rows.dtype[name]}; expected one number a box")
    return np.array(rows)


def _track_ids(rows: Array) -> npt.NDArray[np.int64]:
    if "track_id" in (rows.dtype.names or ()):
        return as_track_ids(rows["track_id"])
    return np.full(len(rows), NO_TRACK, np.int64)


def _optional(rows: Array, names: tuple[str, ...], default: int, dtype: np.dtype[np.generic]) -> Array:
    for name in names:
        if name in (rows.dtype.names or ()):
            return rows[name].astype(dtype)
    return np.full(len(rows), default, dtype)
