"""Whether label times are in another unit than they are read in: before that is mended, they tell nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from spikeyolo.diagnosis.finding import Finding
from spikeyolo.diagnosis.origin import Origin, counted_in
from spikeyolo.diagnosis.written import Written
from spikeyolo.events.labels.units import TimeUnit


def other_unit(recordings: Sequence[Written]) -> TimeUnit | None:
    """That label times of more than half of the labelled recordings must be in; None: they are as they should be."""
    labelled = [item for item in recordings if item.boxes is not None]
    found = Counter(item.unit for item in labelled if item.unit is not None)
    unit, count = found.most_common(1)[0] if found else (None, 0)
    return unit if 2 * count > len(labelled) else None


def unit_finding(recordings: Sequence[Written], unit: TimeUnit, origin: Origin) -> Finding:
    """That label times are in this unit."""
    concerned = [item for item in recordings if item.unit == unit]
    mend = counted_in(origin, unit)
    first = concerned[0]
    return Finding(
        "unit",
        f"label times are in {unit_words(unit)} and read as if they were in another unit, in {len(concerned)} of "
        f"{len(recordings)} recordings: as they are read they lie outside the recording or cover next to nothing of it",
        remedy=mend.remedy,
        overrides=mend.overrides,
        entry=mend.entry,
        evidence=(
            ("the first recording lasts", f"{first.recording.end_us - first.recording.start_us} µs"),
            *((("training refuses the labels", first.refusal),) if first.refusal else ()),
        ),
    )


def unit_words(unit: TimeUnit) -> str:
    """A unit as it is written."""
    return "µs" if unit == "us" else unit
