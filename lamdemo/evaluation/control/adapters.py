"""What a controller or the action-conditioned baseline makes of commands, for the rollouts beside it."""

from __future__ import annotations

import torch
from torch import Tensor

from lamdemo.engine import TransferPipeline
from lamdemo.engine.controls import KnownController
from lamdemo.models.action_conditioned import ActionConditioned


class ControllerAdapter:
    """Commands to latent actions, by a controller, for the checkpoint's own world model."""

    def __init__(self, pipeline: TransferPipeline, known: KnownController) -> None:
        """Args: whose world model; the controller."""
        self.world_model, self._known, self.history = pipeline.model.world_model, known, known.history

    def latents(self, states: Tensor, commands: Tensor) -> Tensor:
        """``[B, Z]`` of states ``[B, N, D]`` and commands ``[B, C, A]``."""
        return self._known.latents(states, commands)


class BaselineAdapter:
    """Commands as the labels of the action-conditioned baseline."""

    def __init__(self, baseline: ActionConditioned, name: str) -> None:
        """Args: the baseline; the kind of commands."""
        self.world_model, self._baseline, self._name = baseline.world_model, baseline, name
        self.history = baseline.config.history

    def latents(self, states: Tensor, commands: Tensor) -> Tensor:
        """``[B, Z]`` of commands ``[B, C, A]``, whatever the states."""
        weight = next(self._baseline.parameters())
        with torch.no_grad():
            return self._baseline.latents(self._name, commands.to(weight.device, weight.dtype))
