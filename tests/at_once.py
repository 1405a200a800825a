"""Starts the same code in three processes at the same time, as three commands of a user would run it."""

from __future__ import annotations

import subprocess
import sys

FORKS = """
{before}
import os, sys
children = []
for _ in range(3):
    child = os.fork()
    if not child:
        {code}
        sys.exit()
    children.append(child)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


def at_once(before: str, code: str, *arguments: object) -> tuple[int, str]:
    """How many of the three failed, and what they wrote to the error stream.

    Args:
        before: lines that run once: imports, which take longer than what is tried.
        code: one line that each of them runs.
        arguments: ``sys.argv[1:]``.
    """
    script = FORKS.format(before=before, code=code)
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr
