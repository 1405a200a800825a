"""A script that runs whenever it is imported, with its configuration beside it or at an absolute path."""

from __future__ import annotations

import os
from pathlib import Path

import hydra
from omegaconf import DictConfig

with Path("imported.txt").open("a") as file:
    file.write("once\n")


@hydra.main(version_base="1.3", config_path=os.environ.get("CONFIG_PATH", "conf"), config_name="parabola")
def main(config: DictConfig) -> float:
    return float(config.x) ** 2


main()
