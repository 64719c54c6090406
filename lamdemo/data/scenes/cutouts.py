"""Cut-outs of things and photographs of places: what scenes of things are put together from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.data.splits import pictures_in

PATCH = 128  # side of a cut-out's largest patch, in pixels
_SMALLEST = 16  # and of its smallest
_LONGEST = 384  # side of a photograph, in pixels
_MARGIN = 2  # rows of nothing around a cut-out, so that its edge fades
_HARMONICS = 5
# What may walk is at least so tall for its width; where nothing says what it is, it should look like a person.
_TALL = {"people": 0.9, "animals": 0.6, "": 1.5}


class Cutout(NamedTuple):
    """One thing."""

    levels: tuple[np.ndarray, ...]  # premultiplied RGBA patches, uint8 [P, P, 4], each half as large as the one before
    middle: np.ndarray  # centre of its area in the patch, x and y from -1 to 1
    half: np.ndarray  # half its width and half its height, in half patches; the larger one is close to 1


@dataclass(frozen=True)
class SceneBank:
    """Cut-outs and photographs.

    The arrays are plain NumPy memory, so worker processes that are forked after reading share them.
    """

    # Patches of all cut-outs, premultiplied RGBA, uint8 [N, P, P, 4] with P = 128, 64, 32, 16.
    levels: tuple[np.ndarray, ...]
    middles: np.ndarray  # [N, 2], as in `Cutout`
    halves: np.ndarray  # likewise
    walkers: np.ndarray  # indices of those that may walk: upright people and animals
    photographs: tuple[np.ndarray, ...]  # places, uint8 RGB [H, W, 3] each, of any sizes
    blobs: float = 0.12  # chance that a thing is no cut-out but an outline filled with a piece of a photograph

    def __len__(self) -> int:
        return len(self.middles)

    def draw_thing(self, rng: np.random.Generator, *, walks: bool = False) -> Cutout:
        """Draw a thing, or one that can walk."""
        if walks and len(self.walkers):
            i = self.walkers[rng.integers(len(self.walkers))]
        elif rng.random() < self.blobs or not len(self):
            return _cutout(_draw_blob(rng, self.draw_photograph(rng)))
        else:
            i = rng.integers(len(self))
        return Cutout(tuple(level[i] for level in self.levels), self.middles[i], self.halves[i])

    def draw_photograph(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a place."""
        return self.photographs[rng.integers(len(self.photographs))]


def bundled_things() -> Path:
    """The folder of cut-outs that come with the code; see the ATTRIBUTION.md in it."""
    return Path(__file__).resolve().parent / "bundled"


