"""Tracks from a table of detections: ``python -m spikeyolo.track detections=FILE``, scored where there is a truth."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, MinLen
from omegaconf import DictConfig

from spikeyolo import entry

if TYPE_CHECKING:
    from spikeyolo.detections import DetectionTable
    from spikeyolo.evaluation.tables.stored_truth import StoredTruth
    from spikeyolo.metrics.tracking import TrackingScores

log = logging.getLogger("spikeyolo")

TRACKS = "tracks.parquet"
BEGIN = ("new_score", "min_score", "confirm_us")  # settings of trackers that decide whether there is a track
OPTIONS: Mapping[str, Any] = {
    "detections": str,
    "truth": str | None,
    "step_us": Annotated[int, Ge(1)] | None,
    "interpolate_us": Annotated[int, Ge(0)],
    "out": str | None,
    "clock": Literal["start", "camera"],
    "save": list[Literal["coco", "prophesee", "mot"]],
    "fresh": bool,
    "objective": str | Annotated[list[str], MinLen(1)],
    "debug": bool,
}


@entry.in_a_sentence
def track(config: DictConfig) -> float | tuple[float, ...] | None:
    """Tracks of one composed configuration; returns what ``objective`` names, for a sweep, where there is a truth."""
    return run(config)


def run(config: DictConfig) -> float | tuple[float, ...] | None:
    """The tracking itself; errors are raised as they are.

    Raises:
        SpikeyoloError: a key is wrong, a table cannot be read or written, or the tables do not fit one another.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from spikeyolo import schema
    from spikeyolo.errors import ConfigError
    from spikeyolo.training import objective

    entry.quieten()
    if OmegaConf.is_missing(config, "detections"):
        raise ConfigError("detections: found nothing; expected detections=FILE, a table of Parquet")
    options = schema.checked_options(config, OPTIONS)
    node = OmegaConf.create({group: OmegaConf.to_container(config[group]) for group in ("tracker", "protocol")})
    schema.check(node, groups=("tracker", "protocol"))
    tracker, protocol = schema.build(node.tracker), schema.build(node.protocol)
    runtime = HydraConfig.get()
    sweeping = runtime.mode == RunMode.MULTIRUN
    source = Path(options["detections"])
    stored, why = _truth(options["truth"], source, options["clock"])
    if stored is None and sweeping:
        why = why or "there is no truth to score the tracks with"
        raise ConfigError(f"objective: {why}; expected truth=FILE with a track id in each box")
    folder = Path(runtime.runtime.output_dir) if sweeping else source.parent
    path = Path(options["out"]) if options["out"] else folder / TRACKS
    made_by = {"tracker": OmegaConf.to_container(node.tracker), "interpolate_us": options["interpolate_us"]}
    tracks = tracked(source, path, tracker, made_by, step_us=options["step_us"], fresh=options["fresh"])
    for place in _saved(tracks, path, options["save"], options["clock"]):
        log.info("%s", place)
    log.info("%s", path)
    if stored is None:
        if why:
            log.warning("%s, so that tracks are not scored; expected one in each box", why)
        return None
    scores = _scores(tracks, stored, protocol)
    print(scores.table())
    _write_scores(path.with_name(f"{path.stem}_scores.json"), scores)
    asked = options["objective"]
    return objective.chosen(scores.flat(), [asked] if isinstance(asked, str) else asked)


