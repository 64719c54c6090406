"""A world with depth: ground, a backdrop and things that stand on it, seen by a camera that goes about.

Everything is a plane in space, so everything moves by homographies and the flow is known exactly. In two worlds the
same camera motion gives different flows, since depths and heights differ.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from lamdemo.data.scenes.casting import draw_look, graded
from lamdemo.data.scenes.compositing import Layer, SceneClip, compose
from lamdemo.data.scenes.cutouts import SceneBank
from lamdemo.data.scenes.motions import draw_path, draw_speed

_TILE = 256  # side of the ground's texture, in pixels
_SPEEDS = ((0.03, 0.3), (0.05, 0.6), (0.01, 0.12), (0.008, 0.06))  # a step's, of each number of a camera's motion


def draw_depth_pair(
    rng: np.random.Generator, bank: SceneBank, frames: int, size: int, motion: np.ndarray | None = None
) -> tuple[SceneClip, SceneClip]:
    """Draw two worlds in which a camera moves alike.

    Args:
        rng: source of all randomness.
        bank: what the worlds are made of.
        frames: how many frames a clip has.
        size: side of the pictures, in pixels.
        motion: ``[T, 4]``, the camera's way to the right, its way ahead (in heights of the camera), its turn to the
            right and its tilt up (in radians), from 0; drawn if None.
    """
    if motion is None:
        motion = draw_motion(rng, frames)
    clips = [compose(_draw_world(rng, bank, motion), None, size, "depth") for _ in range(2)]
    return clips[0], clips[1]


def draw_motion(rng: np.random.Generator, frames: int) -> np.ndarray:
    """How a camera goes about, ``[T, 4]`` as in `draw_depth_pair`: ahead, sideways, turning, tilting, or two."""
    velocity = np.zeros(4)
    chosen = rng.choice(4, size=rng.choice([1, 2], p=[0.7, 0.3]), replace=False, p=[0.25, 0.4, 0.25, 0.1])
    for axis in chosen:
        velocity[axis] = rng.choice([-1.0, 1.0]) * draw_speed(rng, _SPEEDS[axis])
    return draw_path(rng, frames, velocity)


def _draw_world(rng: np.random.Generator, bank: SceneBank, motion: np.ndarray) -> list[Layer]:
    """Layers of a world, from back to front. Lengths are in heights of the camera; y is down, z ahead."""
    focal = rng.uniform(0.7, 1.3)  # in picture widths
    tilt = rng.uniform(-0.3, 0.02)

    def seen(plane: np.ndarray) -> np.ndarray:
        return _seen(plane, motion, focal, tilt)

    nearest = motion[:, 1].max() + 0.8
    far = nearest + draw_speed(rng, (3.0, 14.0))

    tile = rng.uniform(1.0, 3.0)
    ground = np.array([[tile, 0, rng.uniform(-2, 2)], [0, 0, 1], [0, -tile, far / 2]])  # u, v, 1 -> x, y, z
    layers = [Layer(_ground_texture(rng, bank), seen(ground), "plane")]
    photograph = bank.draw_photograph(rng)
    h, w = photograph.shape[:2]
    # A backdrop about as high as what the camera sees of it.
    tall = (far / focal) * rng.uniform(0.45, 0.8)
    wall = np.array([[tall * w / h, 0, rng.uniform(-0.3, 0.3) * tall], [0, tall, 1 - tall], [0, 0, far]])
    layers.append(Layer((photograph,), seen(wall), "wall"))
    count = rng.integers(2, 7)
    depths = np.sort(np.exp(rng.uniform(np.log(nearest + 0.3), np.log(far * 0.95), count)))[::-1]
    for depth in depths:
        look = draw_look(rng, bank, walks=rng.random() < 0.5)
        # As tall as the camera's eyes or less, and never so near that it fills the picture.
        reach = 0.75 * (depth - motion[:, 1].max()) / focal
        scale = min(rng.uniform(0.3, 1.2), reach) / 2 / look.half.max()
        x = rng.uniform(-0.55, 0.55) * depth / focal
        stand = np.array([[scale, 0, x], [0, scale, 1 - scale * look.foot], [0, 0, depth]]) @ look.shape
        wide = scale * look.half[0] * 1.3
        spot = np.array([[wide, 0, x], [0, 0, 0.995], [0, -0.35 * wide, depth]])
        layers += [Layer((_shade(),), seen(spot)), Layer(graded(look), seen(stand))]
    return layers


def _seen(plane: np.ndarray, motion: np.ndarray, focal: float, tilt: float) -> np.ndarray:
    """A plane on the screen.

    Args:
        plane: ``[3, 3]``, from (u, v, 1) to the world's (x, y, z).
        motion: ``[T, 4]``, as in `draw_depth_pair`.
        focal: in picture widths.
        tilt: of the camera at first, up, in radians.

    Returns:
        ``[T, 3, 3]``, from (u, v, 1) to the screen.
    """
    frames = len(motion)
    place = np.stack([motion[:, 0], np.zeros(frames), motion[:, 1]], 1)
    turn, up = motion[:, 2], tilt + motion[:, 3]
    zero, one = np.zeros(frames), np.ones(frames)
    sideways = np.stack([np.cos(turn), zero, -np.sin(turn), zero, one, zero, np.sin(turn), zero, np.cos(turn)], -1)
    upwards = np.stack([one, zero, zero, zero, np.cos(up), np.sin(up), zero, -np.sin(up), np.cos(up)], -1)
    lens = np.array([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]])
    relative = plane - place[:, :, None] * np.array([0, 0, 1])
    return lens @ upwards.reshape(-1, 3, 3) @ sideways.reshape(-1, 3, 3) @ relative


@lru_cache(maxsize=1)
def _shade() -> np.ndarray:
    """A soft dark spot, premultiplied RGBA."""
    line = np.linspace(-1, 1, 32)
    radius = np.hypot(line, line[:, None])
    spot = np.zeros((32, 32, 4), np.uint8)
    spot[..., 3] = 255 * 0.45 * np.clip(1 - radius, 0, 1) ** 0.7
    return spot


def _ground_texture(rng: np.random.Generator, bank: SceneBank) -> tuple[np.ndarray, ...]:
    """A piece of the lower half of a photograph, with its halves."""
    photograph = bank.draw_photograph(rng)
    h, w = photograph.shape[:2]
    side = int(rng.uniform(0.4, 0.9) * min(h, w))
    y, x = rng.integers((h - side) // 2, h - side + 1), rng.integers(w - side + 1)
    levels = [cv2.resize(photograph[y : y + side, x : x + side], (_TILE, _TILE), interpolation=cv2.INTER_LINEAR)]
    while levels[-1].shape[0] > 16:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return tuple(levels)
