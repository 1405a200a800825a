"""Protocols by which detections are scored: which boxes and times count, named and versioned."""

from spikeyolo.metrics.protocols.coco import Coco
from spikeyolo.metrics.protocols.dsec import Dsec
from spikeyolo.metrics.protocols.etram import Etram
from spikeyolo.metrics.protocols.prophesee import PropheseeGen1, PropheseeOneMegapixel
from spikeyolo.metrics.protocols.protocol import Protocol

__all__ = ["Coco", "Dsec", "Etram", "PropheseeGen1", "PropheseeOneMegapixel", "Protocol"]
