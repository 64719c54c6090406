"""Arithmetic of latent actions: add, follow, interpolate, reverse, smooth; and a timeline of such blocks.

What makes it arithmetic: latents are odd in time (`lamdemo.models.bottleneck`), so zero is no action and ``-z``
undoes ``z``; and the world model was trained on continuous latents, so that between two of them lies an action
between theirs (`lamdemo.evaluation.space` measures how far that holds). Of a discrete model the same formulas give
vectors that are no codes; its world model takes them all the same, see `zero_means`.

A `Composition` is what the page's timeline edits. It is kept as ``.npz`` (which `LatentActions.load` reads as well)
and travels in a link as text.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from scipy.ndimage import gaussian_filter1d

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import write_safely
from lamdemo.engine import MAX_LATENT, MAX_STEPS, LatentActions

MAX_BLOCKS = 32
MAX_TERMS = 8
MAX_REPEAT = 50
MAX_STRENGTH = 10.0
MAX_SMOOTH = 8.0
MAX_LINK = 8000  # characters; servers and chat programs cut longer ones
_LABEL = 60  # characters of a label
_PREFIX = "1."  # of the text's format

_NONSENSE = "This link holds no latent actions; copy it again, whole."


def zero_means(family: str) -> str:
    """What a latent of zeros, and the opposite of a latent, mean in a family of bottlenecks: one or two sentences."""
    if family == "discrete":
        return (
            "Zero is code 0, which is pinned there and means that nothing happens. Sums, opposites and parts of codes "
            "are no codes; the world model takes them, but has not seen them in training."
        )
    if family == "sparse":
        return (
            "Zero means that nothing happens: two equal frames give exactly zero, and the opposite of a latent is the "
            "same step backwards. The family's energy keeps latents away from zero, so weak actions are rare in it."
        )
    if family == "residual":
        return (
            "Zero means that nothing happens: a difference of nothing gives exactly zero, and the opposite of a latent "
            "is that of the opposite difference. No prior says how far from zero actions lie."
        )
    return (
        "Zero means that nothing happens: two equal frames give exactly zero, and the opposite of a latent is the same "
        "step backwards. It is also the mean of the prior N(0, I)."
    )


# Arithmetic.


def _pair(a: LatentActions, b: LatentActions) -> tuple[np.ndarray, np.ndarray]:
    """Latents of both over as many steps, the shorter followed by "nothing"; a single step is held all along."""
    if a.z.shape[1] != b.z.shape[1]:
        raise LamdemoError(
            f"These latent actions have {a.z.shape[1]} and {b.z.shape[1]} channels; take both from one checkpoint."
        )
    if a.checkpoint and b.checkpoint and a.checkpoint != b.checkpoint:
        raise LamdemoError("These latent actions were made with two checkpoints; take both from one.")
    if a.fps != b.fps:
        raise LamdemoError(
            f"These latent actions are of {a.fps:g} and {b.fps:g} steps a second; infer both at one rate."
        )
    return _equally_long([a.z, b.z])


def _equally_long(parts: Sequence[np.ndarray]) -> Any:
    longest = max(len(z) for z in parts)
    return tuple(
        np.repeat(z, longest, 0) if len(z) == 1 else np.concatenate([z, np.zeros((longest - len(z), z.shape[1]))])
        for z in parts
    )


def _like(a: LatentActions, b: LatentActions, z: np.ndarray) -> LatentActions:
    return LatentActions(np.asarray(z, np.float32), a.fps, a.checkpoint or b.checkpoint)


def add(a: LatentActions, b: LatentActions) -> LatentActions:
    """Both at once: the sum step by step.

    Args:
        a: ``[S, Z]``.
        b: ``[R, Z]``; the shorter of the two is followed by no action, a single step is held all along.

    Raises:
        LamdemoError: they are of two checkpoints.
    """
    first, second = _pair(a, b)
    return _like(a, b, first + second)


def then(a: LatentActions, b: LatentActions) -> LatentActions:
    """One after the other.

    Raises:
        LamdemoError: they are of two checkpoints.
    """
    _pair(a, b)
    return _like(a, b, np.concatenate([a.z, b.z]))


def interpolate(a: LatentActions, b: LatentActions, share: float) -> LatentActions:
    """On the straight line between two: ``share`` 0 is ``a``, 1 is ``b``.

    Raises:
        LamdemoError: they are of two checkpoints, or the share is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise LamdemoError("The share between two actions must be a number from 0 to 1.")
    first, second = _pair(a, b)
    return _like(a, b, (1 - share) * first + share * second)


