"""A fault in the labels of a set, planted, is what the doctor names first, with the override that mends it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_line import Ended, doctor
from planted import LABEL_FAULTS, Files, scaled, simulated, write_set

ON_FILES = ("data=folders", "data.classes=[disc,triangle,cross]", "data.size=[96,96]", "data.slice_duration_us=100")
LOOK = ("sections=[labels,windows]", "model=femto")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, ...]:
    return simulated(tmp_path_factory.mktemp("simulated"))


def names(ended: Ended) -> list[str]:
    """Of the findings, in order."""
    return re.findall(r"^\d+\. (\w+) \(", ended.output, re.M)


def first(ended: Ended) -> str:
    """The first finding with all its lines."""
    return re.split(r"^2\. |^not told|^page:", ended.output, maxsplit=1, flags=re.M)[0]


def test_a_healthy_set_has_no_findings(healthy: tuple[Files, ...], tmp_path: Path) -> None:
    ended = doctor(*ON_FILES, *LOOK, f"data.root={write_set(tmp_path / 'set', healthy)}", cwd=tmp_path)
    assert (ended.code, names(ended)) == (0, []), ended.output + ended.errors
    assert "nothing found" in ended.output


@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_a_planted_fault_is_named_first_with_what_mends_it(
    fault: str, healthy: tuple[Files, ...], tmp_path: Path
) -> None:
    plant, name, override = LABEL_FAULTS[fault]
    root = write_set(tmp_path / "set", healthy, plant)
    ended = doctor(*ON_FILES, *LOOK, f"data.root={root}", cwd=tmp_path)
    assert ended.code == 3, ended.output + ended.errors
    assert names(ended)[:1] == [name], ended.output
    assert override in first(ended), ended.output


@pytest.mark.parametrize("shift_ms", [-1000, -20, 20, 1000])
def test_a_clock_that_is_off_is_found_to_within_two_milliseconds(
    shift_ms: int, healthy: tuple[Files, ...], tmp_path: Path
) -> None:
    from planted import later

    root = write_set(tmp_path / "set", healthy, later(1000 * shift_ms))
    ended = doctor(*ON_FILES, "sections=[labels]", f"data.root={root}", cwd=tmp_path)
    found = re.search(r"time_shift_us=(-?\d+)", first(ended))
    assert found is not None, ended.output
    assert abs(int(found[1]) + 1000 * shift_ms) <= 2000


def test_boxes_of_another_sensor_are_told_by_its_size(healthy: tuple[Files, ...], tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", healthy, scaled(640 / 96, 480 / 96))
    ended = doctor(*ON_FILES, *LOOK, f"data.root={root}", cwd=tmp_path)
    assert names(ended)[0] == "sensor", ended.output
    assert "640x480" in first(ended)
    assert "data.label_correction.scale=[0.15,0.2]" in first(ended)


def test_what_the_doctor_proposes_mends_the_set(healthy: tuple[Files, ...], tmp_path: Path) -> None:
    for number, fault in enumerate(("x and y swapped", "20 ms late", "half as large")):
        root = write_set(tmp_path / f"set{number}", healthy, LABEL_FAULTS[fault][0])
        ended = doctor(*ON_FILES, *LOOK, f"data.root={root}", cwd=tmp_path)
        overrides = re.findall(r"data\.label_correction\.\S+", first(ended))
        mended = doctor(*ON_FILES, *LOOK, f"data.root={root}", *overrides, cwd=tmp_path)
        assert (mended.code, names(mended)) == (0, []), mended.output + mended.errors
