"""Compare runs: ``python -m spikeyolo.compare RUN RUN metric=map50``: what differs, by how much, and how sure it is."""

from __future__ import annotations

import csv
import io
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Interval, MinLen
from omegaconf import DictConfig

from spikeyolo import entry

if TYPE_CHECKING:
    from spikeyolo.report.pictures.comparison import ComparedRow

log = logging.getLogger("spikeyolo")

OPTIONS: Mapping[str, Any] = {
    "runs": Annotated[list[str], MinLen(1)],
    "metric": str,
    "split": Literal["train", "val", "test"] | None,
    "truth": str | None,
    "confidence": Annotated[float, Interval(gt=0, lt=1)],
    "draws": Annotated[int, Ge(100)],
    "seed": Annotated[int, Ge(0)],
    "force": bool,
    "tracking_uri": str | None,
    "save": list[Literal["markdown", "csv", "figure"]],
    "out": str,
    "debug": bool,
}
# Hydra's own.
OPTIONS_WITH_A_VALUE = {
    *("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    *("--cfg", "-c", "--info", "-i", "--package", "-p", "--experimental-rerun"),
}


@entry.in_a_sentence
def compare(config: DictConfig) -> None:
    """One comparison of a composed configuration."""
    run(config)


def run(config: DictConfig) -> list[ComparedRow]:
    """The comparison itself, printed and saved; errors are raised as they are."""
    from omegaconf import OmegaConf

    from spikeyolo import schema
    from spikeyolo.errors import ConfigError

    entry.quieten()
    if OmegaConf.is_missing(config, "runs"):
        raise ConfigError("compare: found no run; expected at least two, as in python -m spikeyolo.compare RUN RUN")
    options = schema.checked_options(config, OPTIONS)
    node = OmegaConf.create({"protocol": OmegaConf.to_container(config.protocol)})
    schema.check(node, groups=("protocol",))
    from spikeyolo.evaluation.comparing import compared
    from spikeyolo.evaluation.entrants import by_configuration, differing, find_entrants
    from spikeyolo.report.pictures.comparison import cells, draw_forest, markdown, print_table

    entrants = find_entrants(options["runs"], split=options["split"], tracking_uri=options["tracking_uri"])
    groups = by_configuration(entrants)
    if len(groups) == 1:
        groups = [[entrant] for entrant in entrants]  # one configuration: its seeds are held against one another
    settings = differing([group[0] for group in groups])
    rows = compared(
        groups,
        schema.build(node.protocol),
        metric=options["metric"],
        truth=None if options["truth"] is None else Path(options["truth"]),
        confidence=options["confidence"],
        draws=options["draws"],
        seed=options["seed"],
        force=options["force"],
    )
    lines = cells(rows, options["metric"], settings)
    print(print_table(lines))
    out = Path(options["out"])
    texts = {"markdown": ("comparison.md", markdown(lines)), "csv": ("comparison.csv", _csv(lines))}
    for kind in options["save"]:
        if kind == "figure":
            path = draw_forest(out / "comparison.png", rows, options["metric"], confidence=options["confidence"])
        else:
            path = _write(out / texts[kind][0], texts[kind][1])
        log.info("%s", path)
    return rows


def _csv(lines: Sequence[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()


def _write(path: Path, text: str) -> Path:
    from spikeyolo.engine.checkpoints.files import replace_text

    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, text)
    return path


def with_runs(arguments: Sequence[str]) -> list[str]:
    """Paths that exist, and words without ``=``, are runs: ``a b metric=map`` → ``runs=['a','b'] metric=map``.

    The folder of a sweep's job may be called ``lr=0.1``; what follows an option, as in ``--config-dir DIR``, is no run.
    """
    places = [
        place
        for place, (before, word) in enumerate(zip(["", *arguments], arguments))
        if before not in OPTIONS_WITH_A_VALUE and _is_run(word)
    ]
    if not places:
        return list(arguments)
    runs = [arguments[place] for place in places]
    quoted = ",".join("'" + word.replace("\\", "\\\\").replace("'", "\\'") + "'" for word in runs)
    # Where the first one stood: Hydra takes no overrides behind an option that follows others.
    words = [f"runs=[{quoted}]" if place == places[0] else word for place, word in enumerate(arguments)]
    return [word for place, word in enumerate(words) if place not in places[1:]]


def _is_run(word: str) -> bool:
    if word.startswith("-"):
        return False
    # Path.exists raises where a word is longer than a file's name may be.
    return os.path.exists(word) or ("=" not in word and not word.startswith(("+", "~")))


def main() -> None:
    """Run from a command line."""
    sys.argv[1:] = with_runs(sys.argv[1:])
    entry.run(compare, "compare")


if __name__ == "__main__":
    main()
