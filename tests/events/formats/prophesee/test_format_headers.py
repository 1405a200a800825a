"""Text headers in any encoding, and sensors that a header states in other ways, or not at all."""

from __future__ import annotations

import struct

import h5py
import numpy as np
import pytest
from format_writers import recordings, rows, write_dat, write_evt2, write_evt3
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from spikeyolo.errors import RecordingError
from spikeyolo.events import Events
from spikeyolo.events.formats import open_recording
from spikeyolo.events.formats.prophesee.dat import DatReader
from spikeyolo.events.formats.prophesee.header import TextHeader

few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WRITERS = {"a.dat": write_dat, "a2.raw": write_evt2, "a3.raw": write_evt3}
OPERATOR = "% operator Jürgen\n"


def read(path, **how):
    reader = open_recording(path, strict=True, **how)
    return reader, [(t + reader.time_offset_us, *rest) for batch in reader.batches() for t, *rest in rows(batch)]


@few
@given(recordings(), st.sampled_from(sorted(WRITERS)), st.sampled_from(["latin-1", "utf-8", "utf-16-le"]))
def test_a_line_in_any_encoding_belongs_to_the_header_that_goes_on_after_it(tmp_path, events, name, encoding):
    line = b"% operator " + "Jürgen".encode(encoding) + b"\n"
    (path := tmp_path / name).write_bytes(line + WRITERS[name](events))
    reader, found = read(path)
    assert found == rows(events)
    assert (reader.width, reader.height) == (1280, 720)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_a_header_ends_at_its_end_line_whatever_the_bytes_before_it(tmp_path, encoding):
    words = struct.pack("<II", 8 << 28, 3 << 11 | 4)
    header = b"% evt 2.0\n% geometry 64x32\n" + OPERATOR.encode(encoding) + b"% end\n"
    (path := tmp_path / "a.raw").write_bytes(header + words)
    assert read(path)[1] == [(0, 3, 4, 0)]


def test_a_last_line_in_utf_8_is_header_without_an_end_line(tmp_path):
    words = struct.pack("<II", 8 << 28, 3 << 11 | 4)
    (path := tmp_path / "a.raw").write_bytes(b"% evt 2.0\n% geometry 64x32\n" + OPERATOR.encode() + words)
    assert read(path)[1] == [(0, 3, 4, 0)]


def test_an_end_line_in_the_data_ends_no_header(tmp_path):
    header = b"% evt 2.0\n% geometry 64x32\n"
    (path := tmp_path / "a.raw").write_bytes(header + b"\0\x25\0\x80\n% end\n\0")
    assert TextHeader.read(path).data_offset == len(header)


@pytest.mark.parametrize(
    ("system", "form", "size"),
    [(21, "evt2", (640, 480)), (40, "evt3", (640, 480)), (48, "evt3", (1280, 720)), (49, "evt3", (1280, 720))],
)
def test_a_system_id_alone_names_words_and_sensor(tmp_path, system, form, size):
    events = Events(np.array([5]), *np.array([[3], [4]], np.uint16), np.ones(1, np.uint8), 640, 480)
    body = (write_evt2 if form == "evt2" else write_evt3)(events).split(b"% end\n", 1)[1]
    (path := tmp_path / "a.raw").write_bytes(f"% system_ID {system}\n% end\n".encode() + body)
    reader, found = read(path)
    assert (reader.format, reader.width, reader.height, reader.size_from) == (form, *size, "file")
    assert found == [(5, 3, 4, 1)]


def test_a_system_id_that_is_not_known_names_nothing(tmp_path):
    (path := tmp_path / "a.raw").write_bytes(b"% system_ID 7\n% end\n" + struct.pack("<I", 8 << 28))
    with pytest.raises(RecordingError, match="no known events file"):
        open_recording(path)


def dat_without_size(folder, x, y, t=None):
    columns = (np.arange(len(x)) if t is None else np.array(t), np.array(x, np.uint16), np.array(y, np.uint16))
    content = write_dat(Events(*columns, np.zeros(len(x), np.uint8), 1, 1))
    (path := folder / "a.dat").write_bytes(content.replace(b"% Width 1\n% Height 1\n", b""))
    return path


