"""Ratios with intervals, latents swapped across recordings, and fair choices of clips."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from lamdemo.core.statistics import DRAWS, Clusters, draw_clusters, interval


def ratio_of_means(
    over: np.ndarray,
    under: np.ndarray,
    recordings: Sequence[Hashable] | np.ndarray,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, float | None]:
    """The mean of one figure over the mean of another, with a 95% interval by bootstrap over recordings.

    Means are divided, rather than ratios averaged: a ratio of two tiny errors is noise and must not count as much as
    one of two large ones.

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
    clusters = Clusters.of(recordings)
    drawn = clusters.draw(draws, seed)
    tops, bottoms = drawn @ clusters.sums(over), drawn @ clusters.sums(under)
    # A draw of nothing but recordings in which nothing moves has no ratio.
    return interval(over.sum() / under.sum(), tops[bottoms > 0] / bottoms[bottoms > 0])


def mean_over(
    values: Sequence[float] | np.ndarray, names: Sequence[Hashable] | np.ndarray | None = None, *, seed: int = 0
) -> dict[str, float | None]:
    """The mean of values ``[n]`` with a 95% interval over what they are named by; each its own without names."""
    over = np.asarray(values, np.float64)
    keys = range(len(over)) if names is None else list(names)
    return ratio_of_means(over, np.ones(len(over)), keys, seed=seed)


def mean_of_kinds(
    over: np.ndarray, under: np.ndarray, kinds: Sequence[str], *, seed: int = 0
) -> dict[str, float | None]:
    """The mean over kinds of each kind's ratio of sums, with a 95% interval by bootstrap over cases within kinds.

    Each kind counts alike, however large its motions are and however many cases it has.

    Args:
        over: ``[n]``, one value a case; what is not finite is left out.
        under: ``[n]``, what it is compared with.
        kinds: ``[n]``, of the cases.
        seed: of the resampling.

    Returns:
        ``value``, ``low`` and ``high``; None where nothing can be divided.
    """
    over, under = np.asarray(over, np.float64), np.asarray(under, np.float64)
    known = np.isfinite(over) & np.isfinite(under)
    rng = np.random.default_rng(seed)
    values, drawn = [], []
    for kind in sorted(set(kinds)):
        chosen = np.flatnonzero(known & np.array([k == kind for k in kinds], bool))
        if not len(chosen) or under[chosen].sum() <= 0:
            continue
        counts = draw_clusters(len(chosen), DRAWS, rng)
        bottoms = counts @ under[chosen]
        # Where a draw has nothing to divide by, the kind's own value stands.
        value = over[chosen].sum() / under[chosen].sum()
        drawn.append(np.where(bottoms > 0, counts @ over[chosen] / np.maximum(bottoms, 1e-12), value))
        values.append(value)
    if not values:
        return {"value": None, "low": None, "high": None}
    return interval(float(np.mean(values)), np.mean(drawn, 0))


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


def swapped(recordings: Sequence[Hashable], rng: np.random.Generator) -> np.ndarray:
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


def auc_interval(positive: np.ndarray, negatives: Sequence[np.ndarray], *, seed: int = 0) -> dict[str, float | None]:
    """Chance that a positive case scores above a negative one (ties count half), with a 95% interval over cases.

    Args:
        positive: ``[n]``, scores of the cases.
        negatives: one or more sets ``[n]`` of the same cases under a control; their areas are averaged.
        seed: of the bootstrap.
    """
    # Each pair of cases is compared once; a draw counts each case as often as it was drawn.
    win = np.mean([(positive[:, None] > x) + 0.5 * (positive[:, None] == x) for x in negatives], 0)
    counts = draw_clusters(len(positive), DRAWS, seed)
    return interval(float(win.mean()), ((counts @ win) * counts).sum(1) / len(positive) ** 2)
