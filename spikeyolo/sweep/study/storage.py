"""Where a study lives: Optuna's journal file by default, any RDB, Redis or gRPC storage by URL; and the lock that
makes a budget shared by several controllers exact.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from spikeyolo.errors import SweepError
from spikeyolo.sweep.targets import build

__all__ = ["StorageAwayError", "is_journal", "open_storage", "patiently", "storage_address", "study_lock"]

logger = logging.getLogger(__name__)
T = TypeVar("T")
STORAGE_ERRORS: tuple[type[Exception], ...] = (optuna.exceptions.StorageInternalError, OSError)
DRIVER_ERRORS = {"sqlalchemy.exc": "SQLAlchemyError", "grpc": "RpcError"}  # a journal needs neither, which take seconds


class StorageAwayError(SweepError):
    """The storage went away and did not come back in time; nothing can be told to it."""


class FileLock(BaseJournalFileLock):
    """A lock the kernel lets go of when its holder dies: a killed process must not stall the others for Optuna's 30 s
    of grace."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_descriptor": None}


class JournalFile(JournalFileBackend):
    """A journal that keeps whole lines only: an append that fails (a full disk) is taken back, and what a killed writer
    left half-written is cut before the next one, which would otherwise make one unreadable line of both."""

    def __init__(self, path: Path, lock: FileLock) -> None:
        super().__init__(str(path), lock_obj=lock)
        self._path = path
        self._file_lock = lock

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        data = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with _held(self._file_lock), self._path.open("r+b", buffering=0) as file:
            end = _cut_torn_line(self._path, file)
            file.seek(end)
            try:
                left = memoryview(data)
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise


def storage_address(spec: object, folder: Path) -> str | dict[str, Any]:
    """The storage asked for in a form that another process can open: a URL, a path, or a mapping with ``_target_``."""
    if spec is None:
        return str((folder / "study.journal").absolute())
    if isinstance(spec, Mapping):
        return {str(key): value for key, value in spec.items()}
    text = str(spec)
    if is_journal(text):
        return str(Path(_journal_path(text)).absolute())
    scheme, separator, rest = text.partition("://")
    if scheme in ("postgres", "postgresql"):
        driver = "psycopg" if importlib.util.find_spec("psycopg") else "psycopg2"
        return f"postgresql+{driver}{separator}{rest}"
    return text


def open_storage(address: str | Mapping[str, Any], *, mend: bool = True) -> BaseStorage:
    """Open the storage at an address of :func:`storage_address`; ``mend`` checks a journal and cuts a torn last line.

    Raises:
        SweepError: it is down, cannot be written, is damaged, or its driver is not installed.
    """
    try:
        if isinstance(address, Mapping):
            storage = build(address, "storage")
            if not isinstance(storage, BaseStorage):
                raise ValueError(f"it is a {type(storage).__name__}, expected a storage of Optuna")
            return storage
        scheme, _, rest = address.partition("://")
        if is_journal(address):
            return _open_journal(Path(_journal_path(address)), mend)
        if scheme == "grpc":
            host, _, port = rest.rstrip("/").partition(":")
            proxy = optuna.storages.GrpcStorageProxy(host=host, port=int(port or 13000))
            proxy.get_all_studies()
            return proxy
        if scheme in ("redis", "rediss"):
            return JournalStorage(optuna.storages.journal.JournalRedisBackend(address))
        return _open_database(address)
    except Exception as error:
        expected: tuple[type[Exception], ...] = (ImportError, ValueError, RuntimeError, *storage_errors())
        if not isinstance(error, expected):
            raise
        raise SweepError(f"storage {_hide_password(str(address))} cannot be opened: {_brief(error)}") from error


def _open_database(address: str) -> RDBStorage:
    """Open a database; of several controllers that find it empty at once, one makes the tables and the others wait."""
    from sqlalchemy.exc import SQLAlchemyError

    for pause_s in (0.2, 0.5, 1.0, 2.0, None):
        try:
            return RDBStorage(address, engine_kwargs={"pool_pre_ping": True})
        except SQLAlchemyError as error:
            if pause_s is None or not re.search("already exists|duplicate key", str(error), re.IGNORECASE):
                raise
            time.sleep(pause_s)
    raise AssertionError("the last attempt returns or raises")


def is_journal(spec: object) -> bool:
    """Whether a storage is a journal file."""
    text = spec if isinstance(spec, str) else "://"
    return text.startswith("journal:") or ("://" not in text and text.endswith((".journal", ".log")))


def _journal_path(text: str) -> str:
    return text.removeprefix("journal:").removeprefix("//")


def _open_journal(path: Path, mend: bool) -> JournalStorage:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.write-lock"))
    path.touch()
    if mend:
        with _held(lock), path.open("r+b", buffering=0) as file:
            _cut_torn_line(path, file)
            _check_lines(path)
    return JournalStorage(JournalFile(path, lock))


