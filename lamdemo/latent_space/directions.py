"""Directions of the latent space, what each does, and a name where a probe finds one.

Four kinds. *Principal*: latents are odd in time, so every step seen is also a step the other way, and the axes are
those of the steps and their opposites (no mean is taken off). *Sparse*: atoms of a dictionary in which each step is
made of few. *Clusters*: the mean of steps that lie together. *Probes*: the latent of a known camera motion, found by
least squares over the procedural scenes of an atlas and set to a comfortable strength; these are what a player presses
first.

A direction is a latent of typical strength; its opposite is another action, which the world model is asked for
as well, since it need not be odd itself. In the discrete family directions are means of codes and no codes, and they
are not snapped to any: the world model takes them, a strength can be set, and zero is code 0 as it should be. (Of the
bundled discrete model's named directions and reverses, 45 of 48 keep their name when the nearest code is used
instead.)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lamdemo.errors import LamdemoError
from lamdemo.latent_space.naming import (
    MOTIONS,
    NameBook,
    ReferenceConfig,
    References,
    camera_fields,
    camera_motion,
    name_flow,
    references,
)
from lamdemo.pipeline import TransferPipeline

if TYPE_CHECKING:
    from lamdemo.latent_space.atlas import Atlas

KINDS = ("principal", "sparse", "cluster", "probe")
STILL = "still"  # the name of steps in which nothing happens
PROBES = ("pan-right", "pan-down", "zoom-in", "roll-clockwise")  # keys, in the order of `MOTIONS`
# What is pressed: the motion, in the order of `MOTIONS`, and its sign.
PLAY: dict[str, tuple[int, int]] = {
    "left": (0, -1),
    "right": (0, 1),
    "up": (1, -1),
    "down": (1, 1),
    "in": (2, 1),
    "out": (2, -1),
    "turn left": (3, -1),
    "turn right": (3, 1),
}

_ACTIVE = 0.05  # share of the root mean square norm, above which something happens in a step
_ALIKE = 0.8  # cosine of a flow with the wanted one, from which a direction can stand in for a missing probe


@dataclass(frozen=True)
class DirectionsConfig:
    """What is sought.

    Attributes:
        principal: how many principal directions.
        sparse: how many sparse ones.
        atoms: of the dictionary that they are the most used of.
        clusters: how many, the still one included.
        examples: typical steps of each.
        quantile: at which a direction is shown, of the sizes of the steps that go its way.
        amounts: how much each of `MOTIONS` moves in one step of a probe: widths, widths, logarithm of the scale,
            radians.
        seed: of the dictionary and the clusters.
        reference: pictures on which mean flows are taken.
    """

    principal: int = 8
    sparse: int = 8
    atoms: int = 24
    clusters: int = 14
    examples: int = 6
    quantile: float = 0.75
    amounts: tuple[float, float, float, float] = (0.04, 0.04, 0.05, 0.06)
    seed: int = 0
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)


@dataclass(frozen=True, eq=False)
class Direction:
    """A latent action that stands for many.

    Attributes:
        key: what it is called in files: "pc1", "sparse3", "cluster7", "pan-right".
        kind: one of `KINDS`.
        z: float32 ``[Z]``, at typical strength.
        flow: float32 ``[r, r, 2]``, the mean flow it causes on the reference pictures: forward (how content moves,
            what arrows should show), in widths of the picture; see `lamdemo.latent_space.naming`.
        examples: int32 ``[K]``, the atlas' most typical steps, of different recordings, the most typical first.
        name: what a probe of the flow says; empty where none fits.
        score: share of the flow that the name explains, 0 to 1.
        share: of the steps' energy along it (principal, sparse), of the steps (cluster), or of the steps in which
            something happens those of about this direction (probe: cosine above a half).
        back_flow: as ``flow``, of ``-z``.
        back_name: as ``name``, of ``-z``.
        back_score: as ``score``, of ``-z``.
    """

    key: str
    kind: str
    z: np.ndarray
    flow: np.ndarray
    examples: np.ndarray
    name: str
    score: float
    share: float
    back_flow: np.ndarray
    back_name: str
    back_score: float


class Action(NamedTuple):
    """A direction or its reverse.

    Attributes:
        key: of the direction.
        sign: 1, or -1 for the reverse.
        name: what it does, empty where nobody knows.
        z: float32 ``[Z]``, the sign included.
    """

    key: str
    sign: int
    name: str
    z: np.ndarray

    @property
    def id(self) -> str:
        """The direction's key, with a minus for the reverse: what a `NameBook` goes by."""
        return signed(self.key, self.sign)


