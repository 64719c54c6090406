"""Building an atlas: from a folder of videos and from procedural scenes, one recording after another.

What a recording gives is kept in a folder beside the atlas to be (``FILE.parts/``) until the atlas is written, so
that a build that was stopped goes on where it was. Recordings do not depend on each other, and nothing depends on
the order in which they were made: the same inputs give the same file on the same machine, up to the last digit of
what torch computes (latents are rounded to half precision; the strengths of named directions show it).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import write_safely
from lamdemo.data.videos import bundled_photographs
from lamdemo.engine import TransferPipeline
from lamdemo.engine.readers import LatentReader, player
from lamdemo.latent_space.atlas import Atlas
from lamdemo.latent_space.discovery import find_clusters, find_directions
from lamdemo.latent_space.drawn import chosen_clips, drawn_jobs
from lamdemo.latent_space.projection import neighbours, spread_equal, umap_maps
from lamdemo.latent_space.recordings import (
    ACTIONS,
    CAMERA,
    DRIVING,
    AtlasConfig,
    Job,
    Part,
    clip_jobs,
    file_state,
    plain,
    scene_jobs,
)
from lamdemo.latent_space.thumbnails import write_sheets
from lamdemo.video import find_videos

DENSITY_NEIGHBOUR = 8

_FORMAT = "lamdemo-atlas-parts/1"
_FEWEST = 8  # different latents that a UMAP map needs


def build_atlas(
    reader: LatentReader,
    *,
    videos: str | Path | None = None,
    drawn: str | Path | None = None,
    scenes: int | None = None,
    out: str | Path,
    config: AtlasConfig | None = None,
    photos: str | Path | None = None,
    resume: bool = True,
    say: Callable[[str], object] | None = None,
) -> Atlas:
    """Make an atlas of what a reader reads, or go on with one that was stopped.

    Args:
        reader: a pipeline, or a model of others (`lamdemo.engine.readers`). Of the latter's latents an atlas has no
            directions, which are found by carrying them out, and its points are looked at and not played.
        videos: folder of videos, nested as they may be. Known actions are taken from its index
            (`lamdemo.data.known_actions`), whose work they are from ``assets.json`` there or in the folder above.
        drawn: folder of videos whose actions go on the map and whose pictures do not: they are shown as the model
            carries them out on the photographs (`lamdemo.latent_space.drawn`).
        scenes: how many procedural scenes; the config's without it.
        out: the file to write. The work stands in ``FILE.parts/`` until it is done.
        config: how to make it.
        photos: folder of photographs for the scenes and to draw on; the bundled ones without it.
        resume: keep what was done before: an atlas of the same inputs is returned as it is. Otherwise begin anew
            and replace what is there.
        say: is given one sentence for each video that could not be read, and for what is left out.

    Returns:
        The atlas, as it is in the file.

    Raises:
        LamdemoError: there is nothing to make it of, what only reads is asked to draw, ``out`` is something else or
            cannot be written, or what was done before is of another checkpoint or other settings.
    """
    config = config or AtlasConfig()
    config = config if scenes is None else replace(config, scenes=scenes)
    say = say or (lambda words: None)
    out, folder = Path(out), None if videos is None else Path(videos)
    drawing = None if drawn is None else player(reader, "Drawing clips on photographs (--drawn)")
    paths = [] if folder is None else _chosen(find_videos(folder), config.recordings)
    redrawn = [] if drawn is None else chosen_clips(Path(drawn), config.drawn)
    if not paths and not redrawn and not config.scenes:
        where = "Give a folder of videos" if folder is None else f"The folder {folder.name} holds no video; give one"
        raise LamdemoError(f"{where}{'' if folder is None else ' with clips in it'}, or ask for scenes.")
    photographs = Path(photos) if photos is not None else bundled_photographs() if config.scenes or redrawn else None
    maps = config.umap and _installed("umap", "UMAP maps", say)
    learned = _installed("sklearn", "clusters and directions", say)
    built = {
        "config": json.loads(json.dumps(asdict(config))),
        "videos": None if folder is None else _digest((p.relative_to(folder).as_posix(), p) for p in paths),
        "drawn": None if drawn is None else _digest((c.title, c.path) for c in redrawn),
        "photographs": None if photographs is None else _digest((p.name, p) for p in sorted(photographs.rglob("*.*"))),
        "umap": maps,
        "learned": learned,
    }
    if (finished := _finished(out, reader, built, resume)) is not None:
        return finished

    fps = config.fps or reader.fps
    shaping = {k: built["config"][k] for k in ("steps", "scene_steps", "seed", "thumb")} | {"fps": fps}
    settings = {"format": _FORMAT, "checkpoint": reader.checkpoint, **shaping, "photographs": built["photographs"]}
    kept = _open_parts(out, settings, resume)
    jobs = clip_jobs(reader, folder, paths, fps, config, say) if folder is not None else []
    if photographs is not None:
        jobs += drawn_jobs(drawing, redrawn, photographs, fps, config) if drawing is not None and redrawn else []
        jobs += scene_jobs(reader, photographs, config)
    done = _made(jobs, kept, say)
    if not done:
        shutil.rmtree(kept, ignore_errors=True)
        raise LamdemoError("No recording could be read, so there is nothing to make an atlas of; give other videos.")
    atlas = _assembled(reader, done, config, built, say)
    atlas.save(out)
    shutil.rmtree(kept, ignore_errors=True)
    return atlas


def _made(jobs: list[Job], kept: Path, say: Callable[[str], object]) -> list[Path]:
    """Files of the parts of all recordings that can be read; those that are there already are kept."""
    done: list[Path] = []
    for job in tqdm(jobs, desc="atlas", unit="recording", disable=None):
        file = kept / job.file
        if Part.read(file) is None:
            try:
                part = job.make()
            except LamdemoError as error:
                say(plain(f"{job.name} is left out: {error}"))
                continue
            _write(file, part.to_bytes())
        done.append(file)
    return done


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
    return hashlib.sha256(json.dumps([[name, file_state(p)[0]] for name, p in files]).encode()).hexdigest()


def _finished(out: Path, reader: LatentReader, built: Mapping[str, Any], resume: bool) -> Atlas | None:
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
    if there.checkpoint != reader.checkpoint or dict(there.built) != built:
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
            same = json.loads(about.read_text(encoding="utf-8-sig")) == settings
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


def _assembled(
    reader: LatentReader,
    files: list[Path],
    config: AtlasConfig,
    built: Mapping[str, Any],
    say: Callable[[str], object],
) -> Atlas:
    """An atlas of parts, all of which are there."""

    def parts() -> Iterator[Part]:
        for file in files:
            part = Part.read(file)
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
        checkpoint=reader.checkpoint,
        family=reader.family,
        name=plain(reader.name),
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
        plays=isinstance(reader, TransferPipeline),
    )
    if not (built["learned"] and isinstance(reader, TransferPipeline)):
        return atlas
    return replace(atlas, directions=find_directions(reader, atlas))


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
