"""The page as a browser shows it: nothing is fetched, nothing fails, and text stands out in light and in dark."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import evaluate
from scored_scenes import imperfect, moving_truth

import spikeyolo.report.pages.page
from spikeyolo.evaluation.outcome import Outcome
from spikeyolo.evaluation.present import shown_settings
from spikeyolo.evaluation.tables.tables import Tables
from spikeyolo.metrics.protocols import Coco
from spikeyolo.metrics.score import score
from spikeyolo.report.pages.page import _WORDS, _tables, setting

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    truth = moving_truth(("car", "bus"), seed=1)
    names = ("<script>console.error(1)</script>", *truth.boxes.recordings[1:])
    replace(truth.boxes, recordings=names).write(folder / "truth.parquet")
    found = imperfect(truth)
    replace(found, recordings=names, track_id=np.full(len(found), -1)).write(folder / "found.parquet")
    ended = evaluate("detections=found.parquet", cwd=folder)
    assert ended.code == 0, ended.errors
    return folder / "coco" / "evaluation.html"


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
def test_a_browser_shows_the_page_without_a_word_of_complaint(page: Path, tmp_path: Path, scheme: int) -> None:
    shot = tmp_path / "page.png"
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
        f"--blink-settings=preferredColorScheme={scheme}", f"--user-data-dir={tmp_path}/profile",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1240,1000", f"--screenshot={shot}", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"CONSOLE|ERR_", done.stderr), done.stderr
    from matplotlib.image import imread

    corner = imread(shot)[5, 5, :3].mean()
    assert bool(corner > 0.9) is (scheme == 1)


def test_time_steps_have_the_numbers_of_the_console_and_what_counts_as_nothing_is_said() -> None:
    truth = moving_truth(("car",), seed=1)
    rows = {step: {"map": 0.25, "map50": 0.5, "looks": 3} for step in range(2)}
    scores = replace(score(imperfect(truth), truth, Coco()), per_step=rows)
    steps = next(table["rows"] for table in _tables(scores, {}) if table["title"] == "Time steps of the window")
    assert [row[0] for row in steps] == ["0", "1"]
    assert [line.split()[0] for line in scores.table().split("\nstep ")[1].splitlines()[1:3]] == ["0", "1"]
    assert "a further detection of an object counts as one of nothing" in _WORDS["confusion"]


def test_settings_stand_on_the_page_as_a_command_sets_them_and_once(tmp_path: Path) -> None:
    truth, names = moving_truth(("car",), seed=1), {"label_clock": "start", "drop_invalid_boxes": False}
    labels = {"_target_": "spikeyolo.events.labels.LabelRules", "correction": {"columns": "xywh"}, **names}
    data = {
        "_target_": "spikeyolo.windows.data.EventData",
        "encoder": {"_target_": "spikeyolo.windows.encoders.HistogramEncoder", "downsample": 2},
        "dataset": {"_target_": "spikeyolo.events.datasets.SingleRecording", "classes": ["car"], "size": None,
                    "train_labels": labels, "val_labels": labels},
        "classes": ["car"], "label_clock": "start", "label_correction": {"columns": "xywh"}, "overlap": 0.25,
        "cache_folder": None, "filters": [],
    }  # fmt: skip
    windows = {"windows": "every", "overlap": 0.25}
    made = {
        "checkpoint": "run/best", "time_offset_us": {"a": 3}, "data": data,
        "identity": {"checkpoint": 64 * "a", "windows": windows, "encoder": data["encoder"],
                     "detecting": {"carry": True}},
    }  # fmt: skip
    found, tables = imperfect(truth), Tables(tmp_path, tmp_path / "a", tmp_path / "b", "test")
    outcome = Outcome(tables, tmp_path, score(found, truth, Coco()), found, truth, made)
    shown = {name: setting(value) for name, value in shown_settings(outcome).items()}
    assert {name: value for name, value in shown.items() if not name.startswith("protocol.")} == {
        "checkpoint": "run/best", "windows": "every", "carry": "true", "pixels": "sensor",
        "data.encoder": "HistogramEncoder", "data.encoder.downsample": "2", "data.dataset": "SingleRecording",
        "data.dataset.train_labels.drop_invalid_boxes": "false", "data.classes": "[car]", "data.label_clock": "start",
        "data.label_correction.columns": "xywh", "data.overlap": "0.25",
    }  # fmt: skip
    assert shown["protocol.name"] == "coco"


def test_names_are_text_and_never_markup(page: Path) -> None:
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ink", ["text", "soft", "strong"])
def test_every_text_colour_stands_out_from_every_ground(scheme: int, ink: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of at least 4.5."""
    style = Path(spikeyolo.report.pages.page.__file__).with_name("base.html").read_text()
    found = re.findall(r"--(\w+): #([0-9a-f]{6})", style)
    half = len(found) // 2
    colours = dict(found[:half] if scheme == 0 else found[half:])

    def luminance(name: str) -> float:
        parts = [int(colours[name][i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for ground in ("paper", "card"):
        high, low = sorted((luminance(ink), luminance(ground)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5
