"""Which classes of the label files are kept, and at which place of the class list: decided by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import ConfigError, LabelError
from spikeyolo.events.labels.rules import LabelRules
from spikeyolo.events.types import Array, Boxes


class ClassSelection:
    """Translates a label file's classes into places of the class list.

    A class of the file is an id or a name. An id has the name that the rules give it, else the one that the file gives
    it; where neither names any class, ids are places in the class list. ``class_map`` then renames, groups or leaves
    out; of what remains, the class list selects by name.

    Args:
        classes: names, in the order of class ids.
        rules: with ``names`` and ``class_map``.
        names: of the file's own classes by id, where it states them.
        first_id: the id of the first class, where nobody names them.

    Raises:
        ConfigError: the class list or the map has a name that nothing in the files can have.
    """

    def __init__(
        self,
        classes: Sequence[str],
        rules: LabelRules,
        *,
        names: Mapping[int, str] | None = None,
        first_id: int = 0,
    ) -> None:
        self.classes = tuple(classes)
        self._map: Mapping[int | str, str | None] = rules.class_map or {}
        self._names = names_by_id(rules.names) or (None if names is None else dict(names))
        if self._names is not None:
            self._check_map(self._names)
            self._kept = {key: self._renamed(key, name) for key, name in self._names.items()}
        elif rules.class_map is not None:
            self._kept = {key: name for key, name in self._map.items() if isinstance(key, int)}
        else:
            self._kept = dict(enumerate(self.classes, start=first_id))
        self._check_classes()

    @property
    def known(self) -> tuple[str, ...]:
        """Names that can be selected, in the order of ids; empty where only a file's boxes will tell."""
        renamed = () if self._names is not None else [name for key, name in self._map.items() if isinstance(key, str)]
        return tuple(dict.fromkeys(name for name in [*self._kept.values(), *renamed] if name is not None))

    def places(self, category: Array, path: str) -> npt.NDArray[np.int64]:
        """Places ``[M]`` in the class list of ids or names ``[M]``; -1 for a class that is not selected, and for NaN.

        Raises:
            LabelError: an id or a name is none of the files' classes.
        """
        result = np.full(len(category), -1, np.int64)
        named = category if category.dtype.kind != "f" else category[~np.isnan(category)]
        for value in np.unique(named):
            rows = category == value
            name = self._name_of(value, int(np.count_nonzero(rows)), path)
            if name in self.classes:
                result[rows] = self.classes.index(name)
        return result

    def _name_of(self, value: object, count: int, path: str) -> str | None:
        if isinstance(value, str):
            if self._names is None:
                return self._map.get(str(value), str(value))
            if value in self._names.values():
                key = next(key for key, name in self._names.items() if name == value)
                return self._kept[key]
        elif value in self._kept:
            return self._kept[value]  # a number equal to an integer finds it
        expected = ", ".join(f"{key} {name or '(not kept)'}" for key, name in sorted(self._kept.items()))
        advice = "" if self._names is not None else "; names=[…] in the label rules says what the files' ids mean"
        raise LabelError(
            f"{path}: class id {value} in {count} boxes is beyond the class list; expected one of "
            f"{expected or 'none'}{advice}"
        )

    def _renamed(self, key: int, name: str) -> str | None:
        return self._map[key] if key in self._map else self._map.get(name, name)

    def _check_map(self, names: Mapping[int, str]) -> None:
        unknown = [str(key) for key in self._map if key not in names and key not in names.values()]
        if unknown:
            raise ConfigError(
                f"class_map: found {', '.join(unknown)}; expected ids or names of the files' classes ("
                f"{', '.join(f'{key} {name}' for key, name in names.items())})"
            )

    def _check_classes(self) -> None:
        if self._names is None and not any(isinstance(key, int) for key in self._map):
            return
        unknown = [name for name in self.classes if name not in self.known]
        if unknown:
            raise ConfigError(
                f"classes: found {', '.join(unknown)}; expected names of the files' classes ({', '.join(self.known)})"
            )


def names_by_id(names: Sequence[str] | Mapping[int, str] | None) -> dict[int, str] | None:
    """Class names by their ids in the files."""
    if names is None:
        return None
    return dict(names) if isinstance(names, Mapping) else dict(enumerate(names))


def selected(boxes: Boxes, known: Sequence[str], classes: Sequence[str]) -> Boxes:
    """Those boxes, of classes ``known``, that a class list selects by name, with their places in it."""
    if tuple(known) == tuple(classes):
        return boxes
    place = np.array([classes.index(name) if name in classes else -1 for name in known], np.int64)
    class_id = place[boxes.class_id]
    kept = boxes[class_id >= 0]
    return Boxes(kept.t, kept.xyxy, class_id[class_id >= 0], kept.track_id, kept.confidence)
