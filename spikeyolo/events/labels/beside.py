"""Where the labels of a recording lie: beside its events under a name of their own, or in a folder of labels."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePath

from spikeyolo.errors import RecordingError
from spikeyolo.events.labels.formats.readers import SUFFIXES

_WORDS = ("_bbox", "_labels")


def labels_names(events: PurePath) -> list[str]:
    """What the labels of an events file may be called beside it: ``NAME_bbox.npy``, …, or a folder ``NAME_bbox``."""
    stems = dict.fromkeys((events.stem, events.stem.removesuffix("_td")))
    return [f"{stem}{word}{suffix}" for stem in stems for word in _WORDS for suffix in (*SUFFIXES, "")]


def is_label_name(path: PurePath) -> bool:
    """Whether a text, which may hold events too, is named as labels are, or lies in a folder that is."""
    return path.suffix.lower() in SUFFIXES and any(
        PurePath(name).stem.endswith(_WORDS) for name in (path.name, path.parent.name)
    )


def choose_one(events: PurePath | str, found: Collection[PurePath | str]) -> None:
    """Check that a recording has its labels once.

    Raises:
        RecordingError: there are several.
    """
    if len(found) > 1:
        raise RecordingError(
            f"{events}: has {len(found)} label files ({', '.join(map(str, found))}); expected one: remove the others, "
            "or name it with labels"
        )


def labels_beside(events: Path) -> Path | None:
    """The labels beside an events file, where there are any.

    Raises:
        RecordingError: there are several.
    """
    found = [path for name in labels_names(events) if (path := events.with_name(name)).exists()]
    found = [path for path in found if path.suffix in SUFFIXES or path.is_dir()]
    choose_one(events, found)
    return found[0] if found else None


def labels_of_file(events: Path, labels: Path | None, root: Path | None = None) -> Path | None:
    """The labels of an events file.

    Args:
        events: the file.
        labels: a label file, a folder of label files (``NAME.csv``, ``NAME_bbox.npy``, …, also in the folders that the
            events lie in below ``root``), or a folder of YOLO text files; None looks beside the events.
        root: the folder that was searched for events; None where one file was named.

    Raises:
        RecordingError: there are several.
    """
    if labels is None:
        return labels_beside(events)
    if root is None and not labels.is_dir():
        return labels
    below = events.parent.relative_to(root) if root is not None else Path()
    stems = dict.fromkeys((events.stem, events.stem.removesuffix("_td")))
    names = [*labels_names(events), *(f"{stem}{suffix}" for stem in stems for suffix in (*SUFFIXES, ""))]
    found = [path for name in names if (path := labels / below / name).exists()]
    choose_one(events, found)
    if found:
        return found[0]
    return labels if root is None else None
