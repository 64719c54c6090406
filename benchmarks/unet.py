"""The video network of Stable Video Diffusion (arXiv 2311.15127) with AdaWorld's settings, to be timed.

Levels of 320, 640, 1280 and 1280 channels with two residual blocks each (three on the way up), attention on the first
three; every residual block and every attention block over space is followed by one over time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS, ATTEND, HEAD, CONTEXT, TIME = (320, 640, 1280, 1280), (True, True, True, False), 64, 1056, 1280


class Residual(nn.Module):
    """A residual block over space ``[T, C, H, W]``, then one over time."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.GroupNorm(32, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.leave = nn.Sequential(nn.GroupNorm(32, outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.moments = nn.ModuleList(nn.Linear(TIME, outputs) for _ in range(2))
        self.over_time = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(32, outputs), nn.SiLU(), nn.Conv3d(outputs, outputs, (3, 1, 1), padding=(1, 0, 0))
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor, moment: Tensor, context: Tensor) -> Tensor:
        """``[T, C, H, W]`` under the condition ``moment [T, 1280]``."""
        x = self.skip(x) + self.leave(self.enter(x) + self.moments[0](moment)[..., None, None])
        y = x.transpose(0, 1)[None]
        y = self.over_time[0](y) + self.moments[1](moment).T[None, :, :, None, None]
        return x + self.over_time[1](y)[0].transpose(0, 1)


class Layer(nn.Module):
    """Attention among tokens and to the context, and a gated MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = nn.ModuleList(nn.Linear(width, n * width) for n in (3, 1))
        self.other = nn.ModuleList((nn.Linear(width, width), nn.Linear(CONTEXT, 2 * width), nn.Linear(width, width)))
        self.up, self.down = nn.Linear(width, 8 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Tokens ``[B, L, C]`` and a context ``[B, 1, 1056]``."""

        def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (part.unflatten(-1, (-1, HEAD)).transpose(1, 2) for part in (q, k, v))
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

        x = x + self.own[1](attended(*self.own[0](self.norms[0](x)).chunk(3, -1)))
        x = x + self.other[2](attended(self.other[0](self.norms[1](x)), *self.other[1](context).chunk(2, -1)))
        value, gate = self.up(self.norms[2](x)).chunk(2, -1)
        return x + self.down(value * F.gelu(gate))


class Attend(nn.Module):
    """A transformer layer over space, then one over time with an MLP before it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.enter, self.leave = nn.GroupNorm(32, width), nn.Linear(width, width), nn.Linear(width, width)
        self.space, self.time = Layer(width), Layer(width)
        self.up, self.down = nn.Linear(width, 8 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, moment: Tensor, context: Tensor) -> Tensor:
        """``[T, C, H, W]``."""
        h, w = x.shape[-2:]
        y = self.space(self.enter(self.norm(x).flatten(2).transpose(1, 2)), context)
        over = y.transpose(0, 1)
        value, gate = self.up(over).chunk(2, -1)
        over = over + self.down(value * F.gelu(gate))
        y = y + self.time(over, context[:1].expand(h * w, -1, -1)).transpose(0, 1)
        return x + self.leave(y).transpose(1, 2).unflatten(2, (h, w))


class AdaWorldNet(nn.Module):
    """One evaluation of AdaWorld's network: all frames of a clip, the known ones and the new."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.down, self.up = nn.Conv2d(8, WIDTHS[0], 3, padding=1), nn.ModuleList(), nn.ModuleList()
        kept, now = [WIDTHS[0]], WIDTHS[0]
        for level, (width, attend) in enumerate(zip(WIDTHS, ATTEND, strict=True)):
            for _ in range(2):
                self.down.append(nn.ModuleList([Residual(now, width), *([Attend(width)] if attend else [])]))
                now = width
                kept.append(now)
            if level < len(WIDTHS) - 1:
                self.down.append(nn.Conv2d(now, now, 3, stride=2, padding=1))
                kept.append(now)
        self.middle = nn.ModuleList([Residual(now, now), Attend(now), Residual(now, now)])
        for level in reversed(range(len(WIDTHS))):
            for k in range(3):
                parts = [Residual(now + kept.pop(), WIDTHS[level]), *([Attend(WIDTHS[level])] if ATTEND[level] else [])]
                now = WIDTHS[level]
                if level and k == 2:
                    parts.append(nn.Conv2d(now, now, 3, padding=1))
                self.up.append(nn.ModuleList(parts))
        self.leave = nn.Sequential(nn.GroupNorm(32, now), nn.SiLU(), nn.Conv2d(now, 4, 3, padding=1))

    def forward(self, latents: Tensor, moment: Tensor, context: Tensor) -> Tensor:
        """``[T, 4, H, W]`` of latents ``[T, 8, H, W]``, conditions ``[T, 1280]`` and contexts ``[T, 1, 1056]``."""
        x = self.enter(latents)
        kept = [x]
        for stage in self.down:
            if isinstance(stage, nn.Conv2d):
                x = stage(x)
            else:
                for part in stage:
                    x = part(x, moment, context)
            kept.append(x)
        for part in self.middle:
            x = part(x, moment, context)
        for stage in self.up:
            x = torch.cat([x, kept.pop()], 1)
            for part in stage:
                if isinstance(part, nn.Conv2d):
                    x = part(F.interpolate(x, scale_factor=2))
                else:
                    x = part(x, moment, context)
        return self.leave(x)
