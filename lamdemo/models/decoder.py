"""The decoder that only looks: a predicted state becomes a picture (paper, section 3.4).

It renders the next picture by moving and mending the pixels of the current one. Flows, matte and mask are made on
small grids and applied at the picture's own resolution (`lamdemo.models.canvas`), so that an uploaded photograph stays
sharp. It is trained apart: everything it sees of the model is detached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamdemo.models.encoder import DeepFeatures
from lamdemo.models.layers import PointwiseLinear, ResidualConv, zero_initialized
from lamdemo.models.warp import resized
from lamdemo.models.world_model import Prediction


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the decoder."""

    width: int = 64  # channels of its convolutions
    picture: int = 128  # side of the small copy of the current picture that it looks at, in pixels
    deep: bool = False  # whether the sharp matte sees features of strides 16 and 32 of the picture, trained with it


UNSURE = 0.02  # mask up to which nothing is painted: what it would veil is better moved


class Rendering(NamedTuple):
    """How to make the next picture from the current one. Flows are backward, in units of the picture's size."""

    flow: Tensor  # [B, 2, r, r], of what is seen, on a grid of half `DecoderConfig.picture`; to look at
    mask: Tensor  # [B, 1, r, r] in [0, 1], where the colour replaces the moved pixels
    colour: Tensor  # [B, 3, ., .], in [0, 1]
    ground: Tensor  # [B, 2, r, r], flow of everything but what acts
    acting: Tensor  # [B, 2, h, w], flow of what acts
    matte: Tensor  # [B, 1, ., .] in [0, 1], what acts, in the current picture; 0 without layers

    @classmethod
    def one_layer(cls, flow: Tensor, mask: Tensor, colour: Tensor) -> Rendering:
        """Everything moves by one flow."""
        return cls(flow, mask, colour, flow, flow, torch.zeros_like(mask))