@pytest.mark.parametrize(
    ("x", "y", "size"),
    [
        (0, 0, (240, 180)),
        (239, 179, (240, 180)),
        (239, 180, (304, 240)),
        (303, 239, (304, 240)),
        (304, 10, (346, 260)),
        (10, 259, (346, 260)),
        (346, 10, (640, 480)),
        (639, 479, (640, 480)),
        (640, 10, (1280, 720)),
        (1279, 719, (1280, 720)),
    ],
)
def test_a_file_that_names_no_sensor_gets_the_smallest_known_one_that_holds_it(tmp_path, x, y, size):
    reader = open_recording(dat_without_size(tmp_path, [0, x], [0, y]), strict=True)
    assert (reader.width, reader.height, reader.size_from) == (*size, "guessed")
    assert sum(map(len, reader.batches())) == 2
    assert [f"took {size[0]}x{size[1]} px" in sentence for sentence in reader.warnings] == [True]


def test_only_the_first_second_and_what_some_sensor_can_hold_decide_the_sensor(tmp_path):
    x, y = [10, 10, 1308, 500] + [10] * 4000, [10, 33_00, 20, 10] + [10] * 4000
    path = dat_without_size(tmp_path, x, y, t=[0, 1, 2, 1_000_000] + [1_000_000] * 4000)
    reader = open_recording(path)
    assert (reader.width, reader.height) == (240, 180)
    assert sum(map(len, reader.batches())) == 4001
    assert reader.counts.outside_sensor == 3


@pytest.mark.parametrize(("x", "least", "most"), [(1279, 1, 20_000), (300, 100_000, 100_000)])
def test_a_sensor_is_guessed_from_no_more_events_than_decide_it(tmp_path, monkeypatch, x, least, most):
    decoded, decode = [], DatReader._decode

    def counting(reader, max_events):
        for events in decode(reader, max_events):
            decoded.append(len(events))
            yield events

    monkeypatch.setattr(DatReader, "_decode", counting)
    count = 100_000  # all in the first second
    reader = open_recording(dat_without_size(tmp_path, [x] + [5] * (count - 1), [5] * count))
    assert reader.time_offset_us == 0
    assert least <= sum(decoded) <= most  # that it is the largest sensor may be certain at once


@few
@example([1400, 5])
@given(st.lists(st.integers(0, 1500), min_size=1, max_size=9))
def test_a_guessed_sensor_gives_the_first_event_that_a_named_one_gives(tmp_path_factory, x):
    path = dat_without_size(tmp_path_factory.mktemp("a"), x, [3] * len(x), t=[7 * i + 11 for i in range(len(x))])
    guessed = open_recording(path)
    named = open_recording(path, size=(guessed.width, guessed.height))
    assert guessed.time_offset_us == named.time_offset_us


def test_a_given_size_is_for_files_that_name_none(tmp_path):
    reader = open_recording(dat_without_size(tmp_path, [0, 5], [0, 5]), size=(304, 240))
    assert (reader.width, reader.height, reader.size_from) == (304, 240, "given")
    assert list(map(len, reader.batches())) == [2]
    assert reader.warnings == []
    events = Events(np.array([5]), *np.array([[3], [4]], np.uint16), np.ones(1, np.uint8), 640, 480)
    (path := tmp_path / "b.dat").write_bytes(write_dat(events))
    reader = open_recording(path, size=(304, 240))
    assert (reader.width, reader.height, reader.size_from) == (640, 480, "file")


@pytest.mark.parametrize("where", ["datasets", "attributes"])
def test_hdf5_width_and_height_may_be_floats(tmp_path, where):
    with h5py.File(path := tmp_path / "a.h5", "w") as file:
        for name in "xypt":
            file[f"events/{name}"] = np.zeros(3, np.uint16)
        place = file["events"] if where == "datasets" else file.attrs
        place["width"], place["height"] = np.float32(304.0), np.float64(240.0)
    reader = open_recording(path, strict=True)
    assert (reader.width, reader.height, reader.size_from) == (304, 240, "file")
