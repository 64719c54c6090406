"""iCEM (Pinneri et al., arXiv 2008.06389): CEM with fewer candidates that are better chosen.

Noise is coloured in time, so that candidates go somewhere instead of trembling; some elites live on in the next
iteration and the next plan; there are fewer candidates each time, since the search has narrowed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lamdemo.planning.cem import fitted
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
class ICEMConfig:
    """How long iCEM searches.

    Attributes:
        samples: candidates of the first iteration.
        elites: of them the best, to which the next normal distribution is fitted.
        iterations: how often.
        colour: exponent of the noise's spectrum; 0 is white.
        decay: each iteration has that many times fewer candidates, but never fewer than twice the elites.
        kept: share of the elites that live on.
        momentum: share of the old mean and spread that is kept.
        smallest: spread below which it does not go.
    """

    samples: int = 200
    elites: int = 10
    iterations: int = 10
    colour: float = 1.0
    decay: float = 1.15
    kept: float = 0.3
    momentum: float = 0.1
    smallest: float = 0.01

    def __post_init__(self) -> None:
        check_setting("icem", "samples", self.samples, 2, 100_000)
        check_setting("icem", "elites", self.elites, 1, self.samples)
        check_setting("icem", "iterations", self.iterations, 1, 1000)
        check_setting("icem", "colour", self.colour, 0, 8)
        check_setting("icem", "decay", self.decay, 1, 10)
        check_setting("icem", "kept", self.kept, 0, 1)
        check_setting("icem", "momentum", self.momentum, 0, 0.99)
        check_setting("icem", "smallest", self.smallest, 0, 1)


class ICEM(Iterative):
    """See the module."""

    def __init__(self, config: ICEMConfig | None = None) -> None:
        self.config = config or ICEMConfig()

    def iterate(self, objective: Objective, state: SolverState, noise: Noise, search: Search) -> SolverState:
        """See `Iterative.iterate`."""
        c = self.config
        _, s, u = state.mean.shape
        mean, std = state.mean, state.std
        alive = state.extra.get("elites", mean[:, None][:, :0])
        going, index = True, 0
        while going:
            count = min(c.samples, max(int(c.samples / c.decay**index), 2 * c.elites))
            drawn = noise.coloured(count, s, u, c.colour)
            candidates = torch.cat([around(mean, std, drawn), alive], 1)
            costs = objective(candidates)
            elites = search.rank(costs, c.elites)
            best = take(candidates, elites)
            alive = best[:, : round(c.kept * c.elites)]
            mean, std = fitted(best, (mean, std), c.momentum, c.smallest)
            going = search.record(candidates, costs, elites, mean, std)
            index += 1
        return SolverState(mean, std, {"elites": alive})
