"""``predict demo=true``: what the command line did not name is the demonstration's own, and a film is made of it."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from spikeyolo.demo.recording import CHECKPOINT, demo_recording
from spikeyolo.detections import DetectionTable
from spikeyolo.events.labels import LabelRules
from spikeyolo.report.console import Console
from spikeyolo.tracking import ByteTrack, track_table
from spikeyolo.viewing.filming import Look, film_recording
from spikeyolo.viewing.footage import open_footage, span_of
from spikeyolo.viewing.overlays import label_overlay, table_overlay

FOLDER = "demo"

log = logging.getLogger("spikeyolo")


def fill_in(config: DictConfig) -> None:
    """Put the shipped checkpoint, the simulated recording, the folder ``demo`` and one thread where nothing was chosen.

    Raises:
        RecordingError: the recording cannot be written.
    """
    config.out = config.out or FOLDER
    if config.threads is None:
        config.threads = 1  # so small a network gains nothing from more, and loses much where others are at work
    if OmegaConf.is_missing(config, "checkpoint"):
        config.checkpoint = str(CHECKPOINT)
    if OmegaConf.is_missing(config, "source"):
        config.source = str(demo_recording(Path(config.out)))


def show(table: Path, source: str) -> Path:
    """Track the detections of one recording, and make a film of both a hundred times slower than real time.

    Args:
        table: of detections; tracks and film are written beside it.
        source: the recording.

    Returns:
        The film.

    Raises:
        SpikeyoloError: the recording or the table cannot be read, or a file cannot be written.
    """
    found = DetectionTable.read(table)
    # objects that are seen for some 10 ms: a second's patience, as at 30 frames a second, would be without end
    tracker = ByteTrack(confirm_us=1_500, lost_after_us=12_000)
    tracked = track_table(found, tracker)
    tracks = tracked[tracked.track_id >= 0].write(table.with_name("tracks.parquet"))
    film = table.with_name("demo.mp4")
    with open_footage(source, {}) as footage, Console().stages("film") as tell:
        span = span_of(footage, start_us=0, duration_us=None, whole=True)
        overlays = {"tracks": table_overlay(footage, span, tracks, recording=None, min_score=0.3, ids="needed")}
        truth = label_overlay(footage, span, None, found.classes, LabelRules())
        if truth is not None:
            overlays["truth"] = truth
        filmed = film_recording(footage, span, overlays, film, Look(slow=0.01), tell=tell)
    if filmed.interrupted:
        raise KeyboardInterrupt
    return film
