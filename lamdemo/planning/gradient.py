"""Planning by gradients through the world model: Adam from several starts at once, of which the best is kept.

It needs far fewer candidates than sampling where the cost is smooth, and ends in the next hollow where it is not;
several starts make up for that.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lamdemo.planning.solver import Noise, Objective, Search, Solver, SolverConfig, SolverState, around, rank, setting


@dataclass(frozen=True)
class GradientConfig(SolverConfig):
    """How long gradients are followed."""

    solver = "gradient"
    samples: int = setting(12, 1, 10_000)  # starts, the mean among them
    iterations: int = setting(30, 1, 1000)  # steps of Adam
    rate: float = setting(0.2, 1e-5, 10)  # of Adam, in standard coordinates; about how far the first steps go
    # Standard coordinates beyond which no candidate goes; else, where actions are cut off at what is possible and
    # gradients vanish, one would be lost for good.
    bound: float = setting(3.0, 0.1, 100)


class Gradient(Solver):
    """Follows the cost's gradient from several starts."""

    def propose(self, state: SolverState, noise: Noise, index: int) -> Tensor:
        """See `Solver`; what gradients begin with."""
        starts = around(state.mean, state.std, noise.normal(self.config.samples, *state.mean.shape[1:]))
        return starts.clamp(-self.config.bound, self.config.bound)

    def learn(self, state: SolverState, candidates: Tensor, costs: Tensor, elites: Tensor) -> SolverState:
        """See `Solver`; the best candidate, and how far apart all are."""
        top = candidates.gather(1, elites[:, :1, None, None].expand(-1, -1, *candidates.shape[2:]))[:, 0]
        return SolverState(top, candidates.std(1, unbiased=False))

    def iterate(self, objective: Objective, state: SolverState, noise: Noise, search: Search) -> SolverState:
        """See `Solver`."""
        c = self.config
        here = self.propose(state, noise, 0).requires_grad_(True)
        adam = torch.optim.Adam([here], c.rate, betas=(0.9, 0.99))
        going = True
        while going:
            with torch.enable_grad():
                costs = objective(here)
                (slope,) = torch.autograd.grad(costs.sum(), here)
            here.grad = torch.nan_to_num(slope, 0.0, 0.0, 0.0)  # what is no number has no slope
            tried, costs = here.detach().clone(), costs.detach()
            elites = rank(costs, max(c.samples // 4, 1))
            state = self.learn(state, tried, costs, elites)
            going = search.record(tried, costs, elites, state.mean, state.std)
            adam.step()
            here.clamp_(-c.bound, c.bound)
        return state

    def after(self, state: SolverState, best: Tensor) -> SolverState:
        """See `Solver`; as wide as this search began, for gradients narrow nothing."""
        return SolverState(best, torch.ones_like(best))
