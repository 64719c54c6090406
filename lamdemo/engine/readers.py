"""What reads latents: a checkpoint of ours, which can carry them out too, or a model of others, which cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from lamdemo.core.devices import AUTO, best_device
from lamdemo.core.errors import LamdemoError
from lamdemo.engine.hub import Tell
from lamdemo.engine.others import OtherReader
from lamdemo.engine.pretrained import resolve_other
from lamdemo.engine.transfer import TransferPipeline


@runtime_checkable
class LatentReader(Protocol):
    """Reads the latents of clips, which is all that a map and its neighbours need."""

    @property
    def name(self) -> str:
        """What to call it."""

    @property
    def checkpoint(self) -> str:
        """SHA-256 of its weights; empty where that is not known."""

    @property
    def family(self) -> str:
        """What limits its latents: "sparse", "noisy" or "discrete"."""

    @property
    def fps(self) -> float:
        """Steps a second at which clips are best read."""

    @property
    def channels(self) -> int:
        """Width ``Z`` of a latent."""

    @property
    def picture(self) -> int:
        """Height and width of the pictures it sees, in pixels."""

    def read(self, frames: np.ndarray) -> np.ndarray:
        """Latents float32 ``[T - 1, Z]`` of frames uint8 ``[T, H, W, 3]``; ``z[t]`` takes frame t to t + 1."""


def player(reader: LatentReader, what: str) -> TransferPipeline:
    """A reader that can carry actions out too.

    Args:
        reader: that is asked for more than to read.
        what: is to be done, as the beginning of a sentence.

    Raises:
        LamdemoError: it only reads.
    """
    if isinstance(reader, TransferPipeline):
        return reader
    raise LamdemoError(f"{what} needs a checkpoint of lamdemo, and {reader.name} only reads latents; leave that out.")


def load_other(
    path_or_id: str | Path | None,
    *,
    device: torch.device | str = AUTO,
    cache_dir: str | Path | None = None,
    tell: Tell | None = None,
) -> OtherReader | None:
    """A model of others; None where the name or folder is none of theirs.

    Args:
        path_or_id: see `lamdemo.engine.pretrained.resolve_other`.
        device: to compute on; the best there is without it.
        cache_dir: where downloads are kept.
        tell: progress of a download.

    Raises:
        LamdemoError: it cannot be fetched, or is damaged.
    """
    found = resolve_other(path_or_id, cache_dir=cache_dir, tell=tell)
    return None if found is None else OtherReader.load(*found, best_device(device))


def load_reader(path_or_id: str | Path | None = None, *, device: torch.device | str = AUTO) -> LatentReader:
    """A checkpoint of ours or a model of others, by its folder, bundled name or Hub id.

    Raises:
        LamdemoError: see `load_other` and `lamdemo.engine.TransferPipeline.from_pretrained`.
    """
    return load_other(path_or_id, device=device) or TransferPipeline.from_pretrained(path_or_id, device=device)
