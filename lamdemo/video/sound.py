"""The sound of one video, put under the frames of another."""

from __future__ import annotations

import os
from pathlib import Path

from lamdemo.core.errors import LamdemoError, shown_name
from lamdemo.video.ffmpeg import Budget, Process, ffmpeg_command, input_arguments
from lamdemo.video.files import opened, replacing
from lamdemo.video.probing import DEFAULT_LIMITS

_MOST_BYTES = 1 << 32  # of the video with its sound


def add_sound(
    video: str | os.PathLike[str],
    source: str | os.PathLike[str],
    *,
    start: float = 0.0,
    seconds: float,
    repeat: int = 1,
) -> bool:
    """Put a part of a file's sound under an MP4, whose frames stay as they are.

    Args:
        video: an MP4 without sound; it is replaced once the new one is whole.
        source: file with the sound.
        start: of the part, in seconds.
        seconds: how long the part is; silence follows where the sound ends before.
        repeat: how often the part is heard, one after another.

    Returns:
        Whether there is any sound in the file; without any the video stays as it is.

    Raises:
        LamdemoError: the source cannot be read, or the sound cannot be put there.
    """
    video, source = Path(video), Path(source)
    samples = round(seconds * 48_000)
    filters = f"aresample=48000,apad=whole_len={samples},atrim=end_sample={samples}"
    if repeat > 1:
        filters += f",aloop=loop={repeat - 1}:size={samples}"
    with replacing(video) as temporary:
        arguments = [
            *("-protocol_whitelist", "file", "-i", f"file:{video.name}"),
            *(*input_arguments(max_pixels=DEFAULT_LIMITS.max_pixels), "-ss", f"{start:.6f}", "-i", "fd:"),
            *("-map", "0:v:0", "-map", "1:a:0", "-c:v", "copy", "-af", filters, "-c:a", "aac", "-b:a", "160k"),
            *("-t", f"{seconds * repeat:.6f}", "-movflags", "+faststart", "-f", "mp4", "-y", f"file:{temporary.name}"),
        ]
        budget = Budget(DEFAULT_LIMITS.timeout)
        command, where = ffmpeg_command(arguments), temporary.parent
        with (
            opened(source) as file,
            Process(command, source=file, budget=budget, writes=_MOST_BYTES, folder=where) as process,
        ):
            done = process.finish()
            silent = "matches no streams" in process.log
        if done:
            return True
        if not silent:
            raise LamdemoError(f"The sound of {shown_name(source)} cannot be taken along; leave it out.")
        temporary.unlink()
        temporary.write_bytes(video.read_bytes())
    return False
