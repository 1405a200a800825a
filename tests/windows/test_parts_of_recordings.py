"""What belongs to whom: training and validation share no window, and no window shows what rules left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from command_line import convert
from etram_set import CLASSES, DURATION_US, film, label_rows, write_events
from hypothesis import given
from hypothesis import strategies as st
from stored import boxes_at, random_events

from spikeyolo.errors import ConfigError, LabelError
from spikeyolo.events.conversion.converted import ConvertedSet
from spikeyolo.events.datasets import Etram, SingleRecording
from spikeyolo.events.filters import EventFilters
from spikeyolo.events.labels import LabelRules
from spikeyolo.events.store import RecordingWriter
from spikeyolo.events.types import Boxes, Events
from spikeyolo.windows.data import EventData
from spikeyolo.windows.encoders import HistogramEncoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parts")
    for number, split in enumerate(("train_h5_1", "val_h5_1")):
        events, boxes = film(number)
        write_events(root / split / f"{number}.h5", events)
        np.save(root / split / f"{number}_bbox.npy", label_rows(boxes))
    return root


def data(dataset: object, folder: Path, **settings: object) -> EventData:
    common = {"classes": CLASSES, "store": str(folder / "store"), "slice_duration_us": 1000, "time_steps": 3}
    return EventData(dataset=dataset, encoder=HistogramEncoder(), **{**common, **settings})  # type: ignore[arg-type]


@given(
    until_us=st.integers(8_000, DURATION_US - 8_000),
    slicing=st.sampled_from(["around_labels", "sliding", "by_count"]),
    buffer=st.sampled_from([0.0, 0.2, 2.0]),
)
def test_no_event_is_both_trained_on_and_validated_on(folder: Path, until_us: int, slicing: str, buffer: float) -> None:
    both = SingleRecording(events=str(folder), classes=CLASSES, train_until_us=until_us)
    settings = {"slicing": slicing, "temporal_buffer": buffer, "events_per_window": 100, "time_steps": 2}
    served = data(both, folder, **settings)
    train = served.train_loader(augmentation=None, seed=0).dataset
    val = served.val_loader().dataset
    for number, part in enumerate(train.parts):
        border = part.recording.start_us + until_us
        trained, judged = (
            [w for w in map(one.window, range(len(one))) if w.recording == number] for one in (train, val)
        )
        assert trained
        assert judged
        assert max(window.end_us for window in trained) <= border
        assert min(window.start_us for window in judged) >= border


def test_the_cut_and_what_rules_skip_count_from_the_first_event_also_where_filters_leave_it_out(folder: Path) -> None:
    rules = LabelRules(names=CLASSES, skip_first_us=15_000)
    both = SingleRecording(
        events=str(folder),
        classes=CLASSES,
        train_until_us=20_000,
        test_from_us=28_000,
        train_labels=rules,
        val_labels=rules,
        filters=EventFilters(time_range_us=(10_000, 36_000)),
    )
    served = data(both, folder, slicing="sliding")
    spans = {"train": (10_000, 20_000), "val": (20_000, 28_000), "test": (28_000, 36_000)}
    for role, (start, end) in spans.items():
        for part in served.parts(role):  # type: ignore[arg-type]
            assert abs(part.start_us - start) < 200
            assert abs(part.end_us - end) < 200
            assert part.labels_from_us == 15_000
    val = served.val_loader().dataset
    assert min(val.window(index).start_us for index in range(len(val))) == 20_000


def test_a_cut_before_all_that_filters_leave_gives_all_to_validation(folder: Path) -> None:
    both = SingleRecording(
        events=str(folder),
        classes=CLASSES,
        train_until_us=5_000,
        filters=EventFilters(time_range_us=(10_000, 36_000)),
    )
    served = data(both, folder)
    with pytest.raises(LabelError, match="train: none of 2 recordings has a box"):
        served.train_loader(augmentation=None, seed=0)
    assert len(served.val_loader().dataset)
    assert min(part.start_us for part in served.parts("val")) >= 10_000


class Late:
    """A stored set whose recordings begin 50 ms after the clock's zero, converted under ``skip_first_us``."""

    START_US, SKIP_US = 50_000, 20_000

    def __init__(self, folder: Path, **notes: object) -> None:
        self.folder, self.notes = folder, notes

    def recordings(self, role: str, *, progress: object = None) -> Sequence[Path]:
        path = self.folder / f"{role}.zarr"
        if not path.exists():
            e = random_events()
            late = Events(e.t + self.START_US, e.x, e.y, e.p, e.width, e.height)
            with RecordingWriter(path, width=e.width, height=e.height, classes=CLASSES, notes=self.notes) as writer:
                writer.append(late)
                writer.set_boxes(boxes_at(range(75_000, 120_000, 5_000)))
                writer.seal()
        return [path]


