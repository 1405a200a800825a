"""Whether events of both polarities are there: a camera's biases or a misread column may leave one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spikeyolo.diagnosis.finding import Finding, share
from spikeyolo.report.pictures.diagnosis import draw_bars

ONE_SIDED = 0.02  # share of events of the rarer polarity below which the other stands alone
_SHOWN = 30  # recordings of a picture


def one_sided(names: Sequence[str], on: Sequence[float]) -> list[Finding]:
    """That more than a tenth of the recordings have one polarity only.

    Args:
        names: of the recordings.
        on: share of ON events of each.
    """
    sided = [name for name, part in zip(names, on) if min(part, 1 - part) < ONE_SIDED]
    if len(sided) <= len(names) / 10:
        return []
    kind = "ON" if float(np.mean(on)) > 0.5 else "OFF"
    shown = list(zip(names, on))[:_SHOWN]
    return [
        Finding(
            "polarity",
            f"{len(sided)} of {len(names)} recordings have {kind} events only: of two channels one is empty",
            remedy="look at the column of polarities in the events file (it must be 0 or 1, or −1 or 1, and its name "
            "that of the format) and at the camera's biases; if the camera gives nothing else, one channel is enough",
            evidence=tuple((name, f"ON {share(part)}") for name, part in shown[:5]),
            draw=lambda path: draw_bars(path, shown, label="share of events that are ON", line=0.5),
        )
    ]
