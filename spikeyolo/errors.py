"""The few exceptions a user may meet: each carries one sentence that names the file or key, what was found, and
what was expected. Entry points print that sentence and end with exit code 2 (the trace with ``debug=true``)."""

from __future__ import annotations


class SpikeyoloError(Exception):
    """Base of all errors that are the user's to mend."""


class ConfigError(SpikeyoloError):
    """A configuration key is unknown, of the wrong type, out of range, or contradicts another."""


class RecordingError(SpikeyoloError):
    """An events file or a stored recording cannot be read or written as what it claims to be."""


class LabelError(SpikeyoloError):
    """A label file does not fit its recording or its class list."""


class CheckpointError(SpikeyoloError):
    """A checkpoint is damaged or belongs to another model."""


class TrainingError(SpikeyoloError):
    """Training cannot go on with honest numbers (a loss that is not finite)."""


class LoggerError(SpikeyoloError):
    """The tracking server cannot be reached."""


class DetectionError(SpikeyoloError):
    """A table of detections cannot be read or written, or does not fit its data set."""


class SweepError(SpikeyoloError):
    """A sweep's space, storage or trials contradict one another."""
