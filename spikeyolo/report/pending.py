"""Records that the tracking server has not taken yet, kept in the run's folder until it does."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spikeyolo.errors import LoggerError

NAME = "mlflow_pending.jsonl"


class PendingRecords:
    """A file of one JSON object a line, oldest first; its first line names the server and the run.

    A line is on the disk before :meth:`append` returns, so a run that dies loses nothing that it logged.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def __bool__(self) -> bool:
        return self.path.exists()

    def append(self, record: Mapping[str, Any], *, tracking_uri: str, run_id: str) -> None:
        """Add a record, and the first line where there is none."""
        lines = [record] if self else [{"kind": "run", "tracking_uri": tracking_uri, "run_id": run_id}, record]
        # The address may hold a password: nobody else may read the file.
        with open(os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> tuple[str, str, list[dict[str, Any]]]:
        """The server, the run, and the records; a last line cut off by a crash is passed over.

        Raises:
            LoggerError: the file is missing or its first line does not name a run.
        """
        try:
            lines = self.path.read_text(encoding="utf-8").split("\n")
        except OSError as error:
            raise LoggerError(
                f"{self.path}: cannot be read ({error.strerror}); expected the file a run leaves that could not upload"
            ) from error
        try:
            first = json.loads(lines[0])
            server, run_id = str(first["tracking_uri"]), str(first["run_id"])
            # What follows the last line break is empty, or what was being written when the run died.
            return server, run_id, [json.loads(line) for line in lines[1:-1]]
        except (ValueError, KeyError, TypeError) as error:
            raise LoggerError(f"{self.path}: is damaged ({error}); expected one JSON object a line") from error

    def keep(self, records: list[dict[str, Any]]) -> None:
        """Leave only these records, or no file where there are none."""
        if not records:
            self.path.unlink()
            return
        first = self.path.read_text(encoding="utf-8").split("\n", 1)[0]
        partial = self.path.with_name(f"{NAME}.partial-{os.getpid()}")
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(first + "\n")
            file.writelines(json.dumps(record) + "\n" for record in records)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self.path)