class MatteHead(nn.Module):
    """A sharp matte of what acts: from the world model's coarse one, the state and the encoder's finer features."""

    def __init__(self, channels: int, width: int, details: tuple[int, int], deep: bool) -> None:
        super().__init__()
        fine, finer = details
        self.norm, self.norm_finer = nn.GroupNorm(1, fine), nn.GroupNorm(1, finer)
        self.coarse = nn.Sequential(PointwiseLinear(2 * channels + 7, 96), ResidualConv(96))
        self.middle = nn.Sequential(PointwiseLinear(96 + fine + width, 64), ResidualConv(64), ResidualConv(64))
        self.fine = nn.Sequential(PointwiseLinear(64 + finer + width // 2, 40), ResidualConv(40), nn.SiLU())
        self.leave = zero_initialized(nn.Conv2d(40, 4, 3, padding=1))
        self.deep: DeepFeatures | None = None
        if deep:
            self.deep = DeepFeatures(fine)
            self.norms = nn.ModuleList(nn.GroupNorm(1, c) for c in DeepFeatures.channels)
            self.join = zero_initialized(PointwiseLinear(sum(DeepFeatures.channels), 96, bias=False))
            self.coarser = nn.Sequential(ResidualConv(96), ResidualConv(96))

    def forward(
        self, maps: Tensor, matte: Tensor, looks: tuple[Tensor, Tensor], details: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Logits ``[B, 1, 8 h, 8 w]``.

        Args:
            maps: what the world model says, ``[B, 2 * channels + 7, h, w]``.
            matte: its matte ``[B, 1, h, w]`` in [0, 1].
            looks: the decoder's view of the picture at 2 and 4 pixels a cell's side.
            details: the encoder's features there.
        """
        x = self.coarse(maps)
        if self.deep is not None:
            middle, deep = (norm(f) for norm, f in zip(self.norms, self.deep(details[0]), strict=True))
            x = self.coarser(x + self.join(torch.cat([middle, _doubled(deep)], 1)))
        # Details are of full precision, which norms of half precision do not take.
        fine, finer = (norm(d.to(norm.weight)) for norm, d in zip((self.norm, self.norm_finer), details, strict=True))
        x = _doubled(x)
        x = _doubled(self.middle(torch.cat([x, fine, looks[0]], 1)))
        x = self.fine(torch.cat([x, finer, looks[1]], 1))
        sharp = F.pixel_shuffle(self.leave(x).float(), 2)
        coarse = F.interpolate(matte, sharp.shape[-2:], mode="bilinear", align_corners=False)
        return sharp + torch.logit(coarse.clamp(1e-3, 1 - 1e-3))


def _doubled(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)


class Decoder(nn.Module):
    """Flow, mask and colour of the next picture. A new one renders the world model's own flow."""

    def __init__(self, config: DecoderConfig, channels: int, grid: int, details: tuple[int, int] | None = None) -> None:
        """Args: sizes; channels of a state; cells of its grid; with layers, channels of the encoder's details."""
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
        self.matte: MatteHead | None = None
        self.enter_layers: PointwiseLinear | None = None
        if details is not None:
            self.matte = MatteHead(channels, w, details, config.deep)
            self.enter_layers = zero_initialized(PointwiseLinear(3, w, bias=False))

    def forward(
        self,
        states: Tensor,
        prediction: Prediction,
        pictures: Tensor,
        details: tuple[Tensor, Tensor] | None = None,
        paint: Callable[[], Tensor] | None = None,
    ) -> tuple[Rendering, Tensor | None]:
        """Say how the next picture comes from the current one.

        Args:
            states: current states ``[B, N, D]``.
            prediction: of the next ones, with ``T = 1``.
            pictures: current pictures ``[B, 3, H, W]`` in [0, 1], of any size.
            details: with layers, the encoder's features of the pictures (`Encoder.details`); None where no matte is
                needed, which is then 0.
            paint: with layers, gives a painter's picture ``[B, 3, ., .]`` of the predicted state; outside training
                it is asked for only where the mask shows some of it.

        Returns:
            The rendering, and the matte's logits ``[B, 1, ., .]`` for the loss.
        """
        g, side = self.grid, self.config.picture
        after, _, gate, ground, acting, matte, cover, entering = (x.detach()[:, 0] for x in prediction)
        states = states.detach()
        if pictures.shape[-2:] != (side, side):
            pictures = F.interpolate(pictures, (side, side), mode="area")
        fine = F.silu(self.look(F.pixel_unshuffle(pictures - 0.5, 2)))
        middle = F.silu(self.look_again(F.pixel_unshuffle(fine, 2)))
        maps = [x.transpose(1, 2).reshape(len(x), -1, g, g) for x in (states, after - states)]
        x = self.enter[0](torch.cat([*maps, ground * g, gate], 1))
        layers = torch.cat([matte, cover, entering], 1)
        if self.enter_layers is not None:
            x = x + self.enter_layers(layers.to(x.dtype))
        x = self.enter[1](x)
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = self.join(torch.cat([x, middle], 1))
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        out = self.leave(self.refine(torch.cat([x, fine], 1))).float()
        change, mask, colour = out.split([2, 1, 3], 1)
        r = out.shape[-1]
        logits, sharp = None, matte
        if self.matte is not None and details is not None:
            seen = torch.cat([*maps, acting * g, ground * g, layers], 1)
            logits = self.matte(seen, matte, (middle, fine), details)
            sharp = logits.sigmoid()
        elif self.matte is not None:
            sharp = torch.zeros_like(matte)
        mask = (2 * mask).sigmoid()
        if paint is None or not (self.training or mask.max() > UNSURE):
            colour = colour + 0.5
        else:
            painted = paint()
            colour = painted.float() + F.interpolate(colour, painted.shape[-2:], mode="bilinear", align_corners=False)
        ground = resized(ground.float(), r, r) + change / g
        over = F.interpolate(cover, (r, r), mode="bilinear", align_corners=False)
        flow = ground + over * (resized(acting.float(), r, r) - ground)
        rendering = Rendering(flow, mask, colour.clamp(0, 1), ground, acting.float(), sharp)
        return rendering, logits
