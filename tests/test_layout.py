"""The tree keeps its direction: nothing below imports what is above, and only the page needs Gradio."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "lamdemo"

# What each package may import of the others, beside core.
BELOW: dict[str, set[str]] = {"core": set(), "video": set(), "models": set(), "data": {"video"}}
BELOW["engine"] = {"video", "models"}
BELOW["simulators"] = {"video", "data"}
BELOW["training"] = {"video", "models", "data", "engine"}
BELOW["planning"] = {"video", "models", "data", "engine", "simulators"}
BELOW["latent_space"] = {"video", "models", "data", "engine"}
BELOW["jobs"] = {"video", "models", "engine", "latent_space", "planning"}
BELOW["evaluation"] = set(BELOW) - {"core", "training"}
BELOW["reporting"] = {"models", "engine", "evaluation"}
BELOW["ui"] = set(BELOW) - {"core"}
BELOW["companions"] = set(BELOW) - {"core"}
BELOW["cli"] = set(BELOW) - {"core"}


def imported(package: str) -> set[str]:
    """Names of the other packages of lamdemo that any file of ``package`` imports, wherever in the file."""
    names = []
    for path in (PACKAGE / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
            elif isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
    return {n.split(".")[1] for n in names if n.startswith("lamdemo.")} - {package}


def test_every_package_is_placed():
    assert {p.parent.name for p in PACKAGE.glob("*/__init__.py")} == set(BELOW)


def test_no_module_comes_back_to_itself():
    """Wherever in a file a module is imported: within functions too, and in ui but for what only types need."""
    imports: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(("lamdemo", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        tree = ast.parse(path.read_text())
        typing = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
        typed = {id(n) for block in typing for n in ast.walk(block)} if ".ui." in name else set()
        found = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and id(n) not in typed]
        imports[name] = {f"{n.module}.{a.name}" for n in found for a in n.names} | {n.module or "" for n in found}
    # A name taken from a package is a module of it, or what its first page offers.
    graph = {
        name: {t for t in targets & imports.keys() if not any(o.startswith(f"{t}.") for o in targets & imports.keys())}
        for name, targets in imports.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # raises where there is a circle


@pytest.mark.parametrize("package", BELOW)
def test_nothing_imports_what_is_above_it(package):
    assert imported(package) <= BELOW[package] | {"core"}


def test_everything_but_the_page_imports_without_gradio():
    program = (
        "import sys, importlib; sys.modules['gradio'] = None\n"
        "for name in ('video', 'models', 'data', 'simulators', 'training', 'engine', 'latent_space', 'planning',\n"
        "             'jobs', 'evaluation', 'reporting', 'companions', 'cli'):\n"
        "    importlib.import_module('lamdemo.' + name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_file_and_function_is_read_in_one_sitting():
    """A file that needs more than 500 lines holds two ideas, and a function of more than 80 several."""
    long = []
    for path in PACKAGE.rglob("*.py"):
        name, text = path.relative_to(PACKAGE).as_posix(), path.read_text()
        if text.count("\n") > 500:
            long.append(name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                if node.end_lineno - first >= 80:
                    long.append(f"{name}: {node.name}")
    assert not long, long
