"""Building an atlas: from a folder of videos and from procedural scenes, one recording after another.

What a recording gives is kept in a folder beside the atlas to be (``FILE.parts/``) until the atlas is written, so
that a build that was stopped goes on where it was. Recordings do not depend on each other, and nothing depends on
the order in which they were made: the same inputs give the same file on the same machine, up to the last digit of
what torch computes (latents are rounded to half precision; the strengths of named directions show it).

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
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from lamdemo.data.known_actions import INDEX, IndexedClip, find_known_actions, read_known_actions
from lamdemo.data.scenes import (
    KINDS,
    Cast,
    Kind,
    Photographs,
    SceneConfig,
    Script,
    draw_cast,
    render,
    true_motion,
    write_script,
)
from lamdemo.data.videos import bundled_photographs, named_photographs
from lamdemo.errors import LamdemoError
from lamdemo.latent_space.atlas import THUMB, Atlas, Recording, write_sheets
from lamdemo.latent_space.directions import find_clusters, find_directions
from lamdemo.latent_space.projection import neighbours, spread_equal, umap_maps
from lamdemo.models.checkpoint import write_safely
from lamdemo.pipeline import TransferPipeline
from lamdemo.video import find_videos, probe, read_clip

ACTIONS: tuple[Kind, ...] = tuple(k for k in KINDS if k != "still")
CAMERA = ("pan right", "pan down", "zoom in", "roll clockwise")
DRIVING = ("steering", "throttle")
DENSITY_NEIGHBOUR = 8

_FORMAT = "lamdemo-atlas-parts/1"
_BANK = (576, 768)  # height and width of photographs in the bank
_SIDE = 256  # of scenes, in pixels
_GRID = 32  # cells a side in which a scene's motion is measured
_MOVES = 0.5 / 256  # of the picture's width, from which a place counts as moving
_LEAST = 0.01  # share of the picture that must move in a step that shows something
_TRIES = 100
_PIECE = 64  # steps of a clip that are read at once
_FEWEST = 8  # different latents that a UMAP map needs
_UNREADABLE = (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class AtlasConfig:
    """How an atlas is made.

    Attributes:
        fps: steps a second of clips; the model's own without it.
        steps: of each recording at most, from its beginning.
        recordings: clips at most, spread evenly over the folder; all without it.
        scenes: how many procedural scenes.
        scene_steps: of each scene.
        seed: of the scenes and the UMAP layouts.
        umap: make UMAP maps too, where umap-learn is installed.
        near: neighbours that UMAP looks at, each latent itself among them.
        min_dist: least distance on a UMAP map.
        thumb: width and height of thumbnails, in pixels.
        quality: of their JPEG.
    """

    fps: float | None = None
    steps: int = 256
    recordings: int | None = None
    scenes: int = 520
    scene_steps: int = 8
    seed: int = 0
    umap: bool = True
    near: int = 30
    min_dist: float = 0.2
    thumb: tuple[int, int] = THUMB
    quality: int = 75

    def __post_init__(self) -> None:
        fps_fits = self.fps is None or 0.1 <= self.fps <= 120
        counts_fit = self.steps >= 1 and self.scenes >= 0 and self.seed >= 0
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
class _Part:
    """What one recording gives: S steps and F thumbnails, of which the first belongs to step 0 of ``step``."""

    recording: Recording
    kind: str  # empty where it is not known
    z: np.ndarray  # float16 [S, Z]
    step: np.ndarray  # int32 [S]
    thumbs: np.ndarray  # uint8 [F, h, w, 3], from the first step's first frame to the last one's second
    known: dict[str, np.ndarray]  # float32 [S] each

    def to_bytes(self) -> bytes:
        stream = io.BytesIO()
        about = {"recording": asdict(self.recording), "kind": self.kind, "known": list(self.known)}
        known = np.array(list(self.known.values()), np.float32).reshape(len(self.known), len(self.z))
        np.savez_compressed(
            stream, z=self.z, step=self.step, thumbs=self.thumbs, known=known, about=np.str_(json.dumps(about))
        )
        return stream.getvalue()

    @classmethod
    def read(cls, path: Path) -> _Part | None:
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
class _Job:
    """A recording to be made: the file of its part, its name, and what makes it."""

    file: str
    name: str
    make: Callable[[], _Part]


def build_atlas(
    pipeline: TransferPipeline,
    *,
    videos: str | Path | None = None,
    scenes: int | None = None,
    out: str | Path,
    config: AtlasConfig | None = None,
    photos: str | Path | None = None,
    resume: bool = True,
    progress: bool = True,
    say: Callable[[str], object] | None = None,
) -> Atlas:
    """Make an atlas of a pipeline's checkpoint, or go on with one that was stopped.

    Args:
        pipeline: of the checkpoint.
        videos: folder of videos, nested as they may be. Known actions are taken from its index
            (`lamdemo.data.known_actions`), whose work they are from ``assets.json`` there or in the folder above.
        scenes: how many procedural scenes; the config's without it.
        out: the file to write. The work stands in ``FILE.parts/`` until it is done.
        config: how to make it.
        photos: folder of photographs for the scenes; the bundled ones without it.
        resume: keep what was done before: an atlas of the same inputs is returned as it is. Otherwise begin anew
            and replace what is there.
        progress: show a progress bar on a terminal.
        say: is given one sentence for each video that could not be read, and for what is left out.

    Returns:
        The atlas, as it is in the file.

    Raises:
        LamdemoError: there is nothing to make it of, ``out`` is something else or cannot be written, or what was
            done before is of another checkpoint or other settings.
    """
    config = config or AtlasConfig()
    config = config if scenes is None else replace(config, scenes=scenes)
    say = say or (lambda words: None)
    out, folder = Path(out), None if videos is None else Path(videos)
    paths = [] if folder is None else _chosen(find_videos(folder), config.recordings)
    if not paths and not config.scenes:
        where = "Give a folder of videos" if folder is None else f"The folder {folder.name} holds no video; give one"
        raise LamdemoError(f"{where}{'' if folder is None else ' with clips in it'}, or ask for scenes.")
    photographs = Path(photos) if photos is not None else bundled_photographs() if config.scenes else None
    maps = config.umap and _installed("umap", "UMAP maps", say)
    learned = _installed("sklearn", "clusters and directions", say)
    built = {
        "config": json.loads(json.dumps(asdict(config))),
        "videos": None if folder is None else _digest((p.relative_to(folder).as_posix(), p) for p in paths),
        "photographs": None if photographs is None else _digest((p.name, p) for p in sorted(photographs.rglob("*.*"))),
        "umap": maps,
        "learned": learned,
    }
    if (finished := _finished(out, pipeline, built, resume)) is not None:
        return finished

    fps = config.fps or pipeline.fps
    shaping = {k: built["config"][k] for k in ("steps", "scene_steps", "seed", "thumb")} | {"fps": fps}
    settings = {"format": _FORMAT, "checkpoint": pipeline.checkpoint, **shaping, "photographs": built["photographs"]}
    kept = _open_parts(out, settings, resume)
    jobs = _clip_jobs(pipeline, folder, paths, fps, config, say) if folder is not None else []
    jobs += _scene_jobs(pipeline, photographs, config) if photographs is not None else []
    done: list[Path] = []
    for job in tqdm(jobs, desc="atlas", unit="recording", disable=None if progress else True):
        file = kept / job.file
        if _Part.read(file) is None:
            try:
                part = job.make()
            except LamdemoError as error:
                say(_plain(f"{job.name} is left out: {error}"))
                continue
            _write(file, part.to_bytes())
        done.append(file)
    if not done:
        shutil.rmtree(kept, ignore_errors=True)
        raise LamdemoError("No recording could be read, so there is nothing to make an atlas of; give other videos.")
    atlas = _assembled(pipeline, done, config, built, say)
    atlas.save(out)
    shutil.rmtree(kept, ignore_errors=True)
    return atlas


def _installed(module: str, what: str, say: Callable[[str], object]) -> bool:
    """Whether an optional library is there; says what is left out without it."""
    if find_spec(module) is not None:
        return True
    name = {"umap": "umap-learn", "sklearn": "scikit-learn"}[module]
    say(f"The atlas is made without {what}, which need {name}; install it with `pip install lamdemo[atlas]`.")
    return False


def _chosen(paths: list[Path], most: int | None) -> list[Path]:
    """At most so many, spread evenly."""
    if most is None or most >= len(paths):
        return paths
    return [paths[i * len(paths) // most] for i in range(most)]


def _digest(files: Iterator[tuple[str, Path]]) -> str:
    """Of names and sizes."""
    return hashlib.sha256(json.dumps([[name, _state(p)[0]] for name, p in files]).encode()).hexdigest()


def _state(path: Path) -> tuple[int, int]:
    """Size and time of change of a file; zeros for a link to nowhere, which is told of when it is read."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _finished(out: Path, pipeline: TransferPipeline, built: Mapping[str, Any], resume: bool) -> Atlas | None:
    """The atlas that is there, if it is the one wanted; None if one is to be made.

    Raises:
        LamdemoError: something else is there.
    """
    if not out.exists():
        return None
    if out.is_dir():
        raise LamdemoError(f"{out.name} is a folder; give the name of a file.")
    try:
        there = Atlas.load(out)
    except LamdemoError as error:
        raise LamdemoError(f"{out.name} is there already and is no atlas; choose another name.") from error
    if not resume:
        return None
    if there.checkpoint != pipeline.checkpoint or dict(there.built) != built:
        raise LamdemoError(
            f"{out.name} is an atlas of another checkpoint, other videos or other settings; choose another name, or "
            "begin anew with --again."
        )
    return there


