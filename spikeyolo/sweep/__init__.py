"""Sweeps: many runs, searched by Optuna. Knows nothing of events or networks.

``sweeper`` reads the configuration (``settings``, ``algorithms``), ``loop`` asks and tells, ``space/`` is what is
searched, ``study/`` what is remembered on disk, ``workers/`` what runs each trial in a process of its own, ``report/``
what one sees of it; ``trial`` is what a training run sees, ``messages`` what all say to one another. Nothing heavy is
imported here.
"""

from spikeyolo.sweep.trial import TrialPruned, TrialReporter, current_trial

__all__ = ["TrialPruned", "TrialReporter", "current_trial"]
