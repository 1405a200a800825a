"""The journal on a disk that is full, and journals that are torn."""

from __future__ import annotations

import json
import re
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest

from spikeyolo.errors import SweepError
from spikeyolo.sweep.study.storage import open_storage


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process can grow beyond ``size`` bytes: the write that reaches it is cut there, as on a disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def study_of(path: Path) -> optuna.Study:
    return optuna.create_study(study_name="s", storage=open_storage(str(path)), load_if_exists=True)


@pytest.mark.parametrize("room", [0, 1, 20])
def test_a_write_that_a_full_disk_cuts_is_taken_back(room: int, tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    study = study_of(path)
    before = path.read_bytes()
    with full_disk(len(before) + room), pytest.raises(OSError, match="File too large"):
        study.set_user_attr("note", "a text that is longer than the room that is left")
    assert path.read_bytes() == before
    study.set_user_attr("note", "again")  # there is room again
    assert study_of(path).user_attrs == {"note": "again"}


def test_what_a_killed_writer_left_is_cut_before_the_next_record(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    study = study_of(path)  # it was open before the other was killed
    with path.open("ab") as file:
        file.write(b'{"op_code":2,"worker_id":"torn')
    study.set_user_attr("note", "whole")
    assert all(json.loads(line) for line in path.read_bytes().splitlines())
    assert study_of(path).user_attrs == {"note": "whole"}


@pytest.mark.parametrize("torn", [b'{"op_code":2,"worker_id":"to', b"\x00\x00", b'{"op_code":2,"wo{"op_code":2,"wor'])
def test_a_line_torn_in_the_middle_is_named_and_the_command_that_is_told_mends_it(torn: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a study.journal"
    study = study_of(path)
    for number in range(3):
        study.set_user_attr(f"note{number}", number)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], torn + lines[2], *lines[3:]]))
    with pytest.raises(SweepError, match="line 3 is damaged") as raised:
        open_storage(str(path))
    command = re.search(r"sed .*? takes it out", str(raised.value))
    assert command is not None
    subprocess.run(command[0].removesuffix(" takes it out"), shell=True, check=True)
    assert path.read_bytes() == b"".join(lines)  # what nobody had read is gone, all else is there
    assert study_of(path).user_attrs == {f"note{number}": number for number in range(3)}
    assert Path(f"{path}.bak").exists()


def test_a_line_that_holds_no_record_is_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    study_of(path).set_user_attr("note", 1)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"nonsense\n", *lines[1:]]))
    with pytest.raises(SweepError, match=r"line 2 is damaged.*holds no whole record") as raised:
        open_storage(str(path))
    command = re.search(r"sed .*? takes it out", str(raised.value))
    assert command is not None
    subprocess.run(command[0].removesuffix(" takes it out"), shell=True, check=True)
    assert study_of(path).user_attrs == {"note": 1}


def test_a_storage_that_is_none_is_named() -> None:
    with pytest.raises(SweepError, match="it is a Counter, expected a storage of Optuna"):
        open_storage({"_target_": "collections.Counter"})
