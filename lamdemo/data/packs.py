"""Packs: a training set made small enough to travel to a machine that has a GPU and nothing else.

A pack is a folder of short H.264 files, scaled and thinned as the cache would, and a ``pack.json`` that names
them. It is read with OpenCV, so no ffmpeg is needed where it arrives.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from lamdemo.data.videos import Recording
from lamdemo.errors import LamdemoError
from lamdemo.video import write_video

PACK_NAME = "pack.json"


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
        write_video(out / file, small, recording.fps, crf=crf)
        return {"file": file, "name": recording.name, "fps": recording.fps, "frames": len(frames)}

    with ThreadPoolExecutor(2) as pool:
        rows = list(tqdm(pool.map(one, enumerate(recordings)), total=len(recordings), desc="packing", disable=None))
    (out / PACK_NAME).write_text(json.dumps({"recordings": rows}, indent=0))
    return sum(p.stat().st_size for p in out.iterdir())


def is_pack(folder: str | Path) -> bool:
    """Whether a folder is a pack."""
    return (Path(folder) / PACK_NAME).is_file()


def read_pack(folder: str | Path) -> list[Recording]:
    """Read a pack whole into memory.

    Raises:
        LamdemoError: it is damaged.
    """
    folder = Path(folder)
    try:
        rows = json.loads((folder / PACK_NAME).read_text())["recordings"]
    except (OSError, ValueError, KeyError) as error:
        raise LamdemoError(f"The pack {folder.name} is damaged; make it again with lamdemo pack.") from error

    def one(row: dict[str, object]) -> Recording:
        capture = cv2.VideoCapture(str(folder / str(row["file"])))
        frames = []
        try:
            while True:
                there, frame = capture.read()
                if not there:
                    break
                frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        finally:
            capture.release()
        if len(frames) < 2:
            raise LamdemoError(f"{row['file']} of the pack {folder.name} cannot be read; make the pack again.")
        return Recording(str(row["name"]), np.stack(frames), float(str(row["fps"])))

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, rows))
