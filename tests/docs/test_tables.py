"""What the pages list is all that there is: rooms of the package, options of a training, and sizes of the network that
chips are held against."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from documented import REPOSITORY
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from spikeyolo.entry import config_directory
from spikeyolo.model.blocks import SpikingConv
from spikeyolo.train import GROUPS

if not (REPOSITORY / "docs").is_dir():
    pytest.skip("docs/ is not part of this distribution", allow_module_level=True)

PACKAGE = REPOSITORY / "spikeyolo"


def rooms(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob("*/__init__.py")}


def rows_of_rooms() -> dict[str, str]:
    """README's tree: each folder of the package that has a row, and what the row says."""
    tree = (REPOSITORY / "README.md").read_text().partition("## Where is what")[2].partition("\n## ")[0]
    inside = tree.partition("\nspikeyolo/\n")[2].partition("\ndocs/")[0]
    joined = re.sub(r"\n {4,}", " ", f"\n{inside}")
    return dict(re.findall(r"(?m)^  (\w+)/ +(.*)$", joined))


def test_readme_says_of_every_room_of_the_package_where_it_is() -> None:
    rows = rows_of_rooms()
    named = {name for text in rows.values() for name in re.findall(r"(\w+)/", text)}
    assert len(rows) > 10
    assert rooms(PACKAGE) <= set(rows) | named
    for name, text in rows.items():
        missing = rooms(PACKAGE / name) - set(re.findall(r"(\w+)/", text))
        assert not missing, f"{name}/: README does not say where {', '.join(sorted(missing))} is"
    assert set(rows) <= rooms(PACKAGE)
    assert named <= {path.parent.name for path in PACKAGE.rglob("__init__.py")}, "README names rooms that are not there"


@pytest.mark.parametrize("group", [*GROUPS, "data/encoder", "model/neuron"])
def test_the_table_of_trainings_options_has_every_option_of_a_group_and_no_other(group: str) -> None:
    page = (REPOSITORY / "docs" / "guide" / "train.md").read_text()
    row = re.search(rf"(?m)^\| `{group}` \|([^|]*)\|", page)
    assert row, f"{group}: the table has no row of it"
    options = {path.stem for path in (config_directory() / group).glob("*.yaml")}
    named = set(re.findall(r"`([^`]+)`", row[1])) - {"torch.optim"}  # any class of it, beside the options
    assert named == options


def test_the_sizes_that_the_page_of_chips_gives_are_those_of_the_smallest_network() -> None:
    with initialize_config_dir(str(config_directory() / "model"), version_base="1.3"):
        config = compose("femto")
    with torch.device("meta"):
        detector = instantiate(config, num_classes=2)
        first = detector.backbone.down1(torch.zeros(1, 1, 2, 96, 96))
    units = [unit for unit in detector.backbone.modules() if isinstance(unit, SpikingConv) and unit.neuron is not None]
    page = (REPOSITORY / "docs" / "guide" / "deploy.md").read_text()
    assert f"our smallest backbone has {len(units)}" in page
    assert f"the first map of `model=femto` on 96×96 px alone has {first[0, 0].numel():,}" in page
