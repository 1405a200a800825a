"""A small Hydra application for the tests of the sweep: a parabola that can report, wait, fail and die as told."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from spikeyolo.sweep.trial import TrialPruned, current_trial


@hydra.main(version_base="1.3", config_path="conf", config_name="parabola")
def main(config: DictConfig) -> object:
    trial = current_trial()
    folder = Path(HydraConfig.get().runtime.output_dir)
    with (folder / "starts.txt").open("a") as file:
        file.write(f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES', '-')} {time.time()}\n")
    value = config.scale * (config.x - 2.0) ** 2 + config.optimizer.momentum
    if config.chosen and config.x < config.chosen_below:
        if config.chosen == "raise":
            raise ValueError("no luck with this x")
        if config.chosen == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if config.chosen == "exit":
            os._exit(3)
        if config.chosen == "leave":
            sys.exit(5)
        if config.chosen == "stop":
            raise KeyboardInterrupt
        if config.chosen == "hang":
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            threading.Event().wait()
        if config.chosen == "kill" and not (folder.parent / f"killed-{config.x}").exists():
            (folder.parent / f"killed-{config.x}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if config.chosen == "not_a_number":
            return float("nan")
        if config.chosen == "none":
            return None
        if config.chosen == "string":
            return "good"
        if config.chosen == "prune":
            (folder / "checkpoints").mkdir()
            raise TrialPruned
    progress = folder / "progress.txt"
    begin = int(progress.read_text()) if progress.exists() else 0  # an interrupted trial goes on where it was
    for step in range(begin, config.steps):
        time.sleep(config.sleep)
        # Tests wait for a state, not for a time: while the file is there, trials stand still and say so.
        while config.hold and Path(config.hold).exists():
            (folder / "held.txt").touch()
            time.sleep(0.02)
        progress.write_text(str(step + 1))
        with (folder / "steps.txt").open("a") as file:
            file.write(f"{os.getpid()} {step}\n")
        if trial is not None:
            trial.report(value + 1.0 / (step + 1), step=step)
            if trial.should_prune():
                raise TrialPruned
    if trial is not None:
        trial.record({"energy_mj": abs(config.x)})
    (folder / "finished.txt").write_text(str(value))
    if config.objectives == 2:
        return value, abs(config.x)
    return value


if __name__ == "__main__":
    main()
