"""Checkpoints: what is written is read, and nothing else is."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from spikeyolo.engine.checkpoints import checkpoint
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
    names = sorted(path.name for path in (tmp_path / "last").iterdir())
    assert names == ["000002", "state.json", "weights.safetensors"]


def test_a_save_that_fails_keeps_the_old_checkpoint_and_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "last")

    def full_disk(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("spikeyolo.engine.checkpoints.files.Files.write", full_disk)
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
    (path,) = [path for path in checkpoint.paths(tmp_path / "last") if path.name == name]
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
    checkpoint.paths(tmp_path / "last")[-1].write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(CheckpointError, match=r"training\.pt"):
        checkpoint.load_training(tmp_path / "last", network())
    assert not Path("/tmp/spikeyolo-bomb").exists()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "last")
    path = tmp_path / "last" / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(CheckpointError, match="newer format"):
        checkpoint.read_state(tmp_path / "last")


def holds(folder: Path, module: nn.Module) -> bool:
    other = network()
    checkpoint.load_weights(folder, other)
    checkpoint.load_training(folder, other)
    return all(torch.equal(a, b) for a, b in zip(module.state_dict().values(), other.state_dict().values()))


def test_a_checkpoint_that_is_copied_moved_or_packed_is_the_same_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run" / "checkpoints"
    module = saved(run / "last")
    shutil.copytree(run / "last", tmp_path / "copied", symlinks=True)
    shutil.copytree(run / "last", tmp_path / "followed")  # as zip and scp do with links
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", run / "last")
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    checkpoint.copy(run / "last", tmp_path / "other" / "last")
    for name in ("copied", "followed", "unpacked", "other/last"):
        assert holds(tmp_path / name, module), name
    run.rename(tmp_path / "moved run")
    (tmp_path / "moved run" / "last").rename(tmp_path / "moved")
    assert holds(tmp_path / "moved", module)


def test_a_file_system_without_links_holds_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(self: Path, target: str, target_is_directory: bool = False) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    saved(tmp_path / "last")
    assert holds(tmp_path / "last", saved(tmp_path / "last"))
    assert sorted(path.name for path in (tmp_path / "last").iterdir()) == ["000002", "state.json"]


def test_other_programs_find_the_weights_where_they_were_in_every_version(tmp_path: Path) -> None:
    for _ in range(2):
        module = saved(tmp_path / "last")
        found = load_file(tmp_path / "last" / "weights.safetensors")
        assert torch.equal(found["0.weight"], module.state_dict()["0.weight"])


def test_files_that_an_artifact_store_keeps_side_by_side_are_a_checkpoint(tmp_path: Path) -> None:
    module = saved(tmp_path / "last")
    (tmp_path / "stored").mkdir()
    for path in checkpoint.paths(tmp_path / "last"):
        shutil.copy(path, tmp_path / "stored")
    assert holds(tmp_path / "stored", module)


def test_a_checkpoint_of_version_0_1_is_read_and_replaced(tmp_path: Path) -> None:
    module, folder = network(), tmp_path / "last"
    folder.mkdir()
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, folder / "weights.safetensors")
    torch.save({"module": module.state_dict(), "optimizer": {}}, folder / "training.pt")
    (folder / "state.json").write_text('{"format_version": 1, "best": -Infinity, "map": NaN}')
    assert holds(folder, module)
    checkpoint.copy(folder, tmp_path / "copied")
    assert holds(tmp_path / "copied", module)
    assert "NaN" not in (tmp_path / "copied" / "state.json").read_text()
    assert holds(folder, saved(folder))
    assert sorted(path.name for path in folder.iterdir()) == ["000001", "state.json", "weights.safetensors"]


def test_state_json_is_json_that_every_reader_takes(tmp_path: Path) -> None:
    state = {"best": float("-inf"), "rows": [{"map": float("nan"), "epoch": 1.0}], "pair": (float("inf"), "text")}
    checkpoint.save(tmp_path / "last", weights=network(), training=None, state=state)

    def refused(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found = json.loads((tmp_path / "last" / "state.json").read_text(), parse_constant=refused)
    assert (found["best"], found["rows"], found["pair"]) == (None, [{"map": None, "epoch": 1.0}], [None, "text"])


@pytest.mark.parametrize(
    ("mask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0o002, 0o664, 0o775)]
)
def test_files_have_the_mode_that_the_umask_gives(tmp_path: Path, mask: int, file: int, folder: int) -> None:
    before = os.umask(mask)
    try:
        saved(tmp_path / "last")
    finally:
        os.umask(before)
    for path in (tmp_path / "last").rglob("*"):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~mask, path


def test_a_reader_meets_a_whole_checkpoint_while_its_run_replaces_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "last")
    read, replaced = checkpoint.read_state, []

    def slow(folder: Path) -> dict[str, Any]:
        state = read(folder)
        if not replaced:  # between reading which folder it is and opening it
            replaced.append(saved(tmp_path / "last"))
        return state

    monkeypatch.setattr(checkpoint, "read_state", slow)
    other = network()
    checkpoint.load_weights(tmp_path / "last", other)
    assert torch.equal(other.state_dict()["0.weight"], replaced[0].state_dict()["0.weight"])
