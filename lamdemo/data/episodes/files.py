"""Our own files: a folder with ``episodes.json`` and, for each episode, a video and its numbers.

``episodes.json`` holds ``{"format": "lamdemo-episodes/1", "spec": ..., "about": ...}``. An episode NAME is
``NAME.mp4`` (H.264, one frame a step) and ``NAME.npz`` with

- ``actions`` float32 ``[T - 1, A]``, ``fps``, ``recording``, ``size`` (height and width, for a video has even sides),
- ``truth.KEY`` float32 ``[T, ...]`` for each true state,
- ``about``: JSON text, in which ``clip`` is what patterns of a split are compared with.

The ``.npz`` is written last, so that a video without one is of an episode that was cut short.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lamdemo.core.actions import ActionSpec
from lamdemo.core.arrays import read_arrays
from lamdemo.core.errors import LamdemoError, reason
from lamdemo.core.files import UNREADABLE, write_safely
from lamdemo.data.episodes.collection import Entry, Episodes, Table, read_pictures
from lamdemo.data.episodes.episode import Episode
from lamdemo.video import write_video

CONFIG_NAME = "episodes.json"
FORMAT = "lamdemo-episodes/1"
_TRUTH = "truth."
_CRF = 18  # x264's constant rate factor, hard to tell from the frames


class EpisodeWriter:
    """Writes episodes into a folder, to which a later writer may add more.

    Several processes may write to one folder, each its own names.
    """

    def __init__(self, folder: str | Path, spec: ActionSpec, about: Mapping[str, Any] | None = None) -> None:
        """Make the folder and its description, or take up those that are there.

        Args:
            folder: where to.
            spec: what the actions are.
            about: where the episodes are from, as plain values that JSON holds.

        Raises:
            LamdemoError: the folder cannot be written, or holds episodes of other actions.
        """
        self.folder, self.spec = Path(folder), spec
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if (self.folder / CONFIG_NAME).exists():
                there = _read_config(self.folder)[0]
                if there != spec:
                    raise LamdemoError(
                        f"{self.folder.name} holds episodes of other actions ({there.name}: {', '.join(there.names)}); "
                        "choose another folder."
                    )
            else:
                config = {"format": FORMAT, "spec": spec.to_json(), "about": dict(about or {})}
                write_safely(self.folder / CONFIG_NAME, (json.dumps(config, indent=1) + "\n").encode())
        except OSError as error:
            raise LamdemoError(
                f"{self.folder.name} cannot be written: {reason(error)}; choose another place."
            ) from error

    @property
    def names(self) -> set[str]:
        """Names of the episodes that are there whole."""
        return {p.stem for p in self.folder.glob("*.npz") if p.with_suffix(".mp4").exists()}

    def add(self, episode: Episode) -> None:
        """Write an episode; one of its name is replaced.

        Raises:
            LamdemoError: its actions are others than the folder's, or the folder cannot be written.
        """
        if episode.spec != self.spec:
            raise LamdemoError(f"Episode {episode.name} has actions of {episode.spec.name}, not of {self.spec.name}.")
        numbers = self.folder / f"{episode.name}.npz"
        arrays: dict[str, Any] = {
            "actions": episode.actions,
            "fps": np.float64(episode.fps),
            "size": np.array(episode.frames.shape[1:3]),
            "recording": np.array(episode.recording),
            "about": np.array(json.dumps(dict(episode.about))),
            **{_TRUTH + key: values for key, values in episode.truth.items()},
        }
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)
        video = numbers.with_suffix(".mp4")
        try:
            # An episode that is replaced is none in between: its old numbers would go with a new video.
            numbers.unlink(missing_ok=True)
            write_video(video, episode.frames, episode.fps, crf=_CRF, preset="fast")
            write_safely(numbers, stream.getvalue())
        except OSError as error:
            raise LamdemoError(f"{numbers.name} cannot be written: {reason(error)}; free some space.") from error
        finally:
            if not numbers.exists():
                video.unlink(missing_ok=True)


def open_folder(folder: str | Path) -> Episodes:
    """The episodes of a folder that an `EpisodeWriter` wrote, by name.

    Raises:
        LamdemoError: it is no such folder, is damaged, or holds no episode.
    """
    folder = Path(folder)
    spec, about = _read_config(folder)
    entries = []
    for path in sorted(folder.glob("*.npz")):
        if not path.with_suffix(".mp4").exists():
            raise LamdemoError(f"The video of episode {path.stem} is missing; put it back or remove {path.name} too.")
        with _reading(path):
            data = read_arrays(path, ("recording", "about"))
            recording, told = str(data["recording"]), json.loads(str(data["about"]))
        entries.append(_entry(path, spec, recording, str(told.get("clip") or path.stem)))
    if not entries:
        raise LamdemoError(f"{folder.name} holds no episode yet; record or convert some into it.")
    return Episodes(spec, entries, about=about)


def is_folder_of_episodes(folder: Path) -> bool:
    """Whether a folder looks like one of ours."""
    return (folder / CONFIG_NAME).is_file()


def _entry(path: Path, spec: ActionSpec, recording: str, clip: str) -> Entry:
    def table() -> Table:
        with _reading(path):
            data = read_arrays(path, finite=False)
            truth = {k[len(_TRUTH) :]: array for k, array in data.items() if k.startswith(_TRUTH)}
            actions = np.zeros((0, spec.width), np.float32)
            if len(data["actions"]):
                actions = spec.check(data["actions"], f"The actions of episode {path.stem}")
            fps = float(data["fps"])
            if not 0 < fps < math.inf:
                raise ValueError("no rate")
            return Table(actions, fps, truth, json.loads(str(data["about"])))

    def pictures(table: Table, every: int, max_side: int | None) -> np.ndarray:
        frames = read_pictures(path.with_suffix(".mp4"), path.stem, len(table.actions) + 1, every, max_side)
        if max_side is None:
            with _reading(path):
                height, width = (int(n) for n in read_arrays(path, ("size",))["size"])
            frames = frames[:, :height, :width]
        return frames

    return Entry(path.stem, recording, clip, table, pictures)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever is wrong with an ``.npz`` that is read within becomes one sentence."""
    try:
        yield
    except UNREADABLE as error:
        raise LamdemoError(
            f"{path.name} cannot be read as the numbers of an episode; remove or record it again."
        ) from error


def _read_config(folder: Path) -> tuple[ActionSpec, dict[str, Any]]:
    try:
        config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8-sig"))
        if config["format"] != FORMAT:
            raise LamdemoError(
                f"The episodes in {folder.name} are of format {str(config['format'])[:40]!r}; this version of lamdemo "
                f"reads {FORMAT}."
            )
        return ActionSpec.from_json(config["spec"]), dict(config.get("about") or {})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LamdemoError(
            f"{CONFIG_NAME} of {folder.name} is missing or damaged; put it back or record anew."
        ) from error
