"""Where what comes with lamdemo is kept."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """A folder that comes with lamdemo, which need not be there.

    Args:
        name: "checkpoints" or "examples".

    Returns:
        In an installed package the one inside it, and in a clone of the repository the one beside it.
    """
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
