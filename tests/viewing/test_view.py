"""``python -m spikeyolo.view``: films of recordings of any kind, and one sentence for what cannot be filmed."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from command_line import Ended, convert, environment, view
from PIL import Image

from spikeyolo.detections import DetectionTable
from spikeyolo.detections.table import empty
from spikeyolo.events.store import RecordingWriter
from spikeyolo.events.types import Boxes, Events
from spikeyolo.report.video import DARK, LIGHT
from spikeyolo.viewing.filming import Look, film_recording
from spikeyolo.viewing.footage import Footage, span_of

WIDTH, HEIGHT, LENGTH_US = 96, 64, 200_000
SMALL = ("scale=1", "stop_s=0")


def write_csv(path: Path, length_us: int = LENGTH_US, *, first_us: int = 5_000) -> Path:
    """A column of ON events that moves to the right, with OFF events two pixels behind it."""
    t = np.arange(0, length_us, 50)
    x = 10 + t * 60 // max(length_us, 1)
    y = 10 + (t // 50) % 20
    lines = [f"{first_us + a} {b - 2 * k} {c} {1 - k}" for a, b, c in zip(t, x, y, strict=True) for k in (0, 1)]
    path.write_text("# t x y p\n" + "\n".join(lines) + "\n")
    return path


def write_labels(path: Path, times: list[int], *, x: float = 8.0, track: bool = True) -> Path:
    rows = [f"{t},{x + 60 * t / LENGTH_US},8,16,26,0{',4' if track else ''}" for t in times]
    path.write_text(f"t_us,x,y,w,h,class{',track' if track else ''}\n" + "\n".join(rows) + "\n")
    return path


def write_table(path: Path, times: list[int], *, name: str = "scene", track: int = 4, x: float = 8.0) -> Path:
    n = len(times)
    t = np.array(times, np.int64)
    xywh = np.stack([x + 60 * t / LENGTH_US, np.full(n, 8.0), np.full(n, 16.0), np.full(n, 26.0)], 1)
    ids = np.full(n, track, np.int64)
    zero = np.zeros(n, np.int64)
    score = np.full(n, 0.75, np.float32)
    DetectionTable((name,), ("car",), zero, t, zero, zero, score, xywh.astype(np.float32), ids).write(path)
    return path


def frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def near(picture: np.ndarray, colour: tuple[int, int, int], tolerance: int = 40) -> np.ndarray:
    return (np.abs(picture.astype(int) - colour) <= tolerance).all(-1)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "scene.csv")


def filmed(*overrides: str, cwd: Path) -> Ended:
    ended = view("source=scene.csv", "size=[96,64]", *SMALL, *overrides, cwd=cwd)
    assert ended.code == 0, ended.errors
    return ended


def sentence(*overrides: str, cwd: Path) -> str:
    ended = view(*overrides, cwd=cwd)
    assert ended.code == 2, ended.errors
    (line,) = ended.error_lines
    return line


def test_labels_are_seen_over_events_before_anything_is_trained(scene: Path, tmp_path: Path) -> None:
    write_labels(tmp_path / "labels.csv", [50_000, 100_000, 150_000, 199_000])
    filmed("labels=labels.csv", "slow=0.25", cwd=tmp_path)
    found = frames(tmp_path / "view.mp4")
    assert len(found) == 24  # 200 ms at a quarter of real time, 30 frames a second
    assert found[0].shape == (64 + 24, 96, 3)
    # at 100 ms the box is at 38 to 54 and 8 to 34, dashed
    picture = found[11]
    top = near(picture[8, 38:54], DARK.truth, 120)
    assert 4 < top.sum() < 14
    # the events of that time at column 40 (ON) and 38 (OFF)
    on = near(picture[10:30, 35:45], DARK.on, 90).any(0).nonzero()[0]
    assert set(on) & {4, 5, 6}


@pytest.mark.parametrize(("scale", "shape"), [(2, (128, 192)), (0.5, (32, 48)), (0.33, (22, 32))])
def test_a_sensor_is_shown_larger_or_smaller_by_whole_steps(
    scene: Path, tmp_path: Path, scale: float, shape: tuple[int, int]
) -> None:
    filmed(f"scale={scale}", "out=a.png", "tiles=1", cwd=tmp_path)
    rows, columns = np.asarray(Image.open(tmp_path / "a.png")).shape[:2]
    assert (rows - 24, columns) == shape


def test_labels_beside_a_recording_are_found_and_none_leaves_them_out(scene: Path, tmp_path: Path) -> None:
    write_labels(tmp_path / "scene_labels.csv", [50_000, 100_000, 150_000])
    assert "3 boxes" in filmed("out=a.png", "tiles=3", cwd=tmp_path).errors
    assert "boxes" not in filmed("out=b.png", "tiles=3", "labels=none", cwd=tmp_path).errors
    first, second = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png"))
    assert near(first, DARK.truth).sum() > near(second, DARK.truth).sum() + 50


def test_the_bar_speaks_of_truth_only_where_some_is_seen(scene: Path, tmp_path: Path) -> None:
    write_labels(tmp_path / "labels.csv", [20_000, 50_000])
    bars = {}
    for start in (0, 120_000):
        for labels in ("labels.csv", "none"):
            part = (f"start_us={start}", "duration_us=60000", "scale=8", "tiles=1", "out=a.png")
            filmed(f"labels={labels}", *part, cwd=tmp_path)
            bars[start, labels] = np.asarray(Image.open(tmp_path / "a.png"))[8 * HEIGHT + 4 :]
    assert (bars[0, "labels.csv"] != bars[0, "none"]).any()
    np.testing.assert_array_equal(bars[120_000, "labels.csv"], bars[120_000, "none"])


def test_the_film_stops_at_labels_that_are_rare_in_it(scene: Path, tmp_path: Path) -> None:
    write_labels(tmp_path / "labels.csv", [50_000, 100_000])
    filmed("labels=labels.csv", "slow=0.1", "stop_s=null", "scale=1", cwd=tmp_path)
    assert len(frames(tmp_path / "view.mp4")) == 60 + 2 * 8
    filmed("labels=labels.csv", "slow=1", "stop_s=null", cwd=tmp_path)
    assert len(frames(tmp_path / "view.mp4")) == 6


def test_a_part_of_a_recording_can_be_shown(scene: Path, tmp_path: Path) -> None:
    ended = filmed("start_us=50000", "duration_us=30000", "slow=0.1", cwd=tmp_path)
    assert "9 frames, up to 0.080000 s" in ended.errors
    whole = filmed("slow=0.1", "out=whole.mp4", cwd=tmp_path)
    assert "60 frames, up to 0.199951 s" in whole.errors
    part, all_of_it = frames(tmp_path / "view.mp4"), frames(tmp_path / "whole.mp4")
    difference = np.abs(part[4][:60].astype(int) - all_of_it[19][:60])  # 66.7 ms: the same events
    assert np.percentile(difference, 99) < 30


@pytest.mark.parametrize("stored", [False, True])
def test_labels_stay_on_their_events_where_filters_leave_the_first_ones_out(
    scene: Path, tmp_path: Path, stored: bool
) -> None:
    write_labels(tmp_path / "labels.csv", [50_000, 100_000, 150_000])
    source: tuple[str, ...] = ("source=scene.csv", "size=[96,64]", "filters.time_range_us=[90000,130000]")
    if stored:
        assert convert(*source, "out=stored", "previews=0", "workers=1", cwd=tmp_path).code == 0
        source = ("source=stored",)
    ended = view(
        *source, "labels=labels.csv", *SMALL, "out=a.png", "start_us=9000", "duration_us=2000", "tiles=1", cwd=tmp_path
    )
    assert ended.code == 0, ended.errors
    seen = near(np.asarray(Image.open(tmp_path / "a.png"))[:HEIGHT], DARK.truth, 120)
    assert seen[8:34, 36:56].sum() > 15  # that of 100 ms, at columns 38 to 54
    assert seen.sum() == seen[:, 36:66].sum()  # its label right of it at most


def test_a_film_that_would_be_very_long_is_said_before_it_is_made(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "a film of" not in filmed("slow=0.1", cwd=tmp_path).errors
    monkeypatch.setattr("spikeyolo.viewing.filming._LONG_S", 1)
    assert "a film of 0 minutes (slow=0.1); duration_us=… shows a part" in filmed("slow=0.1", cwd=tmp_path).errors


def test_a_film_that_is_over_at_once_names_the_slowness_that_shows_it(scene: Path, tmp_path: Path) -> None:
    said = "view.mp4: a film of 0.20 s (slow=1); slow=0.02 makes about 10 s"
    assert said in filmed("slow=1", cwd=tmp_path).errors
    assert "makes about" not in filmed("slow=0.02", cwd=tmp_path).errors


def test_tables_are_drawn_in_their_colours_side_by_side_or_over_one_another(scene: Path, tmp_path: Path) -> None:
    times = list(range(10_000, 200_001, 10_000))
    write_table(tmp_path / "detections.parquet", times, track=-1)
    write_table(tmp_path / "tracks.parquet", times, track=1)
    both = ("detections=detections.parquet", "tracks=tracks.parquet", "slow=0.25")
    filmed(*both, "layout=side_by_side", cwd=tmp_path)
    picture = frames(tmp_path / "view.mp4")[12]
    assert picture.shape == (64 + 24, 2 * 96 + 6, 3)
    assert near(picture[:, :96], DARK.of_class(0), 70).sum() > 20
    assert not near(picture[:64, 102:], DARK.of_class(0), 40).any()
    assert near(picture[:, 102:], DARK.of_track(1), 70).sum() > 20
    filmed(*both, "background=light", "out=light.png", "tiles=1", cwd=tmp_path)
    sheet = np.asarray(Image.open(tmp_path / "light.png"))
    assert near(sheet, LIGHT.ground, 2).mean() > 0.5
    assert near(sheet, LIGHT.of_track(1), 2).sum() > 40


def test_a_tracks_way_is_seen_behind_it_for_as_long_as_asked(scene: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "tracks.parquet", list(range(10_000, 200_001, 10_000)), track=1)
    ink = []
    for seconds in (0, 0.2, 1):
        filmed("tracks=tracks.parquet", "slow=0.25", f"trail_s={seconds}", "out=a.gif", "fps=20", cwd=tmp_path)
        red, _, blue = np.moveaxis(frames(tmp_path / "a.gif")[-1][18:24, :66].astype(int), -1, 0)  # left of the box
        ink.append(int(((red > 60) & (blue > 40)).sum()))
    assert ink[0] < ink[1] < ink[2]


def test_a_table_of_truth_as_an_evaluation_leaves_it_is_drawn_as_labels(scene: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "truth.parquet", list(range(10_000, 200_001, 10_000)))
    write_labels(tmp_path / "labels.csv", list(range(10_000, 200_001, 10_000)))
    for labels, out in (("truth.parquet", "a.png"), ("labels.csv", "b.png")):
        filmed(f"labels={labels}", "classes=[car]", "min_score=0.9", f"out={out}", "tiles=3", cwd=tmp_path)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_boxes_of_a_low_score_are_left_out(scene: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "detections.parquet", [100_000, 150_000], track=-1)
    for least, seen in ((0.7, True), (0.8, False)):
        filmed("detections=detections.parquet", f"min_score={least}", "out=a.png", "tiles=2", cwd=tmp_path)
        assert near(np.asarray(Image.open(tmp_path / "a.png")), DARK.of_class(0), 2).any() == seen


def test_the_rows_of_a_table_are_those_of_the_recordings_name(scene: Path, tmp_path: Path) -> None:
    first = write_table(tmp_path / "first.parquet", [100_000, 150_000], name="folder/scene", track=-1)
    parts = [DetectionTable.read(first)]
    parts.append(DetectionTable.read(write_table(tmp_path / "b.parquet", [100_000], name="other", track=-1, x=40.0)))
    from spikeyolo.detections.table import concatenated

    concatenated(parts).write(tmp_path / "both.parquet")
    for table in ("first", "both"):
        filmed(f"detections={table}.parquet", f"out={table}.png", "tiles=2", cwd=tmp_path)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "both.png").read_bytes()
    filmed("detections=both.parquet", "recording=other", "out=other.png", "tiles=2", cwd=tmp_path)
    assert (tmp_path / "other.png").read_bytes() != (tmp_path / "both.png").read_bytes()
    concatenated([parts[1], DetectionTable.read(write_table(tmp_path / "c.parquet", [5], name="third"))]).write(
        tmp_path / "foreign.parquet"
    )
    line = sentence("source=scene.csv", "size=[96,64]", "detections=foreign.parquet", cwd=tmp_path)
    assert "no recording called scene" in line
    assert "other, third" in line


def test_a_table_of_another_recording_is_refused_and_both_are_named(scene: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "late.parquet", [900_000, 910_000])
    line = sentence("source=scene.csv", "size=[96,64]", "detections=late.parquet", cwd=tmp_path)
    assert "late.parquet: its rows of scene lie at 900000 to 910000 µs, but scene.csv lasts from 0 to 199950 µs" in line
    write_table(tmp_path / "far.parquet", [100_000, 110_000], x=500.0)
    line = sentence("source=scene.csv", "size=[96,64]", "tracks=far.parquet", cwd=tmp_path)
    assert "outside the sensor of scene.csv, 96x64 px" in line
    write_labels(tmp_path / "late.csv", [900_000, 910_000])
    line = sentence("source=scene.csv", "size=[96,64]", "labels=late.csv", cwd=tmp_path)
    assert "late.csv: labels of another recording" in line
    assert not list(tmp_path.glob("view*"))


def test_a_table_in_which_nothing_was_found_is_a_film_without_boxes(scene: Path, tmp_path: Path) -> None:
    empty(("car",)).write(tmp_path / "nothing.parquet")
    ended = filmed("tracks=nothing.parquet", "detections=nothing.parquet", "out=film.mp4", cwd=tmp_path)
    assert "nothing.parquet: has no track of scene" in ended.errors
    assert "nothing.parquet: has no row of scene" in ended.errors
    assert (tmp_path / "film.mp4").is_file()
    write_table(tmp_path / "untracked.parquet", [100_000], track=-1)
    untracked = DetectionTable.read(tmp_path / "untracked.parquet")
    replace(untracked, metadata={"tracker": {"gate": 4}}).write(tmp_path / "untracked.parquet")
    ended = filmed("tracks=untracked.parquet", "out=second.mp4", cwd=tmp_path)
    assert "untracked.parquet: has no track of scene" in ended.errors


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("source=absent.raw",), "absent.raw: no such recording"),
        ((), "source must be given"),
        (("source=scene.csv", "out=film.avi"), "out: found film.avi"),
        (("source=scene.csv", "slow=0"), "slow: found 0"),
        (("source=scene.csv", "scale=1.5"), "scale: found 1.5; expected a whole number"),
        (("source=scene.csv", "layout=side_by_side"), "layout=side_by_side: found neither"),
        (("source=scene.csv", "start_us=300000"), "start_us: found 300000, but scene.csv lasts 199951 µs"),
        (("source=scene.csv", "tracks=absent.parquet"), "absent.parquet: no such file; expected a table"),
        (("source=scene.csv", "tracks=untracked.parquet"), "none of its rows of scene has a track_id"),
        (("source=scene.csv", "labels=absent.csv"), "absent.csv"),
        (("source=scene.csv", "lables=x"), "did you mean labels?"),
        (("source=.",), "names 2 recordings"),
        (("source=scene.csv", "filters=none"), "filters: found none; expected filters.NAME=VALUE"),
        (("source=scene.csv", "label_rules=null"), "label_rules: found None; expected label_rules.NAME=VALUE"),
        (("source=scene.csv", "labels=untracked.parquet", "classes=[tram]"), "found tram; expected some of car"),
        (
            ("source=scene.csv", "labels=untracked.parquet", "label_rules.time_unit=ms"),
            "label_rules.time_unit: found beside the table untracked.parquet, whose boxes are taken as they are",
        ),
    ],
)
def test_what_cannot_be_filmed_is_said_in_a_sentence(
    scene: Path, tmp_path: Path, overrides: tuple[str, ...], said: str
) -> None:
    write_csv(tmp_path / "second.csv", 1000)
    write_table(tmp_path / "untracked.parquet", [100_000], track=-1)
    line = sentence(*overrides, "size=[96,64]", cwd=tmp_path)
    assert said in line
    assert not list(tmp_path.glob("view*"))
    assert not list(tmp_path.glob("film*"))


def write_stored(path: Path) -> Path:
    """200 to 300 ms hold a car, 300 ms a bus too."""
    t = np.arange(1_000, 401_000, 20, dtype=np.int64)
    x, y = (t // 5_000 % 90).astype(np.uint16), (t % 60).astype(np.uint16)
    stored = Events(t, x, y, (t % 2).astype(np.uint8), WIDTH, HEIGHT)
    boxes = Boxes(
        np.array([200_000, 300_000, 300_000]),
        np.array([[10, 10, 40, 40], [20, 10, 50, 40], [60, 10, 90, 40]], np.float32),
        np.array([0, 0, 1]),
        np.array([1, 1, 2]),
        np.ones(3, np.float32),
    )
    with RecordingWriter(path, width=WIDTH, height=HEIGHT, classes=("car", "bus"), source="made") as writer:
        writer.append(stored)
        writer.set_boxes(boxes)
        writer.seal()
    return path


def test_a_stored_recording_is_filmed_with_its_own_labels_from_any_moment_on(tmp_path: Path) -> None:
    write_stored(tmp_path / "scene.zarr")
    for source in ("scene.zarr", "."):
        ended = view(f"source={source}", *SMALL, "start_us=199000", "duration_us=100000", "slow=0.5", cwd=tmp_path)
        assert ended.code == 0, ended.errors
        found = frames(tmp_path / "view.mp4")
        assert len(found) == 6
        assert near(found[0][9:41, 9:56], DARK.truth, 120).sum() > 15


def test_the_classes_of_stored_labels_and_of_a_table_are_chosen_by_name(tmp_path: Path) -> None:
    write_stored(tmp_path / "scene.zarr")
    table = DetectionTable(
        ("scene",),
        ("car", "bus"),
        *(np.array(column) for column in ([0, 0], [300_000, 300_000], [0, 0], [0, 1])),
        np.ones(2, np.float32),
        np.array([[20, 10, 30, 30], [60, 10, 30, 30]], np.float32),
        np.array([1, 2]),
    )
    table.write(tmp_path / "truth.parquet")
    for labels in ((), ("labels=truth.parquet",)):
        seen = {}
        for classes in ("null", "[bus]", "[car]"):
            part = ("start_us=200000", "duration_us=99001", "tiles=1", "out=a.png", f"classes={classes}", *SMALL)
            assert view("source=scene.zarr", *labels, *part, cwd=tmp_path).code == 0
            dashes = near(np.asarray(Image.open(tmp_path / "a.png"))[9:41], DARK.truth, 120)
            seen[classes] = (dashes[:, 15:55].sum() > 15, dashes[:, 58:92].sum() > 15)
        assert seen == {"null": (True, True), "[bus]": (False, True), "[car]": (True, False)}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("filters.region=[0,0,9,9]",), "filters.region: found beside the stored recording scene.zarr"),
        (("filters={background_us:9}",), "filters.background_us: found beside the stored recording scene.zarr"),
        (("event_rules.strict=true",), "event_rules.strict: found beside the stored recording scene.zarr"),
        (("size=[96,64]",), "size: found beside the stored recording scene.zarr"),
        (("time_unit=ms",), "time_unit: found beside the stored recording scene.zarr"),
        (("label_rules.frame_us=9",), "label_rules.frame_us: found beside the labels stored with scene.zarr"),
        (("classes=[tram]",), "classes: found tram; expected some of car, bus, which scene.zarr has"),
    ],
)
def test_what_a_stored_recording_leaves_without_effect_is_refused(
    tmp_path: Path, overrides: tuple[str, ...], said: str
) -> None:
    write_stored(tmp_path / "scene.zarr")
    assert said in sentence("source=scene.zarr", *overrides, cwd=tmp_path)
    assert not list(tmp_path.glob("view*"))


def test_recordings_in_a_bucket_are_filmed_stored_or_raw(scene: Path, tmp_path: Path, bucket: str) -> None:
    import s3fs

    with RecordingWriter(f"{bucket}/set/one.zarr", width=WIDTH, height=HEIGHT, classes=(), source="made") as writer:
        t = np.arange(0, 100_000, 20, dtype=np.int64)
        x, y = (t // 20 % 90).astype(np.uint16), (t % 60).astype(np.uint16)
        writer.append(Events(t, x, y, (t % 2).astype(np.uint8), WIDTH, HEIGHT))
        writer.seal()
    s3fs.S3FileSystem().put_file(str(scene), f"{bucket}/raw/scene.csv")
    for source, number in ((f"{bucket}/set/one.zarr", 3), (f"{bucket}/raw/scene.csv", 6)):
        size = () if source.endswith(".zarr") else ("size=[96,64]",)
        ended = view(f"source={source}", *size, *SMALL, cwd=tmp_path)
        assert ended.code == 0, ended.errors
        assert len(frames(tmp_path / "view.mp4")) == number


def test_ctrl_c_leaves_a_film_of_what_was_shown_that_plays(tmp_path: Path) -> None:
    write_csv(tmp_path / "scene.csv", 2_000_000)
    command = [sys.executable, "-m", "spikeyolo.view", "source=scene.csv", "size=[96,64]", "slow=0.001", "scale=4"]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not any(file.stat().st_size > 20_000 for file in tmp_path.glob("view.mp4.partial-*")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=240)
    assert running.returncode == 130, errors
    assert "interrupted" in errors
    with av.open(str(tmp_path / "view.mp4")) as film:
        number = sum(1 for _ in film.decode(video=0))
    assert 10 < number < 60_000
    assert f"view.mp4: {number} frames" in errors
    assert {file.name for file in tmp_path.iterdir()} == {"scene.csv", "view.mp4"}


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    def batches(number: int) -> Iterator[Events]:
        for k in range(number):
            t = k * 100_000 + np.arange(0, 100_000, 5, dtype=np.int64)
            x, y = (t % 90).astype(np.uint16), (t % 60).astype(np.uint16)
            yield Events(t, x, y, (t % 2).astype(np.uint8), WIDTH, HEIGHT)

    def peak(number: int) -> int:
        footage = Footage("made", "made", WIDTH, HEIGHT, 0, "camera", lambda from_us: batches(number))
        span = span_of(footage, start_us=0, duration_us=None, whole=True)
        tracemalloc.start()
        filmed = film_recording(footage, span, {}, tmp_path / "film.mp4", Look(slow=2.0, scale=1))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert filmed.frames == math.ceil(number * 1.5)
        return most

    peak(4)
    assert peak(32) < peak(8) + 200_000  # 20 bytes an event of half a million more would be 10 MB


def test_a_rerun_file_is_written_beside_the_film(scene: Path, tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="rerun-sdk is not installed (spikeyolo[rerun] brings it)")
    write_table(tmp_path / "tracks.parquet", list(range(10_000, 200_001, 10_000)))
    filmed("tracks=tracks.parquet", "rerun=true", "slow=0.25", cwd=tmp_path)
    assert (tmp_path / "view.rrd").read_bytes()[:4] == b"RRF2"
    assert len(frames(tmp_path / "view.mp4")) == 24
    assert not list(tmp_path.glob("*partial*"))


def test_a_rerun_file_without_rerun_says_how_to_get_it(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    line = sentence("source=scene.csv", "size=[96,64]", "rerun=true", cwd=tmp_path)
    assert "pip install 'spikeyolo[rerun]'" in line
    assert not list(tmp_path.glob("view*"))


@pytest.mark.real
def test_the_real_cars_are_filmed_with_their_boxes(real_data: Path, tmp_path: Path) -> None:
    ended = view(f"source={real_data / 'davis346_cars.aedat4'}", "classes=[car]", "scale=1", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    assert "145 boxes" in ended.errors
    found = frames(tmp_path / "view.mp4")
    assert len(found) == 71
    assert found[0].shape == (260 + 24, 346, 3)
    assert all(near(picture[:260], DARK.truth, 120).sum() > 20 for picture in found[3:55])


@pytest.mark.real
@pytest.mark.parametrize(
    ("file", "overrides", "number", "shape"),
    [
        ("imx636_scene.dat", ("duration_us=1000000", "slow=2"), 15, (720 + 30, 1280)),
        ("driving_evt3.raw", ("slow=0.01",), 27, (720 + 30, 1280)),
        ("vga_evt2.raw", ("slow=0.1", "out=view.gif"), 20, (480 + 28, 640)),
    ],
)
def test_real_recordings_of_other_cameras_are_filmed(
    real_data: Path, tmp_path: Path, file: str, overrides: tuple[str, ...], number: int, shape: tuple[int, int]
) -> None:
    ended = view(f"source={real_data / file}", *overrides, cwd=tmp_path)
    assert ended.code == 0, ended.errors
    (written,) = tmp_path.iterdir()
    found = frames(written)
    assert len(found) == number
    assert found[0].shape[:2] == shape
    assert all((near(picture, DARK.on, 60) | near(picture, DARK.off, 60)).sum() > 100 for picture in found[1:])
