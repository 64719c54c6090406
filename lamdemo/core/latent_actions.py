"""Latent actions as a thing to keep, change and hand on."""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamdemo.core.arrays import read_arrays
from lamdemo.core.errors import LamdemoError, shown_name
from lamdemo.core.files import UNREADABLE, write_safely

MOST_FPS = 1000.0  # steps a second


@dataclass(frozen=True)
class LatentActions:
    """A sequence of latent actions."""

    z: np.ndarray  # float32 [S, Z]; z[t] takes s[t] to s[t+1]
    fps: float  # steps a second
    checkpoint: str = ""  # hash of the checkpoint that they belong to; latents of one mean nothing to another

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.z)

    @property
    def size(self) -> np.ndarray:
        """How much happens in each step: the latent's norm, ``[S]``. Zero is nothing."""
        return np.linalg.norm(self.z, axis=-1)

    def save(self, path: str | Path) -> Path:
        """Write a ``.npz`` with ``z``, ``fps`` and ``checkpoint``.

        Raises:
            LamdemoError: it cannot be written there.
        """
        stream = io.BytesIO()
        np.savez(stream, z=self.z.astype(np.float32), fps=np.float64(self.fps), checkpoint=np.str_(self.checkpoint))
        path = Path(path)
        try:
            write_safely(path, stream.getvalue())
        except OSError as error:
            raise LamdemoError(f"{path.name} cannot be written there; choose another place.") from error
        return path

    @classmethod
    def load(cls, path: str | Path) -> LatentActions:
        """Read what `save` wrote.

        Raises:
            LamdemoError: the file is missing or is no such file.
        """
        return cls.of_arrays(path, ("z", "fps", "checkpoint"))[0]

    @classmethod
    def of_arrays(
        cls, path: str | Path, names: Collection[str] | None = None
    ) -> tuple[LatentActions, dict[str, np.ndarray]]:
        """Latent actions and all arrays of those names (all without) of the file they are in; see `load`."""
        path = Path(path)
        try:
            arrays = read_arrays(path, names)
            z, fps, checkpoint = arrays["z"], float(arrays["fps"]), str(arrays["checkpoint"])
            if z.dtype != np.float32 or z.ndim != 2 or not z.size:
                raise ValueError("z must be float32, [S, Z]")
            if not 0 < fps < MOST_FPS or len(checkpoint) > 128:
                raise ValueError("no rate, or no hash")
        except UNREADABLE as error:
            raise LamdemoError(
                f"{shown_name(path)} holds no latent actions; give a latents.npz written by lamdemo."
            ) from error
        return cls(z, fps, checkpoint), arrays


@dataclass(frozen=True)
class ActionEdit:
    """A change of actions before they are applied."""

    scale: float = 1.0  # strength; 1 leaves them as they are, 0 is no action
    negate: bool = False  # do the opposite. Since latents are odd in time, that is the same action backwards
    repeat: int = 1  # how many times the sequence is carried out

    def __post_init__(self) -> None:
        if not np.isfinite(self.scale) or not -10 <= self.scale <= 10:
            raise LamdemoError("The strength must be a number between -10 and 10.")
        if not 1 <= self.repeat <= 50:
            raise LamdemoError("Actions can be repeated 1 to 50 times.")

    def apply(self, actions: LatentActions) -> LatentActions:
        """The changed actions."""
        z = actions.z * (self.scale * (-1 if self.negate else 1))
        return LatentActions(np.tile(z, (self.repeat, 1)).astype(np.float32), actions.fps, actions.checkpoint)
