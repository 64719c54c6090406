"""Many episodes, read one at a time, whatever files they lie in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lamdemo.core.actions import ActionSpec
from lamdemo.core.errors import LamdemoError
from lamdemo.data.episodes.episode import Episode
from lamdemo.data.splits import Part, Split
from lamdemo.video import DEFAULT_LIMITS, iter_frames


@dataclass(frozen=True, eq=False)
class Table:
    """What an episode says besides its pictures."""

    actions: np.ndarray  # float32 [T - 1, A]
    fps: float  # frames a second, as recorded
    truth: Mapping[str, np.ndarray] = field(default_factory=dict)  # float32 [T, ...] each
    about: Mapping[str, Any] = field(default_factory=dict)  # where it is from


# Every so-many-th frame of an episode and the longest side wanted -> uint8 [T', H, W, 3].
Pictures = Callable[[Table, int, int | None], np.ndarray]


@dataclass(frozen=True)
class Entry:
    """An episode that was found and is not read yet."""

    name: str  # of the episode
    recording: str  # what to split by
    clip: str  # what patterns of a split are compared with: its path in the folder it is from, or its name
    table: Callable[[], Table]  # reads all but the pictures
    pictures: Pictures  # reads those


class Episodes(Sequence[Episode]):
    """Episodes of one kind of action, in the order of their files. Each is read when it is asked for."""

    def __init__(self, spec: ActionSpec, entries: Iterable[Entry], *, about: Mapping[str, Any] | None = None) -> None:
        """Args: what actions are; where the episodes lie; where they are from, as plain values."""
        self.spec, self.about = spec, dict(about or {})
        self._entries = tuple(entries)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the episodes."""
        return tuple(e.name for e in self._entries)

    @property
    def recordings(self) -> tuple[str, ...]:
        """For each episode what to split by; several may share one."""
        return tuple(e.recording for e in self._entries)

    @property
    def clips(self) -> tuple[str, ...]:
        """For each episode what patterns of a split are compared with."""
        return tuple(e.clip for e in self._entries)

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self._entries)

    def __getitem__(self, index: Any) -> Any:
        """The episode of that number, read now; the `Episodes` of a slice, which are not."""
        if isinstance(index, slice):
            return self._of(self._entries[index])
        return self.read(index)

    def __iter__(self) -> Iterator[Episode]:
        """Reads one after the other; only one is held."""
        return (self.read(i) for i in range(len(self)))

    def read(self, index: int, *, fps: float | None = None, max_side: int | None = None) -> Episode:
        """Read an episode, at once at another rate and size, which spares the memory of what is not wanted.

        Args:
            index: its number.
            fps: as of `Episode.at`; the recorded rate without it.
            max_side: longest side of the frames, which are never enlarged; their own size without it.

        Raises:
            LamdemoError: its files are missing, damaged, or differ in length.
        """
        entry = self._entries[index]
        table = entry.table()
        every = 1 if fps is None else max(1, round(table.fps / fps))
        actions = table.actions
        if every > 1:
            actions = self.spec.combine(self.spec.check(actions, f"The actions of episode {entry.name}"), every)
        return Episode(
            entry.name,
            entry.pictures(table, every, max_side),
            actions,
            table.fps / every,
            self.spec,
            {key: values[::every] for key, values in table.truth.items()},
            entry.recording,
            {**table.about, "clip": entry.clip},
        )

    def table(self, index: int) -> Table:
        """An episode's actions and truth at the recorded rate, without a look at its pictures."""
        return self._entries[index].table()

    def named(self, name: str) -> Episode:
        """Read the episode of a name.

        Raises:
            LamdemoError: there is none.
        """
        if name not in self.names:
            raise LamdemoError(f"There is no episode {name[:80]!r} among these {len(self)}; {self.names[0]} is one.")
        return self.read(self.names.index(name))

    def select(self, keep: Callable[[Entry], bool]) -> Episodes:
        """Those episodes that a function of their entries keeps."""
        return self._of(e for e in self._entries if keep(e))

    def split(self, split: Split, part: Part | Literal["all"]) -> Episodes:
        """The episodes that are for training, validation or test; all that share a recording come together.

        Raises:
            LamdemoError: the split puts episodes of one recording into several parts.
        """
        placed: dict[str, Part] = {}
        for entry in self._entries:
            where = split.part(entry.clip)
            if placed.setdefault(entry.recording, where) != where:
                raise LamdemoError(
                    f"The split puts episodes of the recording {entry.recording} into {placed[entry.recording]} and "
                    f"{where}; name all of them or none in it."
                )
        return self.select(lambda e: part == "all" or placed[e.recording] == part)

    def spread(self, count: int | None) -> Episodes:
        """At most so many episodes, spread evenly over all; all where ``count`` is None."""
        if count is None or count >= len(self):
            return self
        chosen = np.linspace(0, len(self) - 1, count).round().astype(int)
        return self._of(self._entries[i] for i in chosen)

    def _of(self, entries: Iterable[Entry]) -> Episodes:
        return Episodes(self.spec, entries, about=self.about)


def read_pictures(
    path: Path,
    name: str,
    count: int,
    every: int,
    max_side: int | None,
    *,
    start: float = 0.0,
    shared: bool = False,
    spare: int = 0,
) -> np.ndarray:
    """Every so-many-th of an episode's frames, told by counting, as times are rounded in many files.

    Args:
        path: the video.
        name: of the episode.
        count: frames that the episode has by its actions, T.
        every: 1 for all frames.
        max_side: as of `Episodes.read`.
        start: seconds in the video at which the episode begins.
        shared: other episodes follow in the video.
        spare: frames by which the video may be longer than the actions tell.

    Returns:
        uint8 ``[T', H, W, 3]``.

    Raises:
        LamdemoError: the video cannot be read, is shorter or longer than that, or too large to be held.
    """
    kept: list[np.ndarray] = []
    seen = 0
    with closing(
        iter_frames(path, start=start, max_frames=count if shared else count + spare + 1, max_side=max_side)  # type: ignore[type-var]
    ) as frames:
        for frame in frames:
            if seen % every == 0 and seen < count:
                if not kept:
                    _affordable(name, frame.nbytes * -(-count // every))
                kept.append(frame)
            seen += 1
    if not count <= seen <= count + spare:
        raise mismatch(name, f"{'more than ' if seen > count else ''}{min(seen, count + spare)}", count - 1)
    return np.stack(kept)


def mismatch(name: str, frames: int | str, actions: int) -> LamdemoError:
    """The error of an episode whose video and actions differ in length."""
    return LamdemoError(
        f"Episode {name} has {frames} frames and {actions} actions; there must be one action fewer than frames."
    )


def _affordable(name: str, size: int) -> None:
    if size > DEFAULT_LIMITS.max_bytes:
        raise LamdemoError(
            f"Episode {name} takes {size / 2**30:.1f} GiB of memory; read it at a lower rate or a smaller size."
        )


def plain_name(text: str) -> str:
    """A name that an episode may have, made of any text."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")[:120] or "episode"
