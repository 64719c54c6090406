"""What an episode is: frames, the known actions between them, and what each number of an action means.

``actions[t]`` takes ``frames[t]`` to ``frames[t + 1]``, as the latent ``z[t]`` does; ``A`` is the width of a known
action.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np

from lamdemo.errors import LamdemoError

Kind = Literal["rate", "change", "target"]
_KINDS = get_args(Kind)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


@dataclass(frozen=True)
class Channel:
    """One number of a known action.

    Attributes:
        name: short, as in a table: "steering".
        kind: how the actions of several steps become that of one: a "rate" (a command that holds for a while) by
            their mean, a "change" (of a place or an angle) by their sum, a "target" (where to be) by the last.
        low: the lowest value that makes sense, in ``unit``.
        high: the highest, above ``low``.
        unit: of the number for one step, empty where it has none.
        words: what the lower and the higher values do, as a person says it: ("left", "right").
        mirror: the factor of the number when the picture is flipped from left to right: -1 for steering, 1 for
            throttle; None where that is not known, and then pictures with such an action are never flipped.
    """

    name: str
    kind: Kind
    low: float
    high: float
    unit: str = ""
    words: tuple[str, str] = ("", "")
    mirror: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise LamdemoError(
                f"The channel {self.name} is of kind {self.kind!r}; it must be one of {_listed(_KINDS)}."
            )
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise LamdemoError(f"The channel {self.name} goes from {self.low} to {self.high}; low must be below high.")


@dataclass(frozen=True)
class ActionSpec:
    """What the numbers of a known action are.

    Attributes:
        name: of the body that acts: "car", "arm", "doom".
        channels: one for each number, A of them.
    """

    name: str
    channels: tuple[Channel, ...]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise LamdemoError(f"{self.name!r} cannot name actions; use letters, digits, dots, dashes and underscores.")
        if not self.channels:
            raise LamdemoError(f"The actions of {self.name} have no channel; give at least one.")
        if len(set(self.names)) != len(self.channels):
            raise LamdemoError(f"The actions of {self.name} have two channels of one name; rename one.")

    @property
    def width(self) -> int:
        """Numbers of an action, A."""
        return len(self.channels)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels, A of them."""
        return tuple(c.name for c in self.channels)

    @property
    def low(self) -> np.ndarray:
        """Lowest values, float32 ``[A]``."""
        return np.array([c.low for c in self.channels], np.float32)

    @property
    def high(self) -> np.ndarray:
        """Highest values, float32 ``[A]``."""
        return np.array([c.high for c in self.channels], np.float32)

    @property
    def zero(self) -> np.ndarray:
        """The action of doing nothing, float32 ``[A]``: 0, or the nearest value to it that a channel allows.

        Where a channel is a target there is no such action, and this is only a place to begin at.
        """
        return np.clip(np.zeros(self.width, np.float32), self.low, self.high)

    @property
    def mirror(self) -> np.ndarray | None:
        """Factors float32 ``[A]`` of an action when the picture is flipped; None unless all are known."""
        factors = [c.mirror for c in self.channels]
        return None if any(f is None for f in factors) else np.array(factors, np.float32)

    def check(self, actions: Any, what: str = "These actions") -> np.ndarray:
        """Actions as an array, after a look whether they can be such.

        Args:
            actions: ``[S, A]``, or ``[A]`` for one step.
            what: their name in a sentence, in the plural.

        Returns:
            float32 ``[S, A]``. Values out of range stay as they are: a recording may hold some.

        Raises:
            LamdemoError: they are of another width, or one is no finite number.
        """
        takes = f"{self.name} takes {self.width} ({', '.join(self.names)})"
        try:
            table = np.asarray(actions, np.float32)
        except (TypeError, ValueError) as error:
            raise LamdemoError(f"{what} are no table of numbers where {takes}; give a row for each step.") from error
        if table.ndim == 1:
            table = table[None]
        if table.ndim != 2:
            raise LamdemoError(f"{what} are no table of numbers where {takes}; give a row for each step.")
        if table.shape[1] != self.width:
            has = f"{table.shape[1]} number{'s' if table.shape[1] != 1 else ''}"
            raise LamdemoError(f"{what} have {has} a step where {takes}; give them in that order.")
        bad = np.argwhere(~np.isfinite(table))
        if len(bad):
            step, channel = bad[0]
            raise LamdemoError(
                f"{what} hold no number for {self.names[channel]} at step {step}; leave such steps out or mend them."
            )
        return table

    def combine(self, actions: np.ndarray, steps: int) -> np.ndarray:
        """Actions of longer steps: each of ``steps`` steps' actions by the kind of its channel.

        Args:
            actions: ``[S, A]``.
            steps: how many become one, 1 or more.

        Returns:
            float32 ``[S // steps, A]``; what is left over at the end is dropped.
        """
        count = len(actions) // steps
        groups = np.asarray(actions[: count * steps], np.float32).reshape(count, steps, self.width)
        combined = groups[:, -1].copy()
        for i, channel in enumerate(self.channels):
            if channel.kind == "rate":
                combined[:, i] = groups[:, :, i].mean(1)
            elif channel.kind == "change":
                combined[:, i] = groups[:, :, i].sum(1)
        return combined

    def to_json(self) -> dict[str, Any]:
        """As plain values that JSON holds; `from_json` reads them back."""
        return {"name": self.name, "channels": [{**asdict(c), "words": list(c.words)} for c in self.channels]}

    @classmethod
    def from_json(cls, data: Any) -> ActionSpec:
        """Read what `to_json` wrote.

        Raises:
            LamdemoError: it is nothing of the kind.
        """
        try:
            channels = []
            for c in data["channels"]:
                less, more = c.get("words", ("", ""))
                mirror = c.get("mirror")
                channels.append(
                    Channel(
                        name=str(c["name"]),
                        kind=c["kind"],
                        low=float(c["low"]),
                        high=float(c["high"]),
                        unit=str(c.get("unit", "")),
                        words=(str(less), str(more)),
                        mirror=None if mirror is None else float(mirror),
                    )
                )
            return cls(str(data["name"]), tuple(channels))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LamdemoError(
                "The description of the actions is damaged; it needs a name and channels of name, kind, low and high."
            ) from error


@dataclass(frozen=True, eq=False)
class Episode:
    """A recording with what was done in it.

    Attributes:
        name: its file's name, without ending.
        frames: uint8 ``[T, H, W, 3]``.
        actions: float32 ``[T - 1, A]``; row t is what was done from frame t to frame t + 1.
        fps: frames a second.
        spec: what the numbers are.
        truth: the true state at each frame where it is known, float32 ``[T, ...]`` each: "position" ``[T, 3]``.
        recording: what to split by. Episodes that show one scene or one run (all cameras of it, say) share it,
            and never stand on both sides of a split.
        about: where it is from, as plain values that JSON holds.
    """

    name: str
    frames: np.ndarray
    actions: np.ndarray
    fps: float
    spec: ActionSpec
    truth: Mapping[str, np.ndarray] = field(default_factory=dict)
    recording: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
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


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(words)
