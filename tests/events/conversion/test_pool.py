"""Many recordings at once: a process that is killed costs its own file one try, and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_events_conversion import write_dat

from spikeyolo.events.conversion.convert import Conversion
from spikeyolo.events.conversion.pool import Outcome, convert_all
from spikeyolo.events.datasets import Source
from spikeyolo.events.store import Recording


@dataclass(frozen=True)
class LethalSource(Source):
    """A recording whose conversion kills its process, so many times."""

    log: str = ""
    deaths: int = 0

    def address(self, file: Path) -> str:
        if multiprocessing.parent_process() is not None:
            with open(self.log, "a") as log:
                log.write("x")
            if len(Path(self.log).read_text()) <= self.deaths:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().address(file)


def six(tmp_path: Path, *, deaths: int) -> list[Conversion]:
    sources = [
        Source(write_dat(tmp_path / "raw" / f"{number}.dat", seed=number), None, str(number), "") for number in range(6)
    ]
    sources[1] = LethalSource(sources[1].events, None, "1", "", log=str(tmp_path / "log"), deaths=deaths)
    return [Conversion(source, tmp_path / "out" / f"{source.name}.zarr", ()) for source in sources]


def test_of_six_files_only_the_one_that_kills_its_process_fails_after_two_tries(tmp_path: Path) -> None:
    outcomes: list[Outcome] = []
    conversions = six(tmp_path, deaths=99)
    convert_all(conversions, workers=2, finished=outcomes.append)
    assert sorted((item.conversion.source.name, item.status) for item in outcomes) == [
        ("0", "converted"),
        ("1", "failed"),
        *((str(number), "converted") for number in range(2, 6)),
    ]
    (error,) = [item.error for item in outcomes if item.error]
    assert error == f"{conversions[1].source.events}: its process was killed twice (out of memory?)"
    assert (tmp_path / "log").read_text() == "xx"
    assert not multiprocessing.active_children()


def test_a_file_whose_process_is_killed_once_is_converted_all_the_same(tmp_path: Path) -> None:
    outcomes: list[Outcome] = []
    conversions = six(tmp_path, deaths=1)
    convert_all(conversions, workers=2, finished=outcomes.append)
    assert [item.status for item in outcomes] == 6 * ["converted"]
    Recording.open(conversions[1].place).verify()


def test_what_is_raised_on_an_outcome_ends_the_work_and_its_processes(tmp_path: Path) -> None:
    def finished(outcome: Outcome) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_all(six(tmp_path, deaths=0), workers=2, finished=finished)
    assert not multiprocessing.active_children()
    for place in (tmp_path / "out").glob("*.zarr"):
        Recording.open(place).verify()
    assert not list((tmp_path / "out").glob("*.partial-*"))
