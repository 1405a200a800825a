"""ROS 1 bags of event arrays: written by the package rosbags, whose serialiser is the oracle of what is read here."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from format_laws import assert_events_or_one_line, assert_gives, changed, few, read
from format_writers import recordings, rows
from hypothesis import given
from hypothesis import strategies as st
from lab_format_writers import write_rosbag

from spikeyolo.errors import RecordingError
from spikeyolo.events import Events
from spikeyolo.events.formats import open_recording

pytest.importorskip("rosbags")
PACKAGES = ["dvs_msgs", "prophesee_event_msgs"]
START = 1_500_000_000_000_000


@few
@given(recordings(first_us=2**50), st.sampled_from(PACKAGES), st.sampled_from([1, 7, 1 << 20]))
def test_a_bag_returns_what_was_written_from_time_zero(tmp_path, events, package, max_events):
    write_rosbag(path := tmp_path / "a.bag", events, package)
    reader = assert_gives(path, events, "rosbag", max_events)
    assert (reader.clock, reader.warnings) == ("unix", [])


def test_of_two_topics_the_first_is_taken_and_the_other_named(tmp_path):
    write_rosbag(path := tmp_path / "a.bag", some_events(), topics=("/right/events", "/left/events"))
    reader = assert_gives(path, some_events(), "rosbag")
    assert ["took /left/events and left the others out" in warning for warning in reader.warnings] == [True]


def test_a_bag_without_events_is_refused_with_its_topics(tmp_path):
    write_rosbag(path := tmp_path / "a.bag", some_events(), topics=())
    with pytest.raises(RecordingError, match=r"with /notes \(std_msgs/msg/String\); expected a topic of dvs_msgs"):
        open_recording(path)


@few
@given(st.integers(0, 10**6))
def test_a_bag_that_is_cut_off_is_refused_in_one_line(tmp_path, cut):
    write_rosbag(path := tmp_path / "a.bag", some_events())
    content = path.read_bytes()
    path.write_bytes(content[: 12 + cut % (len(content) - 12)])
    with pytest.raises(RecordingError, match="expected a whole ROS bag") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@few
@given(st.lists(st.integers(0, 10**6), max_size=12), st.binary(min_size=12, max_size=12))
def test_a_damaged_bag_gives_valid_events_or_one_line(tmp_path, places, values):
    write_rosbag(path := tmp_path / "a.bag", some_events())
    path.write_bytes(changed(path.read_bytes(), places, values))
    assert_events_or_one_line(path)


def test_a_damaged_message_leaves_those_before_it_and_is_refused_under_strict(tmp_path, monkeypatch):
    write_rosbag(path := tmp_path / "a.bag", events := some_events(), per_message=10)
    from rosbags.rosbag1 import Reader

    whole = Reader.messages

    def cut_fourth(bag, *arguments):
        for number, (link, time, data) in enumerate(whole(bag, *arguments)):
            yield link, time, data[:50] if number == 3 else data

    monkeypatch.setattr(Reader, "messages", cut_fourth)
    reader, found = read(path)
    start = int(events.t[0])
    assert rows(found) == [(t - start, x, y, p) for t, x, y, p in rows(events)[:30]]
    assert ["damaged after 3 messages" in warning for warning in reader.warnings] == [True]
    with pytest.raises(RecordingError, match="damaged after 3 messages"):
        read(path, strict=True)


def test_without_the_package_the_way_to_get_it_is_said(tmp_path, monkeypatch):
    write_rosbag(path := tmp_path / "a.bag", some_events())
    monkeypatch.setitem(sys.modules, "rosbags.rosbag1", None)
    with pytest.raises(RecordingError, match=r"pip install spikeyolo\[ros\]"):
        open_recording(path)


def some_events(count=50):
    rng = np.random.default_rng(3)
    t = START + np.sort(rng.integers(0, 20_000, count))
    x, y, p = (rng.integers(0, limit, count) for limit in (640, 480, 2))
    return Events(t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), 640, 480)
