"""The training loop and what it leaves on disk."""

from spikeyolo.engine.callbacks import Callback, EarlyStopping, Outcome, Pruning, Tracking
from spikeyolo.engine.checkpoints.restore import restore_detector
from spikeyolo.engine.checkpoints.state import Position, TrainingState
from spikeyolo.engine.evaluator import DetectionEvaluator
from spikeyolo.engine.task import Pruned, Stopped, Task
from spikeyolo.engine.trainer import Trainer
from spikeyolo.engine.update.average import Average, WeightAverage
from spikeyolo.engine.update.schedule import CosineSchedule, CyclicSchedule, Schedule, StepSchedule
from spikeyolo.engine.update.step import TrainStep

__all__ = [
    "Average",
    "Callback",
    "CosineSchedule",
    "CyclicSchedule",
    "DetectionEvaluator",
    "EarlyStopping",
    "Outcome",
    "Position",
    "Pruned",
    "Pruning",
    "Schedule",
    "StepSchedule",
    "Stopped",
    "Task",
    "Tracking",
    "TrainStep",
    "Trainer",
    "TrainingState",
    "WeightAverage",
    "restore_detector",
]
