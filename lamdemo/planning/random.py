"""Random shooting: the best of many candidates, which every other solver has to beat with the same budget."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lamdemo.planning.solver import Noise, Solver, SolverConfig, SolverState, setting


@dataclass(frozen=True)
class RandomConfig(SolverConfig):
    """How much is tried: as much as the paper's CEM does."""

    solver = "random"
    samples: int = setting(300, 1, 100_000)  # candidates an iteration
    elites: int = setting(10, 1, 100_000)  # of how many of the best the mean cost is told
    iterations: int = setting(15, 1, 1000)  # how often; nothing is learned between them


class RandomShooting(Solver):
    """Draws all candidates from where it began, and learns nothing."""

    def propose(self, state: SolverState, noise: Noise, index: int) -> Tensor:
        """See `Solver`."""
        drawn = noise.normal(self.config.samples, *state.mean.shape[1:])
        return state.mean[:, None] + state.std[:, None] * drawn

    def learn(self, state: SolverState, candidates: Tensor, costs: Tensor, elites: Tensor) -> SolverState:
        """See `Solver`."""
        return state

    def after(self, state: SolverState, best: Tensor) -> SolverState:
        """See `Solver`."""
        return SolverState(best, state.std)
