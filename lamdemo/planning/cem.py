"""The cross-entropy method, with the paper's settings (section 4): sample, keep the best, fit, again."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

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


class CEM(Iterative):
    """See the module."""

    def __init__(self, config: CEMConfig | None = None) -> None:
        self.config = config or CEMConfig()

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
            mean, std = fitted(take(candidates, elites), (mean, std), c.momentum, c.smallest)
            going = search.record(candidates, costs, elites, mean, std)
        return SolverState(mean, std)
