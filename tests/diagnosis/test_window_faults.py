"""What windows lack, planted in a small stored set, is what the doctor names first, with the override that mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import CLASSES, Files, boxes_of, simulated, thinned
from planted_windows import (
    END_US,
    WINDOW_FAULTS,
    diagnosed,
    events_of,
    joined,
    looked_at,
    moving,
    names,
)
from stored import store

from spikeyolo.diagnosis.finding import Finding, Kind
from spikeyolo.diagnosis.windows.counted import count_windows
from spikeyolo.diagnosis.windows.lost import near_duplicates, no_val_labels
from spikeyolo.diagnosis.written import Written
from spikeyolo.events.datasets import SingleRecording
from spikeyolo.events.filters import FilterCounts
from spikeyolo.events.store import Recording, RecordingWriter
from spikeyolo.events.types import Boxes, Events
from spikeyolo.windows.data import EventData
from spikeyolo.windows.dataset import WindowDataset
from spikeyolo.windows.encoders import HistogramEncoder
from spikeyolo.windows.parts import Part
from spikeyolo.windows.rules import WindowRules


def test_a_healthy_set_has_no_findings(tmp_path: Path) -> None:
    assert names(diagnosed(tmp_path, moving())) == []


@pytest.mark.parametrize("kind", WINDOW_FAULTS)
def test_a_planted_fault_is_named_first_and_drawn_where_it_has_a_picture(kind: Kind, tmp_path: Path) -> None:
    first, *_ = diagnosed(tmp_path, **WINDOW_FAULTS[kind]())
    assert first.name == kind, first.sentence
    if first.draw is not None:
        assert first.draw(tmp_path / "picture.png").stat().st_size > 3000


@pytest.mark.parametrize(
    ("kind", "overrides"),
    [
        ("no_labels", ("data.classes=[bus,'light truck']",)),
        ("no_windows", ("data.time_steps=1",)),
        ("labels_lost", ("data.time_steps=1",)),
        ("labels_gap", ("data.max_label_gap_us=180000",)),
        ("labels_buffer", ("data.temporal_buffer=1",)),
        ("windows_without_boxes", ("data.slicing=around_labels", "data.negative_share=0.1")),
        ("class_missing", ("data.classes=[car]",)),
        ("imbalance", ("data.sampling=balanced", "loss.class_weights=effective_number")),
        ("small_boxes", ("data.encoder.downsample=1",)),
        ("protocol_sizes", ("protocol=coco",)),
        ("hot_pixels", ("data.filters.hot_pixel_factor=50",)),
    ],
)
def test_what_mends_it_is_named(kind: Kind, overrides: tuple[str, ...], tmp_path: Path) -> None:
    assert diagnosed(tmp_path, **WINDOW_FAULTS[kind]())[0].overrides == overrides


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("labels_gap", "max_label_gap_us"),
        ("labels_buffer", "temporal_buffer"),
        ("empty_slices", "slice_duration_us"),
        ("few_events", "slice_duration_us"),
        ("no_windows", "time_steps"),
        ("labels_lost", "time_steps"),
    ],
)
def test_the_override_mends_the_windows(kind: Kind, key: str, tmp_path: Path) -> None:
    planted = WINDOW_FAULTS[kind]()
    (override,) = diagnosed(tmp_path, **planted)[0].overrides
    assert override.startswith(f"data.{key}=")
    value = float(override.rpartition("=")[2])
    mended = {**planted, key: value if key == "temporal_buffer" else int(value)}
    assert names(diagnosed(tmp_path / "again", **mended)) == []


def test_no_label_file_is_said_with_where_labels_are_looked_for(tmp_path: Path) -> None:
    (found, *_) = diagnosed(tmp_path, None)
    assert found.name == "no_labels"
    assert "_bbox.npy" in found.remedy
    assert "NAME.csv is not looked for" in found.remedy  # it may hold events


@pytest.mark.parametrize(
    ("events", "rules", "expected"),
    [
        (events_of(), {}, []),
        (events_of(still=30_000), {}, ["hot_pixels"]),
        (events_of(), {"slice_duration_us": 4}, ["empty_slices"]),
        (events_of(), {"slice_duration_us": 15}, ["few_events"]),
        (events_of(on=0.0), {}, ["polarity"]),
        (events_of(), {"slice_duration_us": 200_000}, ["no_windows"]),
        (events_of(), {"slicing": "by_count", "events_per_window": 50_000}, ["no_windows"]),
    ],
    ids=["healthy", "hot", "empty", "few", "one-sided", "long", "many"],
)
def test_without_labels_the_events_are_looked_at_and_what_cannot_be_told_is_said(
    events: Events, rules: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    section, windows = looked_at(tmp_path, None, events, **rules)
    assert names(section.findings) == ["no_labels", *expected]
    assert windows is not None
    assert len(windows) > 1
    facts = dict(section.facts)
    assert "events a slice" in facts
    assert "windows with boxes" not in facts
    assert "there are no labels" in section.unknown[0]


@pytest.mark.parametrize("slice_us", [1, 4, 15, 20])
def test_slices_that_are_too_short_are_named_once(slice_us: int, tmp_path: Path) -> None:
    found = diagnosed(tmp_path, moving(), slice_duration_us=slice_us)
    assert len(found) == 1, names(found)
    assert {"events a slice", "events a window", "events in a true box"} == set(dict(found[0].evidence))


def test_short_slices_are_no_fault_where_windows_hold_enough(tmp_path: Path) -> None:
    # An event a slice, every third slice empty, forty events a window.
    assert names(diagnosed(tmp_path, moving(), slice_duration_us=10, time_steps=40)) == []


def test_objects_without_events_are_told_from_windows_that_are_too_short(tmp_path: Path) -> None:
    # Of 2000 events a window all but ten lie beside the box; some of those, which are noise, lie in it.
    still, noise = events_of(inside=False), np.random.default_rng(1)
    rows = noise.permutation(len(still))[:200]
    still.x[rows], still.y[rows] = noise.integers(0, 96, (2, 200))
    assert names(diagnosed(tmp_path, moving(), still)) == ["boxes_without_events"]


def test_a_limit_of_events_that_leaves_too_few_is_what_is_taken_away(tmp_path: Path) -> None:
    found = diagnosed(tmp_path, moving(), max_events_per_sample=8)
    assert (names(found), found[0].overrides) == (["few_events"], ("data.max_events_per_sample=null",))
    both = diagnosed(tmp_path / "both", moving(), max_events_per_sample=4, slice_duration_us=15)
    assert [override.partition("=")[0] for override in both[0].overrides] == [
        "data.max_events_per_sample", "data.slice_duration_us",
    ]  # fmt: skip


def test_windows_by_count_of_too_few_events_get_more(tmp_path: Path) -> None:
    rules = {"slicing": "by_count", "time_steps": 2, "max_samples_per_file": 40}
    found = diagnosed(tmp_path, moving(), events_per_window=6, **rules)
    assert names(found) == ["few_events"]
    (override,) = found[0].overrides
    assert override.startswith("data.events_per_window=")
    more = int(override.rpartition("=")[2])
    assert names(diagnosed(tmp_path / "again", moving(), events_per_window=more, **rules)) == []


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A recording of a simulated camera."""
    return simulated(tmp_path_factory.mktemp("simulated"), recordings=1)[0]


