"""Objects that a configuration names by ``_target_``: found by their dotted path and built, nested ones first."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from spikeyolo.errors import SweepError

__all__ = ["build", "is_target", "locate"]

RESERVED = ("_target_", "_args_", "_partial_", "_convert_", "_recursive_")


def locate(path: str, role: str) -> Any:
    """The object at a dotted path, as ``hydra.utils.get_object`` finds it (a file's name may hold a hyphen).

    Raises:
        SweepError: there is none; names ``role``.
    """
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            # Of a module that is there, one that it imports may be missing.
            if error.name is None or (module != error.name and not module.startswith(f"{error.name}.")) or end == 1:
                raise SweepError(f"{role}: {path} is not there: {error}") from error
            continue
        except (ImportError, ValueError) as error:
            raise SweepError(f"{role}: {path} is not there: {error}") from error
        try:
            for name in parts[end:]:
                found = getattr(found, name)
        except AttributeError as error:
            raise SweepError(f"{role}: {path} is not there: {error}") from error
        return found
    raise SweepError(f"{role}: {path!r} is no dotted path")


def is_target(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("_target_"), str)


def build(value: Any, role: str) -> Any:
    """Build what a configuration describes: mappings with ``_target_`` anywhere inside, all else as it is.

    Raises:
        SweepError: a target is not there or refuses its arguments.
    """
    if isinstance(value, Mapping):
        inner = {str(k): build(v, f"{role}.{k}") for k, v in value.items() if k not in RESERVED}
        if not is_target(value):
            return inner
        function = locate(str(value["_target_"]), role)
        try:
            return function(*build(list(value.get("_args_") or []), role), **inner)
        except (TypeError, ValueError, ImportError) as error:
            raise SweepError(f"{role}: {value['_target_']}: {str(error).splitlines()[0]}") from error
    if isinstance(value, list | tuple):
        return [build(item, role) for item in value]
    return value
