"""How busy the machine is while a run trains, sampled by MLflow's own monitors and sent with the epoch's figures."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

log = logging.getLogger(__name__)

Sample = tuple[str, float, int, int]  # name, value, ms since 1970, step
KEPT = 20_000  # samples that wait at most: of an epoch of hours, the newest


class SystemSampler:
    """Samples processor, memory, disk, network and, where ``nvidia-ml-py`` is installed, the GPU.

    Args:
        every_s: time between two samples.
        first_step: number of the first one.
    """

    def __init__(self, *, every_s: float, first_step: int = 0) -> None:
        self._every_s = every_s
        self._step = first_step
        self._monitors = _monitors()
        self._samples: list[Sample] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system-metrics", daemon=True)
        self._thread.start()

    def take(self) -> list[Sample]:
        """What was sampled since the last call."""
        with self._lock:
            taken, self._samples = self._samples, []
        return taken

    def stop(self) -> None:
        """Sample no more."""
        self._stop.set()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while True:
            try:
                self._sample()
            except Exception as error:  # drivers raise what they like, and no training fails for their sake
                log.warning("the machine's load is no longer sampled: %s", error)
                return
            if self._stop.wait(self._every_s):
                return

    def _sample(self) -> None:
        now = int(time.time() * 1000)
        values: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            values |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        with self._lock:
            self._samples += [(f"system/{name}", float(value), now, self._step) for name, value in values.items()]
            del self._samples[:-KEPT]
        self._step += 1


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    kinds: list[Any] = [CPUMonitor, DiskMonitor, NetworkMonitor]
    monitors = [kind() for kind in kinds]
    gpu: Any = GPUMonitor
    try:
        monitors.append(gpu())
    except Exception as error:  # no driver, no device or no nvidia-ml-py
        log.debug("no GPU to sample: %s", error)
    return monitors
