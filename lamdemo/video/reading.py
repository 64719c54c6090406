"""Reading: the frames of a video or picture at the times and the size asked for, and nothing more.

Video goes through ffmpeg in a process of its own (:mod:`lamdemo.video.ffmpeg`), which seeks, samples and
scales as it reads, so the memory taken here is that of the frames asked for, whatever the file. Still pictures
go through Pillow, in a process of its own, too (:mod:`lamdemo.video.pictures`).

What is transparent is laid on white. Pixels of video that are not square are made so, rotation is applied, and
colours are brought to those of sRGB, so that frames look as a player shows them. Interlaced video comes as it is.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from lamdemo.core.errors import LamdemoError, shown_name
from lamdemo.video.ffmpeg import Budget, Process, ffmpeg_command, input_arguments, memory_for
from lamdemo.video.files import opened
from lamdemo.video.pictures import decode_picture, picture_format, slow, too_large
from lamdemo.video.probing import (
    BY_TIME,
    DEFAULT_LIMITS,
    STILL_FPS,
    ReadLimits,
    Source,
    VideoInfo,
    examine,
    through,
)

# How many seconds before the wanted time to land there. Broadcasts are searched by time alone and may land
# between two key frames; they have one every second or two, and one must still come before the wanted time.
_LEAD, _LONG_LEAD = 1.0, 12.0
# Seconds by which a frame may be late and still count as on screen: Matroska and FLV round times to 1 ms.
_SLACK = 0.001
_TURNS = ((), ("transpose=clock",), ("hflip", "vflip"), ("transpose=cclock",))  # by quarter turns


@dataclass(frozen=True)
class Clip:
    """Frames evenly spaced in time."""

    frames: np.ndarray  # uint8 [T, H, W, 3], RGB
    fps: float  # frames a second

    @property
    def seconds(self) -> float:
        """Duration: each frame stays ``1 / fps`` seconds."""
        return len(self.frames) / self.fps

    def __len__(self) -> int:
        """Number of frames ``T``."""
        return len(self.frames)


@dataclass(frozen=True)
class _Plan:
    """What to read: ``count`` frames (None: all that follow) at ``rate`` from ``start``."""

    source: Source
    start: float  # seconds
    rate: Fraction
    count: int | None
    most: int  # frames within the limit on seconds: a file that goes on longer than it says is refused there
    height: int
    width: int
    limits: ReadLimits
    budget: Budget


@dataclass(frozen=True)
class _Still:
    """A picture, which is read at once."""

    picture: np.ndarray  # uint8 [H, W, 3]
    fps: float


def _decode(plan: _Plan, *, within: float | None = None, seek: bool = True) -> Generator[np.ndarray, None, None]:
    """Frames uint8 ``[H, W, 3]`` of a plan, one at a time; the process lives as long as the generator.

    Given ``within``, they are the video's own frames of so many seconds before the plan's start instead.
    """
    source = plan.source
    lead = _lead(source)
    landing = min(plan.start, source.info.seconds or math.inf) - lead
    begin, search = source.begin, []
    # Some formats fail to land close to their beginning, and then go on from somewhere after it.
    if seek and source.seekable and landing >= lead:
        # The file's own time stamps: ffmpeg rounds the time it lands at to a tick, often a whole frame.
        # Not `-accurate_seek`, which drops the frame that is on screen at `start` but began before it.
        search = ["-copyts", "-noaccurate_seek", "-ss", f"{landing + float(begin):.6f}"]
        begin = source.begin_stored

    filters: list[str] = []
    if not source.info.is_image:
        began = plan.start + min(_SLACK, 0.5 / float(source.rate)) + (0.0 if source.restarted else float(begin))
        # Times that begin anew in the middle are none: such frames come one after another.
        time = f"N*{1_000_000 / source.rate}" if source.restarted else "PTS"
        filters += ["settb=1/1000000", f"setpts={time}-({round(began * 1_000_000)})"]
        # `up`: a frame shows from the first tick after it began; `start_time=0`: tick k is start + k / rate.
        sampling = f"fps={plan.rate.numerator}/{plan.rate.denominator}:start_time=0:round=up"
        filters.append(sampling if within is None else f"trim=start={-within}:end=0")
    turned = (plan.height, plan.width) if (source.turn or 0) % 2 else (plan.width, plan.height)
    filters += [*source.colouring.filters(*turned), *_TURNS[source.turn or 0]]
    count = plan.most + 1 if plan.count is None else plan.count
    arguments = [
        *input_arguments(max_pixels=plan.limits.max_pixels),
        # Frames whose size or colours change go through the same filters, which would else begin anew: the scaler
        # follows each frame. What ffmpeg turns frames with stands before it and does not, so it is ours, after it.
        *(() if source.turn is None else ("-reinit_filter", "0", *(("-noautorotate",) if source.turn else ()))),
        *source.colouring.decoder,
        *search,
        *("-i", "fd:", *through(",".join(filters), source.stream, source.cover), "-fps_mode", "passthrough"),
        *(("-frames:v", str(count)) if within is None else ()),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"),
    ]
    command = ffmpeg_command(arguments)
    memory = memory_for(plan.limits.max_pixels)
    with opened(source.path) as file, Process(command, source=file, budget=plan.budget, memory=memory) as process:
        while True:
            picture = np.empty((plan.height, plan.width, 3), np.uint8)
            # A frame that comes in part is one the process died in.
            if process.read_into(picture.data) < picture.nbytes:
                break
            yield picture
        if process.timed_out:
            raise slow(shown_name(source.path), plan.budget)


def _frames(plan: _Plan | _Still) -> Generator[np.ndarray, None, None]:
    """The frames of a plan, of which there is one at least."""
    if isinstance(plan, _Still):
        yield plan.picture
        return
    n, end = 0, plan.source.info.seconds
    if end and plan.start >= end:
        yield _last_before(plan)
        return
    with closing(_decode(plan)) as pictures:
        for picture in pictures:
            if n == plan.most:
                raise _too_long(shown_name(plan.source.path), None, plan.limits)
            n += 1
            yield picture
    if not n:
        # Sound may go on after the last frame, which then stays on screen.
        yield _last_before(plan)


def _last_before(plan: _Plan) -> np.ndarray:
    """The last frame that began at the plan's start or before."""
    end = plan.source.info.seconds
    # Nearly always it is of the last second; from the key frame on there may be hundreds.
    second = max(0.0, plan.start - end) + 1.0 if end else 1.0
    for within, seek in ((second, True), (1e9, True), (1e9, False)):
        last = None
        with closing(_decode(plan, within=within, seek=seek)) as pictures:
            for picture in pictures:
                last = picture
        if last is not None:
            return last
    raise LamdemoError(f"No frame of {shown_name(plan.source.path)} can be decoded there: it is damaged.")