FILMED = {"classes": CLASSES, "slice_duration_us": 100, "time_steps": 8}


def test_a_camera_that_gives_few_events_is_mended_by_longer_slices(filmed: Files, tmp_path: Path) -> None:
    def found(item: Files, **rules: int) -> list[Finding]:
        options = {**FILMED, "end_us": 60_000, **rules}
        every = diagnosed(tmp_path / str(len(list(tmp_path.iterdir()))), boxes_of(item), item.events, **options)
        return [finding for finding in every if finding.name not in ("class_missing", "imbalance")]

    assert names(found(filmed)) == []
    few = thinned(filmed, 60)
    (first,) = found(few)
    assert first.name == "few_events", first.sentence
    (override,) = first.overrides
    assert override.startswith("data.slice_duration_us=")
    assert names(found(few, slice_duration_us=int(override.rpartition("=")[2]))) == []
    (nothing,) = found(thinned(filmed, 50_000))
    assert (nothing.name, nothing.overrides) == ("empty_slices", ())
    assert "do not fit into the recordings" in nothing.remedy


def test_fewer_events_a_window_are_named_where_windows_are_counted(tmp_path: Path) -> None:
    rules = {"slicing": "by_count", "events_per_window": 50_000}
    (first, *_) = diagnosed(tmp_path, moving(), **rules)
    assert (first.name, first.overrides) == ("no_windows", ("data.events_per_window=20000",))


