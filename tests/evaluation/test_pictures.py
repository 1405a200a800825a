"""Pictures of windows show the events of both polarities in their own colours, whatever channels the encoder has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from matplotlib.colors import to_rgb
from stored import WIDTH, boxes_at, part, random_events, store

from spikeyolo.detections import DetectionTable, GroundTruth
from spikeyolo.evaluation import pictures
from spikeyolo.evaluation.outcome import Outcome
from spikeyolo.evaluation.tables.tables import Tables
from spikeyolo.events.types import Detections
from spikeyolo.metrics.protocols import Coco
from spikeyolo.metrics.score import score
from spikeyolo.report.pictures import canvas
from spikeyolo.report.pictures.render import RenderedWindow, event_image
from spikeyolo.training import review
from spikeyolo.windows import EventData, Part
from spikeyolo.windows.batch import Batch
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.encoders import Encoder, HistogramEncoder, MixedDensityEncoder, VoxelEncoder
from spikeyolo.windows.rules import WindowRules
from spikeyolo.windows.serving.loader import WindowLoader
from spikeyolo.windows.serving.sampler import EpochSampler

LABELS = (40_000, 80_000)
RULES = {"slice_duration_us": 1000, "time_steps": 3}
ENCODERS: dict[str, Callable[[], Encoder]] = {
    "histogram": HistogramEncoder,
    "voxel": lambda: VoxelEncoder(bins=4),
    "mixed_density": lambda: MixedDensityEncoder(stacks=2),
}


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Part:
    """Left of the middle all events are OFF, right of it ON."""
    events = random_events(20_000)
    events = replace(events, p=(events.x >= WIDTH // 2).astype(np.uint8))
    return part(store(tmp_path_factory.mktemp("pictures") / "a.zarr", events), boxes_at(LABELS))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[RenderedWindow]:
    """The tiles that were drawn."""
    tiles: list[RenderedWindow] = []

    def keep(path: Path, items: list[RenderedWindow], **options: Any) -> Path:
        tiles.extend(items)
        return path

    for module in (pictures, review):
        monkeypatch.setattr(module, "render_windows", keep)
    return tiles


def nearest(image: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """0 where a pixel leans to OFF's colour, 1 to ON's, -1 where it is dark."""
    background = np.array(to_rgb(canvas.BACKGROUND))
    seen = image - background
    of = [seen @ (np.array(to_rgb(colour)) - background) for colour in (canvas.OFF, canvas.ON)]
    norm = [np.linalg.norm(np.array(to_rgb(colour)) - background) for colour in (canvas.OFF, canvas.ON)]
    return np.where(np.abs(seen).max(-1) < 1e-9, -1, np.argmax([a / b for a, b in zip(of, norm, strict=True)], axis=0))


def check(tiles: list[RenderedWindow]) -> None:
    assert len(tiles) == len(LABELS)
    for tile in tiles:
        colours = nearest(event_image(tile.frames))
        left, right = colours[:, : WIDTH // 2], colours[:, WIDTH // 2 :]
        assert set(np.unique(left)) == {-1, 0}
        assert set(np.unique(right)) == {-1, 1}


@pytest.mark.parametrize("encoder", list(ENCODERS))
def test_worst_windows_have_the_colours_of_the_polarities(
    encoder: str, split: Part, drawn: list[RenderedWindow], tmp_path: Path
) -> None:
    n = len(LABELS)
    zero, box = np.zeros(n, np.int64), np.tile(np.array([[1, 2, 9, 9]], np.float32), (n, 1))
    columns = (zero, np.array(LABELS), zero, zero, np.ones(n, np.float32))
    truth = GroundTruth.of(DetectionTable(("a",), ("car",), *columns, box, zero))
    found = DetectionTable(("a",), ("car",), *columns, box + np.float32(10), zero)
    data = EventData(
        dataset=None,  # type: ignore[arg-type]
        classes=["car"],
        store="unused",
        encoder=ENCODERS[encoder](),
        **RULES,
    )
    tables = Tables(tmp_path, tmp_path / "detections.parquet", tmp_path / "truth.parquet", "val")
    outcome = Outcome(tables, tmp_path, score(found, truth, Coco()), found, truth, {})
    pictures.draw_worst(outcome, Coco(), data=data, parts=[split])
    check(drawn)


@pytest.mark.parametrize("encoder", list(ENCODERS))
def test_predictions_have_the_colours_of_the_polarities(
    encoder: str, split: Part, drawn: list[RenderedWindow], tmp_path: Path
) -> None:
    class Blind:
        """Finds nothing."""

        def detections(
            self, detector: object, batches: Iterable[Batch], *, device: torch.device
        ) -> Iterator[tuple[Batch, int, list[Detections]]]:
            none = np.empty(0, np.int64)
            nothing = Detections(none, np.empty((0, 4), np.float32), np.empty(0, np.float32), none)
            for batch in batches:
                yield batch, batch.frames.shape[0] - 1, [nothing] * batch.frames.shape[1]

    dataset = WindowDataset([split], rules=WindowRules(**RULES), encoder=ENCODERS[encoder](), seed=0)
    loader = WindowLoader(dataset, EpochSampler(size=len(dataset), batch_size=2, shuffle=False, seed=0))
    review.draw_figures(
        tmp_path,
        detector=torch.nn.Identity(),
        evaluator=Blind(),  # type: ignore[arg-type]
        loader=loader,
        classes=["car"],
        device=torch.device("cpu"),
    )
    check(drawn)
