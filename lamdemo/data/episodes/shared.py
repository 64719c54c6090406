"""Episodes of a folder of clips whose index names their actions: cars, arms and a humanoid.

What the actions mean, and where the pictures show it (measured by the flow between frames k and k + 1):

- **car**: steering and throttle, the mean command from frame k to k + 1, at 8 frames a second. The picture turns
  one to two frames later (correlation of steering with the mean sideways flow: -0.40 at once, -0.64 one frame
  later, -0.61 two frames later, -0.43 three), so a car needs the commands before as well.
- **arm**: the change of the hand's pose from frame k to k + 1, of the states that were measured at both; the
  correlation of the way with the flow is the highest without any shift (0.91 in the clips at 4 frames a second,
  0.55 in those at 5). The commands that were sent are known for some clips only, so that the states are what all
  have. The gripper is a change too and no target: so no action at all leaves it as it is, sums of plans mean
  something for all seven numbers, and clips with states only need nothing else. In most clips at 4 frames a second
  the arm moves in bursts, the first of every four steps two to five times as far as the others; the pictures show it
  too, so that it is what happened and no fault of the times.
- **humanoid**: where 26 joints are sent to, at 7.5 frames a second. The target of frame k is where the arms' joints
  are at frame k + 1 (0.012 rad apart, the least of any shift), so it is what takes frame k to k + 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.core.arrays import read_arrays
from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import UNREADABLE
from lamdemo.data.episodes.collection import Entry, Episodes, Table, plain_name, read_pictures
from lamdemo.data.known_actions import INDEX, IndexedClip, camera_of, find_known_actions, read_index, read_known_actions
from lamdemo.video import probe

CAR = ActionSpec(
    "car",
    (
        Channel("steering", "rate", -1, 1, words=("left", "right"), mirror=-1),
        Channel("throttle", "rate", -1, 1, words=("back", "forward"), mirror=1),
    ),
)
# The limits hold all but a few changes in a thousand of the recorded ones, at 4 and 5 frames a second. The robot's
# axes lie anyhow in its cameras' pictures, so what a flipped picture would show is not known.
ARM = ActionSpec(
    "arm",
    (
        Channel("dx", "change", -0.08, 0.08, "m", ("back", "forward")),
        Channel("dy", "change", -0.08, 0.08, "m", ("right", "left")),
        Channel("dz", "change", -0.08, 0.08, "m", ("down", "up")),
        Channel("droll", "change", -0.2, 0.2, "rad", ("roll -", "roll +")),
        Channel("dpitch", "change", -0.2, 0.2, "rad", ("pitch -", "pitch +")),
        Channel("dyaw", "change", -0.2, 0.2, "rad", ("yaw -", "yaw +")),
        Channel("dgripper", "change", -0.3, 0.3, "", ("open", "close")),
    ),
)
PARTS = ("car", "arm", "humanoid")


def open_shared(folder: str | Path, part: str, *, cameras: Sequence[str] | None = None) -> Episodes:
    """The episodes of one part of a folder with an index of known actions, by path.

    Clips of the folder ``nav`` are of cars, those of ``robot/g1_lerobot`` of the humanoid, other ones in ``robot`` of
    arms. All cameras of a run (``..._cam0.mp4``, ``..._cam1.mp4``) share its recording.

    Args:
        folder: where ``INDEX.tsv`` lies.
        part: "car", "arm" or "humanoid".
        cameras: of several cameras only these: "cam0", "cam1".

    Raises:
        LamdemoError: there is no such part or camera, or the index is damaged.
    """
    folder = Path(folder)
    if part not in PARTS:
        raise LamdemoError(f"There is no part {part[:40]!r}; the parts with known actions are {', '.join(PARTS)}.")
    rows = {row["file"]: row for row in read_index(folder)}
    clips = [c for c in find_known_actions(folder) if _part_of(c.clip) == part]
    if not clips:
        raise LamdemoError(f"{INDEX} of {folder.name} names no clip of the part {part} with actions; choose another.")
    known = sorted({found for c in clips if (found := camera_of(c.clip))})
    if cameras is not None:
        for camera in cameras:
            if camera not in known:
                has = f"it has {', '.join(known)}" if known else "it has one only"
                raise LamdemoError(f"The part {part} has no camera {camera[:40]!r}; {has}.")
        clips = [c for c in clips if camera_of(c.clip) in cameras]
    readers: dict[str, Callable[..., Table]] = {"car": _car, "arm": _arm, "humanoid": _humanoid}
    spec = {"car": CAR, "arm": ARM}.get(part) or _joints(folder, clips[0].actions)

    entries = []
    for clip in clips:
        row = rows[clip.clip]
        about = {k: row[k] for k in ("source", "licence", "content") if row.get(k)}
        stem = PurePosixPath(clip.clip).stem
        # Some clips of arms show one frame more than there are states.
        spare = 1 if part == "arm" else 0

        def table(clip: IndexedClip = clip, about: dict[str, str] = about, row: dict[str, str] = row) -> Table:
            try:
                fps = float(row.get("fps") or 0) or probe(folder / clip.clip).fps
            except ValueError as error:
                raise LamdemoError(f"{INDEX} of {folder.name} has a rate that is no number; mend it.") from error
            return replace(readers[part](folder, clip, fps), about=about)

        def pictures(
            table: Table, every: int, max_side: int | None, path: Path = folder / clip.clip, spare: int = spare
        ) -> np.ndarray:
            return read_pictures(path, plain_name(path.stem), len(table.actions) + 1, every, max_side, spare=spare)

        entries.append(
            Entry(
                plain_name(stem), plain_name(stem.removesuffix(f"_{camera_of(clip.clip)}")), clip.clip, table, pictures
            )
        )
    return Episodes(spec, entries, about={"source": folder.name, "part": part})


def _part_of(clip: str) -> str:
    parents = PurePosixPath(clip).parent.parts
    if parents[:1] == ("nav",):
        return "car"
    if parents[:1] == ("robot",):
        return "humanoid" if "g1_lerobot" in parents else "arm"
    return ""


def _car(folder: Path, clip: IndexedClip, fps: float) -> Table:
    return Table(read_known_actions(folder, clip).rows.astype(np.float32), fps)


def _arm(folder: Path, clip: IndexedClip, fps: float) -> Table:
    known = read_known_actions(folder, clip)
    states = _array(folder, clip, "states")
    truth = {"position": states[:, :3], "angles": states[:, 3:6], "gripper": states[:, 6:7]}
    return Table(known.rows.astype(np.float32), fps, truth)


def _humanoid(folder: Path, clip: IndexedClip, fps: float) -> Table:
    return Table(_array(folder, clip, "actions")[:-1], fps, {"joints": _array(folder, clip, "states")})


def _array(folder: Path, clip: IndexedClip, key: str) -> np.ndarray:
    file = folder / clip.actions
    try:
        return np.asarray(read_arrays(file, (key,), finite=False)[key], np.float32)
    except UNREADABLE as error:
        raise LamdemoError(
            f"{file.name} holds no {key}, which this part needs; mend it or its row in {INDEX}."
        ) from error


def _joints(folder: Path, actions: str) -> ActionSpec:
    """Joints by the names in a file of the humanoid's actions."""
    try:
        names = [str(n) for n in read_arrays(folder / actions, ("names",))["names"]]
    except UNREADABLE as error:
        raise LamdemoError(f"{Path(actions).name} names no joints; mend it or its row in {INDEX}.") from error
    channels = []
    for name in names:
        hand = "Hand" in name
        # Fingers go from closed to open as shares; arms turn by angles.
        low, high = (0.0, 1.0) if hand else (-np.pi, np.pi)
        channels.append(Channel(_spoken(name), "target", low, high, "" if hand else "rad", ("-", "+")))
    return ActionSpec("humanoid", tuple(channels))


def _spoken(name: str) -> str:
    """``left_wrist_roll`` of ``kLeftWristRoll``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", re.sub(r"^k(?=[A-Z])", "", name)).lower()
