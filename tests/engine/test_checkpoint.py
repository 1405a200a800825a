"""Checkpoints: what is written is read, and nothing else is."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from spikeyolo.engine import checkpoint
from spikeyolo.errors import CheckpointError


def network(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, width, 3), nn.BatchNorm2d(width))


def saved(folder: Path) -> nn.Module:
    module = network()
    training = {"module": module.state_dict(), "optimizer": {}}
    checkpoint.save(folder, weights=module, training=training, state={"epoch": 3})
    return module


def test_weights_and_state_return_as_they_were(tmp_path: Path) -> None:
    module, other = saved(tmp_path / "last"), network()
    checkpoint.load_weights(tmp_path / "last", other)
    assert all(
        torch.equal(a, b) for a, b in zip(module.state_dict().values(), other.state_dict().values(), strict=True)
    )
    assert checkpoint.read_state(tmp_path / "last")["epoch"] == 3
    assert set(checkpoint.load_training(tmp_path / "last", other)) == {"module", "optimizer"}


def test_a_second_save_replaces_the_first_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    saved(tmp_path / "last")
    saved(tmp_path / "last")
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_a_save_that_fails_keeps_the_old_checkpoint_and_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "last")

    def full_disk(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    with pytest.raises(CheckpointError, match=r"last: the checkpoint cannot be written \(No space left"):
        saved(tmp_path / "last")
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
    checkpoint.load_weights(tmp_path / "last", network())


def test_a_checkpoint_of_another_model_is_refused_by_name_and_shape(tmp_path: Path) -> None:
    saved(tmp_path / "last")
    with pytest.raises(CheckpointError, match=r"another model .*0 entries missing.* of another shape, e.g. 0.bias"):
        checkpoint.load_weights(tmp_path / "last", network(width=4))
    with pytest.raises(CheckpointError, match="another model"):
        checkpoint.load_training(tmp_path / "last", nn.Linear(2, 2))


def test_a_folder_without_a_checkpoint_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint here .*expected a folder such as checkpoints/best"):
        checkpoint.read_state(tmp_path)


@pytest.mark.parametrize("name", ["weights.safetensors", "training.pt", "state.json"])
def test_damaged_files_are_refused_with_their_name(tmp_path: Path, name: str) -> None:
    saved(tmp_path / "last")
    path = tmp_path / "last" / name
    path.write_bytes(path.read_bytes()[:20])
    read = {
        "weights.safetensors": lambda: checkpoint.load_weights(tmp_path / "last", network()),
        "training.pt": lambda: checkpoint.load_training(tmp_path / "last", network()),
        "state.json": lambda: checkpoint.read_state(tmp_path / "last"),
    }
    with pytest.raises(CheckpointError, match=name):
        read[name]()


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (open, ("/tmp/spikeyolo-bomb", "w"))  # type: ignore[return-value]


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    saved(tmp_path / "last")
    (tmp_path / "last" / "training.pt").write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(CheckpointError, match=r"training\.pt"):
        checkpoint.load_training(tmp_path / "last", network())
    assert not Path("/tmp/spikeyolo-bomb").exists()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "last")
    path = tmp_path / "last" / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(CheckpointError, match="newer format"):
        checkpoint.read_state(tmp_path / "last")