def tracked(
    source: Path, path: Path, tracker: Any, made_by: Mapping[str, Any], *, step_us: int | None, fresh: bool
) -> DetectionTable:
    """The table of tracks at ``path``, found again where table and settings are unchanged, else made.

    Args:
        source: the table of detections.
        path: of the tracks.
        tracker: its settings.
        made_by: these settings, JSON values.
        step_us: time between steps, µs; None: the table's usual one.
        fresh: make it again in any case.

    Raises:
        DetectionError: a table cannot be read or written.
    """
    from spikeyolo.detections import DetectionTable
    from spikeyolo.detections.made import file_digest, is_made_from
    from spikeyolo.detections.pieces import outline
    from spikeyolo.errors import ConfigError
    from spikeyolo.tracking import NoTracker, interpolated, track_file, track_whole, usual_step_us

    if path.resolve() == source.resolve():
        raise ConfigError(f"out: found {path}, the table of detections itself; expected another file")
    in_order = outline(source)
    table = DetectionTable.read(source) if in_order is None else in_order
    step_us = usual_step_us(table) if step_us is None else step_us
    before = table.metadata.get("identity")
    identity = {
        **(before if isinstance(before, dict) else {}),
        **made_by,
        "detections": file_digest(source),
        "step_us": step_us,
    }
    if not fresh and is_made_from(path, identity):
        log.info("%s: table and settings are unchanged (fresh=true makes it again)", path)
        return DetectionTable.read(path)
    if in_order is None:
        made = track_whole(table, tracker, step_us=step_us)
    else:
        made = track_file(source, tracker, step_us=step_us)
    found = made.table
    if isinstance(tracker, NoTracker) and made.rows and not made.tracked:
        raise ConfigError(f"tracker: found none, but {source} has no track ids; expected tracker=bytetrack")
    whole = interpolated(found, gap_us=made_by["interpolate_us"]) if made_by["interpolate_us"] else found
    metadata = {**table.metadata, **made_by, "tracked": str(source), "identity": identity}
    tracks = replace(whole[whole.track_id >= 0], metadata=metadata)
    tracks.write(path)
    least = made_by["tracker"].get("new_score")
    log.info(
        "%d tracks: %d of %d detections%s; %s",
        made.tracks,
        made.tracked,
        made.rows,
        "" if least is None else f" (a track begins at a score of tracker.new_score={least})",
        "nobody tells how long a step is, so that times without rows count as not looked at (step_us=… tells)"
        if step_us is None
        else f"steps of {step_us} µs",
    )
    if made.rows and not len(tracks):
        settings = ", ".join(f"tracker.{key}={value}" for key, value in made_by["tracker"].items() if key in BEGIN)
        log.warning(
            "%s: nothing became a track; its best score is %.2f and its rows last %d µs, where %s",
            source,
            made.best,
            made.span_us,
            settings,
        )
    return tracks


def _truth(named: str | None, source: Path, clock: Literal["start", "camera"]) -> tuple[StoredTruth | None, str]:
    """What was asked for, or what lies beside the detections if it tells all tracks; else why it does not."""
    from spikeyolo.evaluation.tables.stored_truth import StoredTruth
    from spikeyolo.metrics.tracking import without_ids

    if named is not None:
        from spikeyolo.detections import DetectionTable
        from spikeyolo.detections.pieces import outline
        from spikeyolo.evaluation.tables.label_truth import read_truth

        found = outline(source)
        found = DetectionTable.read(source, embeddings=False) if found is None else found
        return read_truth(Path(named), found, clock=clock), ""
    beside = source.with_name("truth.parquet")
    if not beside.is_file():
        return None, ""
    stored = StoredTruth.read(beside)
    without = without_ids(stored.scored())
    return (None, f"{beside} has {without}") if without else (stored, "")


def _scores(tracks: DetectionTable, stored: StoredTruth, protocol: Any) -> TrackingScores:
    import numpy as np

    from spikeyolo.evaluation.tables.stored_truth import of_step, own_step, ran_at
    from spikeyolo.metrics.tracking import track_scores

    truth = stored.scored()
    frames = ran_at(tracks, stored, truth)
    scores = track_scores(of_step(tracks, own_step(tracks, stored)), truth, protocol, frames=frames)
    times, looks = np.unique(tracks.t_us), np.unique(truth.looks.t_us)
    if len(times) and len(looks):
        after = np.searchsorted(times, looks)
        beside = [times[np.clip(after - k, 0, len(times) - 1)] for k in (0, 1)]
        nearest = int(np.abs(np.stack(beside) - looks).min())
        if nearest > protocol.time_tolerance_us:
            log.warning(
                "%s: no track lies at one of its times, the nearest %d µs beside it; expected "
                "protocol.time_tolerance_us=%d or more",
                stored.path,
                nearest,
                nearest,
            )
    return scores


def _saved(tracks: DetectionTable, path: Path, formats: list[str], clock: str) -> list[Path]:
    """Write the tracks in other programs' formats beside the table, their times on the clock."""
    from spikeyolo.detections import coco, mot, prophesee
    from spikeyolo.detections.clock import OFFSETS, to_camera

    if formats and clock == "camera":
        tracks = to_camera(tracks, tracks.metadata.get(OFFSETS, {}))
    written = []
    if "coco" in formats:
        written.append(coco.write(tracks, path.with_suffix(".json")))
    if "prophesee" in formats:
        written.append(prophesee.write(tracks, path.with_name(f"{path.stem}_prophesee")))
    if "mot" in formats:
        written.append(mot.write(tracks, path.with_name(f"{path.stem}_mot")))
    return written


def _write_scores(path: Path, scores: TrackingScores) -> None:
    from spikeyolo.detections.files import whole_file

    with whole_file(path) as partial:
        partial.write_text(scores.json() + "\n", encoding="utf-8")


def main() -> None:
    """Run from a command line."""
    entry.run(track, "track")


if __name__ == "__main__":
    main()
