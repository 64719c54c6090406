"""A world with depth: a textured ground, a backdrop, and standing things at several distances.

Lengths are metres: x to the right, y down, z forward, from where the camera's foot stands at first. All that there is
are planes, each of which is seen through a homography; the ground is sampled more coarsely the farther it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lamdemo.evaluation.second_hand.bank import Cutout
from lamdemo.evaluation.second_hand.flat import FINER, finished

FAR = 22.0  # metres to the backdrop
NEAR = 0.5  # metres before the camera, from which a thing is seen
_GRAIN = 48.0  # pixels of the ground's texture a metre
_HAZE = 0.9  # how much the ground takes on the backdrop's colour at its far end


@dataclass(frozen=True)
class Standing:
    """A cut-out that stands on the ground and faces the way the camera looked at first."""

    cutout: Cutout  # what it looks like
    x: float  # where its foot is
    z: float
    tall: float  # its height
    mirrored: bool  # left and right changed


@dataclass(frozen=True)
class World:
    """What there is."""

    backdrop: np.ndarray  # linear light, float32 [h, w, 3]
    ground: np.ndarray  # the same, a texture that is repeated as in mirrors
    things: tuple[Standing, ...]  # in any order
    field: float  # horizontal angle of view, in radians
    eye: float  # height of the camera
    tilt: float  # of the camera, down, in radians


@dataclass(frozen=True)
class _Camera:
    """Where it is, ``[3]``, and what takes a direction in the world to a pixel of the canvas, ``[3, 3]``."""

    place: np.ndarray
    project: np.ndarray

    @classmethod
    def of(cls, world: World, motion: np.ndarray, size: tuple[int, int]) -> _Camera:
        height, width = size[0] * FINER, size[1] * FINER
        focal = width / 2 / np.tan(world.field / 2)
        right, up, forward, turned = motion
        c, s = np.cos(turned), np.sin(turned)
        yaw = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
        c, s = np.cos(world.tilt), np.sin(world.tilt)
        pitch = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
        lens = np.array([[focal, 0, width / 2 - 0.5], [0, focal, height / 2 - 0.5], [0, 0, 1.0]])
        return cls(np.array([right, -world.eye - up, forward]), lens @ pitch @ yaw)

    def plane(self, corner: np.ndarray, along: np.ndarray, down: np.ndarray) -> np.ndarray:
        """``[3, 3]``, from a plane's coordinates (steps along two vectors from its corner) to pixels."""
        return self.project @ np.stack([along, down, corner - self.place], 1)


