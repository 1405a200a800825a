"""Which split a recording belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.events.splits import Span, check_apart, check_share, drawn, splits_of

NAMES = st.lists(st.text("abc/", min_size=1), min_size=2, max_size=30, unique=True)
SHARES = st.floats(0.01, 0.99)


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train/a", "val/b", "test/c", "notes/d"], ["train", "val", "test", ""]),
        (["train_h5_1/a", "train_h5_2/b", "val_h5_1/a", "test_h5_1/c"], ["train", "train", "val", "test"]),
        (["set/training/a", "set/validation/b", "set/Testing/c"], ["train", "val", "test"]),
        (["set/valid/a"], ["val"]),
        (["test_drive/a", "park/b"], ["", ""]),
        (["test_drive/a", "test_run/b"], ["", ""]),
        (["train-1/a", "train-2/b"], ["", ""]),
        (["test_drive/train/a"], ["train"]),
        (["train", "trainer/a", "value/b", "a"], ["", "", "", ""]),
    ],
)
def test_folders_tell_the_split(names: list[str], splits: list[str]) -> None:
    assert splits_of(names) == splits


@given(names=NAMES, share=SHARES, seed=st.integers(0, 5))
def test_a_draw_takes_its_share_of_whole_recordings_whatever_their_order(
    names: list[str], share: float, seed: int
) -> None:
    val = drawn(names, share, seed, where="set")
    assert val < set(names)
    assert val
    assert abs(len(val) - share * len(names)) <= 1
    assert drawn(names[::-1], share, seed, where="set") == val


def test_another_seed_draws_others() -> None:
    names = [str(number) for number in range(40)]
    assert drawn(names, 0.5, 0, where="set") != drawn(names, 0.5, 1, where="set")


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(RecordingError, match=r"set: 1 recordings to draw .*expected at least 2"):
        drawn(["a"], 0.2, 0, where="set")
    with pytest.raises(ConfigError, match=r"data\.val_share: the set has recordings of its own for validation"):
        check_share("train", "val", {"train", "val"})
    check_share("train", "val", {"train", "test"})


def test_splits_that_share_events_are_refused() -> None:
    train = [Span("d1", None, None, "train/a"), Span("d2", None, None, "train/b")]
    check_apart({"train": train, "val": [Span("d3", None, None, "val/a")]})
    with pytest.raises(RecordingError, match=r"val/x of val holds the same events as train/b of train; expected each"):
        check_apart({"train": train, "val": [Span("d2", 0, 5, "val/x")]})
    with pytest.raises(RecordingError, match="of test holds the same events as"):
        check_apart({"train": train, "val": [], "test": [Span("d1", None, None, "x")]})


@given(st.lists(st.integers(0, 100), min_size=4, max_size=4))
def test_two_parts_of_a_recording_are_apart_where_they_share_no_time(times: list[int]) -> None:
    (a, b), (c, d) = sorted(times[:2]), sorted(times[2:])
    shared = any(a <= time < b and c <= time < d for time in range(101))
    spans = {"train": [Span("d", a, b, "a")], "val": [Span("d", c, d, "a")]}
    if shared:
        with pytest.raises(RecordingError, match="the same events"):
            check_apart(spans)
    elif a < b and c < d:
        check_apart(spans)
    check_apart({"train": [Span("d", None, 50, "a")], "val": [Span("d", 50, None, "a")]})
