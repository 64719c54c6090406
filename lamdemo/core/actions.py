"""Known actions: what each number of a command means; ``A`` is how many there are."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from lamdemo.core.config import config_from_dict
from lamdemo.core.errors import LamdemoError

Kind = Literal["rate", "change", "target"]
_KINDS = get_args(Kind)
# What names a body of actions, an episode, a recording: safe as a file name anywhere.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


@dataclass(frozen=True)
class Channel:
    """One number of a known action."""

    name: str  # short, as in a table: "steering"
    # How the actions of several steps become that of one: a "rate" (a command that holds for a while) by their mean,
    # a "change" (of a place or an angle) by their sum, a "target" (where to be) by the last.
    kind: Kind
    low: float  # the lowest value that makes sense, in `unit`
    high: float  # the highest, above `low`
    unit: str = ""  # of the number for one step, empty where it has none
    words: tuple[str, str] = ("", "")  # what the lower and the higher values do, as a person says it: ("left", "right")
    # The factor of the number when the picture is flipped from left to right: -1 for steering, 1 for throttle; None
    # where that is not known, and then pictures with such an action are never flipped.
    mirror: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise LamdemoError(
                f"The channel {self.name} is of kind {self.kind!r}; it must be one of {', '.join(_KINDS)}."
            )
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise LamdemoError(f"The channel {self.name} goes from {self.low} to {self.high}; low must be below high.")


@dataclass(frozen=True)
class ActionSpec:
    """What the numbers of a known action are."""

    name: str  # of the body that acts: "car", "arm", "doom"
    channels: tuple[Channel, ...]  # one for each number, A of them

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
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
            return config_from_dict(cls, data)
        except (TypeError, ValueError) as error:
            raise LamdemoError(
                "The description of the actions is damaged; it needs a name and channels of name, kind, low and high."
            ) from error
