"""The reference of Python: a page for each package that names what it offers (``__all__``), out of docstrings."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path

from .files import write_page

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "spikeyolo"
INNER = ("demo", "engine", "report", "sweep")  # what commands are made of, and no program of one's own needs


def packages() -> dict[str, list[str]]:
    """Package → the names that it offers; read, not imported."""
    found = {}
    for file in sorted(PACKAGE.rglob("__init__.py")):
        parts = file.parent.relative_to(REPOSITORY).parts
        offered = re.search(r"^__all__ = (\[.*?\])", file.read_text(), re.DOTALL | re.MULTILINE)
        if len(parts) > 1 and parts[1] not in INNER and offered:
            found[".".join(parts)] = list(ast.literal_eval(offered[1]))
    return found


def write(folder: Path) -> None:
    """One page a package, and the list of them."""
    offers = packages()
    pages = {"spikeyolo": _page("spikeyolo", "", ["load", "read_events", "Predictor"])}
    for package, names in offers.items():
        inner = {name for other, inside in offers.items() if other.startswith(f"{package}.") for name in inside}
        twice = ", ".join(name for name in names if name in inner)  # described in the inner package
        pages[package] = _page(package, "   :members:\n" + (f"   :exclude-members: {twice}\n" if twice else ""))
    listed = "\n".join(pages)
    pages["index"] = f"# Python\n\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    for name, text in pages.items():
        write_page(folder / f"{name}.md", text)
    for left in set(folder.rglob("*.md")) - {folder / f"{name}.md" for name in pages}:
        left.unlink()


def _page(package: str, options: str, own: Sequence[str] = ()) -> str:
    text = f"# {package}\n\n```{{eval-rst}}\n.. automodule:: {package}\n{options}"
    for name in own:
        kind, members = ("class", "   :members:\n") if name[0].isupper() else ("function", "")
        text += f"\n.. auto{kind}:: spikeyolo.predictor.{name}\n{members}"
    return text + "```\n"
