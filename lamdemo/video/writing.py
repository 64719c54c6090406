"""Writing videos that a browser plays, and pictures; what is there is whole, or it is not there."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from lamdemo.core.errors import LamdemoError, reason, shown_name
from lamdemo.video.ffmpeg import Budget, Process, ffmpeg_command
from lamdemo.video.files import replacing

_PICTURES = {
    ".png": [],
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 95],
    ".bmp": [],
}


def _checked(picture: np.ndarray) -> np.ndarray:
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim != 3:
        raise ValueError("a picture is a uint8 array [H, W, 3]")
    if picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"a picture is a uint8 array [H, W, 3] with pixels, not {list(picture.shape)}")
    return picture


def write_video(
    path: str | os.PathLike[str],
    frames: np.ndarray | Iterable[np.ndarray],
    fps: float,
    *,
    crf: int = 18,
    preset: str = "veryfast",
) -> Path:
    """Write frames as an MP4 that browsers play and start at once: H.264, 4:2:0, BT.709.

    Such a video has even sides; an odd one gets one pixel more, a copy of the last row or column.

    Args:
        path: where to, ending in ``.mp4``; what was there is replaced once the new one is whole.
        frames: uint8 ``[T, H, W, 3]``, or such pictures one by one, all of one size.
        fps: frames a second.
        crf: 0 (no loss) to 51, x264's constant rate factor; 18 is hard to tell from the frames.
        preset: x264's. "fast" takes twice the time for 2 dB less error at the same size of file.

    Returns:
        ``path``.

    Raises:
        LamdemoError: there is no frame, the name does not end in ``.mp4``, or its folder cannot be written.
        ValueError: the frames are no uint8 pictures of one size, or ``fps`` or ``crf`` is out of range.
    """
    path = Path(path)
    name = shown_name(path)
    if path.suffix.lower() != ".mp4":
        raise LamdemoError(f"{name} does not end in .mp4, the one kind of video written: rename it.")
    if not (0 < fps < math.inf and 0 <= crf <= 51):
        raise ValueError(f"fps must be above 0 and crf from 0 to 51, not {fps} and {crf}")
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise LamdemoError(f"There are no frames to write to {name}: give at least one.")
    height, width = _checked(first).shape[:2]
    odd = ((0, height % 2), (0, width % 2), (0, 0))
    rate = Fraction(fps).limit_denominator(1001) or Fraction(fps).limit_denominator(1_000_000)

    with replacing(path) as temporary:
        arguments = [
            *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width + width % 2}x{height + height % 2}"),
            *("-framerate", f"{rate.numerator}/{rate.denominator}", "-protocol_whitelist", "pipe", "-i", "pipe:0"),
            *("-vf", "scale=flags=bicubic+accurate_rnd+full_chroma_int:out_color_matrix=bt709:out_range=limited"),
            *("-c:v", "libx264", "-preset", preset, "-crf", str(crf), "-pix_fmt", "yuv420p"),
            *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"),
            # Its own name and a folder to run in, so that no name of the user's is ever read as an option.
            *("-movflags", "+faststart", "-f", "mp4", "-y", f"file:{temporary.name}"),
        ]
        with Process(ffmpeg_command(arguments), source=None, budget=Budget(None), folder=temporary.parent) as process:
            picture: np.ndarray | None = first
            while picture is not None:
                if _checked(picture).shape != first.shape:
                    raise ValueError(f"frames differ in size: {first.shape[:2]} and {picture.shape[:2]}")
                # A process that takes no more has failed, which finish() tells.
                even = np.pad(picture, odd, mode="edge") if height % 2 or width % 2 else picture
                if not process.write(np.ascontiguousarray(even).data):
                    break
                picture = next(pictures, None)
            if not process.finish():
                full = "No space left" in process.log
                why = "the disk is full" if full else "ffmpeg could not encode it"
                raise LamdemoError(f"{name} was not written, {why}: free some space or try a smaller one.")
    return path


def write_gif(path: str | os.PathLike[str], frames: np.ndarray, fps: float) -> Path:
    """Write frames as an endless GIF, each with 128 colours of its own.

    Args:
        path: where to; what was there is replaced once the new one is whole.
        frames: uint8 ``[T, H, W, 3]``, at least one.
        fps: frames a second, 50 at most, as browsers show no more.

    Returns:
        ``path``.

    Raises:
        LamdemoError: the folder cannot be written.
    """
    pictures = [Image.fromarray(_checked(f)).quantize(128, Image.Quantize.FASTOCTREE) for f in frames]
    return _animate(path, pictures, "GIF", duration=max(round(1000 / fps), 20))


def write_webp(path: str | os.PathLike[str], frames: np.ndarray, fps: float, *, quality: int = 80) -> Path:
    """Write frames as an endless animated WebP: a third of a GIF's size, with all colours.

    Args:
        path: where to; what was there is replaced once the new one is whole.
        frames: uint8 ``[T, H, W, 3]``, at least one.
        fps: frames a second.
        quality: 0 to 100.

    Returns:
        ``path``.

    Raises:
        LamdemoError: the folder cannot be written.
    """
    pictures = [Image.fromarray(_checked(f)) for f in frames]
    # Whole milliseconds, their rounding not summed up.
    ends = [round(1000 * (t + 1) / fps) for t in range(len(pictures))]
    durations = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    return _animate(path, pictures, "WEBP", duration=durations, quality=quality, method=2)


def _animate(path: str | os.PathLike[str], pictures: Sequence[Image.Image], kind: str, **how: Any) -> Path:
    """Write an endless animation by Pillow; ``how`` is what its writer of this kind takes."""
    with replacing(Path(path)) as temporary:
        try:
            pictures[0].save(temporary, kind, save_all=True, append_images=pictures[1:], loop=0, **how)
        except OSError as error:
            raise LamdemoError(f"{shown_name(path)} was not written, {reason(error)}: free some space.") from error
    return Path(path)


def write_image(path: str | os.PathLike[str], picture: np.ndarray) -> Path:
    """Write a picture as PNG, JPEG, WebP or BMP, by its name's ending.

    Args:
        path: where to; what was there is replaced once the new one is whole.
        picture: uint8 ``[H, W, 3]``, RGB.

    Returns:
        ``path``.

    Raises:
        LamdemoError: the ending is none of these, or the folder cannot be written.
        ValueError: it is no uint8 picture.
    """
    path = Path(path)
    options = _PICTURES.get(path.suffix.lower())
    if options is None:
        raise LamdemoError(f"{shown_name(path)} does not end in .png, .jpg, .webp or .bmp: rename it.")
    try:
        done, data = cv2.imencode(path.suffix.lower(), cv2.cvtColor(_checked(picture), cv2.COLOR_RGB2BGR), options)
    except cv2.error:
        done = False
    if not done:
        raise LamdemoError(f"{shown_name(path)} cannot hold a picture of that size: make it smaller.")
    with replacing(path) as temporary:
        try:
            temporary.write_bytes(data.tobytes())
        except OSError as error:
            raise LamdemoError(f"{shown_name(path)} cannot be written there: {reason(error)}.") from error
    return path
