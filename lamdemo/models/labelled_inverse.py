"""Inverse dynamics that learned from labels alone: the command between two states, without any latent.

What inverse dynamics learned from videos is worth what this lacks: the architecture is the same, and it has never seen
a video without commands.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lamdemo.models.inverse_dynamics import InverseDynamicsConfig, build_inverse_dynamics
from lamdemo.models.layers import fit_scales


class LabelledInverse(nn.Module):
    """Reads the command that leads from one state to the next."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: InverseDynamicsConfig, channels: int, grid: int, actions: int) -> None:
        """Args: sizes as the checkpoint's; channels of a state, cells along the grid's side; A."""
        super().__init__()
        self.inverse_dynamics = build_inverse_dynamics(config, channels, grid)
        self.leave = nn.Linear(2 * config.hidden, actions)
        self.register_buffer("mean", torch.zeros(actions))
        self.register_buffer("std", torch.ones(actions))

    def fit(self, actions: Tensor) -> None:
        """Standardize by commands ``[M, A]``; one that never changes keeps its unit."""
        fit_scales(self.mean, self.std, actions)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Standardized commands ``[B, A]`` between pairs of states, each ``[B, N, D]``."""
        seen = self.inverse_dynamics(first, second)
        return self.leave(torch.cat([seen.forward, seen.backward], 1))

    @torch.no_grad()
    def read(self, first: Tensor, second: Tensor) -> Tensor:
        """Commands ``[B, A]`` in their own units."""
        return self(first, second).float() * self.std + self.mean
