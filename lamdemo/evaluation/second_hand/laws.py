"""How things and cameras of the second hand move: the laws of throws, swings, walks, brakes and hands.

Every motion is ``[T, 4]``, relative to the first frame: to the right in picture widths, down in picture heights,
logarithm of the size, clockwise angle in radians. It is the same in a case's source and in its truth.
"""

from __future__ import annotations

import numpy as np

_GAIT = (0.8, 1.6)  # strides a second of those who walk
_FPS = 4.0  # at which a gait is sampled


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def progress(rng: np.random.Generator, steps: int) -> np.ndarray:
    """How much of a motion is done after each step, ``[T]`` from 0 to 1, never backwards.

    It starts and stops softly (of least jerk), gains speed or loses it at a constant rate, or glides to rest.
    """
    u = np.arange(steps + 1) / steps
    law = rng.integers(4)
    if law == 0:
        return u**3 * (10 - 15 * u + 6 * u**2)
    if law == 3:
        return np.expm1(-2.5 * u) / np.expm1(-2.5)
    first = rng.uniform(0.25, 0.6)  # of the mean speed, at the slow end
    done = first * u + (1 - first) * u**2
    return done if law == 1 else 1 - done[::-1]


def _swing(rng: np.random.Generator, steps: int) -> np.ndarray:
    """A damped pendulum from its rest, ``[T]``, about 1 at most."""
    t = np.arange(steps + 1)
    return np.exp(-rng.uniform(0.02, 0.12) * t) * np.sin(2 * np.pi * rng.uniform(0.6, 1.1) * t / steps)


def move(rng: np.random.Generator, steps: int) -> np.ndarray:
    """A thing is shoved along a line, or flies in an arc."""
    motion = np.zeros((steps + 1, 4))
    if rng.random() < 0.4:
        u = np.arange(steps + 1) / steps
        motion[:, 0] = rng.choice([-1, 1]) * _between(rng, 0.15, 0.42) * u
        height, drop = rng.uniform(0.08, 0.2), rng.uniform(-0.05, 0.2)
        motion[:, 1] = drop * u**2 - 4 * height * u * (1 - u)
        return motion
    angle = rng.uniform(0, 2 * np.pi)
    way = _between(rng, 0.14, 0.42) * np.array([np.cos(angle), np.sin(angle)])
    motion[:, :2] = progress(rng, steps)[:, None] * way
    return motion


def walk(rng: np.random.Generator, steps: int, size: float) -> np.ndarray:
    """Somebody of a size (see `Pose`) walks: along, up and down with each stride, from leg to leg."""
    t = np.arange(steps + 1) / _FPS
    stride, begin = 2 * np.pi * rng.uniform(*_GAIT), rng.uniform(0, np.pi)
    motion = np.zeros((steps + 1, 4))
    pace = 1 + 0.15 * np.sin(2 * stride * t + begin)
    along = np.concatenate([[0.0], np.cumsum(pace[1:])]) / steps
    motion[:, 0] = rng.choice([-1, 1]) * _between(rng, 0.18, 0.45) * along
    motion[:, 1] = rng.uniform(-0.05, 0.05) * along - 0.14 * size * np.abs(np.sin(stride * t + begin))
    motion[:, 3] = rng.uniform(0.04, 0.1) * np.sin(stride * t + begin)
    return motion - motion[0]


def turn(rng: np.random.Generator, steps: int) -> np.ndarray:
    """A thing is turned, or swings like a pendulum."""
    motion = np.zeros((steps + 1, 4))
    far = rng.choice([-1, 1]) * _between(rng, 0.5, 1.9)
    if rng.random() < 0.35:
        motion[:, 3] = 0.6 * far * _swing(rng, steps)
    else:
        motion[:, 3] = far * progress(rng, steps)
    return motion


def grow(rng: np.random.Generator, steps: int) -> np.ndarray:
    """A thing comes nearer or goes away at a steady speed, as size grows with nearness; or it swells and stops."""
    motion = np.zeros((steps + 1, 4))
    factor = np.exp(rng.choice([-1, 1]) * rng.uniform(0.3, 0.8))
    if rng.random() < 0.5:
        distance = 1 + (1 / factor - 1) * np.arange(steps + 1) / steps
        motion[:, 2] = -np.log(distance)
    else:
        motion[:, 2] = np.log(factor) * progress(rng, steps)
    return motion


def shake(rng: np.random.Generator, steps: int) -> np.ndarray:
    """A hand that holds a camera: a few thousandths of the picture, smooth, without drift."""
    raw = rng.normal(size=(steps + 3, 4)) * (0.0025, 0.0025, 0.0015, 0.003)
    smooth = (raw[:-2] + 2 * raw[1:-1] + raw[2:]) / 2.45
    return smooth - smooth[0]


def pan(rng: np.random.Generator, steps: int) -> np.ndarray:
    """A camera is turned aside, up or down."""
    angle = rng.uniform(0, 2 * np.pi)
    way = np.array([np.cos(angle), rng.choice([0.25, 0.8]) * np.sin(angle)])  # mostly aside
    way *= _between(rng, 0.1, 0.34) / np.linalg.norm(way)
    motion = shake(rng, steps)
    motion[:, :2] += progress(rng, steps)[:, None] * way
    return motion


def zoom(rng: np.random.Generator, steps: int) -> np.ndarray:
    """A camera's focal length changes."""
    motion = shake(rng, steps)
    motion[:, 2] += rng.choice([-1, 1]) * _between(rng, 0.14, 0.5) * progress(rng, steps)
    return motion


def roll(rng: np.random.Generator, steps: int) -> np.ndarray:
    """A camera is tilted about its axis, or rocks."""
    motion = shake(rng, steps)
    far = rng.choice([-1, 1]) * _between(rng, 0.15, 0.65)
    motion[:, 3] += 0.7 * far * _swing(rng, steps) if rng.random() < 0.25 else far * progress(rng, steps)
    return motion


def flight(rng: np.random.Generator, steps: int, which: str) -> np.ndarray:
    """A camera in a world: to the right, up and forward in metres, turn to the right in radians, ``[T, 4]``.

    Args:
        rng: source of randomness.
        steps: of the motion.
        which: "forward", "strafe" or "turn".
    """
    motion = 0.006 * rng.normal(size=(steps + 1, 4)) * (1, 1, 1, 0.5)
    done = progress(rng, steps)
    if which == "forward":
        motion[:, 2] += _between(rng, 0.9, 2.6) * done
        # Who carries the camera walks.
        motion[:, 1] += 0.025 * np.abs(np.sin(2 * np.pi * rng.uniform(*_GAIT) * np.arange(steps + 1) / _FPS))
    elif which == "strafe":
        motion[:, 0] += rng.choice([-1, 1]) * _between(rng, 0.5, 1.6) * done
    else:
        motion[:, 3] += rng.choice([-1, 1]) * _between(rng, 0.1, 0.36) * done
        motion[:, 2] += rng.uniform(0, 0.4) * done
    return motion - motion[0]
