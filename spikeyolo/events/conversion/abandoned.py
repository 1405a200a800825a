"""What killed jobs left in a remote store: recordings below prefixes that no manifest names."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from datetime import UTC, datetime

from spikeyolo.errors import RecordingError
from spikeyolo.events.conversion.manifest import read_published
from spikeyolo.events.store.location import child, parent, reason, remote_files, remove_remote, store_errors

log = logging.getLogger(__name__)

DAY_S = 86_400.0
TOKEN_BYTES = 6  # what makes the prefix of one conversion its own
_OWN = re.compile(rf"-[0-9a-f]{{{2 * TOKEN_BYTES}}}\.zarr$")


def remove_abandoned(root: str, names: Collection[str], *, older_than_s: float = DAY_S) -> list[str]:
    """Remove what was written of these recordings and never published, if nothing was added to it for a day.

    Args:
        root: URL of the set.
        names: of recordings in its manifest.
        older_than_s: how long nothing was written below a prefix that counts as abandoned, s.

    Returns:
        URLs of what was removed.

    Raises:
        RecordingError: the store cannot be read, or something in it cannot be removed.
    """
    published = {str(child(root, item.stored)) for item in read_published(root).values()}
    removed = []
    try:
        files, _ = remote_files(root)
        files.invalidate_cache()  # listings are kept, but others write here too
        for folder in sorted({str(parent(child(root, name))) for name in names}):
            path = remote_files(folder)[1]
            found = files.ls(path, detail=False) if files.exists(path) else []
            for last in sorted(entry.rstrip("/").rpartition("/")[2] for entry in found):
                place = str(child(folder, last))
                name = _OWN.sub(".zarr", place)[len(root) + 1 :]
                if not _OWN.search(last) or name not in names or place in published:
                    continue
                written = [files.modified(file) for file in files.find(f"{path}/{last}")]
                if written and (datetime.now(UTC) - max(written)).total_seconds() >= older_than_s:
                    remove_remote(place)
                    removed.append(place)
    except store_errors() as error:
        raise RecordingError(f"{root}: cannot be cleared of what killed jobs left ({reason(error)})") from error
    if removed:
        log.info("%s: removed what killed jobs left of %d recordings (the first: %s)", root, len(removed), removed[0])
    return removed
