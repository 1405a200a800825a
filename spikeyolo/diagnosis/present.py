"""A diagnosis as people read it: a list on the terminal, and a page with the pictures."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from spikeyolo.diagnosis.finding import Finding, Section
from spikeyolo.report.pages.page import embedded, write_html

_WIDE = ("label_boxes", "network_layers")  # pictures of whose details half a page leaves nothing


def words(sections: Sequence[Section], page: Path) -> str:
    """The findings as a list, the first one to be mended first, and what could not be told."""
    lines = []
    number = 0
    for section in sections:
        for finding in section.findings:
            number += 1
            lines.append(f"{number}. {finding.name} ({section.title})")
            lines.append(f"   {finding.sentence}")
            if finding.overrides:
                lines.append(f"   → {arguments(finding)}")
            if finding.remedy:
                lines.append(f"   → {finding.remedy}")
    for section in sections:
        lines += [f"not told, {section.title}: {sentence}" for sentence in section.unknown]
    lines.insert(0, f"{number} finding{'s' if number != 1 else ''}" if number else "nothing found")
    lines.append(f"page: {page}")
    return "\n".join(lines)


def arguments(finding: Finding) -> str:
    """The overrides of a finding as a shell takes them, and whose they are where they are not training's."""
    words = [word if re.fullmatch(r"[^\s'\"$&;|<>()*?\\]*", word) else shlex.quote(word) for word in finding.overrides]
    whose = "" if finding.entry == "train" else f"python -m spikeyolo.{finding.entry} … "
    return whose + " ".join(words)


def present(sections: Sequence[Section], folder: Path, *, subtitle: str, command: str) -> Path:
    """Draw every picture into ``folder`` and write ``doctor.html`` there.

    Args:
        subtitle: what was diagnosed.
        command: that does the same again.

    Raises:
        OSError: the folder cannot be written.
    """
    found = [(section, finding) for section in sections for finding in section.findings]
    figures = []
    for section in sections:
        for name, draw in section.pictures.items():
            path = draw(folder / f"{name}.png")
            figures.append({"name": name.replace("_", " "), "source": embedded(path), "wide": name in _WIDE})
    return write_html(
        folder / "doctor.html",
        "doctor.html",
        title="Diagnosis",
        subtitle=subtitle,
        headline=[
            ("finding" if len(found) == 1 else "findings", len(found)),
            ("seconds", round(sum(section.seconds for section in sections))),
        ],
        findings=[_shown(section, finding, folder) for section, finding in found],
        sections=[
            {
                "title": section.title,
                "facts": section.facts,
                "unknown": section.unknown,
                "seconds": f"{section.seconds:.1f}",
            }
            for section in sections
        ],
        figures=figures,
        command=command,
    )


def _shown(section: Section, finding: Finding, folder: Path) -> dict[str, object]:
    picture = None if finding.draw is None else embedded(finding.draw(folder / f"finding_{finding.name}.png"))
    return {
        "name": finding.name,
        "section": section.title,
        "sentence": finding.sentence,
        "remedy": finding.remedy,
        "overrides": arguments(finding),
        "evidence": finding.evidence,
        "picture": picture,
    }
