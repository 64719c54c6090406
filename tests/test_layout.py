"""The tree keeps its direction: nothing below imports what is above, and only the page needs Gradio."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "lamdemo"

# What each package may import of the others.
BELOW = {
    "video": set(),
    "models": set(),
    "data": {"video", "models"},
    "simulators": {"video", "data"},
    "training": {"video", "models", "data", "pipeline"},
    # Of data, the description of episodes' actions, which a controller is kept with.
    "pipeline": {"video", "models", "data"},
    "planning": {"video", "models", "data", "pipeline", "simulators"},
    "latent_space": {"video", "models", "data", "pipeline"},
    "evaluation": {"video", "models", "data", "simulators", "pipeline", "latent_space", "planning"},
    "ui": {"video", "models", "data", "simulators", "pipeline", "latent_space", "planning", "evaluation"},
    "cli": {
        "video",
        "models",
        "data",
        "simulators",
        "training",
        "pipeline",
        "latent_space",
        "planning",
        "evaluation",
        "ui",
    },
}


def imported(package: str) -> set[str]:
    """Names of the other packages of lamdemo that any file of ``package`` imports, wherever in the file."""
    names = []
    for path in (PACKAGE / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
            elif isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
    return {n.split(".")[1] for n in names if n.startswith("lamdemo.")} - {"errors", package}


def test_every_package_is_placed():
    assert {p.parent.name for p in PACKAGE.glob("*/__init__.py")} == set(BELOW)


@pytest.mark.parametrize("package", BELOW)
def test_nothing_imports_what_is_above_it(package):
    assert imported(package) <= BELOW[package]


def test_everything_but_the_page_imports_without_gradio():
    program = (
        "import sys, importlib; sys.modules['gradio'] = None\n"
        "for name in ('video', 'models', 'data', 'simulators', 'training', 'pipeline', 'latent_space', 'planning',\n"
        "             'evaluation', 'cli'):\n"
        "    importlib.import_module('lamdemo.' + name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
