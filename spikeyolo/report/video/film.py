"""Pictures of a recording, one after the other: events, what is seen in them, and the bar below."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from spikeyolo.events.types import Events
from spikeyolo.report.video.bar import Bar
from spikeyolo.report.video.boxes import BoxSeries, Seen
from spikeyolo.report.video.drawing import PLATE, Pixels, outline, trail, word, write, write_on_plate
from spikeyolo.report.video.overlap import overlaps
from spikeyolo.report.video.palette import Palette, Rgb
from spikeyolo.report.video.picture import EventPicture
from spikeyolo.report.video.placing import Follower, LabelPlacer

Kind = Literal["truth", "detections", "tracks"]

_GAP = 6  # px between panels
_SAME = 0.3  # a true box needs no label of its own where one of its class overlaps it by so much


@dataclass(frozen=True, eq=False)
class Layer:
    """Boxes of one kind in a panel.

    Attributes:
        kind: ``truth`` is dashed, ``detections`` have the colours of their classes, ``tracks`` colours of their own
            and trails.
        series: the boxes.
        classes: names, in the order of class ids.
        labelled: whether they have labels.
    """

    kind: Kind
    series: BoxSeries
    classes: Sequence[str]
    labelled: bool = True


@dataclass(frozen=True, eq=False)
class Panel:
    """One view of the recording; several stand side by side.

    Attributes:
        layers: from the lowest to the topmost.
        title: in its upper left corner.
    """

    layers: Sequence[Layer]
    title: str = ""


@dataclass(frozen=True, eq=False)
class Shot:
    """One picture of the film.

    Attributes:
        t_us: its moment, µs: what was seen before.
        frames: for how many frames of the film it stands.
        picture: ``[rows, columns, 3]`` uint8; the next shot overwrites it.
        events: number of events since the last shot.
        seen: the boxes of each layer, panel by panel.
    """

    t_us: int
    frames: int
    picture: Pixels
    events: int
    seen: Sequence[Sequence[Seen]]


class Film:
    """Puts pictures together.

    Args:
        width, height: of the sensor, px.
        panels: what is shown, side by side.
        palette: its colours.
        bar: below.
        size: of words, px.
        decay_us: after so long an event has faded to 1/e, µs.
        magnify, shrink: picture pixels a sensor pixel, or sensor pixels a picture pixel.
        trail_us: for how long a track's way is seen, µs.
        words_every: so many pictures pass before digits are written anew.
    """

    def __init__(
        self,
        width: int,
        height: int,
        panels: Sequence[Panel],
        *,
        palette: Palette,
        bar: Bar,
        size: int,
        decay_us: float,
        magnify: int = 1,
        shrink: int = 1,
        trail_us: float = 0.0,
        words_every: int = 1,
    ) -> None:
        self._events = EventPicture(width, height, decay_us=decay_us, palette=palette, magnify=magnify, shrink=shrink)
        self._palette, self._bar, self._words_every = palette, bar, words_every
        rows, columns = self._events.shape
        self._column = [number * (columns + _GAP) for number in range(len(panels))]
        self._painters = [
            _PanelPainter(panel, rows, columns, palette, size, magnify / shrink, trail_us, words_every)
            for panel in panels
        ]
        self.shape = (rows + bar.height, self._column[-1] + columns)

    def shots(
        self,
        batches: Iterable[Events],
        moments: Iterable[tuple[int, int]],
        *,
        watch: Callable[[Events], None] | None = None,
    ) -> Iterator[Shot]:
        """The film's pictures.

        Args:
            batches: the recording's events, in order.
            moments: ascending, each with its number of frames.
            watch: is given the events of each shot before it.
        """
        picture = np.empty((*self.shape, 3), np.uint8)
        picture[:] = self._palette.faint
        rows, columns = self._events.shape
        meter = _RateMeter(every=self._words_every)
        feed = _Feed(batches)
        for t_us, frames in moments:
            count = 0
            for events in feed.until(t_us):
                self._events.add(events)
                meter.begin(int(events.t[0]))
                if watch is not None:
                    watch(events)
                count += len(events)
            first = picture[:rows, :columns]
            self._events.draw(t_us, first)
            for left in self._column[1:]:
                picture[:rows, left : left + columns] = first
            seen = [
                painter.paint(picture[:rows, left : left + columns], t_us)
                for painter, left in zip(self._painters, self._column, strict=True)
            ]
            self._bar.draw(picture[rows:], t_us, meter.rate(t_us, count))
            yield Shot(t_us, frames, picture, count, seen)


class _Feed:
    """Hands out events up to a time, of batches that know nothing of it."""

    def __init__(self, batches: Iterable[Events]) -> None:
        self._batches = iter(batches)
        self._rest: Events | None = None

    def until(self, t_us: int) -> Iterator[Events]:
        """Events before ``t_us`` that were not handed out yet."""
        while True:
            if self._rest is None:
                self._rest = next(self._batches, None)
                if self._rest is None:
                    return
            end = int(np.searchsorted(self._rest.t, t_us))
            if end:
                yield _rows(self._rest, slice(0, end))
            if end < len(self._rest):
                self._rest = _rows(self._rest, slice(end, None))
                return
            self._rest = None


def _rows(events: Events, part: slice) -> Events:
    return Events(events.t[part], events.x[part], events.y[part], events.p[part], events.width, events.height)


class _RateMeter:
    """Events a second, told anew now and then: digits that change in every picture cannot be read."""

    def __init__(self, *, every: int) -> None:
        self._every = every
        self._pictures = self._events = 0
        self._since_us: int | None = None
        self._rate = 0.0

    def begin(self, t_us: int) -> None:
        """Count from here, unless counting has begun."""
        self._since_us = t_us if self._since_us is None else self._since_us

    def rate(self, t_us: int, events: int) -> float:
        """The rate at a picture's moment, with the events since the last one."""
        self._events += events
        if self._since_us is not None and t_us > self._since_us and self._pictures % self._every == 0:
            self._rate = 1e6 * self._events / (t_us - self._since_us)
            self._since_us, self._events = t_us, 0
        self._pictures += 1
        return self._rate


