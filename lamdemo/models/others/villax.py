"""villa-X's inverse dynamics (Chen et al., arXiv 2507.23682): latents of codes, read from windows of eight frames.

Taken from github.com/microsoft/villa-x, ``lam/model.py``, ``st.py``, ``transformer.py``, ``vq.py``,
``modeling_mixin.py`` and ``base.py`` at commit 2efc8cd7; the preparation of pictures from ``igor/models/lam/utils.py``
at commit b10f106e. The weights are ``lam/model.safetensors`` of microsoft/villa-x on the Hub beside
``lam/model_config.json`` (README of that repository), which gives the sizes; that README counts 955 million
parameters, more than the defaults of the public code come to, and the paper 32 heads where these have 8. The weights
were never at hand here: what is tested is this layout with random ones.

Blocks of attention over space and, causally, over time stand on patches of 14 of pictures of 224 x 224. The features
of each two frames are averaged, learned queries gather them, and each query's answer is replaced by the nearest of 32
codes. The latent of a step is those codes' vectors side by side, as the published forward dynamics and the paper's
policy are given them (appendix A of the paper: "continuous codebook centers are used in downstream modules").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamdemo.core.files import read_json
from lamdemo.models.others.weights import count_layers, filled, read_tensors
from lamdemo.models.stored import Damaged, Unfit, bounded_config

CONFIG, WEIGHTS = "model_config.json", "model.safetensors"
FOLDER = "lam"  # of the repository on the Hub
_ARCHITECTURE = "IgorModel"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


@dataclass(frozen=True)
class VillaXConfig:
    """Sizes, by the names and with the defaults of the published configuration; what else that has is not needed."""

    resolution: int = 224  # height and width of the pictures
    patch_size: int = 14
    d_t: int = 8  # frames of a window
    mlp_ratio: float = 4.0
    encoder_depth: int = 12
    encoder_embed_dim: int = 768
    encoder_n_heads: int = 8
    st_use_qk_norm: bool = True
    num_learned_tokens: int = 4  # queries, each of which answers with a code
    map_heads: int = 24  # of the attention of the queries
    action_latent_dim: int = 128  # of a code
    n_codes: int = 32

    def __post_init__(self) -> None:
        width = self.encoder_embed_dim
        whole = all(n > 0 for n in (self.patch_size, self.encoder_n_heads, self.map_heads, self.action_latent_dim))
        fits = whole and not (self.resolution % self.patch_size or width % self.encoder_n_heads)
        if not fits or width % self.map_heads or self.d_t < 2 or self.resolution > 1024:
            raise ValueError("no model has these sizes")


class _SelfAttention(nn.Module):
    """Self-attention over ``[B, L, E]``, causal or not."""

    def __init__(self, config: VillaXConfig) -> None:
        super().__init__()
        width, self.heads = config.encoder_embed_dim, config.encoder_n_heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        norm = nn.LayerNorm if config.st_use_qk_norm else nn.Identity
        self.q_norm, self.k_norm = norm(width // self.heads), norm(width // self.heads)

    def forward(self, x: Tensor, *, causal: bool) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v, is_causal=causal)
        return self.proj(seen.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class _Block(nn.Module):
    """Attention over space, over time, and an MLP, shifted, scaled and gated by a table that nothing changes."""

    def __init__(self, config: VillaXConfig) -> None:
        super().__init__()
        width = config.encoder_embed_dim
        self.attn, self.attn_temp = _SelfAttention(config), _SelfAttention(config)
        self.mlp = _Mlp(width, int(width * config.mlp_ratio))
        self.scale_shift_table = nn.Parameter(torch.zeros(6, width))

    def forward(self, x: Tensor, times: Tensor | None) -> Tensor:
        """``[T, N, E]`` of one window; ``times`` ``[1, T, E]`` are the places in time, for the first block alone."""
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self.scale_shift_table
        x = x + gate * self.attn(_norm(x) * (1 + scale) + shift, causal=False)
        over_time = x.transpose(0, 1)  # neither normed nor modulated, as published
        if times is not None:
            over_time = over_time + times
        x = x + gate * self.attn_temp(over_time, causal=True).transpose(0, 1)
        return x + mlp_gate * self.mlp(_norm(x) * (1 + mlp_scale) + mlp_shift)


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


class _RootMeanSquare(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x / (x.norm(dim=-1, keepdim=True) * x.shape[-1] ** -0.5).clamp(min=1e-8) * self.g


class _CrossAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.kv, self.q, self.proj = nn.Linear(width, 2 * width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, queries: Tensor, given: Tensor) -> Tensor:
        """``[B, K, E]`` of queries ``[B, K, E]`` and what they look at ``[B, N, E]``."""
        k, v = self.kv(given).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q = self.q(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _Gated(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.project(x).chunk(2, -1)
        return value * F.silu(gate)


class _Gather(nn.Module):
    """Learned queries over a step's cells, each norm after what it norms."""

    def __init__(self, config: VillaXConfig) -> None:
        super().__init__()
        width = config.encoder_embed_dim
        hidden = int(config.mlp_ratio * width)
        self.latents = nn.Parameter(torch.zeros(config.num_learned_tokens, width))
        self.pre_projection = nn.Linear(width, width)
        self.attn = _CrossAttention(width, config.map_heads)
        self.attn_norm, self.mlp_norm = _RootMeanSquare(width), _RootMeanSquare(width)
        self.mlp = nn.Sequential(_Gated(width, hidden), nn.Linear(hidden, width))
        self.final_proj = nn.Sequential(nn.Linear(width, config.action_latent_dim))

    def forward(self, cells: Tensor) -> Tensor:
        """Answers ``[S, K, e]`` of the cells ``[S, N, E]`` of steps."""
        queries = self.latents.expand(len(cells), -1, -1)
        queries = self.attn_norm(queries + self.attn(queries, self.pre_projection(cells)))
        return self.final_proj(self.mlp_norm(queries + self.mlp(queries)))


