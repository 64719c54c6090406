"""Moving grids by flows. Flows here are backward and in units of the picture's size (see `lamdemo`)."""

from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_MODES = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
_BORDERS = {"border": cv2.BORDER_REPLICATE, "zeros": cv2.BORDER_CONSTANT, "reflection": cv2.BORDER_REFLECT}
_LARGE = 128 * 128  # places from which OpenCV is asked
_FAR = 30.0  # pictures' sizes, beyond which nothing is read at its own place


def pixel_centres(h: int, w: int, *, device: torch.device | str = "cpu") -> Tensor:
    """Centres of the cells of an ``h`` x ``w`` grid in [0, 1], as ``[2, h, w]`` in the order (x, y)."""
    x = (torch.arange(w, device=device, dtype=torch.float32) + 0.5) / w
    y = (torch.arange(h, device=device, dtype=torch.float32) + 0.5) / h
    return torch.stack([x[None].expand(h, w), y[:, None].expand(h, w)])


def sample_at(values: Tensor, places: Tensor, *, mode: str = "bilinear", outside: str = "border") -> Tensor:
    """Read ``values [B, C, H, W]`` at ``places [B, 2, h, w]`` in [0, 1]; returns ``[B, C, h, w]``.

    Places outside the picture read the nearest border value, or with ``outside="reflection"`` the mirrored picture,
    or with ``"zeros"`` nothing.
    """
    if _is_drawing(places[0, 0].numel(), values, places):
        return _remapped(values, places, mode, outside)
    grid = (places * 2 - 1).permute(0, 2, 3, 1).to(values.dtype)
    return F.grid_sample(values, grid, mode=mode, padding_mode=outside, align_corners=False)


def _is_drawing(places: int, *tensors: Tensor) -> bool:
    """Whether a picture of so many places is drawn on a CPU, and nobody learns from it."""
    return places >= _LARGE and all(
        t.device.type == "cpu"
        and t.dtype == torch.float32
        and t.shape[1] <= 4
        and not (torch.is_grad_enabled() and t.requires_grad)
        for t in tensors
    )


def _remapped(values: Tensor, places: Tensor, mode: str, outside: str) -> Tensor:
    """`sample_at` by OpenCV: equal but for rounding (and the taps at a mirrored edge), in a third of the time."""
    h, w = values.shape[-2:]
    at = places.detach() * torch.tensor([w, h], dtype=torch.float32)[:, None, None]
    at.sub_(0.5).clamp_(-_FAR * max(h, w), _FAR * max(h, w)).nan_to_num_()
    return _read(values, at, mode, outside)


def displaced(values: Tensor, by: Tensor, *, mode: str = "bilinear", outside: str = "border") -> Tensor:
    """Read ``values [B, C, H, W]`` at each of its own places, moved ``by`` a coarser ``[B, 2, h, w]``; see `sample_at`.

    Where a picture is drawn, what is computed for each place is computed on the coarse grid as far as it can be.
    """
    h, w = values.shape[-2:]
    if not _is_drawing(h * w, values, by):
        here = pixel_centres(h, w, device=values.device)
        return sample_at(values, here + resized(by, h, w), mode=mode, outside=outside)
    pixels = by.detach().clamp(-_FAR, _FAR).nan_to_num_() * torch.tensor([w, h], dtype=torch.float32)[:, None, None]
    return _read(values, resized(pixels, h, w) + _pixels(h, w), mode, outside)


@functools.lru_cache(maxsize=4)
def _pixels(h: int, w: int) -> Tensor:
    """Numbers of the pixels of a picture ``[1, 2, h, w]``, (x, y) last in memory."""
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    return torch.stack([x, y], -1).float().permute(2, 0, 1)[None]


def _read(values: Tensor, at: Tensor, mode: str, outside: str) -> Tensor:
    """Values at places in pixels ``[B, 2, h, w]``, by OpenCV."""
    c = values.shape[1]
    # Of two channels OpenCV reads at 32nds of a pixel, of one, three and four in between.
    padded = F.pad(values.detach(), (0, 0, 0, 0, 0, 1)) if c == 2 else values.detach()
    pictures, maps = (v.permute(0, 2, 3, 1).contiguous().numpy() for v in (padded, at))
    border = _BORDERS[outside]

    def draw(row: int, out: np.ndarray) -> None:
        cv2.remap(pictures[row], maps[row], None, _MODES[mode], dst=out, borderMode=border)  # type: ignore[call-overload]

    return _drawn(draw, (len(pictures), *maps.shape[1:3], pictures.shape[-1]))[:, :c]


def _drawn(draw: Callable[[int, np.ndarray], None], shape: tuple[int, int, int, int]) -> Tensor:
    """What OpenCV draws into the rows of an array ``[B, h, w, C]``, as ``[B, C, h, w]``.

    Colours are last in memory, as they are read again next time. OpenCV knows no axis of a single channel.
    """
    out = np.empty(shape, np.float32)
    for row in range(shape[0]):
        draw(row, out[row, ..., 0] if shape[-1] == 1 else out[row])
    return torch.from_numpy(out).permute(0, 3, 1, 2)


def resized(values: Tensor, h: int, w: int) -> Tensor:
    """Resample maps ``[B, C, ., .]`` bilinearly to ``[B, C, h, w]``; flows are in units of the picture and stay."""
    if values.shape[-2:] == (h, w):
        return values
    if not _is_drawing(h * w, values):
        return F.interpolate(values, (h, w), mode="bilinear", align_corners=False)
    # Colours last in memory, OpenCV takes a tenth of the time.
    maps = values.detach().permute(0, 2, 3, 1).contiguous().numpy()

    def draw(row: int, out: np.ndarray) -> None:
        cv2.resize(maps[row], (w, h), dst=out, interpolation=cv2.INTER_LINEAR)

    return _drawn(draw, (len(maps), h, w, maps.shape[-1]))


def warp(values: Tensor, flow: Tensor, *, mode: str = "bilinear") -> Tensor:
    """Move ``values [B, C, h, w]`` by a backward ``flow [B, 2, ., .]`` (resampled to h x w if need be)."""
    h, w = values.shape[-2:]
    places = pixel_centres(h, w, device=values.device) + resized(flow.float(), h, w)
    return sample_at(values.float(), places, mode=mode)


def photometric_errors(predicted: Tensor, truth: Tensor) -> Tensor:
    """Error of each picture of ``[B, 3, H, W]``, robust: L1 of colours and of their differences in space. ``[B]``."""
    error = (predicted - truth).abs().mean((1, 2, 3))
    for axis in (-1, -2):
        error = error + (predicted.diff(dim=axis) - truth.diff(dim=axis)).abs().mean((1, 2, 3))
    return error