def _fitted(info: VideoInfo, size: tuple[int, int] | None, max_side: int | None) -> tuple[int, int]:
    """Height and width of the frames asked for."""
    if size is not None:
        height, width = (int(side) for side in size)
    elif max_side is not None:
        ratio = min(1.0, int(max_side) / max(info.height, info.width))
        height, width = max(1, round(info.height * ratio)), max(1, round(info.width * ratio))
    else:
        height, width = info.height, info.width
    return height, width


def _planned(
    path: str | os.PathLike[str],
    *,
    fps: float | None,
    start: float,
    seconds: float | None,
    max_frames: int | None,
    size: tuple[int, int] | None,
    max_side: int | None,
    limits: ReadLimits,
    hold: bool = False,
) -> _Plan | _Still:
    """Probe the file, and refuse what may not be read before any of it is decoded.

    With ``hold`` a start past the end means the last frame.
    """
    name = shown_name(path)
    if fps is not None and not 1e-4 <= fps <= 1000:
        raise LamdemoError(f"{fps:g} frames a second cannot be read: choose a rate above 0 and up to 1000.")
    if not 0 <= start < math.inf:
        raise LamdemoError(f"{name} cannot be read from second {start:g}: start at 0 or later.")
    if seconds is not None and not 0 < seconds < math.inf:
        raise LamdemoError(f"{seconds:g} seconds of {name} cannot be read: ask for more than 0.")
    if max_frames is not None and max_frames < 1:
        raise LamdemoError(f"{max_frames} frames of {name} cannot be read: ask for one or more.")
    if size is not None and max_side is not None:
        raise ValueError("give size or max_side, not both")
    if min(size or (1,)) < 1 or (max_side is not None and max_side < 1):
        raise ValueError("frames need at least one pixel on each side")
    start = min(start, 1e9)  # no video is longer, and ffmpeg counts microseconds in 64 bits
    path, budget = Path(path), Budget(limits.timeout)
    if size is not None and size[0] * size[1] > limits.max_pixels:
        raise too_large(name, size[1], size[0], limits.max_pixels)
    if kind := picture_format(path):
        still = decode_picture(path, kind, size=size, max_side=max_side, max_pixels=limits.max_pixels, budget=budget)
        if still is not None:
            return _Still(still.pixels, fps or STILL_FPS)
    source = examine(path, limits, budget)
    height, width = _fitted(source.info, size, max_side)
    if height * width > limits.max_pixels:
        raise too_large(name, width, height, limits.max_pixels)
    if source.info.is_image:
        rate = source.rate if fps is None else Fraction(fps).limit_denominator(100_000)
        return _Plan(source, 0.0, rate, 1, 1, height, width, limits, budget)
    while True:
        info = source.info
        rate = source.rate if fps is None else Fraction(fps).limit_denominator(100_000)
        asked = min(
            math.inf if seconds is None else seconds, math.inf if max_frames is None else max_frames / float(rate)
        )
        span = min(asked, info.seconds - start if info.seconds else math.inf)
        past = info.seconds and start >= info.seconds and not hold
        if source.walked or not (past or limits.max_seconds < span < math.inf):
            break
        # The file's word is not enough to refuse.
        source = examine(path, limits, budget, walk=True)
    if past:
        raise LamdemoError(f"{name} ends after {info.seconds:g} seconds: start earlier than {start:g}.")
    if limits.max_seconds < span < math.inf:
        raise _too_long(name, span, limits)
    _decodable(name, source, start, span, limits)
    # Nor to cut the video short.
    count = None if asked == math.inf else _frames_in(asked, rate)
    most = _frames_in(limits.max_seconds, rate)
    return _Plan(source, float(start), rate, count, most, height, width, limits, budget)


