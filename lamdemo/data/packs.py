"""Packs: a training set made small enough to travel to a machine that has a GPU and nothing else.

A pack is a folder of short H.264 files, scaled and thinned as the cache would, a ``pack.json`` that names
them, and the cut-outs and photographs of places that scenes are made of, no larger than scenes need them. It is read
with OpenCV, so no ffmpeg is needed where it arrives.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from lamdemo.core.errors import LamdemoError
from lamdemo.data.scenes.cutouts import PATCH
from lamdemo.data.splits import pictures_in
from lamdemo.data.videos import Recording
from lamdemo.video import write_video

PACK_NAME = "pack.json"
_THINGS, _BACKGROUNDS = "things", "backgrounds"
_PLACE = 320  # longest side of a packed photograph, in pixels


def write_pack(recordings: list[Recording], out: str | Path, *, height: int = 128, crf: int = 32) -> int:
    """Write recordings as a pack.

    Args:
        recordings: from `lamdemo.data.videos.decode_folder`.
        out: folder; must not hold anything yet.
        height: rows of the packed frames at most.
        crf: H.264's quality; larger is smaller and coarser.

    Returns:
        The pack's size in bytes.

    Raises:
        LamdemoError: the folder is not empty.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise LamdemoError(f"The folder {out.name} is not empty; give a new one for the pack.")
    out.mkdir(parents=True, exist_ok=True)

    def one(item: tuple[int, Recording]) -> dict[str, object]:
        number, recording = item
        frames = np.asarray(recording.frames)
        rows = min(height, frames.shape[1]) // 2 * 2
        columns = round(frames.shape[2] * rows / frames.shape[1] / 2) * 2
        small = (cv2.resize(f, (columns, rows), interpolation=cv2.INTER_AREA) for f in frames)
        file = f"{number:05d}.mp4"
        write_video(out / file, small, recording.fps, crf=crf, preset="fast")
        return {"file": file, "name": recording.name, "fps": recording.fps, "frames": len(frames)}

    with ThreadPoolExecutor(2) as pool:
        rows = list(tqdm(pool.map(one, enumerate(recordings)), total=len(recordings), desc="packing", disable=None))
    (out / PACK_NAME).write_text(json.dumps({"recordings": rows}, indent=0), encoding="utf-8")
    return sum(p.stat().st_size for p in out.iterdir())


def pack_pictures(things: Sequence[str | Path], backgrounds: Sequence[str | Path], out: str | Path) -> int:
    """Add the training part of cut-outs and photographs to a pack.

    Args:
        things: folders of cut-outs with alpha.
        backgrounds: folders of photographs of places.
        out: the pack's folder.

    Returns:
        The size of what was added, in bytes.

    Raises:
        LamdemoError: there is no such folder.
    """
    webp = [cv2.IMWRITE_WEBP_QUALITY, 60]
    kinds = (
        (things, _THINGS, (".png", ".webp"), PATCH, cv2.IMREAD_UNCHANGED, webp),
        (backgrounds, _BACKGROUNDS, (".jpg", ".jpeg", ".png", ".webp"), _PLACE, cv2.IMREAD_COLOR, webp),
    )
    size = 0
    for folders, name, suffixes, side, mode, quality in kinds:
        rows = []
        for number, picture in enumerate(p for f in folders for p in pictures_in(f, suffixes, "train")):
            values = cv2.imread(str(picture.path), mode)
            if values is None:
                continue
            scale = min(side / max(values.shape[:2]), 1)
            shape = max(round(values.shape[1] * scale), 1), max(round(values.shape[0] * scale), 1)
            _, coded = cv2.imencode(".webp", cv2.resize(values, shape, interpolation=cv2.INTER_AREA), quality)
            file = f"{number:05d}.webp"
            (Path(out) / name).mkdir(parents=True, exist_ok=True)
            (Path(out) / name / file).write_bytes(coded.tobytes())
            rows.append(f"{file}\t{file}\t{picture.category}")
            size += len(coded)
        if rows:
            (Path(out) / name / "INDEX.tsv").write_text("\n".join(["file\tsource\tcategory", *rows]) + "\n")
    return size


def packed_pictures(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """Folders of cut-outs and of photographs that a pack holds; none where it holds none."""
    things, backgrounds = Path(folder) / _THINGS, Path(folder) / _BACKGROUNDS
    return [p for p in (things,) if p.is_dir()], [p for p in (backgrounds,) if p.is_dir()]


def is_pack(folder: str | Path) -> bool:
    """Whether a folder is a pack."""
    return (Path(folder) / PACK_NAME).is_file()


def read_pack(folder: str | Path) -> tuple[list[Recording], list[str]]:
    """Read a pack whole into memory.

    Returns:
        The recordings, and one sentence for each that cannot be read.

    Raises:
        LamdemoError: it is damaged as a whole.
    """
    folder = Path(folder)
    try:
        rows = json.loads((folder / PACK_NAME).read_text(encoding="utf-8-sig"))["recordings"]
    except (OSError, ValueError, KeyError) as error:
        raise LamdemoError(f"The pack {folder.name} is damaged; make it again with lamdemo pack.") from error

    problems: list[str] = []

    def one(row: dict[str, object]) -> Recording | None:
        frames = frames_of(folder / str(row["file"]))
        if len(frames) < 2:
            problems.append(f"{row['file']} of the pack {folder.name} cannot be read; make the pack again.")
            return None
        return Recording(str(row["name"]), np.stack(frames), float(str(row["fps"])))

    with ThreadPoolExecutor(8) as pool:
        found = [recording for recording in pool.map(one, rows) if recording is not None]
    if not found:
        raise LamdemoError(f"The pack {folder.name} is damaged; make it again with lamdemo pack.")
    return found, problems


def frames_of(video: Path | bytes) -> list[np.ndarray]:
    """All frames that OpenCV reads of a video, RGB; of what it cannot read, none."""
    # OpenCV does not keep the stream that it reads from, and crashes where nobody else does.
    stream: Any = None if isinstance(video, Path) else io.BytesIO(video)
    capture = cv2.VideoCapture(str(video)) if stream is None else cv2.VideoCapture(stream, cv2.CAP_FFMPEG, [])
    frames: list[np.ndarray] = []
    try:
        while True:
            there, frame = capture.read()
            if not there:
                return frames
            frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    finally:
        capture.release()
