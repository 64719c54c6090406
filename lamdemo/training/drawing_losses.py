"""Losses of decoder and painter; nothing else gets a gradient from them."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lamdemo.models.decoder import Rendering
from lamdemo.models.latent_action_model import LatentActionModel
from lamdemo.models.scene_layers import move_matte
from lamdemo.models.warp import photometric_errors, warp
from lamdemo.models.world_model import Prediction
from lamdemo.training.layer_losses import SceneTruth, matte_errors, uniform


def drawing_losses(
    model: LatentActionModel,
    pictures: Tensor,
    states: Tensor,
    past: Tensor,
    prediction: Prediction,
    truth: SceneTruth | None,
    painting: float,
    generator: torch.Generator | None,
) -> dict[str, Tensor]:
    """Terms of decoder and painter, by their name in `LossConfig`.

    One step of each real clip and of every other scene is drawn: they learn faster than the world model and cost as
    much.
    """
    b, t = pictures.shape[:2]
    device = pictures.device
    scenes = len(truth.matte) if truth is not None else 0
    other = 2 * torch.arange(scenes // 2, device=device)
    other = other + torch.randint(2, (scenes // 2,), generator=generator, device=device)
    clip = torch.cat([torch.arange(b - scenes, device=device), b - scenes + other])
    b, k = len(clip), len(other) if model.painter is not None else 0
    step = torch.randint(t - 1, (b,), generator=generator, device=device)
    side = model.config.decoder.picture
    large = pictures[clip, step]
    current, goal = F.interpolate(torch.cat([large, pictures[clip, step + 1]]), (side, side), mode="area").chunk(2)
    one = Prediction(*(part[clip, step][:, None].detach() for part in prediction))
    details, paint = None, None
    terms: dict[str, Tensor] = {}
    if model.painter is not None:
        with torch.no_grad():
            details = model.details(large)
        # Of true states and of predicted ones: those are what it will see.
        chosen = uniform(generator, device, b, 1, 1) < 0.5
        painted = model.painter(torch.where(chosen, states[clip, step + 1], one.states[:, 0].float()))
        paint = painted.detach
        terms["painter"] = _painting_error(model, painted, goal)
    rendering, logits = model.decoder(past[clip, step], one, current, details, paint)

    made, cover, matte, ground, mask, colour = composed(rendering, current, painted_over=logits is None)
    if logits is None:
        unexplained = torch.zeros_like(mask)
    else:
        unexplained = (warp(matte, ground) * (1 - cover)).detach()
    if k and truth is not None and logits is not None:
        rows, at = other, step[-k:]
        before, after, entering = truth.matte[rows, at], truth.matte[rows, at + 1], truth.entering[rows, at]
        unexplained[-k:] = ((before > 0.02).float() * (1 - after)).maximum(entering)
        terms["sharp"] = 2 * matte_errors(logits[-k:], before).sum() / b
        entered = matte_errors(torch.logit(mask[-k:].clamp(1e-4, 1 - 1e-4)), entering).sum() / b
        off = ((colour[-k:] - goal[-k:]).abs().mean(1, keepdim=True) * entering).sum() / entering.sum().clamp_min(30.0)
        terms["entering"] = 2 * entered + 3 * off
    drawn = photometric_errors(made + unexplained * (goal - made), goal).mean()
    terms["decoder"] = drawn + painting * mask[: b - k].sum() / (b * side**2)
    return terms


class Composed(NamedTuple):
    """A next picture made of a rendering, and the rendering's parts at the picture's size."""

    made: Tensor  # [B, 3, H, W]
    cover: Tensor  # [B, 1, H, W], the acting layer after the step
    matte: Tensor  # [B, 1, H, W], before it
    ground: Tensor  # [B, 2, H, W]
    mask: Tensor  # [B, 1, H, W]
    colour: Tensor  # [B, 3, H, W]


def composed(rendering: Rendering, current: Tensor, *, painted_over: bool) -> Composed:
    """Move the current pictures ``[B, 3, H, W]`` as a rendering says, in a way that has a gradient.

    Args:
        rendering: of the step.
        current: the pictures before it.
        painted_over: whether the colour goes over what was moved.
    """

    def up(values: Tensor) -> Tensor:
        return F.interpolate(values.float(), current.shape[-2:], mode="bilinear", align_corners=False)

    ground, acting, mask, colour, matte = (
        up(x) for x in (rendering.ground, rendering.acting, rendering.mask, rendering.colour, rendering.matte)
    )
    cover = move_matte(matte, acting)
    made = cover * warp(current, acting) + (1 - cover) * warp(current, ground)
    if painted_over:
        made = made * (1 - mask) + mask * colour
    return Composed(made, cover, matte, ground, mask, colour)


def _painting_error(model: LatentActionModel, painted: Tensor, goal: Tensor) -> Tensor:
    """L1 of the painter's pictures and, a little, of what the frozen encoder sees in them."""
    seen = model.details(painted)
    with torch.no_grad():
        wanted = model.details(goal)
    perceived = [(a - b).abs().mean() / b.abs().mean().clamp_min(1e-3) for a, b in zip(seen, wanted, strict=True)]
    return (painted - goal).abs().mean() + 0.05 * sum(perceived)
