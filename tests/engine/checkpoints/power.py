"""A file system for tests whose power can be cut, or that fails, at any step of saving."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from spikeyolo.engine.checkpoints.files import Files


class PowerCut(BaseException):
    """Nothing runs after it: no handler, no cleaning up."""


class FragileFiles(Files):
    """Works on real files and remembers which of it would survive a power cut.

    Args:
        root: below which everything happens.
        at: the step, from 0, that does not happen, or only by half where it writes; None lets all happen.
        fails: the step ends in an error of the disk instead of a power cut.
    """

    _numbers = itertools.count()

    def __init__(self, root: Path, *, at: int | None = None, fails: bool = False) -> None:
        self.at, self.fails, self.steps = at, fails, 0
        self._root = root
        self._kept = root.parent / f"{root.name} kept"  # so that no identity is used twice
        self._kept.mkdir(exist_ok=True)
        self._names: dict[int, dict[str, int]] = {}  # of folders, as they were when they were synced
        self._contents: dict[int, bytes] = {}  # of files, likewise
        self._folders: set[int] = set()
        self.settle()

    def settle(self) -> None:
        """Everything that is there is on the disk."""
        for path in [self._root, *self._root.rglob("*")]:
            if not path.is_symlink():
                self._synced(path)

    def make_folder(self, path: Path) -> None:
        self._step()
        super().make_folder(path)
        self._folders.add(path.stat().st_ino)

    def write(self, path: Path, data: bytes) -> None:
        if self.steps == self.at:
            super().write(path, data[: len(data) // 2])
        self._step()
        super().write(path, data)

    def sync(self, path: Path) -> None:
        self._step()
        super().sync(path)
        self._synced(path)

    def replace(self, source: Path, target: Path) -> None:
        self._step()
        if target.exists():
            os.link(target, self._kept / str(next(self._numbers)))
        super().replace(source, target)

    def remove(self, path: Path) -> None:
        self._step()
        if path.exists():
            shutil.move(path, self._kept / str(next(self._numbers)))

    def disks(self, where: Path) -> Iterator[Path]:
        """What a machine may find when it starts again, each below ``where``: all that was done (it was only the
        process that was killed), what was synced, and every name with contents that were not synced lost or torn."""
        shutil.copytree(self._root, where / "all", symlinks=True)
        yield where / "all"
        self._rebuild(self._root.stat().st_ino, where / "synced")
        yield where / "synced"
        for kind in ("lost", "torn"):
            shutil.copytree(self._root, where / kind, symlinks=True)
            for path in self._root.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    found = self._contents.get(path.stat().st_ino)
                    torn = path.read_bytes()[: path.stat().st_size // 2] if kind == "torn" else b""
                    (where / kind / path.relative_to(self._root)).write_bytes(torn if found is None else found)
            yield where / kind

    def _step(self) -> None:
        self.steps += 1
        if self.steps - 1 == self.at:
            raise OSError(errno.EIO, os.strerror(errno.EIO)) if self.fails else PowerCut

    def _synced(self, path: Path) -> None:
        identity = path.stat().st_ino
        if path.is_dir():
            self._folders.add(identity)
            self._names[identity] = {item.name: item.stat().st_ino for item in path.iterdir() if not item.is_symlink()}
        else:
            self._contents[identity] = path.read_bytes()

    def _rebuild(self, identity: int, path: Path) -> None:
        if identity in self._folders:
            path.mkdir()
            for name, inner in self._names.get(identity, {}).items():
                self._rebuild(inner, path / name)
        else:
            path.write_bytes(self._contents.get(identity, b""))
