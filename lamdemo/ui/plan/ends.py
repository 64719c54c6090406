"""Where a plan starts and where it shall end: two frames of a clip or an episode, or a task of a simulator."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.ui.inputs import LIMITS, reading
from lamdemo.ui.work import MOST_STEPS
from lamdemo.video import read_clip, read_image

if TYPE_CHECKING:
    from lamdemo.core.actions import ActionSpec
    from lamdemo.simulators import Simulator
    from lamdemo.simulators.pool import SimulatorPool
    from lamdemo.simulators.tasks import Task

SIDE = 480  # longest side in pixels: the model sees a square of 256, and what is drawn is shown small
OWN = "own"  # key of a visitor's own clip
STEPS = 3  # from start to goal at first, the paper's horizon
MOST_APART = 8  # steps from start to goal that a search can bridge
TASKS = 10_000  # first seed of the scenes that no controller was trained on, and how many tasks there are


@dataclass(frozen=True, eq=False)
class Footage:
    """A clip at the model's pace, with its known actions where there are some."""

    key: str  # by which it is chosen
    title: str  # how people call it
    frames: np.ndarray  # uint8 [T, H, W, 3], two or more
    fps: float  # frames a second
    actions: np.ndarray | None = None  # float32 [T - 1, A]; None of a clip that comes without
    spec: ActionSpec | None = None  # what they mean


@dataclass(frozen=True)
class Origin:
    """Where start and goal are from, if everybody who has this page can have them too."""

    footage: str = ""  # key of a bundled clip or episode, or
    simulator: str = ""  # name of the simulator whose task it is
    first: int = 0  # frame of the start, from 1; of a simulator the task's number
    last: int = 0  # frame of the goal; of a simulator the steps from one to the other


@dataclass(frozen=True, eq=False)
class Ends:
    """What a way is searched between."""

    start: np.ndarray  # uint8 [H, W, 3]
    goal: np.ndarray  # uint8 [H', W', 3]
    # What really happened, [S + 1, H, W, 3] with start and goal; None where that is not known.
    frames: np.ndarray | None = None
    actions: np.ndarray | None = None  # what was really done, float32 [S, A]; None where that is not known
    before: np.ndarray | None = None  # what was done before the start, [R, A]; None where that is not known
    spec: ActionSpec | None = None  # of both
    simulator: str = ""  # in which it can be carried out; empty for none
    seed: int = 0  # of the task there
    task: Task | None = None  # the task itself
    origin: Origin | None = None  # None where a picture or a clip is the visitor's own


class Library:
    """Clips and episodes that can be chosen; the last few that were read stay at hand.

    Args:
        folder: of the examples: ``clips`` and ``episodes/NAME`` are in it.
        keep: how many stay.
    """

    def __init__(self, folder: Path, keep: int = 4) -> None:
        self.folder, self._keep = folder, keep
        self._read: OrderedDict[tuple[str, str, float], Footage] = OrderedDict()
        self._lock = threading.Lock()

    def choices(self) -> list[tuple[str, str]]:
        """Titles and keys: episodes with known actions first, then the bundled clips."""
        from lamdemo.data.episodes.opening import open_episodes

        found = []
        # Backwards, since an arm over a table shows sooner than a room what a plan is.
        for index in sorted((self.folder / "episodes").glob("*/episodes.json"), reverse=True):
            place = index.parent
            try:
                names = open_episodes(place).names
            except LamdemoError:
                continue  # a damaged folder is no reason for the page not to open
            found += [
                (f"{place.name}: {_worded(name)} (actions known)", f"episode:{place.name}/{name}") for name in names
            ]
        clips = sorted((self.folder / "clips").glob("*.mp4"))
        return found + [(_worded(clip.stem), f"clip:{clip.name}") for clip in clips]

    def get(self, key: str | None, fps: float, own: str | None = None) -> Footage:
        """What a key stands for.

        Args:
            key: of `choices`, or `OWN`.
            fps: frames a second wanted.
            own: a visitor's own file.

        Raises:
            LamdemoError: there is none, it cannot be read, or it is too short.
        """
        if not key or (key == OWN and not own):
            raise LamdemoError("There is no clip yet; choose one of the list or upload one of yours.")
        which = (key, own if key == OWN and own else "", fps)
        with self._lock:
            found = self._read.get(which)
        found = found or self._open(key, fps, own)  # two who ask at once read it twice: nobody waits for the other
        with self._lock:
            self._read[which] = found
            self._read.move_to_end(which)
            while len(self._read) > self._keep:
                self._read.popitem(last=False)
        return found

    def _open(self, key: str, fps: float, own: str | None) -> Footage:
        kind, _, rest = key.partition(":")
        if key == OWN:
            assert own
            return self._clip(key, Path(own), fps)
        # Only what is offered: a browser can send any key.
        title = dict((k, t) for t, k in self.choices()).get(key)
        if title is None:
            raise LamdemoError("This clip is no longer offered; choose one of the list.")
        if kind == "clip":
            return self._clip(key, self.folder / "clips" / rest, fps)
        from lamdemo.data.episodes.opening import open_episodes

        place, _, name = rest.partition("/")
        episodes = open_episodes(self.folder / "episodes" / place)
        episode = episodes[list(episodes.names).index(name)].at(fps)
        if len(episode) < 2:
            raise LamdemoError(f"The episode {name} is shorter than one step of {1 / fps:g} seconds; choose another.")
        return Footage(key, title, episode.frames, episode.fps, episode.actions, episode.spec)

    def _clip(self, key: str, path: Path, fps: float) -> Footage:
        if not path.exists():
            raise LamdemoError("The clip was removed from the server after an hour; upload it again.")
        with reading():
            frames = read_clip(path, fps=fps, max_frames=MOST_STEPS + 1, max_side=SIDE, limits=LIMITS).frames
        if len(frames) < 2:
            raise LamdemoError(
                f"The clip has less than one step of {1 / fps:g} seconds, and start and goal are two frames of it; "
                "give a longer one."
            )
        return Footage(key, _worded(path.stem), frames, fps)