class _Embed(nn.Module):
    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.proj(pictures).flatten(2).transpose(1, 2)


class _Encoder(nn.Module):
    """Windows of pictures to answers of the queries, before codes are chosen."""

    def __init__(self, config: VillaXConfig) -> None:
        super().__init__()
        width, cells = config.encoder_embed_dim, (config.resolution // config.patch_size) ** 2
        self.embed = _Embed(config.patch_size, width)
        # Sines that nobody trained; the published file has them all the same.
        self.pe_spatial = nn.Parameter(torch.zeros(1, cells, width), requires_grad=False)
        self.pe_temporal = nn.Parameter(torch.zeros(1, config.d_t, width), requires_grad=False)
        self.layers = nn.ModuleList(_Block(config) for _ in range(config.encoder_depth))
        self.norm = _RootMeanSquare(width)
        self.map_block = _Gather(config)

    def forward(self, pictures: Tensor) -> Tensor:
        """``[T - 1, K, e]`` of one window ``[T, 3, H, W]``, of no more frames than a window has."""
        x = self.embed(pictures) + self.pe_spatial
        for i, layer in enumerate(self.layers):
            x = layer(x, self.pe_temporal[:, : len(x)] if i == 0 else None)
        x = self.norm(x)
        return self.map_block((x[1:] + x[:-1]) / 2)


class _Codes(nn.Module):
    def __init__(self, count: int, channels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(count, channels)

    def forward(self, z: Tensor) -> Tensor:
        """The nearest code's vector in the place of each ``[..., e]``."""
        codes = self.embedding.weight
        apart = z.square().sum(-1, keepdim=True) + codes.square().sum(1) - 2 * z @ codes.T
        return self.embedding(apart.argmin(-1))


class VillaXEncoder(nn.Module):
    """Reads the latents of a clip: those of its first window at once, each later one with the frames before it."""

    family = "discrete"

    def __init__(self, config: VillaXConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or VillaXConfig()
        self.encoder = _Encoder(config)
        self.vq = _Codes(config.n_codes, config.action_latent_dim)

    @property
    def channels(self) -> int:
        """Width ``Z`` of a latent: all codes of a step side by side."""
        return self.config.num_learned_tokens * self.config.action_latent_dim

    @property
    def picture(self) -> int:
        """Height and width of the pictures it sees."""
        return self.config.resolution

    def prepared(self, frames: Tensor) -> Tensor:
        """Frames ``[T, 3, H, W]`` of 0 to 255 as it sees them, stretched to its square: ``[T, 3, 224, 224]``."""
        size = (self.picture, self.picture)
        frames = frames.float()
        if frames.shape[-2:] != size:
            # Rounded, since torchvision's resizing of bytes gives bytes.
            frames = F.interpolate(frames, size, mode="bilinear", align_corners=False, antialias=True).round()
        mean, std = (frames.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
        return (frames.clamp(0, 255) / 255 - mean) / std

    def forward(self, pictures: Tensor) -> Tensor:
        """Latents ``[T - 1, Z]`` of prepared pictures ``[T, 3, H, W]``."""
        size = self.config.d_t
        found = [self.encoder(pictures[:size])]
        found += [self.encoder(pictures[t - size + 1 : t + 1])[-1:] for t in range(size, len(pictures))]
        return self.vq(torch.cat(found)).flatten(1)

    @classmethod
    def load(cls, folder: Path, *, most: int) -> VillaXEncoder:
        """Read ``model_config.json`` and the encoder and codes of ``model.safetensors``.

        Raises:
            Damaged, Unfit: why not.
        """
        path, about = cls.files(folder)
        config = _read_config(about)
        tensors = read_tensors(path, lambda n: n.startswith(("encoder.", "vq.")), most=most)
        # Before as many layers are built as a stranger asks for.
        if count_layers(tensors, "encoder.layers.") != config.encoder_depth:
            raise Unfit(f"it has not the {config.encoder_depth} layers of {CONFIG}")
        return filled(lambda: cls(config), tensors)

    @staticmethod
    def files(folder: Path) -> tuple[Path, ...]:
        """What it is read from, in the folder or in ``lam`` there, as on the Hub; the file of the weights first."""
        place = folder / FOLDER if (folder / FOLDER / CONFIG).is_file() else folder
        return place / WEIGHTS, place / CONFIG


def _read_config(path: Path) -> VillaXConfig:
    """The sizes in a published configuration.

    Raises:
        Damaged: it is missing or of something else.
    """
    try:
        about: Any = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise Damaged(f"{CONFIG} is missing or damaged") from error
    inner = about.get("config") if isinstance(about, dict) else None
    if not isinstance(inner, Mapping) or about.get("architecture") != _ARCHITECTURE:
        raise Damaged(f"{CONFIG} is not of an {_ARCHITECTURE}")
    known = {field.name for field in fields(VillaXConfig)}
    try:
        return bounded_config(VillaXConfig, {k: v for k, v in inner.items() if k in known})
    except (ValueError, TypeError, ArithmeticError) as error:
        raise Damaged(f"{CONFIG}: {str(error)[:120]}") from error
