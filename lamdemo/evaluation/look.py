"""A look by eye: the same clips of people and animals on the same pictures under each checkpoint, as one sheet.

The cases are fixed (``examples/look.json``), so that sheets of different checkpoints can be laid side by side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import write_safely
from lamdemo.engine import TransferPipeline
from lamdemo.video import read_clip, read_image

CASES_NAME = "look.json"
STEPS = 6
SHOWN = (0, 2, 4, 6)  # after how many steps
MOST_BYTES = 1_500_000
_PANEL = (108, 160)  # height and width
_GAP, _LINE, _COLUMNS = 4, 20, 2
_QUALITIES = (90, 80, 70, 60)


@dataclass(frozen=True)
class LookCase:
    """A transfer to look at."""

    clip: Path  # file of the source
    start: float  # where it begins, in seconds
    photo: Path  # file of the target

    def __str__(self) -> str:
        return f"{self.clip.stem} {self.start:g} s > {self.photo.stem}"


def read_cases(path: Path) -> list[LookCase]:
    """Cases from a JSON list of ``clip``, ``start`` and ``photo``.

    Files lie in ``clips/`` and ``photos/`` beside it, or else where they say, as seen from it.

    Raises:
        LamdemoError: it cannot be read, or a file is missing.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        cases = [
            LookCase(_found(path, "clips", row["clip"]), float(row["start"]), _found(path, "photos", row["photo"]))
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LamdemoError(f"{path.name} is no list of cases with clip, start and photo; give one that is.") from error
    missing = [file.name for case in cases for file in (case.clip, case.photo) if not file.is_file()]
    if missing or not cases:
        raise LamdemoError(f"{path.name} names {missing[0] if missing else 'no case'}, which is not there; mend it.")
    return cases


def _found(path: Path, folder: str, name: str) -> Path:
    ours = path.parent / folder / name
    return ours if ours.is_file() else path.parent / name


def look_sheet(
    pipeline: TransferPipeline, cases: Sequence[LookCase], *, say: Callable[[str], None] = lambda words: None
) -> np.ndarray:
    """Transfer each case and lay all of them out.

    Args:
        pipeline: of the checkpoint.
        cases: to look at.
        say: is told of each case.

    Returns:
        uint8 ``[H, W, 3]``: for each case the source above and the transfer below, after each of `SHOWN` steps.

    Raises:
        LamdemoError: a file cannot be read, or a clip is shorter than `STEPS` steps from its start.
    """
    blocks = []
    for number, case in enumerate(cases, 1):
        read = read_clip(case.clip, fps=pipeline.fps, start=case.start, max_frames=STEPS + 1, max_side=640)
        if len(read.frames) <= STEPS:
            raise LamdemoError(f"{case.clip.name} is shorter than {STEPS} steps from {case.start:g} s; begin earlier.")
        result = pipeline.transfer(read.frames, read_image(case.photo, max_side=1024))
        blocks.append(_block(f"{number}  {case}", [read.frames, result.frames]))
        say(f"{number} of {len(cases)}: {case}")
    title = f"{pipeline.name} {pipeline.checkpoint[:8]}: source, and transfer below, after {_listed(SHOWN)} steps"
    rows = [_side_by_side(blocks[i : i + _COLUMNS]) for i in range(0, len(blocks), _COLUMNS)]
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 3 * _GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate([_words(title, width), *rows])


def _listed(numbers: Sequence[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _block(title: str, clips: Sequence[np.ndarray]) -> np.ndarray:
    rows = []
    for clip in clips:
        row = np.concatenate([np.pad(_fitted(clip[t]), ((0, _GAP), (0, _GAP), (0, 0)), "edge") for t in SHOWN], 1)
        row[-_GAP:] = 255
        for i in range(len(SHOWN)):
            end = (i + 1) * (_PANEL[1] + _GAP)
            row[:, end - _GAP : end] = 255
        rows.append(row)
    return np.concatenate([_words(title, rows[0].shape[1]), *rows])


def _fitted(picture: np.ndarray) -> np.ndarray:
    """The whole of a picture within a panel, on white."""
    height, width = picture.shape[:2]
    scale = min(_PANEL[0] / height, _PANEL[1] / width)
    h, w = round(height * scale), round(width * scale)
    panel = np.full((*_PANEL, 3), 255, np.uint8)
    top, left = (_PANEL[0] - h) // 2, (_PANEL[1] - w) // 2
    panel[top : top + h, left : left + w] = cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA)
    return panel


def _side_by_side(blocks: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.pad(b, ((0, 0), (0, 3 * _GAP), (0, 0)), constant_values=255) for b in blocks], 1)


def _words(text: str, width: int) -> np.ndarray:
    line = np.full((_LINE, width, 3), 255, np.uint8)
    return np.asarray(cv2.putText(line, text, (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (20, 20, 20), 1, cv2.LINE_AA))


def write_look(sheet: np.ndarray, out: Path) -> Path:
    """Write a sheet as a JPEG of at most `MOST_BYTES`.

    Raises:
        LamdemoError: the name does not end in .jpg, it would be too large, or it cannot be written.
    """
    if out.suffix.lower() not in (".jpg", ".jpeg"):
        raise LamdemoError(f"{out.name} does not end in .jpg, the one kind of sheet written; rename it.")
    for quality in _QUALITIES:
        data = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= MOST_BYTES:
            break
    else:
        raise LamdemoError(f"{out.name} would be larger than {MOST_BYTES:,} bytes; look at fewer cases at a time.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_safely(out, data)
    except OSError as error:
        raise LamdemoError(f"{out.name} cannot be written there; choose another place.") from error
    return out
