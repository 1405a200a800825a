"""What training saves and goes on from: the position and parts of a run, the folder that holds them through a power
cut, the way back, and what may change on it.
"""

from spikeyolo.engine.checkpoints.restore import restore_detector
from spikeyolo.engine.checkpoints.state import Position, TrainingState

__all__ = ["Position", "TrainingState", "restore_detector"]