def _open_parts(out: Path, settings: Mapping[str, Any], resume: bool) -> Path:
    """The folder of the parts, made or found.

    Raises:
        LamdemoError: it cannot be written, or belongs to other settings.
    """
    kept = out.with_name(out.name + ".parts")
    about = kept / "about.json"
    if not resume and about.is_file():  # one that is ours
        shutil.rmtree(kept, ignore_errors=True)
    if about.is_file():
        try:
            same = json.loads(about.read_text(encoding="utf-8")) == settings
        except (OSError, ValueError):
            same = False
        if not same:
            raise LamdemoError(
                f"{kept.name} holds the beginning of an atlas of another checkpoint or other settings; remove it, "
                "choose another name, or begin anew with --again."
            )
        return kept
    if kept.exists() and (not kept.is_dir() or any(kept.iterdir())):
        raise LamdemoError(f"{kept.name} is there already and is not from here; choose another name for the atlas.")
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LamdemoError(f"{out.name} cannot be written there; give a place that you may write to.") from error
    _write(about, (json.dumps(settings) + "\n").encode())
    return kept


def _write(path: Path, data: bytes) -> None:
    try:
        write_safely(path, data)
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise LamdemoError(f"{path.parent.name} cannot be written: {reason}; make room and go on.") from error


