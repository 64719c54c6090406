"""Layers over one another: their pictures, and what is true of how they moved.

A layer is a plane with a texture. In each frame a matrix takes the texture's square, from -1 to 1, to the screen, whose
top left corner is (0, 0) and whose bottom right one is (1, 1). So one way of drawing and one way of telling what moved
where serves a thing on a flat background and a street that a camera walks along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np

GRID = 16  # cells a side of `SceneClip.ground`


class SceneClip(NamedTuple):
    """A clip whose layers are known. Flows and places are in units of the picture's size."""

    pictures: np.ndarray  # uint8 RGB [T, size, size, 3]
    matte: np.ndarray  # uint8 [T, size / 2, size / 2], how much of a place shows the thing that acts
    # uint8 [T-1, size / 2, size / 2], the part of `matte[t + 1]` that in frame t was beyond the picture's edge or
    # behind something.
    entering: np.ndarray
    # float32 [T-1, 4], how the acting thing's points move from frame t to t + 1: with the numbers (mr, mi, kx, ky), p
    # -> (mr + i mi) p + (kx + i ky) for a place p = x + i y. (1, 0, 0, 0) if nothing acts.
    acting: np.ndarray
    acts: bool  # whether a thing acts, and not the camera alone
    # float32 [T-1, 2, 16, 16], backward flow, at the cells' centres, of all that is not the acting thing; behind that
    # thing, the flow of what it hides.
    ground: np.ndarray
    # float32 [T-1, 1, 16, 16], the share of a cell that moves as `ground` says and was in view in frame t.
    known: np.ndarray
    kind: str  # what happens


@dataclass(frozen=True)
class Layer:
    """A textured plane."""

    # Uint8 textures, each half as large as the one before: premultiplied RGBA where the layer is a "cutout", RGB
    # where it is not.
    levels: tuple[np.ndarray, ...]
    matrices: np.ndarray  # [T, 3, 3], from the texture's square to the screen
    # A "cutout" ends at its texture; a "plane" goes on for ever, its texture mirrored; a "wall" is a plane that ends
    # at its texture's lower edge.
    extent: Literal["cutout", "plane", "wall"] = "cutout"
    shadow: float = 0.0  # how dark its shadow is, from 0 to 1


class _Views(NamedTuple):
    """Frames as drawn."""

    pictures: np.ndarray  # uint8 RGB [T, size, size, 3]
    alpha: np.ndarray  # float32 [T, half, half], from 0 to 255, the acting layer's as if nothing were in front of it
    through: np.ndarray  # float32 [T, half, half], from 0 to 1, how much can be seen through what is in front of it
    owners: np.ndarray  # uint8 [T, half, half], the layer that is seen where the acting one is left out


def compose(layers: list[Layer], acting: int | None, size: int, kind: str, *, shutter: float = 0.0) -> SceneClip:
    """Draw layers and say what is true of them.

    Args:
        layers: from back to front; the first one fills the picture.
        acting: which of them acts.
        size: side of the pictures, in pixels; a multiple of 64.
        kind: what happens, for the clip's `kind`.
        shutter: share of a step for which the shutter is open; things that move within it are blurred.

    Raises:
        ValueError: the size is no multiple of 64.
    """
    if size % (4 * GRID):
        raise ValueError(f"pictures of {size} pixels do not divide into cells; use a multiple of {4 * GRID}")
    matrices = np.stack([layer.matrices for layer in layers])  # [L, T, 3, 3]
    views = _draw(layers, matrices, acting, size)
    if shutter > 0:
        offsets = np.linspace(-0.5, 0.5, 5) * shutter
        blurred = [_draw(layers, _at(matrices, o), acting, size) for o in offsets if o] + [views]
        pictures, alpha, through = (np.stack([v[i] for v in blurred]).mean(0, np.float32) for i in range(3))
        views = _Views(pictures.round().astype(np.uint8), alpha, through, views.owners)
    back = np.stack([m[:-1] @ np.linalg.inv(m[1:]) for m in matrices])  # [L, T-1, 3, 3], a frame back
    back /= back[..., 2:, 2:]
    ground, known = _ground(back, views, acting)
    steps = len(ground)
    entering = np.zeros_like(views.alpha[1:])
    similarity = np.tile(np.array([1, 0, 0, 0], np.float32), (steps, 1))
    if acting is not None:
        for t in range(steps):
            seen = _moved(views.through[t], back[acting, t])
            entering[t] = views.alpha[t + 1] * (views.through[t + 1] - seen).clip(0)
        forth = np.linalg.inv(back[acting])
        forth /= forth[:, 2:, 2:]
        similarity = forth[:, [0, 1, 0, 1], [0, 0, 2, 2]].astype(np.float32)
    return SceneClip(
        views.pictures,
        (views.alpha * views.through).astype(np.uint8),
        entering.astype(np.uint8),
        similarity,
        acting is not None,
        ground,
        known,
        kind,
    )


