"""Known actions carried out on a picture: controllers of a checkpoint, and driving with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamdemo.core.actions import ActionSpec
from lamdemo.core.errors import LamdemoError
from lamdemo.engine.inference import Inference
from lamdemo.engine.rollout import HISTORY, Rollout, TransferStep
from lamdemo.models.bottleneck import DiscreteBottleneck
from lamdemo.models.controller import Controller, list_controllers, load_controller

_ROWS = 256  # states that a controller looks at together


@dataclass(frozen=True, eq=False)
class KnownController:
    """A controller and what its commands are."""

    name: str  # "car", "arm", ...
    spec: ActionSpec  # of its commands
    controller: Controller  # the network, in the mode for use
    about: Mapping[str, Any] = field(default_factory=dict)  # how it was made and what was measured

    @property
    def history(self) -> int:
        """C, the commands that are seen at each step."""
        return self.controller.config.history

    def windows(self, actions: np.ndarray, before: np.ndarray | None = None) -> np.ndarray:
        """The commands seen at each step, ``[S, C, A]`` of ``[S, A]``, oldest first.

        Args:
            actions: one a step.
            before: ``[R, A]``, those before the first step, the newest last; the zero command where there are none.

        Raises:
            LamdemoError: they are of another width, or no numbers.
        """
        return command_windows(self.spec, self.history, actions, before)

    @torch.no_grad()
    def latents(self, states: Tensor, actions: np.ndarray | Tensor) -> Tensor:
        """Latent actions ``[B, Z]``, float32, of states ``[B, N, D]`` and windows of commands ``[B, C, A]``."""
        weights = next(self.controller.parameters())
        given = torch.as_tensor(actions, dtype=weights.dtype, device=weights.device)
        states = states.to(weights.device, weights.dtype)
        return self.controller.latents(states, given).float()


def command_windows(
    spec: ActionSpec, history: int, actions: np.ndarray, before: np.ndarray | None = None
) -> np.ndarray:
    """The last ``history`` commands at each step, ``[S, C, A]`` of ``[S, A]``; see `KnownController.windows`."""
    actions = spec.check(actions)
    lead = np.broadcast_to(spec.zero, (history - 1, spec.width))
    if before is not None and len(before):
        lead = np.concatenate([lead, spec.check(before)])
    padded = np.concatenate([lead[len(lead) - (history - 1) :], actions])
    return np.stack([padded[c : c + len(actions)] for c in range(history)], 1)


def find_controller(inference: Inference, folder: Path | None, name: str) -> KnownController:
    """Load a controller from a checkpoint's folder; see `TransferPipeline.controller`."""
    known = list_controllers(folder) if folder is not None else []
    if folder is None or name not in known:
        has = f"it has {', '.join(known)}" if known else "it has none; train one with `lamdemo train-controller`"
        raise LamdemoError(f"The checkpoint {inference.name} has no controller {str(name)[:80]!r}; {has}.")
    weight = inference.model.world_model.tokens.weight
    controller, data = load_controller(folder, name, **fitting(inference), device=weight.device, dtype=weight.dtype)
    if inference.checkpoint and data["checkpoint"] != inference.checkpoint:
        raise LamdemoError(
            f"The controller {name} is of another checkpoint than {inference.name}; train it anew for this one."
        )
    spec = ActionSpec.from_json(data["spec"])
    if spec.width != controller.config.actions:
        raise LamdemoError(f"{name}.json of the controller {name} contradicts itself; copy it again or train it anew.")
    return KnownController(name, spec, controller, data["about"])


def fitting(inference: Inference) -> dict[str, Any]:
    """What a `Controller` must know of a model: channels, latent, grid and, of a discrete one, its codes."""
    config, bottleneck = inference.model.config, inference.model.bottleneck
    return {
        "channels": config.encoder.channels,
        "latent": config.bottleneck.channels,
        "grid": config.encoder.grid,
        "codes": bottleneck.codes.detach().float() if isinstance(bottleneck, DiscreteBottleneck) else None,
    }


