"""Arrays from strangers: an ``.npz`` of which nothing is inflated before its size and kind are known.

What numpy reads by itself is what a file says of itself: 249 kB may say that they are 306 MB of zeros.
"""

from __future__ import annotations

import math
import os
import stat
import struct
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from lamdemo.core.errors import LamdemoError, shown_name

MOST = 64 << 20  # bytes of all arrays that are read of one file
_MEMBERS = 4096
_ENTRY = 46 + 256  # bytes of a member's line in the archive's directory, with a name of a sensible length
_TAIL = struct.Struct("<4s16x4s6xHIIH")  # the end of an archive without a comment, and what stands before it
_KINDS = "biufU"  # of arrays; objects, which are pickles, are none
_PIECE = 1 << 20


def read_arrays(
    path: str | os.PathLike[str], names: Collection[str] | None = None, *, most: int = MOST, finite: bool = True
) -> dict[str, np.ndarray]:
    """Read arrays of an ``.npz``.

    Args:
        path: of the file.
        names: of the arrays that are wanted; all without it. Those that are missing are left out.
        most: bytes that the file may have, and its wanted arrays once they are inflated.
        finite: whether numbers that are none are refused.

    Raises:
        LamdemoError: it holds more than may be read.
        OSError, ValueError, ...: it is nothing of the kind, see `lamdemo.core.files.UNREADABLE`.
    """
    path = Path(path)
    # Before it is opened: to open a named pipe would wait for its other end.
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("no ordinary file")
    if status.st_size > most:
        raise _too_much(path, status.st_size, most)
    with open(path, "rb") as file:
        _check_directory(file, status.st_size)
        with zipfile.ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if len(members) != len(archive.infolist()):
                raise ValueError("two arrays of one name")
            if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in members.values()):
                raise ValueError("packed in a way that numpy does not know")  # and `zipfile` cannot unpack in pieces
            wanted = {name: info for name, info in members.items() if names is None or name in names}
            total = sum(info.file_size for info in wanted.values())
            if total > most:
                raise _too_much(path, total, most)
            found = {}
            for name, info in wanted.items():
                with archive.open(info) as member:
                    found[name] = _read_array(member, info.file_size)
    for name, array in found.items():
        if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} holds what is no number")
    return found


def _too_much(path: Path, size: int, most: int) -> LamdemoError:
    return LamdemoError(
        f"{shown_name(path)} holds {size / 1e6:,.0f} MB of numbers, over the limit of {most / 1e6:,.0f}: give less."
    )


def _check_directory(file: IO[bytes], size: int) -> None:
    """See that an archive's directory is no larger than any real one: `zipfile` reads it whole."""
    if size < _TAIL.size:
        raise ValueError("no archive")
    file.seek(size - _TAIL.size)
    large, mark, members, length, _, comment = _TAIL.unpack(file.read(_TAIL.size))
    if mark != b"PK\5\6" or large == b"PK\6\7" or comment:
        raise ValueError("no archive that numpy wrote")
    if members > _MEMBERS or length > members * _ENTRY:
        raise ValueError("too many arrays")


def _read_array(member: IO[bytes], size: int) -> np.ndarray:
    """The array in a member that says it is of ``size`` bytes; never more than that are inflated."""
    version = npy.read_magic(member)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
    shape, fortran, dtype = read_header(member)
    if dtype.kind not in _KINDS or len(shape) > 8 or any(side < 0 for side in shape):
        raise ValueError(f"no array of numbers: {dtype} {shape}")
    left = math.prod(shape) * dtype.itemsize
    if left > size:
        raise ValueError("larger than its file says")
    data = bytearray()
    while left:
        # Asked for piece by piece: `zipfile` would inflate what is there at once, whatever the file says.
        piece = member.read(min(left, _PIECE))
        if not piece:
            raise EOFError("cut short")
        data += piece
        left -= len(piece)
    if member.read(1):
        raise ValueError("something behind the array")
    array = np.ndarray(shape, dtype, data, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)
