"""Held-out episodes with known actions, cut into stretches: of recordings, or of simulators as they run.

Recordings of the shared kind are chosen by the split's file; simulators are recorded on the fly from seeds that
training never uses.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from lamdemo.core.actions import ActionSpec
from lamdemo.core.errors import LamdemoError
from lamdemo.data.episodes.collection import Episodes
from lamdemo.data.episodes.episode import Episode
from lamdemo.data.episodes.files import is_folder_of_episodes
from lamdemo.data.episodes.shared import PARTS as SHARED_PARTS
from lamdemo.data.known_actions import INDEX
from lamdemo.data.splits import Part, Split
from lamdemo.evaluation.report import plain
from lamdemo.evaluation.statistics import balanced

BEFORE = 15  # commands before a stretch that are kept: with its own, the 16 that a model sees at most
RECORDED = 24  # steps of an episode that is recorded for the occasion
SIZE = (192, 192)  # of simulators' pictures, as in training


@dataclass(frozen=True, eq=False)
class Stretch:
    """A part of an episode at the model's rate."""

    name: str  # the episode's
    recording: str  # what it counts as in the bootstrap
    frames: np.ndarray  # uint8 [S + 1, side, side, 3], at the encoder's square
    actions: np.ndarray  # float32 [S, A]
    # float32 [BEFORE, A], the commands before the first frame, oldest first; the command of doing nothing where there
    # were none.
    before: np.ndarray

    def commands(self, step: int, history: int) -> np.ndarray:
        """The commands ``[C, A]`` that are known at a step: its own last, those before it first."""
        every = np.concatenate([self.before, self.actions[: step + 1]])
        return every[len(every) - history :]


@dataclass(frozen=True)
class HeldOut:
    """Episodes of one embodiment, held out."""

    name: str  # of the embodiment, such as "car"
    spec: ActionSpec  # of its actions
    recordings: tuple[str, ...]  # of each episode
    read: Callable[[int, float], Episode]  # gives an episode by its place, at about a rate
    about: dict[str, Any]  # what they are, for reports
    close: Callable[[], None] = lambda: None  # lets go of a simulator that they are recorded in


def held_out(
    name: str,
    root: Path | None,
    *,
    split: Path | None,
    part: Part | Literal["all"],
    count: int,
    first: int = 0,
) -> HeldOut | None:
    """Held-out episodes of an embodiment.

    Args:
        name: "car", "arm", a simulator's, or that of a folder in ``root``.
        root: a folder of shared data (with an index), or one that holds a folder of episodes for each embodiment.
        split: TOML file of which recordings are for what; needed for recordings unless ``part`` is "all".
        part: of the split, or of a simulator's seeds.
        count: episodes that a simulator records.
        first: of the simulator's scenes of that part.

    Returns:
        The episodes; None where there are neither recordings nor a simulator of that name.

    Raises:
        LamdemoError: there is none in that part, or the simulator is not installed.
    """
    from lamdemo import simulators

    if name in simulators.names():
        return _recorded(name, part, first, count)
    folder = _folder_of(name, root)
    if folder is None:
        return None
    from lamdemo.data.episodes.opening import open_episodes

    found = open_episodes(folder, part=name if (folder / INDEX).is_file() else None)
    return of_episodes(name, found, split, part)


def of_episodes(name: str, found: Episodes, split: Path | None, part: Part | Literal["all"]) -> HeldOut:
    """The part of recorded episodes that is judged; all of them without a split.

    Raises:
        LamdemoError: there is none.
    """
    chosen = found if split is None else found.split(Split.read(split), part)
    if not len(chosen):
        raise LamdemoError(f"There is no episode of {name} in the part {part}; choose another part or split.")
    about = {"episodes": len(chosen), "part": "all" if split is None else part, **plain(found.about)}

    def read(place: int, fps: float) -> Episode:
        return chosen.read(place, fps=fps)

    return HeldOut(name, chosen.spec, chosen.recordings, read, about)


def _folder_of(name: str, root: Path | None) -> Path | None:
    if root is None:
        return None
    if is_folder_of_episodes(root / name):
        return root / name
    return root if (root / INDEX).is_file() and name in SHARED_PARTS else None


def _recorded(name: str, part: Part | Literal["all"], first: int, count: int) -> HeldOut:
    """Episodes of a simulator, recorded when they are read."""
    from lamdemo.simulators import make
    from lamdemo.simulators.recording import record, seeds

    chosen: Part = "test" if part == "all" else part
    numbers = list(seeds(chosen)[first : first + count])
    sim = make(name, size=SIZE, seed=numbers[0])

    def read(place: int, fps: float) -> Episode:
        return record(sim, "mixed", RECORDED, numbers[place]).at(fps)

    about = {"simulator": name, "part": chosen, "seeds": [numbers[0], numbers[-1]], "steps": RECORDED}
    return HeldOut(name, sim.spec, tuple(f"{name}-{n}" for n in numbers), read, about, sim.close)


def stretches(of: HeldOut, fps: float, steps: int, count: int, seed: int, side: int) -> Iterator[Stretch]:
    """Cut ``count`` stretches, taking turns between recordings; episodes are read one by one.

    Args:
        of: the episodes.
        fps: rate of the stretches.
        steps: S, of each.
        count: how many at most; several of one episode only where there are fewer episodes.
        seed: of the choice.
        side: of the pictures, which are squeezed into a square as the encoder does.

    Yields:
        Stretches that do not overlap; episodes that are too short give none.
    """
    rng = np.random.default_rng(seed)
    chosen = balanced(of.recordings, count, rng)
    each, more = divmod(count, len(chosen))
    # Those that give one more are spread over the recordings.
    extra = set(rng.permutation(len(chosen))[:more].tolist())
    for place, index in enumerate(chosen):
        episode = of.read(index, fps)
        length = len(episode.actions)
        most = min(each + (place in extra), length // steps)
        own = np.random.default_rng([seed, zlib.crc32(episode.name.encode())])
        for k in range(most):
            room = length / most - steps
            start = int(k * length / most + own.uniform() * max(room, 0))
            yield _cut(episode, min(start, length - steps), steps, side)


def _cut(episode: Episode, start: int, steps: int, side: int) -> Stretch:
    none = np.repeat(episode.spec.zero[None], BEFORE, 0)
    before = np.concatenate([none, episode.actions[:start]])[-BEFORE:]
    shrinks = min(episode.frames.shape[1:3]) > side
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    shown = episode.frames[start : start + steps + 1]
    frames = [cv2.resize(f, (side, side), interpolation=how) for f in shown]
    return Stretch(
        episode.name,
        episode.recording,
        np.stack(frames),
        episode.actions[start : start + steps],
        before,
    )


def summed(spec: ActionSpec, actions: np.ndarray) -> np.ndarray:
    """What commands ``[..., S, A]`` amount to over their steps, ``[..., A]``: sums, and the last of a target."""
    total = np.asarray(actions, np.float64).sum(-2)
    for i, channel in enumerate(spec.channels):
        if channel.kind == "target":
            total[..., i] = actions[..., -1, i]
    return total
