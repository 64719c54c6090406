"""What a plan should bring about, as a number for each candidate; the lower, the better (paper, section 4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from lamdemo.planning.spaces import Space


@runtime_checkable
class Cost(Protocol):
    """Judges what is imagined of each candidate."""

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Costs ``[B, K]``.

        Args:
            states: ``[B, K, S, M]``, the flattened states after each step, as the dynamics has them.
            actions: ``[B, K, S, A]``, in their own units (in latent space, latents).
        """
        ...


@dataclass(frozen=True, eq=False)
class GoalDistance:
    """How far the last imagined state is from the goal: the paper's ``|s_goal - s_{t+H}|_2``."""

    goal: Tensor  # [B, M]
    # [B], what to measure in; with the distance of start and goal, 1 means "no nearer than before".
    unit: Tensor | None = None
    p: float = 2.0  # of the norm
    # Take the mean over all steps in the place of the last one's. The last alone does not mind a plan that walks off
    # and comes back, whose first step is all that is carried out where plans are made anew.
    along: bool = False
    view: Callable[[Tensor], Tensor] | None = None  # what of states is compared, see `averages`; `goal` is seen so

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """See `Cost`."""
        judged = (states if self.along else states[:, :, -1:]).float()
        judged = judged if self.view is None else self.view(judged)
        goal = self.goal[:, None, None]
        distance = torch.linalg.vector_norm(judged - goal, ord=self.p, dim=-1).mean(-1)
        return distance if self.unit is None else distance / self.unit[:, None]


def averages(cells: int, regions: int) -> Callable[[Tensor], Tensor]:
    """How to see states coarsely: their averages over ``regions`` x ``regions`` equal parts of the grid.

    Cell by cell a small thing is as far from a goal in the next cell as from one across the picture. Averages over
    large parts still differ by where it is.

    Args:
        cells: of the grid, n.
        regions: along each side.

    Returns:
        Takes flattened states ``[..., n * d]`` to ``[..., regions * regions * d]``.

    Raises:
        ValueError: the grid cannot be divided so.
    """
    side = math.isqrt(cells)
    if regions < 1 or side % regions:
        raise ValueError(f"a grid of {side}x{side} cells cannot be averaged over {regions}x{regions} parts")
    return partial(_averaged, side, regions)


def _averaged(side: int, regions: int, states: Tensor) -> Tensor:
    lead, each = states.shape[:-1], side // regions
    x = states.reshape(*lead, regions, each, regions, each, -1)
    return x.mean((-4, -2)).flatten(-3)


@dataclass(frozen=True, eq=False)
class PathLength:
    """How far the states go from step to step, in all: of two ways to a goal the straight one is cheaper."""

    start: Tensor  # [B, M]
    unit: Tensor | None = None  # as in `GoalDistance`; then a straight way is 1

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """See `Cost`."""
        first = self.start[:, None, None].expand(-1, states.shape[1], -1, -1)
        steps = torch.cat([first, states.float()], 2).diff(dim=2).norm(dim=-1).sum(-1)
        return steps if self.unit is None else steps / self.unit[:, None]


@dataclass(frozen=True, eq=False)
class PriorPenalty:
    """Keeps actions where such actions live: nothing else forbids one that the world model never saw."""

    space: Space  # gives an action's standard coordinates `u`, which are N(0, 1) in the data
    # "gaussian" is `|u|^2 / (2 U)`, the negative log density but for a constant, for each coordinate; "shell" is
    # `max(0, |u|^2 / U - 1)`: free up to the size that actions have, since in many dimensions hardly any lies near
    # the middle.
    kind: Literal["gaussian", "shell"] = "shell"

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """See `Cost`."""
        size = self.space.encode(actions).square().mean(-1)
        return (0.5 * size if self.kind == "gaussian" else (size - 1).clamp_min(0)).mean(-1)


@dataclass(frozen=True, eq=False)
class Sum:
    """Weighted sum of costs."""

    terms: Sequence[tuple[float, Cost]]

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """See `Cost`."""
        total = states.new_zeros(states.shape[:2], dtype=torch.float32)
        for weight, cost in self.terms:
            total = total + weight * cost(states, actions)
        return total
