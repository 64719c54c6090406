"""Finding directions of the latent space in an atlas (see `lamdemo.latent_space.directions` for their kinds)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np

from lamdemo.engine import TransferPipeline
from lamdemo.latent_space.atlas import Atlas
from lamdemo.latent_space.directions import PROBES, Direction, Directions
from lamdemo.latent_space.naming import MOTIONS, ReferenceConfig, References, camera_motion, name_flow, references
from lamdemo.latent_space.projection import Principal, upright

STILL = "still"  # the name of steps in which nothing happens
_ACTIVE = 0.05  # share of the root mean square norm, above which something happens in a step


@dataclass(frozen=True)
class DirectionsConfig:
    """What is sought."""

    principal: int = 8  # how many principal directions
    sparse: int = 8  # how many sparse ones
    atoms: int = 24  # of the dictionary that they are the most used of
    clusters: int = 14  # how many, the still one included
    examples: int = 6  # typical steps of each
    quantile: float = 0.75  # at which a direction is shown, of the sizes of the steps that go its way
    # How much each of `MOTIONS` moves in one step of a probe: widths, widths, logarithm of the scale, radians.
    amounts: tuple[float, float, float, float] = (0.04, 0.04, 0.05, 0.06)
    seed: int = 0  # of the dictionary and the clusters
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)  # pictures on which mean flows are taken


def active(latents: np.ndarray) -> np.ndarray:
    """In which of the steps ``[M, Z]`` something happens, bool ``[M]``: larger than a twentieth of the usual."""
    size = np.linalg.norm(latents, axis=1)
    return size > _ACTIVE * np.sqrt((size**2).mean())


def find_clusters(latents: np.ndarray, count: int = DirectionsConfig.clusters, seed: int = 0) -> np.ndarray:
    """Groups of steps that lie together, int16 ``[M]``; group 0 is that of the steps in which nothing happens.

    The others are k-means' (scikit-learn) of the rest, the largest first, by the direction of the latents and not by
    their size: by plain distance one group holds nearly all the small steps, whatever they do, and the largest
    steps have groups of their own. (On scenes, 0.5 to 0.56 of the steps of a group then share kind and sign of
    action, against 0.34 to 0.39 by plain distance; HDBSCAN leaves half of the steps or nearly all in no group.)

    Args:
        latents: ``[M, Z]``.
        count: how many groups at most, the still one included.
        seed: of k-means.
    """
    from sklearn.cluster import KMeans

    labels = np.zeros(len(latents), np.int16)
    moving = active(latents)
    units = latents[moving].astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    groups = min(count - 1, len(np.unique(units.round(6), axis=0)) if len(units) else 0)
    if groups < 1:
        return labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = KMeans(groups, n_init=8, random_state=seed).fit_predict(units)
    order = np.argsort(-np.bincount(found, minlength=groups), kind="stable")
    labels[moving] = np.argsort(order)[found] + 1
    return labels


def find_directions(pipeline: TransferPipeline, atlas: Atlas, config: DirectionsConfig | None = None) -> Directions:
    """Find directions in an atlas, and see what each does with the pipeline's model.

    Clusters are those of the atlas where it has any, so that their keys name its groups.

    Args:
        pipeline: of the atlas' checkpoint.
        atlas: of steps; the probes need its scenes.
        config: what to seek.

    Raises:
        LamdemoError: the atlas is of another checkpoint.
    """
    config = config or DirectionsConfig()
    atlas.check(pipeline)
    seen = references(pipeline, config.reference)
    latents = atlas.latents.astype(np.float64)
    moving = active(latents)
    found: list[Direction] = []

    def add(key: str, kind: str, z: np.ndarray, share: float, examples: np.ndarray, name: str | None = None) -> None:
        z = z.astype(np.float32)
        flow, back = seen.flow(z), seen.flow(-z)
        (forth, score), (reverse, back_score) = name_flow(flow), name_flow(back)
        if name is not None:
            forth, reverse, score, back_score = name, name, 1.0, 1.0
        found.append(Direction(key, kind, z, flow, examples, forth, score, share, back, reverse, back_score))

    if moving.any():
        for i, (z, share) in enumerate(_principal(latents[moving], config)):
            add(f"pc{i + 1}", "principal", z, share, _along(atlas, z, config.examples))
        for i, (z, share) in enumerate(_sparse(latents[moving], config)):
            add(f"sparse{i + 1}", "sparse", z, share, _along(atlas, z, config.examples))
    labels = atlas.cluster
    if not (labels >= 0).any():
        labels = find_clusters(atlas.latents, config.clusters, config.seed)
    for label in np.unique(labels[labels >= 0]):
        members = labels == label
        still = (moving & members).sum() < 0.5 * members.sum()
        z = _cluster_mean(latents[members], None if still else config.quantile)
        apart = np.linalg.norm(atlas.latents - z.astype(np.float32), axis=1)
        typical = _first_of_each(atlas, np.where(members, apart, np.inf), config.examples)
        add(f"cluster{label}", "cluster", z, float(members.mean()), typical, STILL if still else None)
    for i, z in _probes(atlas, seen, config).items():
        along = latents[moving] @ z / (np.linalg.norm(latents[moving], axis=1) * np.linalg.norm(z))
        share = float((np.abs(along) > 0.5).mean())
        add(PROBES[i], "probe", z, share, _along(atlas, z, config.examples))
    return Directions(tuple(found))


def _cluster_mean(members: np.ndarray, quantile: float | None) -> np.ndarray:
    """The mean of a group's latents, as long as the group's ``quantile``: steps differ, and their mean is short."""
    z = members.mean(0)
    if quantile is None or not np.any(z):
        return z
    return z / np.linalg.norm(z) * np.quantile(np.linalg.norm(members, axis=1), quantile)


def _principal(latents: np.ndarray, config: DirectionsConfig) -> list[tuple[np.ndarray, float]]:
    """Principal directions at typical strength, and their shares of the energy."""
    found = Principal.fit(latents, min(config.principal, latents.shape[1]))
    return [
        (axis * _typical_size(latents, axis, config), float(share))
        for axis, share in zip(found.axes, found.shares, strict=True)
        if share > 1e-9 * found.shares[0]
    ]


def _typical_size(latents: np.ndarray, axis: np.ndarray, config: DirectionsConfig) -> float:
    """How far the steps reach that go along ``axis``, a unit vector, one way or the other.

    Those with a cosine above a half, or the one in twenty with the largest cosine where there are fewer: of all
    steps, nearly none go along a minor axis, and at the usual extent along it one would see nothing.
    """
    extent = np.abs(latents @ axis)
    cosine = extent / np.linalg.norm(latents, axis=1)
    return float(np.quantile(extent[cosine >= min(0.5, float(np.quantile(cosine, 0.95)))], config.quantile))


def _sparse(latents: np.ndarray, config: DirectionsConfig) -> list[tuple[np.ndarray, float]]:
    """The most used atoms of a dictionary for the steps' directions, at typical strength, with shares of the energy.

    Steps count by their direction and not by their size: else the few largest would be all that is explained.
    """
    from sklearn.decomposition import DictionaryLearning

    units = latents / np.linalg.norm(latents, axis=1, keepdims=True)
    atoms = min(config.atoms, *units.shape)
    if config.sparse < 1 or atoms < 1:
        return []
    rows = units
    if len(rows) > 3000:
        rows = rows[np.random.default_rng(config.seed).permutation(len(rows))[:3000]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it did not converge to the last digit
        learner = DictionaryLearning(
            atoms,
            alpha=0.3,
            max_iter=30,
            fit_algorithm="cd",
            transform_algorithm="lasso_cd",
            transform_alpha=0.3,
            random_state=config.seed,
        ).fit(rows)
        codes = learner.transform(units)
    energy = (codes**2).sum(0)
    found = []
    for k in np.argsort(-energy, kind="stable")[: config.sparse]:
        if energy[k] <= 0:
            break
        axis = upright(learner.components_[k] / np.linalg.norm(learner.components_[k]))
        found.append((axis * _typical_size(latents, axis, config), float(energy[k] / energy.sum())))
    return found


def _along(atlas: Atlas, z: np.ndarray, count: int) -> np.ndarray:
    """Steps most in the direction of ``z`` and of about its size; see `_first_of_each`."""
    size = atlas.size / max(float(np.linalg.norm(z)), 1e-12)
    cosine = atlas.latents @ z.astype(np.float32) / np.maximum(atlas.size * np.linalg.norm(z), 1e-12)
    fits = (size > 0.5) & (size < 2) & (cosine > 0.5)
    return _first_of_each(atlas, np.where(fits, -cosine, np.inf), count)


def _first_of_each(atlas: Atlas, costs: np.ndarray, count: int) -> np.ndarray:
    """Steps of the least finite ``costs [M]``, at most one of each recording: int32 ``[<= count]``."""
    chosen: list[int] = []
    taken: set[int] = set()
    for i in np.argsort(costs, kind="stable"):
        if len(chosen) == count or not np.isfinite(costs[i]):
            break
        if int(atlas.recording[i]) not in taken:
            taken.add(int(atlas.recording[i]))
            chosen.append(int(i))
    return np.array(chosen, np.int32)


# Known motions of the camera.


def _probes(atlas: Atlas, seen: References, config: DirectionsConfig) -> dict[int, np.ndarray]:
    """Latents ``[Z]`` of the camera's motions, by their place in `MOTIONS`; those the atlas knows nothing of lack.

    Least squares of the latents over the known motions gives the mean latent of a unit of each. Every step counts by
    its direction: a fast one has no more to say than a slow one, and its latent no longer grows in proportion. The
    strength is then set by what is seen on the reference pictures, as the mean of both ways.
    """
    if not set(MOTIONS) <= set(atlas.known):
        return {}
    amounts = np.array(config.amounts)
    motion = np.stack([atlas.known[m] for m in MOTIONS], 1).astype(np.float64) / amounts
    fitting = np.isfinite(motion).all(1) & (np.abs(motion).max(1) > 0)
    found: dict[int, np.ndarray] = {}
    if not fitting.any():
        return found
    motion = motion[fitting]
    weights = 1 / np.abs(motion).max(1, keepdims=True).clip(0.5)
    latents, _, _, _ = np.linalg.lstsq(motion * weights, atlas.latents[fitting] * weights, rcond=None)
    for i in range(len(MOTIONS)):
        if (np.abs(motion[:, i]) > 0.25).sum() >= 8 and np.linalg.norm(latents[i]) > 0:
            found[i] = _set_to(latents[i], i, float(amounts[i]), seen)
    return found


def _set_to(z: np.ndarray, motion: int, amount: float, seen: References) -> np.ndarray:
    """Scale ``z`` until the camera is seen to move by ``amount``; four times is enough, for it is nearly linear."""
    for _ in range(4):
        forth, back = (camera_motion(seen.flow(s * z)).amounts[motion] for s in (1, -1))
        z = z * np.clip(amount / max((forth - back) / 2, 1e-6), 0.5, 2.0)
    return z
