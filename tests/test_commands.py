"""Commands: all are listed, installed as scripts too, complete with the tab key, and answer at once to nothing."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from command_line import environment, run_folder, train

from spikeyolo.__main__ import COMMANDS, COMPLETION
from spikeyolo.suggest import elsewhere

SCRIPTS = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["scripts"]


def python(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment() | variables, capture_output=True, text=True, timeout=60
    )


def test_every_command_is_a_script_and_every_script_can_be_called() -> None:
    assert set(SCRIPTS) == {"spikeyolo", *(f"spikeyolo-{name}" for name in COMMANDS)}
    for target in SCRIPTS.values():
        assert callable(pkgutil.resolve_name(target))


def test_the_package_lists_its_commands_and_names_the_one_that_was_meant(tmp_path: Path) -> None:
    listed = python("-m", "spikeyolo", cwd=tmp_path)
    assert listed.returncode == 0
    assert all(f"python -m spikeyolo.{name}" in listed.stdout for name in COMMANDS)
    asked = python("-m", "spikeyolo", "train", cwd=tmp_path)
    assert asked.returncode == 2
    assert "python -m spikeyolo.train" in asked.stderr
    assert "expected one of train" in python("-m", "spikeyolo", "trian", cwd=tmp_path).stderr


def test_the_tab_key_completes_options_of_a_group(tmp_path: Path) -> None:
    line = "spikeyolo-train optimizer="
    script = "import sys; from spikeyolo.train import main; sys.argv[0] = 'spikeyolo-train'; main()"
    completed = python("-c", script, "-sc", "query=bash", cwd=tmp_path, COMP_LINE=line, COMP_POINT=str(len(line)))
    options = sorted(file.stem for file in (Path(__file__).parents[1] / "conf" / "optimizer").glob("*.yaml"))
    assert len(options) > 1
    assert completed.stdout.split() == [f"optimizer={option}" for option in options]


def test_export_without_arguments_asks_for_the_checkpoint_before_torch_is_imported(tmp_path: Path) -> None:
    script = "import sys; from spikeyolo.export import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    ended = python("-c", script, cwd=tmp_path)
    assert ended.stderr.startswith("error: checkpoint: found nothing")
    assert ended.stdout.split() == ["False"]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("lr", "optimizer.lr"),
        ("batch", "data.batch_size"),
        ("sed", None),
        ("data.root", "root"),
        ("lrr", "optimizer.lr"),
    ],
)
def test_a_key_is_found_by_its_last_name(key: str, meant: str | None) -> None:
    tree = {"optimizer": {"lr": 1}, "data": {"batch_size": 2}, "root": 3, "hydra": {"sed": 4}}
    assert elsewhere(key, tree) == meant


def test_a_runs_folder_ends_in_its_name(tmp_path: Path) -> None:
    train("logger=none", "name=night", "trainer.max_epochs=0", cwd=tmp_path)
    assert run_folder(tmp_path).name.endswith("-night")


def test_one_line_lets_the_tab_key_complete_every_command(tmp_path: Path) -> None:
    scripts = Path(sys.executable).parent
    if not (scripts / "spikeyolo-train").is_file():
        pytest.skip("the commands are not installed as scripts here")
    guide = Path(__file__).parents[1] / "docs" / "guide" / "train.md"
    assert f"\n{COMPLETION}\n" in guide.read_text()
    assert COMPLETION in python("-m", "spikeyolo", cwd=tmp_path).stdout
    ended = subprocess.run(
        ["bash", "-c", f"{COMPLETION}\ncomplete -p"],
        cwd=tmp_path,
        env=environment() | {"PATH": f"{scripts}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.stderr == ""
    completed = {line.rpartition(" ")[2] for line in ended.stdout.splitlines() if "hydra_bash_completion" in line}
    assert completed == {f"spikeyolo-{name}" for name in COMMANDS if name != "upload"}


def test_the_package_shows_what_it_imports_later(tmp_path: Path) -> None:
    shown = python(
        "-c", "import sys, spikeyolo; print(*dir(spikeyolo)); assert 'torch' not in sys.modules", cwd=tmp_path
    )
    assert shown.returncode == 0, shown.stderr
    assert {"load", "open", "__version__"} <= set(shown.stdout.split())


@pytest.mark.skipif(sys.platform == "win32", reason="has no pipes of this kind")
@pytest.mark.parametrize("command", ["train", "compare", "predict"])
def test_help_into_a_pipe_that_closes_says_nothing(command: str, tmp_path: Path) -> None:
    piped = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m spikeyolo.{command} --help | head -3 >/dev/null; echo ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert piped.stderr == ""
    assert piped.stdout.strip() in {"0", "141"}
