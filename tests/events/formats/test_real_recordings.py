"""The real recordings beside the project: counts as stated there, and packages that read them as oracles."""

from __future__ import annotations

import numpy as np
import pytest

from spikeyolo.events import Events
from spikeyolo.events.cleaning import EventCounts
from spikeyolo.events.formats import open_recording

pytestmark = pytest.mark.real

# name: format, width, height, events, first and last time in µs on the file's own clock (davis346_cars: from its start)
STATED = {
    "davis346_cars.aedat4": ("aedat4", 346, 260, 78_830, 0, 2_359_945),
    "imx636_scene.dat": ("dat2", 1280, 720, 1_218_618, 5_856, 10_773_853),
    "imx636_scene_ecf.h5": ("hdf5-prophesee", 1280, 720, 1_218_618, 5_856, 10_773_853),
    "driving_evt3.raw": ("evt3", 1280, 720, 219_596, 11_718_656, 11_727_457),
    "vga_evt2.raw": ("evt2", 640, 480, 521_252, 913_716_224, 913_812_095),
}


def read(path):
    return Events.concatenate(list(open_recording(path, strict=True).batches(100_000)))


def assert_equal(events, t, x, y, p):
    t = np.asarray(t).astype(np.int64) - int(t[0])
    for ours, theirs in zip((events.t, events.x, events.y, events.p), (t, x, y, p)):
        np.testing.assert_array_equal(ours, np.asarray(theirs).astype(np.int64))


@pytest.mark.parametrize("name", sorted(STATED))
def test_a_real_recording_gives_the_stated_counts(real_data, name):
    reader = open_recording(real_data / name, strict=True)
    batches = list(reader.batches())
    offset = 0 if reader.clock == "unix" else reader.time_offset_us
    found = (reader.format, reader.width, reader.height, sum(map(len, batches)), offset, batches[-1].t[-1] + offset)
    assert found == STATED[name]
    assert batches[0].t[0] == 0
    assert reader.dropped_events == 0
    assert reader.counts == EventCounts(in_file=STATED[name][3])


def test_the_same_scene_as_dat_and_as_ecf_gives_equal_events(real_data):
    dat = read(real_data / "imx636_scene.dat")
    assert_equal(read(real_data / "imx636_scene_ecf.h5"), dat.t, dat.x, dat.y, dat.p)


def test_the_aedat_package_reads_the_same_events(real_data):
    aedat = pytest.importorskip("aedat")
    path = real_data / "davis346_cars.aedat4"
    theirs = np.concatenate([packet["events"] for packet in aedat.Decoder(path) if "events" in packet])
    assert open_recording(path).time_offset_us == theirs["t"][0]
    assert_equal(read(path), theirs["t"], theirs["x"], theirs["y"], theirs["on"])


def test_the_evt3_package_reads_the_same_events(real_data):
    evt3 = pytest.importorskip("evt3")
    theirs = evt3.decode_file(str(real_data / "driving_evt3.raw"))
    assert_equal(read(real_data / "driving_evt3.raw"), theirs.timestamp, theirs.x, theirs.y, theirs.polarity)


@pytest.mark.parametrize("name", ["imx636_scene.dat", "vga_evt2.raw"])
def test_the_faery_package_reads_the_same_events(real_data, name):
    faery = pytest.importorskip("faery")
    size = STATED[name][1:3]
    theirs = np.concatenate(list(faery.events_stream_from_file(real_data / name, dimensions_fallback=size)))
    assert_equal(read(real_data / name), theirs["t"], theirs["x"], theirs["y"], theirs["on"])


def test_the_faery_package_holds_back_evt3_times_that_another_source_ran_ahead_of(real_data):
    """Where it differs from us: 1,455 events after such a time word, which the format's own page dates as we do."""
    faery = pytest.importorskip("faery")
    path = real_data / "driving_evt3.raw"
    theirs = np.concatenate(list(faery.events_stream_from_file(path, dimensions_fallback=(1280, 720))))
    late = theirs["t"].astype(np.int64) - open_recording(path).time_offset_us - read(path).t
    assert (np.count_nonzero(late), late.min(), late.max()) == (1_455, 0, 11)
