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
from torch.utils.checkpoint import checkpoint

from lamdemo.models.layers import (
    AdaLNBlock,
    KeyValueCache,
    PointwiseLinear,
    ResidualConv,
    SteadyLinear,
    rotary_angles,
    zero_initialized,
)
from lamdemo.models.scene_layers import LayeredStep, LayerEvidence, LayerHead, fill_behind
from lamdemo.models.structure import ContentMemory, StructurePath
from lamdemo.models.warp import warp


@dataclass(frozen=True)
class WorldModelConfig:
    """Sizes of the world model."""

    width: int = 256  # E
    depth: int = 4  # transformer blocks
    heads: int = 4  # attention heads
    patch: int = 2  # cells along each side of one token; 2 makes a quarter of the tokens
    context: int = 4  # frames a prediction may look back to, the current one included
    map_channels: int = 32  # channels of the map that z is decoded to
    head_width: int = 96  # channels of the convolutional heads
    layers: bool = False  # whether what acts is a layer of its own; without, one flow moves everything
    # K, channels of the structure that inverse dynamics and the transformer see in the place of states; 0: they see all
    structure: int = 0
    residual: bool = False  # whether z is decoded to a difference of states, too, that is laid on what was moved
    memory: int = 0  # states in which the look of places is searched, the current one included; 0 for no such memory

    def __post_init__(self) -> None:
        if min(self.structure, self.memory) < 0 or (self.memory and not self.structure):
            raise ValueError("a memory of content is searched by structure, and neither is negative")


class Prediction(NamedTuple):
    """One step ahead. Flows are backward, in units of the picture's size."""

    states: Tensor  # [B, T, N, D], the prediction of `s[t+1]` at place t
    flow: Tensor  # [B, T, 2, h, w], of what is seen: of the acting layer where it covers the ground, else the ground's
    gate: Tensor  # [B, T, 1, h, w] in [0, 1], how much was mended instead of moved
    ground: Tensor  # [B, T, 2, h, w], flow of everything but what acts; the same as `flow` without layers
    acting: Tensor  # [B, T, 2, h, w], flow of what acts; the same as `flow` without layers
    matte: Tensor  # [B, T, 1, h, w] in [0, 1], what acts, in frame t; 0 without layers
    cover: Tensor  # [B, T, 1, h, w] in [0, 1], the acting layer in frame t + 1; 0 without layers
    entering: Tensor  # [B, T, 1, h, w] in [0, 1], the part of `cover` that came into view; 0 without layers


