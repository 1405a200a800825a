"""A film's pictures: what hand-made events and boxes must look like."""

from __future__ import annotations

import numpy as np
import pytest

from spikeyolo.events.types import Events
from spikeyolo.report.video import DARK, BoxSeries, Film, Layer, Panel
from spikeyolo.report.video.bar import Bar
from spikeyolo.report.video.film import Kind

WIDTH, HEIGHT = 120, 90


def events(*rows: tuple[int, int, int, int]) -> Events:
    t, x, y, p = np.array(rows, np.int64).reshape(-1, 4).T
    return Events(t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), WIDTH, HEIGHT)


def layer(kind: Kind, *rows: tuple[int, float, float, float, float, int], score: float = 0.5) -> Layer:
    """Boxes from rows of time, left, top, right, bottom and track."""
    columns = np.array(rows, float).reshape(-1, 6)
    zeros = np.zeros(len(columns), np.int64)
    series = BoxSeries(
        columns[:, 0].astype(int), columns[:, 1:5], zeros, columns[:, 5].astype(int), np.full(len(columns), score)
    )
    return Layer(kind, series, ["car"])


def film(*panels: Panel, decay_us: float = 1000.0, trail_us: float = 0.0) -> Film:
    bar = Bar(DARK, size=12, start_us=0, end_us=10_000, title="0.01 × real time")
    return Film(WIDTH, HEIGHT, panels, palette=DARK, bar=bar, size=12, decay_us=decay_us, trail_us=trail_us)


def shots(made: Film, *batches: Events, moments: list[tuple[int, int]]) -> list[np.ndarray]:
    return [shot.picture.copy() for shot in made.shots(batches, moments)]


