"""Several processes that train together."""

from spikeyolo.engine.ranks.join import joined
from spikeyolo.engine.ranks.ranks import Ranks

__all__ = ["Ranks", "joined"]
