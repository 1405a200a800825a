"""Writing files while the training goes on, which needs the processor and not the disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType

log = logging.getLogger(__name__)


class Behind:
    """Does one job after another in a thread of its own; after one that failed, none.

    As a context, all is done when it ends. Jobs must not look at what changes meanwhile.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._jobs: list[Future[None]] = []
        self._failed = False

    def do(self, job: Callable[[], None]) -> None:
        """Queue a job."""
        self._jobs.append(self._thread.submit(self._run, job))

    def wait(self) -> None:
        """Until all jobs are done.

        Raises:
            BaseException: the first one's that failed; those behind it were not begun.
        """
        jobs, self._jobs = self._jobs, []
        wait(jobs)  # before those behind one that failed may run again
        self._failed = False
        for job in jobs:
            job.result()

    def _run(self, job: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            job()
        except BaseException:
            self._failed = True
            raise

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except Exception as failure:
            if error is None:
                raise
            log.error("%s", failure)  # beside the error that ends the training