def test_recordings_that_train_and_do_not_validate_are_cut_where_labels_are(tmp_path: Path) -> None:
    one = SingleRecording(events="a.csv", classes=["car"], train_until_us=390_000)
    found = diagnosed(tmp_path, moving(), val_boxes=Boxes.empty(), dataset=one)
    assert names(found) == ["no_val_labels"]
    (override,) = found[0].overrides
    key, _, value = override.partition("=")
    assert key == "data.train_until_us"
    assert 250_000 < int(value) < 350_000


def test_where_to_cut_counts_from_the_first_event_also_where_filters_leave_it_out(tmp_path: Path) -> None:
    one = SingleRecording(events="a.csv", classes=["car"], train_until_us=390_000)
    data = EventData(dataset=one, classes=["car"], store=str(tmp_path), encoder=HistogramEncoder())
    events = events_of()
    rows = events.t >= 100_000
    columns = (events.t[rows], events.x[rows], events.y[rows], events.p[rows])
    late = Events(*columns, events.width, events.height)
    notes = {"filter_counts": FilterCounts(end_us=END_US).as_dict()}
    with RecordingWriter(tmp_path / "a.zarr", width=events.width, height=events.height, notes=notes) as writer:
        writer.append(late)
        writer.seal()
    recording = Recording.open(tmp_path / "a.zarr")
    assert recording.start_us >= 100_000
    boxes = moving()
    (found,) = no_val_labels(
        [Part(recording, Boxes.empty(), 390_000, END_US, "a")], [Written("a", recording, boxes)], data
    )
    assert found.overrides == (f"data.train_until_us={int(np.quantile(boxes.t, 0.8))}",)


def test_label_times_that_no_sliding_window_shows_are_said_with_a_buffer_that_reaches_them(tmp_path: Path) -> None:
    # Windows of 80 ms end every 60 ms, at 80, 140, …; the label lies in the middle between two ends.
    rules = {"slice_duration_us": 10_000, "time_steps": 8, "slicing": "sliding", "targets": "last"}
    boxes = moving(times=[110_000])
    (found, *_) = diagnosed(tmp_path, boxes, **rules)
    assert (found.name, found.overrides) == ("labels_buffer", ("data.temporal_buffer=0.4",))
    assert "1 of 1 label times" in found.sentence
    mended = diagnosed(tmp_path / "again", boxes, temporal_buffer=0.4, **rules)
    assert names(mended) == []


def test_balanced_sampling_is_what_mends_a_rare_class(tmp_path: Path) -> None:
    assert names(diagnosed(tmp_path, **WINDOW_FAULTS["imbalance"](), sampling="balanced")) == []


def test_exact_copies_are_counted_from_what_cleaning_left_out(tmp_path: Path) -> None:
    exact = diagnosed(tmp_path, moving(), counts={"in_file": 74, "dropped_duplicate": 37})
    assert names(exact)[:1] == ["duplicates"]
    assert "37 of 74" in exact[0].sentence


def test_near_duplicates_are_of_one_time_and_one_class() -> None:
    boxes = moving()
    assert near_duplicates(joined(boxes, moving(track=1))) == len(boxes)
    assert near_duplicates(joined(boxes, moving(class_id=1))) == 0
    assert near_duplicates(boxes) == 0


def test_boxes_too_small_for_the_whole_frame_have_a_remedy_and_no_override(tmp_path: Path) -> None:
    (found, *_) = diagnosed(tmp_path, moving(side=6))
    assert (found.name, found.overrides) == ("small_boxes", ())
    assert "finer sensor" in found.remedy


def test_a_window_s_events_are_told_by_polarity(tmp_path: Path) -> None:
    part = Part(store(tmp_path / "a.zarr", events_of(on=0.25)), moving(), 0, END_US, "a")
    dataset = WindowDataset([part], rules=WindowRules(5000, 4), encoder=HistogramEncoder())
    assert np.isclose(count_windows(dataset).on["a"], 0.25, atol=0.02)


def test_the_sample_of_windows_is_bounded_in_time(tmp_path: Path) -> None:
    part = Part(store(tmp_path / "a.zarr", events_of()), moving(), 0, END_US, "a")
    dataset = WindowDataset([part], rules=WindowRules(5000, 4), encoder=HistogramEncoder())
    assert count_windows(dataset, seconds=0.0).looked_at == 1
