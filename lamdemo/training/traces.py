"""Traces: what a checkpoint sees in episodes, once and for all: states, latents, actions, small pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from lamdemo.data.episodes import Episode
from lamdemo.models.checkpoint import write_safely
from lamdemo.pipeline import TransferPipeline


@dataclass(frozen=True, eq=False)
class Trace:
    """An episode as a checkpoint sees it, at the model's rate.

    Attributes:
        recording: what it is of; splits go by it.
        states: float16 ``[T, N, D]``.
        latents: float32 ``[S, Z]``, inferred, means of stochastic families.
        actions: float32 ``[S, A]``, known.
        pictures: uint8 ``[T, 3, 4h, 4w]``.
    """

    recording: str
    states: Tensor
    latents: Tensor
    actions: Tensor
    pictures: Tensor


@torch.no_grad()
def trace(pipeline: TransferPipeline, episode: Episode) -> Trace:
    """What the checkpoint sees in an episode that is at its rate already."""
    states = pipeline.encode(episode.frames)
    latents = []
    for first in range(0, len(states) - 1, 32):
        with pipeline.computing():
            latents.append(pipeline.model.infer(states[None, first : first + 33])[0])
    side = 4 * pipeline.model.config.encoder.grid
    frames = torch.from_numpy(episode.frames.copy()).movedim(-1, -3)
    pictures = torch.cat([F.interpolate(f[None].float(), (side, side), mode="area") for f in frames])
    return Trace(
        episode.recording,
        states.half().cpu(),
        torch.cat(latents).float().cpu(),
        torch.from_numpy(episode.actions.copy()).float(),
        pictures.round().to(torch.uint8),
    )


def _key(pipeline: TransferPipeline, episode: Episode) -> str:
    """A name for a trace that changes with the weights, the actions and (by three frames) the pictures."""
    found = hashlib.sha256(f"{pipeline.checkpoint} {episode.frames.shape} {episode.fps}".encode())
    found.update(episode.actions.tobytes())
    for frame in episode.frames[[0, len(episode.frames) // 2, -1]]:
        found.update(frame.tobytes())
    return found.hexdigest()[:24]


def collect_traces(pipeline: TransferPipeline, episodes: Sequence[Episode], folder: Path | None = None) -> list[Trace]:
    """Traces of episodes; with a folder, each is kept there and taken from there the next time.

    Raises:
        LamdemoError: an episode cannot be read.
    """
    found = []
    for i in tqdm(range(len(episodes)), desc="seeing", disable=None):
        episode = episodes[i].at(pipeline.fps)
        if len(episode.frames) < 2:
            continue
        path = folder / f"{_key(pipeline, episode)}.safetensors" if folder is not None else None
        if path is not None and path.is_file():
            try:
                with safe_open(path, "pt") as stream:
                    recording = (stream.metadata() or {})["recording"]
                found.append(Trace(recording, **load_file(path)))
                continue
            except (SafetensorError, OSError, KeyError, TypeError):
                path.unlink(missing_ok=True)  # half of a file, or one of an older kind
        one = trace(pipeline, episode)
        found.append(one)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            tensors = {n: getattr(one, n).contiguous() for n in ("states", "latents", "actions", "pictures")}
            write_safely(path, save(tensors, metadata={"recording": one.recording}))
    return found