def _decodable(name: str, source: Source, start: float, span: float, limits: ReadLimits) -> None:
    """See that so many seconds from a start do not need more pixels decoded than allowed."""
    info = source.info
    first = max(start - _lead(source), 0.0) if source.seekable else 0.0
    frames = (start - first + span) * info.fps
    if math.isfinite(frames) and frames * info.width * info.height > limits.max_decoded:
        raise LamdemoError(
            f"{name} has {frames:,.0f} frames of {info.width}×{info.height} pixels there, too many to be read in time: "
            "choose fewer seconds, or make it smaller first."
        )


def _lead(source: Source) -> float:
    """Seconds before a wanted time at which a search for it lands."""
    return _LONG_LEAD if source.formats & BY_TIME else _LEAD


def _frames_in(seconds: float, rate: Fraction) -> int:
    return max(1, math.ceil(seconds * float(rate) - 1e-6))


def _too_long(name: str, seconds: float | None, limits: ReadLimits) -> LamdemoError:
    more = "All" if seconds is None else f"{seconds:.0f} seconds"
    return LamdemoError(
        f"{more} of {name} is more than the {limits.max_seconds:g} seconds that are read at once: choose "
        "a start and fewer seconds."
    )


def _gathered(plan: _Plan | _Still) -> Clip:
    """All frames of a plan in one array, allocated once where the file tells its length truly."""
    if isinstance(plan, _Still):
        return Clip(plan.picture[None], plan.fps)
    name = shown_name(plan.source.path)
    told = plan.source.info.seconds - plan.start
    # One frame more than told, for rounding. Room that no frame is written to costs no memory.
    room = min(_frames_in(told, plan.rate) + 1 if told > 0 else 64, plan.most)
    if plan.count is not None:
        room = min(room, plan.count)
    _affordable(name, room, plan)
    frames, n = np.empty((room, plan.height, plan.width, 3), np.uint8), 0
    with closing(_frames(plan)) as pictures:
        for picture in pictures:
            if n == len(frames):
                _affordable(name, n + 1, plan)
                more = np.empty((n // 2 + 1, *picture.shape), np.uint8)
                frames = np.concatenate([frames, more])
            frames[n] = picture
            n += 1
    return Clip(frames[:n], float(plan.rate))


def _affordable(name: str, frames: int, plan: _Plan) -> None:
    needed, allowed = (n / 2**30 for n in (frames * plan.height * plan.width * 3, plan.limits.max_bytes))
    if needed > allowed:
        raise LamdemoError(
            f"{frames} frames of {name} at {plan.width}×{plan.height} take {needed:.3g} GiB of {allowed:.3g} "
            "allowed: ask for fewer or smaller ones."
        )


def probe(path: str | os.PathLike[str], limits: ReadLimits = DEFAULT_LIMITS) -> VideoInfo:
    """Tell what a file holds, by decoding its first frame.

    Args:
        path: a local file.
        limits: what it may cost.

    Raises:
        LamdemoError: it is missing, no video or picture, damaged, or its frames are over the limit.
    """
    path, budget = Path(path), Budget(limits.timeout)
    if kind := picture_format(path):
        still = decode_picture(path, kind, size=(1, 1), max_pixels=limits.max_pixels, budget=budget)
        if still is not None:
            return VideoInfo(still.width, still.height, STILL_FPS, 0.0, True, still.codec)
    return examine(path, limits, budget).info


def read_clip(
    path: str | os.PathLike[str],
    *,
    fps: float | None = None,
    start: float = 0.0,
    seconds: float | None = None,
    max_frames: int | None = None,
    size: tuple[int, int] | None = None,
    max_side: int | None = None,
    limits: ReadLimits = DEFAULT_LIMITS,
) -> Clip:
    """Read frames evenly spaced in time: frame ``k`` is what is on screen at ``start + k / fps``.

    A file that breaks off gives the frames before the break. A still picture gives one frame, whatever
    ``start`` and ``seconds`` say.

    Args:
        path: a local file.
        fps: frames a second; None for the video's own rate, its average where it varies.
        start: where to begin, in seconds.
        seconds: how much to read; None for all that follows. Less comes where the video ends before.
        max_frames: at most so many frames.
        size: (height, width) of the frames, exactly, stretched where needed.
        max_side: longest side of the frames, which keep their aspect and are never enlarged.
        limits: what it may cost.

    Returns:
        Frames uint8 ``[T, H, W, 3]`` with ``T >= 1``, and their rate.

    Raises:
        LamdemoError: the file cannot be read, ``start`` is past its end, or a limit is passed.
        ValueError: both ``size`` and ``max_side`` are given, or one of them is below 1.
    """
    plan = _planned(
        path,
        fps=fps,
        start=start,
        seconds=seconds,
        max_frames=max_frames,
        size=size,
        max_side=max_side,
        limits=limits,
    )
    return _gathered(plan)


def iter_frames(
    path: str | os.PathLike[str],
    *,
    fps: float | None = None,
    start: float = 0.0,
    seconds: float | None = None,
    max_frames: int | None = None,
    size: tuple[int, int] | None = None,
    max_side: int | None = None,
    limits: ReadLimits = DEFAULT_LIMITS,
) -> Iterator[np.ndarray]:
    """The frames of :func:`read_clip` one by one, uint8 ``[H, W, 3]``, for what is too large to be held.

    Arguments and errors are those of :func:`read_clip`, without the limit on bytes. Close the iterator to end
    early; ffmpeg is gone when it is closed or collected.
    """
    return _frames(
        _planned(
            path,
            fps=fps,
            start=start,
            seconds=seconds,
            max_frames=max_frames,
            size=size,
            max_side=max_side,
            limits=limits,
        )
    )


def read_image(
    path: str | os.PathLike[str], *, max_side: int | None = 1280, limits: ReadLimits = DEFAULT_LIMITS
) -> np.ndarray:
    """Read a picture, or the first frame of a video.

    Args:
        path: a local file.
        max_side: longest side of what is returned, never enlarged; None for the file's own size.
        limits: what it may cost.

    Returns:
        uint8 ``[H, W, 3]``.

    Raises:
        LamdemoError: the file cannot be read, or is too large.
    """
    return read_clip(path, max_frames=1, max_side=max_side, limits=limits).frames[0]


def read_frame(
    path: str | os.PathLike[str],
    at_seconds: float,
    max_side: int | None = 1280,
    limits: ReadLimits = DEFAULT_LIMITS,
) -> np.ndarray:
    """Read what is on screen at a time; after the end that is the last frame.

    Args:
        path: a local file.
        at_seconds: the time, 0 or later.
        max_side: longest side of what is returned, never enlarged; None for the video's own size.
        limits: what it may cost.

    Returns:
        uint8 ``[H, W, 3]``.

    Raises:
        LamdemoError: the file cannot be read, or the time is negative.
    """
    return _gathered(
        _planned(
            path,
            fps=None,
            start=at_seconds,
            seconds=None,
            max_frames=1,
            size=None,
            max_side=max_side,
            limits=limits,
            hold=True,
        )
    ).frames[0]