class WorldModel(nn.Module):
    """Predict ``s[t+1]`` from ``s[0..t]`` and ``z[t]``. A new one predicts that nothing changes.

    Attributes:
        recompute: in training, compute what is inside blocks again on the way back instead of keeping it: a third more
            work for a fraction of the memory, with the same numbers.
    """

    recompute = False

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
        self.structure = StructurePath(channels, config.structure) if config.structure else None
        self.memory = ContentMemory(channels, c + config.map_channels, c, config.memory) if config.memory else None
        self.residual = SteadyLinear(latent, channels * (grid // 2) ** 2) if config.residual else None
        self.layers: LayerHead | None = None
        self.recall: nn.Linear | None = None
        self.mend_layers: PointwiseLinear | None = None
        if config.layers:
            self.layers = LayerHead(c + config.map_channels, c, grid)
            self.recall = zero_initialized(nn.Linear(p * p, e, bias=False))
            self.mend_layers = zero_initialized(PointwiseLinear(3, c, bias=False))

    def _places(self, frames: range, device: torch.device) -> Tensor:
        """(t, y, x) of every token of ``frames``, ``[T * side^2, 3]``."""
        t = torch.arange(frames.start, frames.stop, device=device)
        yx = torch.arange(self.side, device=device)
        return torch.stack(torch.meshgrid(t, yx, yx, indexing="ij"), -1).reshape(-1, 3)

    def _patches(self, maps: Tensor) -> Tensor:
        """``[B, T, N, C]`` to what each token sees, ``[B, T, side^2, p * p * C]``."""
        b, t, _, c = maps.shape
        p, side = self.config.patch, self.side
        return maps.reshape(b, t, side, p, side, p, c).transpose(3, 4).reshape(b, t, side * side, p * p * c)

    def evidence(self, states: Tensor) -> Tensor:
        """What dynamics is shown of states ``[..., N, D]``, of the same shape: all, or their structure."""
        return states if self.structure is None else self.structure(states)

    def _features(self, states: Tensor, latents: Tensor, carried: Tensor, cache: KeyValueCache | None) -> Tensor:
        """What the heads see of (the structure of) states: the transformer's output and the map of z."""
        b, t = states.shape[:2]
        g, p, side = self.grid, self.config.patch, self.side
        start = 0 if cache is None else cache.frames
        angles = rotary_angles(
            self._places(range(start, start + t), states.device), self.config.width // self.config.heads
        )
        laid = self.map(latents).reshape(b, t, side * side, -1)
        x = self.tokens(self._patches(states)) + self.lay(laid)
        if self.recall is not None:
            x = x + self.recall(self._patches(carried.flatten(3).transpose(2, 3).to(states.dtype)))
        condition = self.condition(latents)
        for i, block in enumerate(self.blocks):
            if self.recompute and cache is None and torch.is_grad_enabled():
                x = checkpoint(block, x, condition, angles, self.config.context, use_reentrant=False)
            else:
                x = block(x, condition, angles, self.config.context, cache, i)
        if cache is not None:
            cache.frames += 1
        x = F.layer_norm(x, x.shape[-1:])
        x = self.unfold(x).reshape(b * t, side, side, p, p, -1).permute(0, 5, 1, 3, 2, 4).reshape(b * t, -1, g, g)
        laid = laid.reshape(b * t, side, side, -1).permute(0, 3, 1, 2)
        laid = F.interpolate(laid, (g, g), mode="bilinear", align_corners=False)
        return torch.cat([x, laid.to(x.dtype)], 1)

    def forward(
        self,
        states: Tensor,
        latents: Tensor,
        cache: KeyValueCache | None = None,
        carried: Tensor | None = None,
    ) -> Prediction:
        """Predict the state after each of the given ones.

        Args:
            states: ``[B, T, N, D]``; with a cache, only the newest state, ``T = 1``.
            latents: ``[B, T, Z]``, ``z[t]`` takes ``s[t]`` to ``s[t+1]``.
            cache: from `new_cache`; is extended by this state.
            carried: ``[B, T, 1, h, w]`` in [0, 1], the acting layer in each state, as the step before left it; the
                cache's own without it, and nothing without a cache.

        Raises:
            ValueError: more than one state with a cache.
        """
        return self.predict(states, latents, cache, carried)[0]

    def predict(
        self,
        states: Tensor,
        latents: Tensor,
        cache: KeyValueCache | None = None,
        carried: Tensor | None = None,
    ) -> tuple[Prediction, LayerEvidence | None]:
        """See `forward`; with it the evidence of the layers ``[B * T, ...]``, for the losses."""
        b, t, _, d = states.shape
        g = self.grid
        if cache is not None and t != 1:
            raise ValueError("with a cache, feed one state at a time")
        if carried is None and cache is not None:
            carried = cache.carried
        if carried is None:
            carried = states.new_zeros(b, t, 1, g, g)
        shown = self.evidence(states)
        x = self._features(shown, latents, carried, cache)
        # The head speaks in cells, the flow is in units of the picture.
        ground = self.motion(x).float() / g
        current = states.transpose(2, 3).reshape(b * t, d, g, g).float()
        evidence = None
        if self.layers is None:
            nothing = ground.new_zeros(b * t, 1, g, g)
            layers = LayeredStep(nothing, ground, nothing, nothing, nothing)
            moved, flow, seen = warp(current, ground), ground, None
        else:
            layers, evidence = self.layers(x, ground, carried.flatten(0, 1))
            cover = layers.cover
            # Only what surely acts is lifted off the ground: an unsure matte shall not blur what it rests on.
            behind = fill_behind(current, (2 * layers.matte - 0.5).clamp(0, 1))
            moved = cover * warp(current, layers.acting) + (1 - cover) * warp(behind, ground)
            flow = cover * layers.acting + (1 - cover) * ground
            seen = torch.cat([cover, layers.hole, layers.entering], 1).detach().to(x.dtype)
        if self.residual is not None:
            change = self.residual(latents.flatten(0, 1)).unflatten(1, (d, g // 2, g // 2))
            moved = moved + F.interpolate(change.float(), (g, g), mode="bilinear", align_corners=False)
        h = self.mend[0](torch.cat([x, current.to(x.dtype), moved.to(x.dtype)], 1))
        if self.mend_layers is not None and seen is not None:
            h = h + self.mend_layers(seen)
        if self.memory is not None:
            h = h + self.memory(x, shown, states, cache, len(self.blocks))
        change, gate = self.mend[1:](h).float().split([d, 1], 1)
        gate = gate.sigmoid()
        after = (moved + gate * change).flatten(2).transpose(1, 2)
        if cache is not None:
            cache.carried = layers.cover[:, None]
        maps = (flow, gate, ground, layers.acting, layers.matte, layers.cover, layers.entering)
        return Prediction(after.unflatten(0, (b, t)), *(m.unflatten(0, (b, t)) for m in maps)), evidence

    def new_cache(self) -> KeyValueCache:
        """An empty key-value cache for a rollout."""
        return KeyValueCache(self.config.context, self.config.memory)

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