def _cut_torn_line(path: Path, file: FileIO) -> int:
    """Cut a last line that a killed writer left half-written; returns where the next one begins, in bytes."""
    size = kept = os.fstat(file.fileno()).st_size
    block = 65536
    while kept:
        begin = max(0, kept - (1 if kept == size else block))  # mostly the last byte is a line's end
        file.seek(begin)
        newline = (file.read(kept - begin) or b"").rfind(b"\n")
        kept = begin + newline + 1 if newline >= 0 else begin
        if newline >= 0:
            break
    if kept < size:
        logger.warning("%s: cut a torn last line of %d bytes", path, size - kept)
        file.truncate(kept)
    return kept


def _check_lines(path: Path) -> None:
    """
    Raises:
        SweepError: a line is no JSON record; says which, and how the file is mended.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                json.loads(line)
            except ValueError as error:
                raise SweepError(
                    f"{path}: line {number} is damaged, expected one JSON record a line; {_mending(path, number, line)}"
                ) from error


def _mending(path: Path, number: int, line: bytes) -> str:
    """How to mend a damaged line: where a torn record and a whole one make one line, nobody has ever read the first."""
    begin = line.rfind(b'{"op_code"')
    try:
        json.loads(line[max(0, begin) :])
        script = 's/.*(\\{"op_code".*)/\\1/'
        told = "a record that was cut off stands before a whole one"
    except ValueError:
        script = "d"
        told = "it holds no whole record"
    command = f"sed -E -i.bak '{number}{script}' {shlex.quote(str(path))}"
    return f"{told}: {command} takes it out and keeps the file as it was beside it"


def storage_errors() -> tuple[type[Exception], ...]:
    """What a storage that is down raises; of drivers, those of the storages that have been opened."""
    drivers = (getattr(sys.modules.get(module), error, None) for module, error in DRIVER_ERRORS.items())
    return (*STORAGE_ERRORS, *(error for error in drivers if error is not None))


def _hide_password(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}:…{at}{host}" if at and ":" in user else text


def _brief(error: BaseException) -> str:
    if isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__  # Optuna's own text guesses at the data
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def patiently(
    action: Callable[[], T], *, patience_s: float, what: str, on_failure: Callable[[], None] = lambda: None
) -> T:
    """Do something with the storage; while it is away, try again until ``patience_s`` seconds are over.

    Args:
        on_failure: called after every attempt that failed.

    Raises:
        StorageAwayError: the storage stayed away.
    """
    deadline = time.monotonic() + patience_s
    pause_s = 0.2
    while True:
        try:
            return action()
        except storage_errors() as error:
            on_failure()
            if time.monotonic() + pause_s > deadline:
                raise StorageAwayError(
                    f"the storage went away while {what} and stayed away for {patience_s:.0f} s: {_brief(error)}; "
                    "the same command resumes the sweep when it is back"
                ) from error
            logger.warning("the storage is away while %s (%s); trying again", what, _brief(error))
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 5.0)


def study_lock(storage: BaseStorage, study_name: str, folder: Path) -> AbstractContextManager[None]:
    """A lock over one study for all controllers that share its storage.

    PostgreSQL and MySQL lock in the server; SQLite and a journal lock a file beside them; others (gRPC, Redis) have
    only the sweep folder's file, which serves one machine.
    """
    if isinstance(storage, RDBStorage):
        dialect = storage.engine.dialect.name
        if dialect == "postgresql":
            return _sql_lock(storage, study_name, "SELECT pg_advisory_lock({})", "SELECT pg_advisory_unlock({})")
        if dialect in ("mysql", "mariadb"):
            return _sql_lock(storage, study_name, "SELECT GET_LOCK('{}', 60)", "SELECT RELEASE_LOCK('{}')")
        database = storage.engine.url.database
        if not database or database == ":memory:":
            return nullcontext()
        path = Path(database)
        return _file_lock(path.with_name(f".{path.name}.budget-lock"))
    if isinstance(storage, JournalStorage) and isinstance(storage._backend, JournalFileBackend):
        path = Path(storage._backend._file_path)
        return _file_lock(path.with_name(f".{path.name}.budget-lock"))
    return _file_lock(folder / ".budget-lock")


def _file_lock(path: Path) -> AbstractContextManager[None]:
    return _held(FileLock(path))


@contextmanager
def _held(lock: FileLock) -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _sql_lock(storage: RDBStorage, study_name: str, take: str, leave: str) -> Iterator[None]:
    from sqlalchemy import text

    key = int.from_bytes(hashlib.sha256(study_name.encode()).digest()[:7], "big")
    # A connection of its own: the server lets go of the lock when the connection dies with its process.
    with storage.engine.connect() as connection:
        connection.execute(text(take.format(key)))
        try:
            yield
        finally:
            connection.execute(text(leave.format(key)))
            connection.commit()
