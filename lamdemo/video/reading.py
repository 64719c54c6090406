"""Reading: what a video or picture is, its frames at the times and the size asked for, and nothing more.

Everything goes through ffmpeg in a process of its own (:mod:`lamdemo.video.ffmpeg`), which seeks, samples and
scales as it reads, so the memory taken here is that of the frames asked for, whatever the file.

What is transparent is laid on white. Pixels that are not square are made so, rotation is applied, and
video of high dynamic range is brought to the ordinary one, so that frames look as a player shows them.
Interlaced video comes as it is.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np

from lamdemo.errors import LamdemoError
from lamdemo.video.ffmpeg import Budget, Process, input_arguments

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .dv .flv .gif .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob "
    ".webm .wmv .y4m".split()
)
STILL_FPS = 1.0  # rate given to a picture, which has none: a clip of it is then one second of one frame

# Formats whose index (or search) is trusted to find a key frame before a time. The others are read from
# their beginning: in a GIF each frame needs those before it, a raw stream has no times to search for.
_SEEKABLE = {"mov", "matroska", "avi", "asf", "flv", "nut", "mxf", "ogg", "wtv", "mpegts", "mpeg"}
# How many seconds before the wanted time to land there. Broadcasts are searched by time alone and may land
# between two key frames; they have one every second or two, and one must still come before the wanted time.
_LEAD, _LONG_LEAD = 1.0, 12.0
_BY_TIME = {"mpegts", "mpeg", "wtv"}
# Seconds by which a frame may be late and still count as on screen: Matroska and FLV round times to 1 ms.
_SLACK = 0.001

_ALPHA = re.compile(r"yuva|rgba|bgra|argb|abgr|gbrap|ya8|ya16|yaf|pal8|vuya|ayuv|uyva|v30xa|rgb32|bgr32")
_WIDE = {"smpte2084", "arib-std-b67"}  # transfers of high dynamic range: PQ and HLG
_TOO_LARGE = re.compile(r"(?:Picture|Frame) size (\d+)x(\d+) (?:exceeds|is invalid)")


@dataclass(frozen=True)
class ReadLimits:
    """What one read may cost.

    Attributes:
        max_seconds: seconds of source video read at once.
        max_pixels: pixels of one frame, both as stored and as returned.
        max_bytes: bytes of all the frames returned together.
        timeout: wall seconds spent waiting for ffmpeg.
    """

    max_seconds: float = 600.0
    max_pixels: int = 64_000_000
    max_bytes: int = 2 << 30
    timeout: float = 120.0


DEFAULT_LIMITS = ReadLimits()


@dataclass(frozen=True)
class VideoInfo:
    """What a file holds.

    Attributes:
        width: pixels across as displayed: after rotation, with square pixels.
        height: pixels down, likewise.
        fps: frames a second, on average where they vary; 1 for a picture.
        seconds: duration; 0 for a picture.
        is_image: whether it is a single picture.
        codec: ffmpeg's name of the codec.
    """

    width: int
    height: int
    fps: float
    seconds: float
    is_image: bool
    codec: str


@dataclass(frozen=True)
class Clip:
    """Frames evenly spaced in time.

    Attributes:
        frames: uint8 ``[T, H, W, 3]``, RGB.
        fps: frames a second.
    """

    frames: np.ndarray
    fps: float

    @property
    def seconds(self) -> float:
        """Duration: each frame stays ``1 / fps`` seconds."""
        return len(self.frames) / self.fps

    def __len__(self) -> int:
        """Number of frames ``T``."""
        return len(self.frames)


@dataclass(frozen=True)
class _Colouring:
    """What brings a file's pixels to opaque RGB of the ordinary range."""

    decoder: tuple[str, ...]  # options that choose the decoder
    before: tuple[str, ...]  # filters before scaling, which lay it on white
    scale: str  # further options of the scaling
    after: tuple[str, ...]  # filters after scaling, which bring down a high dynamic range


@dataclass(frozen=True)
class _Source:
    """What probing found, with what only reading needs to know."""

    path: Path
    info: VideoInfo
    rate: Fraction  # frames a second, exactly where the file says so
    begin: Fraction  # when its first frame begins, in seconds of ffmpeg's clock
    begin_stored: Fraction  # the same in the file's own time stamps
    formats: frozenset[str]  # the names of its container's demuxer
    grid: str  # ffmpeg's name of the grid of tiles that is its picture, empty where there is none
    colouring: _Colouring


