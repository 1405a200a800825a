"""The site: ``python -m sphinx -W docs site`` reads the pages here, and generates those of configuration, classes and
findings (``generator/``) each time, so that none of them is ever older than what it describes."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

project = "spikeyolo"
release = version = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]["version"]
author = "the spikeyolo authors"
html_title = "spikeyolo"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "generator"]
exclude_patterns = ["generator", "static", "**/.ipynb_checkpoints"]
root_doc = "index"

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4  # links to a heading are checked too
nb_execution_mode = "off"  # tests/docs runs the notebooks

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
copybutton_exclude = ".linenos, .gp"
# python -m sphinx -b linkcheck docs site/links
linkcheck_timeout, linkcheck_retries = 20, 2
# This machine, and publishers that refuse programs.
linkcheck_ignore = [r"https?://(localhost|127\.0\.0\.1)\b", r"https://doi\.org/"]
linkcheck_anchors_ignore_for_url = [r"https://github\.com/"]  # made by the browser
