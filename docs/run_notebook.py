"""Run the notebook from top to bottom and keep what it shows: python -m docs.run_notebook.

To be done after a change of the notebook, of the default checkpoint, its atlas or its prior. The tests run it in the
same way and compare.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs/latent_space.ipynb"


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


def main() -> None:
    """Run it and write it back."""
    notebook = run(nbformat.read(NOTEBOOK, as_version=4), ROOT)
    nbformat.write(notebook, NOTEBOOK)
    print(NOTEBOOK.relative_to(ROOT), f"{NOTEBOOK.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
