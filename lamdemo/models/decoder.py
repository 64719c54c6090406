"""The decoder that only looks: a predicted state becomes a picture (paper, section 3.4).

It renders the next picture by moving and mending the pixels of the current one. Flow and mask are made on
a small grid and applied at the picture's own resolution, so that an uploaded photograph stays sharp. It is
trained apart: everything it sees of the model is detached.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamdemo.models.layers import PointwiseLinear, ResidualConv, zero_initialized
from lamdemo.models.warp import pixel_centres, resize_flow, sample_at


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the decoder.

    Attributes:
        width: channels of its convolutions.
        picture: side of the small copy of the current picture that it looks at, in pixels.
    """

    width: int = 64
    picture: int = 128


class Rendering(NamedTuple):
    """How to make the next picture from the current one, on a grid of half `DecoderConfig.picture`.

    Attributes:
        flow: ``[B, 2, r, r]``, backward, in units of the picture's size.
        mask: ``[B, 1, r, r]`` in [0, 1], where the colour replaces the moved pixels.
        colour: ``[B, 3, r, r]``, in [0, 1].
    """

    flow: Tensor
    mask: Tensor
    colour: Tensor


class Decoder(nn.Module):
    """Flow, mask and colour of the next picture. A new one renders the world model's own flow."""

    def __init__(self, config: DecoderConfig, channels: int, grid: int) -> None:
        super().__init__()
        w = config.width
        if config.picture != 8 * grid:
            raise ValueError("the decoder's picture must have 8 pixels a cell")
        self.config, self.grid = config, grid
        self.look = PointwiseLinear(12, w // 2)
        self.look_again = PointwiseLinear(2 * w, w)
        self.enter = nn.Sequential(PointwiseLinear(2 * channels + 3, w), ResidualConv(w))
        self.join = nn.Sequential(PointwiseLinear(2 * w, w), ResidualConv(w))
        self.refine = nn.Sequential(PointwiseLinear(w + w // 2, w // 2), ResidualConv(w // 2), nn.SiLU())
        self.leave = zero_initialized(PointwiseLinear(w // 2, 6))
        with torch.no_grad():
            self.leave.bias[2] = -4.0  # start by moving pixels, not by painting over them

    def forward(self, states: Tensor, after: Tensor, flow: Tensor, gate: Tensor, pictures: Tensor) -> Rendering:
        """Say how the next picture comes from the current one.

        Args:
            states: current states ``[B, N, D]``.
            after: predicted states ``[B, N, D]``.
            flow: the world model's flow ``[B, 2, h, w]``.
            gate: the world model's gate ``[B, 1, h, w]``.
            pictures: current pictures ``[B, 3, H, W]`` in [0, 1], of any size.
        """
        g, side = self.grid, self.config.picture
        states, after, flow, gate = (x.detach() for x in (states, after, flow, gate))
        if pictures.shape[-2:] != (side, side):
            pictures = F.interpolate(pictures, (side, side), mode="area")
        fine = F.silu(self.look(F.pixel_unshuffle(pictures - 0.5, 2)))
        middle = F.silu(self.look_again(F.pixel_unshuffle(fine, 2)))
        maps = [x.transpose(1, 2).reshape(len(x), -1, g, g) for x in (states, after - states)]
        x = self.enter(torch.cat([*maps, flow * g, gate], 1))
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = self.join(torch.cat([x, middle], 1))
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        out = self.leave(self.refine(torch.cat([x, fine], 1))).float()
        change, mask, colour = out.split([2, 1, 3], 1)
        r = out.shape[-1]
        return Rendering(resize_flow(flow.float(), r, r) + change / g, (2 * mask).sigmoid(), (colour + 0.5).clamp(0, 1))


class Canvas:
    """A picture being changed step by step, at its own resolution.

    Warping a picture that was warped before blurs it a little each time. So the canvas keeps, for every
    pixel, the place in the original picture it comes from, and what has been painted over it; the original is
    sampled once, however many steps were taken.
    """

    def __init__(self, picture: Tensor) -> None:
        """Start from ``picture [B, 3, H, W]`` in [0, 1]."""
        self.original = picture
        b, _, h, w = picture.shape
        self._centres = pixel_centres(h, w, device=picture.device)[None]
        self._places = self._centres.expand(b, -1, -1, -1)
        self._paint = torch.zeros(b, 4, h, w, device=picture.device)  # colour times cover, cover

    @property
    def picture(self) -> Tensor:
        """The picture as it is now, ``[B, 3, H, W]`` in [0, 1]."""
        return self._drawn(self._places, self._paint)

    def apply(self, rendering: Rendering) -> Tensor:
        """Take one step and return the new picture ``[B, 3, H, W]``."""
        self.advance(rendering)
        return self.picture

    def advance(self, rendering: Rendering) -> None:
        """Take one step without drawing it. Nothing is changed in place, so a shallow copy is a snapshot."""
        self._places, self._paint = self._after(rendering, 1.0)

    def preview(self, rendering: Rendering, share: float) -> Tensor:
        """The picture after a ``share`` (0 to 1) of a step, which is not taken. ``[B, 3, H, W]``."""
        return self._drawn(*self._after(rendering, share))

    def first(self) -> Canvas:
        """The first picture of the batch alone, as a canvas of its own."""
        alone = copy.copy(self)
        alone.original, alone._places, alone._paint = self.original[:1], self._places[:1], self._paint[:1]
        return alone

    def _drawn(self, places: Tensor, paint: Tensor) -> Tensor:
        # What comes into view from outside is not known; a mirrored edge shows less than a smeared one.
        base = sample_at(self.original, places, mode="bicubic", outside="reflection").clamp(0, 1)
        return base * (1 - paint[:, 3:]) + paint[:, :3]

    def _after(self, rendering: Rendering, share: float) -> tuple[Tensor, Tensor]:
        h, w = self.original.shape[-2:]

        def full(values: Tensor) -> Tensor:
            return F.interpolate(values.float(), (h, w), mode="bilinear", align_corners=False)

        target = self._centres + full(rendering.flow) * share
        # Beyond the outermost pixels the map goes on straight, so that a picture moved out and back is whole.
        edge = 0.5 / torch.tensor([w, h], device=target.device, dtype=target.dtype)[:, None, None]
        inside = target.maximum(edge).minimum(1 - edge)
        places = sample_at(self._places, inside) + (target - inside)
        mask, colour = full(rendering.mask) * share, full(rendering.colour)
        paint = torch.cat([colour, torch.ones_like(mask)], 1)
        return places, sample_at(self._paint, inside) * (1 - mask) + mask * paint

    @property
    def total_flow(self) -> Tensor:
        """Backward flow from the original to now, ``[B, 2, H, W]``, in units of the picture's size."""
        return self._places - self._centres
