"""From latents to places on a map: PCA about "no action", UMAP, and new points among those that are there.

Distances are plain Euclidean ones everywhere: whitening and cosine were measured to be no better at finding the
same kind of action in other recordings.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

_ROWS = 256  # queries at once: 40 MB of distances to 20,000 latents
_BISECTIONS = 48


def smallest(values: np.ndarray, count: int) -> np.ndarray:
    """Columns of the ``count`` smallest of each row ``[Q, M]``, ascending, by column where equal."""
    found = np.argpartition(values, count - 1, axis=1)[:, :count]
    found.sort(axis=1)
    order = np.argsort(np.take_along_axis(values, found, 1), axis=1, kind="stable")
    return np.take_along_axis(found, order, 1)


def upright(axis: np.ndarray) -> np.ndarray:
    """The same axis with the sign that makes its largest component positive, which no library decides for us."""
    return axis if axis[np.abs(axis).argmax()] >= 0 else -axis


@dataclass(frozen=True, eq=False)
class Principal:
    """Principal axes of latents and their reverses.

    The axes are those of the latents together with their negatives. That puts "no action", which is zero, at the
    origin of the map, and an action opposite to its reverse.
    """

    axes: np.ndarray  # float64 [C, Z], of length 1, the widest first; the largest number of each is positive
    shares: np.ndarray  # float64 [C]: part of the latents' mean square that lies along each

    @classmethod
    def fit(cls, latents: np.ndarray, count: int = 3) -> Principal:
        """The ``count`` widest axes of latents ``[M, Z]``; zeros where they have fewer channels."""
        values = np.asarray(latents, np.float64)
        squares, vectors = np.linalg.eigh(values.T @ values)
        axes, shares = np.zeros((count, values.shape[1])), np.zeros(count)
        some = min(count, values.shape[1])
        axes[:some] = [upright(axis) for axis in vectors.T[::-1][:some]]
        shares[:some] = squares[::-1][:some].clip(0) / max(squares.clip(0).sum(), 1e-30)
        return cls(axes, shares)

    def place(self, latents: np.ndarray, dimensions: int) -> np.ndarray:
        """Coordinates float32 ``[S, dimensions]`` of latents ``[S, Z]``."""
        return (np.asarray(latents, np.float64) @ self.axes[:dimensions].T).astype(np.float32)


def neighbours(latents: np.ndarray, groups: np.ndarray | None, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest latents of each, leaving out itself, and with ``groups`` ``[M]`` all of its own group.

    Returns:
        Indices int64 ``[M, count]`` and distances float64 ``[M, count]``, ascending; where a latent has fewer, its
        index is -1 and its distance infinite.
    """
    total = len(latents)
    indices = np.full((total, count), -1)
    distances = np.full((total, count), np.inf)
    some = min(count, total)
    for start in range(0, total, _ROWS):
        rows = np.arange(start, min(start + _ROWS, total))
        apart = cdist(latents[rows], latents)
        apart[rows[:, None] == np.arange(total) if groups is None else groups[rows, None] == groups] = np.inf
        nearest = smallest(apart, some)
        distances[rows, :some] = found = np.take_along_axis(apart, nearest, 1)
        indices[rows, :some] = np.where(np.isfinite(found), nearest, -1)
    return indices, distances


def smooth_weights(distances: np.ndarray) -> np.ndarray:
    """UMAP's weights of a new point's neighbours, ``[S, k]``, from their distances ``[S, k]``.

    ``exp(-d / sigma)``, with the sigma under which a point's weights add up to the binary logarithm of ``k``: a
    point in a sparse region looks as far as its neighbours are.
    """
    k = distances.shape[1]
    scale = distances.mean(1, keepdims=True)
    scaled = distances / np.where(scale > 0, scale, 1)
    low, high = np.full((len(distances), 1), -12.0), np.full((len(distances), 1), 12.0)
    for _ in range(_BISECTIONS):  # of the logarithm of sigma over the mean distance
        middle = (low + high) / 2
        much = np.exp(-scaled / np.exp(middle)).sum(1, keepdims=True) > math.log2(max(k, 2))
        low, high = np.where(much, low, middle), np.where(much, middle, high)
    return np.exp(-scaled / np.exp((low + high) / 2))


