"""A disk that is full, or that cannot be written any more, met by a real file system of a few pages.

Each ends in one sentence, leaves the checkpoint before it whole and nothing half-written beside it.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import SMOKE, train
from small_training import World

from spikeyolo.engine.checkpoints import checkpoint
from spikeyolo.errors import CheckpointError, SpikeyoloError

PAGE = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB in memory, mounted for one test."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, *, but: int) -> Path:
    """Leave so many pages."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail
    filler.write_bytes(bytes(PAGE * max(0, free - but)))
    assert os.statvfs(disk).f_bavail == but
    return filler


def left(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def end_of(run: Path, resume: str) -> str | None:
    """The sentence in which a training to a second epoch ends; None where it ends well."""
    try:
        World().fit(run, max_epochs=2, resume=resume)
    except SpikeyoloError as error:
        return str(error)
    return None


def test_wherever_the_disk_is_full_the_checkpoint_before_stays_and_the_run_can_go_on(disk: Path) -> None:
    run = disk / "run"
    World().fit(run, max_epochs=1)
    last = run / "checkpoints" / "last"
    before, failed = left(run), 0
    for room in range(40):
        filler = fill(disk, but=room)
        said = end_of(run, resume=str(last))
        filler.unlink()
        if said is None:
            break
        failed += 1
        assert "cannot be written (No space left on device)" in said
        assert "\n" not in said
        after = left(run)
        assert not [name for name in after if "partial" in name]
        kept = {name for name in after if "checkpoints" in name}
        assert len(kept) == len([name for name in before if "checkpoints" in name])
        if checkpoint.read_state(last)["position"]["epoch"] == 1:  # else the new one was whole, and figures were not
            assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert failed >= 3  # it was full at several steps of a save
    assert checkpoint.read_state(last)["position"]["epoch"] == 2


def test_a_disk_that_can_only_be_read_any_more_keeps_the_checkpoint(disk: Path) -> None:
    run = disk / "run"
    World().fit(run, max_epochs=1)
    before = left(run)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(CheckpointError, match=r"last: the checkpoint cannot be written \(Read-only file system\)"):
        World().fit(run, max_epochs=2, resume=str(run / "checkpoints" / "last"))
    assert left(run) == before


@pytest.mark.parametrize("state", ["full", "read-only"])
def test_a_run_folder_that_cannot_be_written_is_said_before_anything_begins(
    state: str, disk: Path, tmp_path: Path
) -> None:
    if state == "full":
        fill(disk, but=0)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    ended = train(*SMOKE, "logger=none", f"hydra.run.dir={disk / 'run'}", cwd=tmp_path)
    assert ended.code == 2
    assert len(ended.errors.splitlines()) == 1, ended.errors
    assert re.search(r"(run folder|/run)[^:]*: cannot be made or written \(", ended.errors)
    assert "choose one with hydra.run.dir=FOLDER" in ended.errors
    assert not (tmp_path / "data").exists()


def test_a_training_whose_disk_is_full_ends_in_one_sentence(disk: Path, tmp_path: Path) -> None:
    ended = train(*SMOKE, "logger=none", f"hydra.run.dir={disk / 'run'}", cwd=tmp_path)  # its weights need more
    assert ended.code == 2, ended.errors
    (line,) = ended.error_lines
    assert "last: the checkpoint cannot be written (No space left on device)" in line
    assert "Traceback" not in ended.errors
    assert left(disk / "run" / "checkpoints") == {}
