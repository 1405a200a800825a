"""What commands of the documentation find where they are started, as small as can be."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from etram_set import LABEL
from format_writers import write_columns, write_dat, write_evt3
from small_recording import drawn
from small_run import small_run

OFFSET_US = 49_599_300_523  # between DSEC's events and its clock, as format_writers has it


def make(folder: Path) -> Path:
    """Recordings, published sets at their smallest, and ``RUN``."""
    for number, role in enumerate(("train", "val", "test")):
        write_sets(folder, role, number)
    for number, name in enumerate(("street", "friday", "NAME", "raw/one")):
        write_own(folder / f"{name}.raw", number)
    shutil.copy(folder / "street.csv", folder / "labels.csv")
    np.save(folder / "NAME_bbox.npy", labels(0, 1))
    for number in range(3):
        write_own(folder / "sets" / "flat" / "train" / f"{number}.raw", number)
    small_run(folder, "data.dataset.test_sequences=2").parent.parent.rename(folder / "RUN")
    return folder


def labels(*classes: int, shift_us: int = 0) -> npt.NDArray[np.void]:
    """Prophesee's rows: two large boxes every 50 ms, of these classes."""
    times = np.arange(50_000, 700_000, 50_000)
    rows = np.zeros(2 * len(times), LABEL)
    rows["t"], rows["class_id"] = np.repeat(times, 2) + shift_us, np.tile(classes, len(times))
    rows["track_id"], rows["class_confidence"] = np.tile((0, 1), len(times)), 1
    rows["x"], rows["y"] = np.tile((4, 10), len(times)), np.tile((6, 14), len(times))
    rows["w"], rows["h"] = 48, 44
    return rows


def write_own(path: Path, number: int) -> None:
    """``NAME.raw`` and ``NAME.csv``, which ``NAME_labels.csv`` is too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write_evt3(drawn(7000, 700_000, seed=number)))
    table = path.with_suffix(".csv")
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["t_us", "x", "y", "w", "h", "class", "track"])
        for row in labels(0, 1):
            name = ("car", "person")[row["class_id"]]
            writer.writerow([row["t"], row["x"], row["y"], row["w"], row["h"], name, row["track_id"]])
    shutil.copy(table, path.with_name(f"{path.stem}_labels.csv"))


def write_sets(folder: Path, role: str, number: int) -> None:
    """One recording of a split in the layout of each published set, and in that of folders."""
    events, sets = drawn(7000, 700_000, seed=10 + number), folder / "sets"
    for name, classes in (("gen1", (0, 1)), ("mpx1", (0, 2))):
        (sets / name / role).mkdir(parents=True)
        (sets / name / role / f"{role}_td.dat").write_bytes(write_dat(events))
        np.save(sets / name / role / f"{role}_bbox.npy", labels(*classes))
    etram = sets / "etram" / f"{role}_h5_1"
    etram.mkdir(parents=True)
    write_columns(etram / f"{role}.h5", events)
    np.save(etram / f"{role}_bbox.npy", labels(1, 3))
    sequence = {"train": "train/zurich_city_00_a", "val": "train/zurich_city_16_a", "test": "test/thun_02_a"}[role]
    for part in ("events", "object_detections"):
        (sets / "dsec" / sequence / part / "left").mkdir(parents=True)
    write_columns(sets / "dsec" / sequence / "events" / "left" / "events.h5", events, "dsec")
    np.save(sets / "dsec" / sequence / "object_detections" / "left" / "tracks.npy", labels(0, 2, shift_us=OFFSET_US))
    write_own(folder / "PATH" / role / f"{role}.raw", 20 + number)
