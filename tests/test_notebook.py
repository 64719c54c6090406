"""The notebooks in docs/: their claims hold when they run, and what is committed is a whole run of each."""

from __future__ import annotations

import base64
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
LEAST = {"latent_space": (15, 12), "first_transfer": (3, 3)}  # claims and pictures, at least


def run_notebook() -> ModuleType:
    """The tool in docs/, which is no package."""
    spec = importlib.util.spec_from_file_location("run_notebook", ROOT / "docs/run_notebook.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds_of_output(cell: NotebookNode) -> list[str]:
    return [output.output_type for output in cell.outputs]


@pytest.fixture(scope="module", params=LEAST)
def path(request: pytest.FixtureRequest) -> Path:
    return ROOT / f"docs/{request.param}.ipynb"


@pytest.fixture(scope="module")
def committed(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def test_runs_and_its_claims_hold(
    path: Path, committed: NotebookNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What Jupyter keeps on the side (history, connection files) goes where it is cleaned up.
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    notebook = nbformat.read(shutil.copy(path, tmp_path), as_version=4)
    # The one needs the repository, the other nothing. Raises where a cell does, an assertion included.
    run_notebook().run(notebook, ROOT if path.stem == "latent_space" else tmp_path)
    for cell, before in zip(code_cells(notebook), code_cells(committed), strict=True):
        assert kinds_of_output(cell) == kinds_of_output(before), cell.source
        assert not [o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stderr"], cell.source
    # Not only ran: the claims are there to be broken.
    assert sum(cell.source.count("assert ") for cell in code_cells(notebook)) >= LEAST[path.stem][0]


@pytest.mark.parametrize("folder", [".", "docs"])
def test_first_cell_finds_the_repository(folder: str) -> None:
    notebook = nbformat.read(ROOT / "docs/latent_space.ipynb", as_version=4)
    source = code_cells(notebook)[0].source + "\nimport lamdemo.latent_space\nprint(root)"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT / folder, env=environment, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == ROOT


def test_what_is_committed_is_one_run_from_top_to_bottom(committed: NotebookNode) -> None:
    nbformat.validate(committed)
    cells = code_cells(committed)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        speaks = re.search(r"^ *(print|show)\(", cell.source, re.MULTILINE)
        assert bool(cell.outputs) == bool(speaks), cell.source
        assert set(kinds_of_output(cell)) <= {"stream", "display_data"}, cell.source
    # Prose stands between them: no two cells of code without a word but the opening.
    kinds = [cell.cell_type for cell in committed.cells]
    assert kinds[0] == "markdown" and kinds.count("markdown") >= kinds.count("code") - 1


def test_outputs_are_small_and_tell_nothing_of_the_machine(path: Path, committed: NotebookNode) -> None:
    assert path.stat().st_size < 1_200_000
    pictures = 0
    for cell in code_cells(committed):
        assert "execution" not in cell.metadata  # times of day
        for output in cell.outputs:
            if output.output_type == "stream":
                assert output.name == "stdout"
                assert not re.search(r"(^|[\s'\"(])(/[a-z]+/|[A-Z]:\\)", output.text), output.text
                continue
            data = base64.b64decode(output.data["image/jpeg"])
            assert data[:2] == b"\xff\xd8" and len(data) <= 64_000
            assert output.metadata["image/jpeg"]["alt"]
            pictures += 1
    assert pictures >= LEAST[path.stem][1]
    assert str(ROOT) not in path.read_text(encoding="utf-8")
