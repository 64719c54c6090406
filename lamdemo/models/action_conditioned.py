"""The action-conditioned baseline: the same world model, told labels where the latent model infers actions.

The paper compares planning with latent actions against world models that were trained on labels. This one differs
from the latent model in nothing else: the states, the sizes, the data and the number of steps are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lamdemo.models.layers import fit_scales
from lamdemo.models.world_model import WorldModel, WorldModelConfig


@dataclass(frozen=True)
class ActionConditionedConfig:
    """Sizes of the action-conditioned model."""

    widths: dict[str, int]  # A of each kind of action, by name
    history: int = 2  # C, commands that a step sees, its own included
    hidden: int = 256  # width of the networks that read labels
    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)  # of the world model


class LabelEncoder(nn.Module):
    """Commands of one kind to what the world model is conditioned on."""

    mean: Tensor
    std: Tensor

    def __init__(self, actions: int, history: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(actions))
        self.register_buffer("std", torch.ones(actions))
        self.layers = nn.Sequential(
            nn.Linear(actions * history, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, latent),
        )

    def fit(self, actions: Tensor) -> None:
        """Standardize by commands ``[M, A]``; one that never changes keeps its unit, as a controller's does."""
        fit_scales(self.mean, self.std, actions)

    def forward(self, actions: Tensor) -> Tensor:
        """Conditions ``[B, Z]`` of commands ``[B, C, A]``."""
        return self.layers(((actions - self.mean) / self.std).flatten(1))


class ActionConditioned(nn.Module):
    """A world model that is told the actions' labels.

    Attributes:
        world_model: takes what `latents` gives in the place of latent actions.
    """

    def __init__(self, config: ActionConditionedConfig, channels: int, latent: int, grid: int) -> None:
        """Args: its sizes; channels of a state, of a condition, cells along the grid's side."""
        super().__init__()
        self.config = config
        self.labels = nn.ModuleDict(
            {name: LabelEncoder(a, config.history, config.hidden, latent) for name, a in config.widths.items()}
        )
        self.world_model = WorldModel(config.world_model, channels, latent, grid)

    @property
    def names(self) -> tuple[str, ...]:
        """The kinds of action that it knows."""
        return tuple(self.config.widths)

    def fit(self, actions: Mapping[str, Tensor]) -> None:
        """Standardize each kind by its commands ``[M, A]``."""
        for name, rows in actions.items():
            encoder = self.labels[name]
            assert isinstance(encoder, LabelEncoder)
            encoder.fit(rows)

    def latents(self, name: str, actions: Tensor) -> Tensor:
        """What the world model is conditioned on, ``[B, Z]``, of commands ``[B, C, A]`` of the kind ``name``.

        Raises:
            KeyError: it was not trained on such actions.
        """
        return self.labels[name](actions)
