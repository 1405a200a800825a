"""What a prediction has found so far, in parts on the disk that survive its end, and from which it goes on.

``FOLDER/parts/000007.parquet`` holds rows, and in its metadata how far all parts so far go; ``000007.state.pt`` the
neurons' state there. A part appears whole, its state before it.
"""

from __future__ import annotations

import json
import pickle
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from spikeyolo.detections import DetectionTable, DetectionWriter
from spikeyolo.detections.files import whole_file
from spikeyolo.errors import DetectionError
from spikeyolo.prediction.detecting import Position, joined

SAVE_S = 30.0  # a part at least so often, s
MAX_ROWS = 1 << 14  # and at most about so many rows in one


@dataclass
class Reached:
    """How far a prediction is.

    Attributes:
        ended: what is to be said of each recording that is done, by name.
        current: the recording that has begun, and is not done; None: none.
        position: in it.
        embedding: length of the rows' embeddings; None: there are none, or no row yet.
        void: recordings that could not be read to their end, each with the last part that holds rows of it.
    """

    ended: dict[str, Any] = field(default_factory=dict)
    current: str | None = None
    position: Position = field(default_factory=Position)
    embedding: int | None = None
    void: dict[str, int] = field(default_factory=dict)


class Parts:
    """The parts of one prediction.

    Args:
        folder: of the parts.
        identity: of what decides the detections; parts of another identity are removed.
        classes: of the table.
        again: False removes what is there in any case.

    Attributes:
        reached: how far the parts go, and then the rows that were taken in.

    Raises:
        DetectionError: the folder cannot be written.
    """

    def __init__(
        self, folder: Path, *, identity: Mapping[str, Any], classes: tuple[str, ...], again: bool = True
    ) -> None:
        self.folder = folder
        self.classes = classes
        self.reached = Reached()
        self._identity = json.loads(json.dumps(identity))
        self._rows: list[DetectionTable] = []
        self._count = 0
        self._saved_at = time.monotonic()
        found = sorted(folder.glob("*.parquet")) if again else []
        self._number = 0
        if found:
            kept = DetectionTable.read(found[-1]).metadata
            if kept.get("identity") == self._identity:
                self._number = int(found[-1].stem)
                at = kept["position"]
                position = Position(at["windows"], at["until_us"], at["span_us"] and tuple(at["span_us"]))
                self.reached = Reached(kept["ended"], kept["current"], position, kept["embedding"], kept["void"])
        if not self._number:
            self.remove()

    def restore(self, template: Any) -> None:
        """Bring back the neurons' state.

        Args:
            template: a state of the same network.

        Raises:
            DetectionError: it is not there, or another network's.
        """
        file = self._state_file(self._number)
        leaves, tree = pytree.tree_flatten(template)
        try:
            stored = torch.load(file, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise DetectionError(
                f"{file}: cannot be read; expected the neurons' state (fresh=true begins again)"
            ) from error
        if len(leaves) != len(stored):
            raise DetectionError(
                f"{file}: holds {len(stored)} states; expected {len(leaves)} (fresh=true begins again)"
            )
        device = next((leaf.device for leaf in leaves if isinstance(leaf, torch.Tensor)), None)
        values = [value.to(device) if isinstance(value, torch.Tensor) else value for value in stored]
        self.reached.position.state = pytree.tree_unflatten(values, tree)

    def append(self, table: DetectionTable) -> None:
        """Take in rows; now and then they become a part."""
        if table.embedding is not None:
            self.reached.embedding = table.embedding.shape[1]
        self._rows.append(table)
        self._count += len(table)
        if self._count >= MAX_ROWS or time.monotonic() - self._saved_at >= SAVE_S:
            self.save()

    def save(self) -> None:
        """Make a part of the rows since the last one.

        Raises:
            DetectionError: it cannot be written.
        """
        reached, number = self.reached, self._number + 1
        if reached.current is not None and reached.position.state is not None:
            leaves, _ = pytree.tree_flatten(reached.position.state)
            with whole_file(self._state_file(number)) as partial:
                torch.save(leaves, partial)
        metadata = {
            "identity": self._identity,
            "ended": reached.ended,
            "current": reached.current,
            "position": {key: getattr(reached.position, key) for key in ("windows", "until_us", "span_us")},
            "embedding": reached.embedding,
            "void": reached.void,
        }
        by_name: dict[str, list[DetectionTable]] = {}
        for table in self._rows:
            by_name.setdefault(table.recordings[0], []).append(table)
        file = self.folder / f"{number:06d}.parquet"
        with DetectionWriter(file, classes=self.classes, embedding=reached.embedding, metadata=metadata) as writer:
            for tables in by_name.values():
                rows = joined(tables)
                if len(rows):
                    writer.append(rows)
        self._state_file(self._number).unlink(missing_ok=True)
        self._number, self._rows, self._count, self._saved_at = number, [], 0, time.monotonic()

    def discard(self, name: str) -> None:
        """Forget the rows of a recording."""
        self._rows = [table for table in self._rows if table.recordings[0] != name]
        self.reached.void[name] = self._number

    def tables(self) -> Iterator[DetectionTable]:
        """The rows of all parts, in order."""
        for file in sorted(self.folder.glob("*.parquet")):
            table = DetectionTable.read(file)
            void = [self.reached.void.get(name, 0) >= int(file.stem) for name in table.recordings]
            yield table[~np.array(void, np.bool_)[table.recording]] if any(void) else table

    def remove(self) -> None:
        """Remove them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _state_file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.state.pt"
