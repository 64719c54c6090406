"""Recordings whose actions may go on a map while their pictures may not.

Latents of a clip say what happened in it and not what it looked like, so they can be passed on where the clip cannot.
Such a recording is shown as the model carries it out on a photograph that may be shown.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from lamdemo.data.known_actions import INDEX
from lamdemo.data.videos import named_photographs
from lamdemo.engine import TransferPipeline
from lamdemo.latent_space.atlas import Recording
from lamdemo.latent_space.recordings import AtlasConfig, Job, Part, clip_pieces, part_file, plain, read_credits
from lamdemo.latent_space.thumbnails import thumbnail
from lamdemo.video import find_videos

PART = "real clips, redrawn"
DRAWN_STEPS = 16  # of each: those in which most happens, among the first `SEARCHED`
SEARCHED = 64

_CANVAS = (192, 256)  # height and width of photographs that are drawn on, in the shape of thumbnails
_OPEN = re.compile(r"(MIT|Apache|BSD|CC0|CC BY\b(?!-NC)|public domain)", re.IGNORECASE)
_CLOSED = re.compile(r"\bNC\b|non-?commercial|not stated|unmarked|academic", re.IGNORECASE)


class Clip(NamedTuple):
    """A clip of which only the actions are passed on."""

    path: Path
    title: str  # what is seen in it
    source: str  # where it comes from
    licence: str


def chosen_clips(folder: Path, most: int) -> list[Clip]:
    """At most so many clips: one of each title, as many of each folder, spread evenly over it.

    Where an index (`lamdemo.data.known_actions.INDEX`) names licences, those with an open one only; without an index
    each file's name is its title.
    """
    rows: dict[str, dict[str, str]] = {}
    if (folder / INDEX).is_file():
        with open(folder / INDEX, encoding="utf-8", errors="replace", newline="") as stream:
            rows = {r["file"]: r for r in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE) if r["file"]}
    groups: dict[str, dict[str, Clip]] = defaultdict(dict)
    for path in find_videos(folder):
        name = path.relative_to(folder).as_posix()
        row = rows.get(name, {})
        licence = row.get("licence") or ""
        if licence and (_CLOSED.search(licence) or not _OPEN.search(licence)):
            continue
        clip = Clip(path, row.get("content") or path.stem, row.get("source") or name, licence)
        groups[name.split("/")[0] if "/" in name else ""].setdefault(clip.title, clip)
    return _even([list(group.values()) for group in groups.values()], most)


def _even(groups: list[list[Clip]], most: int) -> list[Clip]:
    """An equal share of each group, what a small one leaves going to the others."""
    found: list[Clip] = []
    for k, group in enumerate(sorted(groups, key=len)):
        share = min((most - len(found)) // (len(groups) - k), len(group))
        found += [group[i * len(group) // share] for i in range(share)]
    return sorted(found)


def drawn_jobs(
    pipeline: TransferPipeline, clips: list[Clip], photos: Path, fps: float, config: AtlasConfig
) -> list[Job]:
    """What makes a part of each clip, drawn on the photographs of a folder in turn."""
    pictures = list(named_photographs(photos, _CANVAS).items())
    credits = read_credits(photos)
    jobs = []
    for k, clip in enumerate(clips):
        name, picture = pictures[k % len(pictures)]

        def make(clip: Clip = clip, name: str = name, picture: Tensor = picture) -> Part:
            shown = credits.get(name, name)
            whose = f"{clip.source} ({clip.licence})" if clip.licence else clip.source
            credit = plain(f"The actions of a clip of {whose}, carried out on: {shown}")
            recording = Recording(plain(clip.title), PART, credit, fps)
            return _drawn(pipeline, clip.path, picture.movedim(0, -1).numpy(), recording, config)

        jobs.append(Job(part_file("drawn", f"{clip.path.name} on {name}", clip.path), clip.path.name, make))
    return jobs


def _drawn(
    pipeline: TransferPipeline, clip: Path, photograph: np.ndarray, recording: Recording, config: AtlasConfig
) -> Part:
    """The liveliest steps of a clip, on a photograph ``[H, W, 3]``."""
    pieces = clip_pieces(pipeline, clip, recording.fps, min(SEARCHED, config.steps))
    z = np.concatenate([pipeline.read(frames) for frames in pieces])
    span = min(DRAWN_STEPS, len(z))
    total = np.cumsum([0.0, *np.square(z).sum(1)])
    first = int(np.argmax(total[span:] - total[: len(total) - span]))
    chosen = z[first : first + span]
    rollout = pipeline.begin(photograph, history=0)
    frames = [rollout.frame, *(rollout.step(latent).frame for latent in chosen)]
    thumbs = np.stack([thumbnail(frame, config.thumb) for frame in frames])
    return Part(recording, "", chosen.astype(np.float16), np.arange(first, first + span, dtype=np.int32), thumbs, {})
