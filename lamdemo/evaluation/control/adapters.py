"""What commands are turned into, by a controller or by a twin, for `lamdemo.evaluation.control.rollouts`."""

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


class TwinAdapter:
    """Commands as the labels of the twin, the action-conditioned baseline."""

    def __init__(self, twin: ActionConditioned, name: str) -> None:
        """Args: the twin; the kind of commands."""
        self.world_model, self._twin, self._name = twin.world_model, twin, name
        self.history = twin.config.history

    def latents(self, states: Tensor, commands: Tensor) -> Tensor:
        """``[B, Z]`` of commands ``[B, C, A]``, whatever the states."""
        weight = next(self._twin.parameters())
        with torch.no_grad():
            return self._twin.latents(self._name, commands.to(weight.device, weight.dtype))
