"""In a program of one's own: README's example runs, files, events and frames agree, and importing costs nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import environment
from format_writers import write_evt2
from hypothesis import given
from hypothesis import strategies as st
from small_run import small_run

import spikeyolo
from spikeyolo.errors import CheckpointError, ConfigError
from spikeyolo.events import Events
from spikeyolo.events.packing import pack, times
from spikeyolo.prediction.windows import windows
from spikeyolo.predictor import Predictor

README = (Path(__file__).parents[1] / "README.md").read_text()


def drawn(count: int = 4000, duration_us: int = 1900) -> Events:
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, duration_us, count)).astype(np.int64)
    t[0] = 0
    x, y = (rng.integers(0, 64, count).astype(np.uint16) for _ in "xy")
    return Events(t, x, y, rng.integers(0, 2, count).astype(np.uint8), 64, 64)


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    small_run(folder).parent.parent.rename(folder / "RUN")
    (folder / "recording.raw").write_bytes(write_evt2(drawn()))
    return folder


@pytest.fixture(scope="module")
def detector(cwd: Path) -> Predictor:
    return spikeyolo.load(cwd / "RUN" / "checkpoints" / "best", device="cpu")


def test_the_readmes_example_runs(
    cwd: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"<!-- python example -->\n```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(cwd)
    names: dict[str, object] = {}
    exec(example, names)
    printed = capsys.readouterr().out.splitlines()
    assert printed
    assert {line.split()[0] for line in printed} <= {"disc", "triangle", "cross"}
    np.testing.assert_array_equal(names["events"].t, drawn().t)  # type: ignore[attr-defined]


def test_a_file_its_events_and_their_frames_show_the_same(cwd: Path, detector: Predictor) -> None:
    events = drawn()
    from_file = detector.predict(cwd / "recording.raw", confidence=0.1)
    from_events = detector.predict(events, confidence=0.1)
    assert len(from_file) > 5
    np.testing.assert_array_equal(from_file.score, from_events.score)
    assert sorted(set(from_events.t_us.tolist())) == [400, 800, 1200, 1600, 2000]
    frames = np.empty((4, 2, 32, 32), np.uint8)
    detector.encoder.encode(pack(events), start_us=400, slice_us=100, out=frames)
    for given_frames in (frames, torch.from_numpy(frames)[:, None]):
        (found,) = detector.predict(given_frames, confidence=0.1)
        np.testing.assert_array_equal(found.score, from_events.score[from_events.t_us == 800])
        np.testing.assert_allclose(2 * found.xyxy, from_events.xyxy[from_events.t_us == 800], atol=1e-4)


def test_a_carried_state_changes_what_later_windows_show(detector: Predictor) -> None:
    fresh, carried = (detector.predict(drawn(), confidence=0.0001, carry=carry) for carry in (False, True))
    first = [table.score[table.t_us == 400] for table in (fresh, carried)]
    np.testing.assert_allclose(*first, atol=1e-6)
    later = [table.score[table.t_us == 1600][:5] for table in (fresh, carried)]
    assert not np.allclose(*later)


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=60), st.integers(1, 900), st.integers(1, 7))
def test_windows_hold_every_event_once_however_a_file_is_read(gaps: list[int], duration: int, batch: int) -> None:
    t = np.cumsum(gaps).astype(np.int64)
    none = np.zeros(len(t), np.uint16)
    packed = pack(Events(t, none, none, none.astype(np.uint8), 4, 4))
    found = list(windows((packed[i : i + batch] for i in range(0, len(packed), batch)), duration))
    np.testing.assert_array_equal(np.concatenate([part for _, part, _ in found]), packed)
    assert [start for start, _, _ in found] == [int(t[0]) + duration * i for i in range(len(found))]
    for start, part, _ in found:
        assert ((times(part) >= start) & (times(part) < start + duration)).all()


def test_what_cannot_be_loaded_or_predicted_is_said_in_a_sentence(tmp_path: Path, detector: Predictor) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        spikeyolo.load(tmp_path)
    with pytest.raises(ConfigError, match=r"found int; expected events, a path, or frames"):
        detector.predict(3)
    with pytest.raises(ConfigError, match="channels"):
        detector.predict(np.zeros((4, 1, 3, 32, 32), np.uint8))
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = spikeyolo.lode


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "hydra", "omegaconf", "zarr", "numba", "mlflow", "pyarrow", "matplotlib")
    code = f"import sys\nfor name in {heavy}: sys.modules[name] = None\nimport spikeyolo\nprint(spikeyolo.__version__)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == spikeyolo.__version__, done.stderr
