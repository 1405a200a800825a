"""What training keeps less of: recomputation and saved tensors."""

from spikeyolo.model.memory.recompute import recomputed
from spikeyolo.model.memory.saving import ComputedAgain, SpikesAsCounts

__all__ = ["ComputedAgain", "SpikesAsCounts", "recomputed"]
