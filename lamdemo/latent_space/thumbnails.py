"""Thumbnails of an atlas: JPEG sheets of 16 x 16 small pictures, of which one is decoded when it is wanted."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from lamdemo.core.errors import LamdemoError

THUMB = (64, 48)  # width and height of a thumbnail, in pixels
SHEET = 16  # thumbnails on each side of a sheet
_SHEETS_KEPT = 12  # decoded, 2.4 MB each


def thumbnail(frame: np.ndarray, thumb: tuple[int, int], *, stretch: bool = False) -> np.ndarray:
    """A frame ``[H, W, 3]`` made small, uint8 ``[height, width, 3]``.

    It keeps its aspect, and what it leaves free takes its mean colour; with ``stretch`` it fills the thumbnail.
    """
    width, height = thumb
    h, w = frame.shape[:2]
    scale = min(width / w, height / h)
    inner = (width, height) if stretch else (max(round(w * scale), 1), max(round(h * scale), 1))
    small = cv2.resize(frame, inner, interpolation=cv2.INTER_AREA)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = small.reshape(-1, 3).mean(0).round()
    canvas[top : top + inner[1], left : left + inner[0]] = small
    return canvas


def write_sheets(thumbnails: Iterable[np.ndarray], quality: int) -> tuple[bytes, ...]:
    """JPEG sheets of thumbnails uint8 ``[height, width, 3]``, one after another; the last is filled up with black."""
    sheets = []
    pictures = iter(thumbnails)
    while some := list(itertools.islice(pictures, SHEET**2)):
        height, width = some[0].shape[:2]
        cells = np.zeros((SHEET**2, height, width, 3), np.uint8)
        cells[: len(some)] = some
        sheet = cells.reshape(SHEET, SHEET, height, width, 3).swapaxes(1, 2)
        sheet = sheet.reshape(SHEET * height, SHEET * width, 3)[..., ::-1]
        settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        done, data = cv2.imencode(".jpg", np.ascontiguousarray(sheet), settings)
        if not done:
            raise RuntimeError("a sheet of thumbnails could not be encoded")
        sheets.append(data.tobytes())
    return tuple(sheets)


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height that a baseline JPEG file says it has; nothing is decoded.

    Raises:
        ValueError: it is no such file.
    """
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xC0:
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ValueError("a sheet is no JPEG file")


def join_sheets(sheets: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """JPEG files one after another, uint8, and where each of them ends, int64."""
    return np.frombuffer(b"".join(sheets), np.uint8), np.cumsum([len(s) for s in sheets], dtype=np.int64)


def split_sheets(joined: np.ndarray, ends: np.ndarray) -> tuple[bytes, ...]:
    """What `join_sheets` joined.

    Raises:
        ValueError: it is something else.
    """
    bounds = np.concatenate([[0], ends]).astype(np.int64)
    if ends.ndim != 1 or joined.ndim != 1 or joined.dtype != np.uint8:
        raise ValueError("sheets must be bytes")
    if (np.diff(bounds) <= 0).any() or bounds[-1] != joined.size:
        raise ValueError("sheets do not end where they say")
    return tuple(joined[a:b].tobytes() for a, b in itertools.pairwise(bounds))


class Sheets:
    """Sheets of thumbnails, of which the last ones that were looked at are kept decoded; threads may share it."""

    def __init__(self, sheets: Sequence[bytes], thumb: tuple[int, int]) -> None:
        """Args: JPEG files of 16 x 16 thumbnails each; width and height of one."""
        self._sheets, self._thumb = sheets, thumb
        self._lock = threading.Lock()
        self._decoded: OrderedDict[int, np.ndarray] = OrderedDict()

    def thumbnail(self, frame: int) -> np.ndarray:
        """See `lamdemo.latent_space.atlas.Atlas.thumbnail`."""
        sheet, cell = divmod(int(frame), SHEET**2)
        if not 0 <= sheet < len(self._sheets):
            raise LamdemoError("This atlas has no such thumbnail; choose a point of it.")
        width, height = self._thumb
        with self._lock:
            picture: np.ndarray | None = self._decoded.pop(sheet, None)
            if picture is None:
                picture = cv2.imdecode(np.frombuffer(self._sheets[sheet], np.uint8), cv2.IMREAD_COLOR)
            if picture is None or picture.shape != (SHEET * height, SHEET * width, 3):
                raise LamdemoError("The thumbnails of this atlas are damaged; copy it again, or make it anew.")
            self._decoded[sheet] = picture
            while len(self._decoded) > _SHEETS_KEPT:
                self._decoded.popitem(last=False)
        top, left = height * (cell // SHEET), width * (cell % SHEET)
        return np.ascontiguousarray(picture[top : top + height, left : left + width, ::-1])
