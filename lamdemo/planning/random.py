"""Random shooting: many candidates, the best of them. What every other solver has to beat with the same budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lamdemo.planning.solver import (
    Callback,
    Noise,
    Objective,
    Search,
    Solution,
    SolverState,
    check_setting,
    starting_state,
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


class RandomShooting:
    """See the module."""

    def __init__(self, config: RandomConfig | None = None) -> None:
        self.config = config or RandomConfig()

    @torch.no_grad()
    def solve(
        self,
        objective: Objective,
        shape: tuple[int, int, int],
        *,
        seed: int | Sequence[int] = 0,
        start: SolverState | None = None,
        callback: Callback | None = None,
        device: torch.device | str = "cpu",
    ) -> Solution:
        """See `Solver.solve`."""
        c = self.config
        b, s, u = shape
        noise, search = Noise(seed, b, device), Search(c.iterations, callback)
        state = starting_state(shape, start, device)
        going = True
        while going:
            candidates = state.mean[:, None] + state.std[:, None] * noise.normal(c.samples, s, u)
            costs = objective(candidates)
            going = search.record(candidates, costs, search.rank(costs, c.elites), state.mean, state.std)
        return search.solution(SolverState(search.best, state.std))
