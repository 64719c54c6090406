"""Files that are whole or not there, and those of strangers: no link to elsewhere, no larger than they may be."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

# What numpy and zipfile raise for an ``.npz`` that is something else, cut short, encrypted or made to harm.
UNREADABLE = (
    OSError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)

PARTS = ".*.part"  # what a process that is killed while it writes leaves behind
MOST_JSON = 16 << 20  # bytes


def own_file(path: Path, most: int) -> Path:
    """A file of a folder that a stranger may have made, after a look whether it may be opened.

    Raises:
        ValueError: it is no ordinary file, a link out of its folder, or larger than ``most`` bytes.
        OSError: it is not there.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("no ordinary file")
    folder = Path(os.path.realpath(path.parent))
    # The Hub's cache keeps each file once, beside its folders of revisions, whose files are links there.
    mine = next((p.parent for p in folder.parents if p.name == "snapshots"), folder)
    if not Path(os.path.realpath(path)).is_relative_to(mine):
        raise ValueError("a link out of its folder")
    if status.st_size > most:
        raise ValueError(f"{status.st_size / 1e6:,.0f} MB, over the limit of {most / 1e6:,.0f}")
    return path


def file_hash(path: Path) -> str:
    """SHA-256 of what a file holds. Python 3.10 has no ``hashlib.file_digest``.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def read_json(path: Path) -> Any:
    """What is in a JSON file of a stranger, see `own_file`.

    Raises:
        OSError, ValueError, RecursionError: there is none.
    """
    return json.loads(own_file(path, MOST_JSON).read_text(encoding="utf-8-sig"))


def write_safely(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never half of one; a link stays a link."""
    writing_safely(path, lambda stream: stream.write(data))


def writing_safely(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """`write_safely` for what writes into a file by itself and need not be in memory twice.

    Args:
        path: of the file.
        write: is given the stream.

    Raises:
        OSError: it cannot be written; what was there before is as it was.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(partial, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
