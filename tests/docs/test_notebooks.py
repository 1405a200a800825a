"""The notebooks run, from a recording to a film, in a folder of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_first_look_runs_from_a_recording_to_a_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="the notebook's packages are not installed (spikeyolo[docs])")
    import nbformat

    path = REPOSITORY / "docs" / "notebooks" / "first_look.ipynb"
    if not path.is_file():
        pytest.skip("docs/ is not part of this distribution")
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear the outputs before committing"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    said = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])]
    drawn = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert "4 tracks" in "".join(said)
    assert len(drawn) == 3
    assert (tmp_path / "demo" / "film.gif").stat().st_size > 10_000
