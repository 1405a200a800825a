"""The wheel holds all that an installed package needs, and works far from the repository."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command_line import environment

REPOSITORY = Path(__file__).resolve().parents[1]
BUILD = """
import sys
from hatchling.builders.wheel import WheelBuilder
print(next(WheelBuilder(sys.argv[1]).build(directory=sys.argv[2], versions=["standard"])))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed here")
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(REPOSITORY), str(tmp_path_factory.mktemp("dist"))],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that comes before all others."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run_installed(installed: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``python arguments`` with the unpacked wheel in front of the repository."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**environment(), "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_wheel_holds_every_configuration_file_and_the_sweepers_plugin(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    conf = {f"spikeyolo/conf/{path.relative_to(REPOSITORY / 'conf')}" for path in (REPOSITORY / "conf").rglob("*.yaml")}
    assert "spikeyolo/conf/experiment/highfreq.yaml" in conf
    assert conf <= names
    plugins = {
        path.relative_to(REPOSITORY).as_posix()
        for folder in ("spikeyolo", "hydra_plugins")
        for path in (REPOSITORY / folder).rglob("*.py")
    }
    assert plugins <= names
    assert {"spikeyolo/py.typed"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_holds_the_demonstrations_checkpoint_once(wheel: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("spikeyolo/demo/checkpoint/")]
    assert sorted(name.rpartition("/")[2] for name in names) == ["state.json", "weights.safetensors"]


def test_the_wheel_holds_no_tests_experiments_or_data(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"spikeyolo", "hydra_plugins"}
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if "__pycache__" in name]


def test_an_installed_package_finds_its_configuration_inside_itself(installed: Path, tmp_path: Path) -> None:
    code = "from spikeyolo.entry import config_directory; print(config_directory())"
    done = run_installed(installed, "-c", code, cwd=tmp_path)
    assert done.stdout.strip() == str(installed / "spikeyolo" / "conf"), done.stderr


def test_an_installed_package_composes_an_experiment_and_finds_its_sweeper(installed: Path, tmp_path: Path) -> None:
    arguments = ("-m", "spikeyolo.train", "+experiment=smoke", "+search=highfreq", "--cfg", "all")
    done = run_installed(installed, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "name: smoke" in done.stdout
    assert "_target_: hydra_plugins.spikeyolo_sweeper" in done.stdout
    assert str(installed / "spikeyolo" / "conf") in done.stdout
    assert str(REPOSITORY) not in done.stdout


def test_a_checkout_finds_its_configuration_beside_the_package(tmp_path: Path) -> None:
    code = "from spikeyolo.entry import config_directory; print(config_directory())"
    done = run_installed(REPOSITORY, "-c", code, cwd=tmp_path)
    assert done.stdout.strip() == str(REPOSITORY / "conf"), done.stderr
