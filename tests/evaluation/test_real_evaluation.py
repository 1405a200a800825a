"""A network trained for a moment on the real recording is evaluated end to end, and its own labels score 1.0 there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import evaluate, run_folder, train

from spikeyolo.detections import DetectionTable


@pytest.mark.real
@pytest.mark.slow
def test_a_real_recording_is_evaluated_end_to_end(real_data: Path, tmp_path: Path) -> None:
    root = f"data.root={real_data}"
    quick = ("trainer.max_epochs=1", "trainer.threads=1", "data.samples_per_epoch=8", "logger=none")
    ended = train("+experiment=real_cars", root, *quick, "data.encoder.downsample=4", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    best = run_folder(tmp_path) / "checkpoints" / "best"
    ended = evaluate(f"checkpoint={best}", "split=val", "threads=1", "out=found", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    found = json.loads((tmp_path / "found" / "coco" / "scores.json").read_text())
    assert found["figures"]["looks"] == 18  # every label time after 1.6 s that has 40 ms of events of its own
    assert found["figures"]["truths"] == 54
    assert set(found["scores"]["per_step"]) == {"0", "1", "2", "3"}
    assert found["costs"]["energy/window_mj"] > 0
    counted = (tmp_path / "found" / "coco" / "figures" / "properties.csv").read_text()
    assert max(float(row.split(",")[2]) for row in counted.splitlines() if row.startswith("events")) > 100
    # The labels themselves, as another program would write them, against the recording's own.
    truth = DetectionTable.read(tmp_path / "found" / "truth.parquet")
    last = truth[truth.step == 3]
    unknown = np.full(len(last), -1)
    replace(last, step=unknown, track_id=unknown, metadata={}).write(tmp_path / "labels.parquet")
    of_data = ("data=recording", f"data.events={real_data}/davis346_cars.aedat4", "data.classes=[car]")
    ended = evaluate("detections=labels.parquet", *of_data, "data.train_until_us=1600000", "split=val", cwd=tmp_path)
    assert ended.code == 0, ended.errors
    again = json.loads((tmp_path / "labels_val" / "coco" / "scores.json").read_text())["figures"]
    assert again["precision"] == 1.0
    assert again["recall50"] == pytest.approx(54 / 57)  # the label at the split's beginning has no window
