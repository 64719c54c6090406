"""Does what enters the source enter the target: alike, at its place, in its time?

All is measured on how pictures differ from the target, which does not move. A result that stays the target reaches none
of it: its likeness is 0, it shows nothing at any place, and nothing appears at any time.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from lamdemo.evaluation.case_folder import Layers
from lamdemo.evaluation.on_layers import LEAST

MEASURES = ("likeness", "likeness_last", "place", "appears", "time")
_AROUND = 0.06  # picture widths about the truth's thing that count for its likeness
_STRONG = 0.1  # mean absolute difference of the colours, of 1, from which a place has changed
_APPEARS = 0.25  # share of the truth's changed area from which something has appeared


def _halved(clip: np.ndarray, target: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Differences from the target, float32 ``[T, h, w, 3]`` from -1 to 1."""
    off = clip.astype(np.float32) / 255 - target.astype(np.float32) / 255
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in off])


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation of two arrays; 0 where either does not vary."""
    a, b = one.ravel() - one.mean(), other.ravel() - other.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 1e-6 * len(a) else 0.0


def entrance(clip: np.ndarray, target: np.ndarray, truth: np.ndarray, layers: Layers) -> dict[str, float]:
    """How well a clip shows what enters.

    Args:
        clip: uint8 ``[T, H, W, 3]``.
        target: uint8 ``[H, W, 3]``.
        truth: uint8 ``[T, H, W, 3]``.
        layers: of the truth.

    Returns:
        - ``likeness``: correlation, over pixels and colours in and about the truth's thing, of the result's difference
          from the target with the truth's: mean over the steps after which the thing is in view; ``likeness_last``
          after the last one. 1 is the truth, 0 the target as it was;
        - ``place``: intersection over union of where result and truth have changed strongly after the last step;
        - ``appears``: 1 where the result has changed over a quarter at least of the truth's changed area about the
          thing's way, else 0;
        - ``time``: by how many steps half of that area appears too early or too late; NaN where nothing appears.
    """
    height, width = layers.matte.shape[1:]
    made, true = (_halved(c, target, (width, height)) for c in (clip, truth))
    radius = max(round(_AROUND * width), 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    inside = layers.matte > 127
    around = np.stack([cv2.dilate(m.astype(np.uint8), kernel) > 0 for m in inside])
    alike = [
        correlation(made[t][around[t]], true[t][around[t]]) if inside[t].mean() >= LEAST else math.nan
        for t in range(1, len(made))
    ]
    known = [x for x in alike if math.isfinite(x)]
    strong = [np.abs(change).mean(-1) > _STRONG for change in (made, true)]
    union = (strong[0][-1] | strong[1][-1]).sum()
    way = around.any(0)
    areas = [(s & way).sum((1, 2)) for s in strong]
    half = [int(np.argmax(area >= max(area[-1] / 2, 1))) for area in areas]
    appears = bool(areas[1][-1]) and bool(areas[0][-1] >= _APPEARS * areas[1][-1])
    return {
        "likeness": float(np.mean(known)) if known else math.nan,
        "likeness_last": alike[-1],
        "place": float((strong[0][-1] & strong[1][-1]).sum() / union) if union else math.nan,
        "appears": float(appears),
        "time": float(abs(half[0] - half[1])) if appears else math.nan,
    }
