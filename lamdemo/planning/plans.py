"""What a planner is given and what it gives: problems, plans, and the cost's landscape."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline
from lamdemo.engine.rollout import draw, to_frames
from lamdemo.models.world_model import Prediction
from lamdemo.planning.solver import SolverState


@dataclass(frozen=True, eq=False)
class Problem:
    """From where to where, encoded; made by `Planner.problem`."""

    start: Tensor  # state [1, N, D]
    goal: Tensor  # state [1, N, D]
    history: Tensor  # commands before, [1, C - 1, A]
    picture: np.ndarray | None = None  # of the start, uint8 [H, W, 3]; None where only a state was given


@dataclass(frozen=True, eq=False)
class Imagined:
    """Actions, and what the full world model expects of them."""

    actions: np.ndarray | None  # the known actions, float32 [S, A] in their own units; None of a plan in latent space
    latents: np.ndarray  # what the world model is given, float32 [S, Z]
    states: np.ndarray  # after each step, float32 [S, N, D]
    cost: float  # by the full world model
    u: np.ndarray  # the actions in the standard coordinates of the space, float32 [S, U]
    problem: Problem = field(repr=False)  # between what they lead
    prediction: Prediction = field(repr=False)  # all that is predicted
    pipeline: TransferPipeline = field(repr=False)  # what draws it

    def __len__(self) -> int:
        """Steps."""
        return len(self.latents)

    @property
    def start(self) -> np.ndarray | None:
        """The picture from which they start, uint8 ``[H, W, 3]``; None where only its state was given."""
        return self.problem.picture

    @property
    def first_state(self) -> np.ndarray:
        """The state from which they start, float32 ``[N, D]``."""
        return self.problem.start[0].cpu().numpy()

    @torch.no_grad()
    def frames(self) -> np.ndarray:
        """The start and what is imagined after each step, uint8 ``[S + 1, H, W, 3]``, drawn at the start's size.

        Raises:
            LamdemoError: the plan was made from a state without a picture.
        """
        if self.start is None:
            raise LamdemoError("This plan was made without a picture of its start; plan from a picture to see it.")
        steps = (Prediction(*(part[:, t : t + 1] for part in self.prediction)) for t in range(len(self)))
        drawn = draw(self.pipeline, self.pipeline.to_tensor(self.start)[None], self.problem.start, steps)
        return np.stack([self.start, *(to_frames(pictures)[0] for pictures in drawn)])


@dataclass(frozen=True, eq=False)
class Plan(Imagined):
    """What to do to get from a start to a goal, and what is expected to happen."""

    idle_cost: float  # of doing nothing, by the full world model
    distilled_cost: float | None  # of the plan by the distilled model that searched; None without one
    # Lowest cost so far after each iteration of the search, float32 [I]; the distilled model's, where one searched.
    costs: np.ndarray
    elite_costs: np.ndarray  # mean cost of each iteration's elites, float32 [I]
    seed: int  # of the search
    seconds: float  # how long it took
    stopped: bool  # whether it was stopped before its end; the best so far is then the plan
    warm: SolverState  # where to start the search for the next plan (`SolverState.shifted` by the steps taken)


@dataclass(frozen=True, eq=False)
class Landscape:
    """The cost over two coordinates of the action, which all steps share."""

    axes: tuple[int, int]  # which coordinates
    names: tuple[str, str]  # theirs
    # Values along the first, float32 [P]: known actions in their own units, latents in standard coordinates.
    x: np.ndarray
    y: np.ndarray  # values along the second, float32 [P]
    costs: np.ndarray  # float32 [P, P], a row for each y
