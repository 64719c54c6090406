"""Ratios with intervals, shuffles across recordings, and fair choices of clips."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

DRAWS = 1000


def ratio_of_means(
    over: np.ndarray, under: np.ndarray, recordings: Sequence[Hashable], *, draws: int = DRAWS, seed: int = 0
) -> dict[str, float | None]:
    """The mean of one figure over the mean of another, with a 95% interval by bootstrap over recordings.

    Steps of one recording resemble each other, so whole recordings are drawn, with replacement; an interval
    over steps would be far too narrow. Means are divided, rather than ratios averaged: a ratio of two
    tiny errors is noise and must not count as much as one of two large ones.

    Args:
        over: ``[n]``, one value a step (or window, or case).
        under: ``[n]``, what it is compared with.
        recordings: ``[n]``, which recording each comes from.
        draws: how often to resample.
        seed: of the resampling.

    Returns:
        ``value``, ``low`` and ``high``; None where nothing can be divided.
    """
    over, under = np.asarray(over, np.float64), np.asarray(under, np.float64)
    if not len(over) or under.sum() <= 0:
        return {"value": None, "low": None, "high": None}
    _, index = np.unique([str(r) for r in recordings], return_inverse=True)
    count = int(index.max()) + 1
    tops, bottoms = np.bincount(index, over, count), np.bincount(index, under, count)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    resampled = drawn @ bottoms
    # A draw of nothing but recordings in which nothing moves has no ratio.
    ratios = (drawn @ tops)[resampled > 0] / resampled[resampled > 0]
    low, high = np.percentile(ratios, (2.5, 97.5)) if len(ratios) else (np.nan, np.nan)
    value = over.sum() / under.sum()
    return {"value": float(value), "low": float(low), "high": float(high)}


def compare(
    errors: Mapping[str, np.ndarray], recordings: Sequence[Hashable], *, base: str = "copy", seed: int = 0
) -> dict[str, object]:
    """Mean errors of all methods, and each over the ``base`` method's.

    Args:
        errors: for each method ``[n]``, aligned.
        recordings: ``[n]``.
        base: the method to divide by.
        seed: of the bootstrap; the same recordings are drawn for every method.

    Returns:
        ``steps`` (n), ``recordings``, ``error`` (method to mean) and ``over_<base>`` (method to interval).
    """
    n = len(errors[base])
    return {
        "steps": n,
        "recordings": len(set(recordings)),
        "error": {m: float(np.mean(e)) if n else None for m, e in errors.items()},
        f"over_{base}": {
            m: ratio_of_means(e, errors[base], recordings, seed=seed) for m, e in errors.items() if m != base
        },
    }


def donors(recordings: Sequence[Hashable], rng: np.random.Generator) -> np.ndarray:
    """For each item another one, of another recording: a permutation wherever there is one.

    Args:
        recordings: ``[n]``, of at least two different recordings.
        rng: source of randomness.

    Returns:
        Indices ``[n]``. No item gets one of its own recording. Each is given once, unless more than half of
        all are of one recording, when that cannot be.

    Raises:
        ValueError: there are fewer than two recordings.
    """
    _, index, sizes = np.unique([str(r) for r in recordings], return_inverse=True, return_counts=True)
    n, most = len(index), int(sizes.max(initial=0))
    if len(sizes) < 2:
        raise ValueError("a shuffle across recordings needs at least two of them")
    given = np.empty(n, np.int64)
    if 2 * most > n:
        for i in range(n):
            given[i] = rng.choice(np.flatnonzero(index != index[i]))
        return given
    # All items recording by recording, in an order drawn anew; a shift by the largest recording's
    # length leads out of every recording.
    order = np.lexsort((rng.random(n), rng.permutation(len(sizes))[index]))
    given[order] = np.roll(order, -most)
    return given


def balanced(groups: Sequence[Hashable], count: int | None, rng: np.random.Generator) -> list[int]:
    """Choose ``count`` items (all without it), taking turns between groups. Indices in ascending order."""
    if count is None or count >= len(groups):
        return list(range(len(groups)))
    waiting: dict[str, list[int]] = {}
    for i in rng.permutation(len(groups)):
        waiting.setdefault(str(groups[i]), []).append(int(i))
    turns = [(place, name, i) for name, items in waiting.items() for place, i in enumerate(items)]
    return sorted(i for _, _, i in sorted(turns)[:count])
