"""The data set of ``experiments/etram_like``: the same on every machine, its labels where its events are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from at_once import at_once
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from experiments.equal_updates import Trained
from experiments.etram_like import street
from experiments.etram_like.dataset import EtramLike, is_night
from experiments.etram_like.equal_steps import ARMS, composed, outputs
from experiments.etram_like.neurons import Probe
from experiments.etram_like.sprites import CLASSES, PHASES, draw
from experiments.etram_like.table import passed, summarise
from experiments.etram_like.yolo import score, write_images
from spikeyolo import schema
from spikeyolo.entry import config_directory
from spikeyolo.events.types import Boxes, Events
from spikeyolo.model.neuron import Ilif
from spikeyolo.train import GROUPS

HERE = Path(__file__).parents[1] / "experiments" / "etram_like" / "conf"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(street, "DURATION_US", 200_000)


def simulate(number: int, seed: int = 0) -> tuple[Events, Boxes]:
    return EtramLike(root="unused", classes=CLASSES, seed=seed).simulate("train", number)


def test_a_recording_is_the_same_whenever_it_is_made_and_unlike_every_other() -> None:
    (events, boxes), (again, boxes_again) = simulate(1), simulate(1)
    assert len(events) > 5000
    for name in ("t", "x", "y", "p"):
        np.testing.assert_array_equal(getattr(events, name), getattr(again, name))
    np.testing.assert_array_equal(boxes.xyxy, boxes_again.xyxy)
    other, _ = simulate(1, seed=1)
    assert len(other) != len(events)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_boxes_lie_where_the_events_are(number: int) -> None:
    events, boxes = simulate(number)
    assert len(boxes) > 4

    def share(dx: float, dy: float) -> float:
        """Of the events of 20 ms before each label, within boxes that were moved."""
        found = total = 0
        for t in np.unique(boxes.t):
            rows = boxes.xyxy[boxes.t == t]
            recent = (events.t >= t - 20_000) & (events.t < t)
            x, y = events.x[recent] + 0.5, events.y[recent] + 0.5
            width, height = (rows[:, 2:] - rows[:, :2]).T
            left, right = rows[:, 0] + dx * width, rows[:, 2] + dx * width
            top, bottom = rows[:, 1] + dy * height, rows[:, 3] + dy * height
            inside = (x[:, None] >= left) & (x[:, None] <= right) & (y[:, None] >= top) & (y[:, None] <= bottom)
            found, total = found + int(inside.any(1).sum()), total + len(x)
        return found / total

    here = share(0, 0)
    area = (boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]).prod(1).sum() / len(np.unique(boxes.t))
    assert here > 2 * area / (street.WIDTH * street.HEIGHT)  # twice what chance puts there, in a night's noise too
    assert all(share(dx, dy) < here for dx, dy in ((0.4, 0), (-0.4, 0), (0, 0.4), (0, -0.4)))


def test_boxes_are_in_the_frame_at_the_label_times_with_one_class_a_track() -> None:
    _, boxes = simulate(0)
    assert set(boxes.t.tolist()) <= {33_333, 66_667, 100_000, 133_333, 166_667, 199_999}
    assert (boxes.xyxy[:, :2] >= 0).all()
    assert (boxes.xyxy[:, 2:] <= [street.WIDTH, street.HEIGHT]).all()
    assert (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all()
    for track in set(boxes.track_id.tolist()):
        assert len(set(boxes.class_id[boxes.track_id == track].tolist())) == 1


def test_nights_are_noisier_than_days() -> None:
    assert [is_night(number) for number in range(3)] == [False, False, True]

    def in_the_sky(number: int) -> int:  # where no road user is
        return int((simulate(number)[0].y < 20).sum())

    assert in_the_sky(2) > 3 * in_the_sky(1) > 0


@pytest.mark.parametrize("kind", CLASSES)
def test_a_sprite_turned_round_is_its_mirror_image_and_its_edges_hold_its_body(kind: str) -> None:
    sprite = draw(kind, 30.0, False, np.random.default_rng(0))
    turned = sprite.mirrored()
    assert sprite.value.shape == sprite.cover.shape == turned.cover.shape
    assert len(sprite.edges) == PHASES
    for cover, (left, top, right, bottom) in [*zip(sprite.cover, sprite.edges), *zip(turned.cover, turned.edges)]:
        rows, columns = np.nonzero(cover > 0.95)
        assert left <= columns.min() + 1
        assert columns.max() <= right
        assert top <= rows.min() + 1
        assert rows.max() <= bottom
    np.testing.assert_array_equal(turned.mirrored().value, sprite.value)


@pytest.mark.parametrize("arm", sorted(path.stem for path in (HERE / "arm").glob("*.yaml")))
def test_every_arm_of_the_equal_time_runs_is_a_valid_configuration(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALF", "5.0")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        chosen = ["+experiment=etram", "data=etram_like", f"+arm={arm}", "hydra.sweep.dir=runs"]
        config = compose("train", [f"hydra.searchpath=[file://{HERE}]", *chosen], return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    schema.check(config, groups=GROUPS)
    assert config.name == arm
    if arm in ("twin_first", "distilled"):
        assert config.model.pretrained == "runs/twin_half_s0/checkpoints/best/weights.safetensors"
        assert config.trainer.max_minutes == 5.0
    if arm == "distilled":
        assert config.loss.teacher == "runs/twin_half_s0/checkpoints/best"


@pytest.mark.parametrize("arm", [*sorted(arm for arm in ARMS if not arm.startswith("branch")), "branch0.2_ilif"])
def test_every_arm_of_the_equal_steps_builds_its_neurons(arm: str) -> None:
    config = composed(["model=femto", *ARMS[arm]])
    schema.check(config, groups=GROUPS)
    spikes, _ = schema.build(config.model, num_classes=3).backbone.down2.neuron(torch.randn(2, 1, 3, 4, 4) * 2)
    assert float(spikes.detach().min()) == 0.0
    assert float(spikes.detach().max()) > 1.0


def test_a_probe_with_its_own_values_is_the_neuron() -> None:
    currents = torch.randn(4, 2, 3, 5, generator=torch.Generator().manual_seed(0)) * 3
    results = []
    for neuron in (Ilif(surrogate_margin=0.5, gain=2.0), Probe(surrogate_margin=0.5, gain=2.0)):
        leaf = currents.clone().requires_grad_()
        spikes, _ = neuron(leaf)
        (spikes * currents).sum().backward()
        results.append((spikes.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


def test_training_makes_and_converts_the_set_on_first_use_and_finds_it_again(tmp_path: Path) -> None:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        small = ["data.dataset.train_recordings=2", "data.dataset.val_recordings=1", "data.batch_size=2"]
        places = [f"data.root={tmp_path}", "data.store=${data.root}/store"]
        config = compose("train", [f"hydra.searchpath=[file://{HERE}]", "data=etram_like", *places, *small])
    data = schema.build(config.data)
    batch = next(data.train_loader(augmentation=None, seed=0).epoch(0))
    assert batch.frames.shape == (8, 2, 2, 240, 304)
    assert int(batch.frames.sum()) > 0
    made = sorted(path for path in tmp_path.rglob("*.h5"))
    assert [path.name for path in made] == ["train_day_0000.h5", "train_day_0001.h5"]
    before = [path.stat().st_mtime_ns for path in made]
    assert len(data.val_loader()) > 0
    again = schema.build(config.data)
    assert len(again.train_loader(augmentation=None, seed=0).dataset) > 0
    assert [path.stat().st_mtime_ns for path in made] == before


BEFORE = """
from experiments.etram_like import street
from experiments.etram_like.dataset import EtramLike
from experiments.etram_like.sprites import CLASSES
from multiprocessing import Barrier
street.DURATION_US = 200_000
met, simulate = Barrier(3), EtramLike.simulate
EtramLike.simulate = lambda self, *which: (simulate(self, *which), met.wait(200))[0]  # all write at the same time
"""


def test_three_that_make_the_set_at_once_find_it_whole_and_leave_nothing_else(tmp_path: Path) -> None:
    make = "assert len(EtramLike(root=sys.argv[1], classes=CLASSES, train_recordings=1).sources('train')) == 1"
    assert at_once(BEFORE, make, tmp_path) == (0, "")
    events, boxes = simulate(0)
    path = EtramLike(root=str(tmp_path), classes=CLASSES).path("train", 0)
    np.testing.assert_array_equal(np.load(path.with_name(f"{path.stem}_bbox.npy"))["t"], boxes.t)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["events/t"], events.t)
    assert len([found for found in tmp_path.rglob("*") if found.is_file()]) == 2


def test_the_truth_as_the_peers_detections_scores_one_and_an_empty_list_zero(tmp_path: Path) -> None:
    places = [f"data.root={tmp_path}/set", "data.store=${data.root}/store"]
    few = [f"data.dataset.{split}_recordings=1" for split in ("train", "val", "test")]
    write_images(tmp_path / "images", [*places, *few])
    found = {}
    for path in (tmp_path / "images" / "labels" / "test").glob("*.txt"):
        class_id, x, y, w, h = np.loadtxt(path, ndmin=2).reshape(-1, 5).T
        size = [street.WIDTH, street.HEIGHT]
        corners = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1) * [*size, *size]
        found[path.stem] = [[*row, 0.9, k] for row, k in zip(corners.tolist(), class_id.tolist(), strict=True)]
    assert len(found) == len(list((tmp_path / "images" / "images" / "test").glob("*.png"))) > 0
    for detections, expected in ((found, 1.0), ({}, 0.0)):
        (tmp_path / "detections.json").write_text(json.dumps(detections))
        assert score(tmp_path / "images", tmp_path)["map"] == pytest.approx(expected, abs=1e-6)


def test_outputs_are_counted_in_a_network_that_is_left_as_it_was() -> None:
    network = schema.build(composed(["model=femto"]).model, num_classes=3)
    frames = torch.poisson(torch.full((1, 2, 2, 64, 64), 2.0))
    data = SimpleNamespace(val_loader=lambda: SimpleNamespace(epoch=lambda number: [SimpleNamespace(frames=frames)]))
    mean, zeros = outputs(Trained(network, data, None, [], []))
    assert 0.0 < 1.0 - zeros <= mean  # each output that is not 0 is at least 1
    assert not any(module._forward_hooks for module in network.modules())


def finished(run: Path, map_: float, *, name: str = "best_test_aa", at: int = 2) -> None:
    """A run and one evaluation of it, as ``run.sh`` leaves them."""
    judged = run / "evaluation" / name
    (judged / "coco").mkdir(parents=True)
    (judged / "coco" / "scores.json").write_text(json.dumps({"figures": {"map": map_, "map50": 2 * map_}}))
    (judged / "costs.json").write_text(json.dumps({"energy/window_mj": 10 * map_}))
    os.utime(judged, (at, at))
    last = run / "checkpoints" / "last"
    last.mkdir(parents=True, exist_ok=True)
    (last / "state.json").write_text(
        json.dumps({"position": {"step": 50}, "settings": {"data": {"batch_size": 8}, "trainer": {"max_minutes": 1.0}}})
    )
    (run / "metrics.csv").write_text("epoch,seconds,val/map\n1,30,0.1\n2,30,\n")


def test_the_table_takes_each_runs_newest_evaluation_of_the_test_split_and_an_interval_over_seeds(
    tmp_path: Path,
) -> None:
    for seed, value in enumerate((0.2, 0.3)):
        finished(tmp_path / f"etram_s{seed}", value)
    finished(tmp_path / "etram_s1", 0.9, name="best_test_older", at=1)
    finished(tmp_path / "etram_s1", 0.8, name="best_val_bb", at=3)
    finished(tmp_path / "twin_s0", 0.4)
    (tmp_path / "published_s0").mkdir()  # trained, not yet judged
    peer = tmp_path / "yolov8n"
    (peer / "s0").mkdir(parents=True)
    (peer / "images" / "images" / "train").mkdir(parents=True)
    for number in range(3):
        (peer / "images" / "images" / "train" / f"{number}.png").touch()
    (peer / "s0.json").write_text(json.dumps({"map": 0.1, "map50": 0.15}))
    (peer / "s0" / "results.csv").write_text("epoch, time, metrics/mAP50-95(B)\n1, 60, 0.05\n2, 120, 0.1\n")
    (peer / "s0" / "costs.json").write_text(json.dumps({"energy/window_mj": 5.0}))
    *_, twin, etram, yolo = summarise(tmp_path).splitlines()
    half = 12.706 * np.std([0.2, 0.3], ddof=1) / np.sqrt(2)  # Student's t of one degree of freedom
    assert etram == f"| etram | 2 | 0.250 ± {half:.3f} | 0.500 ± {2 * half:.3f} | 2.500 ± {10 * half:.3f} | 400 |"
    assert twin == "| twin | 1 | 0.400 | 0.800 | 4.000 | 400 |"
    assert yolo == "| yolov8n | 1 | 0.100 | 0.150 | 5.000 | 6 |"
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_the_curves_minutes_are_the_clocks_or_the_share_of_the_windows_and_second_halves_begin_in_the_middle() -> None:
    assert passed("etram", [60.0, 30.0], False, 10.0) == [1.0, 1.5]
    assert passed("distilled", [60.0, 30.0], False, 10.0) == [6.0, 6.5]
    assert passed("etram", [600.0, 300.0], True, 10.0) == [5.0, 10.0]  # however slow the machine was
    assert passed("twin_half", [600.0, 300.0], True, 10.0) == [2.5, 5.0]
    assert passed("twin_first", [600.0, 300.0], True, 10.0) == [7.5, 10.0]
