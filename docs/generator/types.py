"""The types and ranges of a class's parameters in words, and what its docstring says of each."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import pkgutil
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from annotated_types import Ge, Gt, Interval, Le, Len, Lt, MinLen

_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "null"}
_ENTRY = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)")


@functools.cache
def kinds(target: str) -> Mapping[str, str]:
    """Parameter → its type and range in words.

    Args:
        target: dotted name of a class or function, as after ``_target_``.
    """
    factory = pkgutil.resolve_name(target)
    function = factory if dataclasses.is_dataclass(factory) or not inspect.isclass(factory) else factory.__init__
    try:
        return {name: in_words(hint) for name, hint in typing.get_type_hints(function, include_extras=True).items()}
    except NameError:  # a type that only the type checker imports
        return {}


@functools.cache
def meanings(target: str) -> Mapping[str, str]:
    """Parameter → what the docstring of a class, or of one it derives from, says of it."""
    factory = pkgutil.resolve_name(target)
    found: dict[str, str] = {}
    for owner in reversed(inspect.getmro(factory)) if inspect.isclass(factory) else (factory,):
        name = ""
        section = False
        for line in inspect.cleandoc(vars(owner).get("__doc__") or "").splitlines():
            if not line.startswith(" "):
                section = line in ("Args:", "Attributes:") or (section and not line)
                continue
            entry = _ENTRY.fullmatch(line.strip()) if re.match(r" {4}\S", line) else None
            if section and entry:
                name = entry[1]
                found |= dict.fromkeys(name.split(", "), entry[2])
            elif section and name:
                found |= {each: f"{found[each]} {line.strip()}" for each in name.split(", ")}
    return found


def in_words(hint: Any) -> str:
    """A type as a reader of the configuration calls it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _WORDS:
        return _WORDS[hint]
    if origin is typing.Annotated:
        return " ".join(filter(None, (in_words(arguments[0]), *map(_range, arguments[1:]))))
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(filter(None, map(in_words, arguments))))
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return f"mapping of {in_words(arguments[0])} to {in_words(arguments[1])}"
    if origin is not None and arguments and origin.__name__ in ("list", "Sequence", "tuple", "set", "Iterable"):
        items = (in_words(item) for item in arguments if item is not Ellipsis)
        return "list of " + " and ".join(dict.fromkeys(filter(None, items)))
    if getattr(hint, "__supertype__", None) is not None:
        return in_words(hint.__supertype__)
    name = getattr(hint, "__name__", "")
    return {"Path": "path", "Any": "anything"}.get(name, f"`{name}`" if name else "")


def _range(bound: Any) -> str:
    """A range as intervals are written."""
    if isinstance(bound, Len | MinLen):
        longest = getattr(bound, "max_length", None)
        return f"({bound.min_length} of them)" if longest == bound.min_length else f"(at least {bound.min_length})"
    low, high, open_low, open_high = None, None, False, False
    if isinstance(bound, Interval | Ge | Gt):
        above = getattr(bound, "gt", None)
        low, open_low = (above, True) if above is not None else (getattr(bound, "ge", None), False)
    if isinstance(bound, Interval | Le | Lt):
        below = getattr(bound, "lt", None)
        high, open_high = (below, True) if below is not None else (getattr(bound, "le", None), False)
    if low is None and high is None:
        return ""
    if high is None:
        return f"{'>' if open_low else '≥'} {low:,}"
    if low is None:
        return f"{'<' if open_high else '≤'} {high:,}"
    return f"{low} {'<' if open_low else '≤'} … {'<' if open_high else '≤'} {high if high < 1e9 else f'{high:.0e}'}"
