"""Other programs' tables on the clocks of cameras, as published label files are, with ``clock=camera``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import Ended, compare, evaluate
from etram_set import CLASSES, film, label_rows, write_events

from spikeyolo.detections import DetectionTable, Looks, mot
from spikeyolo.detections.clock import from_camera, to_camera
from spikeyolo.detections.table import empty
from spikeyolo.errors import DetectionError

pytestmark = pytest.mark.usefixtures("undrawn")
OFFSET_US = 7_000_000  # at which the camera's clock stands when it begins to record
LABELS = "val_h5_1/1_bbox.npy"


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the set in ``set``, and in ``theirs`` its validation labels, as another program would find them."""
    root = tmp_path_factory.mktemp("clocks")
    for number, split in enumerate(("train_h5_1", "val_h5_1")):
        events, boxes = film(number)
        write_events(root / "set" / split / f"{number}.h5", events, t=events.t + OFFSET_US)
        rows = label_rows(boxes)
        rows["t"] += OFFSET_US
        np.save(root / "set" / split / f"{number}_bbox.npy", rows)
    (root / "theirs" / LABELS).parent.mkdir(parents=True)
    shutil.copy(root / "set" / LABELS, root / "theirs" / LABELS)
    return root


def scored(cwd: Path, *overrides: str) -> Ended:
    names = f"[{','.join(CLASSES)}]"
    of_data = ("data=etram", "data.root=set", f"data.names={names}", f"data.classes={names}", "split=val")
    windows = ("data.slice_duration_us=1000", "data.time_steps=2")
    return evaluate(*of_data, *windows, *overrides, cwd=cwd)


def figures(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "coco" / "scores.json").read_text())["figures"]
    return found


def test_label_files_as_detections_score_one_on_their_cameras_clock_and_are_written_as_they_were(cwd: Path) -> None:
    ended = scored(cwd, "detections=theirs", "clock=camera", "save=[prophesee,mot,coco]", "out=peer")
    assert ended.code == 0, ended.errors
    assert figures(cwd / "peer")["map"] == pytest.approx(1.0)
    labels, saved = np.load(cwd / "set" / LABELS), np.load(cwd / "peer" / "prophesee" / LABELS)
    np.testing.assert_array_equal(np.sort(saved["t"]), np.sort(labels["t"]))
    looks = [image["t_us"] for image in json.loads((cwd / "peer" / "detections.json").read_text())["images"]]
    assert min(looks) > OFFSET_US
    for name in ("mot", "detections.json"):  # what was saved is read again, with its looks
        ended = scored(cwd, f"detections=peer/{name}", "clock=camera", "out=again", "fresh=true")
        assert ended.code == 0, ended.errors
        assert figures(cwd / "again")["map"] == pytest.approx(1.0)


def test_on_the_clock_of_the_start_they_lie_at_no_label_time_which_is_said(cwd: Path) -> None:
    ended = scored(cwd, "detections=theirs", "out=late")
    assert ended.code == 0, ended.errors
    assert figures(cwd / "late")["map"] == 0
    assert "at no label time" in ended.errors


def test_the_table_of_it_is_one_of_ours_that_is_scored_again_and_compared(cwd: Path) -> None:
    assert scored(cwd, "detections=theirs", "clock=camera", "out=one").code == 0
    ended = evaluate("detections=one/detections.parquet", "clock=camera", "save=[prophesee]", cwd=cwd)
    assert ended.code == 0, ended.errors
    assert figures(cwd / "one")["map"] == pytest.approx(1.0)  # not shifted a second time
    assert np.load(cwd / "one" / "prophesee" / LABELS)["t"].min() > OFFSET_US
    shutil.copytree(cwd / "one", cwd / "two")
    ended = compare("one", "two", cwd=cwd)
    assert ended.code == 0, ended.errors


def test_what_cannot_be_put_on_our_clock_is_refused_in_a_sentence(cwd: Path) -> None:
    theirs = empty(tuple(CLASSES))
    theirs.write(cwd / "elsewhere" / "detections.parquet")
    detections = "detections=elsewhere/detections.parquet"
    ended = evaluate(detections, "clock=camera", cwd=cwd)
    assert ended.code == 2
    assert "clock: found camera for a table of another program without a data set; expected data=NAME" in ended.errors
    ended = scored(cwd, detections, "clock=camera", "out=elsewhere")
    assert ended.code == 2
    assert "out: found elsewhere, where detections.parquet would be replaced" in ended.errors
    assert [path.name for path in (cwd / "elsewhere").iterdir()] == ["detections.parquet"]


def test_times_come_back_from_the_cameras_clocks_and_one_that_is_not_known_is_named(tmp_path: Path) -> None:
    count = 4
    table = DetectionTable(
        ("a", "b", "silent"),
        ("car",),
        np.arange(count) % 2,
        np.arange(count) * 100,
        np.full(count, -1),
        np.zeros(count, np.int64),
        np.ones(count, np.float32),
        np.ones((count, 4), np.float32),
        np.full(count, -1),
    )
    offsets = {"a": 5000, "b": 70_000}
    late = to_camera(table, offsets)
    assert late.t_us.tolist() == [5000, 70_100, 5200, 70_300]
    np.testing.assert_array_equal(from_camera(late, offsets).t_us, table.t_us)
    mot.write(late, tmp_path / "mot", looks=to_camera(Looks.of(table), offsets))
    again = from_camera(mot.read(tmp_path / "mot", classes=["car"]), {**offsets, "silent": 0})
    assert {name: list(times) for name, times in again.metadata["looks"].items() if times} == Looks.by_name(
        [("a", 0), ("b", 100), ("a", 200), ("b", 300)]
    )
    with pytest.raises(DetectionError, match=r"clock: found camera, but the table does not tell .* b begins"):
        to_camera(table, {"a": 5000})
