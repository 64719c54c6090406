"""What acts and the rest, as two layers: a matte, a motion of each, and what comes into view.

One flow has no behind: where a thing moves over its surroundings, a single flow must stretch one of the two. So the
world model says which part of the current state *acts* (the matte), how that part moves as a whole (a similarity
about its own middle, and a small remainder for limbs), how everything else moves (the *ground*), what of the acting
layer is hidden afterwards, and what *enters*. The similarity is voted for: each place proposes the displacement of
the acting thing's middle, its turn and its growth, and the places under the matte are averaged. Those numbers do not
depend on the thing's size or place, as the flow that they lead to does.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamdemo.models.layers import PointwiseLinear, ResidualConv, zero_initialized
from lamdemo.models.warp import pixel_centres, sample_at, warp

_EVIDENCE = 0.3  # cells of matte below which its middle is drawn to the picture's and its votes to no motion
_TURN = 0.1  # turn and growth are small numbers; the network speaks in units of this


class LayerEvidence(NamedTuple):
    """What the network says of one step, before it is composed; for the losses."""

    matte: Tensor  # logits [B, 1, h, w], in the current frame, of what acts
    # [B, 4, h, w]: at each place the proposed displacement (x, y) of the acting thing's middle, in units of the
    # picture's size, and the real and imaginary part of its similarity less one.
    votes: Tensor
    remainder: Tensor  # [B, 2, h, w], in the next frame, what is added to the similarity's flow
    entering: Tensor  # logits [B, 1, h, w], in the next frame, of the acting layer's part that came into view


class LayeredStep(NamedTuple):
    """The layers of one step."""

    matte: Tensor  # [B, 1, h, w] in [0, 1], what acts, in the current frame
    acting: Tensor  # [B, 2, h, w], its backward flow
    cover: Tensor  # [B, 1, h, w] in [0, 1], the acting layer in the next frame, as far as it is visible
    hole: Tensor  # [B, 1, h, w] in [0, 1], what the acting layer uncovered in the next frame
    entering: Tensor  # [B, 1, h, w] in [0, 1], the part of `cover` that came into view


def middle_of(matte: Tensor) -> Tensor:
    """Centre of mass ``[B, 2]`` of mattes ``[B, 1, h, w]``, in units of the picture's size."""
    at = pixel_centres(*matte.shape[-2:], device=matte.device)[None]
    return ((at * matte).sum((2, 3)) + 0.5 * _EVIDENCE) / (matte.sum((2, 3)) + _EVIDENCE)


def similarity_flow(middle: Tensor, shift: Tensor, turn: Tensor, grid: int) -> Tensor:
    """Backward flow of the map ``p -> middle + shift + (1 + turn) (p - middle)`` of complex numbers.

    Args:
        middle: ``[B, 2]``, in units of the picture's size.
        shift: ``[B, 2]``, displacement of the middle.
        turn: ``[B, 2]``, real and imaginary part: growth and turn about the middle.
        grid: cells along each side of the result.

    Returns:
        ``[B, 2, grid, grid]``.
    """
    here = pixel_centres(grid, grid, device=middle.device)[None]
    away = here - (middle + shift)[:, :, None, None]
    real, imaginary = (1 + turn[:, 0])[:, None, None], turn[:, 1][:, None, None]
    size = (real.square() + imaginary.square()).clamp_min(0.1)
    x = (away[:, 0] * real + away[:, 1] * imaginary) / size
    y = (away[:, 1] * real - away[:, 0] * imaginary) / size
    return torch.stack([x, y], 1) + middle[:, :, None, None] - here


def move_matte(matte: Tensor, flow: Tensor) -> Tensor:
    """Move a matte ``[B, 1, h, w]`` by a backward flow ``[B, 2, h, w]``; nothing lies beyond the picture's edge."""
    places = pixel_centres(*matte.shape[-2:], device=matte.device) + flow.float()
    return sample_at(matte.float(), places, outside="zeros")


def fill_behind(values: Tensor, matte: Tensor) -> Tensor:
    """Values ``[B, C, h, w]`` with what lies under ``matte [B, 1, h, w]`` replaced by its surroundings.

    Known cells are averaged over ever larger squares until there are some.
    """
    known = 1 - matte
    levels = [(values * known, known)]
    while min(levels[-1][0].shape[-2:]) > 1:
        levels.append((F.avg_pool2d(levels[-1][0], 2), F.avg_pool2d(levels[-1][1], 2)))
    filled = levels[-1][0] / levels[-1][1].clamp_min(1e-4)
    for part, weight in reversed(levels[:-1]):
        filled = F.interpolate(filled, part.shape[-2:], mode="bilinear", align_corners=False)
        sure = (2 * weight).clamp(max=1)
        filled = sure * part / weight.clamp_min(1e-4) + (1 - sure) * filled
    return values + matte * (filled - values)


class LayerHead(nn.Module):
    """Layers of a step from the world model's features. A new one finds nothing that acts, and moves nothing."""

    def __init__(self, features: int, width: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.join = nn.Sequential(
            PointwiseLinear(features + 1, width), ResidualConv(width), ResidualConv(width), nn.GELU()
        )
        self.leave = zero_initialized(PointwiseLinear(width, 9))  # matte, votes, remainder, visible, entering
        with torch.no_grad():
            self.leave.bias[0], self.leave.bias[7], self.leave.bias[8] = -3.0, 4.0, -5.0

    def forward(self, features: Tensor, ground: Tensor, carried: Tensor) -> tuple[LayeredStep, LayerEvidence]:
        """Find the layers of one step.

        Args:
            features: of the world model ``[B, C, h, w]``.
            ground: backward flow ``[B, 2, h, w]`` of everything else.
            carried: ``[B, 1, h, w]``, the acting layer as the step before left it; zeros where nothing is known.
        """
        out = self.leave(self.join(torch.cat([features, carried.to(features.dtype)], 1))).float()
        logits, shift, turn, remainder, visible, entering = out.split([1, 2, 2, 2, 1, 1], 1)
        votes = torch.cat([shift / self.grid, turn * _TURN], 1)
        matte, remainder = logits.sigmoid(), remainder / self.grid
        # Where the matte is unsure the votes are not asked; and they shall not bend it to their liking.
        weight = matte.detach().square()
        voted = (votes * weight).sum((2, 3)) / (weight.sum((2, 3)) + 0.1 * _EVIDENCE)
        acting = similarity_flow(middle_of(weight), voted[:, :2], voted[:, 2:], self.grid) + remainder
        stays = move_matte(matte, acting) * visible.sigmoid()
        enters = entering.sigmoid()
        cover = stays + enters - stays * enters
        hole = warp(matte, ground) * (1 - cover)
        step = LayeredStep(matte, acting, cover, hole, enters)
        return step, LayerEvidence(logits, votes, remainder, entering)
