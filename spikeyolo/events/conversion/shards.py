"""The share of a set that one of several jobs converts: which recordings are whose follows from the set alone."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from spikeyolo.errors import ConfigError
from spikeyolo.events.conversion.convert import Conversion


def check_shard(shard: int | None, shards: int) -> None:
    """Refuse a shard that does not exist.

    Raises:
        ConfigError: names the key, what was found, and what was expected.
    """
    if shard is None and shards > 1:
        raise ConfigError(
            f"shard must be given with shards={shards}: add shard=0 (to shard={shards - 1}) to the command line, or -m "
            f"shard='range(0,{shards})'"
        )
    if shard is not None and shard >= shards:
        raise ConfigError(
            f"shard: found {shard} with shards={shards}; expected 0 to {shards - 1}, and the same shards in every job"
        )


def share_of(conversions: Sequence[Conversion], shard: int, shards: int) -> list[Conversion]:
    """What one of ``shards`` jobs converts, in the order of ``conversions``.

    The shares are disjoint, are all recordings together, and depend on nothing but the recordings' names and sizes:
    from the largest on, each goes to the job that has the fewest bytes so far (longest processing time first, Graham,
    SIAM J. Appl. Math. 17(2), 1969), so that no job has more than an even share and one recording.

    Args:
        conversions: of the whole set, of all splits.
        shard: number of the job, from 0.
        shards: how many jobs there are.
    """
    loads = [(0, 0, number) for number in range(shards)]  # bytes, recordings, job
    chosen = set()
    for conversion in sorted(conversions, key=lambda item: (-item.source.size_bytes, item.name)):
        size, count, number = loads[0]
        heapq.heapreplace(loads, (size + conversion.source.size_bytes, count + 1, number))
        if number == shard:
            chosen.add(conversion.name)
    return [conversion for conversion in conversions if conversion.name in chosen]
