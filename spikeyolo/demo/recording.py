"""A simulated recording of a kind that the demonstration's checkpoint was not trained on, made in a second.

The training's recordings have a sensor of 96x96 px and at most two objects; this one has 240x180 px, four objects,
twice as much noise, and a seed of its own.
"""

from __future__ import annotations

from pathlib import Path

from spikeyolo.errors import RecordingError
from spikeyolo.events.simulator.synthetic import SyntheticDataset
from spikeyolo.events.store import Recording, RecordingWriter

CHECKPOINT = Path(__file__).parent / "checkpoint"  # made by experiments/demo/make_checkpoint.py
CLASSES = ("disc", "triangle", "cross")
SEED = 6


def demo_recording(folder: Path) -> Path:
    """Simulate the recording, with its labels, as ``folder/demo.zarr``; found again where it is there already.

    Raises:
        RecordingError: it cannot be written, or another recording stands there.
    """
    path, origin = folder / "demo.zarr", f"simulated for a demonstration, seed {SEED}"
    if (path / "zarr.json").is_file():
        found = Recording.open(path).attributes["source"]
        if found != origin:
            raise RecordingError(
                f"{path}: found a recording {found!r}; expected {origin!r}: take another folder, out=…"
            )
        return path
    scene = SyntheticDataset(
        root=str(folder),
        classes=CLASSES,
        width=240,
        height=180,
        duration_us=60_000,
        objects_min=4,
        objects_max=4,
        size_min_px=22.0,
        size_max_px=38.0,
        speed_min_px_s=1200.0,
        speed_max_px_s=3500.0,
        noise_rate_hz=2.0,
        contrast_threshold=0.15,
        seed=SEED,
    )
    events, boxes = scene.simulate("test", 0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordingError(f"{folder}: cannot be made ({error.strerror})") from error
    try:
        with RecordingWriter(path, width=scene.width, height=scene.height, classes=CLASSES, source=origin) as writer:
            writer.append(events)
            writer.set_boxes(boxes)
            writer.seal()
    except RecordingError:
        # Another process may have made it meanwhile.
        if not (path / "zarr.json").is_file():
            raise
        return demo_recording(folder)
    return path
