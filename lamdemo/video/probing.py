"""Probing: what a video holds, found by decoding its first frame and by walking over its packets.

What can be decoded decides. A container says how long it is and how many frames a second it has, and it may be
wrong, or say nothing: recorders in browsers, broadcasts put together, downloads that broke off.
"""

from __future__ import annotations

import math
import os
import re
import struct
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from lamdemo.core.errors import LamdemoError, shown_name
from lamdemo.video.colour import Colouring, colouring
from lamdemo.video.ffmpeg import Budget, Process, ffmpeg_command, input_arguments, memory_for
from lamdemo.video.files import opened
from lamdemo.video.pictures import slow, too_large

STILL_FPS = 1.0  # rate given to a picture, which has none: a clip of it is then one second of one frame

# Formats whose index (or search) is trusted to find a key frame before a time. The others are read from
# their beginning: in a GIF each frame needs those before it, a raw stream has no times to search for.
SEEKABLE = {"mov", "matroska", "avi", "asf", "flv", "nut", "mxf", "ogg", "wtv", "mpegts", "mpeg"}
BY_TIME = {"mpegts", "mpeg", "wtv"}  # of these, those that have no index
# Bytes of a file that is walked over while it is probed; a larger one is believed at first. Where there is an index
# it is mostly right, but Matroska's holds key frames only, and says nothing of a rate that varies.
_WALKED, _WALKED_MATROSKA, _WALKED_WITHOUT_INDEX = 4 << 20, 32 << 20, 1 << 30
_MATROSKA = b"\x1aE\xdf\xa3"
_INDEXED = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"RIFF", b"0&\xb2u")

_TOO_LARGE = re.compile(r"(?:Picture|Frame) size (\d+)x(\d+) (?:exceeds|is invalid)")
_PACKET = re.compile(rb"(\d+), *(-?\d+), *(-?\d+), *(\d+), *\d+, 0x\w+(?:, F=0x(\w+))?")
_NO_TIME = -(2**63)  # how ffmpeg writes that a packet has none
_BACK = 0.5  # seconds that time goes back by where another recording begins; codecs go back by less


@dataclass(frozen=True)
class ReadLimits:
    """What one read may cost."""

    max_seconds: float = 600.0  # seconds of source video read at once
    max_pixels: int = 64_000_000  # pixels of one frame, both as stored and as returned
    max_bytes: int = 2 << 30  # bytes of all the frames returned together
    timeout: float = 120.0  # wall seconds spent waiting for the decoder
    # Pixels of all frames that must be decoded for a read, also those before it and between those asked for. A film of
    # many large frames, which would come to its time limit, is refused before any of it is decoded.
    max_decoded: float = math.inf


DEFAULT_LIMITS = ReadLimits()


@dataclass(frozen=True)
class VideoInfo:
    """What a file holds."""

    width: int  # pixels across as displayed: after rotation, with square pixels
    height: int  # pixels down, likewise
    fps: float  # frames a second, on average where they vary; 1 for a picture
    seconds: float  # duration; 0 for a picture
    is_image: bool  # whether it is a single picture
    codec: str  # the decoder's name of the codec


@dataclass(frozen=True)
class Source:
    """What probing found, with what only reading needs to know."""

    path: Path  # of the file
    info: VideoInfo  # for everybody
    rate: Fraction  # frames a second, exactly where the file says so
    begin: Fraction  # when its first frame begins, in seconds of ffmpeg's clock
    begin_stored: Fraction  # the same in the file's own time stamps
    formats: frozenset[str]  # the names of its container's demuxer
    stream: int  # number of the stream that is the video
    cover: int | None  # number of the stream that is its alpha plane; None for none
    colouring: Colouring  # how its colours are brought to sRGB
    walked: bool  # whether its length and rate are those of its packets and not what it says
    seekable: bool  # whether a time can be searched for
    restarted: bool  # whether its times begin anew, and its frames are taken one after another at rate
    turn: int | None  # quarter turns with the clock that it is shown with; None for what is left to ffmpeg


