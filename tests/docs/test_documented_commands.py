"""Every command of README, of the pages and of the studies is one that exists, composes and passes its checks.

Nothing runs here: each option does, at its smallest size, in ``test_documented_runs.py``, and README's tour as it
stands in ``test_tour.py``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from documented import GENERATED, REPOSITORY, Command, commands, pages, shell_blocks, split
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf, open_dict

from spikeyolo import schema
from spikeyolo.__main__ import COMMANDS
from spikeyolo.compare import with_runs
from spikeyolo.entry import config_directory
from spikeyolo.errors import ConfigError
from spikeyolo.train import GROUPS

if not (REPOSITORY / "docs").is_dir():
    pytest.skip("docs/ is not part of this distribution", allow_module_level=True)

EVERY = [command for path in pages() for command in commands(path)]
OURS = [command for command in EVERY if command.module is not None]
passed: set[tuple[str, ...]] = set()  # many pages have the same commands
FLAGS = {"-m", "--multirun", "--help", "--resolve", "--info"}
FLAGS_WITH_A_VALUE = {"--cfg", "--config-dir", "--config-name", "-sc"}


def test_there_are_commands_to_check() -> None:
    assert len(OURS) > 100
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 300
    assert {"README.md", "docs/guide/train.md", "docs/datasets/gen1.md"} <= {command.page for command in OURS}


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_every_command_of_a_page_composes_and_passes_the_checks(page: Path) -> None:
    for command in commands(page):
        if command.module is None:
            continue
        assert command.module in COMMANDS, f"{command}: there is no such command"
        if command.words in passed:
            continue
        try:
            check(command)
        except Exception as error:
            raise AssertionError(f"{command}\n{type(error).__name__}: {error}") from error
        passed.add(command.words)


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_every_script_that_a_page_runs_is_there(page: Path) -> None:
    for command in commands(page):
        for word in command.words:
            if word.startswith("experiments/") and "…" not in word:
                assert (REPOSITORY / word).exists(), str(command)
            if word.startswith("experiments."):
                assert (REPOSITORY / f"{word.replace('.', '/')}.py").is_file(), str(command)


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_every_file_that_a_page_links_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\((?!\w+:|#|/)([^)\s#]+)", re.sub(r"(?s)```.*?```", "", page.read_text()))
    generated = tuple(f"docs/{folder}/" for folder in GENERATED)
    for link in links:
        target = Path(os.path.normpath(page.parent / link))
        if not target.relative_to(REPOSITORY).as_posix().startswith(generated):  # the site's build checks those
            assert target.exists(), f"{page}: {link}"


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_every_command_can_be_pasted_into_zsh(page: Path) -> None:
    text = page.read_text()
    inline = [code for code in re.findall(r"`([^`\n]+)`", text) if code.startswith(("python ", "pip "))]
    for block in (*shell_blocks(text), *inline):
        for line in block.splitlines():
            bare = re.sub(r"'[^']*'|\"[^\"]*\"|#.*", "", line)
            assert not re.search(r"[\[\](){}*?]", bare), f"zsh would expand this: {line}"


def test_a_command_with_a_key_that_does_not_exist_is_found_out() -> None:
    for line in (
        "python -m spikeyolo.train optimizer.rl=1",
        "python -m spikeyolo.train data.batch_size=none",
        "python -m spikeyolo.train +experiment=slow",
        "python -m spikeyolo.train -m +experiment=smoke optimizer=sgd,adamv",
        "python -m spikeyolo.evaluate checkpoint=RUN windows=some",
        "python -m spikeyolo.train -m +search=highfreq hydra.sweeper.trials=3",
    ):
        (words,) = split(line)
        with pytest.raises(Exception, match=r"rl|batch_size|slow|adamv|windows|trials"):
            check(Command("here", tuple(words)))


def table_cells() -> Iterator[tuple[str, str]]:
    """What the tables of README and ``coming_from.md`` give as our overrides: ``(page, code)``."""
    for name in ("README.md", "docs/guide/coming_from.md"):
        text = (REPOSITORY / name).read_text()
        text = text.partition("## Coming from")[2].partition("\n## ")[0] if name == "README.md" else text
        for row in re.findall(r"(?m)^\|(.*)\|$", text):
            for code in re.findall(r"`([^`]+)`", row.split("|")[-1]):
                yield name, code


def test_every_override_that_stands_for_another_programs_flag_composes() -> None:
    found = list(table_cells())
    assert len(found) > 40
    together: list[list[str]] = []  # overrides that do not meet
    for _, code in found:
        words = [word for word in code.split() if "=" in word]
        added = [] if any(word.startswith("scheduler=") for word in words) else _scheduler_of(words)
        if any(word.startswith("optimizer.momentum") for word in words):
            added.append("optimizer=sgd")
        names = [f"{word}=x" if "=" not in word and word.startswith("hydra.") else word for word in words]
        if any(word.startswith("hydra") for word in names):
            added.append("hydra/sweeper=optuna")
        whole = [*added, *names]
        free = next((one for one in together if not _meet(one, whole)), None)
        if free is None:
            together.append(whole)
        else:
            free += whole
    assert 5 < len(together) < len(found)
    for one in together:
        check(Command("of a table", ("python", "-m", "spikeyolo.train", *one)))


def _meet(some: list[str], others: list[str]) -> bool:
    """Whether overrides are about one key, or one is about a key of a group that another chooses."""
    keys, other_keys = ([re.split("=", word.lstrip("+~"))[0] for word in words] for words in (some, others))
    parts = [
        (one, other) for one in keys for other in other_keys if re.split("[./]", one)[0] == re.split("[./]", other)[0]
    ]
    return any(one == other or "." not in one or "." not in other for one, other in parts)


def _scheduler_of(words: list[str]) -> list[str]:
    """The schedule that has the keys which a row sets, where it does not choose one."""
    keys = [word.partition("=")[0] for word in words if word.startswith("scheduler.")]
    return ["scheduler=cyclic"] if any(key in ("scheduler.rise", "scheduler.max_lr") for key in keys) else []


def check(command: Command) -> None:
    """Compose what a command would, and check it as far as its command does before anything is read.

    Raises:
        Exception: whatever is wrong with it.
    """
    module = command.module
    assert module is not None
    overrides, searchpath, other = arguments(command)
    if module == "upload" or other or not command.arguments:  # a bare name in a text is no command to run
        return
    if module == "compare":
        overrides = with_runs(overrides)
    elif not all("=" in word or word.startswith("~") for word in overrides):
        raise ConfigError(f"{module}: {overrides}: expected KEY=VALUE")
    keys = {word.partition("=")[0] for word in overrides}
    if module == "evaluate" and "data" not in keys and any(key.startswith("data.") for key in keys):
        overrides.append("data=etram")  # in place of the data of a run that is not there
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        for each in expanded(overrides):
            config = compose(module, [*searchpath, *each], return_hydra_config=True)
            checked(module, config, whole="…" not in command.words)


def arguments(command: Command) -> tuple[list[str], list[str], bool]:
    """Overrides; a search path for configurations beside ours; whether it is another configuration that is run."""
    overrides: list[str] = []
    searchpath: list[str] = []
    other = False
    words = iter(command.arguments)
    for word in words:
        if word in FLAGS:
            continue
        if word in FLAGS_WITH_A_VALUE:
            value = next(words)
            if word == "--config-dir" and (REPOSITORY / value).is_dir():
                searchpath = [f"hydra.searchpath=[file://{REPOSITORY / value}]"]
            other = other or word == "--config-name"
        elif word not in ("…", ">", "-"):
            overrides.append(word)
    return overrides, searchpath, other


def expanded(overrides: list[str]) -> Iterator[list[str]]:
    """A sweep's overrides as single runs: with the first value of every parameter, and with the last."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    values = [list(_values(override)) for override in parsed]
    yield [each[0] for each in values]
    if any(len(each) > 1 for each in values):
        yield [each[-1] for each in values]


