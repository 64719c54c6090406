"""Who stands where: looks of things, their silhouettes, and places that overlap or keep clear of one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from lamdemo.data.scenes.compositing import Layer
from lamdemo.data.scenes.cutouts import Cutout, SceneBank
from lamdemo.data.scenes.motions import draw_speed, screens, similarities

_COARSE = 48  # cells a side on which silhouettes are compared
SEEN = 16  # a thing of fewer cells can hardly be seen


class Look(NamedTuple):
    """How a thing looks."""

    cutout: Cutout  # its picture
    stretch: float  # its width over its height, as a factor to the picture's own
    mirror: float  # -1 where it is mirrored, else 1
    gain: np.ndarray  # of each colour, [3]
    lift: float  # of all colours, of 255
    shadow: float  # how dark its shadow is, 0 for none

    @property
    def shape(self) -> np.ndarray:
        """From the patch's square to radii about the thing's middle, ``[3, 3]``."""
        x, y = self.cutout.middle
        scale = np.diag([self.mirror * self.stretch**0.5, self.stretch**-0.5, 1])
        return scale @ np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]])

    @property
    def half(self) -> np.ndarray:
        """Half its width and height, ``[2]``, in radii."""
        return self.cutout.half * np.array([self.stretch**0.5, self.stretch**-0.5])

    @property
    def breadth(self) -> float:
        """The root of its box's area over its longer side: 1 for a square, less for what is slim."""
        return float(np.sqrt(self.half[0] * self.half[1]) / self.half.max())

    @property
    def foot(self) -> float:
        """How far below its middle it ends, in radii."""
        return float((self.cutout.half[1] - self.cutout.middle[1]) * self.stretch**-0.5)


class Thing(NamedTuple):
    """A look, and where it is: poses ``[T, 4]`` of its middle in the world (see `motions.similarities`)."""

    look: Look
    poses: np.ndarray

    @property
    def radius(self) -> float:
        """Its radius at first, in picture widths."""
        return float(np.exp(self.poses[0, 2]))


def draw_look(rng: np.random.Generator, bank: SceneBank, *, walks: bool = False) -> Look:
    """Draw how a thing looks."""
    gain = np.exp(rng.uniform(-0.25, 0.25)) * np.exp(rng.uniform(-0.1, 0.1, 3))
    return Look(
        bank.draw_thing(rng, walks=walks),
        float(np.exp(rng.uniform(-0.25, 0.25))) if not walks else float(np.exp(rng.uniform(-0.1, 0.1))),
        float(rng.choice([-1.0, 1.0])),
        gain.astype(np.float32),
        float(rng.uniform(-12, 12)),
        float(rng.uniform(0.2, 0.6)) if rng.random() < 0.4 else 0.0,
    )


def graded(look: Look) -> tuple[np.ndarray, ...]:
    """The patches of a look, in its colours."""
    scale = np.append(look.gain, np.float32(1))
    lift = np.array([look.lift / 255] * 3 + [0], np.float32)
    levels = []
    for patch in look.cutout.levels:
        alpha = patch[..., 3:]
        # Premultiplied colours stay below their alpha.
        levels.append(np.clip(patch * scale + alpha * lift, 0, alpha).astype(np.uint8))
    return tuple(levels)


def layer_of(thing: Thing, camera: np.ndarray) -> Layer:
    """A thing as a camera ``[T, 4]`` sees it."""
    matrices = screens(camera) @ similarities(thing.poses) @ thing.look.shape
    return Layer(graded(thing.look), matrices, shadow=thing.look.shadow)


def draw_place(rng: np.random.Generator, bank: SceneBank) -> tuple[np.ndarray, np.ndarray]:
    """Draw a place: a photograph, and the matrix ``[3, 3]`` from its square to the world."""
    photograph = bank.draw_photograph(rng)
    h, w = photograph.shape[:2]
    side, aspect = rng.uniform(0.6, 0.95) * min(h, w), np.exp(rng.uniform(-0.2, 0.2))
    sides = np.minimum([side * aspect**0.5, side * aspect**-0.5], [w, h])
    corner = rng.uniform(0, [w, h] - sides + 1e-9)
    scale, offset = np.array([w, h]) / 2 / sides, (np.array([w, h]) / 2 - corner) / sides
    matrix = np.array([[scale[0], 0, offset[0]], [0, scale[1], offset[1]], [0, 0, 1]])
    if rng.random() < 0.5:
        matrix[0] = -matrix[0] + matrix[2]
    return photograph, matrix


def silhouette(thing: Thing, camera: np.ndarray, frame: int = 0) -> np.ndarray:
    """A thing's alpha on the screen, ``[48, 48]`` from 0 to 1."""
    matrix = screens(camera[frame][None])[0] @ similarities(thing.poses[frame][None])[0] @ thing.look.shape
    alpha = np.ascontiguousarray(thing.look.cutout.levels[-2][..., 3])
    p, n = alpha.shape[0], _COARSE
    texels = np.array([[p / 2, 0, (p - 1) / 2], [0, p / 2, (p - 1) / 2], [0, 0, 1]])
    cells = np.array([[1 / n, 0, 0.5 / n], [0, 1 / n, 0.5 / n], [0, 0, 1]])
    to_alpha = texels @ np.linalg.inv(matrix) @ cells
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(alpha, to_alpha[:2], (n, n), flags=flags).astype(np.float32) / 255


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """How much of the smaller one of two silhouettes the other one covers."""
    return float(np.minimum(a, b).sum() / max(min(a.sum(), b.sum()), 1e-6))


