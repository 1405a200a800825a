"""The trained network for inference: folded, binary (spike-driven), and in the runtimes that can run it."""

from spikeyolo.model.inference.backend import Backend, InferenceDetector, Precision, check_backend
from spikeyolo.model.inference.binary import spike_driven
from spikeyolo.model.inference.fold import FoldReport, compare, fold, is_folded, macs
from spikeyolo.model.inference.onnx_file import OnnxDetector
from spikeyolo.model.inference.size import weight_bytes

__all__ = [
    "Backend",
    "FoldReport",
    "InferenceDetector",
    "OnnxDetector",
    "Precision",
    "check_backend",
    "compare",
    "fold",
    "is_folded",
    "macs",
    "spike_driven",
    "weight_bytes",
]
