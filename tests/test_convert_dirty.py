"""``spikeyolo.convert`` on recordings as labs have them: dirty, on a camera's clock, without a sensor size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from spikeyolo.convert import run
from spikeyolo.entry import config_directory
from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.events.conversion.manifest import read_manifest
from spikeyolo.events.store import Recording

FIRST_US = 913_716_224
COUNT = 4000
BOX = [("t", "<i8"), ("x", "<f4"), ("y", "<f4"), ("w", "<f4"), ("h", "<f4"), ("class_id", "<u4")]


def write_dat(path: Path, *, bad: int = 0, step_back: int = 0, sized: bool = True) -> None:
    """Events every 10 µs, ``bad`` of them outside the sensor."""
    t = FIRST_US + 10 * np.arange(COUNT)
    x, y = np.arange(COUNT) % 64, np.arange(COUNT) % 48
    y[100 : 100 + bad] = 3000
    t[500] -= step_back
    header = b"% Version 2\n" + (b"% Width 64\n% Height 48\n" if sized else b"")
    words = np.stack([t, x | y << 14], axis=1).astype("<u4")
    path.write_bytes(header + b"\x0c\x08" + words.tobytes())


def convert(folder: Path, *overrides: str) -> dict[str, dict[str, object]]:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        places = [f"source={folder}/a.dat", f"out={folder}/out", "workers=1", "previews=0"]
        run(compose("convert", [*places, *overrides]))
    return read_manifest(folder / "out")


def test_what_was_cleaned_and_where_the_clock_began_are_shown_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dat(tmp_path / "a.dat", bad=2, step_back=15)
    entry = convert(tmp_path)["a.zarr"]
    shown = capsys.readouterr().out
    assert "outside_sensor 2, stepped_back 1" in shown
    assert "913.716224" in shown
    assert entry["event_counts"] == {
        "in_file": 4000,
        "kept": 3998,
        "outside_sensor": 2,
        "stepped_back": 1,
        "largest_step_back_us": 5,
    }
    convert(tmp_path, "info=true")
    shown = capsys.readouterr().out
    assert "outside_sensor 2, stepped_back 1" in shown
    assert "913.716224" in shown


@pytest.mark.parametrize("key", ["strict=true", "event_rules.strict=true"])
def test_strict_refuses_at_the_first_dirty_event(tmp_path: Path, key: str) -> None:
    write_dat(tmp_path / "a.dat", bad=1)
    with pytest.raises(RecordingError, match="event 100 lies at x=36, y=3000"):
        convert(tmp_path, key)
    assert convert(tmp_path)["a.zarr"]["events"] == COUNT - 1


def test_damage_in_time_is_refused_unless_what_can_be_read_is_to_be_kept(tmp_path: Path) -> None:
    write_dat(tmp_path / "a.dat", step_back=200_000)
    with pytest.raises(RecordingError, match="damaged, time decreases at event 500"):
        convert(tmp_path)
    assert not (tmp_path / "out" / "a.zarr").exists()
    entry = convert(tmp_path, "strict=false")["a.zarr"]
    assert (entry["events"], entry["event_counts"]) == (500, {"in_file": 500, "kept": 500, "cut": True})


def test_rules_of_the_command_line_reach_the_events(tmp_path: Path) -> None:
    write_dat(tmp_path / "a.dat", bad=20)
    with pytest.raises(RecordingError, match="too many dirty events, of 4000 events: 20 outside"):
        convert(tmp_path)
    assert convert(tmp_path, "event_rules.max_dirty_share=0.01")["a.zarr"]["events"] == COUNT - 20
    with pytest.raises(ConfigError, match=r"event_rules\.max_dirty_share: found 2"):
        convert(tmp_path, "event_rules.max_dirty_share=2")


def test_a_file_without_a_sensor_takes_the_size_of_the_command_line(tmp_path: Path) -> None:
    write_dat(tmp_path / "a.dat", sized=False)
    entry = convert(tmp_path, "size=[304,240]")["a.zarr"]
    assert (entry["width"], entry["height"]) == (304, 240)
    for wrong in ("size=[304]", "size=304", "size=[0,240]", "size=[304,240,3]"):
        with pytest.raises(ConfigError, match="size: found"):
            convert(tmp_path, wrong)


def test_labels_beside_a_raw_recording_count_from_its_start_or_on_its_clock_as_told(tmp_path: Path) -> None:
    write_dat(tmp_path / "a.dat")
    for clock, other, first in (("start", "camera", 0), ("camera", "start", FIRST_US)):
        np.save(tmp_path / "a_bbox.npy", np.array([(first + t, 5, 6, 20, 10, 0) for t in (10_000, 20_000)], BOX))
        with pytest.raises(RecordingError, match=f"they would fit with label_clock={clock}"):
            convert(tmp_path, "classes=[car]", f"labels.label_clock={other}", "replace=true")
        convert(tmp_path, "classes=[car]", f"labels.label_clock={clock}", "replace=true")
        assert Recording.open(tmp_path / "out" / "a.zarr").boxes.t.tolist() == [10_000, 20_000]


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "events", "start"),
    [("vga_evt2.raw", "521,252", "913.716224"), ("imx636_scene.dat", "1,218,618", "0.005856")],
)
def test_info_shows_where_a_real_recordings_clock_began(
    real_data: Path, name: str, events: str, start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        run(compose("convert", [f"source={real_data}/{name}", "info=true"]))
    shown = capsys.readouterr().out
    assert events in shown
    assert start in shown
