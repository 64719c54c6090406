"""Drawing new latent actions, and telling whether draws look like latents that were inferred.

Distances between sets of latents are energy distances, ``2 E|x - y| - E|x - x'| - E|y - y'|``: zero exactly where
both are of one distribution, and needing no density. Steps of one recording resemble each other, so that where
recordings are known no pair within one counts, intervals come from drawing whole recordings, and labels are
exchanged recording by recording. Without pairs within, the estimate has no bias: it is about zero, on either side
of it, for two sets of one distribution.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.core.statistics import DRAWS, draw_clusters
from lamdemo.engine import TransferPipeline
from lamdemo.models.bottleneck import DiscreteBottleneck
from lamdemo.models.prior import FlowPrior

How = Literal["fixed", "gaussian", "learned"]

_ROWS = 1024  # of distances at once
_SAME = 1e-9  # of a distance: codes that are equal but for rounding


def draw(
    pipeline: TransferPipeline,
    how: How,
    count: int,
    *,
    states: Tensor | np.ndarray | None = None,
    prior: FlowPrior | None = None,
    seed: int = 0,
) -> np.ndarray:
    """New latents.

    Args:
        pipeline: whose latents.
        how: "fixed" is the family's own prior (paper: N(0, I), codes, Langevin dynamics), the same everywhere;
            "gaussian" has the mean and covariance of training latents; "learned" is the flow, given the state.
        count: how many.
        states: ``[N, D]`` of the picture they are for, as `TransferPipeline.encode` gives; the learned prior alone
            heeds it. Without it that draws over all states.
        prior: the learned prior (it brings the Gaussian too), from `lamdemo.models.prior.load_prior`.
        seed: of the draw.

    Returns:
        float32 ``[count, Z]``.

    Raises:
        LamdemoError: there is no such prior, it is of another checkpoint, the count is not positive, or the states
            are not of one picture.
    """
    if count < 1:
        raise LamdemoError("At least one sample must be drawn; give a count of 1 or more.")
    channels = pipeline.model.config.bottleneck.channels
    if how not in get_args(How):
        raise LamdemoError(f"There is no prior {str(how)[:40]!r}; choose one of {', '.join(get_args(How))}.")
    if how == "fixed":
        generator = torch.Generator(pipeline.model.device).manual_seed(seed)
        return pipeline.model.bottleneck.sample(count, generator).detach().float().cpu().numpy()
    if prior is None:
        raise LamdemoError(f"The checkpoint {pipeline.name} brings no learned prior; train one with lamdemo prior.")
    if prior.config.channels != channels:
        raise LamdemoError(
            f"This prior is of latents of {prior.config.channels} channels and this checkpoint's have {channels}; use "
            "the prior that was made for it."
        )
    if prior.checkpoint and pipeline.checkpoint and prior.checkpoint != pipeline.checkpoint:
        raise LamdemoError("This prior was made for another checkpoint; use the one that belongs to it.")
    generator = torch.Generator(prior.basis.device).manual_seed(seed)
    if how == "gaussian":
        return prior.sample_gaussian(count, generator).float().cpu().numpy()
    given = None
    if states is not None:
        given = torch.as_tensor(states)
        if given.ndim == 3 and len(given) == 1:
            given = given[0]
        cells = pipeline.model.config.encoder.grid**2
        if given.shape != (cells, prior.config.state_channels) or not given.isfinite().all():
            raise LamdemoError(
                f"A state of this checkpoint is {cells} by {prior.config.state_channels} finite numbers; encode one "
                "picture."
            )
        given = given[None]
    return prior.sample(given, count, generator=generator)[0].float().cpu().numpy()


def finite_codes(pipeline: TransferPipeline) -> Tensor | None:
    """The codes ``[C, Z]`` of a discrete model, None for others."""
    bottleneck = pipeline.model.bottleneck
    return bottleneck.codes.detach().cpu() if isinstance(bottleneck, DiscreteBottleneck) else None


# Comparing sets.


@dataclass(frozen=True)
class TwoSample:
    """Whether two sets of latents can be told apart."""

    energy: float  # the energy distance, in units of latents; about zero or below where they cannot
    share: float  # of `2 E|x - y|`, from 0 (one distribution) to 1 (two points)
    # Chance of as large a distance if they were of one distribution; None for fewer than five units that could be
    # exchanged.
    p: float | None
    # Of a classifier by the nearest neighbour (of another recording), 0.5 where they cannot. The mean of the next
    # two, which must be looked at too: in many dimensions points of a thin shell are farther from each other than
    # from its middle, and are then all taken for the other set, which makes 0.5 as well.
    accuracy: float
    own_x: float  # share of the first set's latents whose nearest neighbour is of the first set
    own_y: float  # likewise of the second


def _distances(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _index(*groups: Sequence[Hashable]) -> list[np.ndarray]:
    """Groups as whole numbers, alike in all sequences."""
    known: dict[str, int] = {}
    return [np.array([known.setdefault(str(g), len(known)) for g in one], np.int64) for one in groups]


@dataclass(frozen=True, eq=False)
class _Sums:
    """Distances between units (a recording's rows of one set) summed: ``total`` and number of pairs, ``[U, U]``."""

    total: np.ndarray
    pairs: np.ndarray

    def mean(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Mean distances between units weighted ``a`` and ``b``, ``[..., U]`` each -> ``[...]``."""
        pairs = ((a @ self.pairs) * b).sum(-1)
        return ((a @ self.total) * b).sum(-1) / np.where(pairs > 0, pairs, np.nan)

    def energy(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Energy distance of two weighted sets of units."""
        return 2 * self.mean(a, b) - self.mean(a, a) - self.mean(b, b)


def _sums(rows: Tensor, unit: np.ndarray, key: np.ndarray) -> _Sums:
    """Sum distances of rows ``[n, Z]`` by their units ``[n]``; units of one key (a recording) do not count."""
    count = int(unit.max()) + 1
    one_hot = torch.zeros(len(rows), count, dtype=torch.float64)
    one_hot[torch.arange(len(rows)), torch.from_numpy(unit)] = 1
    total = torch.zeros(count, count, dtype=torch.float64)
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        total += one_hot[part].T @ (torch.cdist(rows[part], rows).double() @ one_hot)
    of = np.empty(count, np.int64)
    of[unit] = key
    apart = of[:, None] != of[None]
    sizes = one_hot.sum(0).numpy()
    return _Sums(total.numpy() * apart, sizes[:, None] * sizes[None] * apart)


def two_sample(
    x: np.ndarray,
    y: np.ndarray,
    *,
    groups_x: Sequence[Hashable] | None = None,
    groups_y: Sequence[Hashable] | None = None,
    permutations: int = 500,
    seed: int = 0,
) -> TwoSample:
    """Compare two sets of latents.

    Args:
        x: ``[A, Z]``.
        y: ``[B, Z]``.
        groups_x: ``[A]``, the recording of each; every row is its own without it.
        groups_y: ``[B]``, likewise. Where a recording has rows in both sets (samples given its states, and its
            latents), a permutation exchanges the two within the recording; elsewhere whole recordings.
        permutations: of the test.
        seed: of these, and of the rows that are left out so that the classifier sees as many of both.

    Returns:
        What can be told, see `TwoSample`.

    Raises:
        ValueError: the shapes do not fit, or a set is of one recording.
    """
    first, second = torch.from_numpy(np.array(x, np.float32)), torch.from_numpy(np.array(y, np.float32))
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"sets of latents must be [A, Z] and [B, Z], not {list(x.shape)} and {list(y.shape)}")
    named_x = [f"x{i}" for i in range(len(x))] if groups_x is None else list(groups_x)
    named_y = [f"y{i}" for i in range(len(y))] if groups_y is None else list(groups_y)
    if len(named_x) != len(x) or len(named_y) != len(y):
        raise ValueError("every row needs its group")
    if min(len(set(map(str, named_x))), len(set(map(str, named_y)))) < 2:
        raise ValueError("each set must be of two recordings at least")
    key_x, key_y = _index(named_x, named_y)
    key = np.concatenate([key_x, key_y])
    side = np.r_[np.zeros(len(x), np.int64), np.ones(len(y), np.int64)]
    _, unit = np.unique(2 * key + side, return_inverse=True)
    rows = torch.cat([first, second])
    sums = _sums(rows, unit, key)
    units = int(unit.max()) + 1
    of_side, of_key = np.empty(units, np.int64), np.empty(units, np.int64)
    of_side[unit], of_key[unit] = side, key
    in_x = (of_side == 0).astype(float)
    energy = float(sums.energy(in_x, 1 - in_x))
    apart = 2 * float(sums.mean(in_x, 1 - in_x))

    rng = np.random.default_rng(seed)
    both = np.bincount(of_key, minlength=int(of_key.max()) + 1) == 2
    paired = both[of_key]
    p = None
    if both.sum() + (~paired).sum() >= 5 and permutations > 0:
        drawn = np.empty((permutations, units))
        for i in range(permutations):
            turned = rng.random(len(both)) < 0.5
            sides = np.where(paired & turned[of_key], 1 - in_x, in_x)
            sides[~paired] = rng.permutation(in_x[~paired])
            drawn[i] = sides
        with np.errstate(invalid="ignore"):
            found = sums.energy(drawn, 1 - drawn)
        # A statistic that equals the observed one counts, whatever rounding says.
        p = (1 + int((found >= energy - 1e-9 * abs(apart)).sum())) / (1 + permutations)
    own_x, own_y = _own_neighbours(first, second, key_x, key_y, rng)
    share = energy / apart if apart > 0 else 0.0
    return TwoSample(energy, share, p, 0.5 * (own_x + own_y), own_x, own_y)


def _own_neighbours(
    x: Tensor, y: Tensor, key_x: np.ndarray, key_y: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """Shares of each set whose nearest neighbour of another key is of the same set, both made equally large."""
    n = min(len(x), len(y))
    pick_x, pick_y = (np.sort(rng.permutation(len(s))[:n]) for s in (x, y))
    rows = torch.cat([x[torch.from_numpy(pick_x)], y[torch.from_numpy(pick_y)]])
    key = torch.from_numpy(np.r_[key_x[pick_x], key_y[pick_y]])
    side = torch.arange(2 * n) < n
    right = []
    for start in range(0, 2 * n, _ROWS):
        part = slice(start, start + _ROWS)
        apart = _distances(rows[part], rows).masked_fill(key[part, None] == key[None], torch.inf)
        # Codes are often at the same distance: all the nearest vote.
        nearest = apart <= apart.amin(1, keepdim=True) * (1 + _SAME) + _SAME
        same = side[part, None] == side[None]
        right.append((nearest & same).sum(1).double() / nearest.sum(1))
    found = torch.cat(right)
    return float(found[:n].mean()), float(found[n:].mean())


def bootstrap_energy(
    sets: Sequence[np.ndarray],
    inferred: np.ndarray,
    groups: Sequence[Hashable],
    *,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Energy distances of several sets from inferred latents, and their bootstrap over recordings.

    Args:
        sets: each ``[n, Z]`` or ``[n, K, Z]``: K samples for each inferred latent, which are of its recording.
        inferred: ``[n, Z]``.
        groups: ``[n]``, recordings; each draw takes the same ones for all sets.
        seed: of drawing recordings, with replacement.

    Returns:
        The distances ``[sets]`` and the draws ``[draws, sets]``.

    Raises:
        ValueError: the shapes do not fit, or there are fewer than two recordings.
    """
    (key,) = _index(groups)
    count = int(key.max(initial=-1)) + 1
    if count < 2 or len(key) != len(inferred):
        raise ValueError("inferred latents need a recording each, and two recordings at least")
    weights = draw_clusters(count, DRAWS, seed).astype(float)
    every = np.ones((1, count))
    values, drawn = [], []
    for one in sets:
        made = np.asarray(one, np.float32)
        made = made[:, None] if made.ndim == 2 else made
        if made.shape[0] != len(inferred) or made.shape[-1] != inferred.shape[-1]:
            raise ValueError(f"samples must be [n, K, Z] for latents {list(inferred.shape)}, not {list(made.shape)}")
        rows = torch.from_numpy(np.concatenate([made.reshape(-1, made.shape[-1]), inferred.astype(np.float32)]))
        own = np.repeat(key, made.shape[1])
        sums = _sums(rows, np.concatenate([own, key + count]), np.concatenate([own, key]))

        def energy(w: np.ndarray, sums: _Sums = sums) -> np.ndarray:
            nothing = np.zeros_like(w)
            return sums.energy(np.concatenate([w, nothing], 1), np.concatenate([nothing, w], 1))

        values.append(float(energy(every)[0]))
        drawn.append(energy(weights))
    return np.array(values), np.stack(drawn, 1)
