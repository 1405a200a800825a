"""How much memory this process may use: the machine's, or what a container or a cluster's job was given."""

from __future__ import annotations

from pathlib import Path

import psutil


def memory_bytes(groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory: the machine's, bounded by the control groups (versions 1 and 2) that this process is in.

    Args:
        groups: which control groups those are, as Linux tells.
        mounted: where they are mounted.
    """
    limits = [int(psutil.virtual_memory().total)]
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        lines = []  # no Linux
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = mounted, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = mounted / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):  # a limit holds for all groups below it
            if not folder.is_relative_to(root):
                break
            try:
                limits.append(int((folder / name).read_text()))
            except (OSError, ValueError):
                continue  # not told here, or "max"
    return min(limits)
