"""Pages of the commands that take arguments of a command line, and no configuration."""

from __future__ import annotations

from spikeyolo import upload
from spikeyolo.__main__ import COMMANDS

PARSERS = {"upload": upload.arguments_taken}


def pages() -> dict[str, str]:
    """Name → text of each page."""
    return {name: _page(name) for name in PARSERS}


def _page(name: str) -> str:
    parser = PARSERS[name]()
    about, example = COMMANDS[name]
    usage = parser.format_help().strip()
    return (
        f"# {name}\n\n{about[0].upper()}{about[1:]}. It has no configuration.\n\n"
        f"```sh\npython -m spikeyolo.{name} {example}\n```\n\n```text\n{usage}\n```\n"
    )
