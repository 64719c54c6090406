"""Real clips to judge on: which are chosen, windows of them, and which recording each is of."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lamdemo.core.errors import LamdemoError, as_text
from lamdemo.data.splits import Part, Split
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.encoding import same_encoders
from lamdemo.evaluation.prefetch import prefetch
from lamdemo.evaluation.report import describe_files
from lamdemo.evaluation.statistics import balanced
from lamdemo.video import find_videos, probe, read_clip

STEPS = 8  # of a window, which has one frame more, and one before it for `copied_flow`
WINDOWS = 2  # at most, of one clip
_PREFETCHED = 12  # windows being read while others are encoded
_SAME_RECORDING = re.compile(r"(_s\d+|_cam\d+)+$")


@dataclass(frozen=True)
class ClipSet:
    """Which clips of a folder are judged."""

    folder: Path  # of clips; its first level of folders is reported part by part
    # Which clips are for what, or a TOML file that says so; all of them are taken without it.
    split: Split | Path | None = None
    part: Part | Literal["all"] = "test"  # of the split; "all" without one, whatever is given
    max_clips: int | None = None  # at most so many clips, taken in turns from the folders
    seed: int = 0  # of the choice of clips and windows, of whatever else is drawn, and of the bootstrap

    def __post_init__(self) -> None:
        if self.split is None:
            object.__setattr__(self, "part", "all")

    @property
    def settings(self) -> dict[str, Any]:
        """What a report says of the choice."""
        return {"part": self.part, "max_clips": self.max_clips, "seed": self.seed}

    def named(self) -> dict[str, Path]:
        """All clips of the part, by their paths inside the folder.

        Raises:
            LamdemoError: there is none.
        """
        named = {as_text(p.relative_to(self.folder).as_posix()): p for p in find_videos(self.folder)}
        if self.split is not None:
            split = self.split if isinstance(self.split, Split) else Split.read(self.split)
            named = {n: named[n] for n in split.select(named, self.part)}
        if not named:
            raise LamdemoError(
                f"The folder {self.folder.name} holds no clip for the part {self.part!r}; choose another part or split."
            )
        return named

    def chosen(self) -> dict[str, Path]:
        """Those of `named` that are judged."""
        named = self.named()
        every = list(named)
        rows = balanced([group_of(n) for n in every], self.max_clips, np.random.default_rng(self.seed))
        return {every[i]: named[every[i]] for i in rows}


@dataclass(frozen=True)
class Window:
    """A stretch of a clip."""

    name: str  # the clip's path inside the folder
    recording: str  # what it counts as in the bootstrap, see `recording_of`
    group: str  # the clip's first folder
    start: float  # in seconds


def recording_of(name: str) -> str:
    """The recording a clip belongs to: its path without ending, and without a number of scene or camera.

    Files that differ in ``_s0``, ``_s1`` (scenes of one video) or ``_cam0``, ``_cam1`` (cameras of one
    trajectory) at their end are one recording.
    """
    path = PurePosixPath(name)
    return str(path.with_name(_SAME_RECORDING.sub("", path.stem) or path.stem))


def group_of(name: str) -> str:
    """The clip's first folder, "." where it lies in none."""
    return name.split("/")[0] if "/" in name else "."


def plan_windows(
    name: str, seconds: float, fps: float, seed: int, *, frames: int = STEPS + 2, most: int = WINDOWS
) -> list[Window]:
    """Choose at most ``most`` windows of ``frames`` of a clip, one in each equal part of it, that do not overlap.

    The choice depends on the seed and the clip's name alone, not on which other clips there are.
    """
    span = frames / fps
    count = min(most, int(seconds / span + 1e-6))
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    starts = [k * seconds / count + rng.uniform() * (seconds / count - span) for k in range(count)]
    return [Window(name, recording_of(name), group_of(name), max(s, 0.0)) for s in starts]


