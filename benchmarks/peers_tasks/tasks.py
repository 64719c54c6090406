"""What a task is: its environment in the others' harness, who records it, and how it is evaluated."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.core.errors import LamdemoError

PICTURE = 224
"""Height and width in pixels of the harness's pictures."""

BLOCK = 5
"""Steps of the environment in one step of a model (the harness's own baselines: 5)."""

FPS = 20.0
"""What recordings are taken to have, so that a model of 4 pictures a second sees every `BLOCK`-th."""


@dataclass(frozen=True)
class Task:
    """One of the harness's tasks."""

    name: str
    environment: str  # its name in the harness
    spec: ActionSpec  # what a step's action is
    steps: int  # of an episode at most
    # Set-up calls by which an evaluation takes an environment to a recorded state and goal.
    callables: tuple[dict[str, Any], ...]

    def policy(self, noise: float, seed: int) -> Any:
        """The harness's own scripted policy, by which it is recorded (TwoRoom's with noise on each number)."""
        if self.name == "tworoom":
            from stable_worldmodel.envs.two_room import ExpertPolicy

            return ExpertPolicy(action_noise=noise, action_repeat_prob=0.1, seed=seed)
        from stable_worldmodel.envs.pusht import WeakPolicy

        return WeakPolicy(seed=seed)


def _call(method: str, argument: str, column: str) -> dict[str, Any]:
    return {"method": method, "args": {argument: {"value": column}}}


def _both(name: str, unit: str) -> ActionSpec:
    words = (("left", "right"), ("up", "down"))
    channels = (Channel(n, "rate", -1.0, 1.0, unit, w) for n, w in zip("xy", words, strict=True))
    return ActionSpec(name, tuple(channels))


_CALLABLES = (_call("_set_state", "state", "state"), _call("_set_goal_state", "goal_state", "goal_state"))

TASKS = {
    "tworoom": Task("tworoom", "swm/TwoRoom-v1", _both("tworoom", "of the speed"), 200, _CALLABLES),
    "pusht": Task("pusht", "swm/PushT-v1", _both("pusht", "of 100 units"), 100, _CALLABLES),
}


def find_task(name: str) -> Task:
    """A task by name.

    Raises:
        LamdemoError: there is none.
    """
    if name not in TASKS:
        raise LamdemoError(f"There is no task {name[:40]!r}; choose one of {', '.join(TASKS)}.")
    return TASKS[name]


def harness() -> Any:
    """The others' package.

    Raises:
        LamdemoError: it is not installed.
    """
    try:
        import stable_worldmodel
    except ImportError as error:
        raise LamdemoError(
            "The package stable-worldmodel is missing here; make its environment with "
            "python -m benchmarks.peers_tasks.environment FOLDER and run this with that folder's Python."
        ) from error
    return stable_worldmodel


def as_script(parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace], object]) -> int:
    """Do a script's work as its arguments say; what it refuses is told in its sentence."""
    try:
        work(parser.parse_args())
    except LamdemoError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