def reverse(a: LatentActions) -> LatentActions:
    """What undoes a sequence: the opposite of each step, the last first."""
    return LatentActions(np.ascontiguousarray(-a.z[::-1]), a.fps, a.checkpoint)


def smooth(a: LatentActions, width: float) -> LatentActions:
    """Spread over time by a Gaussian of ``width`` steps, mirrored at the ends, so that their sum stays.

    Raises:
        LamdemoError: the width is not from 0 to `MAX_SMOOTH`.
    """
    if not 0 <= width <= MAX_SMOOTH:
        raise LamdemoError(f"Actions can be smoothed over 0 to {MAX_SMOOTH:g} steps.")
    return LatentActions(_smoothed(a.z, width), a.fps, a.checkpoint)


def _smoothed(z: np.ndarray, width: float) -> np.ndarray:
    if width == 0 or len(z) < 2:
        return z
    return gaussian_filter1d(np.asarray(z, np.float64), width, axis=0, mode="reflect", truncate=8).astype(np.float32)


# A timeline.


@dataclass(frozen=True, eq=False)
class Term:
    """A part of a block's sum."""

    z: np.ndarray  # float32 [S, Z]
    label: str  # what to call it
    weight: float = 1.0  # factor on it

    def __post_init__(self) -> None:
        z = np.asarray(self.z, np.float32)
        if z.ndim != 2 or not z.size or not np.isfinite(z).all() or np.abs(z).max() > MAX_LATENT:
            raise LamdemoError(
                f"A latent action must be a list of finite numbers of {MAX_LATENT:g} at most; choose another."
            )
        if not math.isfinite(self.weight) or abs(self.weight) > MAX_STRENGTH:
            raise LamdemoError(f"The strength must be a number between -{MAX_STRENGTH:g} and {MAX_STRENGTH:g}.")
        object.__setattr__(self, "z", z)
        words = str(self.label).encode("utf-8", "replace").decode()
        object.__setattr__(self, "label", " ".join(words.split())[:_LABEL])


@dataclass(frozen=True, eq=False)
class Block:
    """A block of the timeline: a sum of terms, then changed."""

    terms: tuple[Term, ...]  # what is added; a single step is held as long as the longest term
    strength: float = 1.0  # factor on the sum
    reverse: bool = False  # undo it: the opposite of each step, the last first
    repeat: int = 1  # how many times it is carried out

    def __post_init__(self) -> None:
        if not 1 <= len(self.terms) <= MAX_TERMS:
            raise LamdemoError(f"A block adds 1 to {MAX_TERMS} actions; start another block.")
        if len({term.z.shape[1] for term in self.terms}) > 1:
            raise LamdemoError("These latent actions are of different widths; take all from one checkpoint.")
        if not math.isfinite(self.strength) or abs(self.strength) > MAX_STRENGTH:
            raise LamdemoError(f"The strength must be a number between -{MAX_STRENGTH:g} and {MAX_STRENGTH:g}.")
        if not 1 <= self.repeat <= MAX_REPEAT:
            raise LamdemoError(f"Actions can be repeated 1 to {MAX_REPEAT} times.")

    def __len__(self) -> int:
        """Number of steps."""
        return max(len(term.z) for term in self.terms) * self.repeat

    @property
    def label(self) -> str:
        """What it is, in words: "A + 0.5 B, reversed"."""
        words = ""
        for term in self.terms:
            size = "" if abs(term.weight) == 1 else f"{abs(term.weight):.2g} × "
            sign = ("−" if term.weight < 0 else "") if not words else (" − " if term.weight < 0 else " + ")
            words += sign + size + term.label
        return words + (", reversed" if self.reverse else "")

    @property
    def z(self) -> np.ndarray:
        """Its latents, float32 ``[S, Z]``."""
        total = sum(
            term.weight * z for term, z in zip(self.terms, _equally_long([t.z for t in self.terms]), strict=True)
        )
        z = self.strength * total
        if self.reverse:
            z = -z[::-1]
        return np.tile(z, (self.repeat, 1)).astype(np.float32)

    @classmethod
    def of(cls, z: np.ndarray, label: str, *, repeat: int = 1) -> Block:
        """A block of one term, latents ``[Z]`` or ``[S, Z]``."""
        return cls((Term(np.atleast_2d(z), label),), repeat=repeat)

    @classmethod
    def between(cls, a: Term, b: Term, share: float, *, repeat: int = 1) -> Block:
        """A block on the line between two terms, see `interpolate`."""
        if not 0 <= share <= 1:
            raise LamdemoError("The share between two actions must be a number from 0 to 1.")
        return cls((replace(a, weight=1 - share), replace(b, weight=share)), repeat=repeat)


