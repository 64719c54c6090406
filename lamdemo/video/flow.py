"""Optical flow: where things were a frame ago, in pixels.

Flows are backward, as everywhere in :mod:`lamdemo`: at a place ``(x, y)`` of ``second``, ``(dx, dy)`` says
that what is seen there was at ``(x + dx, y + dy)`` in ``first``.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

_SMALLEST = 16  # pixels on a side below which the pyramid of DIS has no level to begin with


def optical_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Backward flow from ``second`` to ``first``, by dense inverse search (DIS, medium preset) on gray.

    Args:
        first: uint8 ``[H, W, 3]``, RGB.
        second: the frame after it, of the same size.

    Returns:
        float32 ``[H, W, 2]``, ``(dx, dy)`` in pixels, so that ``warp(first, flow)`` looks like ``second``.

    Raises:
        ValueError: they are no uint8 pictures of one size.
    """
    for picture in (first, second):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise ValueError(f"flow is taken of uint8 pictures [H, W, 3], not {list(picture.shape)}")
    if first.shape != second.shape:
        raise ValueError(f"flow needs pictures of one size, not {first.shape[:2]} and {second.shape[:2]}")
    before, after = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (first, second))
    height, width = before.shape
    if min(height, width) < _SMALLEST:
        pad = ((0, max(0, _SMALLEST - height)), (0, max(0, _SMALLEST - width)))
        before, after = (np.pad(gray, pad, mode="edge") for gray in (before, after))
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = search.calc(after, before, None)  # type: ignore[call-overload]
    return np.ascontiguousarray(flow[:height, :width], dtype=np.float32)


def warp(
    picture: np.ndarray,
    flow: np.ndarray,
    *,
    interpolation: Literal["linear", "cubic"] = "linear",
    border: Literal["replicate", "reflect"] = "replicate",
) -> np.ndarray:
    """Move a picture along a backward flow: each place takes its value from where the flow points.

    Args:
        picture: uint8 or float32 ``[H, W]`` or ``[H, W, C]``.
        flow: ``[H, W, 2]``, ``(dx, dy)`` in pixels.
        interpolation: between pixels.
        border: what lies outside: the edge's own pixels, or the picture mirrored.

    Returns:
        The same shape and type as ``picture``.

    Raises:
        ValueError: the flow is not of the picture's size.
    """
    height, width = picture.shape[:2]
    if flow.shape != (height, width, 2):
        raise ValueError(f"a flow for {height}×{width} pixels has shape [{height}, {width}, 2], not {flow.shape}")
    y, x = np.mgrid[:height, :width].astype(np.float32)
    method = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}[interpolation]
    outside = {"replicate": cv2.BORDER_REPLICATE, "reflect": cv2.BORDER_REFLECT_101}[border]
    moved = cv2.remap(
        picture,
        x + flow[..., 0].astype(np.float32),
        y + flow[..., 1].astype(np.float32),
        interpolation=method,
        borderMode=outside,
    )
    return moved.reshape(picture.shape)  # OpenCV drops a last axis of one channel


def _wheel() -> np.ndarray:
    """The colours of Baker et al., "A Database and Evaluation Methodology for Optical Flow": ``[55, 3]``."""
    arcs = [(15, 0, 1, 1), (6, 1, 0, -1), (4, 1, 2, 1), (11, 2, 1, -1), (13, 2, 0, 1), (6, 0, 2, -1)]
    colours = []
    for steps, full, moving, direction in arcs:
        for i in range(steps):
            colour = [0.0, 0.0, 0.0]
            colour[full] = 1.0
            colour[moving] = i / steps if direction > 0 else 1 - i / steps
            colours.append(colour)
    return np.array(colours)


def flow_to_color(flow: np.ndarray, max: float | None = None) -> np.ndarray:
    """Draw a flow in colours: the hue says where to, the strength how far; white is no motion.

    Args:
        flow: ``[H, W, 2]``, ``(dx, dy)``.
        max: length drawn in full colour, darker beyond it; None for the longest in this flow.

    Returns:
        uint8 ``[H, W, 3]``, RGB; black where the flow is not finite.

    Raises:
        ValueError: the shape is another, or ``max`` is not above 0.
    """
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise ValueError(f"a flow has shape [H, W, 2], not {list(flow.shape)}")
    if max is not None and not max > 0:
        raise ValueError(f"max must be above 0, not {max}")
    known = np.isfinite(flow).all(-1)
    dx, dy = (np.where(known, flow[..., i], 0.0).astype(np.float64) for i in (0, 1))
    length = np.hypot(dx, dy)
    # A still picture has no longest motion; any length will do for it.
    length /= max or length.max(initial=0.0) or 1.0

    wheel = _wheel()
    place = (np.arctan2(-dy, -dx) / np.pi + 1) / 2 * (len(wheel) - 1)
    low = np.floor(place).astype(int)
    part = (place - low)[..., None]
    hue = wheel[low] * (1 - part) + wheel[(low + 1) % len(wheel)] * part
    strength = length[..., None]
    colour = np.where(strength <= 1, 1 - strength * (1 - hue), hue * 0.75)
    return np.where(known[..., None], np.round(colour * 255), 0).astype(np.uint8)