# Clips.


def _clip_jobs(
    pipeline: TransferPipeline,
    folder: Path,
    paths: list[Path],
    fps: float,
    config: AtlasConfig,
    say: Callable[[str], object],
) -> list[_Job]:
    indexed = {c.clip: c for c in find_known_actions(folder)}
    credits = read_credits(folder)
    jobs = []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        key = hashlib.sha256(json.dumps([name, *_state(path)]).encode()).hexdigest()[:24]
        part = name.split("/")[0] if "/" in name else "clips"
        recording = Recording(_plain(name), _plain(part), credits.get(name, ""), fps)

        def make(path: Path = path, recording: Recording = recording, name: str = name) -> _Part:
            return _clip(pipeline, path, recording, folder, indexed.get(name), config, say)

        jobs.append(_Job(f"clip_{key}.npz", path.name, make))
    return jobs


def _plain(text: str) -> str:
    """Text for the file: printable, and not too long."""
    return "".join(c if c.isprintable() else "?" for c in text)[:400]


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
                    found[row["file"]] = _plain(f"{row.get('source') or row['file']} ({row['licence']})")
    for place, prefix in ((folder, ""), (folder.absolute().parent, folder.absolute().name + "/")):
        try:
            rows = json.loads((place / "assets.json").read_text(encoding="utf-8"))
            for row in rows:
                if row["file"].startswith(prefix):
                    words = f"{row['title']}, {row['author']} ({row['licence']})"
                    found[row["file"].removeprefix(prefix)] = _plain(words)
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            continue  # there is none, or it is another list
    return found