class _PanelPainter:
    """Draws one panel's boxes, trails and labels over the events."""

    def __init__(
        self,
        panel: Panel,
        rows: int,
        columns: int,
        palette: Palette,
        size: int,
        scale: float,
        trail_us: float,
        words_every: int,
    ) -> None:
        self._panel, self._palette, self._size = panel, palette, size
        self._scale, self._trail_us = scale, trail_us
        self._thickness = 2 if min(rows, columns) >= 400 else 1
        self._title = word(panel.title, size) if panel.title else None
        title = None if self._title is None else np.array([0, 0, self._title.shape[1] + 2 * size, 2 * size])
        self._placer = LabelPlacer(width=columns, height=rows, taken=title)
        self._followers = [Follower() for _ in panel.layers]
        self._texts = _Texts(every=words_every)

    def paint(self, out: Pixels, t_us: int) -> list[Seen]:
        seen = [layer.series.at(t_us) for layer in self._panel.layers]
        placed = [found.xyxy * self._scale for found in seen]
        for layer, found in zip(self._panel.layers, seen, strict=True):
            if layer.kind == "tracks" and self._trail_us > 0:
                self._paint_trails(out, layer, found, t_us)
        keys: list[Hashable] = []
        boxes: list[npt.NDArray[np.float64]] = []
        words: list[tuple[Pixels, Pixels]] = []
        colours: list[Rgb] = []
        self._texts.next()
        for number, (layer, found, xyxy) in enumerate(zip(self._panel.layers, seen, placed, strict=True)):
            names = self._followers[number].names(xyxy, found.class_id, found.track_id)
            silent = self._said_already(number, seen, placed)
            thickness = 1 if layer.kind == "truth" or not layer.labelled else self._thickness
            for row in drawing_order(layer, found):
                colour = colour_of(layer, found, row, self._palette)
                outline(out, xyxy[row], colour, thickness=thickness, dashed=layer.kind == "truth")
            for row, name in enumerate(names):
                if not layer.labelled or silent[row]:
                    continue
                keys.append((number, name))
                boxes.append(xyxy[row])
                long, short = self._texts.of((number, name), label_text(layer, found, row))
                words.append((word(long, self._size), word(short, self._size)))
                colours.append(colour_of(layer, found, row, self._palette))
        self._paint_labels(out, keys, boxes, words, colours)
        if self._title is not None:
            write(out, self._title, self._size // 2, self._size // 2, self._palette.muted)
        return seen

    def _paint_trails(self, out: Pixels, layer: Layer, found: Seen, t_us: int) -> None:
        for row, track in enumerate(found.track_id):
            if track < 0:
                continue
            points, ages = layer.series.trail(int(track), t_us, self._trail_us)
            centre = 0.5 * (found.xyxy[row, :2] + found.xyxy[row, 2:])
            points = np.concatenate((points, centre[None])) * self._scale
            opacity = np.append(np.clip(1.0 - ages / self._trail_us, 0.0, 1.0), 1.0)
            trail(out, points, opacity, self._palette.of_track(int(track)), width=0.6 + self._thickness)

    def _said_already(
        self, number: int, seen: Sequence[Seen], placed: Sequence[npt.NDArray[np.float64]]
    ) -> npt.NDArray[np.bool_]:
        """Which boxes of a layer of truth have one of their class, with a label, upon them."""
        found, layers = seen[number], self._panel.layers
        silent = np.zeros(len(found), np.bool_)
        if layers[number].kind != "truth":
            return silent
        for other, layer in enumerate(layers):
            if layer.kind != "truth" and layer.labelled:
                names = [layer.classes[k] for k in seen[other].class_id]
                own = [layers[number].classes[k] for k in found.class_id]
                same = np.array(own)[:, None] == np.array(names)[None]
                silent |= (same & (overlaps(placed[number], placed[other]) > _SAME)).any(axis=1)
        return silent

    def _paint_labels(
        self,
        out: Pixels,
        keys: list[Hashable],
        boxes: list[npt.NDArray[np.float64]],
        words: list[tuple[Pixels, Pixels]],
        colours: list[Rgb],
    ) -> None:
        wider, higher = PLATE
        sizes = np.array([[(ink.shape[1] + 2 * wider, ink.shape[0] + 2 * higher) for ink in forms] for forms in words])
        forms, corners = self._placer.place(keys, np.array(boxes), sizes)
        for inks, form, (left, top), colour in zip(words, forms.tolist(), corners.tolist(), colours, strict=True):
            if form >= 0:
                write_on_plate(out, inks[form], left + wider, top + higher, colour, self._palette.ground)


class _Texts:
    """Labels' words, each kept for a while, so that digits can be read."""

    def __init__(self, *, every: int) -> None:
        self._every, self._picture = every, 0
        self._kept: dict[Hashable, tuple[int, tuple[str, str]]] = {}

    def next(self) -> None:
        self._picture += 1
        if self._picture % 1024 == 0:
            self._kept = {key: kept for key, kept in self._kept.items() if self._picture - kept[0] <= self._every}

    def of(self, key: Hashable, text: tuple[str, str]) -> tuple[str, str]:
        since, kept = self._kept.get(key, (-self._every, text))
        if self._picture - since < self._every:
            return kept
        self._kept[key] = (self._picture, text)
        return text


def drawing_order(layer: Layer, found: Seen) -> list[int]:
    """Rows as they are drawn over one another: of detections the best last; tracks keep theirs and do not flicker."""
    return np.argsort(found.score, kind="stable").tolist() if layer.kind == "detections" else list(range(len(found)))


def label_text(layer: Layer, found: Seen, row: int) -> tuple[str, str]:
    """What stands beside a box, and its short form: track, class and score, those there are."""
    name = str(layer.classes[int(found.class_id[row])])
    if layer.kind == "truth":
        return name, name
    score = f"{found.score[row]:.2f}"
    if layer.kind == "tracks" and found.track_id[row] >= 0:
        return f"#{found.track_id[row]} {name} {score}", f"#{found.track_id[row]}"
    return f"{name} {score}", score


def colour_of(layer: Layer, found: Seen, row: int, palette: Palette) -> Rgb:
    """The colour of a box: truth has one, tracks have their own, detections that of their class."""
    if layer.kind == "truth":
        return palette.truth
    if layer.kind == "tracks" and found.track_id[row] >= 0:
        return palette.of_track(int(found.track_id[row]))
    return palette.of_class(int(found.class_id[row]))
