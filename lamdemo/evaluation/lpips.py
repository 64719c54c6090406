"""How different pictures look: LPIPS where its weights are at hand, else the frozen encoder's own features.

LPIPS (Zhang et al., arXiv 1801.03924) compares features of a VGG16 trained on ImageNet, weighted to agree with
people. Its reference implementation needs torchvision; thirteen convolutions do not. Nothing is downloaded: the
weights are used if they lie in the local cache of the Hugging Face Hub, and a report says whether they did.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.pictures import FROZEN_FEATURES, feature_distance, features

# Blocks of VGG16: channels of each and its convolutions' places in torchvision's ``features``.
_BLOCKS = ((64, (0, 2)), (128, (5, 7)), (256, (10, 12, 14)), (512, (17, 19, 21)), (512, (24, 26, 28)))
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_CONVOLUTION = re.compile(r"(?:^|\.)(?:features|slice\d)\.(\d+)\.(weight|bias)$")
_LINEAR = re.compile(r"(?:^|\.)lins?\.?(\d)(?:\.\w+)*\.weight$")
_BACKBONES = ("timm/vgg16.tv_in1k",)  # torchvision's weights, under its names
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


class Perceptual(Protocol):
    """A perceptual distance in two steps, so that features of the truth are computed once.

    Attributes:
        name: what it is, for reports.
        why: why it is this one.
    """

    name: str
    why: str

    def features(self, frames: np.ndarray) -> Sequence[Tensor]:
        """Features of frames ``[T, H, W, 3]``, maps that begin with T."""
        ...

    def distance(self, one: Sequence[Tensor], other: Sequence[Tensor]) -> np.ndarray:
        """Distances ``[T]`` of two sets of features; either may be of one frame only."""
        ...


class FrozenFeatures:
    """The distance by the frozen encoder's features, see `feature_distance`. It is not LPIPS."""

    name = FROZEN_FEATURES

    def __init__(self, pipeline: TransferPipeline, why: str = "") -> None:
        """Args: whose encoder to use; why LPIPS is not."""
        self._pipeline, self.why = pipeline, why

    def features(self, frames: np.ndarray) -> list[Tensor]:
        """See `Perceptual`."""
        return [features(self._pipeline, frames)]

    def distance(self, one: Sequence[Tensor], other: Sequence[Tensor]) -> np.ndarray:
        """See `Perceptual`."""
        return feature_distance(one[0], other[0])


class Lpips:
    """LPIPS, version 0.1, on VGG16."""

    name = "LPIPS"

    def __init__(self, tensors: dict[str, Tensor], why: str = "") -> None:
        """Take weights under torchvision's or LPIPS' own names.

        Args:
            tensors: convolutions as ``features.N.weight`` or ``net.sliceK.N.weight`` (and ``bias``), weights of
                the five layers as ``linK.model.1.weight``; others are left alone.
            why: where they are from.

        Raises:
            ValueError: one is missing or of another shape.
        """
        self.why = why
        convolutions: dict[tuple[int, str], Tensor] = {}
        linear: dict[int, Tensor] = {}
        for name, tensor in tensors.items():
            if match := _CONVOLUTION.search(name):
                convolutions[int(match[1]), match[2]] = tensor.float()
            elif match := _LINEAR.search(name):
                linear[int(match[1])] = tensor.float()
        self._blocks: list[list[tuple[Tensor, Tensor]]] = []
        inputs = 3
        for channels, places in _BLOCKS:
            block = []
            for place in places:
                weight, bias = convolutions.get((place, "weight")), convolutions.get((place, "bias"))
                if weight is None or bias is None or weight.shape != (channels, inputs, 3, 3):
                    raise ValueError(f"no convolution {place} of VGG16")
                block.append((weight, bias))
                inputs = channels
            self._blocks.append(block)
        for k, (channels, _) in enumerate(_BLOCKS):
            if k not in linear or linear[k].numel() != channels:
                raise ValueError(f"no weights of LPIPS' layer {k}")
        self._linear = [linear[k].reshape(1, -1, 1, 1) for k in range(len(_BLOCKS))]

    @torch.no_grad()
    def features(self, frames: np.ndarray) -> list[Tensor]:
        """Unit vectors ``[T, C, h, w]`` of the last layer of each block."""
        parts = [self._of(torch.from_numpy(np.ascontiguousarray(f))[None]) for f in frames]
        return [torch.cat(maps) for maps in zip(*parts, strict=True)]

    def _of(self, frames: Tensor) -> list[Tensor]:
        shift, scale = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (_SHIFT, _SCALE))
        x = (frames.permute(0, 3, 1, 2).float() / 127.5 - 1 - shift) / scale
        maps = []
        for k, block in enumerate(self._blocks):
            x = F.max_pool2d(x, 2) if k else x
            for weight, bias in block:
                x = F.relu(F.conv2d(x, weight, bias, padding=1))
            maps.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return maps

    def distance(self, one: Sequence[Tensor], other: Sequence[Tensor]) -> np.ndarray:
        """See `Perceptual`."""
        apart = [((a - b).square() * w).sum(1).mean((1, 2)) for a, b, w in zip(one, other, self._linear, strict=True)]
        return torch.stack(apart).sum(0).numpy()


def _candidates(cache: Path) -> list[Path]:
    """Files of the Hub's cache that may hold weights of LPIPS or of its VGG16."""
    found = []
    for repo in sorted(cache.glob("models--*")):
        name = repo.name.removeprefix("models--").replace("--", "/")
        for path in sorted(repo.glob("snapshots/*/**/*")):
            words = f"{name}/{path.name}".lower()
            # Version 0.0 has other weights, and distances of latents are another thing.
            known = "lpips" in words and "vgg" in words and "v0.0" not in words and "latent" not in words
            if path.suffix in _SUFFIXES and (known or name in _BACKBONES):
                found.append(path)
    return found


def _read(path: Path) -> dict[str, Tensor]:
    data = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    return {str(k): v for k, v in data.items() if isinstance(v, Tensor)}


def perceptual(pipeline: TransferPipeline, cache: str | Path | None = None) -> Perceptual:
    """LPIPS if its weights are in the Hub's cache, else the distance by the frozen encoder.

    Args:
        pipeline: whose encoder stands in for LPIPS.
        cache: the Hub's cache; huggingface_hub's own place by default.
    """
    if cache is None:
        from huggingface_hub.constants import HF_HUB_CACHE

        cache = HF_HUB_CACHE
    tensors: dict[str, Tensor] = {}
    used, damaged = [], []
    for path in _candidates(Path(cache)):
        try:
            tensors |= _read(path)
            used.append(path.name)
        except (SafetensorError, OSError, ValueError, RuntimeError, EOFError, AttributeError, pickle.UnpicklingError):
            damaged.append(path.name)
    unread = f" ({', '.join(damaged)} cannot be read as weights)" if damaged else ""
    if not tensors:
        return FrozenFeatures(pipeline, f"no weights of LPIPS in the Hub cache{unread}")
    try:
        return Lpips(tensors, f"weights in the Hub cache: {', '.join(used)}")
    except ValueError as error:
        return FrozenFeatures(pipeline, f"weights of LPIPS in the Hub cache are not whole: {error}{unread}")
