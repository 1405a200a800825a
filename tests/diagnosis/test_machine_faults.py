"""A loader that is too slow, too many threads, a GPU that is left unused, and a batch that does not fit are told."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

from spikeyolo.diagnosis.finding import Finding, Section
from spikeyolo.diagnosis.machine import check_machine, windows_per_second


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
    """Whatever machine runs this, it has four cores, and is not looked at for long."""
    monkeypatch.setattr("spikeyolo.diagnosis.machine._SECONDS", 0.5)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)


def checked(seconds: float, **changes: object) -> tuple[list[Finding], Section]:
    given = {"batch_size": 8, "workers": 0, "device": torch.device("cpu"), "threads": 2, "step_s": 1.0}
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


@pytest.mark.parametrize(("batch_size", "names"), [(32, ["batch"]), (16, [])])
def test_a_batch_that_does_not_fit_is_named_with_one_that_does(
    batch_size: int, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=20 << 30))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 8 << 30)  # 1 GiB a window
    found, section = checked(0.0005, device=torch.device("cuda"), batch_size=batch_size)
    assert [finding.name for finding in found] == names
    assert ("batch that fits", "18") in section.facts
    for finding in found:
        assert finding.overrides == ("data.batch_size=18", "trainer.nominal_batch=32")


def test_speed_is_measured_over_the_whole_set() -> None:
    windows = Windows(0.001)
    assert 200 < windows_per_second(windows) <= 1000  # type: ignore[arg-type]
    assert min(windows.asked) < 50
    assert max(windows.asked) > 950