def control_latents(
    controller: KnownController, states: Tensor, actions: np.ndarray, before: np.ndarray | None = None
) -> Tensor:
    """Latent actions of a whole episode, each from the true state it was taken in.

    Args:
        controller: of the model whose states these are.
        states: ``[T, N, D]``; the last is not needed and may be missing.
        actions: ``[S, A]``.
        before: see `KnownController.windows`.

    Returns:
        ``[S, Z]``, float32.

    Raises:
        LamdemoError: the actions are of another width, or there are fewer states than actions.
    """
    windows = controller.windows(actions, before)
    if len(states) < len(windows):
        raise LamdemoError(f"There are {len(windows)} actions and {len(states)} states; each action needs its state.")
    parts = [
        controller.latents(states[i : i + _ROWS][: len(windows) - i], windows[i : i + _ROWS])
        for i in range(0, len(windows), _ROWS)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, controller.controller.latent)


class Drive:
    """Carries out known actions step by step on one picture, and takes them back bit by bit.

    Made by `TransferPipeline.drive`. It is a `Rollout` whose latent actions a controller gives, from the state as it
    is then and the last commands.

    Attributes:
        controller: what turns commands into latent actions.
        rollout: what carries them out.
    """

    def __init__(
        self,
        inference: Inference,
        target: np.ndarray,
        controller: KnownController,
        *,
        idle: bool = False,
        between: int = 0,
        history: int = HISTORY,
        before: np.ndarray | None = None,
    ) -> None:
        """See `TransferPipeline.drive`."""
        self.controller = controller
        self._before = None if before is None else controller.spec.check(before)
        self.rollout = Rollout(inference, target, idle=idle, between=between, history=history)
        self._actions: list[np.ndarray] = []
        self._latents: list[np.ndarray] = []

    @property
    def frame(self) -> np.ndarray:
        """The picture as it is now, uint8 ``[H, W, 3]``."""
        return self.rollout.frame

    @property
    def state(self) -> np.ndarray:
        """The model's state as it is now, float32 ``[N, D]``."""
        return self.rollout.state

    @property
    def actions(self) -> np.ndarray:
        """The commands carried out so far and not taken back, float32 ``[S, A]``."""
        return np.stack(self._actions) if self._actions else np.zeros((0, self.controller.spec.width), np.float32)

    @property
    def latents(self) -> np.ndarray:
        """The latent actions that they became, float32 ``[S, Z]``."""
        width = self.controller.controller.latent
        return np.stack(self._latents) if self._latents else np.zeros((0, width), np.float32)

    @property
    def count(self) -> int:
        """Steps taken so far."""
        return self.rollout.count

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return self.rollout.can_undo

    def latent(self, action: np.ndarray) -> np.ndarray:
        """The latent action ``[Z]`` that a command ``[A]`` would be now; nothing is carried out.

        Raises:
            LamdemoError: the command is of another width, or no numbers.
        """
        given = self.controller.spec.check(np.asarray(action, np.float32)[None])
        known = np.stack(self._actions[-self.controller.history :]) if self._actions else given[:0]
        if self._before is not None:
            known = np.concatenate([self._before, known])
        window = self.controller.windows(given, known)
        return self.controller.latents(torch.from_numpy(self.state)[None], window)[0].cpu().numpy()

    def step(self, action: np.ndarray) -> TransferStep:
        """Carry out one command ``[A]``, in the units of the controller's spec.

        Raises:
            LamdemoError: it is of another width, or no numbers.
        """
        z = self.latent(action)
        step = self.rollout.step(z)
        self._actions.append(np.array(action, np.float32))
        self._latents.append(z)
        return step

    def undo(self) -> bool:
        """Take the last step back. Returns False where there is none, or where it is too long ago."""
        if not self.rollout.undo():
            return False
        self._actions.pop()
        self._latents.pop()
        return True

    def reset(self) -> None:
        """Go back to the target; the way there is forgotten."""
        self.rollout.reset()
        self._actions.clear()
        self._latents.clear()

    def now(self) -> TransferStep:
        """The target as the first frame; later, use what `step` returned."""
        return self.rollout.now()