def _backdrop(world: World, camera: _Camera, canvas: tuple[int, int]) -> np.ndarray:
    h, w = world.backdrop.shape[:2]
    wide = 2.9 * np.tan(world.field / 2) * FAR
    step = wide / w
    corner = np.array([-wide / 2, 0.3 - h * step, FAR])
    to_pixel = camera.plane(corner, np.array([step, 0, 0]), np.array([0, step, 0]))
    return cv2.warpPerspective(
        world.backdrop, to_pixel, canvas[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    ).clip(0, 1)


def _ground(picture: np.ndarray, levels: list[np.ndarray], world: World, camera: _Camera) -> None:
    """Draw the ground over a canvas, from its near end to the backdrop."""
    height, width = picture.shape[:2]
    back = np.linalg.inv(camera.plane(np.zeros(3), np.array([1.0, 0, 0]), np.array([0, 0, 1.0])))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u, v, w = (back[i, 0] * x + back[i, 1] * y + back[i, 2] for i in range(3))
    # A pixel sees the ground where its ray goes down, which one that looks at the foot before the camera does.
    before = camera.place + np.array([0, -camera.place[1], 4.0])
    towards = camera.project @ (before - camera.place)
    sign = np.sign((back @ (towards / towards[2]))[2])
    with np.errstate(divide="ignore", invalid="ignore"):
        across, ahead = u / w, v / w
    reaches = (w * sign > 0) & (ahead > camera.place[2]) & (ahead < FAR)
    if not reaches.any():
        return
    rows = reaches.any(1)
    top = int(np.argmax(rows))
    part = slice(top, height)
    across, ahead = (np.where(reaches, value, 0)[part].astype(np.float32) for value in (across, ahead))
    focal = np.sqrt(abs(np.linalg.det(camera.project)))
    away = np.maximum(ahead - camera.place[2], 0.1)
    # Pixels of the texture below one of the canvas: one metre is foreshortened by the eye's height over the distance.
    coarse = np.log2(np.maximum(_GRAIN * away**2 / (focal * world.eye) / 2, 1)).clip(0, len(levels) - 1)
    light = np.zeros((*across.shape, 3), np.float32)
    for i, level in enumerate(levels):
        share = np.maximum(1 - np.abs(coarse - i), 0)[..., None]
        fine = _GRAIN / 2**i
        light += share * cv2.remap(
            level, across * fine, -ahead * fine, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
    haze = (_HAZE * (ahead / FAR) ** 2)[..., None]
    horizon = world.backdrop[-8:].mean((0, 1))
    light = light * (1 - haze) + horizon * haze
    picture[part] = np.where(reaches[part][..., None], light, picture[part])


def _thing(picture: np.ndarray, thing: Standing, camera: _Camera) -> None:
    patch = thing.cutout.levels[0]
    h, w = patch.shape[:2]
    step = thing.tall / h
    sign = -1 if thing.mirrored else 1
    corner = np.array([thing.x - sign * w * step / 2, -thing.tall + 0.01, thing.z])
    along, down = np.array([sign * step, 0, 0]), np.array([0, step, 0])
    to_pixel = camera.plane(corner, along, down)
    pixels = abs(to_pixel[0, 0] / (to_pixel[2] @ np.array([w / 2, h / 2, 1])))
    level = 0
    while level + 1 < len(thing.cutout.levels) and 2 ** -(level + 1) >= pixels:
        level += 1
    small = thing.cutout.levels[level]
    shrunk = np.diag([w / small.shape[1], h / small.shape[0], 1.0])
    size = picture.shape[1::-1]
    light = cv2.warpPerspective(small, to_pixel @ shrunk, size, flags=cv2.INTER_LINEAR)
    picture *= 1 - light[..., 3:]
    picture += light[..., :3]


def _contact(picture: np.ndarray, thing: Standing, camera: _Camera) -> None:
    """Darken the ground about a thing's foot."""
    h, w = thing.cutout.levels[0].shape[:2]
    wide = 0.9 * thing.tall * w / h
    n = 32
    line = np.linspace(-1, 1, n, dtype=np.float32)
    blob = np.exp(-4 * (line[:, None] ** 2 + line[None] ** 2)) * (1 - (line[:, None] ** 8 + line[None] ** 8) / 2)
    corner = np.array([thing.x - wide / 2, 0, thing.z + wide / 4])
    to_pixel = camera.plane(corner, np.array([wide / n, 0, 0]), np.array([0, 0, -wide / 2 / n]))
    dark = cv2.warpPerspective(blob, to_pixel, picture.shape[1::-1], flags=cv2.INTER_LINEAR)
    picture *= 1 - 0.55 * dark.clip(0, 1)[..., None]


def render_world(world: World, flight: np.ndarray, size: tuple[int, int], soft: float) -> np.ndarray:
    """Draw a world along a camera's flight.

    Args:
        world: what there is.
        flight: ``[T, 4]``, see `lamdemo.evaluation.second_hand.laws.flight`.
        size: height and width of the pictures.
        soft: width of the lens' blur, in pixels.

    Returns:
        uint8 ``[T, H, W, 3]``.
    """
    levels = [world.ground]
    while min(levels[-1].shape[:2]) > 8 and len(levels) < 6:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    canvas = size[0] * FINER, size[1] * FINER
    frames = []
    for motion in flight:
        camera = _Camera.of(world, motion, size)
        picture = _backdrop(world, camera, canvas)
        _ground(picture, levels, world, camera)
        for thing in sorted(world.things, key=lambda one: -one.z):
            if thing.z - camera.place[2] > NEAR:
                _contact(picture, thing, camera)
                _thing(picture, thing, camera)
        frames.append(finished(picture, size, soft))
    return np.stack(frames)
