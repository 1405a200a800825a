"""Of our own tables of whole recordings, rows at times of which nothing is known are not read; scores are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scored_scenes import imperfect, moving_truth

from spikeyolo.detections import DetectionTable, GroundTruth
from spikeyolo.evaluation.outcome import Outcome, read_tables, scored
from spikeyolo.evaluation.tables.tables import Tables
from spikeyolo.metrics.protocols import Coco, PropheseeGen1, Protocol

MADE = {"identity": {"data": "d", "windows": {"windows": "every"}}}


def written(folder: Path, classes: tuple[str, ...], *, windows: int = 0) -> Tables:
    """A table of every step of recordings that are labelled at every fifth, of which the two around it are known."""
    truth = moving_truth(classes, rate=50)
    step = truth.boxes.t_us // 20_000
    names = truth.looks.recordings
    known = {
        phase: {name: [20_000 * k for k in range(1, 101) if k % 5 == phase % 5] for name in names}
        for phase in (-1, 0, 1)
    }
    true = truth.boxes[(step % 5 <= 1) | (step % 5 == 4)]
    steps = [known[-1], known[0], known[1]]
    metadata = {**MADE, "looks": known[0], "scored_step": windows or None, "step_looks": steps, "recordings": names}
    replace(true, step=(true.t_us // 20_000 + 1) % 5, metadata=metadata).write(folder / "truth.parquet")
    found = imperfect(GroundTruth(truth.boxes, truth.looks), blur=2)
    found = replace(found, step=(found.t_us // 20_000 + 1) % 5, metadata=MADE)
    found[np.argsort(found.recording * 10**9 + found.t_us, kind="stable")].write(folder / "detections.parquet")
    return Tables(folder, folder / "detections.parquet", folder / "truth.parquet", "val")


def outcome(tables: Tables, protocol: Protocol, *, whole: bool) -> tuple[Outcome, int]:
    stored, found, left_out = read_tables(tables, whole=whole)
    return scored(tables, protocol, stored, found, left_out=left_out), left_out


@pytest.mark.parametrize("protocol", [Coco(), PropheseeGen1()], ids=lambda protocol: protocol.name)
def test_scores_of_whole_recordings_are_those_of_all_rows(tmp_path: Path, protocol: Protocol) -> None:
    tables = written(tmp_path, tuple(protocol.classes or ("car", "pedestrian")))
    (whole, none), (part, left_out) = (outcome(tables, protocol, whole=every) for every in (True, False))
    rows = DetectionTable.read(tables.detections)
    assert none == 0
    assert left_out == np.isin(rows.t_us // 20_000 % 5, [2, 3]).sum() > 0.3 * len(rows)
    assert len(part.found) == len(rows) - left_out
    assert 0.05 < whole.scores.figures["map"] < 1
    assert part.scores.json() == whole.scores.json()
    assert len(part.scores.per_step) == 3
    assert part.made == whole.made


def test_tables_of_windows_or_of_other_programs_are_read_whole(tmp_path: Path) -> None:
    tables = written(tmp_path, ("car", "pedestrian"), windows=2)
    assert read_tables(tables, whole=False)[2] == 0
    tables = written(tmp_path, ("car", "pedestrian"))
    assert read_tables(tables, whole=False)[2] > 0
    replace(DetectionTable.read(tables.detections), metadata={}).write(tables.detections)
    assert read_tables(tables, whole=False)[2] == 0
