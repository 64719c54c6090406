"""Traces: what a checkpoint sees in episodes, once and for all: states, latents, actions, small pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lamdemo.data.episodes import Episode
from lamdemo.errors import LamdemoError
from lamdemo.pipeline import TransferPipeline
from lamdemo.training.controller import collect_steps, see
from lamdemo.video import read_clip


@dataclass(frozen=True, eq=False)
class Trace:
    """An episode as a checkpoint sees it, at the model's rate.

    Attributes:
        recording: what it is of; splits go by it.
        states: float16 ``[T, N, D]``, most often mapped from a file.
        latents: float32 ``[S, Z]``, inferred; means of stochastic families.
        actions: float32 ``[S, A]``, known.
        pictures: uint8 ``[T, 4h, 4w, 3]``.
    """

    recording: str
    states: np.ndarray
    latents: Tensor
    actions: Tensor
    pictures: np.ndarray


def collect_traces(
    pipeline: TransferPipeline, episodes: Iterable[Episode], cache: Path, *, mirror: bool = False
) -> list[Trace]:
    """Traces of episodes.

    Args:
        pipeline: whose states and latents.
        episodes: those of one frame are passed over.
        cache: folder for states and latents; controllers' training shares it.
        mirror: add each episode flipped from left to right, where its spec tells how.

    Raises:
        LamdemoError: an episode cannot be read.
    """
    side = 4 * pipeline.model.config.encoder.grid
    found = []
    for episode in tqdm(episodes, desc="seeing", disable=None):
        at = episode.at(pipeline.fps)
        if len(at.frames) < 2:
            continue
        small = np.stack([cv2.resize(f, (side, side), interpolation=cv2.INTER_AREA) for f in at.frames])
        parts = collect_steps(pipeline, [at], cache, mirror=mirror, progress=False).parts
        for part, pictures in zip(parts, (small, small[:, :, ::-1]), strict=False):
            found.append(
                Trace(
                    part.recording,
                    part.states,
                    torch.from_numpy(np.array(part.latents, np.float32)),
                    torch.from_numpy(np.array(part.actions, np.float32)),
                    pictures,
                )
            )
    return found


def watch(
    pipeline: TransferPipeline, videos: Iterable[Path], cache: Path, *, frames: int = 20
) -> tuple[list[np.ndarray], list[Tensor]]:
    """What a checkpoint sees at the beginning of videos that nobody knows the actions of.

    Args:
        pipeline: whose states and latents.
        videos: files; those that cannot be read, or hold one frame, are passed over.
        cache: folder for states and latents.
        frames: of each, at most.

    Returns:
        States float16 ``[T, N, D]`` and latents ``[T - 1, Z]`` of each video.
    """
    states, latents = [], []
    for video in tqdm(list(videos), desc="watching", disable=None):
        try:
            clip = read_clip(video, fps=pipeline.fps, max_frames=frames)
        except LamdemoError:
            continue
        if len(clip.frames) > 1:
            seen, inferred = see(pipeline, clip.frames, cache / (pipeline.checkpoint[:12] or "model"))
            states.append(seen)
            latents.append(torch.from_numpy(np.array(inferred, np.float32)))
    return states, latents