def signed(key: str, sign: int) -> str:
    """A direction's key, with a minus for its reverse."""
    return key if sign > 0 else f"-{key}"


@dataclass(frozen=True, eq=False)
class Directions:
    """Some directions of one checkpoint's space."""

    entries: tuple[Direction, ...]

    def __iter__(self) -> Iterator[Direction]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, key: str) -> Direction:
        """The direction of a key, with or without a minus.

        Raises:
            LamdemoError: there is none.
        """
        for direction in self.entries:
            if direction.key == key.removeprefix("-"):
                return direction
        raise LamdemoError(f"There is no direction {key[:40]!r}; choose one of the list.")

    def names(self, book: NameBook | None = None) -> dict[str, str]:
        """Names by key, reverses (with a minus) included: the book's where it has one, else the probe's."""
        names = {}
        for d in self.entries:
            names[signed(d.key, 1)], names[signed(d.key, -1)] = d.name, d.back_name
        given = {} if book is None else book.names
        return {key: given.get(key) or name for key, name in names.items()}

    def actions(self, book: NameBook | None = None) -> list[Action]:
        """Every direction and its reverse, in order."""
        names = self.names(book)
        return [
            Action(d.key, sign, names[signed(d.key, sign)], (sign * d.z).astype(np.float32))
            for d in self.entries
            for sign in (1, -1)
        ]

    def flow_of(self, key: str) -> np.ndarray:
        """The mean flow of a direction, or with a minus of its reverse, ``[r, r, 2]``.

        Raises:
            LamdemoError: there is none of that key.
        """
        direction = self[key]
        return direction.back_flow if key.startswith("-") else direction.flow

    # In an atlas' file.

    def to_tensors(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and what else is to be known, for `from_tensors`.

        Raises:
            LamdemoError: there are none.
        """
        if not self.entries:
            raise LamdemoError("There are no directions to keep; leave them out.")
        examples = [d.examples for d in self.entries]
        tensors: dict[str, np.ndarray] = {
            "z": np.stack([d.z for d in self.entries]).astype(np.float32),
            "flow": np.stack([d.flow for d in self.entries]).astype(np.float16),
            "back_flow": np.stack([d.back_flow for d in self.entries]).astype(np.float16),
            "examples": np.concatenate(examples).astype(np.int32),
            "example_ends": np.cumsum([len(e) for e in examples]).astype(np.int32),
        }
        about = [
            {
                "key": d.key,
                "kind": d.kind,
                "name": d.name,
                "score": round(d.score, 4),
                "share": round(d.share, 4),
                "back_name": d.back_name,
                "back_score": round(d.back_score, 4),
            }
            for d in self.entries
        ]
        return tensors, {"entries": about}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Directions:
        """What `to_tensors` gave.

        Raises:
            ValueError, TypeError, LookupError: it is something else.
        """
        entries = list(about["entries"])
        z, flow, back = (np.asarray(tensors[k], np.float32) for k in ("z", "flow", "back_flow"))
        ends = np.asarray(tensors["example_ends"])
        examples = np.asarray(tensors["examples"])
        if z.ndim != 2 or flow.ndim != 4 or flow.shape[3] != 2 or back.shape != flow.shape:
            raise ValueError("directions are of an impossible shape")
        if not len(z) == len(flow) == len(ends) == len(entries) or min(flow.shape[1:3], default=0) < 3:
            raise ValueError("directions do not fit each other")
        if ends.ndim != 1 or examples.ndim != 1 or ends.dtype.kind not in "iu" or examples.dtype.kind not in "iu":
            raise ValueError("examples must be whole numbers")
        bounds = np.concatenate([[0], ends]).astype(np.int64)
        if (np.diff(bounds) < 0).any() or bounds[-1] != len(examples):
            raise ValueError("examples do not end where they say")
        if not all(np.isfinite(a).all() for a in (z, flow, back)):
            raise ValueError("directions must be finite")
        made = []
        for i, entry in enumerate(entries):
            texts = [entry[k] for k in ("key", "kind", "name", "back_name")]
            figures = [float(entry[k]) for k in ("score", "share", "back_score")]
            if not all(isinstance(t, str) and len(t) <= 200 and t.isprintable() for t in texts):
                raise ValueError("names of directions must be short texts")
            if entry["kind"] not in KINDS or not entry["key"] or entry["key"].startswith("-"):
                raise ValueError("a direction is of no known kind")
            if not np.isfinite(figures).all():
                raise ValueError("figures of directions must be finite")
            made.append(
                Direction(
                    key=entry["key"],
                    kind=entry["kind"],
                    z=z[i],
                    flow=flow[i],
                    examples=examples[bounds[i] : bounds[i + 1]].astype(np.int32),
                    name=entry["name"],
                    score=figures[0],
                    share=figures[1],
                    back_flow=back[i],
                    back_name=entry["back_name"],
                    back_score=figures[2],
                )
            )
        if len({d.key for d in made}) != len(made):
            raise ValueError("two directions have one key")
        return cls(tuple(made))


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
        z = latents[members].mean(0)
        still = (moving & members).sum() < 0.5 * members.sum()
        if not still and np.any(z):
            # Steps of a group differ, so their mean is shorter than most of them.
            z = z / np.linalg.norm(z) * np.quantile(np.linalg.norm(latents[members], axis=1), config.quantile)
        apart = np.linalg.norm(atlas.latents - z.astype(np.float32), axis=1)
        typical = _first_of_each(atlas, np.where(members, apart, np.inf), config.examples)
        name = STILL if still else None
        add(f"cluster{label}", "cluster", z, float(members.mean()), typical, name)
    for i, z in _probes(atlas, seen, config).items():
        along = latents[moving] @ z / (np.linalg.norm(latents[moving], axis=1) * np.linalg.norm(z))
        share = float((np.abs(along) > 0.5).mean())
        add(PROBES[i], "probe", z, share, _along(atlas, z, config.examples))
    return Directions(tuple(found))


def _upright(axis: np.ndarray) -> np.ndarray:
    """The same axis with the sign that makes its largest component positive, which no library decides for us."""
    return axis * (1.0 if axis[np.abs(axis).argmax()] >= 0 else -1.0)


def _principal(latents: np.ndarray, config: DirectionsConfig) -> list[tuple[np.ndarray, float]]:
    """Principal directions at typical strength, and their shares of the energy."""
    values, vectors = np.linalg.eigh(latents.T @ latents)
    found = []
    for k in range(1, min(config.principal, len(values)) + 1):
        axis = _upright(vectors[:, -k])
        if values[-k] > 1e-9 * values[-1]:
            found.append((axis * _typical_size(latents, axis, config), float(values[-k] / values.sum())))
    return found


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
        axis = _upright(learner.components_[k] / np.linalg.norm(learner.components_[k]))
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


def play_set(directions: Directions, book: NameBook | None = None) -> dict[str, Action]:
    """The best action for each key that is pressed to play, of `PLAY`: what the camera does.

    A probe where there is one; else the direction whose flow looks most like the motion, if it does. A motion that
    no direction shows is left out.
    """
    actions = directions.actions(book)
    chosen = {}
    for name, (motion, sign) in PLAY.items():
        best, most = None, _ALIKE
        for action in actions:
            if action.key == PROBES[motion] and action.sign == sign:
                best = action
                break
            flow = directions.flow_of(action.id).astype(np.float64)
            wanted = sign * camera_fields(flow.shape[0], flow.shape[1])[motion]
            length = np.linalg.norm(flow) * np.linalg.norm(wanted)
            alike = float((flow * wanted).sum() / length) if length > 0 else 0.0
            if alike > most:
                best, most = action, alike
        if best is not None:
            chosen[name] = best
    return chosen
