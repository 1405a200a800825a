"""A film of a recording: ``python -m spikeyolo.view source=FILE labels=FILE``: events, labels, detections, tracks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, Len
from omegaconf import DictConfig

from spikeyolo import entry

if TYPE_CHECKING:
    from spikeyolo.viewing.filming import Filmed
    from spikeyolo.viewing.footage import Footage, Span
    from spikeyolo.viewing.overlays import Overlay

log = logging.getLogger("spikeyolo")

Number = int | float
OPTIONS: Mapping[str, Any] = {
    "source": str,
    "labels": str | None,
    "detections": str | None,
    "tracks": str | None,
    "recording": str | None,
    "out": str,
    "slow": Annotated[Number, Gt(0)],
    "fps": Annotated[Number, Interval(gt=0, le=240)] | None,
    "start_us": Annotated[int, Ge(0)],
    "duration_us": Annotated[int, Ge(1)] | None,
    "scale": Annotated[Number, Interval(gt=0, le=16)] | None,
    "background": Literal["dark", "light"],
    "layout": Literal["overlay", "side_by_side"],
    "decay_us": Annotated[Number, Interval(gt=0, le=1_000_000_000_000)] | None,
    "trail_s": Annotated[Number, Ge(0)],
    "stop_s": Annotated[Number, Ge(0)] | None,
    "tiles": Annotated[int, Interval(ge=1, le=100)],
    "min_score": Annotated[Number, Interval(ge=0, le=1)],
    "rerun": bool,
    "classes": list[str] | None,
    "size": Annotated[list[Annotated[int, Interval(ge=1, le=4096)]], Len(2, 2)] | None,
    "time_unit": Literal["s", "ms", "us", "ns"] | None,
    "debug": bool,
}


@entry.in_a_sentence
def view(config: DictConfig) -> None:
    """One film of a composed configuration."""
    filmed = run(config)
    log.info("%s: %d frames, up to %.6f s of the recording", filmed.path, filmed.frames, filmed.until_us / 1e6)
    if filmed.interrupted:
        raise KeyboardInterrupt


def run(config: DictConfig) -> Filmed:
    """The film itself.

    Raises:
        SpikeyoloError: a key is wrong, or recording, labels or tables cannot be read or do not belong together.
    """
    from omegaconf import OmegaConf

    from spikeyolo import schema
    from spikeyolo.errors import ConfigError

    entry.quieten()
    if OmegaConf.is_missing(config, "source"):
        raise ConfigError("source must be given: add source=FILE to the command line")
    options = schema.checked_options(config, OPTIONS)
    keys = ("label_rules", "event_rules", "filters")
    node = OmegaConf.create({key: OmegaConf.to_container(schema.checked_node(config, key)) for key in keys})
    schema.check(node)
    from spikeyolo.events.conversion.identity import check_stored
    from spikeyolo.events.datasets import sensor_size
    from spikeyolo.report.console import Console
    from spikeyolo.report.video.writers import check_target
    from spikeyolo.viewing.filming import Look, film_recording
    from spikeyolo.viewing.footage import open_footage, span_of
    from spikeyolo.viewing.overlays import check_label_rules

    out = Path(options["out"])
    check_target(out)
    reading = {
        "event_rules": schema.build(node.event_rules),
        "filters": schema.build(node.filters),
        "size": sensor_size(options["size"]),
        "time_unit": options["time_unit"],
    }
    given = entry.given_keys()
    look = Look(**{key: options[key] for key in Look.__dataclass_fields__})
    with open_footage(options["source"], reading, beside=options["labels"] is None) as footage:
        if footage.stored is not None:
            check_stored(footage.address, given)
        check_label_rules(footage, options["labels"], given)
        overlaid = any(options[key] is not None for key in ("labels", "detections", "tracks"))
        span = span_of(
            footage,
            start_us=options["start_us"],
            duration_us=options["duration_us"],
            whole=overlaid or footage.labels is not None,
        )
        overlays = found_overlays(footage, span, options, schema.build(node.label_rules))
        with Console().stages("film") as tell:
            return film_recording(footage, span, overlays, out, look, rerun=options["rerun"], tell=tell)


def found_overlays(footage: Footage, span: Span, options: Mapping[str, Any], rules: Any) -> dict[str, Overlay]:
    """Labels and tables, those there are, by ``truth``, ``detections`` and ``tracks``."""
    from spikeyolo.viewing.overlays import label_overlay, of_classes, table_overlay

    def table(kind: str) -> Overlay:
        return table_overlay(
            footage,
            span,
            Path(options[kind]),
            recording=options["recording"],
            min_score=0.0 if kind == "labels" else options["min_score"],
            ids="kept" if kind == "labels" else "none" if kind == "detections" else "needed",
            before_us=1e6 * options["trail_s"] * options["slow"],
        )

    overlays: dict[str, Overlay] = {}
    if options["labels"] is not None and options["labels"].endswith(".parquet"):
        overlays["truth"] = of_classes(table("labels"), options["classes"], options["labels"])
    elif options["labels"] != "none":
        labels = None if options["labels"] is None else Path(options["labels"])
        truth = label_overlay(footage, span, labels, options["classes"], rules)
        if truth is not None:
            overlays["truth"] = truth
    for kind in ("detections", "tracks"):
        if options[kind] is not None:
            overlays[kind] = table(kind)
    return overlays


def main() -> None:
    """Run from a command line."""
    entry.run(view, "view")


if __name__ == "__main__":
    main()
