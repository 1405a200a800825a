"""What a YAML file of the configuration says: its keys, their defaults, and the comments that tell what they mean."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

_HIDDEN = {"defaults", "hydra", "_partial_"}
_COMMENT = re.compile(r"\s*,?\s*#\s*(.*)")


@dataclass(frozen=True)
class Value:
    """One key of a file.

    Attributes:
        key: dotted, from the file's top.
        default: as the file has it.
        meaning: the comment beside it, or else the one above; empty without any.
    """

    key: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Option:
    """One file: an option of a group, or an entry point's configuration.

    Attributes:
        name: the file's, without its ending.
        about: the comment at its top.
        begins: what its defaults list takes: ``(what, where)``, such as ``("/event_data", "")``, ``("none", "")`` or
            ``("/event_filters", "filters")``; with the comment beside it.
        values: its own keys.
        targets: node → the class that is built of it.
    """

    name: str
    about: str
    begins: tuple[tuple[str, str, str], ...]
    values: tuple[Value, ...]
    targets: Mapping[str, str] = field(default_factory=dict)


@functools.cache
def read_option(path: Path) -> Option:
    """Read one file, alone."""
    text = path.read_text()
    lines = text.splitlines()
    top = yaml.compose(text)
    about = []
    for line in lines:
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            about.append(line.lstrip("# "))
    option = Option(path.stem, " ".join(about), (), ())
    if not isinstance(top, yaml.MappingNode):
        return option
    begins, targets = tuple(_begins(top, lines)), dict(_targets(top))
    return replace(option, begins=begins, values=tuple(_values(top, lines, "")), targets=targets)


def _begins(top: yaml.MappingNode, lines: list[str]) -> Iterator[tuple[str, str, str]]:
    for key, node in top.value:
        for item in node.value if key.value == "defaults" else ():
            if isinstance(item, yaml.MappingNode):
                ((name, choice),) = item.value
                group, _, where = name.value.removeprefix("optional ").partition("@")
                if not group.startswith("override "):
                    yield f"{group}={choice.value}", where, _beside(choice, lines)
            elif item.value != "_self_":
                what, _, where = item.value.partition("@")
                yield what, "" if where == "_here_" else where, _beside(item, lines)


def _targets(node: yaml.MappingNode, path: str = "") -> Iterator[tuple[str, str]]:
    for key, child in node.value:
        if key.value == "_target_":
            yield path, child.value
        elif isinstance(child, yaml.MappingNode) and key.value not in _HIDDEN:
            yield from _targets(child, f"{path}.{key.value}".lstrip("."))


def _values(node: yaml.MappingNode, lines: list[str], path: str) -> Iterator[Value]:
    for key, child in node.value:
        if key.value in _HIDDEN or key.value == "_target_":
            continue
        name = f"{path}.{key.value}".lstrip(".")
        block = isinstance(child, yaml.CollectionNode) and not child.flow_style
        beside = _COMMENT.fullmatch(lines[key.end_mark.line][key.end_mark.column + 1 :]) if block else None
        meaning = (beside[1] if beside else "") if block else _beside(child, lines)
        yield Value(name, _text(child, lines), meaning or _above(key, lines))
        if block and isinstance(child, yaml.MappingNode):
            yield from _values(child, lines, name)


def _beside(node: yaml.Node, lines: list[str]) -> str:
    match = (
        _COMMENT.fullmatch(lines[node.end_mark.line][node.end_mark.column :])
        if node.end_mark.line < len(lines)
        else None
    )
    return match[1] if match else ""


def _above(key: yaml.Node, lines: list[str]) -> str:
    """Comment lines on top of a key, as far in as it is, below another key."""
    margin = " " * key.start_mark.column + "#"
    found: list[str] = []
    number = key.start_mark.line - 1
    while number > 0 and lines[number].startswith(margin):
        found.insert(0, lines[number].strip("# "))
        number -= 1
    return " ".join(found) if number > 0 else ""


def _text(node: yaml.Node, lines: list[str]) -> str:
    if isinstance(node, yaml.ScalarNode):
        return lines[node.start_mark.line][node.start_mark.column : node.end_mark.column] if node.value else "null"
    loaded = yaml.SafeLoader("").construct_document(node)
    return yaml.safe_dump(loaded, default_flow_style=True, width=10_000, sort_keys=False).strip()
