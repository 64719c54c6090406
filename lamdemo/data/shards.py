"""Shards: a training set too large to be decoded beforehand, as WebDataset's tar files.

A shard holds short pieces of videos, each an MP4 and a JSON beside it, as any reader of WebDataset takes them. A file
``shards.json`` says where in them each piece lies, so that any piece is read by itself: what a step sees then depends
on nothing that was read before, and each process of a training reads what it needs and no more.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import write_safely
from lamdemo.data.packs import frames_of
from lamdemo.data.videos import Recording
from lamdemo.video import probe, read_clip, write_video

INDEX_NAME = "shards.json"
FORMAT = "lamdemo-shards/1"


@dataclass(frozen=True)
class ShardConfig:
    """How videos are cut into pieces and pieces are kept."""

    height: int = 256  # rows of a frame at most, aspect kept
    fps: float = 8.0  # frames a second at most
    seconds: float = 10.0  # length of a piece; what is left at a video's end is one too, of two frames or more
    crf: int = 23  # H.264's quality; larger is smaller and coarser
    megabytes: float = 256.0  # of a shard; the next is begun when it has so many


@dataclass(frozen=True)
class ShardFrames:
    """Frames of a piece, uint8 ``[T, H, W, 3]``, read from its shard whenever some are asked for."""

    path: Path  # of the shard
    offset: int  # bytes before the piece's MP4
    size: int  # bytes of it
    shape: tuple[int, int, int, int]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, places: Any) -> np.ndarray:
        return np.asarray(self)[places]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them.

        Raises:
            LamdemoError: the shard is not what its index says.
        """
        try:
            with open(self.path, "rb") as stream:
                stream.seek(self.offset)
                frames = frames_of(stream.read(self.size))
        except (OSError, cv2.error):
            frames = []
        if len(frames) != self.shape[0] or frames[0].shape != self.shape[1:]:
            raise LamdemoError(f"The shard {self.path.name} is damaged; make the shards again with lamdemo shards.")
        return np.stack(frames)


def write_shards(
    folder: Path, names: Iterable[str], out: Path, config: ShardConfig | None = None
) -> tuple[int, list[str]]:
    """Cut videos into pieces and write them as shards.

    Args:
        folder: of the videos.
        names: of those to take, relative to it.
        out: folder; must not hold anything yet.
        config: how.

    Returns:
        How many pieces were written, and one sentence for each video that could not be read.

    Raises:
        LamdemoError: the folder is not empty, or no video could be read.
    """
    if out.exists() and any(out.iterdir()):
        raise LamdemoError(f"The folder {out.name} is not empty; give a new one for the shards.")
    out.mkdir(parents=True, exist_ok=True)
    config = config or ShardConfig()
    problems: list[str] = []
    shards: dict[str, list[dict[str, Any]]] = {}
    shard: tarfile.TarFile | None = None
    try:
        for name in tqdm(list(names), desc="cutting", disable=None):
            try:
                for number, (data, about) in enumerate(_pieces(folder / name, config)):
                    if shard is None or shard.offset >= config.megabytes * 1e6:
                        if shard is not None:
                            shard.close()
                        file = f"shard-{len(shards):06d}.tar"
                        shard, shards[file] = tarfile.open(out / file, "w"), []
                    row = {"name": name, "piece": number, **about}
                    key = f"{sum(map(len, shards.values())):09d}"
                    row["offset"] = _add(shard, f"{key}.mp4", data)
                    row["size"] = len(data)
                    _add(shard, f"{key}.json", json.dumps({k: row[k] for k in ("name", "piece", "fps")}).encode())
                    shards[next(reversed(shards))].append(row)
            except LamdemoError as error:
                problems.append(str(error))
    finally:
        if shard is not None:
            shard.close()
    if not shards:
        raise LamdemoError(f"The folder {folder.name} holds no video that can be read; give one with clips in it.")
    # Last, so that shards cut short are not taken for whole.
    write_safely(out / INDEX_NAME, json.dumps({"format": FORMAT, "shards": shards}, indent=0).encode())
    return sum(map(len, shards.values())), problems


def _pieces(path: Path, config: ShardConfig) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """MP4s of a video's pieces, one after the other, and what is said of each."""
    info = probe(path)
    fps = min(info.fps or config.fps, config.fps)
    # H.264 has even sides.
    height = max(min(config.height, info.height) // 2 * 2, 2)
    width = max(round(info.width * height / info.height / 2) * 2, 16)
    with tempfile.TemporaryDirectory() as scratch:
        start = 0.0
        while start == 0 or start < (info.seconds or 0) - 2 / fps:
            try:
                clip = read_clip(path, fps=fps, start=start, seconds=config.seconds, size=(height, width))
            except LamdemoError:
                if start == 0:
                    raise
                return  # it ends before it says it does
            if len(clip.frames) >= 2:
                written = write_video(Path(scratch) / "piece.mp4", clip.frames, clip.fps, crf=config.crf)
                yield written.read_bytes(), {"fps": clip.fps, "shape": list(clip.frames.shape)}
            start += config.seconds


def _add(shard: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a file; returns how many bytes of the shard lie before what is in it."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    shard.addfile(member, io.BytesIO(data))
    return shard.offset - -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def is_shards(folder: str | Path) -> bool:
    """Whether a folder holds shards."""
    return (Path(folder) / INDEX_NAME).is_file()


def read_shards(folder: str | Path) -> list[Recording]:
    """The pieces of a folder of shards, none of them decoded yet.

    Raises:
        LamdemoError: the index is damaged, or a shard is missing or cut short.
    """
    folder = Path(folder)
    damaged = f"The shards in {folder.name} are damaged; make them again with lamdemo shards."
    try:
        index = json.loads((folder / INDEX_NAME).read_text(encoding="utf-8"))
        if index["format"] != FORMAT:
            raise LamdemoError(f"The shards in {folder.name} are of another version; make them again.")
        found = []
        for file, rows in index["shards"].items():
            path = folder / Path(file).name
            whole = path.stat().st_size
            for row in rows:
                count, height, width, colours = (int(n) for n in row["shape"])
                shape = count, height, width, colours
                if colours != 3 or min(shape) < 1 or row["offset"] < 0 or row["offset"] + row["size"] > whole:
                    raise LamdemoError(damaged)
                frames: Any = ShardFrames(path, int(row["offset"]), int(row["size"]), shape)
                found.append(Recording(str(row["name"]), frames, float(row["fps"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LamdemoError(damaged) from error
    if not found:
        raise LamdemoError(damaged)
    return found
