"""A browser plays the film: Chromium, as it is installed on this machine, without a window."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from spikeyolo.report.video import DARK, open_writer

# A page is not loaded, and so not printed, before the first frame of its films is decoded.
PAGE = """<video id=v muted preload=auto src="data:video/mp4;base64,{film}"></video><script>
v.onerror = () => document.body.append(`error ${{v.error.message}}`)
v.onloadeddata = () => {{
  const paper = new OffscreenCanvas(v.videoWidth, v.videoHeight).getContext("2d")
  paper.drawImage(v, 0, 0)
  const colours = [[8, 8], [72, 8]].map(([x, y]) => paper.getImageData(x, y, 1, 1).data.slice(0, 3).join("/"))
  document.body.append(`seen ${{v.videoWidth}}x${{v.videoHeight}} ${{v.duration}} ${{colours.join(" ")}}`)
}}
</script>"""


def test_a_browser_decodes_the_film_to_the_right_size_length_and_colours(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    film = tmp_path / "film.mp4"
    with open_writer(film, shape=(63, 97), fps=10.0, palette=DARK) as writer:
        for number in range(20):
            picture = np.empty((63, 97, 3), np.uint8)
            picture[:, :48], picture[:, 48:] = (DARK.on, DARK.off) if number < 10 else (DARK.off, DARK.on)
            writer.add(picture, 1)
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(film=base64.b64encode(film.read_bytes()).decode()))
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    shown = subprocess.run(
        [chromium, *options, f"--user-data-dir={tmp_path / 'user'}", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    if "error" in shown and "DEMUXER_ERROR_NO_SUPPORTED_STREAMS" in shown:
        pytest.skip("this build of Chromium has no H.264")
    found = re.search(r"seen (\d+)x(\d+) ([\d.]+) (\d+)/(\d+)/(\d+) (\d+)/(\d+)/(\d+)", shown)
    assert found, shown[-300:]
    width, height, duration = int(found[1]), int(found[2]), float(found[3])
    assert (width, height) == (98, 64)
    assert duration == pytest.approx(2.0)
    colours = np.array([int(found[k]) for k in range(4, 10)]).reshape(2, 3)
    assert np.abs(colours - np.array([DARK.on, DARK.off])).max() <= 8
