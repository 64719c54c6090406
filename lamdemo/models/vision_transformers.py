"""Frozen vision transformers of others as encoders: V-JEPA 2 (the paper's), DINOv2 and DINOv3, by transformers.

Their weights stay in their own repositories on the Hub and are fetched from there at a pinned revision, so that a name
always means the same numbers. A checkpoint of ours names its encoder and holds the whitening alone: nothing of theirs
is copied, trained, saved or sent from one process to another.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamdemo.core.errors import LamdemoError
from lamdemo.core.hub_errors import hub_error_in_words
from lamdemo.models.encoder import EncoderConfig, WhitenedEncoder, register_encoder

# ImageNet's, with which all of them were trained.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json")


@dataclass(frozen=True)
class Source:
    """Where an encoder's weights are, and what of it must be known without them."""

    architecture: Literal["VJEPA2Model", "Dinov2Model", "DINOv3ViTModel"]  # of transformers
    repository: str  # on the Hub
    revision: str  # a commit, so that the weights are always the same
    width: int  # channels of a token
    patch: int = 16  # pixels of its pictures that a token has along each side


SOURCES: dict[str, Source] = {
    "vjepa2-l": Source(
        "VJEPA2Model", "facebook/vjepa2-vitl-fpc64-256", "b3c1679b7c34d3255ef3547f27c7b226aefab26f", 1024
    ),
    "vjepa2-h": Source(
        "VJEPA2Model", "facebook/vjepa2-vith-fpc64-256", "b5eac8703e3efdc1547fbb6ddfbeb133dc0bdee5", 1280
    ),
    "vjepa2-g": Source(
        "VJEPA2Model", "facebook/vjepa2-vitg-fpc64-256", "875c192b7b704b87d1e1d99345769632dd5f739a", 1408
    ),
    "dinov2-s": Source("Dinov2Model", "facebook/dinov2-small", "ed25f3a31f01632728cabb09d1542f84ab7b0056", 384, 14),
    "dinov2-b": Source("Dinov2Model", "facebook/dinov2-base", "f9e44c814b77203eaa57a6bdbbd535f21ede1415", 768, 14),
    "dinov2-l": Source("Dinov2Model", "facebook/dinov2-large", "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c", 1024, 14),
    # These three are gated: who fetches them has agreed to their licence on the Hub.
    "dinov3-s": Source(
        "DINOv3ViTModel", "facebook/dinov3-vits16-pretrain-lvd1689m", "114c1379950215c8b35dfcd4e90a5c251dde0d32", 384
    ),
    "dinov3-b": Source(
        "DINOv3ViTModel", "facebook/dinov3-vitb16-pretrain-lvd1689m", "5931719e67bbdb9737e363e781fb0c67687896bc", 768
    ),
    "dinov3-l": Source(
        "DINOv3ViTModel", "facebook/dinov3-vitl16-pretrain-lvd1689m", "ea8dc2863c51be0a264bab82070e3e8836b02d51", 1024
    ),
}
"""What a name stands for. A name's weights never change; other weights get another name."""


class FrozenTransformer(WhitenedEncoder):
    """A vision transformer of `SOURCES`, the tokens of its last layer whitened.

    Pictures are encoded one by one. V-JEPA 2 reads tubelets of two frames: both are the same picture, so that nothing
    of another frame can reach a state.

    The network itself is no submodule: models of one encoder share it, and it is in no checkpoint.
    """

    # A transformer has nothing finer than its patches: the details are the pixels themselves, folded into channels.
    detail_channels = (3 * 8 * 8, 3 * 4 * 4)

    def __init__(self, config: EncoderConfig) -> None:
        """Args: what to build; its name is one of `SOURCES`.

        Raises:
            ValueError: pictures must be of whole cells, and see `WhitenedEncoder`.
        """
        self.source = SOURCES[config.name]
        if config.picture % 16:
            raise ValueError(f"a picture must have a multiple of 16 pixels along each side, got {config.picture}")
        super().__init__(config, self.source.width)

    def fetch(self, device: torch.device) -> nn.Module:
        """The frozen network, in evaluation mode on a device; fetched from the Hub where it was not before.

        Raises:
            LamdemoError: transformers is missing, or the weights cannot be fetched or are not what they should be.
        """
        with _FETCHING:  # a second thread waits for the first one's
            return _network(self.source, self.config.picture, device)

    def features(self, pictures: Tensor) -> Tensor:
        """See `WhitenedEncoder.features`."""
        network, cells = self.fetch(pictures.device), self.config.grid
        side = cells * self.source.patch
        if pictures.shape[-2:] != (side, side):
            pictures = F.interpolate(pictures, (side, side), mode="bilinear", align_corners=False, antialias=True)
        mean, std = (pictures.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
        pictures = (pictures - mean) / std
        if self.source.architecture == "VJEPA2Model":
            tokens = network(pictures[:, None].repeat(1, 2, 1, 1, 1)).last_hidden_state
        else:
            # Before the patches stand what sums up the picture, and registers.
            tokens = network(pictures).last_hidden_state[:, -cells * cells :]
        return tokens.unflatten(1, (cells, cells)).float()

    def details(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """See `Encoder.details`."""
        return F.pixel_unshuffle(pictures, 8), F.pixel_unshuffle(pictures, 4)


for _name in SOURCES:
    register_encoder(_name)(FrozenTransformer)

_FETCHING = threading.Lock()


@lru_cache(maxsize=2)  # a comparison of checkpoints can want two; more would only fill the memory
def _network(source: Source, picture: int, device: torch.device) -> nn.Module:
    """See `FrozenTransformer.fetch`."""
    try:
        import transformers
    except ImportError as error:
        raise LamdemoError(
            f"The encoder of {source.repository} needs transformers: pip install 'lamdemo[encoders]'."
        ) from error
    folder = _folder(source)
    architecture = getattr(transformers, source.architecture)
    try:
        config = architecture.config_class.from_pretrained(folder)
        if source.architecture == "VJEPA2Model":
            config.crop_size = picture  # by which a token's row and column are counted
        made: tuple[Any, dict[str, Any]] = architecture.from_pretrained(
            folder, config=config, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # whatever a damaged file brings about
        raise LamdemoError(_damaged(source)) from error
    network, told = made
    patches = config.patch_size if isinstance(config.patch_size, int) else config.patch_size[0]
    if told["missing_keys"] or told["mismatched_keys"] or (config.hidden_size, patches) != (source.width, source.patch):
        raise LamdemoError(_damaged(source))
    # Of V-JEPA 2, what predicts masked tokens is not needed.
    wanted: nn.Module = network.encoder if source.architecture == "VJEPA2Model" else network
    return wanted.to(device).eval().requires_grad_(False)


def _folder(source: Source) -> Path:
    """The folder of a source's files on this machine.

    Raises:
        LamdemoError: they are not there and cannot be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source.repository, revision=source.revision, allow_patterns=list(_FILES)))
    except (HTTPError, OSError, ValueError) as error:
        # The client says that nothing is kept here, and only in its cause why nothing came.
        why = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
        told = why if isinstance(why, Exception) else error
        raise LamdemoError(hub_error_in_words(told, source.repository, source.revision)) from error


def _damaged(source: Source) -> str:
    return (
        f"The weights of {source.repository} are damaged; fetch them again (`hf download --force-download "
        f"{source.repository} --revision {source.revision[:12]}`)."
    )
