"""The arguments of Optuna's samplers and pruners with their defaults, as the plugin offers them to Hydra.

Hydra composes its configuration before Optuna is imported, so they are kept in a file; after a new Optuna:

    python -m spikeyolo.sweep.signatures > arguments.py && mv arguments.py hydra_plugins/spikeyolo_sweeper/_arguments.py
"""

from __future__ import annotations

import inspect
import pprint
from typing import Any

__all__ = ["arguments"]

SAMPLERS = {
    "tpe": "TPESampler",
    "motpe": "TPESampler",
    "random": "RandomSampler",
    "cmaes": "CmaEsSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
    "gp": "GPSampler",
    "qmc": "QMCSampler",
    "grid": "GridSampler",
    "bruteforce": "BruteForceSampler",
    "partialfixed": "PartialFixedSampler",
}
PRUNERS = {
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "wilcoxon": "WilcoxonPruner",
    "patient": "PatientPruner",
    "threshold": "ThresholdPruner",
}
# What Optuna asks for and has no default of its own.
CHOSEN: dict[str, dict[str, Any]] = {"percentile": {"percentile": 25.0}, "patient": {"patience": 3}}
LEFT_OUT = {"grid": ("search_space",)}  # from the searched parameters


def arguments() -> dict[str, dict[str, dict[str, Any]]]:
    """Group → option → argument → default; null stands for what is Optuna's to choose."""
    import optuna

    found: dict[str, dict[str, dict[str, Any]]] = {"sampler": {}, "pruner": {"none": {"_target_": None}}}
    for group, options, module in (("sampler", SAMPLERS, optuna.samplers), ("pruner", PRUNERS, optuna.pruners)):
        for option, name in options.items():
            parameters = inspect.signature(getattr(module, name)).parameters.values()
            defaults = {p.name: _plain(p.default) for p in parameters if p.name not in LEFT_OUT.get(option, ())}
            found[group][option] = {"_target_": f"optuna.{group}s.{name}", **defaults, **CHOSEN.get(option, {})}
    return found


def _plain(default: object) -> object:
    return default if isinstance(default, bool | int | float | str) else None


if __name__ == "__main__":
    print('"""Written by ``python -m spikeyolo.sweep.signatures``: see there."""\n\nfrom typing import Any\n')
    print(f"ARGUMENTS: dict[str, dict[str, dict[str, Any]]] = {pprint.pformat(arguments(), sort_dicts=False)}")
