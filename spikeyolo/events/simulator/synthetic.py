"""The embedded data set: recordings of a simulated event camera, written to the store on first use and found again.

The folder of a set is named after its parameters, so a changed parameter never meets old recordings; the numbers of
sequences are not among them, so a set can grow. Sequences are numbered; each draws from a generator of its own, seeded
by the set's seed, the role and the number, whatever the order or number of threads they are made by.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Interval

from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.events.simulator.camera import EventCamera
from spikeyolo.events.simulator.scene import Scene, cloud
from spikeyolo.events.simulator.shading import REACH, SHAPES
from spikeyolo.events.splits import Role
from spikeyolo.events.store import RecordingWriter
from spikeyolo.events.store.attributes import FORMAT_VERSION
from spikeyolo.events.store.location import write_text
from spikeyolo.events.types import Boxes, Events

ROLES: tuple[Role, ...] = ("train", "val", "test")  # the order is part of each sequence's seed
VERSION = 1  # raised whenever the same parameters would give other events


class SyntheticDataset:
    """Textured shapes that cross, turn and hide one another before a simulated event camera.

    Objects keep their velocity until their centre meets a wall near the frame's edge, inside or outside it, where they
    are reflected: some stay in view, some leave and return.

    Args:
        root: folder of the store; this set lives in ``{root}/<digest>/{train,val,test}/sequence_0000.zarr``.
        classes: names out of disc, square, triangle, cross, ring, bar, in the order of class ids.
        width, height: sensor, px.
        train_sequences, val_sequences, test_sequences: recordings of each role.
        duration_us: length of a recording, µs.
        objects_min, objects_max: objects of a recording, bounds included.
        size_min_px, size_max_px: diameter of the disc that has the object's area.
        speed_min_px_s, speed_max_px_s: px/s, drawn evenly on a logarithmic scale.
        spin_max_rad_s: fastest turn.
        background_speed_px_s: speed at which the background drifts; 0 keeps it still and silent.
        contrast_min, contrast_max: how far an object's mean log intensity lies from the background's, of either sign.
        texture_contrast: standard deviation of log intensity within objects and background.
        label_rate_hz: label times a second, the first one period after the start.
        label_min_in_frame: least share of an object's area within the frame that earns it a box.
        label_min_unoccluded: least share of that part which no nearer object hides.
        contrast_threshold: mean ON threshold of the pixels, log intensity.
        off_threshold_ratio: mean OFF threshold as a multiple of the ON threshold.
        threshold_sigma: deviation of thresholds from pixel to pixel, log intensity.
        noise_rate_hz: background events a pixel makes in a second.
        refractory_us: rest of a pixel after an event.
        max_step_px: farthest that anything moves between two rendered instants.
        seed: of everything random.

    Raises:
        ConfigError: a class is unknown or named twice, or a minimum exceeds its maximum.
    """

    def __init__(
        self,
        *,
        root: str,
        classes: Sequence[str] = ("disc", "triangle", "cross"),
        width: Annotated[int, Interval(ge=16, le=4096)] = 128,
        height: Annotated[int, Interval(ge=16, le=4096)] = 96,
        train_sequences: Annotated[int, Ge(1)] = 32,
        val_sequences: Annotated[int, Ge(1)] = 8,
        test_sequences: Annotated[int, Ge(1)] = 8,
        duration_us: Annotated[int, Ge(1000)] = 200_000,
        objects_min: Annotated[int, Ge(0)] = 1,
        objects_max: Annotated[int, Interval(ge=1, le=64)] = 3,
        size_min_px: Annotated[float, Interval(ge=4)] = 18.0,
        size_max_px: Annotated[float, Interval(ge=4)] = 36.0,
        speed_min_px_s: Annotated[float, Gt(0)] = 1000.0,
        speed_max_px_s: Annotated[float, Gt(0)] = 4000.0,
        spin_max_rad_s: Annotated[float, Ge(0)] = 20.0,
        background_speed_px_s: Annotated[float, Ge(0)] = 0.0,
        contrast_min: Annotated[float, Ge(0)] = 0.5,
        contrast_max: Annotated[float, Ge(0)] = 1.2,
        texture_contrast: Annotated[float, Ge(0)] = 0.25,
        label_rate_hz: Annotated[float, Interval(gt=0, le=1_000_000)] = 200.0,
        label_min_in_frame: Annotated[float, Interval(ge=0, le=1)] = 0.4,
        label_min_unoccluded: Annotated[float, Interval(ge=0, le=1)] = 0.3,
        contrast_threshold: Annotated[float, Gt(0)] = 0.2,
        off_threshold_ratio: Annotated[float, Gt(0)] = 1.0,
        threshold_sigma: Annotated[float, Ge(0)] = 0.03,
        noise_rate_hz: Annotated[float, Ge(0)] = 1.0,
        refractory_us: Annotated[float, Ge(0)] = 50.0,
        max_step_px: Annotated[float, Interval(gt=0, le=1)] = 0.5,
        seed: Annotated[int, Ge(0)] = 0,
    ) -> None:
        unknown = [name for name in classes if name not in SHAPES]
        if unknown or not classes or len(set(classes)) < len(classes):
            raise ConfigError(f"data.classes is {list(classes)}; expected different names out of {', '.join(SHAPES)}")
        for low, high, name in (
            (objects_min, objects_max, "objects_min"),
            (size_min_px, size_max_px, "size_min_px"),
            (speed_min_px_s, speed_max_px_s, "speed_min_px_s"),
            (contrast_min, contrast_max, "contrast_min"),
        ):
            if low > high:
                largest = name.replace("min", "max")
                raise ConfigError(
                    f"data.dataset.{name}: found {low}; expected at most data.dataset.{largest}, which is {high}"
                )
        self.root = Path(root)
        self.classes = tuple(classes)  # numbers become floats below: 1000 and 1000.0 name the same set
        self.width, self.height = width, height
        self.sequences = {"train": train_sequences, "val": val_sequences, "test": test_sequences}
        self.duration_us = duration_us
        self.objects = (objects_min, objects_max)
        self.size_px = (float(size_min_px), float(size_max_px))
        self.speed_px_s = (float(speed_min_px_s), float(speed_max_px_s))
        self.spin_max_rad_s = float(spin_max_rad_s)
        self.background_speed_px_s = float(background_speed_px_s)
        self.contrast = (float(contrast_min), float(contrast_max))
        self.texture_contrast = float(texture_contrast)
        self.label_rate_hz = float(label_rate_hz)
        self.label_min_in_frame = float(label_min_in_frame)
        self.label_min_unoccluded = float(label_min_unoccluded)
        self.camera = EventCamera(
            width=width,
            height=height,
            contrast_threshold=float(contrast_threshold),
            off_threshold_ratio=float(off_threshold_ratio),
            threshold_sigma=float(threshold_sigma),
            refractory_us=float(refractory_us),
            noise_rate_hz=float(noise_rate_hz),
        )
        self.max_step_px = float(max_step_px)
        self.seed = seed

    @property
    def parameters(self) -> dict[str, object]:
        """All that decides what a recording of a given number holds."""
        left_out = ("root", "sequences", "camera")
        own = {name: value for name, value in vars(self).items() if name not in left_out}
        return {"version": VERSION, "format_version": FORMAT_VERSION, **own, "camera": vars(self.camera)}

    @property
    def folder(self) -> Path:
        """Where the set lives: the root and the digest of the parameters and of the store's format version."""
        text = json.dumps([self.parameters, FORMAT_VERSION], sort_keys=True)
        return self.root / hashlib.sha256(text.encode()).hexdigest()[:16]

    def recordings(self, role: Role, *, progress: Callable[[int, int, str], None] | None = None) -> list[Path]:
        """The stored recordings of a role, in order; those that are missing are made first.

        Args:
            progress: called with ``(done, total, text)`` after each recording that had to be made.

        Raises:
            RecordingError: the store cannot be written.
        """
        paths = [self.folder / role / f"sequence_{number:04d}.zarr" for number in range(self.sequences[role])]
        missing = [number for number, path in enumerate(paths) if not path.exists()]
        if not missing:
            return paths
        try:
            paths[0].parent.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / "parameters.json", json.dumps(self.parameters, indent=2) + "\n")
        except OSError as error:
            raise RecordingError(f"{self.folder}: cannot be written ({error.strerror}); set data.root") from error
        # The kernels let go of the interpreter's lock, so threads share the work.
        with ThreadPoolExecutor(min(len(missing), os.cpu_count() or 1)) as pool:
            tasks = [pool.submit(self._write, role, number, paths[number]) for number in missing]
            try:
                for done, task in enumerate(as_completed(tasks), start=1):
                    task.result()
                    if progress is not None:
                        progress(done, len(missing), f"{role} recordings simulated")
            finally:
                pool.shutdown(cancel_futures=True)
        return paths

    def simulate(self, role: Role, number: int) -> tuple[Events, Boxes]:
        """One sequence: its events in ``0 <= t < duration_us`` and its boxes, none later than the last event."""
        generator = np.random.default_rng([self.seed, ROLES.index(role), number])
        scene = self.draw_scene(generator)
        events = scene.film(
            self.camera, duration_us=self.duration_us, max_step_px=self.max_step_px, generator=generator
        )
        last = events.t[-1] if len(events) else -1
        count = int(self.duration_us * self.label_rate_hz * 1e-6)
        times = np.rint(np.arange(1, count + 1) * (1e6 / self.label_rate_hz)).astype(np.int64)
        boxes = scene.boxes(
            times[times <= last], min_in_frame=self.label_min_in_frame, min_unoccluded=self.label_min_unoccluded
        )
        return events, boxes

    def draw_scene(self, generator: np.random.Generator) -> Scene:
        """A scene of random objects, each class as likely as any other."""
        count = int(generator.integers(self.objects[0], self.objects[1] + 1))
        class_id = generator.integers(0, len(self.classes), count)
        radius = 0.5 * generator.uniform(*self.size_px, count)
        slowest, fastest = np.log(self.speed_px_s)
        speed = np.exp(generator.uniform(slowest, fastest, count))
        heading = generator.uniform(0, 2 * np.pi, count)
        frame = np.array([self.width, self.height], np.float64)
        # A wall lies up to one radius inside or outside the frame's edge, but leaves room to move.
        wall = np.minimum(generator.uniform(-1.0, 1.0, count) * radius, 0.4 * frame.min())[:, None]
        low, high = np.broadcast_to(wall, (count, 2)).copy(), frame - wall
        texels = 2 * int(np.ceil(REACH * 0.5 * self.size_px[1] + 2)) + 1
        sign = generator.choice([-1.0, 1.0], count)
        mean = sign * generator.uniform(*self.contrast, count)
        texture = np.empty((count, texels, texels))
        for o in range(count):
            texture[o] = mean[o] + self.texture_contrast * cloud((texels, texels), shortest_px=4.0, generator=generator)
        drift = self.background_speed_px_s * np.exp(1j * generator.uniform(0, 2 * np.pi))
        background = self.texture_contrast * cloud((self.height, self.width), shortest_px=4.0, generator=generator)
        return Scene(
            background=background,
            drift_px_s=(float(drift.real), float(drift.imag)),
            class_id=class_id,
            shape=np.array([SHAPES.index(self.classes[c]) for c in class_id], np.int64),
            radius=radius,
            texture=texture,
            start=generator.uniform(low, high),
            velocity=np.stack([speed * np.cos(heading), speed * np.sin(heading)], axis=1),
            low=low,
            high=high,
            angle=generator.uniform(0, 2 * np.pi, count),
            spin=generator.uniform(-self.spin_max_rad_s, self.spin_max_rad_s, count),
        )

    def _write(self, role: Role, number: int, path: Path) -> None:
        events, boxes = self.simulate(role, number)
        try:
            with RecordingWriter(
                path,
                width=self.width,
                height=self.height,
                classes=self.classes,
                source=f"synthetic {self.folder.name} {role} {number}",
            ) as writer:
                writer.append(events)
                writer.set_boxes(boxes)
                writer.seal()
        except RecordingError:
            # Another process may have made the same recording meanwhile: it is the same to the bit.
            if not path.exists():
                raise
