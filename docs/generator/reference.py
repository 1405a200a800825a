"""The reference: a page for each group of the configuration and for each command, out of YAML files and signatures."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from . import arguments, types
from .files import write_page
from .options import Option, Value, read_option

REPOSITORY = Path(__file__).resolve().parents[2]
CONF = REPOSITORY / "conf"
SWEEPER = REPOSITORY / "hydra_plugins" / "spikeyolo_sweeper" / "_configuration.py"
ABOUT = {
    "augment": "what happens to training windows",
    "data": "recordings, classes, windows, batches",
    "data/encoder": "events into frames",
    "energy": "what an operation costs",
    "evaluator": "how validation scores",
    "inference": "what runs the trained network when its latency is measured",
    "logger": "where numbers go",
    "loss": "what is minimised",
    "model": "the size of the network",
    "model/neuron": "its neurons; `relu` is the ANN twin",
    "optimizer": "how it is minimised; any class of `torch.optim` too, with a file of two lines",
    "protocol": "which boxes and times count when a table is scored",
    "scheduler": "learning rates over the training",
    "tracker": "which detections are of one object",
    "trainer": "epochs or minutes, device, precision, resume, how many best epochs are kept",
}
RECIPES = {
    "experiment": "Whole recipes, each taken with `+experiment=NAME`; what it sets can be overridden further.",
    "pruning": "Channels that training takes out, with `+pruning=NAME`; its keys are `trainer.callbacks.channels.…`.",
    "search": "Search spaces, each taken with `-m +search=NAME`; their keys are those of [the sweeper](../sweeper.md).",
}
SHARED = {
    "event_data": "What all data sets take",
    "recorded_data": "What data sets of recorded files take",
    "event_filters": "Filters of events",
}
# Whose parameters the keys on top of a data set's file are, where the file itself does not say it.
TAKERS = ("spikeyolo.events.datasets.RecordingFolders", "spikeyolo.events.labels.LabelRules")


@dataclass(frozen=True)
class Row:
    """One key as the reference shows it: ``defaults`` by option, where a table shows several."""

    key: str
    defaults: Mapping[str, str]
    kind: str
    meaning: str


def groups() -> dict[str, list[Path]]:
    """Group → its options' files."""
    found: dict[str, list[Path]] = {}
    for path in sorted(CONF.rglob("*.yaml")):
        if path.parent != CONF:
            found.setdefault(path.parent.relative_to(CONF).as_posix(), []).append(path)
    return found


def commands() -> list[Path]:
    """The files of the entry points."""
    return sorted(path for path in CONF.glob("*.yaml") if path.stem not in SHARED)


@functools.cache
def rows(path: Path) -> list[Row]:
    """The keys that a file sets, each with its type and its meaning: from the comment beside it, from that of the file
    it begins with, or from the docstring of the class that takes it."""
    option = read_option(path)
    comments: dict[str, str] = {}
    targets: dict[str, str] = {}
    for node, begun in _chain(path):
        comments |= {_joined(node, value.key): value.meaning for value in begun.values if value.meaning}
        targets |= {_joined(node, inner): target for inner, target in begun.targets.items()}
    hints = _checked_options(path)
    found = []
    for value in _shown(option, targets):
        node, _, name = value.key.rpartition(".")
        # A key on top that its class does not take is there for others in the file to refer to.
        takers = ([targets[node]] if node in targets else []) + ([] if node else [*targets.values(), *TAKERS])
        kind = hints.get(value.key) or next(
            (types.kinds(taker)[name] for taker in takers if name in types.kinds(taker)), ""
        )
        said = next((types.meanings(taker)[name] for taker in takers if name in types.meanings(taker)), "")
        if value.key in targets:
            kind = kind or "keys below"
        found.append(Row(value.key, {option.name: value.default}, kind, comments.get(value.key) or said))
    return found


def _chain(path: Path) -> Iterator[tuple[str, Option]]:
    """What a file begins with, each with the node where it goes, and the file itself as the last."""
    option = read_option(path)
    for what, where, _ in option.begins:
        group, _, choice = what.partition("=")
        if choice and path.parent == CONF and path.stem not in SHARED:
            continue  # a command's groups have pages of their own
        folder = CONF if group.startswith("/") else path.parent
        file = folder / group.lstrip("/") / f"{choice}.yaml" if choice else folder / f"{group.lstrip('/')}.yaml"
        if file.is_file():
            for node, begun in _chain(file):
                yield _joined(where or (group if choice else ""), node), begun
    yield "", option


def _joined(node: str, key: str) -> str:
    return f"{node}.{key}".strip(".")


