"""Tensors from strangers: what a safetensors file says it holds, before any of it is read."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from lamdemo.core.files import own_file

MOST = 2 << 30  # bytes of a file
_HEADER, _TENSORS = 8 << 20, 20_000  # bytes of what it says of its tensors, and how many they may be


class Stored(NamedTuple):
    """A tensor in a file: its type as the format names it, "F16", and its shape."""

    dtype: str
    shape: tuple[int, ...]


def stored_tensors(path: Path, *, most: int = MOST) -> dict[str, Stored]:
    """The tensors of a file by name, none of which is read.

    Raises:
        ValueError, OSError: it may not be opened (`own_file`), or is no such file, damaged, or of too many parts.
    """
    with open(own_file(path, most), "rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8).ljust(8, b"\xff"))
    if length > _HEADER:
        raise ValueError("no safetensors file, or one that says too much")
    try:
        # Its own reader sees that the tensors fill the file without a gap, none over another.
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            if len(names) > _TENSORS:
                raise ValueError("too many tensors")
            parts = {name: file.get_slice(name) for name in names}
            return {name: Stored(part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}
    except SafetensorError as error:
        raise ValueError("no safetensors file, or cut short") from error
