"""One set converted by several jobs, in any order, again, at once, and on a SLURM cluster: the files of one job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slurm_node import ON_THE_NODE, needs_submitit
from test_convert import configured
from test_events_conversion import write_dat, write_labels

from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.events.conversion.manifest import read_manifest

EVENTS = [400, 3000, 50, 20]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled recordings of two splits, and two without labels of equal content."""
    folder = tmp_path_factory.mktemp("set")
    for number, events in enumerate(EVENTS):
        name = f"{'val' if number % 3 else 'train'}/r{number}"
        write_dat(folder / f"{name}.dat", events=events, seed=number)
        write_labels(folder / f"{name}_bbox.npy", [(50_000, 5, 6, 20, 10, 0)])
    for name in ("train/twin", "val/twin"):
        write_dat(folder / f"{name}.dat", events=300, seed=99)
    return folder


def given_by(raw: Path, out: Path) -> list[str]:
    return [f"source={raw}", f"out={out}", "classes=[car]", "workers=1", "previews=1"]


def files_of(out: Path) -> dict[str, str]:
    """All that a set consists of, locks too, with what each file holds: digests, so that a failure names the file."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {path.relative_to(out).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def of_one_job(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("one") / "out"
    configured(*given_by(raw, out))
    return files_of(out)


@pytest.mark.slow
@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shards=st.integers(1, 9), others=st.integers(1, 9), random=st.randoms(use_true_random=False))
def test_shards_in_any_order_some_again_with_another_number_write_what_one_job_writes(
    raw: Path,
    of_one_job: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    caplog: pytest.LogCaptureFixture,
    shards: int,
    others: int,
    random: st.Random,
) -> None:
    out = tmp_path_factory.mktemp("many") / "out"
    jobs = [(shard, shards) for shard in range(shards)]
    jobs += [(random.randrange(shards), shards), (random.randrange(others), others)]
    random.shuffle(jobs)
    caplog.set_level("INFO")
    for number, (shard, of) in enumerate(jobs):
        caplog.clear()
        configured(*given_by(raw, out), f"shard={shard}", f"shards={of}")
        complete = "the set holds all 6 recordings" in caplog.text
        assert complete == (len(read_manifest(out)) == 6)
        assert complete or number < len(jobs) - 1
    assert files_of(out) == of_one_job


def start(raw: Path, out: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "spikeyolo.convert", *more, *given_by(raw, out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, **environment},
    )


def test_the_same_shard_started_twice_and_the_other_one_at_once_write_what_one_job_writes(
    raw: Path, of_one_job: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    jobs = [
        start(raw, out, f"shard={shard}", "shards=2", f"hydra.run.dir={tmp_path}/run{number}")
        for number, shard in enumerate((0, 0, 1))
    ]
    said = [job.communicate(timeout=120)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0], said
    assert files_of(out) == of_one_job
    shares = [sum(line.endswith(": converted") for line in text.splitlines()) for text in said]
    assert sum(shares) == 6  # each once
    assert any("the set holds all 6 recordings" in text for text in said)


def test_more_shards_than_recordings_are_no_error(raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    configured(*given_by(raw, tmp_path / "out"), "shard=6", "shards=7")
    assert "shard 6 of 7: 0 of 6 recordings" in caplog.text
    assert "the set holds 0 of 6 recordings so far (not train/r0.zarr)" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["shard=2", "shards=2"], "shard: found 2 with shards=2; expected 0 to 1"),
        (["shard=1"], "shard: found 1 with shards=1; expected 0 to 0"),
        (["shards=2"], "shard must be given with shards=2"),
        (["shards=0"], "shards: found 0"),
        (["shard=-1", "shards=2"], "shard: found -1"),
        (["shard=a", "shards=2"], "shard: found 'a'"),
        (["shard=0", "shards=2", "info=true"], "shard: found 0 with info=true"),
    ],
)
def test_shards_that_cannot_be_are_refused(raw: Path, tmp_path: Path, overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        configured(*given_by(raw, tmp_path / "out"), *overrides)
    assert not (tmp_path / "out").exists()


def test_a_failure_names_its_shard(tmp_path: Path) -> None:
    write_dat(tmp_path / "raw" / "a.dat")
    (tmp_path / "raw" / "b.raw").write_bytes(b"% evt 3.0\n% end\nx")
    given = [f"source={tmp_path}/raw", f"out={tmp_path}/out", "workers=1"]
    configured(*given, "shard=0", "shards=2")
    with pytest.raises(RecordingError, match=r"^shard 1 of 2: .*b\.raw"):
        configured(*given, "shard=1", "shards=2")


@pytest.mark.slow
@needs_submitit
@pytest.mark.long
def test_a_cluster_converts_a_set_and_a_shard_that_was_killed_is_started_again(
    tmp_path: Path, slurm: dict[str, str]
) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_dat(raw / "train" / "long.dat", events=8_000_000, span_us=5_000_000)
    for number in range(3):
        write_dat(raw / "val" / f"{number}.dat", events=1000 * number + 10, seed=number)
    jobs = ["-m", "shard=range(0,3)", "shards=3", f"hydra.sweep.dir={tmp_path}/sweep", *ON_THE_NODE]
    process = start(raw, out, *jobs, **slurm)
    deadline = time.monotonic() + 120
    while not (partial := list(out.glob("train/long.zarr.partial-*"))):
        assert time.monotonic() < deadline and process.poll() is None  # noqa: PT018
        time.sleep(0.02)
    os.kill(int(partial[0].name.split("-")[1]), signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert said.splitlines()[-1].startswith("error: Job ")
    assert "Traceback" not in said
    while len(read_manifest(out)) < 3:  # the other jobs go on by themselves
        assert time.monotonic() < deadline
        time.sleep(0.1)

    again = start(raw, out, "-m", "shard=0", *jobs[2:], **slurm)
    assert again.communicate(timeout=120)[0] is not None
    assert again.returncode == 0
    configured(*given_by(raw, tmp_path / "one"))
    assert files_of(out) == files_of(tmp_path / "one")
