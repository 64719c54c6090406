"""Files that are whole or not there."""

from __future__ import annotations

import os
import secrets
import tokenize
import zipfile
import zlib
from pathlib import Path

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


def write_safely(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never half of one; a link stays a link."""
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(partial, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
