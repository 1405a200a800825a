"""Links of a page as the repository shows it, made to work on the site: to a study or the README, to files."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .findings import REPOSITORY, sources

_LINK = re.compile(r"(!?)\[([^\]\n]*)\]\((?!\w+:|#|/)([^)\s#]+)(#[^)\s]*)?\)")


def adapt(page: str, text: str, docs: Path) -> str:
    """The text of a page about to be read, with links as the site has them.

    Args:
        page: its name, such as ``guide/doctor``.
        text: in Markdown.
        docs: the site's folder.
    """
    origin = sources().get(page, docs / f"{page}.md")
    here = (docs / page).parent

    def adapted(match: re.Match[str]) -> str:
        target = _target(match[3], origin.parent, here, docs)
        return match[2] if target is None else f"{match[1]}[{match[2]}]({target}{match[4] or ''})"

    return _LINK.sub(adapted, text)


def _target(link: str, folder: Path, here: Path, docs: Path) -> str | None:
    """What a link of a file in ``folder`` is called by a page in ``here``; None where the site has no such thing."""
    meant = Path(os.path.normpath(folder / link))
    pages = {path: page for page, path in sources().items()} | {REPOSITORY / "README.md": "index"}
    if meant in (REPOSITORY / "experiments", REPOSITORY / "experiments" / "benchmarks"):
        meant = docs / "findings" / "index.md"
    elif meant.is_dir():
        if meant / "README.md" not in pages:
            return None
        meant = meant / "README.md"
    if meant in pages:
        meant = docs / f"{pages[meant]}.md"
    return Path(os.path.relpath(meant, here)).as_posix()
