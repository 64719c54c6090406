"""Run the notebooks from top to bottom and keep what they show: python -m docs.run_notebook [NAME].

To be done after a change of one, of the default checkpoint, its atlas or its prior. The tests run them in the same way
and compare.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = {
    path.stem: path for path in (ROOT / "docs" / f"{name}.ipynb" for name in ("latent_space", "first_transfer"))
}


def run(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Execute all cells anew, with ``folder`` as the working directory; returns the notebook, changed in place.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails, or something that it asserts does not hold.
    """
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count, cell.metadata = [], None, NotebookNode()
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=300,
        # Times of day, and where the output happened to be cut, would make each run another file.
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    # The kernel adds which Python it is.
    notebook.metadata["language_info"] = NotebookNode(name="python")
    return notebook


def main(names: Sequence[str] = ()) -> None:
    """Run those of these names, all of them without any, and write them back."""
    for name in names or NOTEBOOKS:
        path = NOTEBOOKS[name]
        with tempfile.TemporaryDirectory() as scratch:
            # The one needs the repository, the other nothing, and leaves a video.
            notebook = run(nbformat.read(path, as_version=4), ROOT if name == "latent_space" else Path(scratch))
        nbformat.write(notebook, path)
        print(path.relative_to(ROOT), f"{path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
