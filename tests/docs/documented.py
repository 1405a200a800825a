"""The commands that README and the pages of ``docs/`` tell their readers to run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
GENERATED = ("findings", "reference", "python")  # folders of docs/ that the site's build writes
_BLOCK = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`(python -m spikeyolo\.[^`]+)`")


@dataclass(frozen=True)
class Command:
    """One command of a page: the words that a shell makes of it."""

    page: str
    words: tuple[str, ...]

    @property
    def module(self) -> str | None:
        """``train`` of ``python -m spikeyolo.train``; None of another command."""
        for flag, name in zip(self.words, self.words[1:]):
            if flag == "-m" and name.startswith("spikeyolo."):
                return name.removeprefix("spikeyolo.")
        return None

    @property
    def arguments(self) -> list[str]:
        """What follows the module."""
        return list(self.words[self.words.index(f"spikeyolo.{self.module}") + 1 :])

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def pages() -> list[Path]:
    """README, what contributors read, the studies, and every page that is written by hand."""
    written = [path for path in (REPOSITORY / "docs").rglob("*.md") if path.parent.name not in GENERATED]
    written = [path for path in written if not set(path.relative_to(REPOSITORY / "docs").parts[:-1]) & set(GENERATED)]
    studies = (REPOSITORY / "experiments").rglob("README.md")
    return [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted(written), *sorted(studies)]


def shell_blocks(text: str) -> list[str]:
    """The fenced blocks of a page that are for a shell."""
    return _BLOCK.findall(text)


def commands(path: Path) -> list[Command]:
    """All commands of a page, those within its text too."""
    text = path.read_text()
    page = path.relative_to(REPOSITORY).as_posix()
    found = [words for block in shell_blocks(text) for words in split(block)]
    found += [words for span in _SPAN.findall(_BLOCK.sub("", text)) for words in split(" ".join(span.split()))]
    return [Command(page, tuple(words)) for words in found]


def split(block: str) -> Iterator[list[str]]:
    """The words of each command of a block, as a shell reads them: comments, ``\\`` at a line's end, ``&&``, ``|``."""
    for line in block.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if set(word) <= set("&|;"):
                if words:
                    yield words
                words = []
            else:
                words.append(word)
        if words:
            yield words
