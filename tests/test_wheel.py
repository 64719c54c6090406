"""The wheel: what is in it, and that it works where there is no repository."""

from __future__ import annotations

import email
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from lamdemo import DEFAULT_CHECKPOINT, __version__

ROOT = Path(__file__).resolve().parents[1]

# The page, opened and asked over HTTP; examples are what it shows before anybody computes.
PAGE = r"""
import json, urllib.request
from lamdemo.ui import build_page, launch_options
from lamdemo.ui.models import Models
def never(name):
    raise RuntimeError("no model is needed to open the page")
Models.warm = lambda self: None
page = build_page(never)
_, address, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **launch_options())
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
config = direct.open(address + "config").read().decode()
found = [part.split('\\"')[0] for part in config.split("gradio_api/file=")[1:]]
print(json.dumps({"prepared": "transfer.mp4" in config, "files": found, "first": None if not found else
    len(direct.open(address + "gradio_api/file=" + found[0]).read())}))
page.close(verbose=False)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as pip builds it, nothing of which is left in the repository."""
    pytest.importorskip("setuptools", "77", reason="a wheel is built by setuptools 77 or newer")
    scratch = tmp_path_factory.mktemp("wheel")
    (scratch / "places.cfg").write_text(
        f"[build]\nbuild_base = {scratch}/build\n[egg_info]\negg_base = {scratch}\n", encoding="utf-8"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"),
            *("-w", str(scratch), str(ROOT)),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "DIST_EXTRA_CONFIG": str(scratch / "places.cfg")},
    )
    assert done.returncode == 0, done.stderr
    (built,) = scratch.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with nothing of lamdemo but what is in the wheel."""
    folder = tmp_path_factory.mktemp("site") / ".venv" / "site-packages"  # as most keep it: in a hidden folder
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(site: Path, *arguments: str) -> str:
    """What a Python that sees this lamdemo alone prints."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAMDEMO_", "GRADIO_"))}
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=site,
        env={**kept, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_in(folder: Path) -> dict[str, int]:
    """Names and sizes of all that is in a folder and not hidden."""
    found = {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    return {name: size for name, size in found.items() if not name.startswith(".") and "/." not in name}


def test_a_wheel_holds_the_default_checkpoint_the_examples_and_whose_they_are(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {i.filename: i.file_size for i in archive.infolist()}
        (metadata,) = (n for n in names if n.endswith("/METADATA"))
        said = email.message_from_bytes(archive.read(metadata))
    for folder in (f"checkpoints/{DEFAULT_CHECKPOINT}", "examples"):
        held = {n.removeprefix(f"lamdemo/{folder}/"): s for n, s in names.items() if n.startswith(f"lamdemo/{folder}/")}
        assert held == files_in(ROOT / folder)
    assert {n.split("/")[2] for n in names if n.startswith("lamdemo/checkpoints/")} == {DEFAULT_CHECKPOINT}
    assert {
        "lamdemo/ui/assets/map/map.css",
        "lamdemo/ui/assets/map/start.js",
        "lamdemo/data/scenes/bundled/INDEX.tsv",
    } <= set(names)
    assert {n.split("/")[0].split("-")[0] for n in names} == {"lamdemo"}  # no tests, no docs at the top
    licences = {n.partition("/licenses/")[2] for n in names if "/licenses/" in n}
    assert {"LICENSE", "THIRD_PARTY_NOTICES.md", "lamdemo/data/scenes/bundled/ATTRIBUTION.md"} <= licences
    assert wheel.stat().st_size < 100e6  # what package indexes take without being asked
    assert said["Version"] == __version__ and said["Requires-Python"] == ">=3.10"
    assert {"app", "train", "sim", "dev"} <= set(said.get_all("Provides-Extra"))


def test_a_transfer_needs_nothing_but_the_wheel(installed: Path, small_clip: Path, photo: Path, tmp_path: Path) -> None:
    where = run(installed, "-c", "import lamdemo; print(lamdemo.__file__)").strip()
    assert Path(where).is_relative_to(installed)
    run(installed, "-m", "lamdemo", "transfer", str(small_clip), str(photo), "--out", str(tmp_path), "--max-steps", "2")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["checkpoint"]["name"] == DEFAULT_CHECKPOINT and report["steps"]["made"] == 2
    assert (tmp_path / "transfer.mp4").stat().st_size > 1000


def test_the_page_of_a_wheel_shows_its_examples_and_opens_without_them_too(installed: Path) -> None:
    told = json.loads(run(installed, "-c", PAGE).splitlines()[-1])
    assert told["prepared"] and told["first"] > 1000
    assert all(str(installed).replace(" ", "%20") in name for name in told["files"])
    (installed / "lamdemo" / "examples").rename(installed / "elsewhere")
    assert json.loads(run(installed, "-c", PAGE).splitlines()[-1]) == {"prepared": False, "files": [], "first": None}


HIDE = """
import sys
from pathlib import Path
# As where lamdemo was never installed: neither the repository nor what leads to it.
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
sys.path[:] = [p for p in sys.path if not (Path(p) / "pyproject.toml").is_file()]
"""


def test_the_notebook_installs_lamdemo_and_transfers(wheel: Path, tmp_path: Path) -> None:
    """Its own cells, where nothing but what lamdemo needs is there, as on Colab."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(HIDE)
    shutil.copy(wheel, tmp_path)
    notebook = nbformat.read(ROOT / "docs/first_transfer.ipynb", as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell("print(lamdemo.__file__)"))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAMDEMO_", "PYTHON"))}
    pip = {"PIP_TARGET": str(site), "PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1"}
    jupyter = {name: str(tmp_path / name) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")}
    client = NotebookClient(
        notebook, kernel_name="python3", timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute(env={**kept, **pip, **jupyter, "PYTHONPATH": str(site)})
    (told,) = notebook.cells[-1].outputs
    assert Path(told.text.strip()).is_relative_to(site)
    assert (tmp_path / "transfer.mp4").stat().st_size > 1000
