"""Batches do not depend on who makes them: the order is a function of seed and epoch, workers change nothing."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from stored import END_US, boxes_at, part, random_events, store

from spikeyolo.errors import RecordingError
from spikeyolo.windows.augment import Augmentation
from spikeyolo.windows.batch import Batch
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.encoders import HistogramEncoder
from spikeyolo.windows.rules import WindowRules
from spikeyolo.windows.serving.loader import WindowLoader, leave_signals_to_the_trainer
from spikeyolo.windows.serving.sampler import EpochSampler

LABELS = list(range(10_000, END_US + 1, 10_000))


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> WindowDataset:
    return windows_in(tmp_path_factory.mktemp("store"))


def windows_in(folder: Path) -> WindowDataset:
    """The windows of two small recordings made in a folder."""
    return WindowDataset(
        [part(store(folder / f"{seed}.zarr", random_events(seed=seed)), boxes_at(LABELS)) for seed in range(2)],
        rules=WindowRules(slice_duration_us=1000, time_steps=3),
        encoder=HistogramEncoder(),
        augmentation=Augmentation(flip=0.5, zoom_min=0.8, zoom_max=1.25, event_drop=0.2, noise=0.1, polarity_flip=0.5),
        seed=3,
    )


def loader(windows: WindowDataset, workers: int = 0) -> WindowLoader:
    sampler = EpochSampler(size=len(windows), batch_size=8, shuffle=True, seed=3)
    return WindowLoader(windows, sampler, workers=workers)


def same(one: Batch, other: Batch) -> bool:
    return (
        torch.equal(one.frames, other.frames)
        and one.windows == other.windows
        and all(torch.equal(getattr(one.targets, n), getattr(other.targets, n)) for n in one.targets.__annotations__)
    )


def test_spawned_workers_make_the_batches_that_this_process_makes(windows: WindowDataset) -> None:
    alone, spawned = loader(windows), loader(windows, workers=2)
    for epoch, first in ((0, 0), (1, 0), (1, 1)):
        expected, found = list(alone.epoch(epoch, first_batch=first)), list(spawned.epoch(epoch, first_batch=first))
        assert len(found) == len(alone) - first
        assert all(same(a, b) for a, b in zip(expected, found, strict=True))


def test_an_epoch_gone_on_with_has_the_batches_that_were_left(windows: WindowDataset) -> None:
    whole = list(loader(windows).epoch(5))
    for first in range(len(whole) + 1):
        rest = list(loader(windows).epoch(5, first_batch=first))
        assert len(rest) == len(whole) - first
        assert all(same(a, b) for a, b in zip(rest, whole[first:], strict=True))


def test_each_epoch_and_each_seed_augments_anew(windows: WindowDataset) -> None:
    again, later = windows[0, 4], windows[1, 4]
    assert np.array_equal(windows[0, 4].frames, again.frames)
    assert not np.array_equal(again.frames, later.frames)
    assert again.window == later.window


def test_without_augmentation_a_window_is_always_the_same(windows: WindowDataset) -> None:
    plain = WindowDataset(windows.parts, rules=windows.rules, encoder=windows.encoder)
    assert np.array_equal(plain[0, 4].frames, plain[9, 4].frames)


def test_a_worker_outlives_the_signals_that_are_meant_for_its_parent(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_signalled, args=(leave_signals_to_the_trainer, tmp_path / "alive"))
    process.start()
    process.join(20)
    assert process.exitcode == 0
    assert (tmp_path / "alive").exists()
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_chunk_is_named_in_one_line_whoever_meets_it(workers: int, tmp_path: Path) -> None:
    recording = store(tmp_path / "a.zarr", random_events())
    shard = tmp_path / "a.zarr" / "events" / "c" / "0"
    content = bytearray(shard.read_bytes())
    content[100] ^= 255
    shard.write_bytes(content)
    rules = WindowRules(slice_duration_us=1000, time_steps=2)
    damaged = WindowDataset([part(recording, boxes_at(LABELS))], rules=rules, encoder=HistogramEncoder())
    batches = WindowLoader(damaged, EpochSampler(size=2, batch_size=2, shuffle=False), workers=workers).epoch(0)
    with pytest.raises(RecordingError, match=r"^\S*a\.zarr: chunk 0 of events .* is damaged: [^\n]*$"):
        list(batches)


def test_a_process_that_keeps_its_loader_to_the_end_does_end(windows: WindowDataset, tmp_path: Path) -> None:
    (tmp_path / "windows.pickle").write_bytes(pickle.dumps(windows))
    done = subprocess.run(
        [sys.executable, "-c", KEEPS_ITS_LOADER, tmp_path / "windows.pickle"],
        capture_output=True,
        timeout=200,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "1 batches\n"), done.stderr


KEEPS_ITS_LOADER = """
import gc, pickle, sys
from pathlib import Path
from spikeyolo.windows.serving.loader import WindowLoader
from spikeyolo.windows.serving.sampler import EpochSampler

