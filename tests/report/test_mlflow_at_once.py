"""Commands that are started at the same time in an empty folder make one store between them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from at_once import at_once
from filelock import FileLock

from spikeyolo.mlflow_store import is_whole, open_client

BEFORE = """
import mlflow.store.tracking.sqlalchemy_store
from spikeyolo.report.mlflow.logger import MlflowLogger
"""


@pytest.mark.slow
def test_three_that_begin_at_once_find_one_whole_store_and_leave_no_lock(tmp_path: Path) -> None:
    (tmp_path / ".mlflow.db.lock").touch()  # of one that was killed
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert at_once(BEFORE, "MlflowLogger(tracking_uri=sys.argv[1]).check()", uri) == (0, "")
    assert is_whole(tmp_path / "mlflow.db")
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)), NotImplementedError()])
def test_where_nothing_can_be_locked_a_store_is_opened_all_the_same(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(lock: FileLock) -> None:
        raise error

    opened: list[str] = []
    monkeypatch.setattr(FileLock, "acquire", refused)
    monkeypatch.setattr("mlflow.MlflowClient", lambda tracking_uri: opened.append(tracking_uri))
    open_client(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert opened == [f"sqlite:///{tmp_path / 'mlflow.db'}"]


def test_a_store_that_is_whole_is_opened_without_a_lock(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileLock, "acquire", lambda lock: pytest.fail("there is nothing to make"))
    open_client(f"sqlite:///{empty_store}")
