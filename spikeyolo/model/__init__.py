"""The spiking network: neurons, blocks, detector, decoding, and its forms for inference and exchange."""

from spikeyolo.model.decode import Decoder, decode_boxes
from spikeyolo.model.detector import Detector
from spikeyolo.model.inference import InferenceDetector, fold
from spikeyolo.model.predictions import Predictions
from spikeyolo.model.streaming import DetectorState

__all__ = ["Decoder", "Detector", "DetectorState", "InferenceDetector", "Predictions", "decode_boxes", "fold"]
