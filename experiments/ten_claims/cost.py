"""Processor time of an update in each arm, as a ratio to all on: what tells equal steps from equal time.

    python -m experiments.ten_claims.cost --set embedded

From the repository's root. Arms take turns, one thread each, so that the load of the machine falls on all alike. Words
with ``=`` are overrides of every arm, as of ``run``.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from experiments.equal_updates import Prepared, prepare
from experiments.ten_claims.claims import ALL_ON, CLAIMS
from spikeyolo.entry import config_directory
from spikeyolo.windows.batch import Batch

HERE = Path(__file__).resolve().parent


def prepared(arm: str, name: str, overrides: Sequence[str]) -> Prepared:
    """An arm as ``run`` trains it, before its first update."""
    GlobalHydra.instance().clear()
    paths = ",".join(f"file://{folder}" for folder in (HERE / "conf", HERE.parent / "etram_like" / "conf"))
    words = ["+experiment=ten_claims", f"set={name}", f"arm={arm}", f"hydra.searchpath=[{paths}]", *overrides]
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return prepare(compose("train", words))


def endless(one: Prepared) -> Iterator[Batch]:
    batches = (batch for epoch in itertools.count() for batch in one.loader.epoch(epoch))
    return (batch for batch in batches if len(batch.windows) == one.data.batch_size)  # the last one may be smaller


def update(one: Prepared, batch: Batch) -> float:
    """One update; its processor time in s."""
    began = time.process_time()
    one.step.gradients(batch)
    one.step.clip()
    one.step.update()
    return time.process_time() - began


def measure(every: dict[str, Prepared], *, rounds: int, updates: int) -> dict[str, float]:
    """Arm → median over rounds of an update's processor time, s; the first round is left out."""
    windows = {arm: endless(one) for arm, one in every.items()}
    taken: dict[str, list[float]] = {arm: [] for arm in every}
    for _ in range(rounds + 1):
        for arm, one in every.items():
            taken[arm].append(sum(update(one, next(windows[arm])) for _ in range(updates)) / updates)
    return {arm: statistics.median(seconds[1:]) for arm, seconds in taken.items()}


def main(words: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=("embedded", "etram_like"), default="embedded")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--updates", type=int, default=3, help="of each arm in a round")
    parser.add_argument("overrides", nargs="*", help="of every arm, as model=pico")
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    arms = [ALL_ON, *(claim.arm for claim in CLAIMS if claim.arm != "few_epochs")]  # whose updates are those of all on
    found = measure(
        {arm: prepared(arm, asked.set, asked.overrides) for arm in arms}, rounds=asked.rounds, updates=asked.updates
    )
    for arm, seconds in found.items():
        print(f"{arm:14} {1000 * seconds:7.1f} ms  {seconds / found[ALL_ON]:.3f}")
    return found


if __name__ == "__main__":
    main()