@dataclass(frozen=True, eq=False)
class Composition:
    """Blocks one after another."""

    blocks: tuple[Block, ...] = ()  # in order; there may be none yet
    fps: float = 4.0  # steps a second
    checkpoint: str = ""  # hash of the checkpoint that the latents belong to
    smooth: float = 0.0  # width in steps over which the whole is smoothed at the end

    def __post_init__(self) -> None:
        if len(self.blocks) > MAX_BLOCKS:
            raise LamdemoError(f"A timeline has up to {MAX_BLOCKS} blocks; remove one first.")
        if len({block.terms[0].z.shape[1] for block in self.blocks}) > 1:
            raise LamdemoError("These latent actions are of different widths; take all from one checkpoint.")
        if not 0 <= self.smooth <= MAX_SMOOTH:
            raise LamdemoError(f"Actions can be smoothed over 0 to {MAX_SMOOTH:g} steps.")
        if len(self) > MAX_STEPS:
            raise LamdemoError(f"A timeline has up to {MAX_STEPS} steps, and this would have {len(self)}; shorten it.")

    def __len__(self) -> int:
        """Number of steps."""
        return sum(len(block) for block in self.blocks)

    def latents(self) -> LatentActions:
        """What it comes to, ready for `lamdemo.engine.TransferPipeline.transfer`.

        Raises:
            LamdemoError: it is empty.
        """
        if not self.blocks:
            raise LamdemoError("The timeline is empty; add an action to it first.")
        z = np.concatenate([block.z for block in self.blocks])
        return LatentActions(_smoothed(z, self.smooth), self.fps, self.checkpoint)

    # Editing: each gives a new composition.

    def append(self, block: Block) -> Composition:
        """With a block at the end."""
        return replace(self, blocks=(*self.blocks, block))

    def put(self, index: int, block: Block) -> Composition:
        """With another block in the place of one."""
        self._there(index)
        return replace(self, blocks=(*self.blocks[:index], block, *self.blocks[index + 1 :]))

    def remove(self, index: int) -> Composition:
        """Without a block."""
        self._there(index)
        return replace(self, blocks=(*self.blocks[:index], *self.blocks[index + 1 :]))

    def move(self, index: int, to: int) -> Composition:
        """With a block at another place (the nearest one there is)."""
        self._there(index)
        rest = [*self.blocks[:index], *self.blocks[index + 1 :]]
        rest.insert(min(max(to, 0), len(rest)), self.blocks[index])
        return replace(self, blocks=tuple(rest))

    def _there(self, index: int) -> None:
        if not 0 <= index < len(self.blocks):
            raise LamdemoError("There is no such block on the timeline; choose one that is on show.")

    # Keeping.

    def save(self, path: str | Path) -> Path:
        """Write a ``.npz``: what `LatentActions.save` writes, and the blocks it was made of.

        Raises:
            LamdemoError: it is empty, or cannot be written there.
        """
        latents = self.latents()
        arrays: dict[str, Any] = {}
        plan = self._plan(arrays)
        stream = io.BytesIO()
        np.savez(
            stream,
            z=latents.z,
            fps=np.float64(self.fps),
            checkpoint=np.str_(self.checkpoint),
            composition=np.str_(json.dumps(plan)),
            **arrays,
        )
        path = Path(path)
        try:
            write_safely(path, stream.getvalue())
        except OSError as error:
            raise LamdemoError(f"{path.name} cannot be written there; choose another place.") from error
        return path

    def _plan(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """The blocks as JSON, with each different latent put once into ``arrays``."""
        known: dict[bytes, str] = {}
        blocks = []
        for block in self.blocks:
            terms = []
            for term in block.terms:
                key = known.setdefault(term.z.tobytes(), f"term_{len(known)}")
                arrays[key] = term.z
                terms.append([key, term.weight, term.label])
            blocks.append([terms, block.strength, int(block.reverse), block.repeat])
        return {"blocks": blocks, "smooth": self.smooth}

    @classmethod
    def load(cls, path: str | Path) -> Composition:
        """Read what `save` or `LatentActions.save` wrote; the latter becomes one block.

        Raises:
            LamdemoError: the file is missing or is no such file.
        """
        path = Path(path)
        latents, arrays = LatentActions.of_arrays(path)
        try:
            if "composition" in arrays:
                plan = json.loads(str(arrays["composition"]))
                return cls._planned(plan, arrays, latents.fps, latents.checkpoint)
        except LamdemoError:
            raise
        except Exception as error:  # whatever numpy, zipfile and json make of a file made to harm
            raise LamdemoError(f"The blocks in {path.name} are damaged; give a file written by lamdemo.") from error
        return cls((Block.of(latents.z, path.stem),), latents.fps, latents.checkpoint)

    @classmethod
    def _planned(cls, plan: Any, arrays: dict[str, np.ndarray], fps: float, checkpoint: str) -> Composition:
        blocks = []
        for terms, strength, backwards, repeat in plan["blocks"]:
            made = tuple(Term(arrays[key], str(label), float(weight)) for key, weight, label in terms)
            blocks.append(Block(made, float(strength), bool(backwards), int(repeat)))
        return cls(tuple(blocks), fps, checkpoint, float(plan["smooth"]))

    # Sharing.

    def encode(self, *, limit: int = MAX_LINK) -> str:
        """As text for a link, of letters, digits, ``.``, ``-`` and ``_``.

        Latents are rounded to a 254th of their range, one percent of an action at most.

        Args:
            limit: characters that it may have.

        Raises:
            LamdemoError: it is empty, or too long for a link.
        """
        if not self.blocks:
            raise LamdemoError("The timeline is empty; add an action to it first.")
        arrays: dict[str, np.ndarray] = {}
        plan = self._plan(arrays) | {"fps": self.fps, "of": self.checkpoint[:16]}
        packed = {}
        for key, z in arrays.items():
            scale = np.maximum(np.abs(z).max(1, keepdims=True) / 127, np.float32(1e-12))
            codes = np.round(z / scale).astype(np.int8)
            packed[key] = [_text(codes.tobytes()), _text(scale.astype("<f4").tobytes()), z.shape[1]]
        text = json.dumps(plan | {"terms": packed}, separators=(",", ":"), ensure_ascii=False)
        link = _PREFIX + _text(zlib.compress(text.encode(), 9))
        if len(link) > limit:
            raise LamdemoError("These actions are too many for a link; save them as a file and pass that on.")
        return link

    @classmethod
    def decode(cls, text: str, *, checkpoint: str = "", channels: int = 0, limit: int = MAX_LINK) -> Composition:
        """Read what `encode` wrote.

        Args:
            text: of the link, or the whole link with whatever stands behind it.
            checkpoint: hash of the checkpoint in use, and
            channels: the width of its latents; actions of another one are refused. Not checked without.
            limit: characters that it may have.

        Raises:
            LamdemoError: it is nonsense, cut short, or of another checkpoint.
        """
        text = re.split(r"[&#\s]", unquote(text.strip()).rsplit("actions=", 1)[-1])[0]
        if not text.startswith(_PREFIX) or len(text) > limit:
            raise LamdemoError(_NONSENSE)
        try:
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(_bytes(text[len(_PREFIX) :]), 64 * limit)
            if not unpacker.eof:
                raise ValueError("cut short, or far larger than any real one")
            plan = json.loads(data)
            arrays = {}
            for key, (codes, scale, width) in plan["terms"].items():
                values = np.frombuffer(_bytes(codes), np.int8).reshape(-1, int(width)).astype(np.float32)
                arrays[key] = values * np.frombuffer(_bytes(scale), "<f4").reshape(-1, 1)
            of, fps = str(plan["of"]), float(plan["fps"])
            if not 0 < fps < 1000:
                raise ValueError("fps must be above zero")
            found = cls._planned(plan, arrays, fps, checkpoint or of)
        except LamdemoError:
            raise
        except (
            binascii.Error,
            zlib.error,
            ArithmeticError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            raise LamdemoError(_NONSENSE) from error
        if not found.blocks:
            raise LamdemoError(_NONSENSE)
        other = of and checkpoint and of != checkpoint[:16]
        if other or (channels and found.blocks[0].terms[0].z.shape[1] != channels):
            raise LamdemoError("This link was made with another checkpoint; choose that one first.")
        return found


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
