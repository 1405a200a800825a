"""Which worker gets which device, and how many threads."""

from __future__ import annotations

import pytest

from spikeyolo.errors import SweepError
from spikeyolo.launch import PROCESSES_VARIABLE
from spikeyolo.sweep.workers import devices
from spikeyolo.sweep.workers.devices import Device, cuda_devices, parse_listing, plan_workers


def visible(plans: list[dict[str, str]]) -> list[str]:
    return [plan["CUDA_VISIBLE_DEVICES"] for plan in plans]


@pytest.mark.parametrize(
    ("asked", "workers", "present", "expected"),
    [
        ("auto", None, ["0", "1", "2"], ["0", "1", "2"]),
        ("auto", None, [], ["", "", ""]),
        ("cpu", None, ["0", "1"], ["", "", ""]),
        (2, None, ["0", "1", "2"], ["0", "1"]),
        ([2, 0], None, ["0", "1", "2"], ["2", "0"]),
        ("1", None, ["0", "1", "2"], ["1"]),
        ([0], 2, ["0", "1"], ["0", "0"]),
        ("auto", 4, ["4", "6"], ["4", "6", "4", "6"]),
        ([1], None, ["GPU-a", "GPU-b"], ["GPU-b"]),
        ([[0, 1], [2, 3]], None, ["0", "1", "2", "3"], ["0,1", "2,3"]),
        ([[0, 1], 2], 3, ["4", "5", "6"], ["4,5", "6", "4,5"]),
        (["cuda:1", "0"], None, ["0", "1"], ["1", "0"]),
        ([["cpu", "cpu"], ["cpu", "cpu"]], None, ["0"], ["", ""]),
        ("0,1", None, ["0", "1"], ["0", "1"]),
    ],
)
def test_every_worker_gets_its_device(asked: object, workers: int | None, present: list[str], expected: list[str]):
    devices_here = [Device(name) for name in present]
    plans = plan_workers(devices=asked, workers=workers, n_jobs=3, present=devices_here, environment={})
    assert visible(plans) == expected


def test_a_trial_trains_in_a_process_for_each_device_of_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "usable_cores", lambda: 8)
    present = [Device(str(index)) for index in range(4)]
    for asked, processes in (([[0, 1], [2, 3]], "2"), ([["cpu", "cpu"]] * 2, "2"), ("auto", "1"), ("cpu", "1")):
        plans = plan_workers(devices=asked, workers=2, n_jobs=2, present=present, environment={})
        assert [plan[PROCESSES_VARIABLE] for plan in plans] == [processes] * 2
        assert {plan["OMP_NUM_THREADS"] for plan in plans} == {"2" if processes == "2" else "4"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (3, "devices: 2 asked for, this machine shows 2 CUDA devices"),
        ([5], "devices: 5 asked for"),
        ([-1], "devices: -1 asked for"),
        (["gpu0"], "devices: 'gpu0' asked for"),
        ("cuda", "devices: 'cuda' asked for"),
        ([True], "devices: True asked for"),
        (True, "expected auto, cpu, a number or a list"),
        ([[0, 0]], "expected one device or different ones"),
        ([[]], "expected one device or different ones"),
        (["GPU-"], "devices: 'GPU-' asked for"),
    ],
)
def test_what_is_no_device_is_refused(asked: object, message: str) -> None:
    present = [Device("0", "GPU-1a"), Device("1", "GPU-1b")]
    with pytest.raises(SweepError, match=message):
        plan_workers(devices=asked, workers=None, n_jobs=1, present=present, environment={})


def test_an_identifier_may_be_shortened_as_cuda_takes_it() -> None:
    present = [Device("0", "GPU-1a2b"), Device("1", "GPU-3c4d")]
    plans = plan_workers(devices=["GPU-3c"], workers=None, n_jobs=1, present=present, environment={})
    assert visible(plans) == ["1"]


LISTING = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5b8db4)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef)
  MIG 3g.20gb     Device  1: (UUID: MIG-cba663e8)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-9a8b7c6d)
"""


def test_every_slice_of_a_gpu_is_a_device() -> None:
    present = parse_listing(LISTING)
    plans = plan_workers(devices="auto", workers=None, n_jobs=1, present=present, environment={})
    assert visible(plans) == ["MIG-c6d4f1ef", "MIG-cba663e8", "1"]


def test_workers_share_the_cores_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "usable_cores", lambda: 16)
    plans = plan_workers(devices="cpu", workers=3, n_jobs=1, environment={})
    assert {plan["OMP_NUM_THREADS"] for plan in plans} == {"5"}
    plans = plan_workers(devices="cpu", workers=3, n_jobs=1, environment={"OMP_NUM_THREADS": "1"})
    assert plans[0]["OMP_NUM_THREADS"] == "1"
    assert plans[0]["MKL_NUM_THREADS"] == "5"
    plans = plan_workers(devices="cpu", workers=3, n_jobs=1, threads=2, environment={"OMP_NUM_THREADS": "1"})
    assert plans[0]["OMP_NUM_THREADS"] == "2"


def test_what_the_environment_hides_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_present_devices", lambda: [Device(name, f"GPU-{name}") for name in "0123"])

    def names(environment: dict[str, str]) -> list[str]:
        return [device.name for device in cuda_devices(environment)]

    assert names({}) == ["0", "1", "2", "3"]
    assert names({"CUDA_VISIBLE_DEVICES": "2,3"}) == ["2", "3"]
    assert names({"CUDA_VISIBLE_DEVICES": "GPU-1"}) == ["1"]
    assert names({"CUDA_VISIBLE_DEVICES": ""}) == []
    assert names({"CUDA_VISIBLE_DEVICES": "-1"}) == []


def test_without_the_drivers_tools_the_environment_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.shutil, "which", lambda name: None)
    environment = {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert visible(plan_workers(devices="auto", workers=None, n_jobs=3, environment=environment)) == ["0", "1"]
    assert visible(plan_workers(devices=[1], workers=None, n_jobs=3, environment=environment)) == ["1"]
