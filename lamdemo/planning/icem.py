"""iCEM (Pinneri et al., arXiv 2008.06389): CEM with fewer candidates that are better chosen.

Noise is coloured in time, so that candidates go somewhere instead of trembling; some elites live on in the next
iteration and the next plan; there are fewer candidates each time, since the search has narrowed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lamdemo.planning.cem import CEM
from lamdemo.planning.solver import Noise, SolverConfig, SolverState, around, setting, take


@dataclass(frozen=True)
class ICEMConfig(SolverConfig):
    """How long iCEM searches."""

    solver = "icem"
    samples: int = setting(200, 2, 100_000)  # candidates of the first iteration
    elites: int = setting(10, 1, "samples")  # how many of the best the next normal distribution is fitted to
    iterations: int = setting(10, 1, 1000)  # how often
    colour: float = setting(1.0, 0, 8)  # exponent of the noise's spectrum; 0 is white
    # Each iteration has that many times fewer candidates, but never fewer than twice the elites.
    decay: float = setting(1.15, 1, 10)
    kept: float = setting(0.3, 0, 1)  # share of the elites that live on
    momentum: float = setting(0.1, 0, 0.99)  # share of the old mean and spread that is kept
    smallest: float = setting(0.01, 0, 1)  # spread below which it does not go


class ICEM(CEM):
    """CEM with coloured noise, elites that live on, and ever fewer candidates."""

    def propose(self, state: SolverState, noise: Noise, index: int) -> Tensor:
        """See `Solver`."""
        c = self.config
        count = min(c.samples, max(int(c.samples / c.decay**index), 2 * c.elites))
        _, steps, width = state.mean.shape
        drawn = around(state.mean, state.std, noise.coloured(count, steps, width, c.colour))
        return torch.cat([drawn, state.extra["elites"]], 1) if "elites" in state.extra else drawn

    def learn(self, state: SolverState, candidates: Tensor, costs: Tensor, elites: Tensor) -> SolverState:
        """See `Solver`."""
        alive = take(candidates, elites[:, : round(self.config.kept * self.config.elites)])
        return replace(super().learn(state, candidates, costs, elites), extra={"elites": alive})
