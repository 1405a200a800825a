"""A run that goes on does what it is told: values take effect or are refused, and all are said."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import World
from torch import nn

from spikeyolo.engine.checkpoints import settings
from spikeyolo.engine.checkpoints.checkpoint import read_state
from spikeyolo.engine.checkpoints.restore import check_data, read_training
from spikeyolo.engine.task import Stopped
from spikeyolo.engine.update.optimizer import AdamW, Sgd, build_optimizer
from spikeyolo.errors import CheckpointError, ConfigError

DETECTOR = "spikeyolo.model.detector.Detector"
COMPOSED: dict[str, Any] = {
    "seed": 0,
    "model": {"_target_": DETECTOR, "width": 0.25, "form": "integer", "pretrained": None, "neuron": {"levels": 4}},
    "data": {
        "batch_size": 8,
        "workers": 0,
        "root": "/old/disk/set",
        "dataset": {"seed": 0},
        "encoder": {"downsample": 1},
    },
    "evaluator": {"iou": 0.65},
    "optimizer": {"lr": 0.01, "weight_decay": 0.01},
    "trainer": {"max_epochs": 3, "resume": None, "select_by": "map50"},
    "loss": {"box_weight": 7.5},
}


def composed(**changes: Any) -> dict[str, Any]:
    """With ``group__key=value`` for ``group.key=value``."""
    tree = {name: dict(node) if isinstance(node, dict) else node for name, node in COMPOSED.items()}
    for key, value in changes.items():
        group, _, name = key.partition("__")
        if name:
            tree[group][name] = value
        else:
            tree[group] = value
    return tree


def fit(
    folder: Path, *, stop_at: int | None = None, optimizer: Any = None, resume: Path | None = None, **changes: Any
) -> dict[str, float]:
    """A training of 4 batches an epoch whose configuration says ``changes``."""
    given = composed(**changes)
    return World(train=4, stop_at=stop_at, described={"settings": given}).fit(
        folder,
        optimizer=optimizer,
        max_epochs=given["trainer"]["max_epochs"],
        select_by=given["trainer"]["select_by"],
        resume=None if resume is None else str(resume),
    )


def stopped(folder: Path, at: int, **values: Any) -> Path:
    with pytest.raises(Stopped) as stop:
        fit(folder, stop_at=at, **values)
    return stop.value.checkpoint


@pytest.fixture
def midway(tmp_path: Path) -> Path:
    """A checkpoint after 6 of 12 batches."""
    return stopped(tmp_path / "first", 6)


def test_a_class_that_has_moved_since_is_no_change(tmp_path: Path) -> None:
    old, new = ({"neuron": {"_target_": f"spikeyolo.model.{path}.Lif"}} for path in ("neuron_norse", "neuron"))
    checkpoint = stopped(tmp_path / "first", 6, model=old)
    fit(tmp_path / "second", resume=checkpoint, model=new)
    with pytest.raises(ConfigError, match=r"model.neuron._target_: found spikeyolo.model.neuron.Relu, where the ch"):
        fit(tmp_path / "third", resume=checkpoint, model={"neuron": {"_target_": "spikeyolo.model.neuron.Relu"}})


def test_values_of_the_optimizer_that_are_changed_take_effect(tmp_path: Path) -> None:
    checkpoint = stopped(tmp_path / "first", 6, optimizer=partial(AdamW, lr=0.01, weight_decay=0.01))
    seen: list[dict[str, Any]] = []

    def watched(groups: Any) -> torch.optim.Optimizer:
        optimizer = AdamW(groups, lr=0.02, weight_decay=0.3, beta1=0.5)
        optimizer.register_step_pre_hook(lambda *a: seen.append(dict(optimizer.param_groups[0])))  # type: ignore[arg-type]
        return optimizer

    fit(tmp_path / "second", optimizer=watched, resume=checkpoint)
    assert seen
    assert {(group["weight_decay"], group["betas"], group["initial_lr"]) for group in seen} == {
        (0.3, (0.5, 0.999), 0.02)
    }


def test_momenta_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    optimizer = partial(AdamW, lr=0.01)
    checkpoint = stopped(tmp_path / "first", 6, optimizer=optimizer)
    steps: list[float] = []

    def watched(groups: Any) -> torch.optim.Optimizer:
        built = optimizer(groups)
        built.register_step_post_hook(lambda *a: steps.append(float(next(iter(built.state.values()))["step"])))  # type: ignore[arg-type]
        return built

    fit(tmp_path / "second", optimizer=watched, resume=checkpoint)
    assert steps == [7.0, 8.0, 9.0, 10.0, 11.0, 12.0]


def test_another_kind_of_optimizer_is_refused_by_name(tmp_path: Path) -> None:
    checkpoint = stopped(tmp_path / "first", 6, optimizer=partial(AdamW, lr=0.01))
    with pytest.raises(CheckpointError, match="optimizer: found Sgd, where the checkpoint has AdamW, whose state"):
        fit(tmp_path / "second", optimizer=partial(Sgd, lr=0.01), resume=checkpoint)


def test_what_changed_is_said_and_what_did_not_is_not(
    midway: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        fit(tmp_path / "same", resume=midway, data__workers=4, data__root="/new/disk/set", trainer__resume="x")
        assert "changed since" not in caplog.text
        fit(tmp_path / "other", resume=midway, optimizer__weight_decay=0.3, loss__box_weight=5.0)
    assert (
        "changed since the checkpoint: loss.box_weight 7.5 → 5.0, optimizer.weight_decay 0.01 → 0.3" in caplog.messages
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model__neuron": {"levels": 8}}, "model.neuron.levels: found 8, where the checkpoint has 4; cannot change"),
        ({"data__encoder": {"downsample": 2}}, "data.encoder.downsample: found 2, where the checkpoint has 1; cannot"),
        ({"data__batch_size": 4}, "data.batch_size: found 4, where the checkpoint has 8; cannot change in the middle"),
        ({"seed": 1}, "seed: found 1, where the checkpoint has 0; cannot change in the middle"),
    ],
)
def test_what_cannot_change_in_mid_epoch_is_refused_by_name(
    change: dict[str, Any], words: str, midway: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        fit(tmp_path / "second", resume=midway, **change)


def test_batches_may_change_between_two_epochs_and_the_network_may_not(tmp_path: Path) -> None:
    checkpoint = stopped(tmp_path / "first", 4)  # stopped while it validates: the epoch is not over
    with pytest.raises(ConfigError, match="in the middle of an epoch"):
        fit(tmp_path / "second", resume=checkpoint, data__batch_size=4)
    fit(tmp_path / "first", trainer__max_epochs=1)
    last = tmp_path / "first" / "checkpoints" / "last"
    assert fit(tmp_path / "third", resume=last, data__batch_size=4)["epochs"] == 3
    with pytest.raises(ConfigError, match=r"model.neuron.levels"):
        fit(tmp_path / "fourth", resume=last, model__neuron={"levels": 8})


def test_how_the_network_is_executed_may_change(midway: Path, tmp_path: Path) -> None:
    assert fit(tmp_path / "second", resume=midway, model__form="binary")["epochs"] == 3


@pytest.mark.parametrize("before", [None, "first.safetensors"])
def test_other_weights_to_start_from_are_refused_where_the_checkpoints_weights_go_on(
    before: str | None, tmp_path: Path
) -> None:
    last = stopped(tmp_path / "first", 6, model__pretrained=before)
    words = f"model.pretrained: found new.safetensors, where the checkpoint has {before}; a training that goes on has"
    with pytest.raises(ConfigError, match=words):
        fit(tmp_path / "second", resume=last, model__pretrained="new.safetensors")
    for same in (before, None):  # the file that it began with may be gone by now
        assert fit(tmp_path / f"third {same}", resume=last, model__pretrained=same)["epochs"] == 3


DIGESTS = {"train": "aa", "val": "bb"}


@pytest.mark.parametrize("split", ["train", "val"])
def test_other_recordings_or_labels_under_the_same_settings_are_refused_with_both_digests(
    split: str, tmp_path: Path
) -> None:
    described = {"settings": composed(), "digests": DIGESTS}
    World(described=described).fit(tmp_path, max_epochs=1)
    last = tmp_path / "checkpoints" / "last"
    moved = {"settings": composed(data__root="/new/disk/set")}
    check_data(last, DIGESTS, moved)
    with pytest.raises(
        CheckpointError, match=f"{split}: recordings or labels with digest cc, where .* {DIGESTS[split]};"
    ):
        check_data(last, DIGESTS | {split: "cc"}, moved)
    check_data(last, DIGESTS | {split: "cc"}, {"settings": composed(data__dataset={"seed": 1})})  # on purpose


@pytest.mark.parametrize("key", ["batch_size", "time_steps", "sampling", "overlap"])
def test_other_recordings_are_refused_too_where_only_their_windows_were_changed(key: str, tmp_path: Path) -> None:
    World(described={"settings": composed(**{f"data__{key}": 0.5}), "digests": DIGESTS}).fit(tmp_path, max_epochs=1)
    last, now = tmp_path / "checkpoints" / "last", {"settings": composed(**{f"data__{key}": 0.25})}
    check_data(last, DIGESTS, now)
    with pytest.raises(CheckpointError, match="train: recordings or labels with digest cc"):
        check_data(last, DIGESTS | {"train": "cc"}, now)


def test_where_events_are_kept_once_read_may_change_in_mid_epoch(tmp_path: Path) -> None:
    last = stopped(tmp_path / "first", 6, data__cache_folder="/old/cache", data__cache_memory=0.5)
    changed = {"data__cache_folder": "/new/events", "data__cache_memory": 0.1}
    assert fit(tmp_path / "second", resume=last, **changed)["epochs"] == 3


def test_a_checkpoint_that_kept_no_digests_goes_on(tmp_path: Path) -> None:
    World(described={"settings": composed()}).fit(tmp_path, max_epochs=1)
    last = tmp_path / "checkpoints" / "last"
    assert "digests" not in read_state(last)
    check_data(last, DIGESTS, {"settings": composed()})


def test_other_classes_are_named_before_the_shapes_of_their_weights(midway: Path, tmp_path: Path) -> None:
    task = World(described={"settings": composed()}).task(tmp_path)
    task.description["classes"] = ["car", "bus"]  # type: ignore[index]
    optimizer = build_optimizer(task.optimizer, nn.Linear(3, 2))
    with pytest.raises(
        CheckpointError, match=r"a checkpoint of the classes \['car'\]; this run's are \['car', 'bus'\]"
    ):
        read_training(midway, nn.Linear(3, 2), optimizer, task.description, max_epochs=3)


def test_a_finished_run_says_so_and_measures_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = fit(tmp_path / "first")
    last = tmp_path / "first" / "checkpoints" / "last"
    caplog.clear()
    again = fit(tmp_path / "second", resume=last)
    assert {**again, "data_wait_share": 0} == {**before, "data_wait_share": 0}
    assert "finished, all 3 epochs are trained: nothing is trained or validated now" in caplog.text


@pytest.mark.parametrize("change", [{"evaluator__iou": 0.5}, {"data__batch_size": 4}, {"trainer__select_by": "map"}])
def test_a_finished_run_does_not_pass_old_figures_off_as_those_of_other_settings(
    change: dict[str, Any], tmp_path: Path
) -> None:
    fit(tmp_path / "first")
    with pytest.raises(ConfigError, match="would not take effect, since this training is finished"):
        fit(tmp_path / "second", resume=tmp_path / "first" / "checkpoints" / "last", **change)


def test_figures_of_other_settings_are_not_compared_with_those_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    World(train=4, figures=(0.9,), described={"settings": composed()}).fit(tmp_path / "first", max_epochs=1)
    last = tmp_path / "first" / "checkpoints" / "last"
    later = World(train=4, figures=(0.2, 0.3), described={"settings": composed(evaluator__iou=0.5)})
    figures = later.fit(tmp_path / "second", max_epochs=3, resume=str(last))
    assert (figures["best_epoch"], figures["val/map50"]) == (3, 0.3)
    position = read_state(tmp_path / "second" / "checkpoints" / "last")["position"]
    assert position["best_from"] == 1  # nor kept beside them
    assert "the best epoch is chosen anew" in caplog.text


def test_keys_that_only_one_version_has_are_no_change() -> None:
    assert settings.changes({"a": {"old": 1, "both": 2}}, {"a": {"new": 1, "both": 3}}) == {"a.both": (2, 3)}


def test_what_an_older_checkpoint_does_not_name_is_the_networks_default(midway: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.fine_ends: found 4, where the checkpoint has 1; cannot change"):
        fit(tmp_path / "second", resume=midway, model__fine_ends=4)
    assert (
        fit(tmp_path / "third", resume=midway, model__fine_ends=1, model__branch_scale=0.2, model__class_prior=0.01)[
            "epochs"
        ]
        == 3
    )
