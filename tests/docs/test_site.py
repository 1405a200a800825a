"""The documentation's site builds; a broken link, or a page that nothing leads to, fails the build."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import environment

DOCS = Path(__file__).resolve().parents[2] / "docs"


def built(source: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The command that CONTRIBUTING names, on a folder of pages."""
    pytest.importorskip("furo", reason="the site's packages are not installed (pip install '.[docs]')")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "--keep-going", "-c", str(DOCS), *options]
    return subprocess.run(
        [*command, "-d", str(out / "doctrees"), str(source), str(out / "site")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_site_builds_without_a_broken_link(tmp_path: Path) -> None:
    done = built(DOCS, tmp_path)
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*.html")}
    assert {f"guide/{path.stem}.html" for path in (DOCS / "guide").glob("*.md")} <= pages
    assert "findings/tracking.html" in pages


def test_what_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    faults = {
        "[there](nowhere.md)": "nowhere.md",
        "[there](#no-such-heading)": "no-such-heading",
        "[there](index.md#nor-such)": "nor-such",
        "![picture](none.png)": "none.png",
    }
    (source / "index.md").write_text("# Page\n\n[there](#page)\n")
    assert built(source, tmp_path, "-D", "generated_pages=0").returncode == 0
    (source / "index.md").write_text("\n\n".join(["# Page", *faults]))
    (source / "alone.md").write_text("# Nothing leads here\n")
    done = built(source, tmp_path, "-D", "generated_pages=0")
    assert done.returncode != 0
    for complaint in (*faults.values(), "alone.md"):
        assert complaint in done.stderr
