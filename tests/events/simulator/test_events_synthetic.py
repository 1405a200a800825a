"""The embedded data set: seeded, labelled tightly, written once and found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.events.simulator.scene import Scene
from spikeyolo.events.simulator.shading import REACH, REACHES, SHAPES, signed_distance
from spikeyolo.events.simulator.synthetic import ROLES, SyntheticDataset
from spikeyolo.events.store import Recording

SMALL: dict[str, Any] = {
    "width": 64,
    "height": 48,
    "duration_us": 20_000,
    "size_min_px": 12.0,
    "size_max_px": 20.0,
    "train_sequences": 3,
    "val_sequences": 2,
}


def small(root: Path | str = "unused", **changes: Any) -> SyntheticDataset:
    return SyntheticDataset(root=str(root), **{**SMALL, **changes})


def lone(name: str, *, centre: tuple[float, float] = (40.0, 30.0), **changes: Any) -> Scene:
    """One bright, untextured object over a flat background, moving to the right."""
    parts: dict[str, Any] = {
        "background": np.zeros((60, 80)),
        "drift_px_s": (0.0, 0.0),
        "class_id": np.array([0]),
        "shape": np.array([SHAPES.index(name)]),
        "radius": np.array([12.0]),
        "texture": np.full((1, 51, 51), 1.0),
        "start": np.array([centre]),
        "velocity": np.array([[1000.0, 0.0]]),
        "low": np.array([[-200.0, -200.0]]),
        "high": np.array([[300.0, 300.0]]),
        "angle": np.zeros(1),
        "spin": np.zeros(1),
    }
    return Scene(**{**parts, **changes})


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31), number=st.integers(0, 100))
def test_the_same_seed_gives_the_same_events_and_boxes_bit_for_bit(seed: int, number: int) -> None:
    first, boxes = small(seed=seed).simulate("train", number)
    again, boxes_again = small(seed=seed).simulate("train", number)
    for column in "txyp":
        np.testing.assert_array_equal(getattr(first, column), getattr(again, column))
    np.testing.assert_array_equal(boxes.xyxy, boxes_again.xyxy)
    other, _ = small(seed=seed).simulate("val", number)
    assert len(other) != len(first) or not np.array_equal(other.t, first.t)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), drift=st.sampled_from([0.0, 200.0]))
def test_events_and_boxes_keep_their_invariants(seed: int, drift: float) -> None:
    dataset = small(seed=seed, background_speed_px_s=drift, label_rate_hz=1000.0, objects_max=5)
    events, boxes = dataset.simulate("train", 0)
    events.check("simulated")
    assert events.t[-1] < dataset.duration_us
    left, top, right, bottom = boxes.xyxy.T
    assert np.all((left >= 0) & (top >= 0) & (right <= 64) & (bottom <= 48))
    assert np.all((right > left) & (bottom > top))
    assert np.all(np.diff(boxes.t) >= 0)
    assert np.all(boxes.t <= events.t[-1])
    assert set(boxes.t.tolist()) <= set(range(1000, 20_001, 1000))
    assert np.all((boxes.class_id >= 0) & (boxes.class_id < 3))
    for track in np.unique(boxes.track_id):
        assert len(set(boxes.class_id[boxes.track_id == track].tolist())) == 1
        assert len(np.unique(boxes.t[boxes.track_id == track])) == np.count_nonzero(boxes.track_id == track)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_has_the_area_of_its_disc_and_stays_within_reach(shape: str) -> None:
    step = 0.02
    x, y = np.meshgrid(np.arange(-2, 2, step) + step / 2, np.arange(-2, 2, step) + step / 2)
    u, v = 0.8 * x + 0.6 * y, 0.8 * y - 0.6 * x  # askew, so that no edge follows the grid
    inside = np.array(
        [signed_distance(SHAPES.index(shape), a, b, 1.0) < 0 for a, b in zip(u.ravel(), v.ravel())]
    ).reshape(u.shape)
    assert inside.sum() * step**2 == pytest.approx(np.pi, rel=0.01)
    farthest = np.hypot(u, v)[inside].max()
    assert REACHES[SHAPES.index(shape)] - 0.03 <= farthest <= REACHES[SHAPES.index(shape)] <= REACH


def test_a_box_is_as_tight_as_a_quarter_of_a_pixel() -> None:
    boxes = lone("disc").boxes(np.array([0, 5000]), min_in_frame=0.4, min_unoccluded=0.3)
    np.testing.assert_allclose(boxes.xyxy, [[28, 18, 52, 42], [33, 18, 57, 42]], atol=0.25)


def test_a_box_ends_at_the_frame_and_vanishes_when_too_little_is_left() -> None:
    scene = lone("disc", centre=(78.0, 30.0))
    boxes = scene.boxes(np.array([0, 3000, 10_000, 40_000]), min_in_frame=0.4, min_unoccluded=0.3)
    assert boxes.t.tolist() == [0, 3000]
    np.testing.assert_allclose(boxes.xyxy[:, 2], 80.0)
    np.testing.assert_allclose(boxes.xyxy[:, 0], [66.0, 69.0], atol=0.25)


def test_an_object_hidden_behind_another_has_a_box_of_what_is_seen_or_none() -> None:
    def pair(gap: float) -> Scene:
        return lone(
            "square",
            class_id=np.array([0, 1]),
            shape=np.array([1, 1]),
            radius=np.array([12.0, 12.0]),
            texture=np.ones((2, 51, 51)),
            start=np.array([[40.0, 30.0], [40.0 + gap, 30.0]]),
            velocity=np.zeros((2, 2)) + 1e-9,
            low=np.full((2, 2), -200.0),
            high=np.full((2, 2), 300.0),
            angle=np.zeros(2),
            spin=np.zeros(2),
        )

    half = 12 * np.sqrt(np.pi) / 2
    seen = pair(10.0).boxes(np.array([0]), min_in_frame=0.4, min_unoccluded=0.3)
    assert seen.track_id.tolist() == [0, 1]
    np.testing.assert_allclose(seen.xyxy[1, [0, 2]], [40 + half, 50 + half], atol=0.26)
    hidden = pair(5.0).boxes(np.array([0]), min_in_frame=0.4, min_unoccluded=0.3)
    assert hidden.track_id.tolist() == [0]


def test_a_bright_object_moving_right_gives_on_events_in_front_and_off_events_behind() -> None:
    dataset = small(width=80, height=60, noise_rate_hz=0.0)
    events = lone("disc").film(dataset.camera, duration_us=2000, max_step_px=0.5, generator=np.random.default_rng(0))
    assert len(events) > 100
    assert events.x[events.p == 1].min() >= 40
    assert events.x[events.p == 0].max() <= 42


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**31), refractory=st.sampled_from([0.0, 300.0]))
def test_filming_only_where_objects_move_equals_filming_every_pixel(seed: int, refractory: float) -> None:
    dataset = small(seed=seed, objects_max=5, refractory_us=refractory, size_min_px=8.0)
    scene = dataset.draw_scene(np.random.default_rng(seed))
    times = scene.instants(3000, 0.5)
    film = scene.film(dataset.camera, duration_us=3000, max_step_px=0.5, generator=np.random.default_rng(seed))
    frames = dataset.camera.record(scene.render(times), times, np.random.default_rng(seed))
    assert len(film) > 0
    for column in "txyp":
        np.testing.assert_array_equal(getattr(film, column), getattr(frames, column))


def test_an_object_leaves_its_events_within_its_boxes() -> None:
    dataset = small(noise_rate_hz=0.0, objects_max=1, label_rate_hz=2000.0, label_min_in_frame=0.0)
    events, boxes = dataset.simulate("train", 1)
    inside = total = 0
    for t, (left, top, right, bottom) in zip(boxes.t, boxes.xyxy):
        recent = (events.t > t - 100) & (events.t <= t)
        x, y = events.x[recent] + 0.5, events.y[recent] + 0.5
        margin = 1.0  # an outline's pixel, and a tenth of a millisecond's way
        inside += np.count_nonzero(
            (x > left - margin) & (x < right + margin) & (y > top - margin) & (y < bottom + margin)
        )
        total += np.count_nonzero(recent)
    assert total > 500
    assert inside >= 0.99 * total


def test_a_higher_threshold_gives_fewer_events() -> None:
    counts = [len(small(contrast_threshold=c, noise_rate_hz=0.0).simulate("train", 0)[0]) for c in (0.1, 0.2, 0.4)]
    assert counts[0] > counts[1] > counts[2] > 0


def test_finer_steps_hardly_change_the_number_of_events() -> None:
    coarse, fine = (
        len(small(max_step_px=step, noise_rate_hz=0.0, refractory_us=0.0).simulate("train", 0)[0])
        for step in (0.5, 0.05)
    )
    assert coarse == pytest.approx(fine, rel=0.05)


def test_a_set_is_written_once_completed_where_it_is_not_and_found_again(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    dataset = small(tmp_path)
    paths = dataset.recordings("train", progress=lambda *state: told.append(state))
    assert [state[:2] for state in told] == [(1, 3), (2, 3), (3, 3)]
    assert [path.name for path in paths] == [f"sequence_{number:04d}.zarr" for number in range(3)]
    digest = Recording.open(paths[1]).attributes["digest"]
    kept = paths[0].stat().st_mtime_ns
    for file in sorted(paths[1].rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    paths[1].rmdir()
    again = small(tmp_path).recordings("train", progress=lambda *state: told.append(state))
    assert told[3:] == [(1, 1, "train recordings simulated")]
    assert again == paths
    assert Recording.open(paths[1]).attributes["digest"] == digest
    assert paths[0].stat().st_mtime_ns == kept
    grown = small(tmp_path, train_sequences=4).recordings("train")
    assert grown[:3] == paths
    assert small(tmp_path, seed=1).folder != dataset.folder


def test_the_three_roles_share_no_sequence(tmp_path: Path) -> None:
    dataset = small(tmp_path, test_sequences=2)
    digests = [Recording.open(path).attributes["digest"] for role in ROLES for path in dataset.recordings(role)]
    assert len(dataset.recordings("test")) == 2
    assert len(set(digests)) == len(digests)


def test_recordings_in_another_format_of_the_store_are_not_met_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = small(tmp_path).folder
    monkeypatch.setattr("spikeyolo.events.simulator.synthetic.FORMAT_VERSION", 1)
    assert small(tmp_path).folder != now


def test_a_stored_recording_is_what_was_simulated(tmp_path: Path) -> None:
    dataset = small(tmp_path, classes=["bar", "ring"])
    recording = Recording.open(dataset.recordings("val")[1])
    events, boxes = dataset.simulate("val", 1)
    assert (recording.width, recording.height, recording.classes) == (64, 48, ("bar", "ring"))
    stored = recording.slice(0, dataset.duration_us)
    for column in "txyp":
        np.testing.assert_array_equal(getattr(stored, column), getattr(events, column))
    np.testing.assert_array_equal(recording.boxes.xyxy, boxes.xyxy)
    np.testing.assert_array_equal(recording.boxes.track_id, boxes.track_id)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": ["disc", "dog"]}, r"data.classes is \['disc', 'dog'\]; expected different names out of disc"),
        ({"classes": []}, "data.classes is"),
        (
            {"speed_min_px_s": 5000.0},
            "speed_min_px_s: found 5000.0; expected at most data.dataset.speed_max_px_s, which is 4000.0",
        ),
        ({"objects_min": 9}, "data.dataset.objects_min: found 9; expected at most data.dataset.objects_max"),
    ],
)
def test_parameters_that_contradict_one_another_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        small(**changes)


def test_a_root_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="cannot be written"):
        small(tmp_path / "file").recordings("train")
