"""Planning by gradients through the world model: Adam from several starts at once, of which the best is kept.

It needs far fewer candidates than sampling where the cost is smooth, and ends in the next hollow where it is not;
several starts make up for that.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lamdemo.planning.solver import (
    Iterative,
    Noise,
    Objective,
    Search,
    SolverState,
    around,
    check_setting,
)

_BETA1, _BETA2 = 0.9, 0.99


@dataclass(frozen=True)
class GradientConfig:
    """How long gradients are followed.

    Attributes:
        samples: starts, the mean among them.
        iterations: steps of Adam.
        rate: of Adam, in standard coordinates; about how far the first steps go.
        bound: standard coordinates beyond which no candidate goes; else, where actions are cut off at what is
            possible and gradients vanish, one would be lost for good.
    """

    samples: int = 12
    iterations: int = 30
    rate: float = 0.2
    bound: float = 3.0

    def __post_init__(self) -> None:
        check_setting("gradient", "samples", self.samples, 1, 10_000)
        check_setting("gradient", "iterations", self.iterations, 1, 1000)
        check_setting("gradient", "rate", self.rate, 1e-5, 10)
        check_setting("gradient", "bound", self.bound, 0.1, 100)


class Gradient(Iterative):
    """See the module."""

    def __init__(self, config: GradientConfig | None = None) -> None:
        self.config = config or GradientConfig()

    def iterate(self, objective: Objective, state: SolverState, noise: Noise, search: Search) -> SolverState:
        """See `Iterative.iterate`."""
        c = self.config
        _, s, u = state.mean.shape
        here = around(state.mean, state.std, noise.normal(c.samples, s, u)).clamp(-c.bound, c.bound)
        first, second = torch.zeros_like(here), torch.zeros_like(here)
        going, index = True, 0
        while going:
            costs, slope = _slopes(objective, here)
            elites = search.rank(costs, max(c.samples // 4, 1))
            index += 1
            first = _BETA1 * first + (1 - _BETA1) * slope
            second = _BETA2 * second + (1 - _BETA2) * slope.square()
            size = (second / (1 - _BETA2**index)).sqrt() + 1e-8
            after = (here - c.rate * first / (1 - _BETA1**index) / size).clamp(-c.bound, c.bound)
            top = here.gather(1, elites[:, :1, None, None].expand(-1, -1, s, u))[:, 0]
            going = search.record(here, costs, elites, top, here.std(1, unbiased=False))
            here = after
        # The next search starts around the best, as widely as this one did: gradients narrow nothing.
        return SolverState(search.best, torch.ones_like(search.best))


def _slopes(objective: Objective, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Costs ``[B, K]`` and their gradients ``[B, K, S, U]``; of what is no number, none."""
    with torch.enable_grad():
        asked = candidates.detach().requires_grad_(True)
        costs = objective(asked)
        (slope,) = torch.autograd.grad(costs.sum(), asked)
    return costs.detach(), torch.nan_to_num(slope, 0.0, 0.0, 0.0)
