"""What is remembered: ``stored`` is the study on disk, ``study`` its trials, ``ledger`` whose they are, ``changes``
what differs from what it was begun with, ``starts`` the points it begins with, ``storage`` where it lies.

Workers read the ledger without Optuna, so nothing is imported here.
"""
