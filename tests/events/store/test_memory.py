"""How much memory a process may use, as control groups tell."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from spikeyolo.events.store.memory import memory_bytes

MIB = 1 << 20


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("line", "file"),
    [("0::/slurm/job_7", "slurm/memory.max"), ("9:cpu,memory:/job_7", "memory/job_7/memory.limit_in_bytes")],
)
def test_a_limit_of_any_group_above_holds(line: str, file: str, tmp_path: Path) -> None:
    write(tmp_path / "groups", f"4:pids:/other\n{line}\n")
    write(tmp_path / "mounted" / file, f"{100 * MIB}\n")
    write(tmp_path / "mounted" / "slurm" / "job_7" / "memory.max", "max\n")
    assert memory_bytes(tmp_path / "groups", tmp_path / "mounted") == 100 * MIB


def test_without_a_limit_it_is_the_machines(tmp_path: Path) -> None:
    assert memory_bytes(tmp_path / "nothing", tmp_path) == psutil.virtual_memory().total
    write(tmp_path / "groups", "0::/\n")
    write(tmp_path / "mounted" / "memory.max", "max\n")
    assert memory_bytes(tmp_path / "groups", tmp_path / "mounted") == psutil.virtual_memory().total
