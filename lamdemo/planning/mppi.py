"""Model predictive path integral control: every candidate counts, the better the more (as in TD-MPC2's planner)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lamdemo.planning.solver import (
    Iterative,
    Noise,
    Objective,
    Search,
    SolverState,
    around,
    check_setting,
    take,
)


@dataclass(frozen=True)
class MPPIConfig:
    """How long MPPI searches.

    Attributes:
        samples: candidates an iteration, the mean itself among them.
        elites: of them the best, among which the weights are shared out.
        iterations: how often.
        temperature: of the weights ``softmax(-cost / temperature)``, in standard deviations of the elites' costs, so
            that it means the same whatever the cost's units.
        smallest: spread below which it does not go.
    """

    samples: int = 300
    elites: int = 64
    iterations: int = 12
    temperature: float = 0.5
    smallest: float = 0.05

    def __post_init__(self) -> None:
        check_setting("mppi", "samples", self.samples, 2, 100_000)
        check_setting("mppi", "elites", self.elites, 2, 100_000)
        check_setting("mppi", "iterations", self.iterations, 1, 1000)
        check_setting("mppi", "temperature", self.temperature, 1e-3, 1e3)
        check_setting("mppi", "smallest", self.smallest, 0, 1)


class MPPI(Iterative):
    """See the module."""

    def __init__(self, config: MPPIConfig | None = None) -> None:
        self.config = config or MPPIConfig()

    def iterate(self, objective: Objective, state: SolverState, noise: Noise, search: Search) -> SolverState:
        """See `Iterative.iterate`."""
        c = self.config
        _, s, u = state.mean.shape
        mean, std = state.mean, state.std
        going = True
        while going:
            candidates = around(mean, std, noise.normal(c.samples, s, u))
            costs = objective(candidates)
            elites = search.rank(costs, c.elites)
            best, cost = take(candidates, elites), costs.gather(1, elites)
            # A candidate whose cost is no number weighs nothing; were all such, the search stays where it is.
            known = cost.isfinite()
            over = torch.where(known, cost - cost[:, :1], 0.0)
            unit = (over.square().sum(1, keepdim=True) / known.sum(1, keepdim=True)).sqrt().clamp_min(1e-9)
            weight = torch.softmax(torch.where(known, -over / (c.temperature * unit), -torch.inf), 1)[:, :, None, None]
            centre = (weight * best).sum(1)
            spread = (weight * (best - centre[:, None]).square()).sum(1).sqrt().clamp_min(c.smallest)
            some = known.any(1)[:, None, None]
            mean, std = torch.where(some, centre, mean), torch.where(some, spread, std)
            going = search.record(candidates, costs, elites, mean, std)
        return SolverState(mean, std)
