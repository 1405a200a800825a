"""Send what runs could not, once their tracking server is back: ``python -m spikeyolo.upload FOLDER…``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from spikeyolo.errors import SpikeyoloError
from spikeyolo.report.mlflow.pending import PendingRecords
from spikeyolo.report.mlflow.server import send_pending


def upload(folder: Path, *, tracking_uri: str | None = None) -> int:
    """Send what waits in a run's folder; returns the number of records sent.

    Args:
        folder: the run's folder.
        tracking_uri: where to, if the server has moved.

    Raises:
        LoggerError: nothing waits there, or the server cannot be reached or refuses.
    """
    sent = send_pending(PendingRecords(folder), tracking_uri=tracking_uri, timeout_s=5.0)
    print(f"{folder}: {sent} records sent")
    return sent


def arguments_taken() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = argparse.ArgumentParser(
        prog="python -m spikeyolo.upload",
        description="Send the metrics and files of runs whose tracking server had gone away.",
    )
    parser.add_argument("folder", nargs="+", type=Path, help="a run's folder, which holds mlflow_pending.jsonl")
    parser.add_argument("--tracking-uri", help="the server, if it has moved since")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from a command line; returns the exit code."""
    options = arguments_taken().parse_args(arguments)
    try:
        for folder in options.folder:
            upload(folder, tracking_uri=options.tracking_uri)
    except SpikeyoloError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
