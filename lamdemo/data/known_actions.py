"""Known actions of clips: commands of a car, changes of a robot's pose, as an index beside the clips names them.

The index is a file ``INDEX.tsv`` in the videos' folder: a row a clip, tab-separated, with a header. Its columns
``file`` and ``actions`` (an ``.npz`` beside, may be empty) are what is read here; both are paths in that folder.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from lamdemo.core.arrays import read_arrays
from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import UNREADABLE

INDEX = "INDEX.tsv"
POSE = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
_ANGLES = slice(3, 6)
_CAMERA = re.compile(r"_(cam\d+)$")


@dataclass(frozen=True)
class KnownActions:
    """What was done in a clip, frame by frame."""

    clip: str  # the clip's path in the folder, with forward slashes
    names: tuple[str, ...]  # what the columns are, A of them
    rows: np.ndarray  # float64 [F - 1, A]; row k is what was done from frame k to frame k + 1, as z[k] is
    # Rows are changes, which add up over several frames; otherwise they are commands, of which the mean is taken.
    adds: bool

    def over(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """What was done between places in the clip, in frames; parts of a frame count in proportion.

        Args:
            starts: ``[S]``.
            ends: ``[S]``, above ``starts``.

        Returns:
            ``[S, A]``: the sum of changes, or the mean of commands; NaN where nothing is known of some of it.
        """
        starts, ends = np.asarray(starts, np.float64), np.asarray(ends, np.float64)
        if (ends <= starts).any():
            raise ValueError("actions are taken from a frame to a later one")
        count = len(self.rows)
        total = np.concatenate([np.zeros((1, len(self.names))), np.cumsum(self.rows, 0)])
        at = np.arange(count + 1)
        until = np.stack([[np.interp(places, at, c) for c in total.T] for places in (starts, ends)])
        done = (until[1] - until[0]).T
        if not self.adds:
            done = done / (ends - starts)[:, None]
        done[(starts < 0) | (ends > count)] = np.nan
        return done

    def aligned(self, frames: np.ndarray) -> np.ndarray:
        """Actions ``[T - 1, A]`` between the frames at places ``[T]``: row t belongs to z[t]. See `over`."""
        return self.over(np.asarray(frames)[:-1], np.asarray(frames)[1:])


@dataclass(frozen=True)
class IndexedClip:
    """A clip of the index that has known actions."""

    clip: str  # its path in the folder, with forward slashes
    actions: str  # path of its `.npz` in the folder
    group: str  # what can be probed together: the clip's folder, and its camera where there are several


def read_index(folder: str | Path) -> list[dict[str, str]]:
    """The rows of a folder's index, by column; none where it has no index.

    Raises:
        LamdemoError: the index cannot be read as one, or names a file outside of the folder.
    """
    folder = Path(folder)
    if not (folder / INDEX).is_file():
        return []
    try:
        with open(folder / INDEX, encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows, columns = list(table), table.fieldnames or []
    except (OSError, ValueError, csv.Error) as error:
        raise LamdemoError(f"{INDEX} of {folder.name} cannot be read; mend or remove it.") from error
    if not {"file", "actions"} <= set(columns):
        raise LamdemoError(f"{INDEX} of {folder.name} lacks the column file or actions; add it or remove the index.")
    for row in rows:
        if row["file"] and row["actions"]:
            paths = PurePosixPath(row["file"]), PurePosixPath(row["actions"])
            if any(p.is_absolute() or ".." in p.parts for p in paths):
                raise LamdemoError(f"{INDEX} of {folder.name} names a file outside of the folder; mend it.")
    return rows


def camera_of(clip: str) -> str:
    """The camera in a clip's name, "cam0" of ``a_cam0.mp4``; empty where there is one only."""
    found = _CAMERA.search(PurePosixPath(clip).stem)
    return found[1] if found else ""


def find_known_actions(folder: str | Path) -> list[IndexedClip]:
    """Clips with known actions, by the folder's index; none where it has no index. Sorted by path.

    Raises:
        LamdemoError: the index cannot be read as one, or names a file outside of the folder.
    """
    found = []
    for row in read_index(folder):
        clip, actions = row["file"], row["actions"]
        if not clip or not actions:
            continue
        camera = camera_of(clip)
        group = (PurePosixPath(clip).parent.name or Path(folder).name) + (f"_{camera}" if camera else "")
        found.append(IndexedClip(clip, actions, group))
    return sorted(found, key=lambda c: c.clip)


def read_known_actions(folder: str | Path, clip: IndexedClip) -> KnownActions:
    """Read what was done in a clip.

    The file holds ``actions`` ``[F, A]`` with ``names`` that begin with "steering", row k of which is the command
    from frame k to frame k + 1; or ``states`` ``[F, P]``, row k at frame k, of which the changes are taken.
    States of seven are a hand's place, angles (radians, whose changes are taken the short way round) and
    gripper.

    Raises:
        LamdemoError: the file is missing, damaged or holds neither.
    """
    file = Path(folder) / clip.actions
    try:
        data = read_arrays(file, ("names", "actions", "states"), finite=False)
        names = tuple(str(n) for n in data["names"]) if "names" in data else ()
        commands = names[:1] == ("steering",)
        table = np.asarray(data["actions" if commands else "states"], np.float64)
    except UNREADABLE as error:
        raise LamdemoError(
            f"{file.name}, the actions of {Path(clip.clip).name}, cannot be read; mend it or its row in {INDEX}."
        ) from error
    if table.ndim != 2 or len(table) < 2 or not np.isfinite(table).all() or (names and len(names) != table.shape[1]):
        raise LamdemoError(f"{file.name} holds no table of numbers, a row a frame; mend it or its row in {INDEX}.")
    if commands:
        return KnownActions(clip.clip, names, table[:-1], adds=False)
    changes = np.diff(table, axis=0)
    if not names and table.shape[1] == len(POSE):
        names = POSE
        changes[:, _ANGLES] = (changes[:, _ANGLES] + np.pi) % (2 * np.pi) - np.pi
    return KnownActions(clip.clip, names or tuple(f"state_{i}" for i in range(table.shape[1])), changes, adds=True)
