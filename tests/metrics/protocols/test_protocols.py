"""Protocols: what they leave out, which classes they score, and that the configuration holds their published rules."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from scored_scenes import PROTOCOLS, classes_of, table_of

from spikeyolo import schema
from spikeyolo.errors import ConfigError
from spikeyolo.metrics.protocols import Coco, Dsec, Etram, PropheseeGen1, PropheseeOneMegapixel, Protocol

CONF = Path(__file__).parents[3] / "conf" / "protocol"
SIZES = [[30, 30], [29, 9], [60, 19], [60, 20], [100, 100], [18, 18], [10, 40], [26, 16], [21, 21.5]]


def kept(protocol: Protocol, time_us: int = 1_000_000) -> list[int]:
    rows = [(0, time_us, 0, 5, 5, *size, i) for i, size in enumerate(SIZES)]
    table, indices = protocol.select(table_of(rows, ("drive",), classes_of(protocol)))
    assert table.track_id.tolist() == indices.tolist()
    return indices.tolist()


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (Coco(), list(range(9))),
        (PropheseeGen1(), [0, 2, 3, 4, 6, 7, 8]),
        (Etram(), [0, 2, 3, 4, 6, 7, 8]),
        (PropheseeOneMegapixel(), [3, 4]),
        (Dsec(), [0, 4, 8]),  # sides and diagonals must be longer than the limits
    ],
)
def test_small_boxes_do_not_count(protocol: Protocol, expected: list[int]) -> None:
    assert kept(protocol) == expected


@pytest.mark.parametrize("protocol", [PropheseeGen1(), PropheseeOneMegapixel(), Etram()])
def test_the_first_half_second_does_not_count(protocol: Protocol) -> None:
    assert kept(protocol, 500_000) == []
    assert kept(protocol, 500_001) == kept(protocol)


def test_detections_below_the_least_score_do_not_count() -> None:
    rows = [(0, 1, 0, 5, 5, 50, 50, -1, s) for s in (0.1, 0.25, 0.5)]
    assert Coco(min_score=0.25).select(table_of(rows, ("drive",), ("car",)))[1].tolist() == [1, 2]


def test_dsec_cuts_boxes_at_the_bonnet_joins_buses_with_cars_and_leaves_riders_out() -> None:
    rows = [(0, 0, k, 600, 390 - 50 * k, 100, 80, -1) for k in range(4)]
    table, indices = Dsec().select(table_of(rows, ("drive",), ("bus", "rider", "car", "pedestrian")))
    assert indices.tolist() == [0, 2, 3]
    assert [table.classes[k] for k in table.class_id] == ["car", "car", "pedestrian"]
    np.testing.assert_allclose(table.xywh, [[600, 390, 38, 38], [600, 290, 38, 80], [600, 240, 38, 80]])


@pytest.mark.parametrize(
    ("protocol", "classes"),
    [
        (PropheseeGen1(), ("car",)),
        (PropheseeGen1(), ("car", "pedestrian", "bus")),
        (PropheseeOneMegapixel(), ("car", "pedestrian")),
        (Dsec(), ("bus", "rider")),
        (Dsec(), ("car", "pedestrian", "disc")),
    ],
)
def test_other_classes_are_refused_in_one_sentence(protocol: Protocol, classes: tuple[str, ...]) -> None:
    with pytest.raises(
        ConfigError, match=f"protocol {protocol.name}: scores the classes .*; found {', '.join(classes)}"
    ):
        protocol.class_ids(classes)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=[protocol.name for protocol in PROTOCOLS])
def test_the_configuration_holds_the_published_rules(protocol: Protocol) -> None:
    config = OmegaConf.load(CONF / f"{protocol.name}.yaml")
    assert {field.name for field in fields(protocol)} == set(config) - {"_target_"}
    built = schema.build(config)
    assert type(built) is type(protocol)
    assert built.rules() == protocol.rules()
    assert built.rules()["changed"] == []


def test_every_protocol_has_its_file() -> None:
    assert {path.stem for path in CONF.iterdir()} == {protocol.name for protocol in PROTOCOLS}


def test_a_rule_out_of_range_is_refused() -> None:
    config = OmegaConf.load(CONF / "coco.yaml")
    config.min_score = 2
    with pytest.raises(ConfigError, match="min_score: found 2"):
        schema.check(OmegaConf.create({"protocol": config}), groups=("protocol",))
