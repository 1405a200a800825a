"""What is searched: ``reading`` makes a space of Hydra's syntax, ``parameters`` is that space, ``conditions`` say when
a parameter is part of a trial, ``drawing`` makes a trial's overrides, ``constraints`` bound what a trial may record.
"""

from spikeyolo.sweep.space.conditions import Condition, parse_conditions
from spikeyolo.sweep.space.constraints import Constraint, parse_constraints
from spikeyolo.sweep.space.parameters import Parameter, SearchSpace, describe
from spikeyolo.sweep.space.reading import read_space

__all__ = [
    "Condition",
    "Constraint",
    "Parameter",
    "SearchSpace",
    "describe",
    "parse_conditions",
    "parse_constraints",
    "read_space",
]
