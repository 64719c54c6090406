"""Atlases for tests: of any number of points, with latents in groups and thumbnails of photographs in motion."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from lamdemo.data.scenes import KINDS
from lamdemo.latent_space.atlas import Atlas, Recording
from lamdemo.latent_space.thumbnails import THUMB, write_sheets

PHOTOS = Path(__file__).resolve().parents[1] / "examples" / "photos"


def synthetic_atlas(points: int, channels: int, recordings: int, seed: int) -> Atlas:
    """An atlas without a model.

    Every recording is of one kind of action, whose latents lie about a centre of that kind; every third recording is
    a "clip", of which no kind is known. Its thumbnails are a window that moves over a photograph. The UMAP maps are
    made up: the kinds stand on a ring.
    """
    rng = np.random.default_rng(seed)
    recordings = min(recordings, points)
    recording = np.sort(rng.permutation(np.arange(points) % recordings)).astype(np.int32)
    lengths = np.bincount(recording, minlength=recordings)
    step = np.concatenate([np.arange(n) for n in lengths]).astype(np.int32)
    kinds = tuple(k for k in KINDS if k != "still")
    kind_of = rng.integers(len(kinds), size=recordings)
    clip = np.arange(recordings) % 3 == 2
    centres = rng.normal(size=(len(kinds), channels)) * 2
    latents = centres[kind_of[recording]] + rng.normal(size=(points, channels)) * 0.7
    angle = 2 * np.pi * kind_of[recording] / len(kinds)
    ring = 6 * np.stack([np.cos(angle), np.sin(angle), 0.3 * np.cos(3 * angle)], 1)
    ring += rng.normal(size=(points, 3))
    fps = 4.0
    return Atlas(
        checkpoint="0" * 64,
        family="noisy",
        name="synthetic",
        latents=latents,
        recording=recording,
        step=step,
        seconds=step / fps,
        frame=(step + np.concatenate([[0], np.cumsum(lengths + 1)])[recording]).astype(np.int32),
        recordings=tuple(
            Recording(f"clip_{r:04d}.mp4" if clip[r] else f"scene_{r:04d}", "clips" if clip[r] else "scenes", "", fps)
            for r in range(recordings)
        ),
        kinds=kinds,
        kind=np.where(clip[recording], -1, kind_of[recording]).astype(np.int16),
        known={"pan right": np.where(clip[recording], np.nan, latents[:, 0])},
        coordinates={"umap2": ring[:, :2], "umap3": ring},
        cluster=kind_of[recording].astype(np.int16),
        density=rng.permutation(points) / max(points - 1, 1),
        sheets=write_sheets(_windows(rng, lengths + 1), 75),
    )


def _windows(rng: np.random.Generator, frames: np.ndarray) -> np.ndarray:
    """Windows that move over photographs, uint8 ``[sum(frames), height, width, 3]``; ``frames`` of each recording."""
    pictures = [
        cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_4)[..., ::-1] for path in sorted(PHOTOS.glob("*.jpg"))[:12]
    ]
    width, height = THUMB
    views = []
    for count in frames:
        picture = pictures[rng.integers(len(pictures))]
        room = np.array(picture.shape[:2]) - (height, width)
        ends = rng.uniform(0, 1, (2, 2)) * room
        for share in np.linspace(0, 1, int(count)):
            y, x = (ends[0] + share * (ends[1] - ends[0])).astype(int)
            views.append(picture[y : y + height, x : x + width])
    return np.stack(views)