def coloured(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (picture == colour).all(-1)


def test_a_picture_shows_the_events_before_its_moment_and_none_after_in_whatever_batches_they_come() -> None:
    rows = [(100, 10, 20, 1), (200, 11, 20, 0), (200, 12, 20, 1), (999, 13, 20, 0)]
    for cuts in ([4], [1, 3], [1, 1, 1, 1], [2, 2]):
        at, batches = 0, []
        for length in cuts:
            batches.append(events(*rows[at : at + length]))
            at += length
        first, second = shots(film(Panel([]), decay_us=1e9), *batches, moments=[(200, 1), (1000, 1)])
        assert np.argwhere(~coloured(first[:HEIGHT], DARK.ground)).tolist() == [[20, 10]]
        assert tuple(first[20, 10]) == DARK.on
        assert [tuple(second[20, x]) for x in range(10, 14)] == [DARK.on, DARK.off, DARK.on, DARK.off]


def test_truth_is_dashed_and_detections_are_not() -> None:
    panel = Panel([layer("truth", (500, 10, 40, 50, 80, -1)), layer("detections", (500, 60, 40, 100, 80, -1))])
    (picture,) = shots(film(panel), events((1, 0, 0, 1)), moments=[(500, 1)])
    bottom = coloured(picture[79, 10:50], DARK.truth)
    assert bottom.tolist() == [i % 9 < 5 for i in range(40)]
    assert coloured(picture[79, 60:100], DARK.of_class(0)).all()


def test_of_detections_that_hide_one_another_the_best_is_seen() -> None:
    two, box = np.zeros(2, np.int64), np.tile([10.0, 40, 50, 80], (2, 1))
    for scores in ([0.9, 0.2], [0.2, 0.9]):
        series = BoxSeries(two + 500, box, np.arange(2), two - 1, np.array(scores))
        (picture,) = shots(
            film(Panel([Layer("detections", series, ["car", "bus"])])), events((1, 0, 0, 1)), moments=[(500, 1)]
        )
        assert coloured(picture[45:70, 10], DARK.of_class(int(np.argmax(scores)))).all()


def test_a_track_keeps_its_colour_and_draws_its_way_behind_it() -> None:
    rows = [(t, 10 + t / 50, 30, 30 + t / 50, 60, 11) for t in range(0, 3001, 100)]
    made = film(Panel([layer("tracks", *rows)]), trail_us=1000.0)
    pictures = shots(made, events((1, 0, 0, 1)), moments=[(1000, 1), (3000, 1)])
    colour = DARK.of_track(11)
    assert all(coloured(picture, colour).sum() > 90 for picture in pictures)
    # the centre came from column 60 to 80 in the last 1000 µs, the box begins at column 70
    far, middle, near = (int(pictures[1][44:46, column].astype(int).sum(1).max()) for column in (62, 67, 77))
    assert near > middle > far > sum(DARK.ground)
    assert coloured(pictures[1][40:50, 30:55], DARK.ground).all()  # further back the way is forgotten


def test_a_label_says_track_class_and_score_and_truth_is_silent_where_a_box_of_its_class_speaks() -> None:
    alone = Panel([layer("truth", (500, 10, 40, 50, 80, -1))])
    both = Panel([*alone.layers, layer("tracks", (500, 10, 40, 50, 80, 3))])
    event = events((1, 0, 0, 1))
    (labelled,), (silent,) = (shots(film(panel), event, moments=[(500, 1)]) for panel in (alone, both))
    above = np.s_[20:40, 8:110]
    white = [(picture[above] > 120).all(-1).sum() for picture in (labelled, silent)]
    assert white[0] > 20
    assert white[1] == 0
    yellow = (silent[above][..., 0] > 150) & (silent[above][..., 2] < 120)
    assert yellow.sum() > 60


def test_panels_stand_side_by_side_with_the_same_events() -> None:
    boxes = layer("detections", (500, 10, 40, 50, 80, -1))
    made = film(Panel([boxes], "detections"), Panel([], "tracks"))
    (picture,) = shots(made, events((499, 100, 50, 1)), moments=[(500, 1)])
    assert picture.shape == (HEIGHT + 28, 2 * WIDTH + 6, 3)
    left, right = picture[:HEIGHT, :WIDTH], picture[:HEIGHT, WIDTH + 6 :]
    assert (left[50, 100] == right[50, 100]).all()
    assert coloured(left, DARK.of_class(0)).any()
    assert not coloured(right, DARK.of_class(0)).any()
    assert not coloured(right[:20, :60], DARK.ground).all()  # its title


def test_the_bar_fills_with_time_and_marks_labels() -> None:
    bar = Bar(DARK, size=12, start_us=1_000, end_us=11_000, title="made", marks_us=np.array([1_000, 6_000, 99_000]))
    out = np.zeros((bar.height, 401, 3), np.uint8)
    bar.draw(out, 6_000, 1e6)
    assert coloured(out[0], DARK.on).sum() == pytest.approx(200, abs=1)
    assert coloured(out[3], DARK.muted).nonzero()[0].tolist() == [0, 200]


@pytest.mark.parametrize("columns", [20, 96, 304, 346, 1280])
def test_words_of_the_bar_that_have_no_room_are_left_out_and_none_overlap(columns: int) -> None:
    bar = Bar(DARK, size=10, start_us=0, end_us=1_000_000, title="0.01 × real time", legend="truth")
    out = np.zeros((bar.height, columns, 3), np.uint8)
    bar.draw(out, 500_000, 123.4e6)
    wide = np.zeros((bar.height, 3000, 3), np.uint8)
    bar.draw(wide, 500_000, 123.4e6)
    # whatever is drawn from the left is the same as with room for all
    used = (out[6:] != DARK.ground).any(-1).any(0).nonzero()[0]
    assert used.size
    left = used[used < columns // 3]
    assert (out[6:, left] == wide[6:, left]).all()


def test_the_rate_of_events_is_what_came_in_the_time_that_passed() -> None:
    from spikeyolo.report.video.film import _RateMeter

    meter = _RateMeter(every=2)
    meter.begin(0)
    assert [round(meter.rate(t, n)) for t, n in [(1_000, 10), (2_000, 20), (3_000, 40), (4_000, 0)]] == [
        10_000,
        10_000,
        30_000,
        30_000,
    ]
