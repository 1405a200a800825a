"""One page that explains an evaluation, in one file that needs no network: ``evaluation.html``."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikeyolo import __version__
from spikeyolo.metrics.scores import Scores
from spikeyolo.metrics.tracking import TRACK_COUNTS, TRACK_SHARES, TrackingScores

_WORDS = {
    "steps": "Average precision after each time step of the window",
    "precision_recall": "Precision over recall at IoU 0.50",
    "threshold": "Precision, recall and F1 over the score from which detections count",
    "confusion": "Which class is taken for which; a further detection of an object counts as one of nothing",
    "errors": "How much average precision each kind of error costs",
    "calibration": "Share of right detections over their score",
    "properties": "Share of objects found over their size, speed and events",
    "worst_windows": "The windows with most errors: events, truth and detections",
}
_FIGURES = {
    "map": "mAP (IoU 0.50 to 0.95)",
    "map50": "mAP50",
    "map75": "mAP75",
    "map_small": "mAP, small (to 32² px)",
    "map_medium": "mAP, medium (to 96² px)",
    "map_large": "mAP, large",
    "recall": "average recall",
    "precision": "precision at best F1",
    "recall50": "recall at best F1",
    "f1": "best F1",
    "f1_confidence": "from the score on",
    "truths": "true boxes",
    "truths_left_out": "true boxes left out",
}
_COSTS = {
    "parameters": "parameters",
    "size/weight_bytes": "bytes of weights, spike-driven",
    "energy/gmacs": "GMACs a time step",
    "energy/gsops": "GSOPs a time step",
    "energy/firing_rate": "firing rate",
    "energy/window_mj": "mJ a window",
    "energy/ann_window_mj": "mJ a window, ANN twin",
    "speed/encode_ms": "ms to encode a window",
    "speed/encode_p99_ms": "… 99 % within",
    "speed/network_ms": "ms of the network",
    "speed/network_p99_ms": "… 99 % within",
    "speed/decode_ms": "ms to decode",
    "speed/decode_p99_ms": "… 99 % within",
    "speed/windows_per_second": "windows a second",
    "speed/other_cores": "cores kept busy by others",
}


def write_page(
    path: Path,
    *,
    title: str,
    subtitle: str,
    scores: Scores,
    tracks: TrackingScores | None = None,
    costs: Mapping[str, Any],
    figures: Sequence[Path],
    worst: Path | None,
    no_worst: str,
    settings: Mapping[str, Any],
    command: str,
) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: of the HTML file.
        title, subtitle: what was evaluated.
        scores: under a protocol.
        tracks: what track ids score; None: there are none.
        costs: latency, operations and energy; empty where they were not measured.
        figures: PNG files, put into the page.
        worst: the picture of the worst windows, and else
        no_worst: why there is none.
        settings: flat, name → value.
        command: that makes the same again.

    Raises:
        OSError: it cannot be written.
    """
    headline = [("mAP50", scores.figures["map50"]), ("mAP", scores.figures["map"]), ("best F1", scores.figures["f1"])]
    if tracks is not None:
        headline.append(("HOTA", tracks.figures["hota"]))
    shown = [(name, number(value)) for name, value in headline]
    if "energy/window_mj" in costs:
        shown.append(("mJ a window", number(costs["energy/window_mj"])))
    if "speed/network_ms" in costs:
        shown.append((f"ms a window, {costs.get('device', '')}", number(costs["speed/network_ms"])))
    return write_html(
        path,
        "page.html",
        title=title,
        subtitle=subtitle,
        headline=shown,
        tables=[*_tables(scores, costs), *_tracks(tracks)],
        figures=[_picture(figure) for figure in figures],
        worst=None if worst is None else _picture(worst),
        no_worst=no_worst,
        settings=[(name, setting(value)) for name, value in settings.items()],
        command=command,
    )


def write_html(path: Path, template: str, **values: Any) -> Path:
    """Write a page from one of the templates of this folder, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    text = environment.get_template(template).render(version=__version__, **values)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def embedded(path: Path) -> str:
    """A PNG as an address that stands in the page itself."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def number(value: Any) -> str:
    """A figure as people read it; a dash for one that is not defined."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) and 0.001 <= abs(value) < 1000 else f"{value:.4g}"


def setting(value: Any) -> str:
    """A setting as a command line has it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(setting, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _tables(scores: Scores, costs: Mapping[str, Any]) -> list[dict[str, Any]]:
    def rows(named: Mapping[Any, Mapping[str, float]], keys: Sequence[str]) -> list[list[str]]:
        counts = ("truths", "looks")
        return [
            [str(name), *(number(int(row[key]) if key in counts else row[key]) for key in keys)]
            for name, row in named.items()
        ]

    figures = [[_FIGURES.get(name, name), number(value)] for name, value in scores.figures.items()]
    figures += [[_FIGURES.get(name, name.replace("_", " ")), number(count)] for name, count in scores.counts.items()]
    tables = [
        {"title": "Figures", "header": [], "rows": figures},
        {
            "title": "Classes",
            "header": ["class", "mAP", "mAP50", "recall", "boxes"],
            "rows": rows(scores.per_class, ("ap", "ap50", "recall", "truths")),
        },
    ]
    worst = {name: scores.per_recording[name] for name in scores.worst_recordings()}
    for title, heading, named in (
        ("Worst recordings", "recording", worst),
        ("Tags of recordings", "tag", scores.per_tag),
        ("Time steps of the window", "step", scores.per_step),
    ):
        if named:
            tables.append(
                {
                    "title": title,
                    "header": [heading, "mAP", "mAP50", "looks"],
                    "rows": rows(named, ("map", "map50", "looks")),
                }
            )
    if costs:
        known = [[label, number(costs[name])] for name, label in _COSTS.items() if name in costs]
        tables.append({"title": f"Costs, {costs.get('device', '')}", "header": [], "rows": known})
    return tables


def _tracks(tracks: TrackingScores | None) -> list[dict[str, Any]]:
    if tracks is None:
        return []
    rows = []
    for name, row in {**tracks.per_class, "all": tracks.figures}.items():
        shares = [number(row[key]) for key in TRACK_SHARES.values()]
        rows.append([name, *shares, *(number(int(row[key])) for key in TRACK_COUNTS.values())])
    heads = [*TRACK_SHARES, *TRACK_COUNTS]
    return [{"title": "Tracks", "header": ["class", *heads], "rows": rows}]


def _picture(path: Path) -> dict[str, Any]:
    return {
        "source": embedded(path),
        "alt": _WORDS.get(path.stem, path.stem),
        "wide": path.stem == "properties",
    }
