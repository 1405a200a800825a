"""The application both plugins search: a parabola that sleeps, so that what is measured is the sweep's own cost."""

import time

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="app")
def main(config: DictConfig) -> float:
    # One in five is five times longer.
    time.sleep(config.seconds * (5 if HydraConfig.get().job.num % 5 == config.long_one else 1))
    return (config.x - 2.0) ** 2 + abs(config.y)


if __name__ == "__main__":
    main()
