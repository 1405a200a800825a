"""Classes go by name: a data set's own names, chosen and ordered by the class list, grouped by the class map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo import schema
from spikeyolo.entry import config_directory
from spikeyolo.errors import ConfigError, LabelError
from spikeyolo.events.datasets import Source, SplitFolders
from spikeyolo.events.labels import ClassSelection, LabelRules, selected
from spikeyolo.events.types import Boxes

NAMES = ("pedestrian", "car", "bicycle", "bus")


def of_classes(class_id: Sequence[int]) -> Boxes:
    count = len(class_id)
    xyxy = np.tile(np.array([[0, 0, 5, 5]], np.float32), (count, 1))
    return Boxes(np.arange(count), xyxy, np.array(class_id, np.int64), np.arange(count), np.ones(count, np.float32))


@given(chosen=st.lists(st.sampled_from(NAMES), unique=True, min_size=1), ids=st.lists(st.integers(0, 3)))
def test_a_box_keeps_its_name_whatever_is_chosen_in_whatever_order(chosen: list[str], ids: list[int]) -> None:
    places = ClassSelection(chosen, LabelRules(names=NAMES)).places(np.array(ids, np.uint32), "a.npy")
    names = [chosen[place] if place >= 0 else None for place in places]
    assert names == [NAMES[id_] if NAMES[id_] in chosen else None for id_ in ids]


@given(
    stored=st.lists(st.sampled_from(NAMES), unique=True, min_size=1), data=st.data(), ids=st.lists(st.integers(0, 3))
)
def test_a_converted_box_keeps_its_name_under_another_class_list(
    stored: list[str], data: st.DataObject, ids: list[int]
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(stored), unique=True, min_size=1))
    boxes = of_classes([id_ % len(stored) for id_ in ids])
    found = selected(boxes, stored, chosen)
    expected = [(t, stored[k]) for t, k in zip(boxes.t, boxes.class_id) if stored[k] in chosen]
    assert [(t, chosen[k]) for t, k in zip(found.t, found.class_id)] == expected


def test_a_map_groups_by_name_or_id_and_the_class_list_selects_groups() -> None:
    ids = np.arange(4)
    by_name = LabelRules(names=NAMES, class_map={"car": "vehicle", "bus": "vehicle", "bicycle": None})
    by_id = LabelRules(class_map={0: "pedestrian", 1: "vehicle", 2: None, 3: "vehicle"})
    for rules in (by_name, by_id):
        selection = ClassSelection(["vehicle", "pedestrian"], rules)
        assert selection.known == ("pedestrian", "vehicle")
        np.testing.assert_array_equal(selection.places(ids, "a.npy"), [1, 0, -1, 0])
        np.testing.assert_array_equal(ClassSelection(["vehicle"], rules).places(ids, "a.npy"), [-1, 0, -1, 0])


def test_without_names_ids_are_places_in_the_class_list_and_the_sentence_says_how_to_name_them() -> None:
    selection = ClassSelection(["car", "bus"], LabelRules())
    np.testing.assert_array_equal(selection.places(np.array([1, 0, 1]), "a.npy"), [1, 0, 1])
    with pytest.raises(LabelError, match=r"a\.npy: class id 3 in 2 boxes .*expected one of 0 car, 1 bus; names=\[…\]"):
        selection.places(np.array([3, 0, 3]), "a.npy")


def test_names_may_stand_at_any_ids() -> None:
    selection = ClassSelection(["bus"], LabelRules(names={1: "car", 5: "bus"}))
    np.testing.assert_array_equal(selection.places(np.array([5, 1]), "a.npy"), [0, -1])
    with pytest.raises(
        LabelError, match="class id 0 in 1 boxes is beyond the class list; expected one of 1 car, 5 bus"
    ):
        selection.places(np.array([0]), "a.npy")


CHOSEN = {
    "etram": (["pedestrian", "car", "bicycle", "bus", "motorbike", "truck", "tram", "wheelchair"], list(range(8))),
    "etram3": (["pedestrian", "vehicle", "micro_mobility"], [0, 1, 2, 1, 2, 1, 1, 2]),
    "gen1": (["car", "pedestrian"], [0, 1]),
    "mpx1": (["pedestrian", "two_wheeler", "car"], [0, 1, 2, -1, -1, -1, -1]),
    "dsec": (["pedestrian", "rider", "car", "bus", "truck", "bicycle", "motorcycle", "train"], list(range(8))),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_each_data_set_knows_what_its_files_ids_mean(name: str) -> None:
    classes, places = CHOSEN[name]
    dataset = configured(name)
    assert list(dataset.classes) == classes
    for rules in dataset.rules.values():
        selection = ClassSelection(dataset.classes, rules)
        assert list(selection.places(np.arange(len(places)), "a.npy")) == places


def test_each_data_set_is_cut_down_by_name() -> None:
    for name, chosen, places in (
        ("etram", "car,bus", [-1, 0, -1, 1, -1, -1, -1, -1]),
        ("etram3", "micro_mobility", [-1, -1, 0, -1, 0, -1, -1, 0]),
        ("gen1", "pedestrian", [-1, 0]),
        ("mpx1", "truck,car", [-1, -1, 1, 0, -1, -1, -1]),
        ("dsec", "train,rider", [-1, 1, -1, -1, -1, -1, -1, 0]),
    ):
        dataset = configured(name, f"data.classes=[{chosen}]")
        for rules in dataset.rules.values():
            selection = ClassSelection(dataset.classes, rules)
            assert list(selection.places(np.arange(len(places)), "a.npy")) == places
    with pytest.raises(ConfigError, match=r"classes: found lorry; expected names .*\(pedestrian, car, bicycle, bus, m"):
        configured("etram", "data.classes=[car,lorry]")


def test_gen1_and_mpx1_bring_prophesees_filters() -> None:
    for name, diagonal, side in (("gen1", 30, 10), ("mpx1", 60, 20)):
        train, val = (configured(name).rules[role] for role in ("train", "val"))
        assert (val.skip_first_us, val.min_diagonal_px, val.min_side_px) == (500_000, diagonal, side)
        assert (train.min_diagonal_px, train.min_side_px, train.max_width_fraction) == (diagonal, side, 0.9)
        assert val.max_width_fraction == 1
        assert (train.drop_invalid_boxes, val.drop_invalid_boxes) == (True, True)
    assert configured("dsec").rules["val"].label_clock == "camera"


def configured(name: str, *overrides: str) -> SplitFolders:
    """The data set of a choice of the ``data`` group."""
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        config = compose("train", [f"data={name}", "data.root=nowhere", *overrides])
    schema.check(config)
    dataset = schema.build(config.data).dataset
    assert isinstance(dataset, SplitFolders)
    return dataset


def test_a_source_keeps_its_rules_with_it() -> None:
    rules = LabelRules(names={3: "car"}, class_map={"car": None})
    assert Source(Path("a.raw"), None, "a", "", rules=rules).rules.noted()["names"] == {"3": "car"}
    assert rules.noted()["class_map"] == {"car": None}
