"""A loader that is too slow, too many threads, a GPU that is left unused, and a batch that does not fit are told; what
of memory and GPU cannot be told is said."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from spikeyolo.diagnosis.finding import Finding, Section
from spikeyolo.diagnosis.machine.check import check_machine, windows_per_second
from spikeyolo.diagnosis.machine.usage import Usage, resident_bytes, watched
from spikeyolo.diagnosis.settings import Settings


@dataclass
class Windows:
    """A training set that takes so long for each window."""

    seconds: float
    asked: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, place: tuple[int, int]) -> None:
        self.asked.append(place[1])
        time.sleep(self.seconds)


@pytest.fixture(autouse=True)
def few_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever machine runs this, it has four cores."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)


def checked(seconds: float, **changes: object) -> tuple[list[Finding], Section]:
    given = {
        "batch_size": 8,
        "workers": 0,
        "device": torch.device("cpu"),
        "threads": 2,
        "step_s": 1.0,
        "seconds": 0.3,
    }
    section = check_machine(Windows(seconds), step_windows=8, **{**given, **changes})  # type: ignore[arg-type]
    return section.findings, section


def test_a_machine_that_keeps_up_has_no_findings() -> None:
    found, section = checked(0.0005)  # 2000 windows a second where 8 are needed
    assert found == []
    assert ("windows a second that training takes", "8.0") in section.facts


def test_a_loader_slower_than_training_is_named_with_the_workers_that_keep_up() -> None:
    (found,), _ = checked(0.02, step_s=0.08)  # at most 50 windows a second where 100 are needed
    assert found.name == "loader"
    assert found.overrides in (("data.workers=2",), ("data.workers=3",))
    assert "it waits for them" in found.sentence


def test_where_no_core_is_left_the_loader_is_told_to_do_less() -> None:
    (found,), _ = checked(0.05, step_s=0.04, workers=3)  # at most 60 a second of three where 200 are needed
    assert (found.name, found.overrides[0]) == ("loader", "data.cache=ram")
    assert "no core left" in found.remedy


def test_workers_that_keep_up_are_counted() -> None:
    assert checked(0.02, step_s=0.4, workers=3)[0] == []


def test_without_a_measured_step_nothing_is_said_of_the_loader() -> None:
    found, section = checked(0.02, step_s=None)
    assert found == []
    assert not [name for name, _ in section.facts if "training takes" in name]
    assert "no update was made" in section.unknown[0]


def test_more_threads_than_cores_are_named() -> None:
    (found,), _ = checked(0.0005, threads=9)
    assert (found.name, found.overrides) == ("threads", ("trainer.threads=4",))
    assert checked(0.0005, threads=4)[0] == []


def test_a_gpu_beside_a_training_on_the_cpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a big one")
    (found,), _ = checked(0.0005)
    assert (found.name, found.overrides) == ("no_gpu", ("trainer.device=cuda",))
    assert "a big one" in found.sentence


def test_more_processes_than_cores_are_named_and_make_no_more_windows_than_these() -> None:
    (found,), _ = checked(0.0005, workers=64)
    assert (found.name, found.overrides) == ("threads", ("data.workers=3",))
    assert "data.workers=64 processes make windows on 4 cores" in found.sentence
    assert checked(0.0005, workers=4)[0] == []
    slow, _ = checked(0.05, step_s=0.04, workers=64)  # 200 a second are taken, 80 made by four cores at once
    assert [found.name for found in slow] == ["loader", "threads"]


GIB = 1 << 30


@pytest.fixture
def twenty_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any device so much memory is free."""
    monkeypatch.setattr("spikeyolo.diagnosis.machine.check.free_bytes", lambda device: 20 * GIB)
    monkeypatch.setattr("spikeyolo.diagnosis.machine.usage.free_bytes", lambda device: 20 * GIB)


@pytest.mark.usefixtures("twenty_gib")
@pytest.mark.parametrize(
    ("device", "fixed", "fits"),
    [("cuda", 0, 18), ("cpu", 0, 14), ("cuda", 2 * GIB, 21), ("cpu", 2 * GIB, 16)],  # 8 or 6 GiB of eight windows
)
def test_a_batch_that_does_not_fit_is_named_with_one_that_does(
    device: str, fixed: int, fits: int, tmp_path: Path
) -> None:
    usage = Usage(memory=8 * GIB)
    given = {"device": torch.device(device), "usage": usage, "fixed_bytes": fixed}
    found, section = checked(0.0005, batch_size=fits, **given)
    assert found == []
    assert str(fits) in dict(section.facts).values()
    settings = Settings({"data": {"batch_size": 32}})
    (one,), _ = checked(0.0005, batch_size=32, settings=settings, **given)
    assert (one.name, one.overrides) == ("batch", (f"data.batch_size={fits}", "trainer.nominal_batch=32"))
    assert one.draw is not None
    assert one.draw(tmp_path / "a.png").stat().st_size > 3000


@pytest.mark.usefixtures("twenty_gib")
def test_smaller_batches_keep_updates_as_large_as_they_were() -> None:
    settings = Settings({"data": {"batch_size": 32}, "trainer": {"accumulate_batches": 4, "nominal_batch": None}})
    (one,), _ = checked(0.0005, batch_size=32, settings=settings, usage=Usage(memory=8 * GIB))
    assert one.overrides == ("data.batch_size=14", "trainer.nominal_batch=128", "trainer.accumulate_batches=1")


def test_what_nothing_tells_of_memory_and_gpu_is_said() -> None:
    _, section = checked(0.0005)
    assert "which batch fits" in section.unknown[0]
    assert dict(section.facts)["GPU share"].startswith("none")
    _, section = checked(0.0005, device=torch.device("cuda"))
    assert "nvidia-ml-py" in section.unknown[1]
    _, section = checked(0.0005, device=torch.device("cuda"), usage=Usage(busy=0.83))
    assert dict(section.facts)["GPU share while it learns"] == "83 %"


def test_without_windows_the_rest_of_the_machine_is_looked_at() -> None:
    section = check_machine(
        None, batch_size=8, workers=0, device=torch.device("cpu"), threads=9, step_s=None, step_windows=8
    )
    assert [finding.name for finding in section.findings] == ["threads"]
    assert "how fast windows are made" in section.unknown[0]
    assert "memory free" in dict(section.facts)


def test_the_memory_that_work_takes_is_what_this_process_grows_by() -> None:
    with watched(torch.device("cpu")) as usage:
        block = np.ones(80 << 20, np.uint8)
        time.sleep(0.1)
        held = resident_bytes()
        del block
    assert held > 80 << 20
    assert usage.memory is not None
    assert 60 << 20 < usage.memory < 200 << 20
    with watched(torch.device("cpu")) as usage:
        time.sleep(0.02)
    assert usage.memory is None
    assert usage.busy is None


def test_what_makes_windows_faster_is_not_proposed_where_it_is_so_already() -> None:
    tree = {"data": {"cache": "ram", "max_events_per_sample": 200_000, "encoder": {"downsample": 2}}}
    (found,), _ = checked(0.05, step_s=0.04, workers=3, settings=Settings(tree))
    assert (found.name, found.overrides) == ("loader", ("data.encoder.downsample=4",))


def test_speed_is_measured_over_the_whole_set() -> None:
    windows = Windows(0.001)
    assert 200 < windows_per_second(windows) <= 1000  # type: ignore[arg-type]
    assert min(windows.asked) < 50
    assert max(windows.asked) > 950
