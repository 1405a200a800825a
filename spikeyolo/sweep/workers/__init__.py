"""What runs trials: ``devices`` plans the workers, ``pool`` gives them trials, ``server`` is its line to the warm
process of ``forkserver``, ``job`` runs one trial as Hydra would, ``cluster`` through a launcher.

The warm process imports only what it needs, so nothing is imported here.
"""