def read_bank(
    things: Sequence[str | Path] = (),
    photographs: Sequence[str | Path] = (),
    *,
    frames: Sequence[np.ndarray] = (),
    part: Literal["train", "test", "all"] = "all",
) -> SceneBank:
    """Read cut-outs and photographs from folders, however nested.

    Args:
        things: folders of PNG or WebP pictures with alpha; others in them are passed over. With no folder, the
            cut-outs that come with the code.
        photographs: folders of photographs.
        frames: further places, uint8 RGB ``[H, W, 3]`` each, such as frames of clips; they are of every part.
        part: which pictures to take (see `lamdemo.data.splits.pictures_in`).

    Raises:
        LamdemoError: there is no cut-out, or no photograph.
    """
    pictures = [p for folder in things or (bundled_things(),) for p in pictures_in(folder, (".png", ".webp"), part)]
    # Filled in place, so that reading needs no more memory than the bank.
    sides = [PATCH >> k for k in range((PATCH // _SMALLEST).bit_length())]
    levels = [np.empty((len(pictures), side, side, 4), np.uint8) for side in sides]
    middles: list[np.ndarray] = []
    halves: list[np.ndarray] = []
    walks: list[bool] = []
    for picture in pictures:
        rgba = _read_rgba(picture.path)
        patch = None if rgba is None else _tight(rgba)
        if patch is None:
            continue
        cutout = _cutout(patch)
        for level, values in zip(levels, cutout.levels, strict=True):
            level[len(middles)] = values
        middles.append(cutout.middle)
        halves.append(cutout.half)
        walks.append(bool(cutout.half[1] > _TALL.get(picture.category, np.inf) * cutout.half[0]))
    if not middles:
        raise LamdemoError("There is no cut-out in the folders of things; give PNG or WebP pictures with alpha.")
    places = [np.ascontiguousarray(frame) for frame in frames]
    for folder in photographs:
        for picture in pictures_in(folder, (".jpg", ".jpeg", ".png", ".webp"), part):
            place = cv2.imread(str(picture.path), cv2.IMREAD_COLOR)
            if place is not None:
                places.append(_no_larger(place[..., ::-1]))
    if not places:
        raise LamdemoError("There is no photograph to lay things over; give a folder with JPEG pictures of places.")
    return SceneBank(
        levels=tuple(level[: len(middles)] for level in levels),
        middles=np.stack(middles),
        halves=np.stack(halves),
        walkers=np.flatnonzero(walks),
        photographs=tuple(places),
    )


def _no_larger(picture: np.ndarray) -> np.ndarray:
    scale = min(_LONGEST / max(picture.shape[:2]), 1)
    size = max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1)
    return cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)


def _read_rgba(path: Path) -> np.ndarray | None:
    """A picture with alpha, uint8 ``[H, W, 4]``, or None if it is none."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 3 or picture.shape[2] != 4:
        return None
    if picture.dtype == np.uint16:
        picture = (picture // 257).astype(np.uint8)
    return picture[..., [2, 1, 0, 3]]


def _tight(rgba: np.ndarray) -> np.ndarray | None:
    """Cut to what is seen, premultiply, and fit into the middle of a patch; None if hardly anything is seen."""
    rows, columns = np.flatnonzero((rgba[..., 3] > 40).any(1)), np.flatnonzero((rgba[..., 3] > 40).any(0))
    if (rgba[..., 3] > 40).sum() < 200:
        return None
    piece: np.ndarray = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    piece[..., :3] *= piece[..., 3:] / 255
    scale = (PATCH - 2 * _MARGIN) / max(piece.shape[:2])
    h, w = (max(round(side * scale), 4) for side in piece.shape[:2])
    piece = cv2.resize(piece, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    patch = np.zeros((PATCH, PATCH, 4), np.uint8)
    y, x = (PATCH - h) // 2, (PATCH - w) // 2
    patch[y : y + h, x : x + w] = piece.round().clip(0, 255)
    return patch


def _cutout(patch: np.ndarray) -> Cutout:
    levels = [patch]
    while levels[-1].shape[0] > _SMALLEST:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    columns, rows = patch[..., 3].sum(0, dtype=float), patch[..., 3].sum(1, dtype=float)
    line = (np.arange(PATCH) + 0.5) * 2 / PATCH - 1
    middle = np.array([columns @ line, rows @ line]) / max(columns.sum(), 1)
    half = np.array([(columns > 0).sum(), (rows > 0).sum()]) / PATCH
    return Cutout(tuple(levels), middle, half)


@lru_cache(maxsize=1)
def _polar() -> tuple[np.ndarray, np.ndarray]:
    """Radius ``[P, P]`` and the waves of the angle ``[2 * harmonics, P * P]`` over a patch."""
    line = np.linspace(-1, 1, PATCH, dtype=np.float32)
    u, v = np.meshgrid(line, line)
    angle = np.arange(1, _HARMONICS + 1, dtype=np.float32)[:, None] * np.arctan2(v, u).reshape(1, -1)
    return np.hypot(u, v), np.concatenate([np.cos(angle), np.sin(angle)])


def _draw_blob(rng: np.random.Generator, photograph: np.ndarray) -> np.ndarray:
    """A patch whose outline is a random Fourier series, filled with a piece of a photograph."""
    h, w = photograph.shape[:2]
    side = max(int(rng.uniform(0.2, 0.5) * min(h, w)), 2)
    y, x = rng.integers(h - side + 1), rng.integers(w - side + 1)
    colour = cv2.resize(photograph[y : y + side, x : x + side], (PATCH, PATCH), interpolation=cv2.INTER_LINEAR)
    radius, waves = _polar()
    order = np.tile(np.arange(1, _HARMONICS + 1), 2)
    amplitudes = (rng.normal(size=2 * _HARMONICS) * 0.18 / order**0.7).astype(np.float32)
    outline = np.clip(0.7 * (1 + (amplitudes @ waves).reshape(PATCH, PATCH)), 0.25, 0.96)
    alpha = np.clip((outline - radius) * (PATCH / 4) + 0.5, 0, 1)[..., None]
    return np.concatenate([colour * alpha, alpha * 255], 2).round().astype(np.uint8)