def _values(override: Override) -> Iterator[str]:
    assert override.input_line is not None
    if not override.is_sweep_override():
        yield override.input_line
        return
    key = override.input_line.partition("=")[0]
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        yield f"{key}={sweep.start}"
        yield f"{key}={sweep.end}"
    else:
        for value in override.sweep_string_iterator():
            yield f"{key}={value}"


def checked(module: str, config: DictConfig, *, whole: bool) -> None:
    """As the command checks it, once what only its user can name is there."""
    options = getattr(import_module(f"spikeyolo.{module}"), "OPTIONS", None)
    OmegaConf.set_readonly(config, False)
    OmegaConf.set_readonly(config.hydra, False)
    with open_dict(config):
        config.pop("hydra")
    if options is None:
        schema.check(config, groups=GROUPS)
        return
    missing = [key for key in options if OmegaConf.is_missing(config, key)]
    asked = module == "predict" and config.get("demo")
    assert not missing or asked or not whole, f"{', '.join(missing)} must be given"
    schema.checked_options(config, {key: hint for key, hint in options.items() if key not in missing})
    nodes = {str(key): config[key] for key in config if not OmegaConf.is_missing(config, str(key))}
    built = {key: OmegaConf.to_container(node) for key, node in nodes.items() if OmegaConf.is_dict(node)}
    schema.check(OmegaConf.create(built))
