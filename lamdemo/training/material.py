"""What a model is trained on: recordings of a folder or a pack, and the material of scenes."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from lamdemo.core.errors import LamdemoError, shown_name
from lamdemo.data.packs import is_pack, packed_pictures, read_pack
from lamdemo.data.scenes import SceneBank, read_bank
from lamdemo.data.shards import is_shards, read_shards
from lamdemo.data.splits import Split
from lamdemo.data.videos import Recording, decode_folder, photographs_from
from lamdemo.training.config import TrainConfig
from lamdemo.video import find_videos


def training_recordings(
    videos: Path, cache: Path, config: TrainConfig, *, split: Split | None = None
) -> list[Recording]:
    """The real clips to train on: a pack or shards as they are, or the training part of a folder, decoded into a cache.

    Videos that cannot be read are named on standard error and left out.

    Raises:
        LamdemoError: more of them cannot be read than the config's ``unreadable`` allows, none can be, or the cache
            cannot be written.
    """
    if is_pack(videos):
        recordings, problems = read_pack(videos)
    elif is_shards(videos):
        return read_shards(videos)
    else:
        names = [p.relative_to(videos).as_posix() for p in find_videos(videos)]
        if split is not None:
            names = split.select(names, "train")
        recordings, problems = decode_folder(videos, cache, config.cache, names=names)
    for problem in problems:
        tqdm.write(f"skipped: {problem}", file=sys.stderr)
    count = len(recordings) + len(problems)
    if len(problems) > math.ceil(config.unreadable * count):
        raise LamdemoError(
            f"{len(problems)} of {count} videos in {shown_name(videos)} cannot be read, more than unreadable = "
            f"{config.unreadable:g} of the training config allows; mend or remove those that are named above."
        )
    return recordings


@dataclass(frozen=True)
class SceneSources:
    """Where scenes of things come from; only pictures of the training part are taken (`lamdemo.data.splits`)."""

    things: Sequence[Path] = ()  # folders of cut-outs with alpha; the bundled ones without any
    backgrounds: Sequence[Path] = ()  # folders of photographs of places, beside frames of the videos


def training_material(
    config: TrainConfig,
    videos: Path,
    cache: Path,
    *,
    split: Split | None = None,
    sources: SceneSources | None = None,
) -> tuple[list[Recording], SceneBank | None]:
    """Recordings to train on, and cut-outs and photographs for scenes (frames of the recordings among them)."""
    recordings = training_recordings(videos, cache, config, split=split)
    if not config.batch.pairs:
        return recordings, None
    if sources is None or not (sources.things or sources.backgrounds):
        sources = SceneSources(*packed_pictures(videos)) if is_pack(videos) else SceneSources()
    frames = photographs_from(recordings, config.batch.photographs, (192, 288), config.seed)
    bank = read_bank(
        sources.things,
        sources.backgrounds,
        frames=list(frames.permute(0, 2, 3, 1).contiguous().numpy()),
        part="all" if is_pack(videos) else "train",  # a pack holds nothing else
    )
    return recordings, bank
