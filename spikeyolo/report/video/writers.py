"""Where pictures go: an MP4 that browsers play, a GIF, or one PNG with several of them; whole or not at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from spikeyolo.detections.files import whole_file
from spikeyolo.errors import ConfigError
from spikeyolo.report.video.palette import Palette, Rgb

Pixels = npt.NDArray[np.uint8]

SUFFIXES = (".mp4", ".gif", ".png")
# on pictures of events: as small and as good as the preset superfast, in two thirds of its time
_X264 = {"preset": "ultrafast", "crf": "20", "x264-params": "cabac=1:8x8dct=1"}
_BT709 = 1  # the colour space that players expect of H.264: ITU-T H.273, table 4


class Writer(Protocol):
    """Takes pictures, all of one size."""

    def add(self, picture: Pixels, frames: int) -> None:
        """Show a picture ``[rows, columns, 3]`` for so many frames."""
        ...


@contextmanager
def open_writer(
    path: Path, *, shape: tuple[int, int], fps: float, palette: Palette, columns: int = 1
) -> Iterator[Writer]:
    """A writer by the file's suffix: ``.mp4``, ``.gif`` or ``.png``; renamed into place at the end.

    Args:
        path: of the file; folders are made.
        shape: rows and columns of the pictures, px.
        fps: frames a second.
        palette: of the pictures.
        columns: of the PNG's pictures.

    Raises:
        ConfigError: the suffix is another one, or this installation cannot write H.264.
        DetectionError: the file cannot be written.
    """
    check_target(path)
    with whole_file(path) as partial:
        if path.suffix.lower() == ".png":
            sheet = SheetWriter(columns=columns, ground=palette.faint)
            yield sheet
            sheet.save(partial)
            return
        video: Mp4Writer | GifWriter
        if path.suffix.lower() == ".gif":
            video = GifWriter(partial, shape=shape, fps=fps, palette=palette)
        else:
            video = Mp4Writer(partial, shape=shape, fps=fps, ground=palette.ground)
        try:
            yield video
        finally:
            video.close()


def check_target(path: Path) -> None:
    """Check that a film can be written under this name, before any work is done.

    Raises:
        ConfigError: it ends in none of the known suffixes, or this installation cannot write H.264.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"out: found {path.name}; expected a name that ends in {', '.join(SUFFIXES)}")
    if path.suffix.lower() == ".mp4":
        h264_encoder()


def h264_encoder() -> str:
    """The name of an H.264 encoder that this installation of PyAV has.

    Raises:
        ConfigError: it has none.
    """
    import av

    for name in ("libx264", "libopenh264"):
        if name in av.codecs_available:
            return name
    raise ConfigError(
        "out: this installation of PyAV has no H.264 encoder (libx264); expected that of pip install av, or "
        "out=FILE.gif, which needs none"
    )


