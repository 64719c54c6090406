"""AdaWorld's latent action encoder (Gao et al., arXiv 2503.18938): the inverse dynamics of a beta-VAE on pixels.

Taken from github.com/Little-Podi/AdaWorld, ``lam/lam/modules/lam.py`` and ``blocks.py``, ``worldmodel/external/lam``
and ``lam/lam/dataset.py`` at commit 0bb1c536; the full size from ``worldmodel/configs/inference/adaworld.yaml`` of
the same commit. The rotary frequencies' own file was not to be had: a fork's (github.com/Val-Xuebin/AdaMotion,
``lam/lam/modules/embeddings.py``, commit ea1ef52d) keeps them as the parameter ``freqs``, and they are computed where
a file has none. The weights are ``lam.ckpt`` of Little-Podi/AdaWorld on the Hub (``docs/TRAINING.md``), a checkpoint
of Lightning whose names begin with ``lam.``. It was never at hand here: what is tested is this layout with random
weights.

Two frames of 256 x 256 are cut into patches of 16, before each frame's patches stands a learned action token, and
blocks of attention over space and over time (both ways: there are but two frames) follow. Of the second frame's
action token two heads are read, the mean and the logarithm of the variance; the mean is the latent, as AdaWorld's own
world model is given it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamdemo.models.others.weights import count_layers, filled, read_tensors
from lamdemo.models.stored import Unfit

CKPT, CONVERTED = "lam.ckpt", "lam.safetensors"
PICTURE = 256  # height and width of the pictures it was trained on
_PREFIX = "lam."
_READS = ("action_prompt", "encoder.", "fc.")  # the rest predicts the next frame
_BLOCKS = "encoder.transformer_blocks."
_FREQS = "temporal_attn.rotary_embedding.freqs"
_HEAD = 64  # channels of a head at the full size, where a file does not say


@dataclass(frozen=True)
class AdaWorldConfig:
    """Sizes, which no file beside the weights tells: they are read off the weights."""

    patch: int = 16
    width: int = 1024
    latent: int = 32
    blocks: int = 16
    heads: int = 16


class _Rotary(nn.Module):
    """Rotary positions in time, neighbouring channels in pairs."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.freqs = nn.Parameter(rotary_frequencies(channels), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, heads, T, C]`` turned by its place in time."""
        angles = torch.arange(x.shape[-2], device=x.device, dtype=x.dtype)[:, None] * self.freqs  # [T, C / 2]
        even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
        sin, cos = angles.sin(), angles.cos()
        return torch.stack((even * cos - odd * sin, odd * cos + even * sin), -1).flatten(-2)


class _Attention(nn.Module):
    """Self-attention over ``[B, L, E]``."""

    def __init__(self, width: int, heads: int, *, time: bool) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.to_out = nn.Sequential(nn.Linear(width, width))
        self.rotary_embedding = _Rotary(width // heads) if time else None

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.to_q, self.to_k, self.to_v))
        if self.rotary_embedding is not None:
            q, k = self.rotary_embedding(q), self.rotary_embedding(k)
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _Block(nn.Module):
    """Attention over space, over time, and an MLP, each after a norm and beside a way round."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.spatial_attn = _Attention(width, heads, time=False)
        self.temporal_attn = _Attention(width, heads, time=True)
        # The published one has dropout between, which has no weights but a number.
        self.ffn = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Identity(), nn.Linear(4 * width, width))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, L, E]``."""
        batch = len(x)
        x = x + self.spatial_attn(self.norm1(x).flatten(0, 1)).unflatten(0, (batch, -1))
        over_time = self.norm2(x).transpose(1, 2).flatten(0, 1)  # [B * L, T, E]
        x = x + self.temporal_attn(over_time).unflatten(0, (batch, -1)).transpose(1, 2)
        return x + self.ffn(self.norm3(x))


class _Encoder(nn.Module):
    """Tokens ``[B, T, L, P]`` to features ``[B, T, L, E]``."""

    def __init__(self, channels: int, width: int, blocks: int, heads: int) -> None:
        super().__init__()
        self.ffn = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width), nn.LayerNorm(width))
        self.transformer_blocks = nn.ModuleList(_Block(width, heads) for _ in range(blocks))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.ffn(x)
        x = x + _sinusoids(x.shape[2], x.shape[3], x.device)
        for block in self.transformer_blocks:
            x = block(x)
        return self.out(x)


