"""What the ``data`` group builds: a data set, how its windows are cut, and how they are served."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, Protocol, runtime_checkable

from annotated_types import Ge, Interval

from spikeyolo.errors import ConfigError
from spikeyolo.events.conversion.identity import first_event_us
from spikeyolo.events.conversion.prepare import check_labels, prepare
from spikeyolo.events.datasets import Source
from spikeyolo.events.labels import warn_once
from spikeyolo.events.splits import Role, Span, check_apart
from spikeyolo.events.store import Recording
from spikeyolo.events.store.chunks import ChunkCache
from spikeyolo.events.store.location import is_remote
from spikeyolo.events.store.mapped import default_folder
from spikeyolo.events.store.memory import memory_bytes
from spikeyolo.events.store.recording import Cache
from spikeyolo.windows.augment import Augmentation
from spikeyolo.windows.dataset import Cut, WindowDataset
from spikeyolo.windows.encoders import Encoder
from spikeyolo.windows.parts import Part, labels_from, stored_parts
from spikeyolo.windows.rules import Slicing, TargetRule, WindowRules
from spikeyolo.windows.serving.lanes import LaneSampler, MixedSampler, RecordingSampler
from spikeyolo.windows.serving.loader import WindowLoader
from spikeyolo.windows.serving.sampler import BatchSampler, EpochSampler
from spikeyolo.windows.shown import check_begun, check_boxes, check_windows, say_undefined, say_undefined_windows

log = logging.getLogger(__name__)

Sampling = Literal["uniform", "balanced", "streaming", "mixed"]
Progress = Callable[[int, int, str], None]


@runtime_checkable
class RecordedSet(Protocol):
    """A data set of files in some lab's layout, to be converted into the store on first use."""

    def sources(self, role: Role) -> list[Source]: ...


@runtime_checkable
class StoredSet(Protocol):
    """A data set whose recordings are in a store already, or that writes them there itself."""

    def recordings(self, role: Role, *, progress: Progress | None = None) -> Sequence[Path | Recording]: ...


