"""What an episode is: frames and the known actions between them.

``actions[t]`` takes ``frames[t]`` to ``frames[t + 1]``, as the latent ``z[t]`` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lamdemo.core.actions import NAME, ActionSpec
from lamdemo.core.errors import LamdemoError


@dataclass(frozen=True, eq=False)
class Episode:
    """A recording with what was done in it."""

    name: str  # its file's name, without ending
    frames: np.ndarray  # uint8 [T, H, W, 3]
    actions: np.ndarray  # float32 [T - 1, A]; row t is what was done from frame t to frame t + 1
    fps: float  # frames a second
    spec: ActionSpec  # what the numbers are
    # The true state at each frame where it is known, float32 [T, ...] each: "position" [T, 3].
    truth: Mapping[str, np.ndarray] = field(default_factory=dict)
    # What to split by. Episodes that show one scene or one run (all cameras of it, say) share it, and never stand on
    # both sides of a split.
    recording: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)  # where it is from, as plain values that JSON holds

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise LamdemoError(f"{self.name!r} cannot name an episode; use letters, digits, dots, dashes, underscores.")
        if self.frames.ndim != 4 or self.frames.shape[3] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(f"frames are uint8 [T, H, W, 3], not {self.frames.dtype} {list(self.frames.shape)}")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise LamdemoError(f"Episode {self.name} has {self.fps} frames a second; it must be a number above zero.")
        # No frame is no episode; one frame is a picture before anything was done.
        if len(self.frames) < 1:
            raise LamdemoError(f"Episode {self.name} has no frames; leave it out or record it again.")
        if len(self.actions) or len(self.frames) != 1:
            object.__setattr__(
                self,
                "actions",
                self.spec.check(self.actions, f"The actions of episode {self.name}").reshape(-1, self.spec.width),
            )
        else:
            object.__setattr__(self, "actions", np.zeros((0, self.spec.width), np.float32))
        if len(self.actions) != len(self.frames) - 1:
            raise LamdemoError(
                f"Episode {self.name} has {len(self.frames)} frames and {len(self.actions)} actions; "
                "there must be one action fewer than frames."
            )
        truth = {k: np.asarray(v, np.float32) for k, v in self.truth.items()}
        for key, values in truth.items():
            if values.ndim < 1 or len(values) != len(self.frames):
                raise LamdemoError(
                    f"Episode {self.name} has {len(self.frames)} frames and {len(values) if values.ndim else 1} rows "
                    f"of {key}; there must be one for each frame."
                )
        object.__setattr__(self, "truth", truth)
        object.__setattr__(self, "recording", self.recording or self.name)

    def __len__(self) -> int:
        """Number of frames, T."""
        return len(self.frames)

    @property
    def seconds(self) -> float:
        """Time from the first frame to the last."""
        return (len(self.frames) - 1) / self.fps

    def at(self, fps: float) -> Episode:
        """The episode at about another rate: every k-th frame, from the first on.

        Args:
            fps: frames a second wanted; k is the whole number that comes nearest, and at least 1.

        Returns:
            The episode with actions combined by their kind (`ActionSpec.combine`) and truth at its frames. A rest
            shorter than a step is dropped.
        """
        if not fps > 0:
            raise ValueError(f"fps must be above 0, not {fps}")
        k = max(1, round(self.fps / fps))
        if k == 1:
            return self
        return replace(
            self,
            frames=self.frames[::k],
            actions=self.spec.combine(self.actions, k),
            fps=self.fps / k,
            truth={key: values[::k] for key, values in self.truth.items()},
        )

    def part(self, start: int, stop: int) -> Episode:
        """Frames ``start`` to ``stop`` (exclusive, as in a slice) with the actions between them.

        Raises:
            LamdemoError: there is no frame there.
        """
        start, stop, _ = slice(start, stop).indices(len(self.frames))
        if stop <= start:
            raise LamdemoError(
                f"Episode {self.name} has {len(self.frames)} frames; there is none in the part asked for."
            )
        return replace(
            self,
            frames=self.frames[start:stop],
            actions=self.actions[start : stop - 1],
            truth={key: values[start:stop] for key, values in self.truth.items()},
        )
