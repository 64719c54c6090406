"""What every simulator can do, and how one is made by name.

A simulator has a scene that a seed makes (what is there, how it looks, from where one sees it), takes one known
action a step, and shows what the camera sees and what is true. Nothing else in the package knows which one runs.
Engines are heavy and optional: nothing of them is imported before a simulator is made.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import numpy as np

from lamdemo.core.actions import ActionSpec
from lamdemo.core.errors import LamdemoError

if TYPE_CHECKING:
    from typing_extensions import Self

FPS = 4.0
"""Steps a second, in all simulators: the rate at which the paper's models see video."""

Truth = Mapping[str, np.ndarray]
"""True quantities of one moment by name, each a float32 array without a time axis."""


@dataclass(frozen=True, eq=False)
class Observation:
    """What is seen and what is true at one moment."""

    frame: np.ndarray  # the camera's picture, uint8 [H, W, 3]
    truth: dict[str, np.ndarray]  # true quantities by name (such as `position`), each float32


@runtime_checkable
class Simulator(Protocol):
    """A world with known actions and known truth. It is a context manager; it holds an engine until closed."""

    name: str  # by which :func:`make` makes it
    spec: ActionSpec  # what the numbers of an action mean
    fps: float  # steps a second
    size: tuple[int, int]  # height and width of the frames
    seed: int  # which scene is there now

    def reset(self, seed: int) -> Observation:
        """Build the scene of this seed (0 or more), all of it, and go to its start."""
        ...

    def step(self, action: np.ndarray) -> Observation:
        """Carry out one action ``[A]`` for ``1 / fps`` seconds; what lies outside the spec's range is clipped."""
        ...

    def observe(self) -> Observation:
        """What is seen and true now; changes nothing."""
        ...

    def snapshot(self) -> object:
        """The present moment of the present scene, to come back to; small, and not to be looked into."""
        ...

    def restore(self, snapshot: object) -> Observation:
        """Go back to a snapshot's moment (and scene): the same actions then show the same frames, bit for bit."""
        ...

    def distance(self, a: Truth, b: Truth) -> dict[str, float]:
        """How far two moments of one scene are apart, by name and unit; the first is the main one."""
        ...

    def reached(self, distance: Mapping[str, float]) -> bool:
        """Whether a :meth:`distance` to a goal counts as having reached it."""
        ...

    def close(self) -> None:
        """Let the engine go; may be called again."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True)
class _Entry:
    """Where a simulator is, and what it needs."""

    module: str  # module of this package that holds it
    cls: str  # its class there; `cls(size=(H, W), seed=...)` makes it and resets it to the seed
    needs: tuple[str, ...]  # modules of third parties that must be there
    title: str  # how people call what it needs
    install: str  # what pip must install for it


_ENTRIES = {
    "doom": _Entry("doom", "Doom", ("vizdoom",), "ViZDoom", '"vizdoom==1.3.2"'),
    "fetch": _Entry(
        "fetch",
        "Fetch",
        ("mujoco", "gymnasium_robotics"),
        "MuJoCo and Gymnasium-Robotics",
        '"mujoco==3.3.7" "gymnasium-robotics==1.4.2"',
    ),
}


def names() -> list[str]:
    """Names of all simulators, installed or not."""
    return list(_ENTRIES)


def available() -> dict[str, str]:
    """For each simulator an empty text where it can be made, or one sentence that says what to install."""
    return {name: _missing(name) for name in _ENTRIES}


def _missing(name: str) -> str:
    entry = _ENTRIES[name]
    if all(importlib.util.find_spec(module) is not None for module in entry.needs):
        return ""
    return f"The simulator {name} needs {entry.title}; install it with: pip install {entry.install}"


def make(name: str, *, size: tuple[int, int] = (192, 192), seed: int = 0) -> Simulator:
    """Make a simulator and build the scene of a seed.

    Args:
        name: one of :func:`names`.
        size: height and width of its frames in pixels, 32 to 1024 each.
        seed: which scene, 0 or more.

    Returns:
        The simulator at the scene's start; close it, or use it in a ``with``.

    Raises:
        LamdemoError: there is none of that name, it is not installed, or the size or the seed is out of range.
    """
    if name not in _ENTRIES:
        raise LamdemoError(f"There is no simulator {name!r}; there are {' and '.join(_ENTRIES)}.")
    if missing := _missing(name):
        raise LamdemoError(missing)
    if not all(32 <= side <= 1024 for side in size):
        raise LamdemoError(f"A simulator's frames have sides of 32 to 1024 pixels, not {size[0]} by {size[1]}.")
    entry = _ENTRIES[name]
    cls: Any = getattr(importlib.import_module(f"lamdemo.simulators.{entry.module}"), entry.cls)
    try:
        return cast(Simulator, cls(size=size, seed=checked_seed(seed)))
    except ImportError as error:
        # It is there but does not load: built for another Python, or a library of the system is missing.
        raise LamdemoError(
            f"The simulator {name} needs {entry.title}, which cannot be loaded here ({error}); install it anew with: "
            f"pip install --force-reinstall {entry.install}"
        ) from error


def checked_seed(seed: int) -> int:
    """The seed, if it is one.

    Raises:
        LamdemoError: it is negative or needs more than 31 bits.
    """
    if not 0 <= int(seed) < 2**31:
        raise LamdemoError(f"A scene's seed is a whole number from 0 to {2**31 - 1}, not {seed}.")
    return int(seed)


def checked_action(spec: ActionSpec, action: np.ndarray) -> np.ndarray:
    """One action as float64 ``[A]``, clipped to the spec's range.

    Raises:
        LamdemoError: it has another width, or is not finite.
    """
    row = np.asarray(action, dtype=np.float32).reshape(1, -1)
    return np.clip(spec.check(row)[0], spec.low, spec.high).astype(np.float64)
