"""Reports: results with everything needed to obtain them again."""

from __future__ import annotations

import ast
import datetime
import hashlib
import json
import math
import os
import platform
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np
import torch

import lamdemo
from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import file_hash, write_safely
from lamdemo.engine import TransferPipeline

_ENDS = 65536  # bytes of each end of a file that its content is told by
_MEASURING = ("core", "video", "models", "data", "engine", "simulators", "latent_space", "planning", "evaluation")


def describe_files(folder: str | Path, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Name a set of files so that another can tell whether they have the same.

    Args:
        folder: where they are.
        names: their paths in it, with forward slashes; every file below it that is not hidden without
            them.

    Returns:
        ``folder`` (its name alone), ``files`` (how many), ``sha256`` of the list of names and sizes, and ``content``,
        the same with both ends of each file (`_ENDS` bytes), where any encoder's choices show.
    """
    folder = Path(folder)
    if names is None:
        found = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
        names = sorted(p.as_posix() for p in found if not any(x.startswith(".") for x in p.parts))
    else:
        names = list(names)
    sizes, content = hashlib.sha256(), hashlib.sha256()
    for name in names:
        size = (folder / name).stat().st_size
        line = f"{name}\t{size}\n".encode()
        sizes.update(line)
        content.update(line)
        with (folder / name).open("rb") as file:
            content.update(file.read(_ENDS))
            file.seek(max(size - _ENDS, 0))
            content.update(file.read(_ENDS))
    return {
        "folder": folder.resolve().name,
        "files": len(names),
        "sha256": sizes.hexdigest(),
        "content": content.hexdigest(),
    }


def split_hash(path: Path) -> str:
    """Hash of a file that says which clips are for what.

    Raises:
        LamdemoError: it cannot be read.
    """
    try:
        return file_hash(path)
    except OSError as error:
        raise LamdemoError(f"{path.name} cannot be read; give a file with a split.") from error


@cache
def code_hash() -> str:
    """Hash of the code that figures depend on, whatever its comments, docstrings and layout.

    Reports note it, so that what older code measured is not taken for this code's.
    """
    root = Path(lamdemo.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(p for package in _MEASURING for p in (root / package).rglob("*.py")):
        code = what_it_does(path.read_text(encoding="utf-8"))
        digest.update(f"{path.relative_to(root).as_posix()}\n{code}\n".encode())
    return digest.hexdigest()


def what_it_does(source: str) -> str:
    """The syntax tree of a module without its docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
    return ast.dump(tree)


def git_state() -> dict[str, Any] | None:
    """Commit of this code and whether tracked files differ from it; None outside of a checkout."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, timeout=20, check=True)
        return done.stdout.strip()

    try:
        # An installed copy may lie in somebody else's checkout, whose commit says nothing about it.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return {
            "commit": git("rev-parse", "HEAD"),
            # Reports themselves are what a run makes: the first of several does not spoil the others.
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)reports")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def _without_paths(command: str | Sequence[str]) -> str:
    """A command with absolute paths cut down to their last part, since a report is made to be passed on."""

    def short(word: str) -> str:
        option, sign, value = word.partition("=")
        if sign and option.startswith("-"):
            return f"{option}={short(value)}"
        return PurePath(word).name if os.path.isabs(word) else word

    words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
    return shlex.join(map(short, words))


def plain(value: Any) -> Any:
    """The same for JSON: no NumPy types, and None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value if value is None else str(value)


def write_report(
    path: str | Path,
    result: Mapping[str, Any],
    *,
    command: str | Sequence[str],
    pipeline: TransferPipeline,
    seed: int,
    data: str | Path | Mapping[str, Any],
) -> Path:
    """Write results as JSON, with all that they depend on.

    Args:
        path: the file; its folder is made.
        result: of `evaluate_videos` or `evaluate_pairs`.
        command: the command line, or its words; absolute paths are cut down to their last part.
        pipeline: what was judged.
        seed: as given to the evaluation.
        data: the folder of videos or cases, or a description of it.

    Returns:
        ``path``.

    Raises:
        LamdemoError: it cannot be written there.
    """
    path = Path(path)
    report = {
        "command": _without_paths(command),
        "seed": seed,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "git": git_state(),
        "code": code_hash(),
        "checkpoint": {
            "name": pipeline.name,
            "sha256": pipeline.checkpoint,
            "family": pipeline.family,
            "capacity": pipeline.model.config.bottleneck.capacity,
            "trained": pipeline.trained,
        },
        "data": data if isinstance(data, Mapping) else describe_files(data),
        "versions": {
            "lamdemo": lamdemo.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        },
        "machine": {
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
            "device": str(pipeline.model.device),
        },
        "results": result,
    }
    text = json.dumps(plain(report), indent=1, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safely(path, text.encode())
    except OSError as error:
        raise LamdemoError(f"The report {path.name} cannot be written there; choose another place.") from error
    return path
