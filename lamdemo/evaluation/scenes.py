"""Procedural scenes to judge on: photographs that are never trained on, pictures, masks, and what is known of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

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