def _clip(
    pipeline: TransferPipeline,
    path: Path,
    recording: Recording,
    folder: Path,
    indexed: IndexedClip | None,
    config: AtlasConfig,
    say: Callable[[str], object],
) -> _Part:
    """The steps of a clip."""
    latents: list[np.ndarray] = []
    thumbs: list[np.ndarray] = []
    for frames in _pieces(pipeline, path, recording.fps, config.steps):
        latents.append(pipeline.infer(frames).z.astype(np.float16))
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
    return _Part(recording, "", z, np.arange(len(z), dtype=np.int32), np.stack(thumbs), known)


def _pieces(pipeline: TransferPipeline, path: Path, fps: float, steps: int) -> Iterator[np.ndarray]:
    """Frames of a clip, a piece at a time; each begins with the last frame of the one before.

    Raises:
        LamdemoError: the clip cannot be read, or is a single frame.
    """
    side = 2 * pipeline.model.config.encoder.picture
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


def thumbnail(frame: np.ndarray, thumb: tuple[int, int], *, stretch: bool = False) -> np.ndarray:
    """A frame ``[H, W, 3]`` made small, uint8 ``[height, width, 3]``.

    It keeps its aspect, and what it leaves free takes its mean colour; with ``stretch`` it fills the thumbnail.
    """
    width, height = thumb
    h, w = frame.shape[:2]
    scale = min(width / w, height / h)
    inner = (width, height) if stretch else (max(round(w * scale), 1), max(round(h * scale), 1))
    small = cv2.resize(frame, inner, interpolation=cv2.INTER_AREA)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = small.reshape(-1, 3).mean(0).round()
    canvas[top : top + inner[1], left : left + inner[0]] = small
    return canvas


# Scenes.


def _scene_jobs(pipeline: TransferPipeline, folder: Path, config: AtlasConfig) -> list[_Job]:
    pictures = named_photographs(folder, _BANK)
    photographs = Photographs(torch.stack(list(pictures.values())))
    credits = read_credits(folder)
    names = list(pictures)
    jobs = []
    for index in range(config.scenes):
        kind = ACTIONS[index % len(ACTIONS)]

        def make(index: int = index, kind: Kind = kind) -> _Part:
            script, cast, visible = _drawn(index, kind, len(photographs), config)
            shown = dict.fromkeys(names[i] for i in (cast.photograph, *cast.skins))
            credit = _plain("; ".join(credits[n] for n in shown if n in credits))
            recording = Recording(f"scene_{index:04d}_{kind}", "scenes", credit, pipeline.fps)
            return _scene(pipeline, recording, script, cast, visible, photographs, config)

        jobs.append(_Job(f"scene_{index:05d}.npz", f"scene {index}", make))
    return jobs