def windows_of(
    clips: Mapping[str, Path], fps: float, seed: int, *, frames: int = STEPS + 2, most: int = WINDOWS
) -> tuple[list[Window], list[dict[str, str]]]:
    """Windows of clips, see `plan_windows`, and which clips have none, and why."""
    windows: list[Window] = []
    skipped: list[dict[str, str]] = []

    def length(name: str) -> float | None:
        try:
            return probe(clips[name]).seconds
        except LamdemoError:
            return None

    for name, seconds in prefetch(length, clips, most=_PREFETCHED):
        found = [] if seconds is None else plan_windows(name, seconds, fps, seed, frames=frames, most=most)
        windows += found
        if not found:
            why = "cannot be read" if seconds is None else f"shorter than {frames / fps:g} seconds"
            skipped.append({"clip": name, "why": why})
    return windows, skipped


def read_windows(
    folder: Path,
    windows: Sequence[Window],
    pipeline: TransferPipeline,
    skipped: list[dict[str, str]],
    *,
    frames: int = STEPS + 2,
) -> Iterator[tuple[Window, np.ndarray]]:
    """Windows and their frames ``[frames, H, W, 3]``, prefetched; what fails is added to ``skipped``."""
    side = pipeline.model.config.encoder.picture

    def one(window: Window) -> np.ndarray | str:
        try:
            read = read_clip(
                folder / window.name,
                fps=pipeline.fps,
                start=window.start,
                max_frames=frames,
                size=(side, side),
            ).frames
        except LamdemoError:
            return "cannot be read"
        return read if len(read) == frames else "ends before it says"

    found = prefetch(one, windows, most=_PREFETCHED)
    for window, read in tqdm(found, total=len(windows), desc="encoding", disable=None):
        if isinstance(read, str):
            skipped.append({"clip": window.name, "why": read})
        else:
            yield window, read


def describe_windows(folder: Path, windows: Sequence[Window], skipped: list[dict[str, str]]) -> dict[str, Any]:
    """What was judged, for a report: the clips, see `describe_files`, how many there are, and what was left out."""
    return {
        **describe_files(folder, sorted({w.name for w in windows})),
        "recordings": len({w.recording for w in windows}),
        "windows": len(windows),
        "skipped": skipped,
    }


def check_recordings(folder: Path, windows: Sequence[Window], fps: float, least: Literal[2, 5] = 2) -> None:
    """See that windows are of enough recordings to be compared.

    Raises:
        LamdemoError: they are of fewer than ``least``.
    """
    if len({w.recording for w in windows}) < least:
        fewest, more = {2: ("two", "two"), 5: ("five", "more")}[least]
        raise LamdemoError(
            f"Of {folder.name} fewer than {fewest} recordings can be used; give {more} clips of "
            f"{(STEPS + 2) / fps:g} seconds or more."
        )


def judge_windows(
    pipelines: Mapping[str, TransferPipeline],
    clips: ClipSet,
    evaluation: str,
    judge: Callable[[str, Tensor, list[Window]], dict[str, Any]],
    *,
    samples: int,
    least: Literal[2, 5] = 2,
) -> dict[str, dict[str, Any]]:
    """Judge pipelines by the states of windows of clips, which those with the same encoder share.

    Args:
        pipelines: by name.
        clips: to judge on.
        evaluation: what it is called in reports.
        judge: figures of a pipeline by its name, given states ``[w, T, N, D]`` on the CPU, and the windows.
        samples: for reports.
        least: recordings, see `check_recordings`.

    Returns:
        By name the figures, with what they were measured on.
    """
    chosen = clips.chosen()
    results: dict[str, dict[str, Any]] = {}
    for names in same_encoders(pipelines):
        first = pipelines[names[0]]
        windows, skipped = windows_of(chosen, first.fps, clips.seed)
        seen: list[Window] = []
        states = []
        for window, frames in read_windows(clips.folder, windows, first, skipped):
            seen.append(window)
            # The frame before the window is there for another evaluation, which takes the same windows.
            states.append(first.encode(frames[1:]).float().cpu())
        check_recordings(clips.folder, seen, first.fps, least)
        about = {
            "evaluation": evaluation,
            "settings": {**clips.settings, "fps": first.fps, "samples": samples},
            "clips": describe_windows(clips.folder, seen, skipped),
        }
        encoded = torch.stack(states)
        for name in tqdm(names, desc=f"judging {evaluation}", disable=None):
            results[name] = {**about, **judge(name, encoded, seen)}
    return {name: results[name] for name in pipelines}
