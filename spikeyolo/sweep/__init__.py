"""Sweeps: many runs, searched by Optuna. Knows nothing of events or networks.

``sweeper`` reads the configuration, ``loop`` asks and tells, ``study`` keeps the budget on disk, ``pool`` runs each
trial in a process of its own (``cluster``: through a launcher), ``trial`` is what a training run sees of it, and
``messages`` is what they say to one another. Nothing heavy is imported here.
"""

from spikeyolo.sweep.trial import TrialPruned, TrialReporter, current_trial

__all__ = ["TrialPruned", "TrialReporter", "current_trial"]
