"""What the site generates before it is built: reference pages from the configuration and the classes, the findings of
``experiments/``, and links of the repository's files as links of the site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import findings, links, python, reference


def generate(app: Any) -> None:
    """Write the generated pages anew."""
    if app.config.generated_pages:
        findings.write(Path(app.srcdir) / "findings")
        reference.write(Path(app.srcdir) / "reference")
        python.write(Path(app.srcdir) / "python")


def adapt_links(app: Any, page: str, source: list[str]) -> None:
    """Links of a Markdown page, before it is read."""
    if Path(app.env.doc2path(page)).suffix == ".md":
        source[0] = links.adapt(page, source[0], Path(app.srcdir))


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_config_value("generated_pages", True, "env", types=(bool,))
    app.connect("builder-inited", generate)
    app.connect("source-read", adapt_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
