"""Directions of the latent space, with what each does and a name where a probe finds one, and those that are played.

Four kinds, found by `lamdemo.latent_space.discovery`. *Principal*: the axes of the steps seen and their opposites.
*Sparse*: atoms of a dictionary in which each step is made of few. *Clusters*: the mean of steps that lie together.
*Probes*: the latent of a known camera motion, found by least squares over an atlas' procedural scenes and set to a
comfortable strength; these are what a player presses first.

A direction is a latent of typical strength; its opposite is another action, which the world model is asked for
as well, since it need not be odd itself. In the discrete family directions are means of codes and no codes, and they
are not snapped to any: the world model takes them, a strength can be set, and zero is code 0 as it should be. (Of the
bundled discrete model's named directions and reverses, 45 of 48 keep their name when the nearest code is used
instead.)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.latent_space.naming import NameBook, camera_fields

KINDS = ("principal", "sparse", "cluster", "probe")
PROBES = ("pan-right", "pan-down", "zoom-in", "roll-clockwise")  # keys, in the order of `naming.MOTIONS`
# What is pressed: the motion, in the order of `naming.MOTIONS`, and its sign.
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

_ALIKE = 0.8  # cosine of a flow with the wanted one, from which a direction can stand in for a missing probe


@dataclass(frozen=True, eq=False)
class Direction:
    """A latent action that stands for many."""

    key: str  # what it is called in files: "pc1", "sparse3", "cluster7", "pan-right"
    kind: str  # one of `KINDS`
    z: np.ndarray  # float32 [Z], at typical strength
    # float32 [r, r, 2], the mean flow it causes on the reference pictures: forward (how content moves, what arrows
    # should show), in widths of the picture; see `lamdemo.latent_space.naming`.
    flow: np.ndarray
    examples: np.ndarray  # int32 [K], the atlas' most typical steps, of different recordings, the most typical first
    name: str  # what a probe of the flow says; empty where none fits
    score: float  # share of the flow that the name explains, 0 to 1
    # Of the steps' energy along it (principal, sparse), of the steps (cluster), or of the steps in which something
    # happens those of about this direction (probe: cosine above a half).
    share: float
    back_flow: np.ndarray  # as `flow`, of `-z`
    back_name: str  # as `name`, of `-z`
    back_score: float  # as `score`, of `-z`


_TEXTS, _FIGURES = ("key", "kind", "name", "back_name"), ("score", "share", "back_score")
_ABOUT = _TEXTS + _FIGURES


class Action(NamedTuple):
    """A direction or its reverse."""

    key: str  # of the direction
    sign: int  # 1, or -1 for the reverse
    name: str  # what it does, empty where nobody knows
    z: np.ndarray  # float32 [Z], the sign included

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

    def check(self, channels: int, steps: int) -> None:
        """See that they fit an atlas of latents of ``channels`` numbers and of ``steps`` steps.

        Raises:
            ValueError: one does not.
        """
        for d in self.entries:
            if np.shape(d.z) != (channels,) or not np.isfinite(d.z).all():
                raise ValueError("a direction is damaged")
            examples = np.asarray(d.examples)
            if examples.dtype.kind not in "iu" or examples.ndim != 1 or ((examples < 0) | (examples >= steps)).any():
                raise ValueError("a direction's examples are no steps")

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
            {name: round(value, 4) if name in _FIGURES else value for name, value in vars(d).items() if name in _ABOUT}
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
        for i, (entry, (first, last)) in enumerate(zip(entries, itertools.pairwise(bounds), strict=True)):
            about_it: dict[str, Any] = {name: entry[name] for name in _ABOUT}
            about_it |= {name: float(about_it[name]) for name in _FIGURES}
            texts = [about_it[name] for name in _TEXTS]
            if not all(isinstance(t, str) and len(t) <= 200 and t.isprintable() for t in texts):
                raise ValueError("names of directions must be short texts")
            if entry["kind"] not in KINDS or not entry["key"] or entry["key"].startswith("-"):
                raise ValueError("a direction is of no known kind")
            if not np.isfinite([about_it[name] for name in _FIGURES]).all():
                raise ValueError("figures of directions must be finite")
            some = examples[first:last].astype(np.int32)
            made.append(Direction(z=z[i], flow=flow[i], back_flow=back[i], examples=some, **about_it))
        if len({d.key for d in made}) != len(made):
            raise ValueError("two directions have one key")
        return cls(tuple(made))


def play_set(directions: Directions) -> dict[str, Action]:
    """The best action for each key that is pressed to play, of `PLAY`: what the camera does.

    A probe where there is one; else the direction whose flow looks most like the motion, if it does. A motion that
    no direction shows is left out.
    """
    actions = directions.actions()
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