def place_between(distances: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Places on a map from those of the nearest latents.

    The mean under UMAP's weights, each over the squared distance, so that a latent of the atlas itself falls on
    its own point and places change without a jump close to it.

    Args:
        distances: ``[S, k]``.
        coordinates: ``[S, k, 2 or 3]`` of the neighbours.

    Returns:
        float32 ``[S, 2 or 3]``.
    """
    nearest = distances.min(1, keepdims=True)
    # Over the smallest, so that nothing is divided by nothing: a distance of zero has all of the weight.
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(distances > 0, nearest / distances, 1.0)
    weights = smooth_weights(distances) * ratio**2
    weights = np.maximum(weights, 1e-12 * weights.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    return np.einsum("sk,skd->sd", weights, coordinates.astype(np.float64)).astype(np.float32)


def umap_maps(
    latents: np.ndarray,
    dimensions: Sequence[int],
    *,
    groups: np.ndarray | None = None,
    near: int = 30,
    min_dist: float = 0.2,
    seed: int = 0,
) -> dict[int, np.ndarray]:
    """UMAP layouts of latents by exact nearest neighbours.

    Args:
        latents: ``[M, Z]``, more than ``near``.
        dimensions: which layouts to make.
        groups: ``[M]``: neighbours are then sought in other groups only. Steps of one recording resemble each
            other more than they resemble the same action elsewhere; without this a map of short recordings falls
            into as many islands.
        near: neighbours that count, each latent itself among them as UMAP has it.
        min_dist: least distance on the map.
        seed: of the layout.

    Returns:
        Coordinates float32 ``[M, d]`` by d, about their own mean.

    Raises:
        ImportError: umap-learn is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TensorFlow is not there, which only another of its classes needs
        import umap

    found, distances = neighbours(latents, groups, near - 1)
    own = np.arange(len(latents))[:, None]
    found, distances = np.concatenate([own, found], 1), np.concatenate([0 * own, distances], 1)
    # What has too few neighbours counts itself again, at no distance, which UMAP leaves out.
    distances = np.where(found < 0, 0, distances)
    found = np.where(found < 0, own, found)
    maps = {}
    for d in dimensions:
        # Begun with the principal axes, where the reverse of an action is opposite to it and what hardly happens is in
        # the middle. From UMAP's own beginning, groups that share no neighbours fly far apart. Sizes are compressed:
        # a few large actions would leave the others no room.
        start = Principal.fit(latents, d).place(latents, d).astype(np.float64)
        start /= np.sqrt(np.linalg.norm(start, axis=1, keepdims=True)).clip(1e-6)
        start += np.random.default_rng(seed).normal(scale=1e-3, size=start.shape)
        layout = umap.UMAP(
            n_components=d,
            n_neighbors=near,
            min_dist=min_dist,
            random_state=seed,
            n_jobs=1,
            init=start.astype(np.float32),
            precomputed_knn=(found.astype(np.int32), distances.astype(np.float32)),
        )
        with warnings.catch_warnings():
            # That new points cannot be transformed, which `place_between` does, and that it runs on one thread.
            warnings.simplefilter("ignore")
            places = np.asarray(layout.fit_transform(latents), np.float32)
        places = np.nan_to_num(places)
        maps[d] = places - places.mean(0, dtype=np.float64).astype(np.float32)
    return maps


def spread_equal(places: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Places of steps that share a few places, each a little beside the next, so that all of them can be pointed at.

    Args:
        places: float32 ``[C, 2 or 3]``.
        which: ``[M]``, the place of each step.

    Returns:
        float32 ``[M, 2 or 3]``: in the first two axes a spiral about its place, which reaches at most a third of the
        way to the next place.
    """
    apart = neighbours(places, None, 1)[1][:, 0] if len(places) > 1 else np.ones(1)
    counts = np.bincount(which, minlength=len(places))
    order = np.argsort(which, kind="stable")
    rank = np.empty(len(which), np.int64)
    rank[order] = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    # A sunflower's: every point takes the same area.
    radius = apart[which] / 3 * np.sqrt(rank / np.maximum(counts[which] - 1, 1))
    angle = rank * np.pi * (3 - np.sqrt(5))
    result = places[which].astype(np.float64)
    result[:, 0] += radius * np.cos(angle)
    result[:, 1] += radius * np.sin(angle)
    return result.astype(np.float32)
