"""The transformer's parts: rotary positions over time and space, AdaLN-zero blocks with a key-value cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layer = TypeVar("Layer", bound=nn.Module)


def rotary_angles(places: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary embedding over time, height and width.

    A quarter of each head's pairs turns with time, the rest is halved between the two axes of space.

    Args:
        places: ``[L, 3]`` (t, y, x) of each token, in frames and cells.
        head_dim: channels of one head; divisible by 8.

    Returns:
        Two tensors ``[L, head_dim / 2]``.
    """
    pairs = head_dim // 2
    time = pairs // 4
    height = (pairs - time) // 2
    parts = []
    for axis, count, base in ((0, time, 100.0), (1, height, 100.0), (2, pairs - time - height, 100.0)):
        rates = base ** (-torch.arange(count, device=places.device, dtype=torch.float32) / count)
        parts.append(places[:, axis, None].float() * rates)
    angles = torch.cat(parts, 1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary angles ``[L, K/2]`` to ``x [B, heads, L, K]``."""
    a, b = x.chunk(2, -1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


@dataclass
class KeyValueCache:
    """Keys and values of the frames seen so far, one pair a block; no more frames are kept than a query may see."""

    window: int  # frames a query may look back to, its own included
    memory: int = 0  # the same of a memory of content, the last of the blocks; 0 where there is none
    frames: int = 0  # how many frames have been fed altogether (the next frame's time)
    # For each block, keys and values [B, heads, L, K].
    blocks: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    # The acting layer that the newest prediction left, [B, 1, 1, h, w]; None before the first.
    carried: Tensor | None = None
    cells: dict[int, int] = field(default_factory=dict)  # how many of them a frame has in each block

    def branch(self, rows: Tensor | None = None) -> KeyValueCache:
        """A copy of what was seen so far (of some rows of the batch), to go on from without changing it."""
        some = slice(None) if rows is None else rows
        blocks = {i: (k[some], v[some]) for i, (k, v) in self.blocks.items()}
        carried = None if self.carried is None else self.carried[some]
        return KeyValueCache(self.window, self.memory, self.frames, blocks, carried, dict(self.cells))

    @property
    def reach(self) -> int:
        """Frames that are needed to go on."""
        return max(self.window, self.memory)

    def newest(self) -> dict[int, tuple[Tensor, Tensor]]:
        """Keys and values of the newest frame alone. Copies: a view would keep all of the cache alive."""
        return {
            i: (k[:, :, -self.cells[i] :].clone(), v[:, :, -self.cells[i] :].clone())
            for i, (k, v) in self.blocks.items()
        }

    def extend(self, block: int, keys: Tensor, values: Tensor, window: int | None = None) -> tuple[Tensor, Tensor]:
        """Append one frame's keys and values (each ``[B, heads, N, K]``) and return all in reach of ``window``."""
        self.cells[block] = keys.shape[2]
        if block in self.blocks:
            old_k, old_v = self.blocks[block]
            keep = ((window or self.window) - 1) * keys.shape[2]
            old_k = old_k[:, :, max(old_k.shape[2] - keep, 0) :]
            old_v = old_v[:, :, max(old_v.shape[2] - keep, 0) :]
            keys, values = torch.cat([old_k, keys], 2), torch.cat([old_v, values], 2)
        self.blocks[block] = (keys, values)
        return keys, values


def frame_causal_attention(q: Tensor, k: Tensor, v: Tensor, n: int, context: int) -> Tensor:
    """Attention in which each frame of ``n`` tokens sees itself and the ``context - 1`` frames before it.

    Frame by frame, so that what lies in the future is never computed: half the work of a masked product.
    """
    outputs = []
    for start in range(0, q.shape[2], n):
        stop = start + n
        first = max(stop - context * n, 0)
        outputs.append(F.scaled_dot_product_attention(q[:, :, start:stop], k[:, :, first:stop], v[:, :, first:stop]))
    return torch.cat(outputs, 2)


class AdaLNBlock(nn.Module):
    """Pre-norm transformer block whose norms and branches a condition modulates, zero at the start.

    With zero-initialized modulation both branches are shut, so a new block is the identity.
    """

    def __init__(self, width: int, heads: int, condition: int) -> None:
        super().__init__()
        if width % heads or (width // heads) % 8:
            raise ValueError("width must be heads times a multiple of 8")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.modulation = nn.Linear(condition, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        angles: tuple[Tensor, Tensor],
        context: int,
        cache: KeyValueCache | None = None,
        index: int = 0,
    ) -> Tensor:
        """One block.

        Args:
            x: ``[B, T, N, E]``.
            condition: ``[B, T, C]``, one a frame.
            angles: rotary cosines and sines, each ``[T*N, K/2]``.
            context: frames a query may look back to, its own included.
            cache: where keys and values of past frames are kept (then ``T`` is 1).
            index: this block's number in the cache.

        Returns:
            ``[B, T, N, E]``.
        """
        b, t, n, e = x.shape
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)[:, :, None].chunk(6, -1)
        y = F.layer_norm(x, (e,)) * (1 + scale1) + shift1
        q, k, v = self.qkv(y).reshape(b, t * n, 3, self.heads, e // self.heads).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, *angles), rotate(k, *angles)
        if cache is not None:
            k, v = cache.extend(index, k, v)
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = frame_causal_attention(q, k, v, n, context)
        y = self.out(y.transpose(1, 2).reshape(b, t, n, e))
        x = x + gate1 * y
        y = F.layer_norm(x, (e,)) * (1 + scale2) + shift2
        y = self.down(F.gelu(self.up(y), approximate="tanh"))
        return x + gate2 * y


class ResidualConv(nn.Module):
    """Two 3x3 convolutions around which the input is carried; the second starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        zero_initialized(self.second)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, h, w]`` to the same shape."""
        return x + self.second(F.silu(self.first(F.silu(self.norm(x)))))


class PointwiseLinear(nn.Linear):
    """A linear map of the channels at every place, ``[B, C, h, w]`` -> ``[B, C', h, w]``.

    The same as a 1x1 convolution; as a matrix product its gradient is many times faster on CPUs when the
    number of channels is no multiple of the vector width.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map channels."""
        # As one long matrix: a product with a batch of permuted ones would copy the weight for each of their rows.
        b, c, h, w = x.shape
        return super().forward(x.permute(0, 2, 3, 1).reshape(-1, c)).reshape(b, h, w, -1).permute(0, 3, 1, 2)


class SteadyLinear(nn.Linear):
    """A linear map without a bias that can be given, and that training then changes slowly.

    Adam moves every number by about as much, whatever its size. Kept large, and made small by a fixed factor, the
    numbers of a map that is good already move by little of their size.
    """

    _KEPT = 0.3  # root mean square of the numbers that are kept
    gain: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.register_buffer("gain", torch.ones(()))
        zero_initialized(self)

    @torch.no_grad()
    def give(self, weight: Tensor) -> None:
        """Become the map ``weight [outputs, inputs]``, or its first rows, with zeros below."""
        size = weight.square().mean().sqrt().clamp_min(1e-12) / self._KEPT
        self.weight.zero_()
        self.weight[: len(weight)] = weight / size
        self.gain.copy_(size)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., inputs]`` to ``[..., outputs]``."""
        return super().forward(x) * self.gain


def zero_initialized(layer: Layer) -> Layer:
    """Set a layer's weight and bias to zero; returns it."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


@torch.no_grad()
def fit_scales(mean: Tensor, std: Tensor, rows: Tensor) -> None:
    """Set mean and standard deviation, ``[A]``, to those of rows ``[M, A]``; what never changes keeps its unit."""
    spread, middle = torch.std_mean(rows.float(), 0, correction=0)
    mean.copy_(middle)
    std.copy_(torch.where(spread > 1e-6, spread, 1.0))
