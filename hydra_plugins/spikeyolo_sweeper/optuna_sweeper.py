"""``hydra/sweeper=optuna``: the door to :mod:`spikeyolo.sweep`. Hydra imports this at every start: nothing heavy here.

It takes the names of the official plugin (``hydra-optuna-sweeper``); with both installed the one imported last wins, so
uninstall that one.
"""

from __future__ import annotations

from hydra_plugins.spikeyolo_sweeper._configuration import declare
from spikeyolo.sweep.sweeper import OptunaSweeper as _OptunaSweeper


class OptunaSweeper(_OptunaSweeper):
    """Hydra takes classes that are defined under ``hydra_plugins`` only."""


declare()
