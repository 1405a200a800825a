"""Makes the film: chooses moments and sizes, puts panels together, and writes until the end or until Ctrl-C."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from spikeyolo.errors import ConfigError
from spikeyolo.report.video import DARK, LIGHT, BoxSeries, Film, Layer, Panel, Timeline, TrackSeries, open_writer
from spikeyolo.report.video.bar import Bar
from spikeyolo.report.video.film import Kind
from spikeyolo.viewing.footage import Footage, Span
from spikeyolo.viewing.overlays import Overlay

_ROWS = 800  # a picture is magnified as long as it has no more rows
_TILE_ROWS = 540  # those of a sheet's tile
_BUSY_SHARE = 0.01  # events that are seen at a time, as a share of the sensor's pixels
_SLOWEST_DECAY = 12  # frames
_STOP_GAP_S = 0.4  # the film stops at labels that are so far apart in it
_WORDS_A_SECOND = 4  # how often digits are written anew: those that change in every picture cannot be read
_LONG_S = 180  # a longer film may not have been meant
_SHORT_S = 0.5  # nor one that is over before it is seen
_SEEN_S = 10  # a length that can be looked at
_HELD_S = 0.2  # a label without a track is seen for no longer than this

log = logging.getLogger("spikeyolo")

Advance = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class Look:
    """How the film looks; see ``conf/view.yaml``."""

    slow: float = 1.0
    fps: float | None = None
    scale: float | None = None
    background: Literal["dark", "light"] = "dark"
    layout: Literal["overlay", "side_by_side"] = "overlay"
    decay_us: float | None = None
    trail_s: float = 1.0
    stop_s: float | None = None
    tiles: int = 12


@dataclass(frozen=True)
class Filmed:
    """What was written.

    Attributes:
        path: of the film.
        frames: of the film, or tiles of the sheet.
        until_us: up to where the recording is shown, µs.
        interrupted: whether Ctrl-C ended it early.
    """

    path: Path
    frames: int
    until_us: int
    interrupted: bool = False


def film_recording(
    footage: Footage,
    span: Span,
    overlays: dict[str, Overlay],
    out: Path,
    look: Look,
    *,
    rerun: bool = False,
    tell: Advance = lambda done, total, text: None,
) -> Filmed:
    """Write a film of a recording.

    Args:
        footage, span: the recording.
        overlays: ``truth``, ``detections`` and ``tracks``, those there are.
        out: the file: ``.mp4``, ``.gif`` or ``.png``.
        look: how it looks.
        rerun: write what is seen for the Rerun viewer too, beside it.
        tell: called with frames done, frames in all, and how fast it goes.

    Raises:
        ConfigError: a setting does not fit, or a package is missing.
        DetectionError: a file cannot be written.
    """
    sheet = out.suffix.lower() == ".png"
    fps = look.fps or (20.0 if out.suffix.lower() == ".gif" else 30.0)
    palette = LIGHT if look.background == "light" else DARK
    magnify, shrink = _scale(look.scale, footage.width, footage.height, _TILE_ROWS if sheet else _ROWS)
    rows, columns = footage.height * magnify // shrink, footage.width * magnify // shrink
    size = 13 if min(rows, columns) >= 600 else 12 if min(rows, columns) >= 300 else 10
    start_us, end_us = span.shown_us
    truth = overlays.get("truth")
    looks = truth.look_us if truth is not None else np.empty(0, np.int64)
    timeline = Timeline(start_us, end_us, fps, look.slow, looks, _stop_frames(look, fps, looks))
    moments = _tiles(span, looks, look.tiles) if sheet else timeline
    frame_us = 0.0 if sheet else timeline.frame_us
    series = {kind: _series(kind, overlay, frame_us, look) for kind, overlay in overlays.items()}
    decay_us = look.decay_us or _decay(footage, span, timeline, sheet=sheet)
    bar = Bar(
        palette,
        size=size,
        start_us=start_us,
        end_us=end_us,
        title=footage.name if sheet else f"{look.slow:g} × real time",
        marks_us=looks,
        legend="truth" if truth is not None and _is_seen(truth, start_us, end_us) else None,
        busy=span.events_a_second >= 1e6,
    )
    panels = _panels(series, overlays, look.layout)
    film = Film(
        footage.width,
        footage.height,
        panels,
        palette=palette,
        bar=bar,
        size=size,
        decay_us=decay_us,
        magnify=magnify,
        shrink=shrink,
        trail_us=1e6 * look.trail_s * look.slow,
        words_every=1 if sheet else max(1, round(fps / _WORDS_A_SECOND)),
    )
    across = max(1, min(4, round(math.sqrt(look.tiles * 1.6 * film.shape[0] / film.shape[1]))))
    total = sum(frames for _, frames in moments) if sheet else len(timeline)
    if not sheet and total > _LONG_S * fps:
        log.info("%s: a film of %.0f minutes (slow=%g); duration_us=… shows a part", out, total / fps / 60, look.slow)
    if not sheet and total < _SHORT_S * fps:
        slower = (end_us - start_us) / (1e6 * _SEEN_S)
        log.info(
            "%s: a film of %.2f s (slow=%g); slow=%.1g makes about %d s", out, total / fps, look.slow, slower, _SEEN_S
        )
    done, until_us, interrupted, began = 0, start_us, False, time.perf_counter()
    with ExitStack() as stack:
        viewer = None
        if rerun:
            from spikeyolo.report.video.rerun_file import RerunFile

            layers = [layer for panel in panels for layer in panel.layers]
            viewer = stack.enter_context(
                RerunFile(
                    out.with_suffix(".rrd"),
                    width=footage.width,
                    height=footage.height,
                    layers=layers,
                    palette=palette,
                    decay_us=decay_us,
                )
            )
        writer = stack.enter_context(open_writer(out, shape=film.shape, fps=fps, palette=palette, columns=across))
        try:
            batches = footage.batches(start_us - math.ceil(8 * decay_us))
            for shot in film.shots(batches, moments, watch=None if viewer is None else viewer.add):
                writer.add(shot.picture, shot.frames)
                if viewer is not None:
                    viewer.shot(shot)
                done, until_us = done + shot.frames, shot.t_us
                tell(done, total, f"{done / (time.perf_counter() - began):.0f} frames/s")
        except KeyboardInterrupt:
            if not done:
                raise
            interrupted = True
    return Filmed(out, done, until_us, interrupted)


def _is_seen(overlay: Overlay, start_us: int, end_us: int) -> bool:
    """Whether one of its boxes lies in the part that is shown."""
    return bool(((overlay.boxes.t >= start_us) & (overlay.boxes.t <= end_us)).any())


def _scale(scale: float | None, width: int, height: int, most_rows: int) -> tuple[int, int]:
    """Picture pixels a sensor pixel, and sensor pixels a picture pixel; one of the two is 1.

    Raises:
        ConfigError: the scale is neither whole nor one over a whole number.
    """
    if scale is None:
        if height <= most_rows:
            return max(1, most_rows // height), 1
        return 1, -(-height // most_rows)
    if scale >= 1 and scale == round(scale):
        return round(scale), 1
    if scale < 1 and abs(round(1 / scale) * scale - 1) < 0.02:
        return 1, round(1 / scale)
    raise ConfigError(f"scale: found {scale:g}; expected a whole number, or 0.5, 0.33, 0.25, … (1 over a whole number)")


def _stop_frames(look: Look, fps: float, looks: npt.NDArray[np.int64]) -> int:
    """For how many frames the film stops at each label."""
    if look.stop_s is not None:
        return round(look.stop_s * fps)
    gap_us = float(np.median(np.diff(looks))) if len(looks) > 1 else np.inf
    return max(1, round(0.25 * fps)) if gap_us >= 1e6 * _STOP_GAP_S * look.slow else 0


def _series(kind: str, overlay: Overlay, frame_us: float, look: Look) -> BoxSeries:
    boxes = overlay.boxes
    columns = (boxes.t, boxes.xyxy, boxes.class_id, boxes.track_id, boxes.confidence)
    if kind == "tracks":
        return TrackSeries(*columns, bridge_us=2 * frame_us, shortest_hold_us=frame_us)
    if kind == "detections":
        return BoxSeries(*columns, shortest_hold_us=frame_us, gather_us=frame_us)
    return BoxSeries(*columns, longest_hold_us=1e6 * _HELD_S * look.slow, shortest_hold_us=frame_us)


def _panels(series: dict[str, BoxSeries], overlays: dict[str, Overlay], layout: str) -> list[Panel]:
    """One panel with all, or one each for detections and tracks.

    Raises:
        ConfigError: there are no two things to stand side by side.
    """
    both = "detections" in series and "tracks" in series
    kinds: list[Kind] = [kind for kind in get_args(Kind) if kind in series]
    layers = {
        kind: Layer(
            kind,
            series[kind],
            overlays[kind].classes,
            labelled=not (both and layout == "overlay" and kind == "detections"),
        )
        for kind in kinds
    }
    if layout == "overlay":
        return [Panel(list(layers.values()))]
    if len(layers) < 2:
        found = ", ".join(layers) or "neither"
        raise ConfigError(
            f"layout=side_by_side: found {found}; expected two of labels, detections and tracks to stand side by side"
        )
    if both:
        below = [layers["truth"]] if "truth" in layers else []
        return [Panel([*below, layers[kind]], title=kind) for kind in ("detections", "tracks")]
    return [Panel([layer], title=kind) for kind, layer in layers.items()]


def _tiles(span: Span, looks: npt.NDArray[np.int64], number: int) -> list[tuple[int, int]]:
    """Moments spread evenly over what is shown; over the times of its labels, where it has as many."""
    start, end = span.shown_us
    looks = looks[(looks > start) & (looks <= end)]
    if len(looks) >= number:
        chosen = looks[((np.arange(number) + 0.5) / number * len(looks)).astype(int)]
    else:
        chosen = np.unique(np.rint(start + (np.arange(number) + 1) / number * (end - start)).astype(np.int64))
    return [(int(t), 1) for t in chosen]


def _decay(footage: Footage, span: Span, timeline: Timeline, *, sheet: bool) -> float:
    """How fast events fade, so that edges are seen: a frame, or longer where events are rare."""
    wanted = 1e6 * _BUSY_SHARE * footage.width * footage.height / max(span.events_a_second, 1e-9)
    if sheet:
        return wanted
    return float(np.clip(wanted, timeline.frame_us, _SLOWEST_DECAY * timeline.frame_us))