@dataclass(frozen=True)
class _Plan:
    """What to read: ``count`` frames (None: all that follow) at ``rate`` from ``start``."""

    source: _Source
    start: float  # seconds
    rate: Fraction
    count: int | None
    most: int  # frames within the limit on seconds: a file that goes on longer than it says is refused there
    height: int
    width: int
    limits: ReadLimits
    budget: Budget


def shown_name(path: str | os.PathLike[str]) -> str:
    """The file's name for a sentence: no folder, nothing unprintable, not too long."""
    name = "".join(c if c.isprintable() else "?" for c in Path(path).name) or "The file"
    return name if len(name) <= 80 else f"{name[:60]}…{name[-16:]}"


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file, opened for ffmpeg to inherit.

    Raises:
        LamdemoError: it is missing, empty, a folder, no ordinary file, or may not be read.
    """
    name = shown_name(path)
    try:
        # Before opening: to open a named pipe would wait for its other end.
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise LamdemoError(f"{name} is a folder: name a file in it.")
        if not stat.S_ISREG(status.st_mode):
            raise LamdemoError(f"{name} is not an ordinary file: give a video or a picture.")
        if not status.st_size:
            raise LamdemoError(f"{name} is empty: record or download it again.")
        file = open(path, "rb", buffering=0)
    except (
        FileNotFoundError,
        NotADirectoryError,
        ValueError,
    ) as error:  # ValueError: a null byte in the name
        raise LamdemoError(f"There is no file {name}: check its name and folder.") from error
    except PermissionError as error:
        raise LamdemoError(f"{name} may not be read: change its permissions.") from error
    except OSError as error:
        raise LamdemoError(f"{name} cannot be opened: {error.strerror or 'unknown reason'}.") from error
    with file:
        yield file


def _slow(name: str, limits: ReadLimits) -> LamdemoError:
    return LamdemoError(f"{name} takes longer than {limits.timeout:g} seconds to read: give a shorter or smaller one.")


def _too_large(name: str, width: int | str, height: int | str, limits: ReadLimits) -> LamdemoError:
    return LamdemoError(
        f"{name} has frames of {width}×{height} pixels, over the limit of {limits.max_pixels / 1e6:g} "
        "million: make it smaller first."
    )


def _refused(name: str, log: str, limits: ReadLimits) -> LamdemoError:
    """Why nothing came out of a file, read from what ffmpeg said."""
    if size := _TOO_LARGE.search(log):
        return _too_large(name, size[1], size[2], limits)
    if "matches no streams" in log:
        return LamdemoError(f"{name} holds no video, only sound or data: give a video or a picture.")
    if "moov atom not found" in log:
        return LamdemoError(f"{name} is not a whole video, its index is missing: record or download it again.")
    if "Input #0" in log:
        return LamdemoError(f"No frame of {name} can be decoded: it is damaged, or of an unknown codec.")
    return LamdemoError(f"{name} is not a video or picture that can be read: give MP4, WebM, GIF, PNG or JPEG.")


def _through(chain: str, grid: str) -> list[str]:
    """Options that send the picture through filters: the first video stream's, or a grid's put together."""
    # `V` leaves out the cover of a song.
    return ["-filter_complex", f"[{grid}]{chain}"] if grid else ["-map", "0:V:0", "-vf", chain]


def _first_frame(path: Path, grid: str, limits: ReadLimits, budget: Budget) -> str:
    """What ffmpeg says of a file and of its first frame, which it decodes."""
    arguments = [
        *input_arguments(max_pixels=limits.max_pixels),
        *("-i", "fd:", *_through("showinfo=checksum=0", grid), "-frames:v", "1", "-f", "null", "-"),
    ]
    with _opened(path) as file, Process(arguments, source=file, budget=budget, loglevel="info") as process:
        process.finish()
        if process.timed_out:
            raise _slow(shown_name(path), limits)
        return process.log


def _examine(path: str | os.PathLike[str], limits: ReadLimits, budget: Budget) -> _Source:
    """Probe by decoding one frame, which alone knows what rotation and pixel shape make of its size."""
    path = Path(path)
    name = shown_name(path)
    log, grid = _first_frame(path, "", limits, budget), ""
    # The photographs of some telephones (HEIC) are a grid of tiles, and a tile is no picture.
    tiled = re.search(r"^  Stream group #0:(\d+)\S*: Tile Grid: .*?, (\d+)x(\d+)\b", log, re.M)
    if tiled is not None:
        if int(tiled[2]) * int(tiled[3]) > limits.max_pixels:
            raise _too_large(name, tiled[2], tiled[3], limits)
        grid = f"0:g:{tiled[1]}"
        log = _first_frame(path, grid, limits, budget)

    container = re.search(r"^Input #0, (\S+), from", log, re.M)
    stream = re.search(r"^  Stream #0:(\d+) (?:-> #0:0 )?\(([^\s)]+)", log, re.M)
    clock = re.search(r"config in time_base: ([1-9]\d*)/([1-9]\d*), frame_rate: (\d+)/(\d+)", log)
    frame = re.search(
        r"\[Parsed_showinfo_0 @ \w+\] n: *0 pts: *(\S+) .*? fmt:(\S+) .*?sar:(\d+)/(\d+) s:(\d+)x(\d+)", log
    )
    if container is None or stream is None or clock is None or frame is None:
        raise _refused(name, log, limits)
    formats = frozenset(container[1].split(","))

    pixel, width, height = frame[2], int(frame[5]), int(frame[6])
    across = int(frame[3]) / int(frame[4]) if int(frame[4]) else 0.0
    if width * height > limits.max_pixels:
        raise _too_large(name, width, height, limits)
    if 1 / 16 < across < 16:  # a shape beyond that is damage
        width = max(1, round(width * across))

    # Time is counted from the first frame, which sound may precede.
    tick = Fraction(int(clock[1]), int(clock[2]))
    begin = int(frame[1]) * tick if frame[1].lstrip("-").isdigit() else Fraction(0)
    told = re.search(r"^  Duration: .*, start: (-?[\d.]+)", log, re.M)
    begin_stored = round((Fraction(told[1]) if told else 0) / tick + begin / tick) * tick
    guess = Fraction(int(clock[3]), int(clock[4])) if int(clock[4]) else Fraction(0)
    seconds, rate, is_image = _timing(path, log, stream[1], formats, guess, limits, budget)
    seconds = max(seconds - float(begin), min(seconds, 1 / float(rate)))
    info = VideoInfo(width, height, float(rate), seconds, is_image, stream[2])

    return _Source(
        path=path,
        info=info,
        rate=rate,
        begin=begin,
        begin_stored=begin_stored,
        formats=formats,
        grid=grid,
        colouring=_colouring(log, info, pixel),
    )


def _colouring(log: str, info: VideoInfo, pixel: str) -> _Colouring:
    """How a file's pixels, of ffmpeg's format ``pixel``, become what a player shows."""
    # ffmpeg's own VP8 and VP9 decoders leave out the alpha channel that WebM keeps beside the picture.
    library = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(info.codec)
    beside = library is not None and re.search(r"^\s+alpha_mode\s*: 1", log, re.M | re.I) is not None
    before: tuple[str, ...] = ()
    if beside or _ALPHA.match(pixel):
        white = "drawbox=c=white@1:t=fill:replace=1"
        before = (f"format=gbrap,split[under][over];[under]{white}[white];[white][over]overlay=format=gbrp",)
    tags = re.search(r"color_space:(\S+) color_primaries:\S+ color_trc:(\S+)", log)
    space, transfer = (tags[1], tags[2]) if tags else ("unknown", "unknown")
    after: tuple[str, ...] = ()
    if transfer in _WIDE and not before:
        # White is at 203 nits (BT.2408), and what is brighter, up to 1000, is pressed into the room above it.
        after = (
            "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,tonemap=mobius:desat=0:peak=4.93",
            "zscale=t=bt709:m=bt709:r=limited,format=yuv444p",
        )
    # Players take untagged video of high definition to be BT.709, the scaler takes it to be BT.601.
    fine = not info.is_image and (info.width >= 1280 or info.height > 576)
    untagged = space == "unknown" and pixel.startswith("yuv") and fine
    return _Colouring(
        decoder=("-c:v", library) if beside and library else (),
        before=before,
        scale=":in_color_matrix=bt709" if untagged else "",
        after=after,
    )


def _timing(
    path: Path,
    log: str,
    stream: str,
    formats: frozenset[str],
    guess: Fraction,
    limits: ReadLimits,
    budget: Budget,
) -> tuple[float, Fraction, bool]:
    """Duration in seconds, exact frame rate, and whether it is a single picture."""
    if any(name.endswith("_pipe") or name == "ico" for name in formats):
        return 0.0, Fraction(STILL_FPS), True
    told = re.search(r"^  Duration: (\d+):(\d\d):(\d\d\.\d+)", log, re.M)
    seconds = int(told[1]) * 3600 + int(told[2]) * 60 + float(told[3]) if told else 0.0
    line = re.search(rf"^  Stream #0:{stream}\b.*: Video: .*", log, re.M)
    average = re.search(r", ([\d.]+)(k?) fps\b", line[0] if line else "")
    fps = float(average[1]) * (1000 if average[2] else 1) if average else 0.0

    # Recorders in browsers write no duration and a rate of 1000; animations of one frame are pictures.
    if seconds <= 0 or not 0 < fps <= 240 or formats & {"gif", "apng", "webp_anim", "jpegxl_anim"}:
        frames, length = _count(path, limits, budget)
        if frames <= 1 and (seconds <= 0 or not formats & _SEEKABLE):
            return 0.0, Fraction(STILL_FPS), True
        if not 0 < fps <= 240:
            fps = frames / (seconds or length or 1.0)
        fps = fps or 25.0
        # A raw stream has no times, and of other files the last packet need not be the last frame.
        seconds = seconds or max(length, frames / fps)

    # ffmpeg prints the average rounded (23.98); the rate it guesses is exact (24000/1001) but no average.
    rate = guess if abs(float(guess) - fps) <= 0.006 else Fraction(fps).limit_denominator(100_000)
    return seconds, max(rate, Fraction(1, 100_000)), False


def _count(path: Path, limits: ReadLimits, budget: Budget) -> tuple[int, float]:
    """Frames and seconds of a file that does not say them, by walking over its packets without decoding."""
    arguments = [
        *input_arguments(max_pixels=limits.max_pixels),
        *("-i", "fd:", "-map", "0:V:0", "-c", "copy", "-progress", "pipe:2", "-f", "null", "-"),
    ]
    with _opened(path) as file, Process(arguments, source=file, budget=budget, loglevel="verbose") as process:
        process.finish()
        if process.timed_out:
            raise _slow(shown_name(path), limits)
        frames = re.findall(r"Output stream #0:0 \(video\): (\d+) packets muxed", process.log)
        ends = re.findall(r"^out_time_us=(\d+)", process.log, re.M)
    return int(frames[-1]) if frames else 0, int(ends[-1]) / 1e6 if ends else 0.0


def _decode(plan: _Plan, *, within: float | None = None, seek: bool = True) -> Generator[np.ndarray, None, None]:
    """Frames uint8 ``[H, W, 3]`` of a plan, one at a time; the process lives as long as the generator.

    Given ``within``, they are the video's own frames of so many seconds before the plan's start instead.
    """
    source = plan.source
    lead = _LONG_LEAD if source.formats & _BY_TIME else _LEAD
    landing = min(plan.start, source.info.seconds or math.inf) - lead
    begin, search = source.begin, []
    # Some formats fail to land close to their beginning, and then go on from somewhere after it.
    if seek and source.formats & _SEEKABLE and landing >= lead:
        # The file's own time stamps: ffmpeg rounds the time it lands at to a tick, often a whole frame.
        # Not `-accurate_seek`, which drops the frame that is on screen at `start` but began before it.
        search = ["-copyts", "-noaccurate_seek", "-ss", f"{landing + float(begin):.6f}"]
        begin = source.begin_stored

    filters: list[str] = []
    if not source.info.is_image:
        zero = round((float(begin) + plan.start + _SLACK) * 1_000_000)
        filters += ["settb=1/1000000", f"setpts=PTS-({zero})"]
        # `up`: a frame shows from the first tick after it began; `start_time=0`: tick k is start + k / rate.
        sampling = f"fps={plan.rate.numerator}/{plan.rate.denominator}:start_time=0:round=up"
        filters.append(sampling if within is None else f"trim=start={-within}:end=0")
    flags = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    colouring = source.colouring
    scale = f"scale={plan.width}:{plan.height}:flags={flags}{colouring.scale}"
    filters += [*colouring.before, scale, *colouring.after]
    count = plan.most + 1 if plan.count is None else plan.count
    arguments = [
        *input_arguments(max_pixels=plan.limits.max_pixels),
        *colouring.decoder,
        *search,
        *("-i", "fd:", *_through(",".join(filters), source.grid), "-fps_mode", "passthrough"),
        *(("-frames:v", str(count)) if within is None else ()),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"),
    ]
    with _opened(source.path) as file, Process(arguments, source=file, budget=plan.budget) as process:
        while True:
            picture = np.empty((plan.height, plan.width, 3), np.uint8)
            # A frame that comes in part is one the process died in.
            if process.read_into(picture.data) < picture.nbytes:
                break
            yield picture
        if process.timed_out:
            raise _slow(shown_name(source.path), plan.limits)


def _frames(plan: _Plan) -> Generator[np.ndarray, None, None]:
    """The frames of a plan, of which there is one at least."""
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
    if size is not None and max_side is not None:
        raise ValueError("give size or max_side, not both")
    if size is not None:
        height, width = (int(side) for side in size)
    elif max_side is not None:
        ratio = min(1.0, int(max_side) / max(info.height, info.width))
        height, width = max(1, round(info.height * ratio)), max(1, round(info.width * ratio))
    else:
        height, width = info.height, info.width
    if min(height, width) < 1 or (max_side is not None and max_side < 1):
        raise ValueError("frames need at least one pixel on each side")
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
) -> _Plan:
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
    start = min(start, 1e9)  # no video is longer, and ffmpeg counts microseconds in 64 bits
    budget = Budget(limits.timeout)
    source = _examine(path, limits, budget)
    info = source.info
    height, width = _fitted(info, size, max_side)
    if height * width > limits.max_pixels:
        raise _too_large(name, width, height, limits)
    rate = source.rate if fps is None else Fraction(fps).limit_denominator(100_000)
    if info.is_image:
        return _Plan(source, 0.0, rate, 1, 1, height, width, limits, budget)

    if info.seconds and start >= info.seconds and not hold:
        raise LamdemoError(f"{name} ends after {info.seconds:g} seconds: start earlier than {start:g}.")
    asked = min(math.inf if seconds is None else seconds, math.inf if max_frames is None else max_frames / float(rate))
    span = min(asked, info.seconds - start if info.seconds else math.inf)
    if limits.max_seconds < span < math.inf:
        raise _too_long(name, span, limits)
    # The file's word on its length may forbid, as above, but not cut the video short: it may be wrong.
    count = None if asked == math.inf else _frames_in(asked, rate)
    most = _frames_in(limits.max_seconds, rate)
    return _Plan(source, float(start), rate, count, most, height, width, limits, budget)


def _frames_in(seconds: float, rate: Fraction) -> int:
    return max(1, math.ceil(seconds * float(rate) - 1e-6))


def _too_long(name: str, seconds: float | None, limits: ReadLimits) -> LamdemoError:
    more = "All" if seconds is None else f"{seconds:.0f} seconds"
    return LamdemoError(
        f"{more} of {name} is more than the {limits.max_seconds:g} seconds that are read at once: choose "
        "a start and fewer seconds."
    )


def _gathered(plan: _Plan) -> Clip:
    """All frames of a plan in one array, allocated once where the file tells its length truly."""
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
    return _examine(path, limits, Budget(limits.timeout)).info


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


def find_videos(folder: str | os.PathLike[str]) -> list[Path]:
    """Video files in a folder and the folders in it, sorted, told by their endings (:data:`VIDEO_SUFFIXES`).

    Hidden files and folders are left out, and links to folders are not followed.

    Raises:
        LamdemoError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise LamdemoError(f"There is no folder {shown_name(root)}: check its name.")
    found: list[Path] = []
    for parent, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(parent, name)
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES
        ]
    return sorted(found)
