"""Each README of ``experiments/`` as a page of the site, word for word."""

from __future__ import annotations

from pathlib import Path

from .files import write_page

REPOSITORY = Path(__file__).resolve().parents[2]
CHANGES = {"contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md", "measured": "README.md"}


def sources() -> dict[str, Path]:
    """Page → the file that it shows."""
    studies = sorted((REPOSITORY / "experiments").rglob("README.md"))
    return {
        **{f"findings/{path.parent.relative_to(REPOSITORY / 'experiments').as_posix()}": path for path in studies},
        **{f"findings/{name}": REPOSITORY / file for name, file in CHANGES.items()},
    }


def write(folder: Path) -> None:
    """One page a study, and the list of them."""
    pages = sources()
    for page, path in pages.items():
        text = path.read_text()
        if page == "findings/measured":
            text = "# Measured" + text.partition("\n## Measured")[2].partition("\n## ")[0]
        write_page(folder.parent / f"{page}.md", text)
    studies = [page.removeprefix("findings/") for page in pages if page.removeprefix("findings/") not in CHANGES]
    lists = [
        ("Studies", [name for name in studies if not name.startswith("benchmarks/")]),
        ("Benchmarks", [name for name in studies if name.startswith("benchmarks/")]),
    ]
    text = "# Findings\n\nWhat was found out, each with the command that found it, as `experiments/` holds it.\n"
    for caption, names in lists:
        text += f"\n```{{toctree}}\n:caption: {caption}\n:maxdepth: 1\n\n" + "\n".join(names) + "\n```\n"
    write_page(folder / "index.md", text)
    expected = {folder.parent / f"{page}.md" for page in pages} | {folder / "index.md"}
    for left in set(folder.rglob("*.md")) - expected:
        left.unlink()
