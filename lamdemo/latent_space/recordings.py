"""Recordings of an atlas: what a clip or a procedural scene gives, made one after another and kept as files.

Scenes take the kinds of action in turn, all but "still", whose every latent is the same zero. A step in which less
than a hundredth of the picture moves by half a pixel (at 256 across; known from how the scene was made) shows
nothing of its action and is left out, and a scene is drawn anew until half of its steps show something. Steps of
real clips are all kept.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from lamdemo.core.errors import LamdemoError
from lamdemo.data.known_actions import INDEX, IndexedClip, find_known_actions, read_known_actions
from lamdemo.data.scenes import (
    KINDS,
    Cast,
    Kind,
    Photographs,
    SceneConfig,
    Script,
    camera_velocity,
    draw_cast,
    rendered,
    true_motion,
    write_script,
)
from lamdemo.data.videos import named_photographs
from lamdemo.engine.readers import LatentReader
from lamdemo.latent_space.atlas import Recording
from lamdemo.latent_space.thumbnails import THUMB, thumbnail
from lamdemo.video import probe, read_clip

ACTIONS: tuple[Kind, ...] = tuple(k for k in KINDS if k != "still")
CAMERA = ("pan right", "pan down", "zoom in", "roll clockwise")
DRIVING = ("steering", "throttle")

_BANK = (576, 768)  # height and width of photographs in the bank
_SIDE = 256  # of scenes, in pixels
_GRID = 32  # cells a side in which a scene's motion is measured
_MOVES = 0.5 / 256  # of the picture's width, from which a place counts as moving
_LEAST = 0.01  # share of the picture that must move in a step that shows something
_TRIES = 100
_PIECE = 64  # steps of a clip that are read at once
_UNREADABLE = (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class AtlasConfig:
    """How an atlas is made."""

    fps: float | None = None  # steps a second of clips; the model's own without it
    steps: int = 256  # of each recording at most, from its beginning
    recordings: int | None = None  # clips at most, spread evenly over the folder; all without it
    drawn: int = 60  # clips at most that are shown on photographs, see `lamdemo.latent_space.drawn`
    scenes: int = 520  # how many procedural scenes
    scene_steps: int = 8  # of each scene
    seed: int = 0  # of the scenes and the UMAP layouts
    umap: bool = True  # make UMAP maps too, where umap-learn is installed
    near: int = 30  # neighbours that UMAP looks at, each latent itself among them
    min_dist: float = 0.2  # least distance on a UMAP map
    thumb: tuple[int, int] = THUMB  # width and height of thumbnails, in pixels
    quality: int = 75  # of their JPEG

    def __post_init__(self) -> None:
        fps_fits = self.fps is None or 0.1 <= self.fps <= 120
        counts_fit = self.steps >= 1 and self.drawn >= 0 and self.scenes >= 0 and self.seed >= 0
        clips_fit = self.recordings is None or self.recordings >= 1
        scene_fits = 1 <= self.scene_steps <= 64
        map_fits = self.near >= 2 and 0 <= self.min_dist < 1
        thumb_fits = all(8 <= s <= 256 for s in self.thumb) and 1 <= self.quality <= 100
        if not (fps_fits and counts_fit and clips_fit and scene_fits and map_fits and thumb_fits):
            raise LamdemoError(
                "An atlas needs a step or more of each recording, no negative number of scenes, 0.1 to 120 steps a "
                "second and thumbnails of 8 to 256 pixels; change what is out of range."
            )


@dataclass(frozen=True)
class Part:
    """What one recording gives: S steps and F thumbnails, of which the first belongs to step 0 of ``step``."""

    recording: Recording
    kind: str  # empty where it is not known
    z: np.ndarray  # float16 [S, Z]
    step: np.ndarray  # int32 [S]
    thumbs: np.ndarray  # uint8 [F, h, w, 3], from the first step's first frame to the last one's second
    known: dict[str, np.ndarray]  # float32 [S] each

    def to_bytes(self) -> bytes:
        """For `read`."""
        stream = io.BytesIO()
        about = {"recording": asdict(self.recording), "kind": self.kind, "known": list(self.known)}
        known = np.array(list(self.known.values()), np.float32).reshape(len(self.known), len(self.z))
        np.savez_compressed(
            stream, z=self.z, step=self.step, thumbs=self.thumbs, known=known, about=np.str_(json.dumps(about))
        )
        return stream.getvalue()

    @classmethod
    def read(cls, path: Path) -> Part | None:
        """A part as it was kept; None where there is none that can be read."""
        try:
            with np.load(path, allow_pickle=False) as data:
                about = json.loads(str(data["about"]))
                known = dict(zip(about["known"], data["known"], strict=True))
                recording = Recording(**about["recording"])
                return cls(recording, about["kind"], data["z"], data["step"], data["thumbs"], known)
        except _UNREADABLE:
            return None


@dataclass(frozen=True)
class Job:
    """A recording to be made: the file of its part, its name, and what makes it."""

    file: str
    name: str
    make: Callable[[], Part]


def plain(text: str) -> str:
    """Text for the file: printable, and not too long."""
    return "".join(c if c.isprintable() else "?" for c in text)[:400]


def file_state(path: Path) -> tuple[int, int]:
    """Size and time of change of a file; zeros for a link to nowhere, which is told of when it is read."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