class Mp4Writer:
    """H.264 in 4:2:0, its index in front; odd sizes are padded by a row or a column.

    Args:
        path: of the file.
        shape: rows and columns of the pictures, px.
        fps: frames a second.
        ground: colour of what is padded.
    """

    def __init__(self, path: Path, *, shape: tuple[int, int], fps: float, ground: Rgb) -> None:
        import av

        encoder = h264_encoder()
        rows, columns = shape
        self._padded = None
        if rows % 2 or columns % 2:
            self._padded = np.empty((rows + rows % 2, columns + columns % 2, 3), np.uint8)
            self._padded[:] = ground
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        rate = Fraction(fps).limit_denominator(1001)
        options = _X264 if encoder == "libx264" else {}
        stream = self._container.add_stream(encoder, rate=rate, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = columns + columns % 2, rows + rows % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = 1  # 16 to 235
        self._stream, self._time_base, self._number = stream, 1 / rate, 0

    def add(self, picture: Pixels, frames: int) -> None:
        """See :class:`Writer`."""
        import av

        if self._padded is not None:
            self._padded[: picture.shape[0], : picture.shape[1]] = picture
            picture = self._padded
        shared = av.VideoFrame.from_numpy_buffer(picture, format="rgb24")
        converted = shared.reformat(format="yuv420p", dst_colorspace=_BT709)
        for _ in range(frames):
            converted.pts, converted.time_base = self._number, self._time_base
            self._number += 1
            self._container.mux(self._stream.encode(converted))

    def close(self) -> None:
        """Write what the encoder still holds, and the index."""
        if self._number:
            self._container.mux(self._stream.encode())
        self._container.close()


class GifWriter:
    """A GIF with one table of 256 colours, made of the palette: no dither, and what stays is not written again.

    Args:
        path: of the file.
        shape: rows and columns of the pictures, px.
        fps: frames a second; a GIF counts in hundredths of a second.
        palette: of the pictures.
    """

    def __init__(self, path: Path, *, shape: tuple[int, int], fps: float, palette: Palette) -> None:
        import av

        self._table, self._nearest = _colour_table(palette)
        self._container = av.open(str(path), "w", format="gif", options={"loop": "0"})
        self._time_base = 1 / Fraction(fps).limit_denominator(1001)
        self._stream = self._container.add_stream("gif", rate=1 / self._time_base)
        assert isinstance(self._stream, av.VideoStream)
        self._stream.height, self._stream.width = shape
        self._stream.pix_fmt = "pal8"
        self._number = 0

    def add(self, picture: Pixels, frames: int) -> None:
        """See :class:`Writer`."""
        import av

        coarse = picture >> 3
        index = self._nearest[coarse[..., 0], coarse[..., 1], coarse[..., 2]]
        indexed: Any = (index, self._table)  # as PyAV takes pictures with a table of colours
        frame = av.VideoFrame.from_ndarray(indexed, format="pal8")
        frame.pts, frame.time_base, frame.duration = self._number, self._time_base, frames
        self._number += frames
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what the encoder still holds, and the end."""
        if self._number:
            self._container.mux(self._stream.encode())
        self._container.close()


class SheetWriter:
    """Pictures as the tiles of one PNG.

    Args:
        columns: tiles side by side.
        ground: colour between tiles.
    """

    def __init__(self, *, columns: int, ground: Rgb) -> None:
        self._columns, self._ground = columns, ground
        self._tiles: list[Pixels] = []

    def add(self, picture: Pixels, frames: int) -> None:
        """See :class:`Writer`."""
        self._tiles.append(picture.copy())

    def save(self, path: Path, *, gap: int = 6) -> None:
        """Write the PNG."""
        rows, columns = self._tiles[0].shape[:2]
        across = min(self._columns, len(self._tiles))
        down = math.ceil(len(self._tiles) / across)
        sheet = np.empty((down * (rows + gap) - gap, across * (columns + gap) - gap, 3), np.uint8)
        sheet[:] = self._ground
        for number, tile in enumerate(self._tiles):
            top, left = number // across * (rows + gap), number % across * (columns + gap)
            sheet[top : top + rows, left : left + columns] = tile
        Image.fromarray(sheet).save(path, format="png", optimize=True)


def _colour_table(palette: Palette) -> tuple[Pixels, Pixels]:
    """``[256, 4]`` colours (alpha, red, green, blue as PyAV has them), and ``[32, 32, 32]`` the nearest of each."""
    ground = np.array(palette.ground, float)

    def ramp(colour: Rgb, steps: int) -> npt.NDArray[np.float64]:
        share: npt.NDArray[np.float64] = np.linspace(1.0, 0.0, steps, endpoint=False)[:, None]
        inks: npt.NDArray[np.float64] = ground + share * (np.array(colour, float) - ground)
        return inks

    parts = [ground[None], ramp(palette.on, 40), ramp(palette.off, 40), ramp(palette.text, 20), ramp(palette.muted, 8)]
    tracks = [ramp(palette.of_track(number), 6) for number in range(24)]
    colours = np.concatenate([*parts, np.array(palette.faint, float)[None], *tracks])[:256]
    table = np.full((256, 4), 255, np.uint8)
    table[: len(colours), 1:] = np.rint(colours).astype(np.uint8)
    table[len(colours) :, 1:] = palette.ground
    axis = np.arange(32) * 8 + 4
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    weights = np.array([3.0, 4.0, 2.0])  # the eye sees differences in green best
    nearest = np.empty(len(grid), np.uint8)
    for first in range(0, len(grid), 4096):
        distance = ((grid[first : first + 4096] - colours[None]) ** 2 * weights).sum(-1)
        nearest[first : first + 4096] = distance.argmin(1)
    cube = nearest.reshape(32, 32, 32)
    red, green, blue = palette.ground
    cube[red >> 3, green >> 3, blue >> 3] = 0  # the ground is exactly itself
    return table, cube
