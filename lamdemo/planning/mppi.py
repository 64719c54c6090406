"""Model predictive path integral control: every candidate counts, the better the more (as in TD-MPC2's planner)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lamdemo.planning.solver import Noise, Solver, SolverConfig, SolverState, around, setting, take


@dataclass(frozen=True)
class MPPIConfig(SolverConfig):
    """How long MPPI searches."""

    solver = "mppi"
    samples: int = setting(300, 2, 100_000)  # candidates an iteration, the mean itself among them
    elites: int = setting(64, 2, 100_000)  # how many of the best the weights are shared out among
    iterations: int = setting(12, 1, 1000)  # how often
    # Of the weights `softmax(-cost / temperature)`, in standard deviations of the elites' costs, so that it means the
    # same whatever the cost's units.
    temperature: float = setting(0.5, 1e-3, 1e3)
    smallest: float = setting(0.05, 0, 1)  # spread below which it does not go


class MPPI(Solver):
    """Moves to the mean of the best candidates, weighted by their costs."""

    def propose(self, state: SolverState, noise: Noise, index: int) -> Tensor:
        """See `Solver`."""
        return around(state.mean, state.std, noise.normal(self.config.samples, *state.mean.shape[1:]))

    def learn(self, state: SolverState, candidates: Tensor, costs: Tensor, elites: Tensor) -> SolverState:
        """See `Solver`."""
        best, cost = take(candidates, elites), costs.gather(1, elites)
        # A candidate whose cost is no number weighs nothing; were all such, the search stays where it is.
        known = cost.isfinite()
        over = torch.where(known, cost - cost[:, :1], 0.0)
        unit = (over.square().sum(1, keepdim=True) / known.sum(1, keepdim=True)).sqrt().clamp_min(1e-9)
        weight = torch.softmax(torch.where(known, -over / (self.config.temperature * unit), -torch.inf), 1)
        weight = weight[:, :, None, None]
        centre = (weight * best).sum(1)
        spread = (weight * (best - centre[:, None]).square()).sum(1).sqrt().clamp_min(self.config.smallest)
        some = known.any(1)[:, None, None]
        return SolverState(torch.where(some, centre, state.mean), torch.where(some, spread, state.std))
