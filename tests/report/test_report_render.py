"""Pictures: they are whole PNG files, the same for the same input, and show what they are given."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from spikeyolo.events.types import Boxes, Detections
from spikeyolo.report.pictures import canvas
from spikeyolo.report.pictures.energy import by_stage, draw_energy
from spikeyolo.report.pictures.figures import draw_confusion, draw_precision_recall
from spikeyolo.report.pictures.history import draw_history
from spikeyolo.report.pictures.render import RenderedWindow, event_image, render_windows

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def window(seed: int = 0, score: float = 0.9, height: int = 48, width: int = 64) -> RenderedWindow:
    rng = np.random.default_rng(seed)
    frames = (rng.random((4, 2, height, width)) < 0.05).astype(np.uint8)
    box = np.array([[10, 12, 30, 34]], np.float32)
    one = np.zeros(1, np.int64)
    truth = Boxes(one, box, one, one, np.ones(1, np.float32))
    return RenderedWindow(frames, truth, Detections(one, box + 4, np.array([score], np.float32), one), f"window {seed}")


def close_to(image: npt.NDArray[np.float32], colour: str) -> int:
    """How many pixels have that colour."""
    return int((np.abs(image[..., :3] - np.asarray(to_rgb(colour))).max(-1) < 0.05).sum())


def test_the_picture_shows_truth_and_prediction(tmp_path: Path) -> None:
    path = render_windows(tmp_path / "deep" / "picture.png", [window()], classes=["car"])
    assert path.read_bytes().startswith(SIGNATURE)
    image = imread(path)
    assert close_to(image, canvas.series(0)) > 100
    assert close_to(image, canvas.TRUTH) > 50
    assert [entry.name for entry in path.parent.iterdir()] == ["picture.png"]


def test_the_legend_has_the_colours_of_the_classes_that_are_shown(tmp_path: Path) -> None:
    items = [window(), window(1), window(2, score=0.1)]
    for item, class_id in zip(items, (2, 1, 3), strict=True):
        item.detections.class_id[:] = class_id
    image = imread(render_windows(tmp_path / "a.png", items, classes=["car", "bus", "van", "tram"]))
    legend = image[-40:]
    assert [close_to(legend, canvas.series(index)) > 10 for index in range(4)] == [False, True, True, False]


def test_unsure_detections_are_not_drawn(tmp_path: Path) -> None:
    sure = imread(render_windows(tmp_path / "a.png", [window(score=0.9)], classes=["car"]))
    unsure = imread(render_windows(tmp_path / "b.png", [window(score=0.1)], classes=["car"]))
    assert close_to(unsure, canvas.series(0)) < close_to(sure, canvas.series(0)) / 4


def test_the_same_windows_give_the_same_bytes(tmp_path: Path) -> None:
    items = [window(seed) for seed in range(3)]
    first = render_windows(tmp_path / "a.png", items, classes=["car"]).read_bytes()
    assert render_windows(tmp_path / "b.png", items, classes=["car"]).read_bytes() == first


@pytest.mark.parametrize("count", [1, 3, 7])
def test_any_number_of_windows_fits_and_they_may_be_silent(tmp_path: Path, count: int) -> None:
    nothing = Detections(*_no_detections())
    items = [RenderedWindow(np.zeros((8, 2, 32, 32), np.uint8), Boxes.empty(), nothing) for _ in range(count)]
    assert imread(render_windows(tmp_path / "a.png", items, classes=["car"])).shape[0] > 50


def _no_detections() -> tuple[
    npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]
]:
    return np.empty(0, np.int64), np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64)


def test_on_and_off_events_have_their_colours_and_silence_is_dark() -> None:
    frames = np.zeros((2, 2, 4, 4), np.uint8)
    frames[1, 0, 0, 0] = frames[1, 1, 3, 3] = 5
    image = event_image(frames)
    np.testing.assert_allclose(image[0, 0], to_rgb(canvas.OFF), atol=1e-9)
    np.testing.assert_allclose(image[3, 3], to_rgb(canvas.ON), atol=1e-9)
    np.testing.assert_allclose(image[1, 1], to_rgb(canvas.BACKGROUND), atol=1e-9)


@pytest.mark.parametrize("channels", [1, 4])
def test_channels_that_are_not_off_and_on_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=f"found {channels} channels; expected 2, OFF and ON"):
        event_image(np.zeros((3, channels, 48, 64), np.uint8))


def test_a_picture_that_fails_leaves_nothing_and_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = render_windows(tmp_path / "a.png", [window()], classes=["car"])
    before = path.read_bytes()

    def full_disk(self: Figure, name: Path, **options: object) -> None:
        Path(name).write_bytes(SIGNATURE)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="No space"):
        render_windows(path, [window(1)], classes=["car"])
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_precision_recall_has_a_curve_a_class(tmp_path: Path) -> None:
    falling = np.linspace(1, 0, 101)
    path = draw_precision_recall(tmp_path / "pr.png", {"car": falling, "bus": falling**2})
    image = imread(path)
    assert close_to(image, canvas.series(0)) > 100
    assert close_to(image, canvas.series(1)) > 100
    assert draw_precision_recall(tmp_path / "none.png", {}).read_bytes().startswith(SIGNATURE)


def test_a_confusion_matrix_must_fit_its_classes(tmp_path: Path) -> None:
    matrix = np.array([[30, 2, 1], [0, 20, 5], [4, 0, 0]])
    assert imread(draw_confusion(tmp_path / "c.png", matrix, ["car", "bus"])).shape[2] == 4
    with pytest.raises(ValueError, match="expected \\[4, 4\\] for 3 classes"):
        draw_confusion(tmp_path / "d.png", matrix, ["car", "bus", "bike"])
    assert not (tmp_path / "d.png").exists()


def test_truth_is_drawn_with_its_class_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    original = Axes.text

    def text(self: Axes, x: float, y: float, s: str, **options: object) -> object:
        written.append(s)
        return original(self, x, y, s, **options)

    monkeypatch.setattr(Axes, "text", text)
    render_windows(tmp_path / "a.png", [window(score=0.9)], classes=["car", "bus"])
    assert written == ["car 0.90", "car"]


def test_the_history_shows_losses_and_scores_and_marks_the_best_epoch(tmp_path: Path) -> None:
    rows = [{"epoch": str(n), "train/total": str(9 - n), "val/map50": str(n / 9), "val/map": ""} for n in range(1, 6)]
    image = imread(draw_history(tmp_path / "h.png", rows))
    assert close_to(image, canvas.series(0)) > 200
    one = imread(draw_history(tmp_path / "one.png", [{"epoch": 1.0, "train/total": 3.0, "val/map50": math.nan}]))
    assert close_to(one, canvas.series(0)) > 20  # a single epoch is a point
    assert draw_history(tmp_path / "none.png", []).read_bytes().startswith(SIGNATURE)


def test_the_energy_of_a_stage_is_the_sum_of_its_layers(tmp_path: Path) -> None:
    def row(layer: str, snn: float, rate: float, spiking: bool = True) -> dict[str, object]:
        return {"layer": layer, "snn_mj": snn, "ann_mj": 1e-3, "macs": 10, "firing_rate": rate, "spiking": spiking}

    rows = [
        row("backbone.down1.synapse", 2e-3, 0.9, spiking=False),
        row("backbone.stage1.layers.0.widen.synapse", 1e-4, 0.2),
        row("backbone.stage1.layers.1.widen.synapse", 3e-4, 0.4),
        row("head.box.1.layers.0.synapse", 1e-4, 0.1),
    ]
    stages = by_stage(rows)
    assert [stage.name for stage in stages] == ["backbone down1", "backbone stage1", "head box P4"]
    assert stages[0].real_uj == pytest.approx(2.0)
    assert stages[0].snn_uj == 0
    assert stages[1].snn_uj == pytest.approx(0.4)
    assert stages[1].ann_uj == pytest.approx(2.0)
    assert stages[1].firing_rate == pytest.approx(0.3)
    image = imread(draw_energy(tmp_path / "e.png", rows, remark="it finds nothing"))
    assert close_to(image, canvas.series(0)) > 50


def test_the_stages_of_the_energy_fill_their_axes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[float, float]] = []
    monkeypatch.setattr(canvas, "save", lambda figure, path: limits.extend(axes.get_ylim() for axes in figure.axes))
    row = {"snn_mj": 1e-3, "ann_mj": 1e-3, "macs": 10, "firing_rate": 0.1, "spiking": True}
    draw_energy(tmp_path / "e.png", [{"layer": f"backbone.stage{k}.synapse", **row} for k in range(25)])
    assert limits == [(24.5, -0.5)] * 2
