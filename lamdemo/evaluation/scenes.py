"""Procedural scenes to judge on: photographs that are never trained on, pictures, masks, and what is known of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from lamdemo.core.errors import LamdemoError
from lamdemo.data.scenes import Cast, Photographs, Script, render, true_motion
from lamdemo.data.videos import bundled_photographs, photographs_in
from lamdemo.evaluation.pictures import MOTION_WIDTH

BANK = (576, 768)  # height and width of photographs in the bank
_MOVES = 0.5 / MOTION_WIDTH  # picture widths a step from which a place counts as moving
_SIDE = 64  # cells a side on which true motion is taken
_BLACK_AND_WHITE = Photographs(
    torch.stack([torch.zeros(3, 8, 8, dtype=torch.uint8), torch.full((3, 8, 8), 255, dtype=torch.uint8)])
)


def photographs(folder: str | Path | None, least: int, what: str) -> Photographs:
    """The photographs of a folder; the bundled ones, never in training, without it.

    Raises:
        LamdemoError: there are fewer than ``least``, which ``what`` needs.
    """
    bank = Photographs(photographs_in(folder or bundled_photographs(), BANK))
    if len(bank) < least:
        number = {2: "two", 3: "three", 4: "four"}[least]
        raise LamdemoError(f"{what} at least {number} photographs; add some to the folder.")
    return bank


def rendered(script: Script, cast: Cast, photographs: Photographs, size: int) -> np.ndarray:
    """Frames uint8 ``[T, size, size, 3]``, drawn at twice the size: texture that moves must not glitter."""
    clip = F.avg_pool2d(render([script], [cast], photographs, 2 * size)[0], 2)
    return (clip.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def thing_mask(script: Script, cast: Cast, thing: int, size: int) -> np.ndarray:
    """Where one thing is seen in each frame, bool ``[T, size, size]``: those that act first, then bystanders.

    The thing is drawn white and all else black, so that what stands before it hides it here as well.
    """
    skins = np.zeros(len(cast.skins), np.int64)
    skins[thing] = 1
    alone = replace(cast, photograph=0, skins=skins)
    return render([script], [alone], _BLACK_AND_WHITE, size)[0, :, 0].numpy() > 0.5


def without_things(cast: Cast) -> Cast:
    """The background of a cast alone."""
    looks = {name: getattr(cast, name)[:0] for name in ("skins", "crops", "shapes", "stretches")}
    return replace(cast, extras=np.zeros((0, 4)), **looks)


def nothing_happens(frames: int) -> Script:
    """A script without things in which the camera stands still."""
    return Script("still", np.zeros((frames, 4)), np.zeros((0, frames, 4)))


def moving_share(script: Script, cast: Cast) -> np.ndarray:
    """Share of the picture that visibly moves in each step of a scene, by its true motion: ``[S]``."""
    flow = true_motion([script], [cast], _SIDE, fine=1).flow[0]
    return (flow.norm(dim=1) > _MOVES).float().mean((1, 2)).numpy()


def camera_velocity(script: Script) -> np.ndarray:
    """Camera's and thing's velocity in a script: ``[S, 6]``, columns pan x, y, zoom, roll, move x, y.

    Pan and move are in picture widths a step, zoom is the logarithm of the scale, roll is in radians. The
    pan is as the camera sees it: in its own axes and in its own scale. A thing that does not act is zero.
    """
    steps = np.diff(script.camera, axis=0)
    angle, scale = script.camera[:-1, 3], np.exp(script.camera[:-1, 2])
    x = (np.cos(angle) * steps[:, 0] + np.sin(angle) * steps[:, 1]) / scale
    y = (-np.sin(angle) * steps[:, 0] + np.cos(angle) * steps[:, 1]) / scale
    move = np.diff(script.things[0, :, :2], axis=0) if len(script.things) else np.zeros((len(steps), 2))
    return np.column_stack([x, y, steps[:, 2], steps[:, 3], move])
