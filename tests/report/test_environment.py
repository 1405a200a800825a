"""What a run keeps so that it can be repeated: commit and uncommitted changes, packages, machine, data, seed."""

from __future__ import annotations

import json
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from spikeyolo.report import environment
from spikeyolo.report.environment import uncommitted, write_environment


def test_the_files_say_what_it_takes_to_repeat_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "uncommitted", lambda folder: "a change\n")
    files = write_environment(tmp_path / "environment", device="cpu", seed=7, digests={"train": "abc", "val": "def"})
    assert [path.name for path in files] == ["environment.json", "packages.txt", "uncommitted.diff"]
    told = json.loads(files[0].read_text())
    assert (told["seed"], told["data"]) == (7, {"train": "abc", "val": "def"})
    assert told["hardware"]["memory_gib"] > 0
    assert told["hardware"]["processor"] == told["device_name"]
    assert f"torch=={metadata.version('torch')}" in files[1].read_text().splitlines()
    assert files[2].read_text() == "a change\n"


def test_without_changes_there_is_no_diff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "uncommitted", lambda folder: "")
    files = write_environment(tmp_path, device="cpu", seed=0, digests={})
    assert "uncommitted.diff" not in [path.name for path in files]


def test_a_diff_applied_to_its_commit_is_the_tree_that_ran(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    assert uncommitted(tmp_path) == ""  # outside git
    git("init")
    file = tmp_path / "train.py"
    file.write_text("lr = 1\n")
    git("add", ".")
    git("commit", "-m", "first")
    assert uncommitted(tmp_path) == ""
    file.write_text("lr = 2\n")
    (tmp_path / "changes").write_text(uncommitted(tmp_path))
    git("checkout", "train.py")
    assert file.read_text() == "lr = 1\n"
    git("apply", "changes")
    assert file.read_text() == "lr = 2\n"
