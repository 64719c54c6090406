"""The world model: a state and a latent action become the next state (paper, section 3.1).

A frame-causal transformer conditioned on z through AdaLN-zero. AdaLN treats every place alike while actions
are local in space, so z is also decoded to a small map that is laid over the tokens. What most actions do is
move things: a motion head predicts a flow that warps the state, and a gated residual mends what motion
cannot explain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamdemo.models.layers import (
    AdaLNBlock,
    KeyValueCache,
    PointwiseLinear,
    ResidualConv,
    rotary_angles,
    zero_initialized,
)
from lamdemo.models.warp import warp


@dataclass(frozen=True)
class WorldModelConfig:
    """Sizes of the world model.

    Attributes:
        width: E.
        depth: transformer blocks.
        heads: attention heads.
        patch: cells along each side of one token; 2 makes a quarter of the tokens.
        context: frames a prediction may look back to, the current one included.
        map_channels: channels of the map that z is decoded to.
        head_width: channels of the convolutional heads.
    """

    width: int = 256
    depth: int = 4
    heads: int = 4
    patch: int = 2
    context: int = 4
    map_channels: int = 32
    head_width: int = 96


class Prediction(NamedTuple):
    """One step ahead.

    Attributes:
        states: ``[B, T, N, D]``, the prediction of ``s[t+1]`` at place t.
        flow: ``[B, T, 2, h, w]``, backward, in units of the picture's size.
        gate: ``[B, T, 1, h, w]`` in [0, 1], how much was mended instead of moved.
    """

    states: Tensor
    flow: Tensor
    gate: Tensor


class WorldModel(nn.Module):
    """Predict ``s[t+1]`` from ``s[0..t]`` and ``z[t]``. A new one predicts that nothing changes."""

    def __init__(self, config: WorldModelConfig, channels: int, latent: int, grid: int) -> None:
        super().__init__()
        if grid % config.patch:
            raise ValueError("the grid must be a multiple of the patch")
        self.config, self.grid, self.channels = config, grid, channels
        p, e = config.patch, config.width
        self.side = grid // p
        self.tokens = nn.Linear(p * p * channels, e)
        self.map = nn.Linear(latent, config.map_channels * self.side**2)
        self.lay = nn.Linear(config.map_channels, e)
        self.condition = nn.Sequential(nn.Linear(latent, e), nn.SiLU(), nn.Linear(e, e), nn.SiLU())
        self.blocks = nn.ModuleList(AdaLNBlock(e, config.heads, e) for _ in range(config.depth))
        c = config.head_width
        self.unfold = nn.Linear(e, p * p * c)
        self.motion = nn.Sequential(
            PointwiseLinear(c + config.map_channels, c),
            ResidualConv(c),
            nn.GELU(),
            zero_initialized(PointwiseLinear(c, 2)),
        )
        self.mend = nn.Sequential(
            PointwiseLinear(c + config.map_channels + 2 * channels, c),
            ResidualConv(c),
            nn.GELU(),
            zero_initialized(PointwiseLinear(c, channels + 1)),
        )

    def _places(self, frames: range, device: torch.device) -> Tensor:
        """(t, y, x) of every token of ``frames``, ``[T * side^2, 3]``."""
        t = torch.arange(frames.start, frames.stop, device=device)
        yx = torch.arange(self.side, device=device)
        return torch.stack(torch.meshgrid(t, yx, yx, indexing="ij"), -1).reshape(-1, 3)

    def forward(self, states: Tensor, latents: Tensor, cache: KeyValueCache | None = None) -> Prediction:
        """Predict the state after each of the given ones.

        Args:
            states: ``[B, T, N, D]``; with a cache, only the newest state, ``T = 1``.
            latents: ``[B, T, Z]``, ``z[t]`` takes ``s[t]`` to ``s[t+1]``.
            cache: from `new_cache`; is extended by this state.

        Raises:
            ValueError: more than one state with a cache.
        """
        b, t, n, d = states.shape
        g, p, side = self.grid, self.config.patch, self.side
        if cache is not None and t != 1:
            raise ValueError("with a cache, feed one state at a time")
        start = 0 if cache is None else cache.frames
        angles = rotary_angles(
            self._places(range(start, start + t), states.device), self.config.width // self.config.heads
        )

        x = states.reshape(b, t, side, p, side, p, d).transpose(3, 4).reshape(b, t, side * side, p * p * d)
        laid = self.map(latents).reshape(b, t, side * side, -1)
        x = self.tokens(x) + self.lay(laid)
        condition = self.condition(latents)
        for i, block in enumerate(self.blocks):
            x = block(x, condition, angles, self.config.context, cache, i)
        if cache is not None:
            cache.frames += 1

        x = F.layer_norm(x, x.shape[-1:])
        x = self.unfold(x).reshape(b * t, side, side, p, p, -1).permute(0, 5, 1, 3, 2, 4).reshape(b * t, -1, g, g)
        laid = laid.reshape(b * t, side, side, -1).permute(0, 3, 1, 2)
        laid = F.interpolate(laid, (g, g), mode="bilinear", align_corners=False)
        x = torch.cat([x, laid.to(x.dtype)], 1)
        # The head speaks in cells, the flow is in units of the picture.
        flow = self.motion(x).float() / g
        current = states.reshape(b * t, n, d).transpose(1, 2).reshape(b * t, d, g, g).float()
        moved = warp(current, flow)
        change, gate = self.mend(torch.cat([x, current.to(x.dtype), moved.to(x.dtype)], 1)).float().split([d, 1], 1)
        gate = gate.sigmoid()
        after = (moved + gate * change).flatten(2).transpose(1, 2)
        return Prediction(after.reshape(b, t, n, d), flow.reshape(b, t, 2, g, g), gate.reshape(b, t, 1, g, g))

    def new_cache(self) -> KeyValueCache:
        """An empty key-value cache for a rollout."""
        return KeyValueCache(self.config.context)

    @torch.no_grad()
    def rollout(self, states: Tensor, latents: Tensor) -> Prediction:
        """Feed predictions back: from ``states [B, T0, N, D]`` on, apply ``latents [B, T0 - 1 + S, Z]``.

        The first ``T0 - 1`` latents lie between the given states (their predictions are not fed back).
        Returns the S predictions after the last given state.
        """
        t0 = states.shape[1]
        cache = self.new_cache()
        outputs = []
        state = states[:, :1]
        for t in range(latents.shape[1]):
            prediction = self(state, latents[:, t : t + 1], cache)
            if t + 1 < t0:
                state = states[:, t + 1 : t + 2]
            else:
                state = prediction.states
                outputs.append(prediction)
        return Prediction(*(torch.cat(parts, 1) for parts in zip(*outputs, strict=True)))