def _at(matrices: np.ndarray, offset: float) -> np.ndarray:
    """Matrices a part of a step later (or earlier), along straight ways."""
    later = np.concatenate([matrices[:, 1:], 2 * matrices[:, -1:] - matrices[:, -2:-1]], 1)
    earlier = np.concatenate([2 * matrices[:, :1] - matrices[:, 1:2], matrices[:, :-1]], 1)
    return matrices + abs(offset) * ((later if offset > 0 else earlier) - matrices)


def _pixels(size: int) -> np.ndarray:
    """From pixels to the screen."""
    return np.array([[1 / size, 0, 0.5 / size], [0, 1 / size, 0.5 / size], [0, 0, 1]])


def _texels(height: int, width: int) -> np.ndarray:
    """From a texture's square to its pixels."""
    return np.array([[width / 2, 0, (width - 1) / 2], [0, height / 2, (height - 1) / 2], [0, 0, 1]])


def _draw(layers: list[Layer], matrices: np.ndarray, acting: int | None, size: int) -> _Views:
    frames, half = matrices.shape[1], size // 2
    pictures = np.zeros((frames, size, size, 3), np.uint8)
    alpha = np.zeros((frames, half, half), np.float32)
    through = np.ones((frames, half, half), np.float32)
    owners = np.zeros((frames, half, half), np.uint8)
    for i, layer in enumerate(layers):
        for t in range(frames):
            drawn = _lay(pictures[t], layer, matrices[i, t], size)
            if drawn is None:
                continue
            own, (x0, y0, x1, y1) = drawn
            box = np.s_[t, y0 // 2 : y1 // 2, x0 // 2 : x1 // 2]
            coarse = cv2.resize(own, ((x1 - x0) // 2, (y1 - y0) // 2), interpolation=cv2.INTER_AREA)
            if i == acting:
                alpha[box] = coarse
                continue
            if acting is not None and i > acting:
                through[box] *= 1 - coarse / np.float32(255)
            owners[box][coarse > 127] = i
    return _Views(pictures, alpha, through, owners)


def _lay(picture: np.ndarray, layer: Layer, matrix: np.ndarray, size: int) -> tuple[np.ndarray, tuple] | None:
    """Draw a layer over a picture, in place.

    Returns:
        Its alpha in a box, uint8 ``[h, w]``, and that box: left, top, right, bottom in pixels, even numbers; None where
        nothing of it is in the picture.
    """
    if layer.extent == "plane":
        picture[:] = _plane(layer, matrix, size)
        return np.full((size, size), 255, np.uint8), (0, 0, size, size)
    if layer.extent == "wall":
        alpha = _above_foot(matrix, size)
        plane = cv2.multiply(_plane(layer, matrix, size), cv2.merge([alpha] * 3), scale=1 / 255)
        _blend(picture, plane, alpha)
        return alpha, (0, 0, size, size)
    corners = matrix @ np.array([[-1, 1, 1, -1], [-1, -1, 1, 1], [1, 1, 1, 1]])
    corners = corners[:2] / corners[2] * size
    extent = np.ptp(corners, axis=1)
    x0, y0 = np.maximum(np.floor(corners.min(1) / 2).astype(int) * 2 - 2, 0)
    x1, y1 = np.minimum(np.ceil(corners.max(1) / 2).astype(int) * 2 + 2, size)
    if x1 <= x0 or y1 <= y0:
        return None
    level = int(np.clip(np.log2(layer.levels[0].shape[0] / max(extent.max(), 1)) + 0.15, 0, len(layer.levels) - 1))
    if layer.shadow > 0:
        _cast_shadow(picture, layer, matrix, size)
    box = np.array([[1, 0, x0], [0, 1, y0], [0, 0, 1]])
    drawn = _warp(layer.levels[level], np.linalg.inv(matrix) @ _pixels(size) @ box, (x1 - x0, y1 - y0))
    _blend(picture[y0:y1, x0:x1], drawn[..., :3], drawn[..., 3])
    return drawn[..., 3], (x0, y0, x1, y1)


def _blend(place: np.ndarray, colour: np.ndarray, alpha: np.ndarray) -> None:
    """Put a premultiplied colour over a part of a picture, in place."""
    rest = cv2.multiply(place, cv2.merge([255 - alpha] * 3), scale=1 / 255)
    place[:] = cv2.add(rest, colour)


def _warp(texture: np.ndarray, to_square: np.ndarray, shape: tuple[int, int], *, endless: bool = False) -> np.ndarray:
    """Texture seen through a matrix from pixels to the texture's square."""
    matrix = _texels(*texture.shape[:2]) @ to_square
    border = cv2.BORDER_REFLECT_101 if endless else cv2.BORDER_CONSTANT
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if np.abs(matrix[2, :2]).max() < 1e-9:
        return cv2.warpAffine(texture, matrix[:2] / matrix[2, 2], shape, flags=flags, borderMode=border)
    return cv2.warpPerspective(texture, matrix, shape, flags=flags, borderMode=border)


def _plane(layer: Layer, matrix: np.ndarray, size: int) -> np.ndarray:
    """An endless layer, ``[size, size, 3]``; in each band of rows the texture is as fine as it is seen there."""
    to_square = np.linalg.inv(matrix) @ _pixels(size)
    if len(layer.levels) == 1:
        return _warp(layer.levels[0], to_square, (size, size), endless=True)
    rows = np.arange(size)
    middle = np.stack([np.full(size, size / 2), rows, np.ones(size)])
    ends = [to_square @ (middle + np.array(step)[:, None]) for step in ((0, 0, 0), (1, 0, 0), (0, 1, 0))]
    at, right, below = (e[:2] / np.where(np.abs(e[2]) < 1e-6, 1e-6, e[2]) for e in ends)
    texels = np.maximum(np.abs(right - at), np.abs(below - at)).max(0) * layer.levels[0].shape[0] / 2
    wanted = np.clip(np.log2(np.maximum(texels, 1e-3)) - 0.3, 0, len(layer.levels) - 1).round().astype(int)
    out = np.empty((size, size, 3), np.uint8)
    edges = np.flatnonzero(np.diff(wanted)) + 1
    for first, last in zip([0, *edges], [*edges, size], strict=True):
        shift = np.array([[1, 0, 0], [0, 1, first], [0, 0, 1]])
        out[first:last] = _warp(layer.levels[wanted[first]], to_square @ shift, (size, last - first), endless=True)
    return out


def _above_foot(matrix: np.ndarray, size: int) -> np.ndarray:
    """Alpha of a wall, uint8 ``[size, size]``: all of it above the lower edge of its texture."""
    inverse = np.linalg.inv(matrix)
    line = ((np.arange(size) + 0.5) / size).astype(np.float32)
    v = inverse[1, 0] * line + inverse[1, 1] * line[:, None] + inverse[1, 2]
    w = inverse[2, 0] * line + inverse[2, 1] * line[:, None] + inverse[2, 2]
    tallness = np.linalg.norm(inverse[1, :2] / inverse[2, 2]) / size  # of a pixel, in the texture's square
    return (np.clip((1 - v / w) / tallness + 0.5, 0, 1) * 255).astype(np.uint8)


def _cast_shadow(picture: np.ndarray, layer: Layer, matrix: np.ndarray, size: int) -> None:
    """Darken what is just below and beside a thing, softly."""
    alpha = layer.levels[min(2, len(layer.levels) - 1)][..., 3]
    side = alpha.shape[0]
    soft = cv2.GaussianBlur(np.pad(alpha, side // 4), (0, 0), side / 16)
    radius = np.sqrt(abs(np.linalg.det(matrix[:2, :2]))) / matrix[2, 2]
    shifted = np.array([[1, 0, 0.06 * radius], [0, 1, 0.1 * radius], [0, 0, 1]]) @ matrix @ np.diag([1.5, 1.5, 1])
    corners = shifted @ np.array([[-1, 1, 1, -1], [-1, -1, 1, 1], [1, 1, 1, 1]])
    corners = corners[:2] / corners[2] * size
    x0, y0 = np.maximum(np.floor(corners.min(1)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(corners.max(1)).astype(int), size)
    if x1 <= x0 or y1 <= y0:
        return
    box = np.array([[1, 0, x0], [0, 1, y0], [0, 0, 1]])
    shade = _warp(soft, np.linalg.inv(shifted) @ _pixels(size) @ box, (x1 - x0, y1 - y0))
    shade = cv2.convertScaleAbs(shade, alpha=layer.shadow)
    _blend(picture[y0:y1, x0:x1], np.zeros((*shade.shape, 3), np.uint8), shade)


def _moved(values: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Values of a frame ``[half, half]`` carried to the next one; 0 where they come from beyond the edge."""
    half = len(values)
    matrix = np.linalg.inv(_pixels(half)) @ back @ _pixels(half)
    return cv2.warpPerspective(values, matrix, (half, half), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _ground(back: np.ndarray, views: _Views, acting: int | None) -> tuple[np.ndarray, np.ndarray]:
    """`SceneClip.ground` and `SceneClip.known` from where layers were a frame ago, ``[L, T-1, 3, 3]``."""
    steps, half = back.shape[1], views.owners.shape[1]
    owners = views.owners[:, ::2, ::2]
    hidden = (views.alpha * views.through)[:, ::2, ::2] > 127
    side = owners.shape[1]
    cell = side // GRID
    line = (np.arange(side) * 2 + 0.5) / half
    places = np.stack(np.broadcast_arrays(line, line[:, None], 1.0))
    line = (np.arange(GRID) + 0.5) / GRID
    centres = np.stack(np.broadcast_arrays(line, line[:, None], 1.0))
    flow, known = np.zeros((steps, 2, GRID, GRID), np.float32), np.zeros((steps, 1, GRID, GRID), np.float32)
    for t in range(steps):
        owner = owners[t + 1]
        # Layers that move alike are one: what stands still in the world moves as the world does.
        alike = (np.abs(back[:, None, t] - back[:, t]).max((-1, -2)) < 1e-7).argmax(0)
        motions = alike[owner]
        middle = motions[cell // 2 :: cell, cell // 2 :: cell]
        same = motions == middle.repeat(cell, 0).repeat(cell, 1)
        seen = np.zeros((side, side), bool)
        for motion in np.flatnonzero(np.bincount(motions.ravel())):
            at = np.tensordot(back[motion, t], centres, 1)
            np.copyto(flow[t], at[:2] / at[2] - centres[:2], where=middle == motion, casting="same_kind")
            here = motions == motion
            u, v, w = back[motion, t] @ places[:, here]
            i, j = np.floor(v / w * side).astype(int), np.floor(u / w * side).astype(int)
            inside = (i >= 0) & (i < side) & (j >= 0) & (j < side)
            i, j = i.clip(0, side - 1), j.clip(0, side - 1)
            seen[here] = inside & (owners[t][i, j] == owner[here]) & ~hidden[t][i, j]
        known[t, 0] = (seen & same).reshape(GRID, cell, GRID, cell).mean((1, 3))
    return flow, known
