"""The distilled world model: small, so that planners can try thousands of actions; its files are called "draft".

Planning asks for tens of thousands of steps of a world model (the paper's budget: 300 candidates, 15 iterations, 3
steps), most of them for candidates that are thrown away. The distilled model imagines them ten times cheaper, in
a coarser space; the few best are imagined again with the large model. As the draft of speculative decoding, it
proposes and does not decide.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lamdemo.models.layers import KeyValueCache
from lamdemo.models.world_model import Prediction, WorldModel, WorldModelConfig


@dataclass(frozen=True)
class DistilledConfig:
    """Sizes of the distilled model."""

    pool: int = 2  # cells along each side of one coarse cell
    channels: int = 96  # of a coarse cell; its cells' principal components
    # Of the small world model.
    world_model: WorldModelConfig = field(
        default_factory=lambda: WorldModelConfig(width=128, depth=3, heads=4, patch=2, map_channels=16, head_width=32)
    )


class DistilledModel(nn.Module):
    """A small world model of coarse states ``[n, d]``, which a fixed linear map makes of states ``[N, D]``.

    Attributes:
        world_model: predicts coarse states from coarse states and latents.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, config: DistilledConfig, channels: int, latent: int, grid: int) -> None:
        """Args: its sizes; of the large model: channels of a state, of a latent, cells along the grid's side."""
        super().__init__()
        if grid % config.pool:
            raise ValueError("the grid must be a multiple of the pool")
        patch = config.pool**2 * channels
        if config.channels > patch:
            raise ValueError("a coarse cell cannot have more channels than its cells together")
        self.config, self.grid, self.side, self.cell = config, grid, grid // config.pool, channels
        self.register_buffer("mean", torch.zeros(patch))
        self.register_buffer("basis", torch.eye(patch)[: config.channels])  # orthonormal rows [d, p * p * D]
        self.world_model = WorldModel(config.world_model, config.channels, latent, self.side)

    def _patches(self, states: Tensor) -> Tensor:
        """``[..., N, D]`` to ``[..., n, p * p * D]``."""
        p, side = self.config.pool, self.side
        lead, d = states.shape[:-2], states.shape[-1]
        x = states.reshape(*lead, side, p, side, p, d).transpose(-4, -3)
        return x.reshape(*lead, side * side, p * p * d)

    @torch.no_grad()
    def fit(self, states: Tensor) -> float:
        """Set the linear map to the principal components of ``states [M, N, D]``.

        Returns:
            The share of the variance that it keeps.
        """
        patches = self._patches(states.float()).flatten(0, 1)
        mean = patches.mean(0)
        centred = patches - mean
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(patches))
        self.mean.copy_(mean)
        self.basis.copy_(vectors.flip(-1).T[: self.config.channels])
        return float(values.flip(0)[: self.config.channels].sum() / values.sum())

    def project(self, states: Tensor) -> Tensor:
        """States ``[..., N, D]`` to coarse ones ``[..., n, d]``."""
        return (self._patches(states) - self.mean) @ self.basis.T

    def lift(self, coarse: Tensor) -> Tensor:
        """Coarse states ``[..., n, d]`` back to ``[..., N, D]``; what `project` dropped is at its mean."""
        p, side, lead = self.config.pool, self.side, coarse.shape[:-2]
        x = (coarse @ self.basis + self.mean).reshape(*lead, side, side, p, p, self.cell).transpose(-4, -3)
        return x.reshape(*lead, self.grid**2, self.cell)

    def new_cache(self) -> KeyValueCache:
        """An empty key-value cache for a rollout."""
        return self.world_model.new_cache()

    def forward(self, coarse: Tensor, latents: Tensor, cache: KeyValueCache | None = None) -> Prediction:
        """Predict coarse states; see `WorldModel.forward`."""
        return self.world_model(coarse, latents, cache)
