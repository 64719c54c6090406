"""Which weights a companion's file says that it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from lamdemo.models import checkpoint


def read_json(path: Path) -> Mapping[str, Any]:
    """The table in a JSON file; an empty one where it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def checkpoint_of(path: Path) -> str:
    """The hash of the weights that a file names: an atlas, a sample of latents, a JSON of any companion, a report.

    Returns:
        "" where it names none or is damaged.
    """
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="numpy") as file:
                about: Mapping[str, Any] = file.metadata() or {}
            about = json.loads(about["lamdemo"]) if "lamdemo" in about else about
        except (SafetensorError, OSError, ValueError):
            return ""
    else:
        about = read_json(path)
    named = about.get("checkpoint")
    if isinstance(named, Mapping):
        named = named.get("sha256")
    if named is None and isinstance(about.get("about"), Mapping):
        named = about["about"].get("checkpoint")
    return str(named or "")


def foreign(path: Path, own: str) -> str:
    """Why a file does not belong to weights, half a sentence; "" where it does."""
    named = checkpoint_of(path)
    if not named:
        return "it does not say which weights it belongs to"
    return "" if named == own else f"it belongs to the weights {named[:12]}, not to these"


def fingerprint_of(path: Path) -> str:
    """`lamdemo.models.checkpoint.fingerprint` of the module that is kept in a file, without making it."""
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError):
        return ""
    return checkpoint.fingerprint_of(tensors)
