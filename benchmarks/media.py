"""Files: reading a clip as the program does, and writing one."""

from __future__ import annotations

import inspect
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from benchmarks.material import frames_for
from benchmarks.measuring import BETWEEN, CLIP, SIZES, Settings, entry, timed
from lamdemo.video import read_clip, write_video
from lamdemo.video.ffmpeg import ffmpeg_command

FPS, SECONDS, SIDE = 4.0, 4.0, 640  # steps a second, of the first example, and the longest side that is read


def _run(arguments: Sequence[str]) -> None:
    subprocess.run(ffmpeg_command(arguments), check=True, stdin=subprocess.DEVNULL, capture_output=True)


def decode(settings: Settings) -> dict[str, Any]:
    """Reading the first example's clip at the rate of its frames; the floor is ffmpeg decoding it to nowhere."""
    fps = FPS * (BETWEEN + 1)
    seconds = timed(lambda: _run(["-t", str(SECONDS), "-i", str(CLIP), "-f", "null", "-"]), settings.repeats)
    floor = {"seconds": seconds["median"], "of": "ffmpeg decoding the same seconds to nowhere"}
    reading = timed(lambda: read_clip(CLIP, fps=fps, seconds=SECONDS, max_side=SIDE), settings.repeats)
    return {f"decode and resample {SECONDS:g} s at {fps:g} frames a second": entry(reading, floor)}


def write(settings: Settings) -> dict[str, Any]:
    """Writing 49 frames of each size; the floor is x264 alone, from frames already in its own colours."""
    told = {}
    frames = frames_for(16, FPS)
    defaults = {name: str(one.default) for name, one in inspect.signature(write_video).parameters.items()}
    same = ["-c:v", "libx264", "-preset", defaults["preset"], "-crf", defaults["crf"]]
    with tempfile.TemporaryDirectory(prefix="lamdemo-") as scratch:
        raw, out = Path(scratch, "frames.yuv"), Path(scratch, "video.mp4")
        for width, height in SIZES:
            pictures = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
            seconds = timed(lambda p=pictures: write_video(out, p, 12), settings.repeats)  # type: ignore[misc]
            _run(["-i", str(out), "-f", "rawvideo", "-pix_fmt", "yuv420p", "-y", str(raw)])
            how = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-framerate", "12"]
            alone = [*how, "-i", str(raw), *same, "-f", "null", "-"]
            least = timed(lambda a=alone: _run(a), settings.repeats)["median"]  # type: ignore[misc]
            floor = {"seconds": least, "of": "x264 with the same settings, from raw frames of its own colours"}
            told[f"write {len(pictures)} frames, {width}x{height}"] = entry(seconds, floor)
    return told
