"""Random shooting: many candidates, the best of them. What every other solver has to beat with the same budget."""

from __future__ import annotations

from dataclasses import dataclass

from lamdemo.planning.solver import (
    Iterative,
    Noise,
    Objective,
    Search,
    SolverState,
    check_setting,
)


@dataclass(frozen=True)
class RandomConfig:
    """How much is tried: as much as the paper's CEM does.

    Attributes:
        samples: candidates an iteration.
        elites: of which the mean cost is told.
        iterations: how often; nothing is learned between them.
    """

    samples: int = 300
    elites: int = 10
    iterations: int = 15

    def __post_init__(self) -> None:
        check_setting("random", "samples", self.samples, 1, 100_000)
        check_setting("random", "elites", self.elites, 1, 100_000)
        check_setting("random", "iterations", self.iterations, 1, 1000)


class RandomShooting(Iterative):
    """See the module."""

    def __init__(self, config: RandomConfig | None = None) -> None:
        self.config = config or RandomConfig()

    def iterate(self, objective: Objective, state: SolverState, noise: Noise, search: Search) -> SolverState:
        """See `Iterative.iterate`."""
        c = self.config
        _, s, u = state.mean.shape
        going = True
        while going:
            candidates = state.mean[:, None] + state.std[:, None] * noise.normal(c.samples, s, u)
            costs = objective(candidates)
            going = search.record(candidates, costs, search.rank(costs, c.elites), state.mean, state.std)
        return SolverState(search.best, state.std)
