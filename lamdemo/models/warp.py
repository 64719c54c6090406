"""Moving grids by flows. Flows here are backward and in units of the picture's size (see `lamdemo`)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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
    grid = (places * 2 - 1).permute(0, 2, 3, 1).to(values.dtype)
    return F.grid_sample(values, grid, mode=mode, padding_mode=outside, align_corners=False)


def resize_flow(flow: Tensor, h: int, w: int) -> Tensor:
    """Resample a flow ``[B, 2, ., .]`` to ``[B, 2, h, w]``; in units of the picture, so values stay."""
    if flow.shape[-2:] == (h, w):
        return flow
    return F.interpolate(flow, (h, w), mode="bilinear", align_corners=False)


def warp(values: Tensor, flow: Tensor, *, mode: str = "bilinear") -> Tensor:
    """Move ``values [B, C, h, w]`` by a backward ``flow [B, 2, ., .]`` (resampled to h x w if need be)."""
    h, w = values.shape[-2:]
    places = pixel_centres(h, w, device=values.device) + resize_flow(flow.float(), h, w)
    return sample_at(values.float(), places, mode=mode)
