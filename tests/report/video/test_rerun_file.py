"""What the Rerun viewer is given: events, boxes and rates at the recording's times, read back from the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_film import HEIGHT, WIDTH, events, film, layer

from spikeyolo.report.video import DARK, Panel

chunks = pytest.importorskip("rerun.chunk", reason="rerun-sdk is not installed (spikeyolo[rerun] brings it)")


def test_events_boxes_and_rates_are_logged_at_the_recordings_times(tmp_path: Path) -> None:
    from spikeyolo.report.video.rerun_file import RerunFile

    tracks = layer("tracks", (500, 10, 40, 50, 80, 3), (1500, 20, 40, 60, 80, 3))
    truth = layer("truth", (1500, 21, 40, 61, 80, -1))
    made = film(Panel([truth, tracks]))
    rows = [(t, 20, 30, 1) for t in range(0, 2_000, 10)]
    path = tmp_path / "view.rrd"
    with RerunFile(path, width=WIDTH, height=HEIGHT, layers=[truth, tracks], palette=DARK, decay_us=1000.0) as viewer:
        for shot in made.shots([events(*rows)], [(500, 1), (1000, 1), (1500, 1)], watch=viewer.add):
            viewer.shot(shot)
    assert list(tmp_path.iterdir()) == [path]
    logged: dict[tuple[str, str], list[tuple[int, Any]]] = {}
    for chunk in chunks.RrdReader(path).stream().to_chunks():
        batch = chunk.to_record_batch()
        for name in batch.schema.names:
            if ":" in name and "recording" in batch.schema.names:
                times = np.asarray(batch.column("recording").to_numpy(zero_copy_only=False), "timedelta64[us]")
                rows = zip(times.astype(int).tolist(), batch.column(name).to_pylist(), strict=True)
                logged.setdefault((chunk.entity_path, name), []).extend(row for row in rows if row[1] is not None)
    assert logged["/sensor/tracks", "Boxes2D:centers"] == [(500, [[30, 60]]), (1000, [[35, 60]]), (1500, [[40, 60]])]
    assert logged["/sensor/tracks", "Boxes2D:half_sizes"][0] == (500, [[20, 20]])
    assert logged["/sensor/tracks", "Boxes2D:labels"][0] == (500, ["#3 car 0.50"])
    red, green, blue = DARK.of_track(3)
    assert logged["/sensor/tracks", "Boxes2D:colors"][0] == (500, [(red << 24) + (green << 16) + (blue << 8) + 255])
    assert logged["/sensor/truth", "Boxes2D:labels"][-1] == (1500, ["car"])
    assert logged["/events_a_second", "Scalars:scalars"] == [(1000, [100_000.0]), (1500, [100_000.0])]
    assert [t for t, _ in logged["/sensor", "EncodedImage:blob"]] == [500, 1000, 1500]