@dataclass
class _Track:
    """Times of the packets of one stream, in ticks."""

    tick: Fraction
    sound: bool = False
    decoded: list[int] = field(default_factory=list)  # when each is to be decoded
    shown: list[int] = field(default_factory=list)  # when it is to be shown
    last: int = _NO_TIME  # the latest of them,
    lasts: int = 0  # and how long that one is shown

    @property
    def times(self) -> list[int]:
        """When each packet is shown; where not all say it, in their order, which is then the best there is."""
        if _NO_TIME not in self.shown:
            return self.shown
        late = next((s - d for d, s in zip(self.decoded, self.shown, strict=True) if s != _NO_TIME), 0)
        return [max(time, self.decoded[0]) + late for time in self.decoded]


def through(chain: str, stream: int, cover: int | None) -> list[str]:
    """Options that send a stream's pictures through filters, with its alpha plane if there is one."""
    # Slices of zscale share a graph while it is built: with several threads colours come out wrong now and then.
    alone = "zscale" in chain
    if cover is not None:
        threads = ("-filter_complex_threads", "1") if alone else ()
        graph = f"[0:{stream}]format=gbrp[c];[0:{cover}]format=gray[a];[c][a]alphamerge,{chain}"
        return [*threads, "-filter_complex", graph]
    threads = ("-filter_threads", "1") if alone else ()
    return ["-map", f"0:{stream}", *threads, "-vf", chain]


def _refused(name: str, log: str, limits: ReadLimits) -> LamdemoError:
    """Why nothing came out of a file, read from what ffmpeg said."""
    if size := _TOO_LARGE.search(log):
        return too_large(name, size[1], size[2], limits.max_pixels)
    if "matches no streams" in log:
        return LamdemoError(f"{name} holds no video, only sound or data: give a video or a picture.")
    if "moov atom not found" in log:
        return LamdemoError(f"{name} is not a whole video, its index is missing: record or download it again.")
    if "Input #0" in log:
        return LamdemoError(f"No frame of {name} can be decoded: it is damaged, or of an unknown codec.")
    return LamdemoError(f"{name} is not a video or picture that can be read: give MP4, WebM, GIF, PNG or JPEG.")


def _look(
    path: Path, picture: list[str], walk: bool, limits: ReadLimits, budget: Budget
) -> tuple[str, dict[int, _Track]]:
    """What ffmpeg says of a file and of its first frame, which it decodes, and the packets of its streams.

    Args:
        path: of the file.
        picture: options that choose the stream to decode.
        walk: whether to go over all packets, which are not decoded.
        limits: what it may cost.
        budget: wall time.
    """
    arguments = [
        *(*input_arguments(max_pixels=limits.max_pixels), "-i", "fd:"),
        *(*picture, "-frames:v", "1", "-f", "null", "-"),
        *("-map 0:V -map 0:a? -c copy -f framecrc pipe:1".split() if walk else ()),
    ]
    tracks: dict[int, _Track] = {}
    command = ffmpeg_command(arguments, loglevel="info")
    memory = memory_for(limits.max_pixels)
    with opened(path) as file, Process(command, source=file, budget=budget, memory=memory) as process:
        while line := process.read_line():
            if packet := _PACKET.match(line):
                if int(packet[5] or b"0", 16) & 4:  # of before or after an edit list's cut
                    continue
                track = tracks[int(packet[1])]
                track.decoded.append(int(packet[2]))
                track.shown.append(int(packet[3]))
                if track.shown[-1] == max(track.shown[-1], track.last):
                    track.last, track.lasts = track.shown[-1], int(packet[4])
            elif kind := re.match(rb"#media_type (\d+): audio", line):
                tracks[int(kind[1])].sound = True
            elif head := re.match(rb"#tb (\d+): ([1-9]\d*)/([1-9]\d*)", line):
                tracks[int(head[1])] = _Track(Fraction(int(head[2]), int(head[3])))
        process.finish()
        if process.timed_out:
            raise slow(shown_name(path), budget)
        log = process.log
    numbers = {int(out): int(n) for n, out in re.findall(r"^  Stream #0:(\d+) -> #1:(\d+) \(copy\)", log, re.M)}
    return log, {numbers[out]: track for out, track in tracks.items() if out in numbers}