# Clips.


def part_file(kind: str, name: str, path: Path) -> str:
    """Name of the file of what a clip, as it is now, gives."""
    key = hashlib.sha256(json.dumps([name, *file_state(path)]).encode()).hexdigest()[:24]
    return f"{kind}_{key}.npz"


def clip_jobs(
    reader: LatentReader,
    folder: Path,
    paths: list[Path],
    fps: float,
    config: AtlasConfig,
    say: Callable[[str], object],
) -> list[Job]:
    """What makes a part of each clip of a folder; ``say`` is told of known actions that cannot be read."""
    indexed = {c.clip: c for c in find_known_actions(folder)}
    credits = read_credits(folder)
    jobs = []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        part = name.split("/")[0] if "/" in name else "clips"
        recording = Recording(plain(name), plain(part), credits.get(name, ""), fps)

        def make(path: Path = path, recording: Recording = recording, name: str = name) -> Part:
            return _clip(reader, path, recording, folder, indexed.get(name), config, say)

        jobs.append(Job(part_file("clip", name, path), path.name, make))
    return jobs


def read_credits(folder: Path) -> dict[str, str]:
    """Whose works the files of a folder are, by their paths in it; nothing where nobody says.

    From ``assets.json`` (rows with file, title, author, licence) in the folder or the one above, and from the
    columns source and licence of an index beside the files.
    """
    found: dict[str, str] = {}
    if (folder / INDEX).is_file():
        with open(folder / INDEX, encoding="utf-8", errors="replace", newline="") as stream:
            for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
                if row.get("file") and row.get("licence"):
                    found[row["file"]] = plain(f"{row.get('source') or row['file']} ({row['licence']})")
    for place, prefix in ((folder, ""), (folder.absolute().parent, folder.absolute().name + "/")):
        try:
            rows = json.loads((place / "assets.json").read_text(encoding="utf-8-sig"))
            for row in rows:
                if row["file"].startswith(prefix):
                    words = f"{row['title']}, {row['author']} ({row['licence']})"
                    found[row["file"].removeprefix(prefix)] = plain(words)
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            continue  # there is none, or it is another list
    return found


def _clip(
    reader: LatentReader,
    path: Path,
    recording: Recording,
    folder: Path,
    indexed: IndexedClip | None,
    config: AtlasConfig,
    say: Callable[[str], object],
) -> Part:
    """The steps of a clip."""
    latents: list[np.ndarray] = []
    thumbs: list[np.ndarray] = []
    for frames in clip_pieces(reader, path, recording.fps, config.steps):
        latents.append(reader.read(frames).astype(np.float16))
        small = [thumbnail(f, config.thumb) for f in frames]
        thumbs += small if not thumbs else small[1:]
    z = np.concatenate(latents)
    known: dict[str, np.ndarray] = {}
    if indexed is not None:
        try:
            table = read_known_actions(folder, indexed)
            # Frame k shows what is on screen at k / fps, the clip's own frame of that moment.
            places = np.arange(len(z) + 1) / recording.fps * probe(path).fps
            rows = table.aligned(places)
            known = {n: rows[:, i].astype(np.float32) for i, n in enumerate(table.names) if n in DRIVING}
        except LamdemoError as error:
            say(str(error))
    return Part(recording, "", z, np.arange(len(z), dtype=np.int32), np.stack(thumbs), known)