class AdaWorldEncoder(nn.Module):
    """Reads a latent from each two frames that follow each other, and nothing else of them."""

    family = "noisy"
    picture = PICTURE

    def __init__(self, config: AdaWorldConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AdaWorldConfig()
        channels = 3 * config.patch**2
        self.action_prompt = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.encoder = _Encoder(channels, config.width, config.blocks, config.heads)
        self.fc = nn.Linear(config.width, 2 * config.latent)

    @property
    def channels(self) -> int:
        """Width ``Z`` of a latent."""
        return self.config.latent

    def prepared(self, frames: Tensor) -> Tensor:
        """Frames ``[T, 3, H, W]`` of 0 to 255 as it sees them: the square in the middle, ``[T, 3, 256, 256]``."""
        side = min(frames.shape[-2:])
        top, left = ((n - side) // 2 for n in frames.shape[-2:])
        square = frames[..., top : top + side, left : left + side].float() / 255
        if side != self.picture:
            square = F.interpolate(square, (self.picture, self.picture), mode="bicubic")
        return square.clamp(0, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Latents ``[T - 1, Z]`` of prepared pictures ``[T, 3, H, W]``, two at a time as it was trained."""
        return torch.cat([self._pair(pictures[t : t + 2]) for t in range(len(pictures) - 1)])

    def _pair(self, two: Tensor) -> Tensor:
        side = self.config.patch
        cells = two.unflatten(-1, (-1, side)).unflatten(-3, (-1, side))  # [2, 3, h, p, w, p]
        patches = cells.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # [2, N, p * p * 3]
        tokens = torch.cat([self.action_prompt[0].expand(2, -1, -1), patches], 1)
        mean, _ = self.fc(self.encoder(tokens[None])[:, 1, 0]).chunk(2, 1)
        return mean

    @classmethod
    def load(cls, folder: Path, *, most: int) -> AdaWorldEncoder:
        """Read the weights in a folder: ``lam.safetensors``, else ``lam.ckpt``, see `read_tensors`.

        Raises:
            Damaged, Unfit: why not.
        """
        (path,) = cls.files(folder)
        held = read_tensors(path, lambda n: n.startswith(tuple(_PREFIX + r for r in _READS)), most=most)
        tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in held.items()}
        config = _sizes(tensors)
        for i in range(config.blocks):
            tensors.setdefault(f"{_BLOCKS}{i}.{_FREQS}", rotary_frequencies(config.width // config.heads))
        return filled(lambda: cls(config), tensors)

    @staticmethod
    def files(folder: Path) -> tuple[Path, ...]:
        """What it is read from; the file of the weights."""
        return (folder / CONVERTED if (folder / CONVERTED).is_file() else folder / CKPT,)


def rotary_frequencies(channels: int) -> Tensor:
    """Of each pair of a head's channels, ``[C / 2]``."""
    return 1 / 10000 ** (torch.arange(0, channels, 2).float() / channels)


def _sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """Places of tokens in their frame, ``[L, E]``: sines and cosines in turn."""
    rates = 10000 ** (-torch.arange(0, width, 2, device=device).float() / width)
    angles = torch.arange(length, device=device).float()[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)


def _sizes(tensors: Mapping[str, Tensor]) -> AdaWorldConfig:
    """Sizes as the weights have them.

    Raises:
        Unfit: they are no such weights.
    """
    prompt, fc = tensors.get("action_prompt"), tensors.get("fc.weight")
    if prompt is None or fc is None or fc.ndim != 2:
        raise Unfit("action_prompt or fc is missing")
    patch, width = round((prompt.numel() / 3) ** 0.5), fc.shape[1]
    freqs = tensors.get(f"{_BLOCKS}0.{_FREQS}")
    head = _HEAD if freqs is None else 2 * freqs.numel()
    if not head or not patch or width % head or PICTURE % patch or 3 * patch**2 != prompt.numel():
        raise Unfit("no model has these sizes")
    return AdaWorldConfig(patch, width, fc.shape[0] // 2, count_layers(tensors, _BLOCKS), width // head)