def _chosen(log: str, tracks: dict[int, _Track]) -> tuple[int, int | None, int]:
    """Number of the stream that is the video, that of its alpha plane, and how many streams there are."""
    lines = {int(n): line for n, line in re.findall(r"^  Stream #0:(\d+)\b(.*: Video: .*)", log, re.M)}
    # What ffmpeg's specifier `V` leaves out: the cover of a song, previews, one picture beside a film.
    aside = "(attached pic)", "(timed thumbnails)", "(still image)", "(dependent)"
    streams = [n for n, line in lines.items() if not any(word in line for word in aside)] or sorted(lines) or [0]
    moving = [n for n in streams if n in tracks and len(tracks[n].shown) > 1]
    likely = moving or streams
    best = next((n for n in likely if "(default)" in lines.get(n, "")), likely[0])
    cover = None
    if re.search(r"_brands? *: .*(avis|msf1|avif|heic|mif1)", log):
        # A film of pictures keeps its alpha plane as a film beside it.
        length = len(tracks[best].shown) if best in tracks else 0
        gray = [n for n in likely if n > best and re.search(r"Video: \w+ .*, gray", lines[n])]
        cover = next((n for n in gray if n not in tracks or len(tracks[n].shown) == length), None)
    return best, cover, len(streams)


def examine(path: Path, limits: ReadLimits, budget: Budget, *, walk: bool | None = None) -> Source:
    """Probe by decoding one frame, which alone knows what rotation and pixel shape make of its size.

    Args:
        path: of the file.
        limits: what it may cost.
        budget: wall time.
        walk: whether to go over all packets; None for a file that is small enough.

    Raises:
        LamdemoError: it is no video or picture that can be read, or too large.
    """
    if walk is None:
        with opened(path) as file:
            head, size = file.read(12), os.fstat(file.fileno()).st_size
        indexed = head.startswith(_INDEXED) or head[4:8] in _INDEXED
        most = _WALKED_MATROSKA if head.startswith(_MATROSKA) else _WALKED if indexed else _WALKED_WITHOUT_INDEX
        walk = size <= most
    show = "showinfo=checksum=0"
    whole, tracks = _look(path, ["-map", "0:V:0", "-vf", show], walk, limits, budget)
    stream, cover, streams = _chosen(whole, tracks)
    first, log = re.search(r"^  Stream #0:(\d+) (?:-> #0:0 )?\(", whole, re.M), whole
    if cover is not None or (first is not None and int(first[1]) != stream):
        log = _look(path, through(show, stream, cover), False, limits, budget)[0]
    picture = _first_frame(log, shown_name(path), limits)
    timing = (_walked if walk else _told)(whole, tracks, stream, picture)
    if timing is None:
        return examine(path, limits, budget, walk=True)
    rate, turn = timing.rate, _turn(path, log, stream)
    return Source(
        path=path,
        info=VideoInfo(picture.width, picture.height, float(rate), timing.seconds, timing.is_image, picture.codec),
        rate=rate,
        begin=picture.begin,
        begin_stored=picture.begin_stored,
        formats=picture.formats,
        stream=stream,
        cover=cover,
        colouring=colouring(
            picture.pixel,
            picture.stored[::-1] if (turn or 0) % 2 else picture.stored,
            picture.tags,
            codec=picture.codec,
            beside=re.search(r"^\s+alpha_mode\s*: 1", log, re.M | re.I) is not None,
            is_image=timing.is_image,
        ),
        walked=walk,
        # A search leads astray where times jump, and to a key frame of another stream where there are several.
        seekable=bool(picture.formats & SEEKABLE)
        and streams == 1
        and not timing.restarted
        and "timestamp discontinuity" not in whole,
        restarted=timing.restarted,
        turn=turn,
    )


