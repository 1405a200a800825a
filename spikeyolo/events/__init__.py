"""Recordings: decoding, storing and labelling of events. Numpy only, no torch."""

from spikeyolo.events.types import Boxes, Detections, Events

__all__ = ["Boxes", "Detections", "Events"]
