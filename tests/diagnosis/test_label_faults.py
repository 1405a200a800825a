"""A fault in the labels of a set, planted, is what the doctor names first, and what it proposes mends the set."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from planted import (
    CLASSES,
    LABEL_FAULTS,
    Files,
    boxes_of,
    counted_in,
    later,
    moved,
    of_an_unknown_class,
    one_sided,
    scaled,
    simulated,
    without_extent,
    write_labels,
    write_set,
)
from stored import store

import spikeyolo.diagnosis.written as labels_read
from spikeyolo import schema
from spikeyolo.diagnosis.deadline import Deadline
from spikeyolo.diagnosis.diagnose import look_at_data
from spikeyolo.diagnosis.finding import Finding, Section
from spikeyolo.diagnosis.labels.check import check_labels
from spikeyolo.diagnosis.labels.clock import check_clock
from spikeyolo.diagnosis.labels.stretches import cut
from spikeyolo.diagnosis.sampled import sample
from spikeyolo.diagnosis.written import Written
from spikeyolo.entry import config_directory
from spikeyolo.events.datasets import RecordingFolders
from spikeyolo.events.labels import LabelCorrection, LabelRules
from spikeyolo.events.types import Events
from spikeyolo.metrics.protocols import Coco
from spikeyolo.windows.data import EventData
from spikeyolo.windows.encoders import HistogramEncoder


@dataclass(frozen=True)
class Set:
    """Files of a healthy set, converted once: labels are read anew every time."""

    files: tuple[Files, ...]
    root: Path
    store: Path

    def data(self, correction: LabelCorrection | None = None) -> EventData:
        rules = LabelRules(correction=correction)
        dataset = RecordingFolders(
            root=str(self.root), classes=CLASSES, size=[96, 96], train_labels=rules, val_labels=rules
        )
        return EventData(
            dataset=dataset,
            classes=CLASSES,
            store=str(self.store),
            encoder=HistogramEncoder(downsample=1),
            slice_duration_us=100,
        )

    def configured(self, overrides: Sequence[str]) -> EventData:
        """The set as a command line with overrides has it."""
        GlobalHydra.instance().clear()
        given = [
            "data=folders",
            f"data.root={self.root}",
            f"data.store={self.store}",
            f"data.classes=[{','.join(CLASSES)}]",
            "data.size=[96,96]",
            "data.slice_duration_us=100",
        ]
        with initialize_config_dir(str(config_directory()), version_base="1.3"):
            config = compose("train", [*given, *overrides])
        data: EventData = schema.build(config.data)
        return data

    def found_in_labels(self, fault: Callable[[Files], Files], overrides: Sequence[str]) -> list[Finding]:
        """What labels alone tell of the set with a fault planted, under overrides."""
        write_labels(self.root, self.files, fault)
        return findings(look_at_data(self.configured(overrides), {"labels"}, protocol=Coco())[0])

    def diagnosed(
        self, fault: Callable[[Files], Files] | None = None, correction: LabelCorrection | None = None
    ) -> list[Section]:
        """Labels and windows of the set with a fault planted in its label files."""
        write_labels(self.root, self.files, fault)
        return look_at_data(self.data(correction), {"labels", "windows"}, protocol=Coco())[0]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Set:
    folder = tmp_path_factory.mktemp("set")
    files = simulated(folder / "simulated")
    return Set(files, write_set(folder / "files", files), folder / "store")


def findings(sections: list[Section]) -> list[Finding]:
    return [finding for section in sections for finding in section.findings]


def test_a_healthy_set_has_no_findings(small: Set) -> None:
    assert [finding.sentence for finding in findings(small.diagnosed())] == []


@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_a_planted_fault_is_named_first_with_what_mends_it_and_no_consequence_after_it(
    fault: str, small: Set, tmp_path: Path
) -> None:
    plant, name, override = LABEL_FAULTS[fault]
    found = findings(small.diagnosed(plant))
    assert [finding.name for finding in found] == [name], [finding.sentence for finding in found]
    assert any(override in text for text in found[0].overrides), found[0].overrides
    assert found[0].draw is not None
    assert found[0].draw(tmp_path / "a.png").stat().st_size > 5000
    mended = small.found_in_labels(plant, found[0].overrides)
    assert [finding.sentence for finding in mended] == []


@pytest.mark.parametrize(("unit", "unit_us"), [("ms", 1e3), ("s", 1e6), ("ns", 1e-3)])
def test_times_in_another_unit_are_named_first_and_no_shift_of_a_clock(unit: str, unit_us: float, small: Set) -> None:
    (found,) = findings(small.diagnosed(counted_in(unit_us)))
    assert (found.name, found.overrides) == ("unit", (f"data.dataset.train_labels.time_unit={unit}",))
    assert found.sentence.startswith(f"label times are in {unit}")
    assert [one.sentence for one in small.found_in_labels(counted_in(unit_us), found.overrides)] == []


def test_a_unit_that_is_named_wrongly_is_found_too(small: Set) -> None:
    (found,) = small.found_in_labels(lambda item: item, ["data.dataset.train_labels.time_unit=ms"])
    assert (found.name, found.overrides) == ("unit", ("data.dataset.train_labels.time_unit=us",))


def test_labels_that_training_refuses_are_named_first_with_what_leaves_them_out(small: Set, tmp_path: Path) -> None:
    first, *_ = findings(small.diagnosed(without_extent))
    assert first.name == "refused"
    assert "0" in first.sentence
    assert first.overrides == ("data.dataset.train_labels.drop_invalid_boxes=true",)
    assert first.draw is not None
    assert first.draw(tmp_path / "a.png").stat().st_size > 5000
    assert small.found_in_labels(without_extent, first.overrides) == []


def test_what_mends_labels_leaves_out_those_that_training_would_refuse_still(small: Set) -> None:
    def plant(item: Files) -> Files:
        beside = moved(14, -8)(item)
        beside.labels["x"][:3], beside.labels["w"][:3] = 2, 6  # mended, they lie outside the frame
        return beside

    found, *_ = findings(small.diagnosed(plant))
    assert found.name == "offset"
    assert found.overrides[1:] == ("data.dataset.train_labels.drop_invalid_boxes=true",)
    assert [one.sentence for one in small.found_in_labels(plant, found.overrides)] == []


@pytest.mark.parametrize("shift_ms", [-1000, -20, 20, 1000])
def test_a_clock_that_is_off_is_found_to_within_two_milliseconds(shift_ms: int, small: Set) -> None:
    (found,) = findings(small.diagnosed(later(1000 * shift_ms)))
    (override,) = found.overrides
    assert abs(int(override.rpartition("=")[2]) + 1000 * shift_ms) <= 2000


def test_boxes_of_another_sensor_are_told_by_its_size(small: Set) -> None:
    (found,) = findings(small.diagnosed(scaled(640 / 96, 480 / 96)))
    assert found.name == "sensor"
    assert "640x480" in found.sentence
    assert found.overrides == ("data.label_correction.scale=[0.15,0.2]",)
    assert small.found_in_labels(scaled(640 / 96, 480 / 96), found.overrides) == []


def test_labels_that_cannot_be_read_at_all_leave_the_events_to_be_looked_at(small: Set) -> None:
    labels, windows = small.diagnosed(of_an_unknown_class)
    assert labels.findings == []
    assert "no labels" in labels.unknown[0]
    (found,) = windows.findings
    assert found.name == "no_labels"
    assert "class id 77" in found.sentence
    assert "events a slice" in dict(windows.facts)


def test_labels_count_from_the_first_event_also_where_filters_leave_it_out(small: Set) -> None:
    write_labels(small.root, small.files)
    last = int(min(item.events.t[-1] for item in small.files))
    data = small.configured([f"data.filters.time_range_us=[{last // 3},{last // 2}]"])
    found = labels_read.written(data, sample(data), "train", lambda *_: None)
    assert all(item.recording.start_us >= last // 3 for item in found)
    for item, files in zip(found, small.files[:-1], strict=True):
        assert item.boxes is not None
        np.testing.assert_array_equal(item.boxes.t, files.labels["t"])


def test_a_second_fault_is_added_to_the_correction_there_is(small: Set) -> None:
    def both(item: Files) -> Files:
        return later(20_000)(LABEL_FAULTS["x and y swapped"][0](item))

    (found,) = findings(small.diagnosed(both, LabelCorrection(columns="yxhw", time_shift_us=500)))
    assert found.name == "clock"
    assert re.fullmatch(r"data\.label_correction\.time_shift_us=-(19|20)\d\d\d", found.overrides[0])


def written(folder: Path, files: tuple[Files, ...], change: Callable[[int, Files], Files]) -> list[Written]:
    """Recordings in a store, each changed by its number, with their boxes."""
    found = []
    for number, item in enumerate(files):
        item = change(number, item)
        found.append(Written(f"r{number}", store(folder / f"r{number}.zarr", item.events), boxes_of(item)))
    return found


def names(recordings: list[Written]) -> list[str]:
    section = check_labels(recordings, current=None, origin="converted", steps_us=800).section
    return [finding.name for finding in section.findings]


def test_events_of_one_polarity_are_told(small: Set, tmp_path: Path) -> None:
    assert names(written(tmp_path, small.files, lambda number, item: one_sided(item))) == ["polarity"]


def test_one_recording_with_labels_of_another_clock_is_named(small: Set, tmp_path: Path) -> None:
    def change(number: int, item: Files) -> Files:
        return later(20_000)(item) if number == 2 else item

    recordings = written(tmp_path, small.files, change)
    (found,) = check_labels(recordings, current=None, origin="converted", steps_us=800).section.findings
    assert found.name == "strays"
    assert "r2" in found.sentence


def test_labels_of_other_recordings_are_unrelated(small: Set, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)

    def noise(number: int, item: Files) -> Files:
        e = item.events
        x, y = generator.integers(0, 96, (2, len(e))).astype(np.uint16)
        return Files(Events(e.t, x, y, e.p, 96, 96), item.labels)

    assert names(written(tmp_path, small.files, noise)) == ["unrelated"]


def test_without_labels_the_doctor_says_what_it_cannot_tell(small: Set, tmp_path: Path) -> None:
    bare = [
        Written(item.name, item.recording, None) for item in written(tmp_path, small.files, lambda number, item: item)
    ]
    section = check_labels(bare, current=None, origin="converted", steps_us=800).section
    assert section.findings == []
    assert "no labels" in section.unknown[0]


def test_labels_of_a_converted_set_are_mended_by_converting_it_again(small: Set, tmp_path: Path) -> None:
    recordings = written(tmp_path, small.files, lambda number, item: later(20_000)(item))
    (found,) = check_labels(recordings, current=None, origin="converted", steps_us=800).section.findings
    assert (found.name, found.entry) == ("clock", "convert")
    assert found.overrides[0].startswith("labels.correction.time_shift_us=-")
    assert "convert the set again" in found.remedy
    (found,) = check_labels(recordings, current=None, origin="made", steps_us=800).section.findings
    assert found.overrides == ()
    assert "time_shift_us=-" in found.remedy


def test_where_the_time_is_up_larger_shifts_are_not_tried_and_that_is_said(small: Set, tmp_path: Path) -> None:
    recordings = written(tmp_path, small.files, lambda number, item: later(1_000_000)(item))
    stretches = cut(recordings, bin_us=1000)
    ticks = iter(range(10_000))
    found = check_clock(stretches, crossing_us=10_000.0, deadline=Deadline(100, clock=lambda: float(next(ticks))))
    assert not found.whole
    assert 50_000 < found.reach_us < 200_000  # a hundred shifts, ever further out, to both sides
    none = check_clock(stretches, crossing_us=10_000.0, deadline=Deadline(0))
    assert none.reach_us == 20_000  # twice as long as an object takes to cross itself is always tried
    over = Deadline(0)
    section = check_labels(recordings, current=None, origin="files", steps_us=800, deadline=over).section
    assert [finding.name for finding in section.findings if finding.name == "clock"] == []
    assert sum("the time was up" in sentence for sentence in section.unknown) >= 2