@dataclass(frozen=True)
class _Frame:
    """What ffmpeg says of the first frame of a stream."""

    formats: frozenset[str]
    codec: str
    pixel: str
    tags: tuple[str, str, str]  # matrix, primaries, transfer
    stored: tuple[int, int]  # width and height, turned already
    width: int  # as displayed
    height: int
    begin: Fraction
    begin_stored: Fraction
    guess: Fraction  # of the rate; 0 for none


def _first_frame(log: str, name: str, limits: ReadLimits) -> _Frame:
    container = re.search(r"^Input #0, (\S+), from", log, re.M)
    codec = re.search(r"^  Stream #0:(\d+) (?:-> #0:0 )?\(([^\s)]+)", log, re.M)
    clock = re.search(r"config in time_base: ([1-9]\d*)/([1-9]\d*), frame_rate: (\d+)/(\d+)", log)
    frame = re.search(
        r"\[Parsed_showinfo_\d @ \w+\] n: *0 pts: *(\S+) .*? fmt:(\S+) .*?sar:(\d+)/(\d+) s:(\d+)x(\d+)", log
    )
    if container is None or codec is None or clock is None or frame is None:
        raise _refused(name, log, limits)
    stored = width, height = int(frame[5]), int(frame[6])
    across = int(frame[3]) / int(frame[4]) if int(frame[4]) else 0.0
    if width * height > limits.max_pixels:
        raise too_large(name, width, height, limits.max_pixels)
    if 1 / 16 < across < 16:  # a shape beyond that is damage
        width = max(1, round(width * across))
    # Time is counted from the first frame, which sound may precede.
    tick = Fraction(int(clock[1]), int(clock[2]))
    begin = int(frame[1]) * tick if frame[1].lstrip("-").isdigit() else Fraction(0)
    told = re.search(r"^  Duration: .*, start: (-?[\d.]+)", log, re.M)
    tags = re.search(r"color_space:(\S+) color_primaries:(\S+) color_trc:(\S+)", log)
    return _Frame(
        formats=frozenset(container[1].split(",")),
        codec=codec[2],
        pixel=frame[2],
        tags=(tags[1], tags[2], tags[3]) if tags else ("unknown", "unknown", "unknown"),
        stored=stored,
        width=width,
        height=height,
        begin=begin,
        begin_stored=round((Fraction(told[1]) if told else 0) / tick + begin / tick) * tick,
        guess=Fraction(int(clock[3]), int(clock[4])) if int(clock[4]) else Fraction(0),
    )


def _turn(path: Path, log: str, stream: int) -> int | None:
    """Quarter turns with the clock that a stream is shown with; None for what is left to ffmpeg."""
    about = re.search(rf"^  Stream #0:{stream}\b.*: Video: .*\n(?:^    .*\n)*", log, re.M)
    told = re.search(r"Display Matrix: rotation of (\S+) degrees", about[0] if about else "")
    if told is None:
        return 0
    turn = -float(told[1]) / 90
    return None if turn % 1 or _mirrored(path) else int(turn) % 4


def _mirrored(path: Path) -> bool:
    """Whether a track of an MP4 is to be shown mirrored, which ffmpeg does not tell."""
    movie = b""
    with opened(path) as file:
        while len(head := file.read(8)) == 8 and (size := int.from_bytes(head[:4], "big")) != 0:
            size = int.from_bytes(file.read(8), "big") - 8 if size == 1 else size
            if head[4:] == b"moov":
                movie = file.read(min(size, 64 << 20))
                break
            file.seek(max(size - 8, 0), os.SEEK_CUR)
    for found in re.finditer(b"tkhd", movie[:-96]):
        a, b, _, c, d = struct.unpack_from(">5i", movie, found.end() + (52 if movie[found.end()] else 40))
        if a * d < b * c:
            return True
    return False


