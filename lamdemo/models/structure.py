"""Structure apart from content (after DiLA, arXiv 2605.15725): where things are, and what they look like.

A state is both. Dynamics needs the first alone: inverse dynamics and the transformer are shown the state's *structure*,
and predict a motion of it. *Content* is never predicted: the motion carries it along, and what was covered meanwhile is
looked up in a memory of the states before. Nothing tells the two apart but the task: a structure of few channels is all
that a latent action can be read from, and whatever of it does not help to predict is in the way.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamdemo.models.layers import KeyValueCache, PointwiseLinear, frame_causal_attention, zero_initialized

_LEAST = 0.1  # of a whitened channel: a picture in which it hardly varies is not blown up


class StructurePath(nn.Module):
    """The structure of states, ``[..., N, D]`` of rank ``K``.

    Each channel is freed of its mean and scale over the picture, which say what kind of picture it is, and K learned
    mixtures of channels are kept. They are handed on as D channels again, so that what reads states reads structures.
    A new one keeps the K channels of whitened states that vary most.
    """

    def __init__(self, channels: int, kept: int) -> None:
        super().__init__()
        if not 0 < kept <= channels:
            raise ValueError("a structure keeps some of a state's channels")
        self.down = nn.Linear(channels, kept, bias=False)
        self.up = nn.Linear(kept, channels, bias=False)
        with torch.no_grad():
            self.down.weight.copy_(torch.eye(kept, channels))
            self.up.weight.copy_(torch.eye(channels, kept))

    def forward(self, states: Tensor) -> Tensor:
        """The structure ``[..., N, D]`` of states ``[..., N, D]``, each picture by itself."""
        centred = states - states.mean(-2, keepdim=True)
        scale = centred.square().mean(-2, keepdim=True).sqrt().clamp_min(_LEAST)
        return self.up(self.down(centred / scale))


class ContentMemory(nn.Module):
    """Looks up in the states seen so far what a place may look like: attention over all their cells.

    Asked is by what the world model knows of the place after the step; keys are structures, what is found are states.
    A new one gives nothing.

    Args:
        channels: of states, D.
        features: of the world model's heads.
        out: of what it gives.
        frames: that are kept.
    """

    _KEY = 32

    def __init__(self, channels: int, features: int, out: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.ask = PointwiseLinear(features, self._KEY)
        self.key = nn.Linear(channels, self._KEY)
        self.give = zero_initialized(nn.Linear(channels, out, bias=False))

    def forward(
        self, features: Tensor, structures: Tensor, states: Tensor, cache: KeyValueCache | None, block: int
    ) -> Tensor:
        """What is found for each state; it sees itself and those before it.

        Args:
            features: of the heads ``[B * T, C, h, w]``.
            structures: of the states ``[B, T, N, D]``; with a cache, only of the newest, ``T = 1``.
            states: the same states.
            cache: where keys and states of past frames are kept.
            block: the memory's number in the cache.

        Returns:
            ``[B * T, out, h, w]``.
        """
        b, t, n, _ = states.shape
        h, w = features.shape[-2:]
        asked = self.ask(features).flatten(2).transpose(1, 2).reshape(b, 1, t * n, -1)
        keys = self.key(structures).reshape(b, 1, t * n, -1)
        values = states.to(keys.dtype).reshape(b, 1, t * n, -1)
        if cache is not None:
            keys, values = cache.extend(block, keys, values, self.frames)
            found = F.scaled_dot_product_attention(asked, keys, values)
        else:
            found = frame_causal_attention(asked, keys, values, n, self.frames)
        return self.give(found).reshape(b * t, h, w, -1).permute(0, 3, 1, 2)
