"""Scenes that are flat: cut-outs before a photograph, composed in linear light at twice the size.

Places are in pixels of the first frame's picture, a pixel's centre at a half. Light is added, not gray levels; alpha is
premultiplied; what is drawn at twice the size is averaged over areas, so that edges are as soft as a camera's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from lamdemo.evaluation.second_hand.bank import Cutout, to_srgb

FINER = 2  # times the picture's size, at which it is composed
_HALF = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])  # from a pixel's index to its centre


class Pose(NamedTuple):
    """Where a cut-out is: centre (picture widths and heights), logarithm of its size, clockwise angle.

    The size is half the root of its box's area, in roots of the picture's.
    """

    x: float
    y: float
    size: float
    angle: float


@dataclass(frozen=True)
class Sun:
    """Where shadows fall: how dark, how far aside and how flat they lie behind their things."""

    dark: float
    aside: float
    flat: float


@dataclass(frozen=True)
class Actor:
    """A cut-out in a scene."""

    cutout: Cutout  # what it looks like
    poses: np.ndarray  # [T, 4], see `Pose`
    mirrored: bool  # left and right changed
    gain: np.ndarray  # of its light, float32 [3]


@dataclass(frozen=True)
class Scene:
    """What is shown."""

    size: tuple[int, int]  # height and width of the pictures
    background: np.ndarray  # linear light, float32 [h, w, 3]
    placed: np.ndarray  # [3, 3], from the background's pixels to those of the first frame
    camera: np.ndarray  # [T, 4], its motion, see `lamdemo.evaluation.second_hand.laws`
    actors: tuple[Actor, ...]  # from back to front
    acting: int | None  # index of the one that acts; None where none does
    sun: Sun | None  # of shadows; None without
    soft: float  # width of the lens' blur, in pixels


@dataclass(frozen=True)
class Layered:
    """A clip and its layers."""

    frames: np.ndarray  # uint8 [T, H, W, 3]
    matte: np.ndarray  # float32 [T, H, W], what is seen of the acting thing
    hole: np.ndarray  # float32 [T, H, W], what it covered in the first frame and is seen now


def seen_from(camera: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``[3, 3]``, from a place in the first frame to that in the frame of a camera's motion ``[4]``."""
    height, width = size
    right, down, closer, turned = camera
    c, s = np.exp(closer) * np.cos(turned), np.exp(closer) * np.sin(turned)
    # A camera that is turned clockwise sees the world turn the other way.
    turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    middle = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1.0]])
    back = np.array([[1, 0, -width / 2 - right * width], [0, 1, -height / 2 - down * height], [0, 0, 1.0]])
    return middle @ turn @ back


def _to_picture(cutout: Cutout, level: int, pose: np.ndarray, mirrored: bool, size: tuple[int, int]) -> np.ndarray:
    """``[3, 3]``, from places of a cut-out's picture to those of the first frame."""
    height, width = size
    h, w = cutout.levels[level].shape[:2]
    x, y, log_size, angle = pose
    scale = 2 * np.exp(log_size) * np.sqrt(height * width / (h * w))
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[c, -s, x * width], [s, c, y * height], [0, 0, 1]])
    return turn @ np.diag([-1.0 if mirrored else 1.0, 1, 1]) @ np.array([[1, 0, -w / 2], [0, 1, -h / 2], [0, 0, 1.0]])


class _Box(NamedTuple):
    """A part of a picture: rows and columns, and what was drawn there, float32 ``[h, w, 4]``."""

    rows: slice
    columns: slice
    light: np.ndarray


def _drawn(patch: np.ndarray, to_canvas: np.ndarray, canvas: tuple[int, int], rim: int = 1) -> _Box | None:
    """A picture laid on a canvas, cut to its box; None where it is outside."""
    h, w = patch.shape[:2]
    corners = (to_canvas @ np.array([[0, w, w, 0], [0, 0, h, h], [1, 1, 1, 1.0]]))[:2]
    left, top = np.maximum(np.floor(corners.min(1)).astype(int) - rim, 0)
    right, bottom = np.minimum(np.ceil(corners.max(1)).astype(int) + rim, (canvas[1], canvas[0]))
    if right <= left or bottom <= top:
        return None
    move = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1.0]]) @ np.linalg.inv(_HALF) @ to_canvas @ _HALF
    light = cv2.warpAffine(patch, move[:2], (int(right - left), int(bottom - top)), flags=cv2.INTER_LINEAR)
    return _Box(slice(top, bottom), slice(left, right), light)


def _level(cutout: Cutout, pixels: float) -> int:
    """The smallest of a cut-out's pictures that is not enlarged to a size in pixels."""
    enough = [i for i, p in enumerate(cutout.levels) if np.sqrt(p.shape[0] * p.shape[1]) >= pixels]
    return enough[-1] if enough else 0


def outline(cutout: Cutout, pose: np.ndarray, mirrored: bool, size: tuple[int, int]) -> np.ndarray:
    """Alpha of a cut-out in the whole picture, on a coarse grid: float32 ``[72, 72]``."""
    grid = (72, 72)
    level = len(cutout.levels) - 1
    shrink = np.diag([grid[1] / size[1], grid[0] / size[0], 1.0])
    box = _drawn(cutout.levels[level], shrink @ _to_picture(cutout, level, pose, mirrored, size), grid)
    whole = np.zeros(grid, np.float32)
    if box is not None:
        whole[box.rows, box.columns] = box.light[..., 3]
    return whole