@dataclass(frozen=True)
class _Timing:
    """Duration in seconds, frame rate, whether it is one picture, and whether its times begin anew."""

    seconds: float
    rate: Fraction
    is_image: bool = False
    restarted: bool = False


_PICTURE = _Timing(0.0, Fraction(STILL_FPS), is_image=True)


def _still(formats: frozenset[str]) -> bool:
    return any(name.endswith("_pipe") or name in ("ico", "image2") for name in formats)


def _told(log: str, _: dict[int, _Track], stream: int, picture: _Frame) -> _Timing | None:
    """Timing as a file says it; None where it does not."""
    if _still(picture.formats):
        return _PICTURE
    told = re.search(r"^  Duration: (\d+):(\d\d):(\d\d\.\d+)", log, re.M)
    seconds = int(told[1]) * 3600 + int(told[2]) * 60 + float(told[3]) if told else 0.0
    line = re.search(rf"^  Stream #0:{stream}\b.*: Video: .*", log, re.M)
    average = re.search(r", ([\d.]+)(k?) fps\b", line[0] if line else "")
    fps = float(average[1]) * (1000 if average[2] else 1) if average else 0.0
    if seconds <= 0 or not 0 < fps <= 240 or not picture.formats & SEEKABLE:
        return None
    # ffmpeg prints the average rounded (23.98); the rate it guesses is exact (24000/1001) but no average.
    exact = abs(float(picture.guess) - fps) <= 0.006
    rate = picture.guess if exact else Fraction(fps).limit_denominator(100_000)
    return _Timing(max(seconds - float(picture.begin), min(seconds, 1 / float(rate))), rate)


def _walked(log: str, tracks: dict[int, _Track], stream: int, picture: _Frame) -> _Timing:
    """Timing by the packets of all streams."""
    track = tracks.get(stream)
    # A film of one frame is a picture, unless its container says how long it shows.
    lasts = picture.formats & SEEKABLE and "Duration: N/A" not in log
    if _still(picture.formats) or track is None or not track.shown or (len(track.shown) == 1 and not lasts):
        return _PICTURE
    times = track.times
    count, first = len(times), min(times)
    span, lasting = (max(times) - first) * track.tick, track.lasts * track.tick
    rate = guess = picture.guess
    if _restarted(log, track.tick):
        if not 0 < guess <= 240:
            steps = sorted(b - a for a, b in pairwise(track.decoded) if b > a) or [1]
            rate = 1 / (steps[len(steps) // 2] * track.tick)
        return _Timing(float(count / rate), rate, restarted=True)
    if not _regular(times, track.tick, guess):
        # Raw streams and recorders leave out how long the last frame lasts.
        whole = span + lasting if lasting > 0 else span * count / max(count - 1, 1)
        rate = (count / whole).limit_denominator(100_000) if whole > 0 else guess or Fraction(25)
    rate = max(rate, Fraction(1, 100_000))
    heard = [other for other in tracks.values() if other.shown and (other.sound or other is track)]
    ends = [(max(other.times) + other.lasts) * other.tick for other in heard]
    end = first * track.tick + span + (lasting or 1 / rate)
    return _Timing(float(max(max(ends) - picture.begin, end - picture.begin, 1 / rate)), rate)


def _restarted(log: str, tick: Fraction) -> bool:
    """Whether time goes back, as where two recordings were put together in a container that has one clock."""
    back = re.findall(r"Non-monotonic DTS; previous: (-?\d+), current: (-?\d+)", log)
    return any((int(before) - int(after)) * tick > _BACK for before, after in back)


def _regular(times: list[int], tick: Fraction, guess: Fraction) -> bool:
    """Whether frames come at a rate without fail, as far as the times are told exactly."""
    if guess <= 0:
        return False
    first, span = min(times), (max(times) - min(times)) * tick
    if abs(guess * span - (len(times) - 1)) <= Fraction(1, 2) + guess / 500:
        return True
    # Frames that are never shown have packets, too, between the others.
    return len({round((time - first) * tick * guess) for time in times}) > guess * span
