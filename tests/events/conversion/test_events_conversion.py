"""Converting: finished recordings are verified and skipped, damaged ones repaired, nothing half-written is seen."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spikeyolo.errors import ConfigError, LabelError, RecordingError
from spikeyolo.events.conversion.convert import Conversion, convert
from spikeyolo.events.conversion.converted import ConvertedSet
from spikeyolo.events.conversion.manifest import read_manifest
from spikeyolo.events.conversion.places import place_of
from spikeyolo.events.conversion.pool import Outcome, Running, convert_all
from spikeyolo.events.datasets import Source
from spikeyolo.events.labels import LabelRules
from spikeyolo.events.preview import stretches
from spikeyolo.events.store import Recording

BOX = [("t", "<i8"), ("x", "<f4"), ("y", "<f4"), ("w", "<f4"), ("h", "<f4"), ("class_id", "<u4")]


def write_dat(path: Path, *, events: int = 5000, seed: int = 0, span_us: int = 100_000) -> Path:
    """A Prophesee DAT 2 file of random events on 64 x 48 px."""
    rng = np.random.default_rng(seed)
    header = "% Version 2\n% Height 48\n% Width 64\n"
    words = np.empty((events, 2), "<u4")
    words[:, 0] = np.sort(rng.integers(0, span_us, events))
    x, y, p = rng.integers(0, 64, events), rng.integers(0, 48, events), rng.integers(0, 2, events)
    words[:, 1] = x | y << 14 | p << 28
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header.encode() + bytes([0x0C, 8]) + words.tobytes())
    return path


def write_labels(path: Path, rows: list[tuple[float, ...]] | None = None) -> Path:
    np.save(path, np.array(rows or [(t, 5, 6, 20, 10, 0) for t in range(10_000, 100_000, 10_000)], BOX))
    return path


@pytest.fixture
def labelled(tmp_path: Path) -> Conversion:
    events = write_dat(tmp_path / "raw" / "a.dat")
    labels = write_labels(tmp_path / "raw" / "a_bbox.npy")
    return Conversion(Source(events, labels, "a", ""), tmp_path / "out" / "a.zarr", ("car",))


def test_a_recording_comes_with_its_labels_and_an_entry_that_says_what_it_is(labelled: Conversion) -> None:
    told: list[tuple[int, float]] = []
    status, entry = convert(labelled, progress=lambda *news: told.append(news))
    recording = Recording.open(labelled.place)
    assert status == "converted"
    assert recording.num_events == entry["events"] == 5000
    assert told[-1] == (5000, 1.0)
    assert (entry["width"], entry["height"], entry["source_format"]) == (64, 48, "dat2")
    assert (entry["start_us"], entry["end_us"]) == (recording.start_us, recording.end_us)
    assert entry["boxes"] == {"in_file": 9, "kept": 9, "clipped_to_frame": 0}
    assert entry["tools"]["zarr"]
    assert len(recording.boxes) == 9
    assert json.loads(json.dumps(entry)) == entry


def test_what_is_finished_is_verified_and_left_alone(labelled: Conversion) -> None:
    convert(labelled)
    before = (Path(labelled.place) / "zarr.json").stat().st_mtime_ns
    status, _ = convert(labelled)
    assert status == "verified"
    assert (Path(labelled.place) / "zarr.json").stat().st_mtime_ns == before


def test_a_damaged_recording_is_converted_anew(labelled: Conversion) -> None:
    convert(labelled)
    shard = Path(labelled.place) / "events" / "c" / "0"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    status, _ = convert(labelled)
    assert status == "repaired"
    Recording.open(labelled.place).verify()


def test_another_source_or_other_labels_are_refused_unless_replaced(labelled: Conversion, tmp_path: Path) -> None:
    convert(labelled)
    assert labelled.source.labels is not None
    write_labels(labelled.source.labels, [(20_000, 1, 1, 5, 5, 0)])
    with pytest.raises(RecordingError, match="converted from other files, classes or rules"):
        convert(labelled)
    anew = Conversion(labelled.source, labelled.place, labelled.classes, replace=True)
    assert convert(anew)[0] == "converted"
    assert len(Recording.open(labelled.place).boxes) == 1
    write_dat(labelled.source.events, seed=5)
    with pytest.raises(RecordingError, match="replace=true"):
        convert(labelled)


def test_rules_and_what_they_dropped_are_in_the_entry(tmp_path: Path) -> None:
    events = write_dat(tmp_path / "a.dat")
    labels = write_labels(tmp_path / "a_bbox.npy", [(9_000, 0, 0, 30, 30, 0), (50_000, 0, 0, 3, 3, 1)])
    rules = LabelRules(class_map={0: "car", 1: None}, min_side_px=5)
    _, entry = convert(Conversion(Source(events, labels, "a", "", rules=rules), tmp_path / "a.zarr", ("car",)))
    assert entry["boxes"] == {"in_file": 2, "kept": 1, "clipped_to_frame": 0, "dropped_class_not_kept": 1}
    assert entry["rules"]["class_map"] == {"0": "car", "1": None}


def test_labels_that_do_not_fit_leave_nothing_behind(tmp_path: Path) -> None:
    events = write_dat(tmp_path / "a.dat")
    labels = write_labels(tmp_path / "a_bbox.npy", [(10**9, 0, 0, 30, 30, 0)])
    with pytest.raises(LabelError, match="labels of another recording"):
        convert(Conversion(Source(events, labels, "a", ""), tmp_path / "out" / "a.zarr", ("car",)))
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".locks"]


def test_a_truncated_file_is_an_error_unless_what_can_be_read_is_enough(tmp_path: Path) -> None:
    events = write_dat(tmp_path / "a.dat", events=1000)
    events.write_bytes(events.read_bytes()[:-3])
    conversion = Conversion(Source(events, None, "a", ""), tmp_path / "a.zarr", ())
    with pytest.raises(RecordingError, match=r"a\.dat: truncated.*nothing is kept \(strict=false"):
        convert(conversion)
    assert not (tmp_path / "a.zarr").exists()
    _, entry = convert(Conversion(conversion.source, conversion.place, (), strict=False))
    assert entry["events"] == 999
    assert len(entry["warnings"]) == 1
    assert entry["warnings"][0].endswith("; kept the events before")


def test_strict_accepts_nothing_that_was_cut_before(tmp_path: Path) -> None:
    events = write_dat(tmp_path / "a.dat", events=1000)
    strict = Conversion(Source(events, None, "a", ""), tmp_path / "out" / "a.zarr", ())
    lenient = replace(strict, strict=False)
    assert convert(lenient)[0] == "converted"
    assert convert(strict)[0] == "verified"  # nothing was cut
    assert convert(lenient)[0] == "verified"
    events.write_bytes(events.read_bytes()[:-3])
    assert convert(replace(lenient, replace=True))[1]["events"] == 999
    assert convert(lenient)[0] == "verified"
    with pytest.raises(RecordingError, match=r"a\.dat: truncated.*nothing is kept"):
        convert(strict)
    assert Recording.open(strict.place).num_events == 999  # what was there is left alone


def test_several_processes_convert_and_one_failure_does_not_stop_the_others(tmp_path: Path) -> None:
    conversions = []
    for number in range(3):
        events = write_dat(tmp_path / "raw" / f"{number}.dat", seed=number)
        conversions.append(Conversion(Source(events, None, str(number), ""), tmp_path / "out" / f"{number}.zarr", ()))
    conversions[1].source.events.write_bytes(b"nothing that anyone knows")
    outcomes: list[Outcome] = []
    seen: list[Running] = []
    convert_all(conversions, workers=2, finished=outcomes.append, watch=seen.extend)
    by_name = {outcome.conversion.source.name: outcome for outcome in outcomes}
    assert [by_name[str(number)].status for number in range(3)] == ["converted", "failed", "converted"]
    assert "1.dat" in by_name["1"].error
    assert Recording.open(conversions[2].place).num_events == 5000
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".locks", "0.zarr", "2.zarr", "manifest"]


IN_A_PROCESS = """
import sys
from pathlib import Path
from spikeyolo.events.conversion.convert import Conversion, convert
from spikeyolo.events.datasets import Source
source, place = Path(sys.argv[1]), Path(sys.argv[2])
print(convert(Conversion(Source(source, None, "a", ""), place, ()))[0], flush=True)
status = Path("/proc/self/status")  # its own peak: ru_maxrss begins at the parent's
lines = status.read_text().splitlines() if status.exists() else []
print(next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), -1))
"""


def in_a_process(source: Path, place: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", IN_A_PROCESS, str(source), str(place)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


@pytest.mark.parametrize("delay_s", [0.0, 0.15, 0.4])
def test_a_kill_leaves_nothing_that_opens_and_the_next_start_finishes(tmp_path: Path, delay_s: float) -> None:
    events = write_dat(tmp_path / "a.dat", events=3_000_000)
    out = tmp_path / "out"
    process = in_a_process(events, out / "a.zarr")
    while not list(out.glob("a.zarr*")) and process.poll() is None:
        time.sleep(0.005)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    for path in out.glob("*.zarr*"):
        if path.name == "a.zarr":
            Recording.open(path).verify()
        else:
            with pytest.raises(RecordingError, match="no sealed recording|no stored recording"):  # noqa: RUF043
                Recording.open(path)
    status, entry = convert(Conversion(Source(events, None, "a", ""), out / "a.zarr", ()))
    assert status in ("converted", "verified")
    assert entry["events"] == 3_000_000
    assert sorted(path.name for path in out.iterdir()) == [".locks", "a.zarr", "manifest"]


def test_a_long_file_is_converted_in_less_than_600_mb(tmp_path: Path) -> None:
    events = write_dat(tmp_path / "a.dat", events=14_000_000, span_us=50_000_000)
    assert events.stat().st_size > 100e6
    process = in_a_process(events, tmp_path / "a.zarr")
    status, megabytes = (process.communicate(timeout=300)[0] or "failed 0").split()
    assert status == "converted"
    if megabytes == "-1":
        pytest.skip("this system does not tell a process's peak memory")
    assert 50 < int(megabytes) < 600


def test_places_keep_splits_apart_and_names_readable(tmp_path: Path) -> None:
    assert place_of(Source(tmp_path / "x", None, "train_h5_1/x", "train"), tmp_path) == tmp_path / "train_h5_1/x.zarr"
    assert place_of(Source(tmp_path / "x", None, "x", "val"), tmp_path) == tmp_path / "val" / "x.zarr"
    assert place_of(Source(tmp_path / "x", None, "x", ""), "s3://b/c") == "s3://b/c/x.zarr"


@pytest.mark.parametrize(("one", "other"), [("cam 1", "cam(1)"), ("夜", "昼"), ("cam-1", "cam 1"), ("a/./b", "a/b")])
def test_names_that_fold_to_one_place_get_different_places(one: str, other: str, tmp_path: Path) -> None:
    places = [place_of(Source(tmp_path / "x", None, name, "train"), tmp_path) for name in (one, other)]
    assert places[0] != places[1]
    for place in map(str, places):
        assert place.isascii()
        assert " " not in place
        assert place.startswith(f"{tmp_path}/train/")


def test_a_converted_set_is_read_by_its_manifest(labelled: Conversion, tmp_path: Path) -> None:
    _, entry = convert(replace(labelled, source=replace(labelled.source, split="train")))
    out = tmp_path / "out"
    data = ConvertedSet(root=str(out), classes=["car"])
    assert [recording.path for recording in data.recordings("train")] == [out / "a.zarr"]
    assert read_manifest(out)["a.zarr"]["digest"] == entry["digest"]
    with pytest.raises(RecordingError, match=r"no recordings of split 'val' \(found train\); add data\.val_share=0\.2"):
        data.recordings("val")
    with pytest.raises(ConfigError, match=r"classes: found bus; expected names out of car, with which a.zarr was"):
        ConvertedSet(root=str(out), classes=["bus"]).recordings("train")
    with pytest.raises(RecordingError, match="no converted set; expected the out of"):
        ConvertedSet(root=str(tmp_path), classes=["car"]).recordings("train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "is no manifest"),
        ('{"version": 2}', "is no manifest"),
        ('{"format": "spikeyolo-manifest", "version": 9}', "version 9, written by a newer spikeyolo"),
        ('{"format": "spikeyolo-manifest", "version": 2}', "is damaged"),
    ],
)
def test_what_is_no_manifest_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest" / "train").mkdir(parents=True)
    (tmp_path / "manifest" / "train" / "a.json").write_text(text)
    with pytest.raises(RecordingError, match=rf"manifest/train/a\.json: .*{message}"):
        read_manifest(tmp_path)


def test_a_preview_shows_the_events_before_each_label(labelled: Conversion) -> None:
    convert(labelled)
    recording = Recording.open(labelled.place)
    views = stretches(recording, number=3, duration_us=5_000)
    assert [len(view.boxes) for view in views] == [1, 1, 1]
    for view in views:
        assert view.counts.shape == (2, 48, 64)
        assert view.counts.sum() == recording.count(view.end_us - 5_000, view.end_us)
