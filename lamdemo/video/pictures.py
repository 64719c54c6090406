"""Still pictures, decoded by Pillow in a process of its own.

ffmpeg decodes stills, too, but leaves out what makes a photograph: colour profiles, which of several pictures in
a file is meant, tiles of a TIFF, transparency that is a picture beside the picture.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamdemo.core.errors import LamdemoError, shown_name
from lamdemo.video.ffmpeg import Budget, Process
from lamdemo.video.files import opened

_WORKER = Path(__file__).with_name("picture_worker.py")
_MEMORY = 4 << 30  # bytes that decoding may take; 64 million pixels in four channels, twice, with room
_SEQUENCES = {b"avis", b"msf1", b"hevc", b"hevx"}  # brands of files that hold a film of pictures
_AVIF, _HEIF = {b"avif"}, {b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"miaf"}
_PLUGINS = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "TIFF": "TiffImagePlugin",
    "WEBP": "WebPImagePlugin",
    "BMP": "BmpImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
    "AVIF": "AvifImagePlugin",
    "HEIF": "",
}


@dataclass(frozen=True)
class Still:
    """A picture as decoded."""

    width: int  # pixels across as displayed
    height: int  # pixels down, likewise
    codec: str  # the name of its format
    pixels: np.ndarray  # uint8 [H, W, 3] of the size asked for


def picture_format(path: Path) -> str | None:
    """Pillow's name of the format where a file holds one still picture, told by how it begins; else None.

    Raises:
        LamdemoError: the file cannot be opened.
    """
    with opened(path) as file:
        head = file.read(1 << 16)
    if head.startswith(b"\xff\xd8\xff"):
        # A film can be JPEGs one after another; so can a photograph with its thumbnails.
        return None if path.suffix.lower() in (".mjpeg", ".mjpg") else "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return None if b"acTL" in head[: head.find(b"IDAT")] else "PNG"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return None if head[12:16] == b"VP8X" and head[20] & 2 else "WEBP"
    if head[:2] == b"BM":
        return "BMP"
    if b"mjp2" not in head[:64] and head.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")):
        return "JPEG2000"
    if head[4:8] == b"ftyp":
        end = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[8:12], *(head[i : i + 4] for i in range(16, end, 4))}
        if not brands & _SEQUENCES and head[8:12] in _AVIF | _HEIF:
            # Colours that are told in the stream alone, ffmpeg sees, and Pillow does not.
            return ("AVIF" if b"colr" in head else None) if brands & _AVIF else "HEIF"
    return None


def decode_picture(
    path: Path,
    kind: str,
    *,
    size: tuple[int, int] | None = None,
    max_side: int | None = None,
    max_pixels: int,
    budget: Budget,
) -> Still | None:
    """Decode a still picture.

    Args:
        path: where it is.
        kind: from :func:`picture_format`.
        size: height and width of what is returned.
        max_side: or its longest side, never enlarged.
        max_pixels: of the picture as stored.
        budget: wall time to wait.

    Returns:
        None where Pillow cannot decode it, and ffmpeg, which knows other variants of its format, is to be asked.

    Raises:
        LamdemoError: it is too large, takes too long, or is of a kind that only Pillow decodes right.
    """
    name = shown_name(path)
    asked = {
        "format": kind,
        "plugin": _PLUGINS[kind],
        "size": size,
        "max_side": max_side,
        "max_pixels": max_pixels,
        "memory": _MEMORY,
        "seconds": math.ceil(budget.seconds or 120) + 1,
    }
    # -P: no module of the folder that the process runs in is taken for one of Python's own. -S: nothing that is
    # installed is started, which takes longer than a picture; what is needed is named.
    command = [sys.executable, "-P", "-S", os.fspath(_WORKER), json.dumps(asked)]
    with opened(path) as file, Process(command, source=file, budget=budget, environment=_libraries()) as process:
        answer = json.loads(process.read_line() or b"{}")
        if "sent" in answer:
            width, height = answer["sent"]
            pixels = np.empty((height, width, 3), np.uint8)
            if process.read_into(pixels.data) == pixels.nbytes:
                return Still(answer["width"], answer["height"], answer["codec"], pixels)
        if process.timed_out:
            raise slow(name, budget)
    if "too_large" in answer:
        width, height = answer["too_large"]
        raise too_large(name, width, height, max_pixels)
    if kind == "TIFF":
        # ffmpeg takes tiles and JPEGs in a TIFF for a black picture.
        raise LamdemoError(f"{name} is damaged, or a TIFF of a rare kind: save it as PNG or JPEG.")
    return None


@functools.cache
def _libraries() -> dict[str, str]:
    """Where the process finds Pillow and Pi-HEIF."""
    found = (importlib.util.find_spec(name) for name in ("PIL", "pi_heif"))
    folders = {str(Path(spec.origin).parents[1]): None for spec in found if spec is not None and spec.origin}
    return {"PYTHONPATH": os.pathsep.join(folders)}


def slow(name: str, budget: Budget) -> LamdemoError:
    """That reading took longer than allowed."""
    return LamdemoError(f"{name} takes longer than {budget.seconds:g} seconds to read: give a shorter or smaller one.")


def too_large(name: str, width: int | str, height: int | str, max_pixels: int) -> LamdemoError:
    """That a picture has more pixels than allowed."""
    return LamdemoError(
        f"{name} has frames of {width}×{height} pixels, over the limit of {max_pixels / 1e6:g} million: make it "
        "smaller first."
    )
