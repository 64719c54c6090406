"""Latents refined on their own clip: what inverse dynamics reads at a glance begins a short search.

One pass of the inverse dynamics is amortized inference: one network for all clips. For the clip at hand there is a
better latent near by, the one with which the world model explains it best (semi-amortized inference, arXiv
1802.02550). Nothing is learnt: the weights stay as they are, and the search sees the source alone, never the target.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lamdemo.models import LatentActionModel
from lamdemo.models.warp import photometric_errors, warp
from lamdemo.models.world_model import Prediction

_CHUNK = 16  # steps that are refined at once: their activations are kept for the gradient
_PIXELS = 4  # along each side of a cell, of the pictures whose motion is compared


@dataclass(frozen=True)
class RefinementConfig:
    """The search for a better latent."""

    steps: int = 5  # of Adam
    rate: float = 0.03  # how far each number of a latent goes in the first of them; it falls to nothing along a cosine
    # Weight of the mean distance of the predicted matte from that of the latent at the beginning, beside the
    # photometric error of the picture that the predicted motions make. Without it the search may let another thing
    # act, which explains the source as well and is wrong everywhere else.
    matte: float = 0.25


def refine(
    model: LatentActionModel, states: Tensor, pictures: Tensor, latents: Tensor, config: RefinementConfig
) -> Tensor:
    """Latents ``[S, Z]`` with which the world model explains a clip better than with those given.

    Args:
        model: its weights are not changed.
        states: of the clip, ``[T, N, D]``.
        pictures: of the same frames in [0, 1], ``[T, 3, H, W]``.
        latents: to begin from, ``[S, Z]``; continuous ones.
        config: of the search.
    """
    side = _PIXELS * model.config.encoder.grid
    small = F.interpolate(pictures, (side, side), mode="area")
    found = [
        _search(model, states[at : at + _CHUNK + 1], small[at : at + _CHUNK + 1], latents[at : at + _CHUNK], config)
        for at in range(0, len(latents), _CHUNK)
    ]
    return torch.cat(found)


def _search(
    model: LatentActionModel, states: Tensor, pictures: Tensor, latents: Tensor, config: RefinementConfig
) -> Tensor:
    z = latents.detach().float().clone()
    optimizer = torch.optim.Adam([z], lr=config.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    matte: Tensor | None = None
    for _ in range(config.steps):
        with torch.enable_grad():
            z.requires_grad_(True)
            prediction = model.world_model(states[:-1, None], z[:, None])
            if matte is None:
                matte = prediction.matte.detach()
            moved = (prediction.matte - matte).abs().mean((1, 2, 3, 4))
            loss = (_unexplained(prediction, pictures) + config.matte * moved).sum()
            (z.grad,) = torch.autograd.grad(loss, [z])  # and none for the weights
        optimizer.step()
        schedule.step()
    return z.detach()


def _unexplained(prediction: Prediction, pictures: Tensor) -> Tensor:
    """Photometric errors ``[S]`` of the pictures that the predicted motions make of those before."""
    cover, ground, acting, matte = (
        part[:, 0] for part in (prediction.cover, prediction.ground, prediction.acting, prediction.matte)
    )
    first, second = pictures[:-1], pictures[1:]

    def up(values: Tensor) -> Tensor:
        return F.interpolate(values, pictures.shape[-2:], mode="bilinear", align_corners=False)

    made = up(cover) * warp(first, acting) + (1 - up(cover)) * warp(first, ground)
    # No motion explains what was uncovered.
    hidden = up(warp(matte, ground) * (1 - cover)).detach()
    return photometric_errors(made + hidden * (second - made), second)