def _shown(option: Option, targets: Mapping[str, str]) -> Iterator[Value]:
    """Keys that a reader may want to change: not those that pass another key on, nor what a mapping is made of."""
    for value in option.values:
        node = value.key.rpartition(".")[0]
        passed_on = re.fullmatch(r"\$\{[\w.]+\}", value.default) and not value.meaning
        if passed_on or (node and node not in targets):
            continue
        if value.key in targets:
            value = replace(value, default=targets[value.key].rpartition(".")[2])
            if not value.meaning:
                continue  # its keys say it
        elif value.default.startswith("{") and any(each.startswith(value.key) for each in (*targets, "dataset")):
            continue
        yield value


def _checked_options(path: Path) -> Mapping[str, str]:
    """Of an entry point: the types of its keys."""
    if path.parent != CONF or path.stem in SHARED:
        return {}
    from importlib import import_module

    from spikeyolo import schema

    hints = getattr(import_module(f"spikeyolo.{path.stem}"), "OPTIONS", schema._TOP_LEVEL)
    return {key: types.in_words(hint) for key, hint in hints.items()}


def write(folder: Path) -> None:
    """Write every page of the reference."""
    pages = {"index": _index(), "sweeper": _sweeper()}
    pages |= {f"commands/{path.stem}": _command(path) for path in commands()}
    pages |= {f"commands/{name}": text for name, text in arguments.pages().items()}
    pages |= {f"groups/{name.replace('/', '-')}": _group(name, files) for name, files in groups().items()}
    for name, text in pages.items():
        write_page(folder / f"{name}.md", text)
    for left in set(folder.rglob("*.md")) - {folder / f"{name}.md" for name in pages}:
        left.unlink()


def _index() -> str:
    named = sorted([*(path.stem for path in commands()), *arguments.PARSERS])
    listed = "\n".join(f"commands/{name}" for name in named)
    grouped = "\n".join(f"groups/{name.replace('/', '-')}" for name in groups())
    return f"""# Reference

Each page is made of the configuration's files and the signatures of the classes that they build, when the site is
built. `python -m spikeyolo.COMMAND --cfg job` prints what a command would run with, `--help` its choices.

Exit codes of all commands: 0 done; 2 one sentence says what is wrong and where (`debug=true` adds the trace); 1 a fault
of the program; 130 Ctrl-C; 143 SIGTERM, what was done is saved.

```{{toctree}}
:caption: Commands
:maxdepth: 1

{listed}
```

```{{toctree}}
:caption: Groups
:maxdepth: 1

{grouped}
sweeper
```
"""


def _command(path: Path) -> str:
    option = read_option(path)
    header = yaml.safe_load(path.read_text())["hydra"]["help"]["header"].strip()
    about, _, examples = header.partition("\n")
    examples = re.sub(r"(?m)^ +", "", examples).strip()
    text = f"# {path.stem}\n\n{_sentence(about.removeprefix('spikeyolo: '))} {_sentence(option.about)}\n\n"
    text += f"```sh\n{examples}\n```\n"
    chosen = []
    for what, _, comment in option.begins:
        group, _, choice = what.partition("=")
        if choice:
            page = f"../groups/{group.replace('/', '-')}.md"
            chosen.append([f"[`{group}`]({page})", f"`{choice}`", _escaped(comment or ABOUT.get(group, ""))])
    if chosen:
        text += "\n## Groups\n\n" + _table(["group", "default", "what it decides"], chosen)
    text += f"\n## Keys\n\n{_keys(rows(path), [path.stem])}"
    for what, where, _ in option.begins:
        if "=" not in what and where:
            shared = CONF / f"{what.lstrip('/')}.yaml"
            text += f"\n### {where}\n\n{_sentence(read_option(shared).about)}\n\n"
            text += _keys([replace(row, key=f"{where}.{row.key}") for row in rows(shared)], [shared.stem])
    return text


def _group(name: str, files: Sequence[Path]) -> str:
    options = [read_option(path) for path in files]
    if name in RECIPES:
        text = f"# {name}\n\n{RECIPES[name]}\n"
        for path, option in zip(files, options, strict=True):
            text += f"\n## {option.name}\n\n{_sentence(option.about)}\n\n```yaml\n{path.read_text().strip()}\n```\n"
        return text
    text = f"# {name}\n\n{_sentence(ABOUT.get(name, ''))} One is chosen with `{name}=NAME`, its values with "
    text += f"`{name.replace('/', '.')}.KEY=VALUE`.\n\n"
    text += _table(["option", "what it is"], [[f"`{option.name}`", _escaped(option.about)] for option in options])
    if name == "data":
        for stem, title in SHARED.items():
            prefix = "filters." if stem == "event_filters" else ""
            text += f"\n## {title}\n\n{_sentence(read_option(CONF / f'{stem}.yaml').about)}\n\n"
            shared = [replace(row, key=f"data.{prefix}{row.key}") for row in rows(CONF / f"{stem}.yaml")]
            text += _keys(shared, [stem])
    for names, table in _alike(files):
        if table:
            keys = [replace(row, key=f"{name.replace('/', '.')}.{row.key}") for row in table]
            text += f"\n## {', '.join(names)}\n\n{_keys(keys, names)}"
    return text


