"""Several clips in one picture, in step."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_PAPER, _INK = (255, 255, 255), (32, 32, 32)


def side_by_side(
    panels: Sequence[np.ndarray], *, height: int, gap: int = 8, labels: Sequence[str] | None = None
) -> np.ndarray:
    """Lay clips side by side on white, frame ``t`` of each in frame ``t`` of the whole.

    A clip that ends before the longest one holds its last frame. Each is scaled to ``height`` and keeps its
    aspect.

    Args:
        panels: clips uint8 ``[T, H, W, 3]``, each of a length and size of its own.
        height: pixels down of every panel.
        gap: pixels of white between two panels.
        labels: a few words for each panel, written on a strip above; None for no strip.

    Returns:
        uint8 ``[max T, height (+ strip), sum of widths and gaps, 3]``.

    Raises:
        ValueError: there is no panel, one is no clip, or there are more or fewer labels than panels.
    """
    if not panels or height < 1 or gap < 0:
        raise ValueError("side_by_side needs a panel, a height of 1 or more and a gap of 0 or more")
    for panel in panels:
        if panel.ndim != 4 or panel.shape[3] != 3 or panel.dtype != np.uint8 or not panel.size:
            raise ValueError(f"a panel is a uint8 clip [T, H, W, 3] with frames, not {list(panel.shape)}")
    if labels is not None and len(labels) != len(panels):
        raise ValueError(f"{len(panels)} panels need as many labels, not {len(labels)}")

    widths = [max(1, round(panel.shape[2] * height / panel.shape[1])) for panel in panels]
    strip = 0 if labels is None else max(18, height // 12)
    shape = (max(len(panel) for panel in panels), strip + height, sum(widths) + gap * (len(panels) - 1), 3)
    whole = np.full(shape, 255, np.uint8)
    left = 0
    for i, (panel, width) in enumerate(zip(panels, widths, strict=True)):
        place = whole[:, strip:, left : left + width]
        for t, frame in enumerate(panel):
            place[t] = _scaled(frame, height, width)
        place[len(panel) :] = place[len(panel) - 1]
        if labels is not None:
            whole[:, :strip, left : left + width] = _label(labels[i], strip, width)
        left += width + gap
    return whole


def contact_sheet(rows: Sequence[Sequence[np.ndarray | None]], *, width: int, height: int, gap: int = 4) -> np.ndarray:
    """Pictures in rows and columns on white, each as large as fits in its place, in its middle.

    Args:
        rows: pictures uint8 ``[H, W, 3]`` of any size; None leaves a place empty. A shorter row leaves its end empty.
        width: pixels across of each place.
        height: pixels down.
        gap: pixels of white between two.

    Returns:
        uint8 ``[H, W, 3]``.

    Raises:
        ValueError: there is no place.
    """
    columns = max((len(row) for row in rows), default=0)
    if not columns or width < 1 or height < 1:
        raise ValueError("a contact sheet needs a picture and places of a pixel or more")
    shape = (len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3)
    whole = np.full(shape, 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            if picture is None:
                continue
            scale = min(width / picture.shape[1], height / picture.shape[0])
            w, h = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
            top, left = i * (height + gap) + (height - h) // 2, j * (width + gap) + (width - w) // 2
            whole[top : top + h, left : left + w] = _scaled(picture, h, w)
    return whole


def _scaled(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    if frame.shape[:2] == (height, width):
        return frame
    method = cv2.INTER_AREA if height < frame.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(frame, (width, height), interpolation=method)


def _label(text: str, height: int, width: int) -> np.ndarray:
    """A strip uint8 ``[height, width, 3]`` with a line of text, drawn smaller where it would not fit."""
    strip = np.full((height, width, 3), _PAPER, np.uint8)
    text = " ".join(text.split())
    if not text:
        return strip
    font = cv2.FONT_HERSHEY_SIMPLEX
    (full, tall), below = cv2.getTextSize(text, font, 1.0, 1)
    scale = min((height - 4) / (tall + below), (width - 4) / full)
    if scale > 0:
        baseline = height - 2 - round(below * scale)
        cv2.putText(strip, text, (2, baseline), font, scale, _INK, 1, cv2.LINE_AA)
    return strip
