"""Layers of real clips by their optical flow: a camera fitted to most of it, and what the camera leaves unexplained.

No label says what acts in a real clip. Where one camera's motion explains most of the picture, the rest moves by
itself. That is a rough truth, for training only: the caller is told which steps it can be had of.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

from lamdemo.video.flow import optical_flow

SIDE = 128  # pixels along each side at which flow is measured
_STILL = 0.6  # pixels a step that flow may err by
_EXPLAINED = 0.55  # share of places that a camera must explain to be believed
_SMALL, _LARGE = 0.01, 0.35  # share of the picture that moves by itself, for it to be one thing and not noise or all


class MotionLayers(NamedTuple):
    """Layers of S steps. Flows are backward, in units of the picture's size."""

    cover: np.ndarray  # float32 [S, 1, h, w] in [0, 1], share of a cell of frame t + 1 that moves by itself
    ground: np.ndarray  # float32 [S, 2, h, w], the fitted camera's flow
    believed: np.ndarray  # float32 [S], 1 where both can be believed, else 0


def motion_layers(pictures: np.ndarray, grid: int) -> MotionLayers:
    """Layers between consecutive frames.

    Args:
        pictures: uint8 RGB ``[T, H, W, 3]``.
        grid: cells along each side of the result; divides `SIDE`.
    """
    small = [cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for picture in pictures]
    steps = [_one_step(first, second, grid) for first, second in pairwise(small)]
    return MotionLayers(*(np.stack(part) for part in zip(*steps, strict=True)))


def _one_step(first: np.ndarray, second: np.ndarray, grid: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`MotionLayers` of one step."""
    nothing = np.zeros((1, grid, grid), np.float32), np.zeros((2, grid, grid), np.float32), np.zeros((), np.float32)
    flow = optical_flow(first, second)
    line = np.arange(4, SIDE, 8)
    x, y = (axis.ravel().astype(np.float32) for axis in np.meshgrid(line, line))
    here = np.stack([x, y], 1)
    there = here + flow[y.astype(int), x.astype(int)]
    # OpenCV draws its samples from a generator of its own, with a fixed seed: the same flow gives the same camera.
    camera, inliers = cv2.estimateAffinePartial2D(
        here, there, method=cv2.RANSAC, ransacReprojThreshold=_STILL, maxIters=200, refineIters=3
    )
    if camera is None or inliers.mean() < _EXPLAINED:
        return nothing
    at = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), -1).astype(np.float32)
    ground = at @ camera[:, :2].T.astype(np.float32) + camera[:, 2].astype(np.float32) - at
    apart = np.linalg.norm(flow - ground, axis=-1)
    alone = cv2.medianBlur((apart > 2 * _STILL).astype(np.uint8), 5)
    share = float(alone.mean())
    if share > _LARGE:
        return nothing
    if share < _SMALL:
        alone[:] = 0

    def cells(values: np.ndarray) -> np.ndarray:
        return cv2.resize(values, (grid, grid), interpolation=cv2.INTER_AREA)

    cover = cells(alone.astype(np.float32))[None]
    return cover, np.stack([cells(ground[..., i]) / SIDE for i in (0, 1)]).astype(np.float32), np.ones((), np.float32)
