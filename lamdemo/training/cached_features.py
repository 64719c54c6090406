"""Cached features: what a checkpoint sees in episodes and videos, computed once: states, latents, small pictures."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lamdemo.core.actions import ActionSpec
from lamdemo.core.errors import LamdemoError
from lamdemo.data.episodes import Episode
from lamdemo.engine import TransferPipeline
from lamdemo.models.bottleneck import DiscreteBottleneck
from lamdemo.video import read_clip

_AT_ONCE = 4  # pictures encoded at once: more of them no longer stay in a processor's cache, and take longer each
_WATCHED = 20  # frames at most of a video that nobody knows the actions of
_PAIRS = 32  # steps whose latents are inferred at once


class Part(NamedTuple):
    """One episode as a controller learns from it."""

    states: np.ndarray  # float16 [T, N, D], most often mapped from a file
    latents: np.ndarray  # float32 [S, Z], inferred
    actions: np.ndarray  # float32 [S, A]
    recording: str  # which recording it is of
    made: bool = False  # it was flipped or reversed, and never recorded so


@dataclass(frozen=True, eq=False)
class Steps:
    """Steps of many episodes."""

    spec: ActionSpec  # of their commands
    parts: tuple[Part, ...]  # an episode each; flipped and reversed ones are parts of their own

    def __len__(self) -> int:
        """Steps in all, M."""
        return sum(len(part.latents) for part in self.parts)

    @property
    def places(self) -> np.ndarray:
        """(part, step) of each step, ``[M, 2]``."""
        return np.array([(i, t) for i, part in enumerate(self.parts) for t in range(len(part.latents))], np.int64)

    @property
    def latents(self) -> np.ndarray:
        """All latents, ``[M, Z]``."""
        return np.concatenate([part.latents for part in self.parts])

    @property
    def commands(self) -> np.ndarray:
        """All commands as they were recorded, ``[M', A]``: of neither flipped nor reversed episodes."""
        return np.concatenate([part.actions for part in self.parts if not part.made])

    @property
    def recordings(self) -> set[str]:
        """Names of the recordings."""
        return {part.recording for part in self.parts}

    def without(self, recordings: Iterable[str]) -> Steps:
        """The steps of all other recordings."""
        left_out = set(recordings)
        return Steps(self.spec, tuple(p for p in self.parts if p.recording not in left_out))


def collect_steps(
    pipeline: TransferPipeline,
    episodes: Iterable[Episode],
    cache: Path,
    *,
    mirror: bool = False,
    reverse: bool = False,
) -> Steps:
    """Encode episodes at the model's rate and infer their latents, or take what is kept of them.

    Args:
        pipeline: whose states and latents.
        episodes: all of one spec; those of one frame are passed over.
        cache: folder for what was computed, by the frames' content, so that another reader or name finds it too.
        mirror: add each episode flipped from left to right, where the spec tells how.
        reverse: add each episode backwards, where all its commands are changes, which go back by their negatives, and
            the latents are odd in time, as they are but for codes.

    Raises:
        LamdemoError: there is no step in them, or they are of different specs.
    """
    parts: list[Part] = []
    spec: ActionSpec | None = None
    for episode in tqdm(episodes, desc="inferring latents", disable=None):
        if spec is not None and episode.spec != spec:
            raise LamdemoError(
                f"Episode {episode.name} has other actions ({', '.join(episode.spec.names)}) than those before it "
                f"({', '.join(spec.names)}); train a controller for each kind by itself."
            )
        spec = episode.spec
        at = episode.at(pipeline.fps)
        if len(at) >= 2:
            parts += _parts(pipeline, at, cache, mirror)
    if spec is None or not parts:
        raise LamdemoError("There is no step to learn from in these episodes; give some of two frames or more.")
    odd = not isinstance(pipeline.model.bottleneck, DiscreteBottleneck)
    if reverse and odd and all(channel.kind == "change" for channel in spec.channels):
        parts += backwards(parts)
    return Steps(spec, tuple(parts))


def backwards(parts: Sequence[Part]) -> list[Part]:
    """The same from their end to their beginning: for commands that are changes, and latents that are odd in time."""
    return [Part(p.states[::-1], -p.latents[::-1], -p.actions[::-1], p.recording, True) for p in parts]


def _parts(pipeline: TransferPipeline, at: Episode, cache: Path, mirror: bool) -> list[Part]:
    """Steps of one episode at the model's rate and, with ``mirror``, of the same flipped where its spec tells how."""
    parts = [Part(*cached_features(pipeline, at.frames, cache), at.actions, at.recording)]
    if mirror and at.spec.mirror is not None:
        flipped = np.ascontiguousarray(at.frames[:, :, ::-1])
        parts.append(Part(*cached_features(pipeline, flipped, cache), at.actions * at.spec.mirror, at.recording, True))
    return parts


def cached_features(pipeline: TransferPipeline, frames: np.ndarray, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """States ``[T, N, D]`` and latents ``[T - 1, Z]`` of frames, from the cache if they are there."""
    place = cache / (pipeline.checkpoint[:12] or "model")
    place.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(str(frames.shape).encode())
    digest.update(frames.tobytes())
    key = digest.hexdigest()[:24]
    files = place / f"{key}.states.npy", place / f"{key}.latents.npy"
    try:
        states, latents = np.load(files[0], mmap_mode="r"), np.load(files[1])
        if len(states) == len(frames) and len(latents) == len(frames) - 1:
            return states, latents
    except (OSError, ValueError, EOFError):  # not there, or half of one that another version wrote
        pass
    with torch.no_grad():
        encoded = torch.cat([pipeline.encode(frames[i : i + _AT_ONCE]) for i in range(0, len(frames), _AT_ONCE)])
        with pipeline.computing():
            inferred = [
                pipeline.model.infer(encoded[None, i : i + _PAIRS + 1])[0] for i in range(0, len(frames) - 1, _PAIRS)
            ]
    latents = torch.cat(inferred).float().cpu().numpy()
    for file, array in zip(reversed(files), (latents, encoded.half().cpu().numpy()), strict=True):
        # A name of its own: another training may be computing the same.
        partial = file.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with open(partial, "wb") as stream:
                np.save(stream, array)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    return np.load(files[0], mmap_mode="r"), latents


@dataclass(frozen=True, eq=False)
class CachedEpisode:
    """An episode as a checkpoint sees it, at the model's rate."""

    recording: str  # what it is of; splits go by it
    states: np.ndarray  # float16 [T, N, D], most often mapped from a file
    latents: Tensor  # float32 [S, Z], inferred; means of stochastic families
    actions: Tensor  # float32 [S, A], known
    pictures: np.ndarray  # uint8 [T, 4h, 4w, 3]


def cache_episodes(
    pipeline: TransferPipeline, episodes: Iterable[Episode], cache: Path, *, mirror: bool = False
) -> list[CachedEpisode]:
    """Episodes with all that a checkpoint sees in them.

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
        parts = _parts(pipeline, at, cache, mirror)
        for part, pictures in zip(parts, (small, small[:, :, ::-1]), strict=False):
            found.append(
                CachedEpisode(
                    part.recording,
                    part.states,
                    torch.from_numpy(np.array(part.latents, np.float32)),
                    torch.from_numpy(np.array(part.actions, np.float32)),
                    pictures,
                )
            )
    return found


def cache_videos(
    pipeline: TransferPipeline, videos: Iterable[Path], cache: Path
) -> tuple[list[np.ndarray], list[Tensor]]:
    """What a checkpoint sees at the beginning of videos that nobody knows the actions of.

    Args:
        pipeline: whose states and latents.
        videos: files; those that cannot be read, or hold one frame, are passed over.
        cache: folder for states and latents.

    Returns:
        States float16 ``[T, N, D]`` and latents ``[T - 1, Z]`` of each video, T at most `_WATCHED`.
    """
    states, latents = [], []
    for video in tqdm(list(videos), desc="watching", disable=None):
        try:
            clip = read_clip(video, fps=pipeline.fps, max_frames=_WATCHED)
        except LamdemoError:
            continue
        if len(clip.frames) > 1:
            seen, inferred = cached_features(pipeline, clip.frames, cache)
            states.append(seen)
            latents.append(torch.from_numpy(np.array(inferred, np.float32)))
    return states, latents