def between(footage: Footage, start: int, goal: int, picture: np.ndarray | None = None) -> Ends:
    """Start and goal in a clip.

    Args:
        footage: the clip.
        start: frame, from 0; one that is not there becomes the nearest.
        goal: frame, likewise. It may lie before the start; then nobody knows what leads there.
        picture: another goal, ``[H', W', 3]``.
    """
    last = len(footage.frames) - 1
    start, goal = min(max(start, 0), last), min(max(goal, 0), last)
    before = None if footage.actions is None else footage.actions[:start]
    if picture is not None:
        return Ends(footage.frames[start], picture, before=before, spec=footage.spec)
    origin = None if footage.key == OWN else Origin(footage=footage.key, first=start + 1, last=goal + 1)
    ends = Ends(footage.frames[start], footage.frames[goal], before=before, spec=footage.spec, origin=origin)
    if goal <= start:
        return ends
    actions = None if footage.actions is None else footage.actions[start:goal]
    return replace(ends, frames=footage.frames[start : goal + 1], actions=actions)


def own_goal(path: str) -> np.ndarray:
    """A visitor's picture of the goal, uint8 ``[H, W, 3]``.

    Raises:
        LamdemoError: it cannot be read.
    """
    with reading():
        return read_image(path, max_side=SIDE, limits=LIMITS)


_TITLES = {"doom": "doom: walk in a room", "fetch": "fetch: move a gripper"}


def task_choices(simulators: SimulatorPool) -> list[tuple[str, str]]:
    """Titles and names of the simulators that are installed."""
    return [(_TITLES.get(name, name), name) for name in simulators.names()]


def of_task(simulators: SimulatorPool, name: str, seed: int, steps: int) -> Ends:
    """Start and goal of a simulator's task.

    Args:
        simulators: those at hand.
        name: of the simulator.
        seed: of the task: its scene, its start and its goal.
        steps: that lead from one to the other.

    Raises:
        LamdemoError: there is no such simulator, or the seed is none.
    """
    from lamdemo.simulators.tasks import make_task

    def work(simulator: Simulator) -> Ends:
        task = make_task(simulator, seed, steps=steps)
        seen = [task.start_frame, *(simulator.step(action).frame for action in task.actions)]
        ends = Ends(task.start_frame, task.goal_frame, np.stack(seen), task.actions, None, simulator.spec, name, seed)
        return replace(ends, task=task, origin=Origin(simulator=name, first=seed - TASKS, last=steps))

    return simulators.using(name, work)


def _worded(stem: str) -> str:
    return stem.replace("_", " ").replace("-", " ")
