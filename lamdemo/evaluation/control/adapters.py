"""What a controller or the action-conditioned baseline makes of commands, for the rollouts beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamdemo.core.actions import ActionSpec
from lamdemo.core.errors import LamdemoError
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


def check_names(name: str, spec: ActionSpec, known: KnownController) -> None:
    """See that a controller knows the actions of an embodiment.

    Raises:
        LamdemoError: it knows others.
    """
    if spec.names != known.spec.names:
        raise LamdemoError(
            f"The actions of {name} are {', '.join(spec.names)} and the controller {known.name} knows "
            f"{', '.join(known.spec.names)}; use the one that was trained on them."
        )


def commands_of(known: KnownController) -> tuple[Any, Any]:
    """Mean and standard deviation ``[A]`` of the commands in a controller's training recordings.

    Its own scales are of all that it learned from, flipped and reversed recordings among them, whose mean is nothing.
    """
    told = known.about.get("commands")
    if told is not None:
        return np.array(told["mean"], np.float32), np.array(told["std"], np.float32)
    return known.controller.mean.float().cpu().numpy(), known.controller.std.float().cpu().numpy()
