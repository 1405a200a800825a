"""An application with a module that keeps a thread, and the lock that it holds, as a client of some service may."""

from __future__ import annotations

import threading

import hydra
from omegaconf import DictConfig

LOCK = threading.Lock()
HELD = threading.Event()


def hold() -> None:
    with LOCK:
        HELD.set()
        threading.Event().wait(0.2)  # let go for a moment, as a client between two messages does


def serve() -> None:
    while True:
        hold()


threading.Thread(target=serve, name="client", daemon=True).start()
HELD.wait()


@hydra.main(version_base="1.3", config_path="conf", config_name="parabola")
def main(config: DictConfig) -> float:
    with LOCK:
        return float(config.x) ** 2


if __name__ == "__main__":
    main()
