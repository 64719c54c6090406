"""The cross-entropy method, with the paper's settings (section 4): sample, keep the best, fit, again."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lamdemo.planning.solver import Noise, Solver, SolverConfig, SolverState, around, setting, take


@dataclass(frozen=True)
class CEMConfig(SolverConfig):
    """How long CEM searches. The defaults are the paper's."""

    solver = "cem"
    samples: int = setting(300, 2, 100_000)  # candidates an iteration, the mean itself among them
    # How many of the best the next iteration's normal distribution is fitted to.
    elites: int = setting(10, 1, "samples")
    iterations: int = setting(15, 1, 1000)  # how often
    momentum: float = setting(0.0, 0, 0.99)  # share of the old mean and spread that is kept
    smallest: float = setting(0.01, 0, 1)  # spread below which it does not go


class CEM(Solver):
    """Fits a normal distribution to the best candidates of each iteration."""

    def propose(self, state: SolverState, noise: Noise, index: int) -> Tensor:
        """See `Solver`."""
        return around(state.mean, state.std, noise.normal(self.config.samples, *state.mean.shape[1:]))

    def learn(self, state: SolverState, candidates: Tensor, costs: Tensor, elites: Tensor) -> SolverState:
        """See `Solver`."""
        best, m = take(candidates, elites), self.config.momentum
        mean = m * state.mean + (1 - m) * best.mean(1)
        std = m * state.std + (1 - m) * best.std(1, unbiased=False)
        return SolverState(mean, std.clamp_min(self.config.smallest))
