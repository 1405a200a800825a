"""The reference tells of every key that a configuration has, with the default that it has there, and what it means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

pytest.importorskip("generator", reason="docs/ is not part of this distribution")
from generator import reference

from spikeyolo.__main__ import COMMANDS

OPTIONS = [(group, path.stem) for group, paths in reference.groups().items() for path in paths]
CHOICES = [(group, option) for group, option in OPTIONS if group not in reference.RECIPES]
ELSEWHERE = ("protocol", "tracker")  # not of training
FILES = [
    *reference.commands(),
    *(reference.CONF / f"{stem}.yaml" for stem in reference.SHARED),
    *(path for group, paths in reference.groups().items() if group not in reference.RECIPES for path in paths),
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    reference.write(folder)
    return folder


def rounds(command: str) -> list[tuple[str, dict[str, str]]]:
    """Choices of a command that together take every option of every group, one of each group at a time (so that a data
    set meets another's encoder: ``downsample``, which data sets set, is not compared)."""
    groups: dict[str, list[str]] = {}
    for group, option in CHOICES:
        if (group in ELSEWHERE) == (command == "evaluate"):
            groups.setdefault(group, []).append(option)
    return [
        (command, {group: options[number % len(options)] for group, options in groups.items()})
        for number in range(max(map(len, groups.values())))
    ]


def composed(command: str, choices: dict[str, str]) -> dict[str, Any]:
    """Every key with its value, as ``--cfg job`` prints them: references to other keys as they are."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(reference.CONF), version_base="1.3"):
        tree = OmegaConf.to_container(
            compose(command, [f"{group}={name}" for group, name in choices.items()]), resolve=False
        )
    assert isinstance(tree, dict)
    return {key: value for key, value in flattened(tree).items() if "._" not in key}


def flattened(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def defaults(page: str, option: str) -> dict[str, Any]:
    """Key → default of one option, as the tables of a group's page show them."""
    found: dict[str, Any] = {}
    families = re.split(r"(?m)^## ", page)[1:]
    for family in families:
        names = family.partition("\n")[0].split(", ")
        if " " not in family.partition("\n")[0] and option not in names:
            continue
        if not names[0].startswith(("What", "Filters")) and option not in names:
            continue
        for key, cell in re.findall(r"(?m)^\| `([\w.]+)` \| (.*?) \| ", family):
            shown = (
                dict(re.findall(r"(\w+) (`[^`]*`|must be given|as `[^`]*`)(?:<br>|$)", cell)) if "<br>" in cell else {}
            )
            if "<br>" in cell and option not in shown:
                continue
            text = shown.get(option, cell)
            found[key] = "???" if "must be given" in text else yaml.safe_load(re.sub(r"^(as )?`(.*)`$", r"\2", text))
    return found


@pytest.mark.parametrize(("command", "choices"), [*rounds("train"), *rounds("evaluate")])
def test_every_key_of_every_option_stands_in_the_reference_with_its_default(
    command: str, choices: dict[str, str], pages: Path
) -> None:
    values = composed(command, choices)
    for group, option in choices.items():
        shown = defaults((pages / "groups" / f"{group.replace('/', '-')}.md").read_text(), option)
        where = group.replace("/", ".")
        inner = tuple(f"{other.replace('/', '.')}." for other in choices if other.startswith(f"{group}/"))
        for key, value in values.items():
            if not key.startswith(f"{where}.") or key.startswith(inner) or key == "data.encoder.downsample":
                continue
            whole = [name for name in shown if key.startswith(f"{name}.") and isinstance(shown[name], dict)]
            if isinstance(value, str) and re.fullmatch(r"\$\{[\w.]+\}", value):
                assert shown.get(key, value[2:-1]) == value[2:-1]  # passes another key on
            elif whole:
                assert shown[whole[0]][key.rpartition(".")[2]] == value
            else:
                assert shown[key] == value, key


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(reference.CONF).as_posix())
def test_every_key_has_a_type_and_a_meaning(path: Path) -> None:
    for row in reference.rows(path):
        assert row.meaning, f"{path}: {row.key} needs a comment beside it, or an entry in its class's docstring"
        assert row.kind, f"{path}: {row.key} needs a type in its class's signature"


def test_every_group_and_every_option_says_what_it_is(pages: Path) -> None:
    assert set(reference.groups()) == {*reference.ABOUT, *reference.RECIPES}
    for path in pages.rglob("*.md"):
        assert not re.search(r"(?m)^\| `\w+` \|  \|$", path.read_text()), (
            f"{path.name}: an option without a comment on top"
        )


def test_every_command_has_a_page(pages: Path) -> None:
    found = {path.stem for path in (pages / "commands").glob("*.md")}
    assert found == set(COMMANDS)
    assert all(f"commands/{name}\n" in (pages / "index.md").read_text() for name in found)
    assert "--tracking-uri" in (pages / "commands" / "upload.md").read_text()


def test_every_key_of_every_command_stands_in_the_reference(pages: Path) -> None:
    for path in reference.commands():
        page = (pages / "commands" / f"{path.stem}.md").read_text()
        keys = set(yaml.safe_load(path.read_text())) - {"defaults", "hydra"}
        assert keys <= set(re.findall(r"(?m)^\| `(\w+)` \|", page)), path.stem


def test_the_sweepers_page_tells_of_every_key_and_every_sampler(pages: Path) -> None:
    from hydra_plugins.spikeyolo_sweeper._arguments import ARGUMENTS
    from hydra_plugins.spikeyolo_sweeper._configuration import OptunaSweeperConf

    page = (pages / "sweeper.md").read_text()
    shown = set(re.findall(r"(?m)^\| `(\w+)` \|", page))
    assert {name for name in OptunaSweeperConf.__dataclass_fields__ if not name.startswith("_")} - {"defaults"} <= shown
    assert {name for options in ARGUMENTS.values() for name in options} <= shown


@pytest.mark.parametrize("option", [option for group, option in OPTIONS if group == "model"])
def test_a_size_of_the_network_has_as_many_parameters_as_its_comment_says(option: str) -> None:
    import torch

    from spikeyolo import schema

    said = re.match(
        r"([\d.]+) million parameters", reference.read_option(reference.CONF / "model" / f"{option}.yaml").about
    )
    assert said is not None
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(reference.CONF), version_base="1.3"), torch.device("meta"):
        detector = schema.build(compose("train", [f"model={option}"]).model, num_classes=2, in_channels=2)
    assert f"{sum(weight.numel() for weight in detector.parameters()) / 1e6:.2f}" == said[1]
