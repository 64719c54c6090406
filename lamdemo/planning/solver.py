"""What every solver shares: its loop, what it tells while it runs, what it returns, and where its noise comes from.

A solver searches standard coordinates ``u`` (see `spaces`) for the smallest value of an objective it knows nothing
about. It never sees a model, an action or a picture, so solvers, models and costs combine freely. Shape letters
are those of `lamdemo` and: K candidates, U standard coordinates a step, I iterations; B counts problems here.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamdemo.core.errors import LamdemoError

Objective = Callable[[Tensor], Tensor]
"""Candidates ``[B, K, S, U]`` to costs ``[B, K]``. Differentiable where a candidate asks for its gradient."""


@dataclass(frozen=True, eq=False)
class Iteration:
    """What a solver knows after one of its iterations."""

    index: int  # of this iteration, from 0
    of: int  # how many there will be
    candidates: Tensor  # [B, K, S, U], those tried in this iteration
    costs: Tensor  # theirs, [B, K]
    elites: Tensor  # which of them are the best, [B, L] indices along K, best first
    mean: Tensor  # where the search goes on, [B, S, U]
    std: Tensor  # how far around, [B, S, U]
    best: Tensor  # the best so far of all iterations, [B, S, U]
    best_cost: Tensor  # its cost, [B]

    @property
    def elite_cost(self) -> Tensor:
        """Mean cost of the elites, ``[B]``."""
        return self.costs.gather(1, self.elites).mean(1)


Callback = Callable[[Iteration], bool | None]
"""Called after every iteration; stops the solver by returning False."""


@dataclass(frozen=True, eq=False)
class SolverState:
    """Where a search stands; the next one can start from it."""

    mean: Tensor  # [B, S, U]
    std: Tensor  # [B, S, U]
    extra: dict[str, Tensor] = field(default_factory=dict)  # what else a solver keeps, each [B, K, S, U]

    def shifted(self, steps: int) -> SolverState:
        """The state for a plan that starts ``steps`` later: the steps taken are dropped, new ones come at the end.

        The new steps repeat the last mean (what one does, one mostly goes on doing); of the spread nothing is
        known and it is 1.
        """
        if steps < 0:
            raise ValueError("time goes forward")

        def later(values: Tensor, end: Tensor) -> Tensor:
            kept = values[..., steps:, :]
            return torch.cat([kept, end.expand(*values.shape[:-2], values.shape[-2] - kept.shape[-2], -1)], -2)

        return SolverState(
            later(self.mean, self.mean[..., -1:, :]),
            later(self.std, torch.ones_like(self.std[..., -1:, :])),
            {name: later(values, values[..., -1:, :]) for name, values in self.extra.items()},
        )

    def widened(self, std: float) -> SolverState:
        """The same with spreads of at least ``std``, so that a search that has closed can find something new."""
        return dataclasses.replace(self, std=self.std.clamp_min(std))


@dataclass(frozen=True, eq=False)
class Solution:
    """What a solver found."""

    u: Tensor  # the best candidate of each problem, [B, S, U]
    cost: Tensor  # theirs, [B]
    state: SolverState  # to start the next search from
    best_costs: Tensor  # lowest cost so far after each iteration, [I, B]
    elite_costs: Tensor  # mean cost of each iteration's elites, [I, B]
    last: Iteration  # the last iteration
    stopped: bool = False  # whether a callback ended the search


class Noise:
    """Normal noise for each problem from its own generator, on the CPU, so that devices do not change it."""

    def __init__(self, seed: int | Sequence[int], problems: int, device: torch.device | str = "cpu") -> None:
        seeds = [seed] if isinstance(seed, int) else list(seed)
        if len(seeds) not in (1, problems):
            raise ValueError(f"{len(seeds)} seeds for {problems} problems")
        self.problems, self.device = problems, device
        self.generators = [torch.Generator().manual_seed(s) for s in seeds]

    def normal(self, *shape: int) -> Tensor:
        """``[B, *shape]`` from N(0, 1)."""
        drawn = torch.stack([torch.randn(shape, generator=g) for g in self.generators])
        return drawn.to(self.device).expand(self.problems, *shape)

    def coloured(self, count: int, steps: int, width: int, beta: float) -> Tensor:
        """``[B, count, steps, width]`` of unit variance whose power falls with frequency to the ``-beta``.

        0 is white noise; above it neighbouring steps go the same way (iCEM, arXiv 2008.06389). A sequence twice
        as long is drawn and cut, since noise made of waves ends where it began.
        """
        white = self.normal(count, 2 * steps, width)
        if beta == 0:
            return white[:, :, :steps]
        frequencies = torch.fft.rfftfreq(2 * steps, device=white.device)
        # Of the mean (frequency 0) the power law says infinity; it gets what the slowest wave gets.
        scale = frequencies.clamp_min(1 / (2 * steps)) ** (-beta / 2)
        coloured = torch.fft.irfft(torch.fft.rfft(white, dim=2) * scale[:, None], n=2 * steps, dim=2)
        # Each wave but the first and the last counts twice in the power of a real signal (Parseval).
        weight = torch.full_like(scale, 2.0)
        weight[0] = weight[-1] = 1.0
        return coloured[:, :, :steps] / ((scale.square() * weight).sum() / (2 * steps)).sqrt()


def rank(costs: Tensor, count: int) -> Tensor:
    """Indices ``[B, count]`` of the lowest costs, best first; of equal ones the earlier. NaN comes last."""
    known = torch.where(costs.isnan(), torch.full_like(costs, torch.inf), costs)
    return known.sort(dim=1, stable=True).indices[:, : min(count, costs.shape[1])]


def take(candidates: Tensor, index: Tensor) -> Tensor:
    """Candidates ``[B, L, S, U]`` at ``index [B, L]`` of ``[B, K, S, U]``."""
    return candidates.gather(1, index[:, :, None, None].expand(-1, -1, *candidates.shape[2:]))


def around(mean: Tensor, std: Tensor, noise: Tensor) -> Tensor:
    """Candidates ``[B, K, S, U]`` around a mean; the mean is the first: late in a search it often beats all others."""
    return mean[:, None] + std[:, None] * torch.cat([torch.zeros_like(noise[:, :1]), noise[:, 1:]], 1)


class Search:
    """The bookkeeping of a running search: what is best so far, the history, the callback."""

    def __init__(self, iterations: int, callback: Callback | None) -> None:
        self.iterations, self.callback = iterations, callback
        self.stopped = False
        self._last: Iteration | None = None
        self._best_costs: list[Tensor] = []
        self._elite_costs: list[Tensor] = []

    def record(self, candidates: Tensor, costs: Tensor, elites: Tensor, mean: Tensor, std: Tensor) -> bool:
        """Note an iteration. Returns whether to go on."""
        first = elites[:, :1]
        best, cost = take(candidates, first)[:, 0], costs.gather(1, first)[:, 0]
        if self._last is not None:
            before = self._last.best_cost
            better = (cost < before) | (before.isnan() & ~cost.isnan())
            best = torch.where(better[:, None, None], best, self._last.best)
            cost = torch.where(better, cost, before)
        index = len(self._best_costs)
        self._last = Iteration(index, self.iterations, candidates, costs, elites, mean, std, best, cost)
        self._best_costs.append(cost)
        self._elite_costs.append(self._last.elite_cost)
        self.stopped = self.callback is not None and self.callback(self._last) is False
        return not self.stopped and index + 1 < self.iterations

    @property
    def last(self) -> Iteration:
        """The newest iteration."""
        if self._last is None:
            raise ValueError("nothing was tried")
        return self._last

    def solution(self, state: SolverState) -> Solution:
        """What was found, and where the next search begins."""
        return Solution(
            self.last.best,
            self.last.best_cost,
            state,
            torch.stack(self._best_costs),
            torch.stack(self._elite_costs),
            self.last,
            self.stopped,
        )


class Solver(ABC):
    """Looks for the candidate of lowest cost: tries some, ranks them, and tries others.

    Each solver says only which it tries (`propose`) and what it learns of them (`learn`). The same seed and start give
    the same solution, whatever was computed before, and each problem's noise is its own: a problem solved among others
    gets the noise it would get alone.
    """

    config: Any  # with `iterations` and `elites`, how many candidates count as the best

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def propose(self, state: SolverState, noise: Noise, index: int) -> Tensor:
        """Candidates ``[B, K, S, U]`` of iteration ``index``."""

    @abstractmethod
    def learn(self, state: SolverState, candidates: Tensor, costs: Tensor, elites: Tensor) -> SolverState:
        """Where to search next, given costs ``[B, K]`` and which candidates are the best, ``[B, L]``, best first."""

    def after(self, state: SolverState, best: Tensor) -> SolverState:
        """Where the next search begins, given the best candidate ``[B, S, U]`` of this one."""
        return state

    def iterate(self, objective: Objective, state: SolverState, noise: Noise, search: Search) -> SolverState:
        """Search from ``state`` on, telling ``search`` of each iteration; returns where it ends."""
        going, index = True, 0
        while going:
            candidates = self.propose(state, noise, index)
            costs = objective(candidates)
            elites = rank(costs, self.config.elites)
            state = self.learn(state, candidates, costs, elites)
            going = search.record(candidates, costs, elites, state.mean, state.std)
            index += 1
        return state

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
        """Minimize ``objective`` over candidates of ``shape`` ``(B, S, U)``.

        Args:
            objective: candidates ``[B, K, S, U]`` to costs ``[B, K]``.
            shape: problems, steps, coordinates.
            seed: of all noise; one number for all problems (each then gets the same noise) or one for each.
            start: where an earlier search of the same shape ended; N(0, 1) without it.
            callback: see `Callback`.
            device: of the candidates.

        Raises:
            ValueError: ``seed`` or ``start`` is not of the given shape.
        """
        if start is None:
            start = SolverState(torch.zeros(shape), torch.ones(shape))
        if start.mean.shape != shape or start.std.shape != shape:
            raise ValueError(f"a search of shape {tuple(start.mean.shape)} cannot go on as one of {shape}")
        kept = {name: values.to(device) for name, values in start.extra.items()}
        state = SolverState(start.mean.to(device), start.std.to(device), kept)
        search = Search(self.config.iterations, callback)
        state = self.iterate(objective, state, Noise(seed, shape[0], device), search)
        return search.solution(self.after(state, search.last.best))


def setting(default: float, low: float, high: float | str) -> Any:
    """A setting of a solver, from ``low`` to ``high``: a number, or the name of an earlier setting."""
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True)
class SolverConfig:
    """What all solvers' configs share: settings are checked when one is made.

    Raises:
        LamdemoError: a setting is out of its range, or no (whole) number.
    """

    solver: ClassVar[str]

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value, (low, high) = getattr(self, f.name), f.metadata["range"]
            high = getattr(self, high) if isinstance(high, str) else high
            kinds, number = (int, "a whole number") if isinstance(f.default, int) else ((int, float), "a number")
            if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
                raise LamdemoError(
                    f"The solver {self.solver} takes as {f.name} {number} from {low:g} to {high:g}, not "
                    f"{str(value)[:40]}."
                )
