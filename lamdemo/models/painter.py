"""The painter: pictures of what was never seen. It looks only: no gradient of it reaches the world model.

What comes into view is painted from the predicted state: a small network that learned, on real frames, which picture
belongs to a state. What a thing leaves behind is filled from its surroundings: OpenCV's inpainting gives the colours,
the picture mirrored about the hole's edge gives the grain that inpainting lacks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamdemo.models.layers import PointwiseLinear, ResidualConv, zero_initialized

_FILL_SIDE = 320  # pixels along the longer side at which colours are filled; the grain is that of the picture itself


@dataclass(frozen=True)
class PainterConfig:
    """Sizes of the painter."""

    widths: tuple[int, int, int] = (160, 96, 48)  # channels at 1, 2 and 4 pixels along a cell's side; the picture has 8


class Painter(nn.Module):
    """A state to the picture it may be of. A new one paints gray."""

    def __init__(self, config: PainterConfig, channels: int, grid: int) -> None:
        super().__init__()
        a, b, c = config.widths
        self.grid = grid
        self.enter = nn.Sequential(PointwiseLinear(channels, a), ResidualConv(a), ResidualConv(a))
        # Resized and then convolved: shuffled pixels show their grid.
        self.middle = nn.Sequential(nn.Conv2d(a, b, 3, padding=1), ResidualConv(b), ResidualConv(b))
        self.fine = nn.Sequential(nn.Conv2d(b, c, 3, padding=1), ResidualConv(c), nn.SiLU())
        self.leave = nn.Sequential(
            nn.Conv2d(c, 24, 3, padding=1), nn.SiLU(), zero_initialized(nn.Conv2d(24, 3, 3, padding=1))
        )

    def forward(self, states: Tensor) -> Tensor:
        """Pictures ``[B, 3, 8 h, 8 w]``, about [0, 1], of states ``[B, N, D]``."""
        g = self.grid
        x = self.enter(states.detach().transpose(1, 2).reshape(len(states), -1, g, g))
        for part in (self.middle, self.fine, self.leave):
            x = part(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        return x.float() + 0.5


def fill_hole(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Fill a hole of a picture from its surroundings.

    Args:
        picture: uint8 ``[H, W, 3]``.
        hole: bool ``[H, W]``, what is not known.

    Returns:
        uint8 ``[H, W, 3]``; known pixels as they were.
    """
    if not hole.any() or hole.all():
        return picture
    h, w = hole.shape
    scale = min(_FILL_SIDE / max(h, w), 1.0)
    size = max(round(w * scale), 1), max(round(h * scale), 1)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    # A cell that the hole only touches has some of its colour, so it is filled too.
    unknown = (cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.01).astype(np.uint8)
    if unknown.all():
        return picture
    colours = cv2.inpaint(small, unknown, 4, cv2.INPAINT_TELEA)
    colours = cv2.resize(colours, (w, h), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    filled = (colours + _mirrored_grain(picture, hole)).clip(0, 255).round().astype(np.uint8)
    return np.where(hole[..., None], filled, picture)


def _mirrored_grain(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """What is finer than a blur, mirrored into a hole about its edge, float32 ``[H, W, 3]``."""
    h, w = hole.shape
    _, nearest = cv2.distanceTransformWithLabels(hole.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    y, x = np.nonzero(~hole)
    edge = np.zeros((nearest.max() + 1, 2), np.float32)
    edge[nearest[y, x]] = np.stack([x, y], 1)
    here = np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1).astype(np.float32)
    near = edge[nearest]
    there = 2 * near - here
    known = (~hole).astype(np.float32)
    sigma = max(0.015 * w, 1.0)
    low = _blurred(picture * known[..., None], sigma) / (_blurred(known, sigma)[..., None] + 1e-3)
    grain = (picture - low) * known[..., None]
    # Beside strong edges "grain" is the edge itself, and mirrored edges are ghosts: only small differences are taken.
    limit = 1.5 * np.abs(grain[~hole]).mean() + 2
    return cv2.remap(
        grain.clip(-limit, limit), there[..., 0], there[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    """Blurred by two boxes, float32, as wide together as a Gaussian of that many pixels, in a tenth of its time."""
    side = 2 * round((math.sqrt(6 * sigma**2 + 1) - 1) / 2) + 1
    values = cv2.blur(values.astype(np.float32), (side, side))
    return cv2.blur(values, (side, side))


def fill_behind_matte(pictures: Tensor, mattes: Tensor) -> Tensor:
    """Pictures ``[B, 3, H, W]`` in [0, 1] with what lies under mattes ``[B, 1, H, W]``, and a rim around, filled."""
    rim = 2 * max(round(0.012 * pictures.shape[-1]), 1) + 1
    around = np.ones((rim, rim), np.uint8)
    plates = []
    for picture, matte in zip(pictures, mattes[:, 0].cpu().numpy(), strict=True):
        hole = cv2.dilate((matte > 0.08).astype(np.uint8), around) > 0
        values = (picture.permute(1, 2, 0).cpu().numpy() * 255).round().astype(np.uint8)
        filled = torch.from_numpy(fill_hole(values, hole)).permute(2, 0, 1).to(pictures) / 255
        plates.append(torch.where(torch.from_numpy(hole).to(pictures.device), filled, picture))
    return torch.stack(plates)
