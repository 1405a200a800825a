"""One update of the network: the step, its optimizer, learning rates and average, and how the device runs it."""

from spikeyolo.engine.update.average import Average, WeightAverage
from spikeyolo.engine.update.optimizer import AdamW, Sgd
from spikeyolo.engine.update.schedule import CosineSchedule, CyclicSchedule, Schedule, StepSchedule
from spikeyolo.engine.update.step import TrainStep

__all__ = [
    "AdamW",
    "Average",
    "CosineSchedule",
    "CyclicSchedule",
    "Schedule",
    "Sgd",
    "StepSchedule",
    "TrainStep",
    "WeightAverage",
]