def clip_pieces(reader: LatentReader, path: Path, fps: float, steps: int) -> Iterator[np.ndarray]:
    """Frames of a clip, a piece at a time; each begins with the last frame of the one before.

    Raises:
        LamdemoError: the clip cannot be read, or is a single frame.
    """
    side = 2 * reader.picture
    for first in range(0, steps, _PIECE):
        wanted = min(_PIECE, steps - first) + 1
        try:
            frames = read_clip(path, fps=fps, start=first / fps, max_frames=wanted, max_side=side).frames
        except LamdemoError:
            if first == 0:
                raise
            return  # it ended just before
        if len(frames) > 1:
            yield frames
        elif first == 0:
            raise LamdemoError(f"{path.name} is a single frame, and an action needs two.")
        if len(frames) < wanted:
            return


# Scenes.


def scene_jobs(reader: LatentReader, folder: Path, config: AtlasConfig) -> list[Job]:
    """What makes a part of each scene, on the photographs of a folder."""
    pictures = named_photographs(folder, _BANK)
    photographs = Photographs(torch.stack(list(pictures.values())))
    credits = read_credits(folder)
    names = list(pictures)
    jobs = []
    for index in range(config.scenes):
        kind = ACTIONS[index % len(ACTIONS)]

        def make(index: int = index, kind: Kind = kind) -> Part:
            script, cast, visible = visible_scene(index, kind, len(photographs), config)
            shown = dict.fromkeys(names[i] for i in (cast.photograph, *cast.skins))
            credit = plain("; ".join(credits[n] for n in shown if n in credits))
            recording = Recording(f"scene_{index:04d}_{kind}", "scenes", credit, reader.fps)
            return _scene(reader, recording, script, cast, visible, photographs, config)

        jobs.append(Job(f"scene_{index:05d}.npz", f"scene {index}", make))
    return jobs


def visible_scene(index: int, kind: Kind, photographs: int, config: AtlasConfig) -> tuple[Script, Cast, np.ndarray]:
    """A scene of which at least half of the steps show something, and which these are, bool ``[S]``."""
    rng = np.random.default_rng([config.seed, index])
    for _ in range(_TRIES):
        script = write_script(rng, config.scene_steps + 1, SceneConfig(), kind)
        cast = draw_cast(rng, script, photographs)
        flow = true_motion([script], [cast], _GRID).flow[0]  # [S, 2, r, r]
        visible = ((flow.square().sum(1).sqrt() > _MOVES).float().mean((1, 2)) >= _LEAST).numpy()
        if 2 * visible.sum() >= config.scene_steps:
            return script, cast, visible
    raise LamdemoError(f"No {kind} that can be seen was drawn.")


def _scene(
    reader: LatentReader,
    recording: Recording,
    script: Script,
    cast: Cast,
    visible: np.ndarray,
    photographs: Photographs,
    config: AtlasConfig,
) -> Part:
    """The steps of a scene."""
    frames = rendered(script, cast, photographs, _SIDE)
    z = reader.read(frames).astype(np.float16)
    step = np.flatnonzero(visible).astype(np.int32)
    # A scene is square and its photographs are not: stretched, they look on average as they were taken.
    thumbs = [thumbnail(f, config.thumb, stretch=True) for f in frames[step[0] : step[-1] + 2]]
    known = {n: v[step].astype(np.float32) for n, v in camera_motion(script).items()}
    return Part(recording, str(script.kind), z[step], step, np.stack(thumbs), known)


def camera_motion(script: Script) -> dict[str, np.ndarray]:
    """How a scene's camera moves in each step, as `Atlas.known` has it, float64 ``[S]`` each.

    A camera says which place of the world each place of the screen shows. So a larger scale is a wider view, and a
    positive angle turns the camera clockwise, since y points down.
    """
    right, down, scale, turn = camera_velocity(script).T[:4]
    return dict(zip(CAMERA, (right, down, -scale, turn), strict=True))