class EventData:
    """Serves the windows of a data set's roles, ``train``, ``val`` and ``test``.

    Args:
        dataset: where the recordings and labels are.
        classes: names, in the order of class ids; None takes the data set's.
        store: folder for converted recordings.
        cache: where a recording's events are kept once read: ``none`` (decoded chunks of the last reads), ``ram`` (all,
            or as many chunks as ``cache_memory`` allows), or ``mmap`` (a decoded file that all processes share).
        cache_memory: share of the memory that ``ram`` may fill, in all processes together.
        cache_folder: where ``mmap`` keeps its files, 8 bytes an event; None for the user's cache folder.
        batch_size: windows a batch, B; ``auto`` lets a training find how many fit, and is 8 elsewhere.
        samples_per_epoch: training windows an epoch; None takes every window once.
        sampling: ``uniform`` takes all training windows alike; ``balanced`` takes each class's about equally often and
            lets the files take turns, see :class:`ClassBalance`; ``streaming`` lets each lane of the batch follow a
            recording from window to window, see :class:`LaneSampler`, and ``mixed`` half of them, beside windows that
            are taken ``uniform``. With lanes, validation takes whole recordings.
        reset_share: of a lane's windows, those that begin afresh although they follow the one before.
        workers: processes that encode windows; 0 encodes in the training process.
        encoder: events to frames.
        slice_duration_us, time_steps, slicing, events_per_window, overlap: see :class:`WindowRules`.
        temporal_buffer, max_label_gap_us, targets, negative_share: see there.
        max_samples_per_file, max_events_per_sample: see there.

    Raises:
        ConfigError: the store is not a local folder, or windows cannot be followed.
    """

    def __init__(
        self,
        *,
        dataset: RecordedSet | StoredSet,
        classes: Sequence[str] | None,
        store: str,
        encoder: Encoder,
        cache: Cache = "none",
        cache_memory: Annotated[float, Interval(gt=0, le=1)] = 0.5,
        cache_folder: str | None = None,
        batch_size: Annotated[int, Ge(1)] | Literal["auto"] = 8,
        samples_per_epoch: Annotated[int, Ge(1)] | None = None,
        sampling: Sampling = "uniform",
        reset_share: Annotated[float, Interval(ge=0, le=1)] = 0.05,
        workers: Annotated[int, Ge(0)] = 0,
        slice_duration_us: Annotated[int, Ge(1)] = 10_000,
        time_steps: Annotated[int, Ge(1)] = 8,
        slicing: Slicing = "around_labels",
        events_per_window: Annotated[int, Ge(1)] = 50_000,
        overlap: Annotated[float, Interval(ge=0, lt=1)] = 0.25,
        temporal_buffer: Annotated[float, Interval(ge=0, le=10)] = 0.2,
        max_label_gap_us: Annotated[int, Ge(0)] | None = None,
        targets: TargetRule = "per_slice",
        max_samples_per_file: Annotated[int, Ge(1)] | None = None,
        max_events_per_sample: Annotated[int, Ge(1)] | None = None,
        negative_share: Annotated[float, Ge(0)] = 0.1,
    ) -> None:
        if is_remote(store):
            raise ConfigError(
                f"data.store: found {store}; expected a local folder (python -m spikeyolo.convert writes into a "
                "bucket, data=converted data.root=URL trains from it)"
            )
        self.dataset = dataset
        self._found: dict[Role, list[Source]] = {}
        self._said: set[str] = set()
        self._spans: dict[str, list[Span]] = {}
        if classes is None:  # those of a converted set stand in its manifest
            classes = getattr(dataset, "classes", ())
        self.classes = tuple(classes)
        self.store = Path(store)
        self.encoder = encoder
        self.cache: Cache = cache
        self.cache_memory = cache_memory
        self.cache_folder = default_folder() if cache_folder is None else Path(cache_folder)
        self.finds_batch_size = batch_size == "auto"
        self.batch_size = 8 if batch_size == "auto" else batch_size
        self.samples_per_epoch = samples_per_epoch
        self.sampling: Sampling = sampling
        self.reset_share = reset_share
        if self.in_lanes and slicing == "by_count":
            raise ConfigError(
                f"data.slicing: found by_count with data.sampling={sampling}, whose lanes follow windows of one "
                "length; expected around_labels or sliding"
            )
        if self.in_lanes and self.finds_batch_size:
            raise ConfigError(
                f"data.batch_size: found auto with data.sampling={sampling}, where it is the number of lanes; expected "
                "a number"
            )
        if sampling == "mixed" and self.batch_size < 2:
            raise ConfigError(
                f"data.batch_size: found {batch_size} with data.sampling=mixed; expected at least 2, a lane and a "
                "window beside it"
            )
        self.workers = workers
        self.rules = WindowRules(
            slice_duration_us=slice_duration_us,
            time_steps=time_steps,
            slicing=slicing,
            events_per_window=events_per_window,
            overlap=overlap,
            temporal_buffer=temporal_buffer,
            max_label_gap_us=max_label_gap_us,
            targets=targets,
            max_samples_per_file=max_samples_per_file,
            max_events_per_sample=max_events_per_sample,
            negative_share=negative_share,
        )

    @property
    def in_lanes(self) -> bool:
        """Whether the neurons' state goes on from window to window, in validation too."""
        return self.sampling in ("streaming", "mixed")

    def use_batch_size(self, windows: int) -> None:
        """Serve batches of so many windows, as was found before."""
        self.batch_size, self.finds_batch_size = windows, False

    def check(self, roles: Sequence[Role] = ("train", "val")) -> None:
        """Find the roles' recordings and read their labels before anything is converted.

        Raises:
            RecordingError, LabelError: a file is not what it should be.
        """
        if isinstance(self.dataset, RecordedSet):
            found = {role: self._sources(self.dataset, role) for role in roles}
            check_apart(
                {
                    role: [Span(str(item.events.resolve()), item.start_us, item.end_us, item.name) for item in sources]
                    for role, sources in found.items()
                }
            )
            for sources in found.values():
                check_labels(sources, store=self.store, classes=self.classes)

    def parts(self, role: Role, *, progress: Progress | None = None) -> list[Part]:
        """The stored recordings of a role, converted or made on first use. The first ones decide what the encoder
        makes of a sensor of their size.

        Raises:
            RecordingError, LabelError: a file is not what it should be.
        """
        if isinstance(self.dataset, StoredSet):
            found = self.dataset.recordings(role, progress=progress)
            opened = [item if isinstance(item, Recording) else Recording.open(item) for item in found]
            return self._apart(role, stored_parts(self._cached(role, opened), self.classes))
        prepared = prepare(self._sources(self.dataset, role), store=self.store, classes=self.classes, progress=progress)
        warn_once([(item.source.labels, item.warnings) for item in prepared if item.source.labels], self._said)
        parts = []
        for item, recording in zip(prepared, self._cached(role, [item.open() for item in prepared])):
            first, start, end = first_event_us(recording), recording.start_us, recording.end_us
            if item.source.start_us is not None:
                start = max(start, first + item.source.start_us)
            if item.source.end_us is not None:
                end = min(end, first + item.source.end_us)
            known_from = labels_from(recording, item.source.rules.skip_first_us)
            unknown, looks = item.left_out_us, item.looks_us
            parts.append(Part(recording, item.boxes, start, end, item.source.name, known_from, unknown, looks))
        return self._apart(role, parts)

    def spans(self, role: Role) -> list[Span]:
        """What identifies the events of a role, once :meth:`parts` gave its recordings."""
        return self._spans.get(role, [])

    def _cached(self, role: Role, recordings: Sequence[Recording]) -> list[Recording]:
        """The recordings, their events kept as ``cache`` says and memory allows."""
        cache, chunks = self.cache, ChunkCache()  # one for all recordings: memory does not grow with their number
        gigabytes = 8e-9 * sum(recording.num_events for recording in recordings)
        if cache == "ram":
            processes = 2 * max(self.workers, 1)  # those of training and of validation
            allowed = self.cache_memory * memory_bytes() / processes
            if gigabytes * 1e9 > allowed:
                cache, chunks = "none", ChunkCache(max_bytes=int(allowed))
                log.info(
                    "%s: decoded events take %.1f GB, of which each process keeps those it read last, up to %.1f GB "
                    "(data.cache_memory; data.cache=mmap shares a copy on disk)",
                    role,
                    gigabytes,
                    allowed * 1e-9,
                )
        elif cache == "mmap":
            log.info("%s: decoded events in %s, %.1f GB (data.cache_folder)", role, self.cache_folder, gigabytes)
        return [recording.with_cache(cache, chunks, folder=self.cache_folder) for recording in recordings]

    def _apart(self, role: Role, parts: list[Part]) -> list[Part]:
        """The parts, if no other role has the same events; the encoder is decided by the first.

        Raises:
            RecordingError: one does.
        """
        stored = isinstance(self.dataset, StoredSet)  # whose parts are called by the last part of their places
        self._spans[role] = [
            Span(
                str(part.recording.attributes["digest"]),
                part.start_us,
                part.end_us,
                str(part.recording.path) if stored else part.name,
            )
            for part in parts
        ]
        check_apart(self._spans)
        if parts:
            self.encoder = self.encoder.for_sensor(parts[0].recording.width, parts[0].recording.height)
        return parts

    def _sources(self, dataset: RecordedSet, role: Role) -> list[Source]:
        """Looked for once, so that what is to be said of them is said once."""
        if role not in self._found:
            self._found[role] = dataset.sources(role)
        return self._found[role]

    def train_loader(
        self,
        *,
        augmentation: Augmentation | None,
        seed: int,
        pin_memory: bool = False,
        progress: Progress | None = None,
    ) -> WindowLoader:
        """Shuffled, augmented batches of the training windows.

        Raises:
            LabelError: there is no box to learn from, or no window shows one.
        """
        parts = self.parts("train", progress=progress)
        check_boxes(parts, self.classes)
        dataset = WindowDataset(
            parts,
            rules=self.rules,
            encoder=self.encoder,
            augmentation=augmentation,
            seed=seed,
            role="train",
            cut="lanes" if self.sampling == "streaming" else "both" if self.sampling == "mixed" else "alone",
        )
        check_windows(dataset)
        return WindowLoader(dataset, self._order(dataset, seed), workers=self.workers, pin_memory=pin_memory)

    def _order(self, dataset: WindowDataset, seed: int) -> BatchSampler:
        """Of the training windows."""
        samples = self.samples_per_epoch
        lanes: LaneSampler | None = None
        if self.in_lanes:
            lanes = LaneSampler(
                recording=dataset.recordings_of_lanes,
                first=dataset.first_of_lanes,
                batch_size=self.batch_size if self.sampling == "streaming" else self.batch_size // 2,
                samples_per_epoch=samples,
                reset_share=self.reset_share,
                seed=seed,
            )
        if lanes is not None and self.sampling == "streaming":
            return lanes
        batch_size = self.batch_size
        if lanes is not None:
            batch_size -= lanes.batch_size
            samples = None if samples is None else batch_size * -(-samples // self.batch_size)
        alone = EpochSampler(
            size=dataset.first_of_lanes,
            batch_size=batch_size,
            shuffle=True,
            samples_per_epoch=samples,
            seed=seed,
            balance=dataset.balance(len(self.classes)) if self.sampling == "balanced" else None,
        )
        return alone if lanes is None else MixedSampler(alone=alone, lanes=lanes)

    def val_loader(self, *, pin_memory: bool = False, progress: Progress | None = None) -> WindowLoader:
        """Every validation window once, in order, as recorded."""
        return self._whole("val", pin_memory=pin_memory, progress=progress)

    def test_loader(self, *, pin_memory: bool = False, progress: Progress | None = None) -> WindowLoader:
        """Every test window once, in order, as recorded.

        Raises:
            ConfigError, RecordingError: the data set has nothing to test on.
        """
        return self._whole("test", pin_memory=pin_memory, progress=progress)

    def _whole(self, role: Role, *, pin_memory: bool, progress: Progress | None) -> WindowLoader:
        """Every window of a role once, in order, as recorded, or whole recordings in lanes; said is which figures it
        leaves undefined."""
        parts = self.parts(role, progress=progress)
        check_begun(role, parts, self._found.get(role, ()))
        defined = say_undefined(role, parts, self.classes)
        cut: Cut = "whole" if self.in_lanes else "alone"
        dataset = WindowDataset(parts, rules=self.rules, encoder=self.encoder, role=role, cut=cut)
        if defined:
            say_undefined_windows(role, dataset)
        sampler: BatchSampler
        if self.in_lanes:
            sampler = RecordingSampler(recording=dataset.recordings_of_lanes, batch_size=self.batch_size)
        else:
            sampler = EpochSampler(size=len(dataset), batch_size=self.batch_size, shuffle=False)
        return WindowLoader(dataset, sampler, workers=self.workers, pin_memory=pin_memory)
