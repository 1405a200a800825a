"""The filter of tracked boxes against its definition as a plain loop, and its laws."""

from __future__ import annotations

import numpy as np
import pytest

from spikeyolo.tracking.motion import SIZE_CHANGE, ConstantVelocity, LastBox

VALUES = {"box_noise": 0.1, "initial_speed": 10.0, "speed_change": 2.0, "turn": 0.2, "gate": 5.0}
Step = tuple[float, np.ndarray | None]


def by_definition(first: np.ndarray, steps: list[Step], *, turn: float = VALUES["turn"]) -> tuple[np.ndarray, float]:
    """Position, velocity and covariance of each side, with matrices; and the cost of the last box."""
    share = np.array([1, 1, SIZE_CHANGE, SIZE_CHANGE])
    size = np.sqrt(first[2] * first[3])
    state = np.column_stack((first, np.zeros(4)))
    spread = [np.diag([(0.1 * size) ** 2, (10.0 * size * share[side]) ** 2]) for side in range(4)]
    cost = 0.0
    for dt, box in steps:
        area, speed = state[2, 0] * state[3, 0], np.hypot(*state[:2, 1])
        q = (2.0**2 * area + turn**2 * speed**3 / np.sqrt(area)) * share**2
        move = np.array([[1, dt], [0, 1]])
        for side in range(4):
            noise = q[side] * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
            state[side] = move @ state[side]
            spread[side] = move @ spread[side] @ move.T + noise
        if box is None:
            continue
        r = 0.01 * state[2, 0] * state[3, 0]
        cost = 0.0
        for side in range(4):
            s = spread[side][0, 0] + r
            away = box[side] - state[side, 0]
            cost += away**2 / s + np.log(s / r)
        for side in range(4):
            s = spread[side][0, 0] + r
            gain = spread[side][:, 0] / s
            state[side] = state[side] + gain * (box[side] - state[side, 0])
            spread[side] = spread[side] - np.outer(gain, spread[side][0])
    return state, cost


def run(motion: ConstantVelocity, first: np.ndarray, steps: list[Step]) -> float:
    motion.add(first[None])
    cost = 0.0
    for dt, box in steps:
        motion.advance(round(dt * 1e6))
        if box is not None:
            cost = float(motion.cost(np.zeros(1, np.int64), box[None])[0])
            motion.correct(np.zeros(1, np.int64), box[None])
    return cost


@pytest.mark.parametrize("seed", range(3))
def test_the_filter_and_its_cost_are_those_of_the_matrices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = np.array([50.0, 60.0, 20.0, 30.0])
    steps: list[Step] = []
    for k in range(30):
        box = first + np.array([3.0 * k, -2.0 * k, 0, 0]) + rng.normal(0, 1, 4)
        steps.append((float(rng.choice([0.001, 0.01, 0.033])), None if rng.random() < 0.3 else box))
    steps.append((0.01, first + np.array([90.0, -60, 0, 0])))
    motion = ConstantVelocity(**VALUES)
    cost = run(motion, first, steps)
    state, expected = by_definition(first, steps)
    np.testing.assert_allclose(motion.position[0], state[:, 0], rtol=1e-9)
    np.testing.assert_allclose(motion.velocity[0], state[:, 1], rtol=1e-9)
    assert cost == pytest.approx(expected, rel=1e-9)


def test_two_steps_are_one_of_twice_the_time() -> None:
    first = np.array([50.0, 60.0, 20.0, 30.0])
    seen: list[Step] = [(0.01, first + np.array([k, -k, 0, 0])) for k in range(1, 6)]
    after = first + np.array([14.0, -14.0, 0, 0])
    costs, positions = [], []
    for steps in ([0.08], [0.04, 0.04], [0.02] * 4, [0.01] * 8):
        motion = ConstantVelocity(**VALUES)
        run(motion, first, seen)
        for dt in steps:
            motion.advance(round(dt * 1e6))
        positions.append(motion.position[0].copy())
        costs.append(float(motion.cost(np.zeros(1, np.int64), after[None])[0]))
    np.testing.assert_allclose(positions, [positions[0]] * 4, rtol=1e-9)
    assert costs == pytest.approx([costs[0]] * 4, rel=1e-6)


def test_rows_are_filters_of_their_own_and_are_forgotten_alone() -> None:
    rng = np.random.default_rng(0)
    boxes = np.column_stack((rng.uniform(0, 300, (5, 2)), rng.uniform(10, 40, (5, 2))))
    together = ConstantVelocity(**VALUES)
    together.add(boxes)
    together.advance(10_000)
    moved = boxes + 2
    together.correct(np.array([0, 2, 4]), moved[[0, 2, 4]])
    together.keep(np.array([True, False, True, True, False]))
    assert len(together) == 3
    for row, k in enumerate([0, 2, 3]):
        alone = ConstantVelocity(**VALUES)
        run(alone, boxes[k], [(0.01, moved[k] if k != 3 else None)])
        np.testing.assert_allclose(together.position[row], alone.position[0])
        np.testing.assert_allclose(together.velocity[row], alone.velocity[0])


def test_the_last_boxes_cost_is_one_less_the_overlap() -> None:
    motion = LastBox(min_iou=0.3)
    motion.add(np.array([[10.0, 10, 20, 20]]))
    row = np.zeros(3, np.int64)
    found = np.array([[10.0, 10, 20, 20], [20.0, 10, 20, 20], [100.0, 10, 20, 20]])
    np.testing.assert_allclose(motion.cost(row, found), [0, 1 - 1 / 3, 1])
    assert motion.limit == pytest.approx(0.7)
