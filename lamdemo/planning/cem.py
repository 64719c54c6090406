"""The cross-entropy method, with the paper's settings (section 4): sample, keep the best, fit, again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lamdemo.planning.solver import (
    Callback,
    Noise,
    Objective,
    Search,
    Solution,
    SolverState,
    check_setting,
    starting_state,
    take,
)


@dataclass(frozen=True)
class CEMConfig:
    """How long CEM searches. The defaults are the paper's.

    Attributes:
        samples: candidates an iteration, the mean itself among them.
        elites: of them the best, to which the next iteration's normal distribution is fitted.
        iterations: how often.
        momentum: share of the old mean and spread that is kept.
        smallest: spread below which it does not go.
    """

    samples: int = 300
    elites: int = 10
    iterations: int = 15
    momentum: float = 0.0
    smallest: float = 0.01

    def __post_init__(self) -> None:
        check_setting("cem", "samples", self.samples, 2, 100_000)
        check_setting("cem", "elites", self.elites, 1, self.samples)
        check_setting("cem", "iterations", self.iterations, 1, 1000)
        check_setting("cem", "momentum", self.momentum, 0, 0.99)
        check_setting("cem", "smallest", self.smallest, 0, 1)


def fitted(elites: Tensor, old: tuple[Tensor, Tensor], momentum: float, smallest: float) -> tuple[Tensor, Tensor]:
    """Mean and spread ``[B, S, U]`` of elites ``[B, L, S, U]``, mixed with the ``old`` ones."""
    mean, std = elites.mean(1), elites.std(1, unbiased=False)
    mean, std = (momentum * before + (1 - momentum) * now for before, now in zip(old, (mean, std), strict=True))
    return mean, std.clamp_min(smallest)


class CEM:
    """See the module."""

    def __init__(self, config: CEMConfig | None = None) -> None:
        self.config = config or CEMConfig()

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
        mean, std = state.mean, state.std
        going = True
        while going:
            drawn = noise.normal(c.samples, s, u)
            # The mean is a candidate: late in the search it is often better than any sample around it.
            drawn = torch.cat([torch.zeros_like(drawn[:, :1]), drawn[:, 1:]], 1)
            candidates = mean[:, None] + std[:, None] * drawn
            costs = objective(candidates)
            elites = search.rank(costs, c.elites)
            mean, std = fitted(take(candidates, elites), (mean, std), c.momentum, c.smallest)
            going = search.record(candidates, costs, elites, mean, std)
        return search.solution(SolverState(mean, std))
