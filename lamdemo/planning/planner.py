"""From a start and a goal to a plan (paper, section 4): dynamics, cost, space and solver put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from lamdemo.errors import LamdemoError
from lamdemo.models import Canvas
from lamdemo.models.world_model import Prediction
from lamdemo.pipeline.rollout import to_frames
from lamdemo.planning.solver import SolverState

if TYPE_CHECKING:
    from lamdemo.pipeline import TransferPipeline


@dataclass(frozen=True, eq=False)
class Plan:
    """What to do to get from a start to a goal, and what is expected to happen.

    Attributes:
        actions: the known actions, float32 ``[S, A]`` in their own units; None of a plan in latent space.
        latents: what the world model is given, float32 ``[S, Z]``.
        states: the states imagined by the full world model after each step, float32 ``[S, N, D]``.
        cost: of the plan, by the full world model.
        idle_cost: of doing nothing, by the full world model.
        draft_cost: of the plan by the draft that the search used; None where it used none.
        costs: lowest cost so far after each iteration of the search, float32 ``[I]``; the draft's, where one is used.
        elite_costs: mean cost of each iteration's elites, float32 ``[I]``.
        seed: of the search.
        seconds: how long it took.
        stopped: whether it was stopped before its end; the best so far is then the plan.
        warm: where to start the search for the next plan (`SolverState.shifted` by the steps taken).
        u: the plan in the standard coordinates of its space, float32 ``[S, U]``.
        start: the picture from which it starts, uint8 ``[H, W, 3]``; None where only its state was given.
    """

    actions: np.ndarray | None
    latents: np.ndarray
    states: np.ndarray
    cost: float
    idle_cost: float
    draft_cost: float | None
    costs: np.ndarray
    elite_costs: np.ndarray
    seed: int
    seconds: float
    stopped: bool
    warm: SolverState
    u: np.ndarray
    start: np.ndarray | None
    first_state: np.ndarray = field(repr=False)
    prediction: Prediction = field(repr=False)
    pipeline: TransferPipeline = field(repr=False)

    def __len__(self) -> int:
        """Steps."""
        return len(self.latents)

    @torch.no_grad()
    def frames(self) -> np.ndarray:
        """The start and what is imagined after each step, uint8 ``[S + 1, H, W, 3]``, drawn at the start's size.

        Raises:
            LamdemoError: the plan was made from a state without a picture.
        """
        if self.start is None:
            raise LamdemoError("This plan was made without a picture of its start; plan from a picture to see it.")
        model = self.pipeline.model
        picture = self.pipeline.to_tensor(self.start)[None]
        canvas, state, drawn = Canvas(picture), torch.from_numpy(self.first_state)[None].to(model.device), [self.start]
        for t in range(len(self)):
            step = Prediction(*(part[:, t : t + 1] for part in self.prediction))
            with self.pipeline.computing():
                rendering = model.render(state, step, picture)
            picture, state = canvas.apply(rendering), step.states[:, 0]
            drawn.append(to_frames(picture)[0])
        return np.stack(drawn)
