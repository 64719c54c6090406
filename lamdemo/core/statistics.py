"""Intervals by a paired cluster bootstrap, and energy distances of weighted sets.

Items of one cluster (steps of a recording, moments of a case) resemble each other, so whole clusters are drawn, with
replacement; an interval over items would be far too narrow. Figures that are compared take the same draws.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 1000


def draw_clusters(count: int, draws: int = DRAWS, seed: int | np.random.Generator = 0) -> np.ndarray:
    """How often each of ``count`` clusters is drawn, ``[draws, count]``."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)


@dataclass(frozen=True, eq=False)
class Clusters:
    """Items gathered into clusters."""

    index: np.ndarray  # [n], the cluster of each item, in the order of the clusters' names
    count: int  # of clusters, K

    @classmethod
    def of(cls, names: Sequence[Hashable] | np.ndarray) -> Clusters:
        """Clusters of items, by the names ``[n]`` of theirs."""
        _, index = np.unique([str(name) for name in names], return_inverse=True)
        return cls(index, int(index.max(initial=-1)) + 1)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums ``[K]`` (or ``[K, A]``) over each cluster of values ``[n]`` (or ``[n, A]``)."""
        if values.ndim == 1:
            return np.bincount(self.index, values, self.count)
        return np.stack([np.bincount(self.index, column, self.count) for column in values.T], 1)

    def draw(self, draws: int = DRAWS, seed: int | np.random.Generator = 0) -> np.ndarray:
        """See `draw_clusters`."""
        return draw_clusters(self.count, draws, seed)


def interval(value: float, drawn: np.ndarray) -> dict[str, float | None]:
    """A figure and the middle 95% of its draws: ``value``, ``low`` and ``high``; NaN where there are no draws."""
    low, high = np.nanpercentile(drawn, (2.5, 97.5)) if len(drawn) else (np.nan, np.nan)
    return {"value": float(value), "low": float(low), "high": float(high)}


def energy_distance(total: np.ndarray, pairs: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Energy distance ``2 E|x - y| - E|x - x'| - E|y - y'|`` of two weighted sets of units.

    Args:
        total: ``[U, U]``, distances between the rows of two units, summed.
        pairs: ``[U, U]``, over how many pairs of rows.
        a: ``[..., U]``, weights of the first set's units.
        b: ``[..., U]``, of the second's.

    Returns:
        ``[...]``; NaN where a mean is over no pair.
    """

    def mean(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        many = ((x @ pairs) * y).sum(-1)
        return ((x @ total) * y).sum(-1) / np.where(many > 0, many, np.nan)

    return 2 * mean(a, b) - mean(a, a) - mean(b, b)