def _drawn(index: int, kind: Kind, photographs: int, config: AtlasConfig) -> tuple[Script, Cast, np.ndarray]:
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
    pipeline: TransferPipeline,
    recording: Recording,
    script: Script,
    cast: Cast,
    visible: np.ndarray,
    photographs: Photographs,
    config: AtlasConfig,
) -> _Part:
    """The steps of a scene."""
    # Drawn at twice the size: texture that moves must not glitter.
    clip = F.avg_pool2d(render([script], [cast], photographs, 2 * _SIDE)[0], 2)
    frames = (clip.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    z = pipeline.infer(frames).z.astype(np.float16)
    step = np.flatnonzero(visible).astype(np.int32)
    # A scene is square and its photographs are not: stretched, they look on average as they were taken.
    thumbs = [thumbnail(f, config.thumb, stretch=True) for f in frames[step[0] : step[-1] + 2]]
    known = {n: v[step].astype(np.float32) for n, v in camera_motion(script.camera).items()}
    return _Part(recording, str(script.kind), z[step], step, np.stack(thumbs), known)


def camera_motion(camera: np.ndarray) -> dict[str, np.ndarray]:
    """How a scene's camera moves in each step, as `Atlas.known` has it, float64 ``[S]`` each.

    A script's camera says which place of the world each place of the screen shows. So a larger scale is a wider
    view, and a positive angle turns the camera clockwise, since y points down.

    Args:
        camera: ``[S + 1, 4]``: x, y (in widths of the view at scale 1), log scale, roll, as in `Script`.
    """
    change = np.diff(camera, axis=0)
    # In the camera's own axes and in widths of what it sees at that moment.
    turn, scale = camera[:-1, 3], np.exp(camera[:-1, 2])
    right = (change[:, 0] * np.cos(turn) + change[:, 1] * np.sin(turn)) / scale
    down = (change[:, 1] * np.cos(turn) - change[:, 0] * np.sin(turn)) / scale
    return dict(zip(CAMERA, (right, down, -change[:, 2], change[:, 3]), strict=True))


# The whole.


def _assembled(
    pipeline: TransferPipeline,
    files: list[Path],
    config: AtlasConfig,
    built: Mapping[str, Any],
    say: Callable[[str], object],
) -> Atlas:
    """An atlas of parts, all of which are there."""

    def parts() -> Iterator[_Part]:
        for file in files:
            part = _Part.read(file)
            if part is None:
                raise LamdemoError("A part of the atlas was changed while it was made; run it again.")
            yield part

    recordings, counts, kinds = [], [], []
    rows: dict[str, list[np.ndarray]] = {k: [] for k in ("z", "step", "seconds", "frame")}
    known: list[dict[str, np.ndarray]] = []
    shown = 0
    for part in parts():
        recordings.append(part.recording)
        counts.append(len(part.z))
        kinds.append(ACTIONS.index(part.kind) if part.kind in ACTIONS else -1)
        known.append(part.known)
        rows["z"].append(part.z)
        rows["step"].append(part.step)
        rows["seconds"].append(part.step / part.recording.fps)
        rows["frame"].append(part.step - part.step[0] + shown)
        shown += len(part.thumbs)
    recording = np.repeat(np.arange(len(files)), counts)
    latents = np.concatenate(rows["z"]).astype(np.float32)
    names = [n for n in (*CAMERA, *DRIVING) if any(n in k for k in known)]
    unknown = [np.full(n, np.nan, np.float32) for n in counts]
    atlas = Atlas(
        checkpoint=pipeline.checkpoint,
        family=pipeline.family,
        name=_plain(pipeline.name),
        latents=latents,
        recording=recording,
        step=np.concatenate(rows["step"]),
        seconds=np.concatenate(rows["seconds"]),
        frame=np.concatenate(rows["frame"]),
        recordings=tuple(recordings),
        kinds=ACTIONS,
        kind=np.repeat(kinds, counts),
        known={n: np.concatenate([k.get(n, u) for k, u in zip(known, unknown, strict=True)]) for n in names},
        coordinates=_maps(latents, recording, config, say) if built["umap"] else {},
        cluster=find_clusters(latents) if built["learned"] else np.full(len(latents), -1),
        density=density(latents, recording),
        sheets=write_sheets((t for part in parts() for t in part.thumbs), config.quality),
        thumb=config.thumb,
        built=built,
    )
    return atlas.with_directions(find_directions(pipeline, atlas)) if built["learned"] else atlas


def density(latents: np.ndarray, recording: np.ndarray) -> np.ndarray:
    """How near each latent has others of other recordings, float64 ``[M]``, as a rank from 0 to 1 (the nearest).

    By the distance to the 8th; to the last where there are fewer, and of the same recording where there is no other.
    """
    groups = recording if len(np.unique(recording)) > 1 else None
    _, distances = neighbours(latents, groups, DENSITY_NEIGHBOUR)
    last = np.where(np.isfinite(distances), distances, 0).max(1)
    return 1 - np.searchsorted(np.sort(last), last, side="left") / max(len(last) - 1, 1)


def _maps(
    latents: np.ndarray, recording: np.ndarray, config: AtlasConfig, say: Callable[[str], object]
) -> dict[str, np.ndarray]:
    """UMAP maps; none of too few latents."""
    different, first, which = np.unique(latents, axis=0, return_index=True, return_inverse=True)
    if len(different) < _FEWEST:
        say("The atlas has too few different steps for UMAP maps; give more videos or scenes to have them.")
        return {}
    near = min(config.near, len(different) - 1)
    if len(different) > 0.9 * len(latents):
        maps = umap_maps(latents, (2, 3), groups=recording, near=near, min_dist=config.min_dist, seed=config.seed)
        return {f"umap{d}": places for d, places in maps.items()}
    # Codes, which many steps share: each is laid out once, and its steps stand about it.
    order = np.argsort(first)
    maps = umap_maps(different[order], (2, 3), near=near, min_dist=config.min_dist, seed=config.seed)
    which = np.argsort(order)[which.reshape(-1)]
    return {f"umap{d}": spread_equal(places, which) for d, places in maps.items()}
