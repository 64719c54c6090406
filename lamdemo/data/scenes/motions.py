"""How fast and along which course things and cameras move, for all kinds of scenes."""

from __future__ import annotations

import numpy as np


def draw_speed(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    """A number between two bounds, log-uniform."""
    return float(np.exp(rng.uniform(np.log(bounds[0]), np.log(bounds[1]))))


def draw_path(rng: np.random.Generator, frames: int, velocity: np.ndarray) -> np.ndarray:
    """Positions ``[T, C]`` from a start of 0 at a steady, swelling or once changing velocity ``[C]``."""
    steps = np.arange(frames - 1)
    style = rng.integers(3)
    if style == 0:
        gains = np.ones(frames - 1)
    elif style == 1:
        gains = 1 + 0.6 * np.sin(2 * np.pi * (steps / max(frames - 1, 1) * rng.uniform(0.5, 1.0) + rng.uniform()))
    else:
        gains = np.where(steps < rng.integers(1, max(frames - 1, 2)), 1.0, rng.choice([-1.0, 0.0, 0.4]))
    return np.concatenate([np.zeros((1, len(velocity))), np.cumsum(gains[:, None] * velocity, 0)])


def similarities(poses: np.ndarray) -> np.ndarray:
    """Matrices ``[T, 3, 3]`` of poses ``[T, 4]`` (x, y, logarithm of the scale, angle): p -> scale R p + (x, y)."""
    x, y, log_scale, angle = poses.T
    c, s = np.exp(log_scale) * np.cos(angle), np.exp(log_scale) * np.sin(angle)
    zero, one = np.zeros_like(x), np.ones_like(x)
    return np.stack([c, -s, x, s, c, y, zero, zero, one], -1).reshape(-1, 3, 3)


def screens(camera: np.ndarray) -> np.ndarray:
    """Matrices ``[T, 3, 3]`` from the world to the screen, for camera poses ``[T, 4]``.

    The screen is the square from 0 to 1. A camera whose pose is 0 sees the world's same square; others turn and zoom
    about their picture's middle.
    """
    middle = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    return np.linalg.inv(similarities(camera + np.array([0.5, 0.5, 0, 0])) @ middle)


def draw_gait(rng: np.random.Generator, frames: int, speed: float) -> np.ndarray:
    """How a walker's foot moves (x, y), and how the walker sways about it, ``[T, 3]``; mostly sideways, with a bob."""
    velocity = speed * np.array([rng.choice([-1.0, 1.0]), 0.25 * rng.normal()])
    course = draw_path(rng, frames, velocity)
    phase = rng.uniform(0, np.pi) + rng.uniform(0.6, 1.6) * np.arange(frames)
    bob = rng.uniform(0.004, 0.02) * np.abs(np.sin(phase))
    sway = rng.uniform(0.03, 0.14) * np.sin(phase)
    return np.stack([course[:, 0], course[:, 1] - bob + bob[0], sway], 1)


def walk(start: np.ndarray, gait: np.ndarray, foot: float) -> np.ndarray:
    """Poses ``[T, 4]`` of something that walks.

    Args:
        start: its pose ``[4]`` where it does not sway.
        gait: ``[T, 3]``, see `draw_gait`.
        foot: how far below its middle its foot is, in its radii.
    """
    leg = 1j * foot * np.exp(start[2] + 1j * start[3])
    middle = start[0] + 1j * start[1] + leg + gait[:, 0] + 1j * gait[:, 1] - leg * np.exp(1j * gait[:, 2])
    return np.stack([middle.real, middle.imag, np.full(len(gait), start[2]), start[3] + gait[:, 2]], 1)
