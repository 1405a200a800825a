"""Which worker gets which device, and how many threads."""

from __future__ import annotations

import pytest

from spikeyolo.errors import SweepError
from spikeyolo.sweep import devices
from spikeyolo.sweep.devices import cuda_devices, plan_workers


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
    ],
)
def test_every_worker_gets_its_device(asked: object, workers: int | None, present: list[str], expected: list[str]):
    plans = plan_workers(devices=asked, workers=workers, n_jobs=3, present=present, environment={})
    assert visible(plans) == expected


def test_more_devices_than_there_are_are_refused() -> None:
    with pytest.raises(SweepError, match="0, 1, 2 asked for, this machine shows 2 CUDA devices"):
        plan_workers(devices=3, workers=None, n_jobs=1, present=["0", "1"], environment={})
    with pytest.raises(SweepError, match="5 asked for"):
        plan_workers(devices=[5], workers=None, n_jobs=1, present=["0", "1"], environment={})


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
    monkeypatch.setattr(devices, "_present_devices", lambda: ["0", "1", "2", "3"])
    assert cuda_devices({}) == ["0", "1", "2", "3"]
    assert cuda_devices({"CUDA_VISIBLE_DEVICES": "2,3"}) == ["2", "3"]
    assert cuda_devices({"CUDA_VISIBLE_DEVICES": ""}) == []