if __name__ == "__main__":
    gc.disable()
    windows = pickle.loads(Path(sys.argv[1]).read_bytes())
    loader = WindowLoader(windows, EpochSampler(size=2, batch_size=2, shuffle=False), workers=1)
    batches = loader.epoch(0)
    kept = [batches]
    kept.append(kept)
    print(len(list(batches)), "batches")
    del loader, batches, kept
"""


def _signalled(prepare: Callable[[int], None], path: Path) -> None:
    prepare(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
    path.touch()


KEEPS_ITS_BATCHES = KEEPS_ITS_LOADER.replace("len(list(batches))", "len([next(batches)])")  # as an error's trace does


@pytest.mark.parametrize(
    "program", [KEEPS_ITS_BATCHES, f"{KEEPS_ITS_BATCHES}    gc.collect()\n"], ids=["kept", "found"]
)
def test_a_process_ends_that_keeps_batches_of_a_loader_that_is_gone_or_finds_them_among_its_garbage(
    program: str, windows: WindowDataset, tmp_path: Path
) -> None:
    (tmp_path / "windows.pickle").write_bytes(pickle.dumps(windows))
    command = [sys.executable, "-c", program, tmp_path / "windows.pickle"]
    done = subprocess.run(command, capture_output=True, timeout=60, text=True)
    assert (done.returncode, done.stdout) == (0, "1 batches\n"), done.stderr


LEFT_OPEN = """
import sys
import tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_dataset_loading import loader, windows_in

if __name__ == "__main__":
    kept = loader(windows_in(Path(sys.argv[2])), workers=1)  # alive until the very end
    next(kept.epoch(0))
    print("read")
"""


def test_a_process_ends_although_its_loader_still_has_workers(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(LEFT_OPEN)
    command = [sys.executable, "program.py", str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr


def test_what_a_worker_is_sent_does_not_grow_with_the_number_of_boxes_or_windows(tmp_path: Path) -> None:
    recording = store(tmp_path / "a.zarr", random_events())
    sizes = []
    for step_us in (1_000, 100):
        windows = WindowDataset(
            [part(recording.with_boxes(boxes, ("a",)), boxes) for boxes in [boxes_at(range(10_000, END_US, step_us))]],
            rules=WindowRules(100, 4, slicing="around_labels"),
            encoder=HistogramEncoder(downsample=1),
        )
        sent = pickle.dumps(windows)
        sizes.append(len(sent))
        received = pickle.loads(sent)
        assert len(received) == len(windows) >= (END_US - 10_000) // step_us
        for index in (0, len(windows) - 1):
            one, other = windows[0, index], received[0, index]
            assert (one.window, one.supervised.tolist()) == (other.window, other.supervised.tolist())
            np.testing.assert_array_equal(one.boxes.xyxy, other.boxes.xyxy)
            np.testing.assert_array_equal(one.frames, other.frames)
    assert max(sizes) - min(sizes) < 100


def test_the_columns_of_a_set_without_a_box_reach_a_worker_too_and_their_files_go_with_the_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    windows = WindowDataset(
        [part(store(tmp_path / "a.zarr", random_events()), None)],
        rules=WindowRules(100, 4, slicing="sliding"),
        encoder=HistogramEncoder(downsample=1),
    )
    received = pickle.loads(pickle.dumps(windows))
    assert not received[0, 0].supervised.any()
    assert list((tmp_path / "temporary").iterdir())
    del windows
    gc.collect()
    assert not list((tmp_path / "temporary").iterdir())
