"""Searches, exports and what is done with what they leave: commands of the documentation that take processes of their
own or long to trace a network. All of them run as they stand, one after the other, with as little to do as can be.

Left out are those for a cluster, several GPUs, a database server or a bucket (``NOT_HERE`` of
``test_documented_runs.py``).
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from command_line import SMOKE
from documented import Command, commands, pages
from places import make
from running import WELL, is_search, run_words
from smaller import smaller
from test_documented_runs import ELSEWHERE, OF_SEARCHES_AND_EXPORTS, is_whole, left

pytestmark = [pytest.mark.long, pytest.mark.slow]
SEARCH = (
    *(*SMOKE[1:5], "data.dataset.train_sequences=2", "data.dataset.test_sequences=2", "trainer.max_epochs=1"),
    *("trainer.threads=1", "logger=none", "hydra.sweeper.n_jobs=1", "hydra.sweeper.figures=false"),
)
OF_A_RUN = ("trainer.max_epochs=1", "trainer.threads=1", "logger=none")


def these() -> list[Command]:
    """Each once, in the order of the pages, but what an export leaves after all exports."""
    whole = [command for path in pages() for command in commands(path) if is_whole(command)]
    asked = [command for command in whole if any(re.search(what, str(command)) for what in OF_SEARCHES_AND_EXPORTS)]
    once: dict[tuple[str, ...], Command] = {}
    for command in asked:
        if not any(re.search(what, str(command)) for what in ELSEWHERE):
            once.setdefault(command.words, command)
    return sorted(once.values(), key=lambda command: command.module in ("predict", "evaluate"))


def words_of(command: Command, number: int) -> list[str]:
    words = command.arguments
    if is_search(words):
        trials = [] if "hydra/sweeper/sampler=grid" in words else ["hydra.sweeper.n_trials=1"]
        # One study is one configuration; only this one's folder is where another command looks for it.
        own = [] if {"+experiment=highfreq", "+search=highfreq"} <= set(words) else [f"hydra.sweep.dir=made/{number}"]
        return [*words, *SEARCH, *trials, *own]
    if "--config-name" in words:
        return [*words, *OF_A_RUN]
    return smaller(command, number)


def test_there_are_searches_exports_and_what_they_leave() -> None:
    found = [str(command) for command in these()]
    for what in OF_SEARCHES_AND_EXPORTS:
        assert any(re.search(what, command) for command in found), what


@pytest.mark.timeout(1800)
def test_every_search_and_every_export_of_a_page_runs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs spikeyolo[export]")
    pytest.importorskip("openvino", reason="needs spikeyolo[export]")
    place = make(tmp_path)
    wrong = []
    for number, command in enumerate(these()):
        words = words_of(command, number)
        before = left(place)
        ended = run_words(str(command.module), words, cwd=place)
        where = f"{command}\n  as {shlex.join(words)}"
        if ended.code not in WELL.get(str(command.module), (0,)):
            wrong.append(f"{where}\n  ended with {ended.code}: {ended.errors[-1500:]}")
        elif left(place) == before:
            wrong.append(f"{where}\n  left nothing: {ended.errors[-500:]}")
    assert not wrong, "\n\n".join(wrong)
