"""Records that the tracking server has not taken yet, kept in the run's folder until it does."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikeyolo.errors import LoggerError

NAME = "mlflow_pending.jsonl"


class PendingRecords:
    """A file of one JSON object a line, oldest first; each names its server and its run.

    A line is on the disk before :meth:`append` returns, so a run that dies loses nothing that it logged.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def __bool__(self) -> bool:
        return self.path.exists()

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record."""
        # The address of the server may hold a password: nobody else may read the file.
        with open(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600), "rb+") as file:
            # A line that a dying run did not finish is not worth a line that joins it.
            file.truncate(file.read().rfind(b"\n") + 1)
            file.seek(0, os.SEEK_END)
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[dict[str, Any]]:
        """The records; a last line cut off by a crash is passed over.

        Raises:
            LoggerError: the file is missing or damaged.
        """
        try:
            lines = self.path.read_text(encoding="utf-8").split("\n")
        except OSError as error:
            raise LoggerError(
                f"{self.path}: cannot be read ({error.strerror}); expected the file a run leaves that could not upload"
            ) from error
        try:
            # What follows the last line break is empty, or what was being written when the run died.
            records = [json.loads(line) for line in lines[:-1]]
        except ValueError as error:
            raise LoggerError(f"{self.path}: is damaged ({error}); expected one JSON object a line") from error
        for record in records:
            if not isinstance(record, dict) or not {"kind", "tracking_uri", "run_id"} <= record.keys():
                raise LoggerError(f"{self.path}: is damaged; expected kind, tracking_uri and run_id in every line")
        return records

    def keep(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Leave only these records, or no file where there are none."""
        if not records:
            self.path.unlink()
            return
        partial = self.path.with_name(f"{NAME}.partial-{os.getpid()}")
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self.path)
