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
    # Share of the noise's variance that all steps of a candidate have in common. What one does, one mostly goes on
    # doing: the more coordinates a step has, the fewer candidates of independent steps go anywhere.
    shared: float = setting(0.0, 0, 1)


class CEM(Solver):
    """Fits a normal distribution to the best candidates of each iteration."""

    def propose(self, state: SolverState, noise: Noise, index: int) -> Tensor:
        """See `Solver`."""
        count, (steps, width), shared = self.config.samples, state.mean.shape[1:], self.config.shared
        drawn = noise.normal(count, steps, width)
        if shared:
            drawn = (1 - shared) ** 0.5 * drawn + shared**0.5 * noise.normal(count, 1, width)
        return around(state.mean, state.std, drawn)

    def learn(self, state: SolverState, candidates: Tensor, costs: Tensor, elites: Tensor) -> SolverState:
        """See `Solver`."""
        best, m = take(candidates, elites), self.config.momentum
        mean = m * state.mean + (1 - m) * best.mean(1)
        std = m * state.std + (1 - m) * best.std(1, unbiased=False)
        return SolverState(mean, std.clamp_min(self.config.smallest))
