"""Losses of motion: what moves the pixels of one frame to where the next one has them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lamdemo.models.warp import warp
from lamdemo.models.world_model import Prediction
from lamdemo.training.layer_losses import STILL, StepTruth

_FEW = 6.0  # places that a thing is taken to have at least


def photometric_errors(predicted: Tensor, truth: Tensor) -> Tensor:
    """Error of each picture of ``[B, 3, H, W]``, robust: L1 of colours and of their differences in space. ``[B]``."""
    error = (predicted - truth).abs().mean((1, 2, 3))
    for axis in (-1, -2):
        error = error + (predicted.diff(dim=axis) - truth.diff(dim=axis)).abs().mean((1, 2, 3))
    return error


def _edge_aware_roughness(flow: Tensor, pictures: Tensor) -> Tensor:
    """Mean absolute first difference of ``flow [B, 2, h, w]``, damped where ``pictures`` have edges."""
    small = F.interpolate(pictures, flow.shape[-2:], mode="area")
    total = flow.new_zeros(())
    for axis in (-1, -2):
        edge = small.diff(dim=axis).abs().mean(1, keepdim=True)
        total = total + (flow.diff(dim=axis).abs() * torch.exp(-8 * edge)).mean()
    return total


def _distances_from_matching(flow: Tensor, displacement: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Mean L1 distance ``[B]`` of two flows ``[B, 2, h, w]`` over the places that the second explains.

    Over those places alone, however few: a small thing that moves teaches as much as a moving camera does.
    """
    with torch.no_grad():
        size = flow.shape[-2:]
        moved = F.interpolate((warp(first, displacement) - second).abs().mean(1, keepdim=True), size, mode="area")
        still = F.interpolate((first - second).abs().mean(1, keepdim=True), size, mode="area")
        explained = (moved < 0.8 * still).float()
        # A few places are noise as often as not: they count less.
        places = explained.sum((1, 2, 3)) + 0.02 * size[0] * size[1]
    return (explained * (flow - displacement).abs().sum(1, keepdim=True)).sum((1, 2, 3)) / places


def _distances_from_truth(flow: Tensor, truth: Tensor, acting: Tensor, known: Tensor) -> Tensor:
    """L1 distance ``[B]`` of two flows ``[B, 2, h, w]``, summed over the picture, for each place that moves.

    Divided by what moves and not by the picture's size: else a thing's motion could spill over its surroundings
    for nothing, since each of those places hardly counts.

    Args:
        flow: what was found.
        truth: what is true.
        acting: share of each place that belongs to a thing that acts, ``[B, 1, h, w]``.
        known: share of each place whose motion is known, ``[B, 1, h, w]``.
    """
    apart = known * (flow - truth).abs().sum(1, keepdim=True)
    moving = known * torch.maximum(acting, (truth.norm(dim=1, keepdim=True) * flow.shape[-1] > STILL / 2).float())
    # A sliver of a thing at the picture's edge says little, and of a picture that stands still every place counts.
    return apart.sum((1, 2, 3)) / moving.sum((1, 2, 3)).clamp_min(_FEW)


def motion_losses(
    pictures: Tensor,
    prediction: Prediction,
    displacement: Tensor,
    known: StepTruth | None,
    *,
    balance: float,
    layers: bool,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Terms that compare motion with small copies of the pictures, and with the truth where there is one.

    Args:
        pictures: ``[B, T, 3, H, W]``.
        prediction: of the world model.
        displacement: ``[B * S, 2, h, w]``, as inverse dynamics reads it from correlations.
        known: of scenes, the last rows.
        balance: see `LossConfig.balance`.
        layers: whether the world model tells what acts from the rest.

    Returns:
        Terms by their name in `LossConfig`, and logs.
    """
    b, t = pictures.shape[:2]
    grid = prediction.flow.shape[-1]
    side = 4 * grid
    small = F.interpolate(pictures.flatten(0, 1), (side, side), mode="area").reshape(b, t, 3, side, side)
    first, second = small[:, :-1].flatten(0, 1), small[:, 1:].flatten(0, 1)
    flat = Prediction(*(part.flatten(0, 1) for part in prediction))
    with torch.no_grad():
        still = photometric_errors(first, second)
        share = (still.mean() / still.clamp_min(1e-4)) ** balance
        share = share.clamp(max=6.0) / share.clamp(max=6.0).mean()

    def up(values: Tensor) -> Tensor:
        return F.interpolate(values.float(), (side, side), mode="bilinear", align_corners=False)

    cover = up(flat.cover)
    made = cover * warp(first, flat.acting) + (1 - cover) * warp(first, flat.ground)
    # No motion explains what was uncovered, nor what came into view.
    with torch.no_grad():
        hidden = up(warp(flat.matte, flat.ground) * (1 - flat.cover))
        if known is not None:
            true = (known.before > 0.05).float() * (1 - known.after)
            hidden[-known.count :] = torch.maximum(up(true), up(known.entering))
    moved = photometric_errors(made + hidden * (second - made), second)
    matched = photometric_errors(warp(first, displacement), second)
    taught = _distances_from_matching(flat.flow, displacement.detach(), first, second)
    terms = {
        "motion": (share * moved).mean(),
        "match": (share * matched).mean(),
        "teach": taught.mean() * grid,
        "smooth": _edge_aware_roughness(flat.ground * grid, second),
    }
    if known is not None:
        m = known.count
        seen = (1 - known.entering) * torch.maximum(known.known, (known.after > 0.5).float())
        found = [displacement[-m:]] if layers else [displacement[-m:], flat.flow[-m:]]
        apart = [_distances_from_truth(f, known.flow, known.after, seen).sum() for f in found]
        terms["truth"] = sum(apart) * grid / len(first)  # type: ignore[assignment]
    logs = {
        "motion_over_copy": moved.mean() / still.mean(),
        "match_over_copy": matched.mean() / still.mean(),
    }
    return terms, logs