def standing(look: Look, place: np.ndarray, radius: float, angle: float, frames: int) -> Thing:
    """A thing that stands still, its middle at ``place [2]``."""
    return Thing(look, np.tile([*place, np.log(radius), angle], (frames, 1)))


def draw_other(
    rng: np.random.Generator,
    bank: SceneBank,
    first: Thing,
    camera: np.ndarray,
    ratio: tuple[float, float],
    act: Callable[[Look, np.ndarray], np.ndarray],
    *,
    walks: bool,
) -> Thing:
    """Draw another thing, of another size, whose place overlaps that of the first one.

    Args:
        rng: source of randomness.
        bank: where it is drawn from.
        first: the thing whose place it must overlap by a quarter of the smaller of the two.
        camera: ``[T, 4]``.
        ratio: bounds of its radius over the first one's.
        act: gives a thing's poses ``[T, 4]`` from its look and the pose it starts from.
        walks: whether it must be able to walk.
    """
    target = silhouette(first, camera)
    best, share = first, -1.0
    for attempt in range(30):
        look = draw_look(rng, bank, walks=walks)
        radius = float(np.clip(first.radius * draw_speed(rng, ratio), 0.05, 0.36))
        far = rng.uniform(0, 1.1 if attempt < 20 else 0.3) * max(first.radius, radius)
        way = rng.uniform(0, 2 * np.pi)
        place = first.poses[0, :2] + far * np.array([np.cos(way), np.sin(way)])
        angle = rng.uniform(-0.35, 0.35) if not walks else rng.normal() * 0.04
        thing = Thing(look, act(look, np.array([*place, np.log(radius), angle])))
        own = silhouette(thing, camera)
        got = overlap(own, target) if own.sum() > SEEN else 0.0
        if got > share:
            best, share = thing, got
        if got >= 0.25:
            break
    return best


def draw_bystander(
    rng: np.random.Generator, bank: SceneBank, camera: np.ndarray, keep_clear: list[np.ndarray]
) -> Thing | None:
    """Draw a thing that stands behind what acts and hardly touches the silhouettes it must keep clear of, or None."""
    look = draw_look(rng, bank)
    place = rng.uniform(0.05, 0.95, 2)
    thing = standing(look, place, draw_speed(rng, (0.06, 0.24)), rng.uniform(-0.4, 0.4), len(camera))
    own = silhouette(thing, camera)
    clear = all(np.minimum(own, other).sum() < 0.2 * max(other.sum(), 1) for other in keep_clear)
    return thing if clear and own.sum() > SEEN else None


def draw_second(
    rng: np.random.Generator,
    bank: SceneBank,
    camera: np.ndarray,
    keep_clear: list[np.ndarray],
    act: Callable[[Look, np.ndarray], np.ndarray],
) -> Thing:
    """Draw a thing that does something of its own, beside what acts."""
    best, share = None, np.inf
    for _ in range(20):
        look = draw_look(rng, bank)
        start = np.array([*rng.uniform(0.1, 0.9, 2), np.log(draw_speed(rng, (0.07, 0.2))), rng.uniform(-0.3, 0.3)])
        thing = Thing(look, act(look, start))
        touched = max(overlap(silhouette(thing, camera, t), other) for t in (0, -1) for other in keep_clear)
        if touched < share:
            best, share = thing, touched
        if touched < 0.03:
            break
    assert best is not None
    return best


def draw_veil(rng: np.random.Generator, bank: SceneBank, camera: np.ndarray, thing: Thing) -> Thing | None:
    """Draw a thing that hides a part of another one in the middle of the clip, or None where it would hide too much."""
    frame = len(camera) // 2
    hidden = silhouette(thing, camera, frame)
    at = thing.poses[frame, :2] + rng.normal(size=2) * thing.radius
    veil = standing(draw_look(rng, bank), at, draw_speed(rng, (0.05, 0.14)), rng.uniform(-0.3, 0.3), len(camera))
    share = np.minimum(silhouette(veil, camera, frame), hidden).sum() / max(hidden.sum(), 1e-6)
    return veil if 0.05 < share < 0.5 else None


def draw_cover(rng: np.random.Generator, bank: SceneBank, camera: np.ndarray, thing: Thing, frame: int) -> Thing:
    """Draw a thing that hides another one, as it is in a frame."""
    hidden = silhouette(thing, camera, frame)
    x, y, log_radius, _ = thing.poses[frame]
    best, share = None, -1.0
    for attempt in range(16):
        look = draw_look(rng, bank)
        radius = np.exp(log_radius) * rng.uniform(1.1, 1.5) * (1 + 0.03 * attempt)
        at = np.array([x, y]) + rng.normal(size=2) * 0.1 * np.exp(log_radius)
        cover = standing(look, at, min(radius, 0.45), rng.uniform(-0.2, 0.2), len(camera))
        got = float(np.minimum(silhouette(cover, camera, frame), hidden).sum() / max(hidden.sum(), 1e-6))
        if got > share:
            best, share = cover, got
        if got > 0.85:
            break
    assert best is not None
    return best
