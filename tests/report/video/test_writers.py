"""Written films decode to the pictures they were made of, and a file appears whole or not at all."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from spikeyolo.errors import ConfigError, DetectionError
from spikeyolo.report.video import DARK, open_writer
from spikeyolo.report.video.palette import LIGHT, Palette


def pictures(rows: int, columns: int, number: int, palette: Palette = DARK) -> list[np.ndarray]:
    """A coloured block that moves over the ground."""
    made = []
    for k in range(number):
        picture = np.empty((rows, columns, 3), np.uint8)
        picture[:] = palette.ground
        picture[8:24, 4 * k : 4 * k + 16] = palette.on
        picture[32:48, 4 * k : 4 * k + 16] = palette.off
        made.append(picture)
    return made


def atoms(path: Path) -> list[str]:
    """The top-level boxes of an MP4 (ISO/IEC 14496-12), in order."""
    content, names, at = path.read_bytes(), [], 0
    while at < len(content):
        size, name = struct.unpack(">I4s", content[at : at + 8])
        names.append(name.decode())
        at += size
    return names


@pytest.mark.parametrize(("rows", "columns"), [(64, 96), (63, 97)])
def test_an_mp4_holds_every_frame_in_h264_that_browsers_play(tmp_path: Path, rows: int, columns: int) -> None:
    path = tmp_path / "new" / "film.mp4"
    made = pictures(rows, columns, 12)
    with open_writer(path, shape=(rows, columns), fps=25.0, palette=DARK) as writer:
        for number, picture in enumerate(made):
            writer.add(picture, 3 if number == 5 else 1)
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        found = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert context.profile in {"High", "Main", "Constrained Baseline"}
        assert (context.width, context.height) == (columns + columns % 2, rows + rows % 2)
        assert stream.average_rate == 25
        assert float(stream.duration * stream.time_base) == pytest.approx(14 / 25)
    assert len(found) == 14
    for picture, shown in zip([*made[:5], *[made[5]] * 3, *made[6:]], found, strict=True):
        difference = np.abs(shown[:rows, :columns].astype(int) - picture)
        assert np.median(difference) <= 3
        assert difference[12:20, :].mean() < 12
    assert atoms(path).index("moov") < atoms(path).index("mdat")  # the index in front: it plays while it loads
    assert [file.name for file in path.parent.iterdir()] == ["film.mp4"]


def test_colours_survive_the_mp4(tmp_path: Path) -> None:
    picture = np.empty((64, 96, 3), np.uint8)
    for k, colour in enumerate((DARK.on, DARK.off, DARK.ground, DARK.series[0])):
        picture[:, 24 * k : 24 * k + 24] = colour
    path = tmp_path / "film.mp4"
    with open_writer(path, shape=(64, 96), fps=30.0, palette=DARK) as writer:
        writer.add(picture, 4)
    with av.open(str(path)) as film:
        frame = list(film.decode(video=0))[2]
        assert frame.colorspace == 1  # BT.709, as it is tagged
        shown = frame.to_ndarray(format="rgb24").astype(int)
    for k in range(4):
        column = 24 * k + 12
        assert np.abs(shown[32, column] - picture[32, column]).max() <= 6


@pytest.mark.parametrize("palette", [DARK, LIGHT])
def test_a_gif_holds_the_pictures_crisp_and_lasts_as_long(tmp_path: Path, palette: Palette) -> None:
    path = tmp_path / "film.gif"
    made = pictures(63, 97, 8, palette)
    with open_writer(path, shape=(63, 97), fps=20.0, palette=palette) as writer:
        for number, picture in enumerate(made):
            writer.add(picture, 10 if number == 3 else 1)
    with Image.open(path) as film:
        assert film.size == (97, 63)
        assert film.info["loop"] == 0
        durations = []
        for number in range(film.n_frames):
            film.seek(number)
            durations.append(film.info["duration"])
            difference = np.abs(np.asarray(film.convert("RGB"), int) - made[number])
            assert difference.max() <= 8
            assert (difference[50:] == 0).all()  # the ground
        assert film.n_frames == 8
    assert durations[3] == 500
    assert sum(durations[:-1]) == 50 * (10 + 6)


def test_a_png_has_its_tiles_in_rows(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    made = pictures(63, 97, 5)
    with open_writer(path, shape=(63, 97), fps=20.0, palette=DARK, columns=3) as writer:
        for picture in made:
            writer.add(picture, 1)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (2 * 63 + 6, 3 * 97 + 12, 3)
    assert (sheet[:63, :97] == made[0]).all()
    assert (sheet[69:, 103:200] == made[4]).all()
    assert (sheet[69:, 206:] == DARK.faint).all()


@pytest.mark.parametrize("name", ["film.mp4", "film.gif", "sheet.png"])
def test_an_error_leaves_no_file_and_an_older_film_as_it_was(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"older")

    def fails() -> None:
        with open_writer(path, shape=(64, 96), fps=20.0, palette=DARK) as writer:
            writer.add(pictures(64, 96, 1)[0], 1)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_encoder_and_an_unknown_suffix_are_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(ConfigError, match=r"out: found film.avi; expected a name that ends in .mp4, .gif, .png"),
        open_writer(tmp_path / "film.avi", shape=(64, 96), fps=20.0, palette=DARK),
    ):
        pass
    monkeypatch.setattr(av, "codecs_available", {"gif", "mpeg4"})
    with (
        pytest.raises(ConfigError, match=r"no H.264 encoder"),
        open_writer(tmp_path / "film.mp4", shape=(64, 96), fps=20.0, palette=DARK),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DetectionError, match=r"film\.mp4: cannot be written"),
        open_writer(tmp_path / "file" / "film.mp4", shape=(64, 96), fps=20.0, palette=DARK),
    ):
        pass