def _alike(files: Sequence[Path]) -> Iterator[tuple[list[str], list[Row]]]:
    """Options that build the same class have one table, which tells where their defaults differ."""
    families: dict[str, list[Path]] = {}
    for path in files:
        own = [option for node, option in _chain(path) if node == "" and option.name not in SHARED]
        nodes = [target for option in own for node, target in option.targets.items() if node in ("", "dataset")]
        families.setdefault(nodes[-1] if nodes else path.stem, []).append(path)
    for family in families.values():
        merged: dict[str, Row] = {}
        for path in family:
            own = {
                row.key: row.defaults[option.name]
                for _, option in _chain(path)
                if option.name not in SHARED and (path.parent / f"{option.name}.yaml").is_file()
                for row in rows(path.parent / f"{option.name}.yaml")
            }
            for row in [row for _, option in _chain(path) for row in _rows_of(path, option)]:
                former = merged.get(row.key, replace(row, defaults={}))
                merged[row.key] = replace(former, defaults={**former.defaults, path.stem: own[row.key]})
        yield [path.stem for path in family], list(merged.values())


def _rows_of(path: Path, option: Option) -> list[Row]:
    file = path.parent / f"{option.name}.yaml"
    return rows(file) if option.name not in SHARED and file.is_file() else []


def _keys(table: Sequence[Row], names: Sequence[str]) -> str:
    lines = []
    for row in table:
        values = set(row.defaults.values())
        if len(values) == 1 and len(row.defaults) == len(names):
            default = _code(values.pop())
        else:
            default = "<br>".join(f"{name} {_code(value)}" for name, value in row.defaults.items())
        lines.append([f"`{row.key}`", default, row.kind, _escaped(row.meaning)])
    return _table(["key", "default", "type", "meaning"], lines)


def _code(default: str) -> str:
    if default == "???":
        return "must be given"
    same = re.fullmatch(r"\$\{([\w.]+)\}", default)
    return f"as `{same[1]}`" if same else f"`{default}`"


def _escaped(text: str) -> str:
    """Plain text of a comment or docstring as Markdown within a table."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text).replace("``", "`")
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_<\[\]~])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def _sentence(text: str) -> str:
    text = text.strip()
    return text and text[0].upper() + text[1:] + ("" if text[-1] in ".:!?" else ".")


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    cells = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells) + "\n"


def _sweeper() -> str:
    """The keys of ``hydra/sweeper=optuna`` with the comments above them."""
    source = SWEEPER.read_text()
    lines = source.splitlines()
    (keys,) = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    found = []
    for node in keys.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not node.target.id.startswith("_"):
            above = node.lineno - 2
            while lines[above].lstrip().startswith("#"):
                above -= 1
            said = " ".join(line.strip("# ") for line in lines[above + 1 : node.lineno - 1])
            default = ast.unparse(node.value) if node.value else "None"
            if said:
                shown = {"MISSING": "tpe" if node.target.id == "sampler" else "none", "None": "null"}.get(
                    default, default
                )
                shown = {"True": "true", "False": "false"}.get(shown, shown.strip("'"))
                found.append([f"`{node.target.id}`", f"`{shown}`", _escaped(said)])
    from hydra_plugins.spikeyolo_sweeper._arguments import ARGUMENTS

    text = f"""# hydra/sweeper

`hydra/sweeper=optuna` searches with Optuna, as [search spaces](groups/search.md) choose it; its keys are
`hydra.sweeper.KEY=VALUE`.

{_table(["key", "default", "meaning"], found)}"""
    for group, options in ARGUMENTS.items():
        lines = []
        for name, node in options.items():
            keys = ", ".join(f"`{key}`" for key in node if key != "_target_")
            lines.append([f"`{name}`", f"`{node['_target_']}`" if node["_target_"] else "nothing", keys])
        text += f"\n## {group}\n\n`hydra/sweeper/{group}=NAME`, with the arguments of Optuna's class: "
        text += f"`hydra.sweeper.{group}.KEY=VALUE`.\n\n{_table(['option', 'class', 'keys'], lines)}"
    return text