def test_what_a_rule_skips_at_the_beginning_counts_from_the_first_event(tmp_path: Path) -> None:
    known_from = Late.START_US + Late.SKIP_US
    served = data(Late(tmp_path, rules={"skip_first_us": Late.SKIP_US}), tmp_path, slicing="sliding").val_loader()
    ends = [served.dataset.window(index).end_us for index in range(len(served.dataset))]
    assert known_from <= min(ends) < known_from + 5_000
    for index in range(4):
        sample = served.dataset[0, index]
        step_ends = sample.window.start_us + 1000 * np.arange(1, 4)
        assert not sample.supervised[step_ends < known_from].any()


def test_looks_that_rules_emptied_reach_the_windows_of_a_converted_set(tmp_path: Path) -> None:
    every = list(range(50_000, 150_001, 5_000))
    for notes, negatives in (({}, True), ({"left_out_us": every}, False)):
        folder = tmp_path / str(negatives)
        served = data(Late(folder, **notes), folder, negative_share=1.0).train_loader(augmentation=None, seed=0)
        ends = [served.dataset.window(index).end_us for index in range(len(served.dataset))]
        assert any(end not in every for end in ends) == negatives


def test_listed_looks_reach_the_windows_of_a_converted_set_and_older_ones_have_none(tmp_path: Path) -> None:
    labelled = list(range(75_000, 120_000, 5_000))
    for notes, negatives in (({}, None), ({"looks_us": [*labelled, 140_000]}, [140_000])):
        folder = tmp_path / str(negatives)
        served = data(Late(folder, **notes), folder, negative_share=1.0).train_loader(augmentation=None, seed=0)
        ends = [served.dataset.window(index).end_us for index in range(len(served.dataset))]
        if negatives is None:
            assert max(ends) > 140_000
        else:
            assert [end for end in ends if end not in labelled] == negatives


def test_a_recording_whose_boxes_a_rule_left_out_gives_no_empty_window_converted_or_not(
    folder: Path, tmp_path: Path
) -> None:
    giants = LabelRules(names=CLASSES, min_diagonal_px=1000.0)
    filtered = data(Etram(root=str(folder), classes=CLASSES, val_labels=giants), folder)
    with pytest.raises(ConfigError, match="val: none of 1 recordings has a window"):
        filtered.val_loader()
    names = f"[{','.join(CLASSES)}]"
    ended = convert(
        "data=etram",
        f"data.root={folder}",
        f"data.names={names}",
        "+data.dataset.train_labels.min_diagonal_px=1000.0",
        f"out={tmp_path / 'out'}",
        cwd=tmp_path,
    )
    assert ended.code == 0, ended.errors
    converted = data(ConvertedSet(root=str(tmp_path / "out"), classes=CLASSES), folder)
    with pytest.raises(ConfigError, match="val: none of 1 recordings has a window"):
        converted.val_loader()


def test_an_annotated_recording_without_a_row_is_empty_all_along(folder: Path) -> None:
    assert len(data(Etram(root=str(folder), classes=CLASSES), folder).val_loader().dataset)
    part = data(Etram(root=str(folder), classes=CLASSES), folder).parts("val")[0]
    assert part.left_out_us is not None
    assert len(part.left_out_us) == 0
    assert isinstance(part.boxes, Boxes)