def _shadow(canvas: np.ndarray, actor: Actor, to_frame: np.ndarray, view: np.ndarray, sun: Sun) -> None:
    """Darken where a thing's shadow falls: its outline, laid down about its foot."""
    patch = actor.cutout.levels[-1]
    h, w = patch.shape[:2]
    corners = (to_frame @ np.array([[0, w, w, 0], [0, 0, h, h], [1, 1, 1, 1.0]]))[:2]
    foot = corners[1].max()
    lay = np.array([[1, -sun.aside, sun.aside * foot], [0, sun.flat, (1 - sun.flat) * foot], [0, 0, 1.0]])
    zoom = np.sqrt(abs(np.linalg.det(view[:2, :2])))
    blur = max(0.03 * float(np.hypot(*np.ptp(corners, axis=1))) * zoom, 0.5)
    box = _drawn(patch[..., 3], view @ lay @ to_frame, canvas.shape[:2], rim=int(3 * blur) + 1)
    if box is not None:
        soft = cv2.GaussianBlur(box.light, (0, 0), blur)
        canvas[box.rows, box.columns] *= (1 - sun.dark * soft)[..., None]


def _over(actor: Actor, pose: np.ndarray, view: np.ndarray, size: tuple[int, int]) -> _Box | None:
    zoom = np.sqrt(abs(np.linalg.det(view[:2, :2])))
    pixels = 2 * np.exp(pose[2]) * np.sqrt(size[0] * size[1]) * zoom
    level = _level(actor.cutout, pixels)
    to_frame = _to_picture(actor.cutout, level, pose, actor.mirrored, size)
    return _drawn(actor.cutout.levels[level], view @ to_frame, (size[0] * FINER, size[1] * FINER))


def render(scene: Scene) -> Layered:
    """Draw a scene."""
    height, width = scene.size
    fine = np.diag([FINER, FINER, 1.0])
    frames, mattes, holes = [], [], []
    for t, camera in enumerate(scene.camera):
        view = fine @ seen_from(camera, scene.size)
        move = np.linalg.inv(_HALF) @ view @ scene.placed @ _HALF
        canvas = cv2.warpAffine(
            scene.background,
            move[:2],
            (width * FINER, height * FINER),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT_101,
        ).clip(0, 1)
        matte, hole = np.zeros(canvas.shape[:2], np.float32), np.zeros(canvas.shape[:2], np.float32)
        for i, actor in enumerate(scene.actors):
            if scene.sun is not None:
                to_frame = _to_picture(
                    actor.cutout, len(actor.cutout.levels) - 1, actor.poses[t], actor.mirrored, scene.size
                )
                _shadow(canvas, actor, to_frame, view, scene.sun)
            if i == scene.acting and (was := _over(actor, actor.poses[0], view, scene.size)) is not None:
                hole[was.rows, was.columns] = was.light[..., 3]
            box = _over(actor, actor.poses[t], view, scene.size)
            if box is None:
                continue
            place = box.rows, box.columns
            alpha = box.light[..., 3]
            canvas[place] *= 1 - alpha[..., None]
            canvas[place] += box.light[..., :3] * actor.gain
            hole[place] *= 1 - alpha
            matte[place] *= 1 - alpha
            if i == scene.acting:
                matte[place] = alpha
        frames.append(finished(canvas, scene.size, scene.soft))
        mattes.append(cv2.resize(matte, (width, height), interpolation=cv2.INTER_AREA))
        holes.append(cv2.resize(hole, (width, height), interpolation=cv2.INTER_AREA))
    return Layered(np.stack(frames), np.stack(mattes), np.stack(holes))


def finished(canvas: np.ndarray, size: tuple[int, int], soft: float) -> np.ndarray:
    """A picture uint8 ``[H, W, 3]`` of a canvas of linear light, float32 ``[H * FINER, W * FINER, 3]``."""
    light = cv2.resize(canvas, size[::-1], interpolation=cv2.INTER_AREA)
    if soft > 0:
        light = cv2.GaussianBlur(light, (0, 0), soft)
    return to_srgb(light)


def placed_within(
    rng: np.random.Generator, background: np.ndarray, camera: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, float]:
    """Lay a background under all that a camera sees.

    Returns:
        The background's place (see `Scene`) and by how much it is enlarged.
    """
    height, width = size
    corners = np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1.0]])
    seen = np.concatenate([(np.linalg.inv(seen_from(c, size)) @ corners)[:2] for c in camera], 1)
    low, high = seen.min(1), seen.max(1)
    room = np.array(background.shape[1::-1], float)
    larger = float(((high - low) / (room - 1)).max()) * rng.uniform(1.0, 1.15)
    start = low - rng.uniform(0, 1, 2) * (larger * room - (high - low))
    mirror = np.array([[-1, 0, room[0]], [0, 1, 0], [0, 0, 1]]) if rng.random() < 0.5 else np.eye(3)
    return np.array([[larger, 0, start[0]], [0, larger, start[1]], [0, 0, 1]]) @ mirror, larger
