"""What a visitor gives: reading a source and a target, and what the page shows of them."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import aside
from lamdemo.video import ReadLimits, VideoInfo, probe, read_clip, read_frame, read_image, write_image, write_video

if TYPE_CHECKING:
    from lamdemo.core.latent_actions import LatentActions
    from lamdemo.engine import TransferPipeline

MOST_SHOWN = 80  # steps of a source that are on show at once
USUAL_STEPS = 16
BETWEEN = 2  # frames between two steps, so that four steps a second play at twelve frames a second
SOURCE_SIDE, TARGET_SIDE = 640, 1280  # longest sides in pixels
# What is decoded at most is twenty seconds of 4K at 120 frames a second.
LIMITS = ReadLimits(max_seconds=60, max_pixels=50_000_000, max_bytes=1 << 29, timeout=60, max_decoded=20e9)
_THUMB = 72  # pixels down of a picture in the filmstrip


DECODERS = 4  # files that are read at once
_decoders = threading.BoundedSemaphore(DECODERS)


@contextmanager
def reading() -> Iterator[None]:
    """While it is entered files are read: others may compute meanwhile, and no more than a few read at once.

    A file made to take long must not hold up the line at the model. No lock may be held that another's unit wants.
    """
    with aside(), _decoders:
        yield


@dataclass(frozen=True)
class SourceView:
    """What the page shows of a source: up to `MOST_SHOWN` steps of it."""

    path: str  # the file
    begin: float  # where the steps begin, in seconds
    seconds: float  # length of the whole file
    fps: float  # steps a second
    sizes: tuple[float, ...]  # how much happens in each step, the latent's norm, S of them
    aspect: float  # width over height
    strip: Path  # JPEG of the S + 1 frames side by side
    video: Path  # MP4 of the steps, with the frames between them
    latents: LatentActions | None = None  # the actions, or None where they must be inferred again
    checkpoint: str = ""  # hash of the checkpoint that inferred them
    # Which steps lie outside what it saw in training, S of them; empty where that is not known.
    far: tuple[bool, ...] = ()

    @property
    def window(self) -> float:
        """Seconds that can be on show at once."""
        return MOST_SHOWN / self.fps

    @property
    def liveliest(self) -> tuple[int, int]:
        """First step, and the one after the last, of those `USUAL_STEPS` in which most happens."""
        squares = np.cumsum([0.0, *(size**2 for size in self.sizes)])
        span = min(USUAL_STEPS, len(self.sizes))
        first = int(np.argmax(squares[span:] - squares[: len(squares) - span]))
        return first, first + span


@dataclass(frozen=True)
class TargetView:
    """What the page shows of a target."""

    path: str  # the file
    seconds: float  # length of a clip; 0 for a picture
    moment: float  # which time of a clip is meant, in seconds
    picture: Path  # JPEG of it
    aspect: float  # width over height


def named(path: str | None, what: str) -> str:
    """The file of an input.

    Args:
        path: of the file.
        what: "source" or "target".

    Raises:
        LamdemoError: there is none, or it is gone.
    """
    if not path:
        raise LamdemoError(f"There is no {what} yet; {_MEND[what]}")
    if not os.path.exists(path):
        raise LamdemoError(f"The {what} was removed from the server after an hour; upload it again.")
    return path


_MEND = {
    "source": "upload a video on the left, or click an example.",
    "target": "upload a picture or a clip in the middle, or click an example.",
}


def examined(path: str | None, what: str) -> VideoInfo:
    """What a file of a visitor holds, after a look whether it can be of use.

    Args:
        path: of the file.
        what: "source" or "target".

    Raises:
        LamdemoError: there is none, it cannot be read, is too small, or is a picture where a video is needed.
    """
    path = named(path, what)
    with reading():
        try:
            status = os.stat(path)
            info = _probed(path, status.st_size, status.st_mtime_ns, status.st_ino)
        except OSError:
            info = probe(path, LIMITS)
    if what == "source" and info.is_image:
        raise LamdemoError("The source is a single picture; an action needs a video, so give one as the source.")
    if min(info.width, info.height) < 16:
        raise LamdemoError(f"The {what} is only {info.width}×{info.height} pixels; give one of 16×16 or more.")
    return info


@functools.lru_cache(maxsize=256)
def _probed(path: str, *_: int) -> VideoInfo:
    """What is in a file as long as its size, its time and its number are the same: it is looked at again and again."""
    return probe(path, LIMITS)


def read_source(path: str, begin: float, fps: float, first: int, steps: int) -> np.ndarray:
    """Frames of a source at ``BETWEEN + 1`` times ``fps``, up to ``steps`` steps and no half step."""
    pace = BETWEEN + 1
    with reading():
        frames = read_clip(
            path,
            fps=fps * pace,
            start=begin + first / fps,
            max_frames=steps * pace + 1,
            max_side=SOURCE_SIDE,
            limits=LIMITS,
        ).frames
    return frames[: (len(frames) - 1) // pace * pace + 1]


def look_at_source(pipeline: TransferPipeline, path: str | None, begin: float, folder: Path) -> SourceView:
    """Read up to `MOST_SHOWN` steps of a source and tell how much happens in each.

    Args:
        pipeline: which infers the actions.
        path: file of the source.
        begin: where to begin, in seconds.
        folder: where to write what is shown.

    Raises:
        LamdemoError: there is none, it cannot be read, or it has fewer than two frames.
    """
    path = named(path, "source")
    info = examined(path, "source")
    fps = pipeline.fps
    begin = min(max(begin, 0.0), max(info.seconds - 2 / fps, 0.0))
    smooth = read_source(path, begin, fps, 0, MOST_SHOWN)
    frames = smooth[:: BETWEEN + 1]
    if len(frames) < 2:
        raise LamdemoError(
            f"The source is too short; give a video of {1 / fps:g} seconds or more, with two frames at least."
        )
    latents = pipeline.infer(frames, refinement=0)
    scores = pipeline.out_of_distribution(latents)
    height, width = frames.shape[1:3]
    # A JPEG is 65535 pixels wide at most; a very wide source is squeezed.
    size = (min(max(1, round(_THUMB * width / height)), 4 * _THUMB, 65000 // len(frames)), _THUMB)
    strip = np.concatenate([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames], axis=1)
    return SourceView(
        path=path,
        begin=begin,
        seconds=info.seconds,
        fps=fps,
        sizes=tuple(float(size) for size in latents.size),
        aspect=width / height,
        strip=write_image(folder / "filmstrip.jpg", strip),
        video=write_video(folder / "clip.mp4", smooth, fps * (BETWEEN + 1), crf=23),
        latents=latents,
        checkpoint=pipeline.checkpoint,
        far=() if scores is None else tuple(bool(far) for far in scores.far),
    )


def look_at_target(path: str | None, moment: float, folder: Path) -> TargetView:
    """Read a target's picture, or the picture of a clip at a moment.

    Raises:
        LamdemoError: there is none, or it cannot be read.
    """
    path = named(path, "target")
    info = examined(path, "target")
    with reading():
        moment = 0.0 if info.is_image else min(max(moment, 0.0), info.seconds)
        picture = (
            read_image(path, max_side=SOURCE_SIDE, limits=LIMITS)
            if info.is_image
            else read_frame(path, moment, SOURCE_SIDE, LIMITS)
        )
    return TargetView(
        path=path,
        seconds=0.0 if info.is_image else info.seconds,
        moment=moment,
        picture=write_image(folder / "target.jpg", picture),
        aspect=picture.shape[1] / picture.shape[0],
    )


def read_target(path: str | None, moment: float, fps: float, max_side: int = TARGET_SIDE) -> np.ndarray:
    """The target as the pipeline takes it: a picture, or a moment of a clip with up to four frames before it.

    Args:
        path: of the file.
        moment: which time of a clip is meant, in seconds.
        fps: steps a second.
        max_side: longest side in pixels.

    Returns:
        uint8 ``[T, H, W, 3]``, the last of which is the picture to begin from.

    Raises:
        LamdemoError: there is none, or it cannot be read.
    """
    path = named(path, "target")
    info = examined(path, "target")
    with reading():
        if info.is_image:
            return read_image(path, max_side=max_side, limits=LIMITS)[None]
        moment = min(max(moment, 0.0), info.seconds)
        last = read_frame(path, moment, max_side, LIMITS)
        before = min(4, int(moment * fps))
        if not before:
            return last[None]
        clip = read_clip(
            path,
            fps=fps,
            start=moment - before / fps,
            max_frames=before,
            max_side=max_side,
            limits=LIMITS,
        )
    return np.concatenate([clip.frames, last[None]])
