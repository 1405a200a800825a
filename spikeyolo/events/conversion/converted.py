"""A data set that ``spikeyolo.convert`` wrote, read by its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Interval

from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.events.conversion.manifest import Published, read_published
from spikeyolo.events.splits import Role, check_share, drawn
from spikeyolo.events.store import Recording
from spikeyolo.events.store.location import normalise


class ConvertedSet:
    """A converted set, on a disk or in a remote store.

    Args:
        root: the ``out`` of the conversion.
        classes: names, in the order of class ids, of those that it was converted with; None takes all.
        train_split, val_split, test_split: which splits train, validate and test.
        val_share: share of the training recordings that validates instead, for sets without a validation split.
        split_seed: draws them.
    """

    def __init__(
        self,
        *,
        root: str,
        classes: Sequence[str] | None = None,
        train_split: str = "train",
        val_split: str = "val",
        test_split: str = "test",
        val_share: Annotated[float, Interval(gt=0, lt=1)] | None = None,
        split_seed: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.root = normalise(root)
        self._classes = None if classes is None else tuple(classes)
        self.splits: dict[Role, str] = {"train": train_split, "val": val_split, "test": test_split}
        self.val_share = val_share
        self.split_seed = split_seed
        self._published: dict[str, Published] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The selected classes, or else all with which the set was converted.

        Raises:
            RecordingError: there is no converted set, or no recording of it is labelled.
        """
        if self._classes is None:
            labelled = [item.attributes["classes"] for item in self._set().values() if item.attributes["labelled"]]
            if not labelled:
                raise RecordingError(f"{self.root}: no recording of the set has labels; expected labelled recordings")
            self._classes = tuple(dict.fromkeys(name for names in labelled for name in names))
        return self._classes

    def recordings(self, role: Role, *, progress: object = None) -> list[Recording]:
        """The stored recordings of a role, in order of their names; nothing is left to be made.

        Raises:
            RecordingError: there is no converted set, or no recording of this split in it.
            ConfigError: one was converted without a class that is selected, so that nobody knows of its objects; or
                ``val_share`` does not fit the set.
        """
        chosen = self._chosen(role, self._set())
        for name, item in chosen.items():
            classes = item.attributes["classes"]
            unknown = [kind for kind in self.classes if kind not in classes] if item.attributes["labelled"] else []
            if unknown:
                raise ConfigError(
                    f"classes: found {', '.join(unknown)}; expected names out of {', '.join(classes)}, with which "
                    f"{name} was converted"
                )
        return [item.open(self.root) for item in chosen.values()]

    def _set(self) -> dict[str, Published]:
        if self._published is None:
            self._published = read_published(self.root)
        if not self._published:
            raise RecordingError(
                f"{self.root}: no converted set; expected the out of python -m spikeyolo.convert, of this version"
            )
        return self._published

    def _chosen(self, role: Role, published: dict[str, Published]) -> dict[str, Published]:
        splits = {item.split for item in published.values()}
        split = self.splits[role]
        if self.val_share is not None and role != "test":
            check_share(self.splits["train"], self.splits["val"], splits)
            pool = self.splits["train"] if self.splits["train"] in splits else ""
            names = [name for name, item in published.items() if item.split == pool]
            val = drawn(names, self.val_share, self.split_seed, where=str(self.root))
            return {name: published[name] for name in names if (name in val) == (role == "val")}
        chosen = {name: item for name, item in published.items() if item.split == split}
        if not chosen:
            found = ", ".join(sorted(splits - {""})) or f"{len(published)} recordings of no split"
            advice = "add data.val_share=0.2 to draw the validation recordings"
            advice += "" if splits - {""} else ", or convert again with split=train and split=val"
            if role == "test":
                advice = "convert those with splits=[test] or split=test into the same set, or name data.test_split"
            raise RecordingError(f"{self.root}: no recordings of split {split!r} (found {found}); {advice}")
        return chosen
