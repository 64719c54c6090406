"""Planners of each kind for one embodiment, all with the same budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lamdemo.engine import TransferPipeline
from lamdemo.engine.controls import KnownController
from lamdemo.evaluation.control.open_loop import PlanMany
from lamdemo.models.action_conditioned import ActionConditioned
from lamdemo.models.distilled import DistilledModel
from lamdemo.planning.building import LATENT_PRIOR, build_planner
from lamdemo.planning.cem import CEMConfig
from lamdemo.planning.decoding import decode_plan
from lamdemo.planning.planner import CostWeights, Planner


@dataclass(frozen=True)
class Budget:
    """How long a plan is searched for; the same for every method that is compared."""

    samples: int | None = None  # candidates an iteration; the solver's own number where it is None
    elites: int | None = None  # of them the best, from which the next are drawn; as above
    iterations: int | None = None  # how often; as above
    refine: int = 32  # of the distilled model's best, those that the full world model judges again
    solver: str = "cem"  # which one searches
    distilled: bool = True  # search with distilled world models, where there are some
    # Share of the cost that is the mean distance over the plan's steps; the rest is its end's, the paper's.
    along: float = 0.0
    rest: float = 0.0  # do nothing where a plan does not promise this share of the cost less than that, see `Planned`
    # Weight of the prior of known commands: half the mean square of their standard coordinates. What the pictures do
    # not tell stays at the mean command.
    prior: float = 0.0
    futures: int = 0  # of each command, over which costs are averaged; 0 for the controller's one latent
    shared: float | None = None  # of CEM's noise, by all steps of a candidate; the solver's own share where it is None
    # What latent plans begin with, see `build_planner`.
    proposals: Literal["recorded", "normal"] = "normal"
    ridge: float = 0.0  # of the commands that latent plans are turned into, see `nearest_commands`

    def told(self) -> dict[str, Any]:
        """For reports, in which the distilled model is called "draft"."""
        return {"draft" if k == "distilled" else k: v for k, v in asdict(self).items()}

    def settings(self) -> dict[str, Any]:
        """What the solver is built with."""
        given = {
            "samples": self.samples,
            "elites": self.elites,
            "iterations": self.iterations,
            "shared": self.shared,
        }
        return {k: v for k, v in given.items() if v is not None}

    def evaluations(self, horizon: int) -> dict[str, int]:
        """Steps of world models that one plan of ``horizon`` steps by CEM takes, the same in every space.

        Returns:
            ``search``: of the distilled model (of the world model, where none is used); ``judged``: of the world model,
            for the best of these, the plan and no action.
        """
        drawn = dataclasses.replace(CEMConfig(), **self.settings())
        judged = self.refine if self.distilled else 0
        again = 1 if self.distilled else 0  # what the distilled model thinks of the plan
        return {
            "search": (drawn.samples * drawn.iterations + again) * horizon,
            "judged": (judged + 2) * horizon,
        }


# Where nothing corrects a plan, what the pictures do not tell is better left at the mean (chosen on validation
# recordings).
OPEN = Budget(samples=96, elites=10, iterations=6, refine=12, prior=0.1)
# A plan that is made at every step, and starts from the last one, need not be searched for as long. There the cost of
# the end alone does not hold the first step, and at the goal plans wander; both were chosen on validation scenes.
CLOSED = Budget(samples=64, elites=8, iterations=4, refine=6, along=0.5, rest=0.1)


class Maker:
    """Makes planners of one embodiment, each once.

    Attributes:
        pipeline: whose world model imagines.
        horizon: steps of a plan, H.
        budget: how long to search.
    """

    def __init__(
        self,
        pipeline: TransferPipeline,
        known: KnownController,
        baseline: ActionConditioned | None,
        budget: Budget,
        horizon: int,
        *,
        distilled_baseline: DistilledModel | None = None,
        latents: Callable[[], np.ndarray | None] = lambda: None,
    ) -> None:
        """Prepare planners; none is made before it is asked for.

        Args:
            pipeline: whose world model imagines.
            known: the embodiment's controller.
            baseline: that knows the embodiment's actions; None where there is none.
            budget: how long to search.
            horizon: steps of a plan.
            distilled_baseline: distilled from it; without it the full baseline searches.
            latents: gives ``[R, T, Z]`` of unlabelled recordings of the embodiment, or ``[M, Z]`` that only span the
                latent space; or None for those that came with the checkpoint.
        """
        self.pipeline, self._known, self._baseline = pipeline, known, baseline
        self.budget, self.horizon, self._distilled_baseline, self._latents = (
            budget,
            horizon,
            distilled_baseline,
            latents,
        )
        self._made: dict[str, Planner] = {}

    @cached_property
    def latents(self) -> np.ndarray | None:
        """What spans the latent space, see above."""
        return self._latents()

    @property
    def methods(self) -> tuple[str, ...]:
        """Of planning: "controller", "latent" where latents span a space, and "twin" where there is a baseline."""
        spanned = self.pipeline.training_latents is not None or self.latents is not None
        return "controller", *(("latent",) if spanned else ()), *(("twin",) if self._baseline is not None else ())

    def planner(self, method: str) -> Planner:
        """The planner of a method.

        Raises:
            LamdemoError: the solver takes no such settings, or there are no latents to span a space.
        """
        if method not in self._made:
            self._made[method] = self._make(method)
        return self._made[method]

    def _make(self, method: str) -> Planner:
        budget = self.budget
        distilled: bool | DistilledModel | None = None if budget.distilled else False
        baseline: bool | ActionConditioned = False
        if method == "twin":
            assert self._baseline is not None
            baseline, distilled = self._baseline, (self._distilled_baseline or False) if budget.distilled else False
        return build_planner(
            self.pipeline,
            controller=self._known,
            space="latent" if method == "latent" else "known",
            solver=budget.solver,
            distilled=distilled,
            baseline=baseline,
            horizon=self.horizon,
            refine=budget.refine,
            latents=self.latents if method == "latent" else None,
            proposals=budget.proposals,
            futures=budget.futures if method == "controller" else 0,
            weights=CostWeights(
                goal=1 - budget.along,
                along=budget.along,
                prior=LATENT_PRIOR if method == "latent" else budget.prior,
                kind="shell" if method == "latent" else "gaussian",
            ),
            **budget.settings(),
        )

    def plan_many(self, method: str) -> PlanMany:
        """The planner of a method for many pairs, with latent plans turned into commands."""
        planner, known = self.planner(method), self._known

        def plan(starts: Tensor, goals: Tensor, before: np.ndarray, seed: int) -> np.ndarray:
            made = []
            for i in range(len(starts)):
                found = planner.plan(starts[i], goals[i], history=before[i], seed=seed + i)
                if found.actions is not None:
                    made.append(found.actions)
                    continue
                states = np.concatenate([found.first_state[None], found.states[:-1]])
                wanted = torch.from_numpy(found.latents)[None]
                began, ridge = torch.from_numpy(states)[None], self.budget.ridge
                made.append(decode_plan(known, began, wanted, before[i : i + 1], ridge=ridge)[0])
            return np.stack(made)

        return plan
