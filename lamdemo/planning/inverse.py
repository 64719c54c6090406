"""Acting by inverse dynamics: the latent action that lies between what is seen and the goal, as a command.

A plan imagines what commands bring about and compares the end with the goal. Inverse dynamics reads from the two
pictures what lies between them, as it does from two frames of a video (paper, section 3). Near the goal that is more
exact than the distance of an imagined state, and it asks no world model. Of a goal many steps away it tells less: then
no command accounts for the latent, and something else must say what to do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lamdemo.core.actions import ActionSpec
from lamdemo.engine import KnownController, TransferPipeline
from lamdemo.models.labelled_inverse import LabelledInverse
from lamdemo.planning.decoding import nearest_commands
from lamdemo.planning.execution import Policy
from lamdemo.simulators.tasks import Task

RIDGE = 0.01
"""Of `nearest_commands` where latents are inferred: channels that they hardly tell of stay at their mean."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What lies between a moment and the goal, as inverse dynamics reads it."""

    frame: np.ndarray  # of the moment, uint8 [H, W, 3]
    before: np.ndarray  # commands before it, float32 [t, A]
    latent: np.ndarray  # float32 [Z]
    command: np.ndarray  # whose latent is nearest, float32 [A]


class InversePolicy(Policy):
    """Gives the command whose latent is nearest to the one inferred from what is seen and the goal.

    Attributes:
        reading: behind the newest command; None where another policy chose it, and before the first.
    """

    def __init__(
        self,
        pipeline: TransferPipeline,
        known: KnownController,
        *,
        far: Policy | None = None,
        trust: float = 0.1,
        near: float = 0.5,
        ridge: float = RIDGE,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            pipeline: its inverse dynamics reads.
            known: controller of the commands.
            far: says what to do where the goal is too far away to be read; without it what is read is always done.
            trust: share of the latent's length that a command must account for.
            near: a latent shorter than this share of what commands' latents differ by is trusted whatever accounts for
                it: nearly nothing is left to be done.
            ridge: see `nearest_commands`.
        """
        self._pipeline, self._known, self._far = pipeline, known, far
        self._trust, self._near, self._ridge = trust, near, ridge
        self.reading: Reading | None = None
        self._asked = False  # whether the other policy chose the command before

    def begin(self, task: Task, seed: int) -> None:
        """See `Policy`."""
        self._task, self._seed = task, seed
        self._goal = self._pipeline.encode(task.goal_frame[None]).float()
        self.reading, self._asked = None, False

    @torch.no_grad()
    def act(self, frame: np.ndarray, before: np.ndarray) -> np.ndarray:
        """See `Policy`."""
        state = self._pipeline.encode(frame[None]).float()
        latent = self._pipeline.model.infer(torch.stack([state, self._goal], 1))[:, 0].float()
        found = nearest_commands(self._known, state, latent, before[None], ridge=self._ridge)
        wanted, left, unit = (float(x[0]) for x in (found.wanted, found.left, found.unit))
        if self._far is None or left <= (1 - self._trust) * wanted or wanted <= self._near * unit:
            self.reading = Reading(frame, before, latent[0].cpu().numpy(), found.commands[0])
            self._asked = False
            return found.commands[0]
        if not self._asked:
            # An earlier plan's rest began where one is no longer.
            self._far.begin(self._task, self._seed)
        self.reading, self._asked = None, True
        return self._far.act(frame, before)


class LabelledInversePolicy(Policy):
    """Gives the command that inverse dynamics from labels alone reads: the baseline of `InversePolicy`."""

    def __init__(self, pipeline: TransferPipeline, model: LabelledInverse, spec: ActionSpec) -> None:
        """Args: encodes pictures; reads commands; what they are."""
        self._pipeline, self._model, self._spec = pipeline, model, spec

    def begin(self, task: Task, seed: int) -> None:
        """See `Policy`."""
        self._goal = self._pipeline.encode(task.goal_frame[None]).float()

    def act(self, frame: np.ndarray, before: np.ndarray) -> np.ndarray:
        """See `Policy`."""
        found = self._model.read(self._pipeline.encode(frame[None]).float(), self._goal)[0]
        return np.clip(found.cpu().numpy(), self._spec.low, self._spec.high).astype(np.float32)
