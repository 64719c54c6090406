"""Files that strangers might send, made by code: every kind of container damaged, and what is built to harm."""

from __future__ import annotations

import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from video_files import ffmpeg

Make = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """One file.

    Attributes:
        kind: of harm.
        name: of the file, whose ending may lie.
        make: writes it to a path of that name.
        reader: "media", "latents" or "link".
        reads: whether it must come out as a result (True) or as a sentence (False); None for either.
    """

    kind: str
    name: str
    make: Make
    reader: str = "media"
    reads: bool | None = None


_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
_SOURCE = "testsrc2=s=64x48:r=8:d=1.5"
# Supported containers, with a codec that is usual in each.
VIDEOS: dict[str, tuple[str, ...]] = {
    "plain.mp4": (*_X264, "-movflags", "+faststart"),
    "fragmented.mp4": (*_X264, "-movflags", "frag_keyframe+empty_moov"),
    "late.mov": _X264,
    "phone.3gp": ("-c:v", "mpeg4"),
    "hevc.mp4": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"),
    "recorder.webm": ("-c:v", "libvpx", "-deadline", "realtime"),
    "nine.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"),
    "film.mkv": _X264,
    "camera.avi": ("-c:v", "mjpeg"),
    "old.avi": ("-c:v", "mpeg4"),
    "stream.flv": ("-c:v", "flv1"),
    "broadcast.ts": ("-c:v", "mpeg2video"),
    "disc.mpg": ("-c:v", "mpeg2video"),
    "studio.mxf": ("-c:v", "mpeg2video", "-r", "25"),
    "window.wmv": ("-c:v", "wmv2"),
    "nut.nut": ("-c:v", "mpeg4"),
    "raw.y4m": ("-pix_fmt", "yuv420p"),
    "loop.gif": (),
    "loop.apng": ("-f", "apng", "-plays", "0"),
    "raw.h264": (*_X264, "-f", "h264"),
    "raw.mjpeg": ("-c:v", "mjpeg", "-f", "mjpeg"),
}
PICTURES = {
    "a.png": "PNG",
    "a.jpg": "JPEG",
    "a.webp": "WEBP",
    "a.bmp": "BMP",
    "a.tif": "TIFF",
    "a.avif": "AVIF",
    "a.ico": "ICO",
    "a.ppm": "PPM",
    "a.tga": "TGA",
    "a.jp2": "JPEG2000",
    "a.gif": "GIF",
}


def make_seeds(folder: Path) -> dict[str, bytes]:
    """Small files that are whole, by name."""
    found = {}
    for name, options in VIDEOS.items():
        ffmpeg("-f", "lavfi", "-i", _SOURCE, *options, folder / name)
        found[name] = (folder / name).read_bytes()
    picture = Image.effect_mandelbrot((64, 48), (-2, -1, 1, 1), 50).convert("RGB")
    for name, kind in PICTURES.items():
        stream = io.BytesIO()
        picture.save(stream, kind)
        found[name] = stream.getvalue()
    stream = io.BytesIO()
    picture.save(stream, "WEBP", save_all=True, append_images=[picture.rotate(90)] * 3, duration=100)
    found["loop.webp"] = stream.getvalue()
    return found


def places(data: bytes) -> list[int]:
    """Where structures of a file begin: after what looks like the name of a box, a chunk or a code."""
    marks = re.finditer(
        rb"[a-zA-Z][a-zA-Z0-9]{2}[a-zA-Z0-9 ]|\x00\x00\x01|\xff[\xc0-\xfe]|\x1aE\xdf\xa3|\x1fC\xb6u", data
    )
    return sorted({0, len(data), *(at for m in marks for at in (m.start() - 4, m.start(), m.end()) if at >= 0)})


# What is done to a file's bytes at a place, by the kind of harm.
HARMS: dict[str, Callable[[bytearray, int, np.random.Generator], bytes]] = {
    "truncation": lambda d, at, rng: bytes(d[:at]),
    "bit flip": lambda d, at, rng: _put(d, at, bytes([d[min(at, len(d) - 1)] ^ 1 << int(rng.integers(8))])),
    "many flips": lambda d, at, rng: bytes(b ^ (1 << int(rng.integers(8)) if rng.random() < 0.01 else 0) for b in d),
    "zeros": lambda d, at, rng: _put(d, at, bytes(int(rng.integers(1, 64)))),
    "ones": lambda d, at, rng: _put(d, at, b"\xff" * 4),
    "size": lambda d, at, rng: _put(d, at, struct.pack(">I", int(rng.choice([1, 7, 8, 0x7FFFFFFF, 0x10000, len(d)])))),
    "little size": lambda d, at, rng: _put(d, at, struct.pack("<I", int(rng.choice([0, 1, 0x7FFFFFFF, len(d) * 2])))),
    "cut out": lambda d, at, rng: bytes(d[:at] + d[at + int(rng.integers(1, 400)) :]),
    "twice": lambda d, at, rng: bytes(d[:at] + d[max(at - 200, 0) :]),
    "noise": lambda d, at, rng: _put(d, at, rng.bytes(int(rng.integers(1, 40)))),
    "begins late": lambda d, at, rng: bytes(d[at:]),
    "something before": lambda d, at, rng: rng.bytes(int(rng.integers(1, 600))) + bytes(d),
}


def _put(data: bytearray, at: int, new: bytes) -> bytes:
    return bytes(data[:at]) + new + bytes(data[at + len(new) :])


def damaged(seeds: dict[str, bytes], count: int, seed: int) -> Iterator[Case]:
    """Whole files, each damaged in one way at one place."""
    rng = np.random.default_rng(seed)
    names, found = sorted(seeds), {name: places(data) for name, data in seeds.items()}
    for n in range(count):
        name = names[n % len(names)]
        harm = sorted(HARMS)[int(rng.integers(len(HARMS)))]
        anywhere = int(rng.integers(len(seeds[name])))
        at = anywhere if rng.random() < 0.3 else int(rng.choice(found[name]))
        data = HARMS[harm](bytearray(seeds[name]), at, rng)
        yield Case(f"{harm} of {Path(name).suffix[1:]}", f"{n:04d}{Path(name).suffix}", _of(data))


def _of(data: bytes) -> Make:
    return lambda path: path.write_bytes(data)


def _lavfi(source: str, *options: str) -> Make:
    return lambda path: ffmpeg("-f", "lavfi", "-i", source, *options, path)


# Pictures that say they are larger than they are.


def png(width: int, height: int, *chunks: tuple[bytes, bytes], data: bytes = b"") -> bytes:
    """A PNG of gray pixels, whatever its data holds."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", data or zlib.compress(bytes(100))), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part)) for kind, part in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


def gif(width: int, height: int, frames: int) -> bytes:
    """A GIF of a screen of that size, each frame of which is one pixel."""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    wait = b"\x21\xf9\x04\x00\x01\x00\x00\x00"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + (wait + frame) * frames + b";"


def zipped(**members: bytes) -> bytes:
    """An archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def _bombs() -> Iterator[Case]:
    nothing = zlib.compress(bytes(100_000_000), 9)
    for n, (width, height) in enumerate(
        [(2**31 - 1, 2**31 - 1), (100_000, 100_000), (1, 2**31 - 1), (50_000, 900), (0, 0)]
    ):
        yield Case("huge header", f"png{n}.png", _of(png(width, height, data=nothing)))
    text = zlib.compress(b"x" * 300_000_000, 9)
    yield Case(
        "text bomb", "text.png", _of(png(64, 48, (b"zTXt", b"k\0\0" + text), data=zlib.compress(bytes(65 * 48))))
    )
    yield Case(
        "profile bomb", "icc.png", _of(png(64, 48, (b"iCCP", b"k\0\0" + text), data=zlib.compress(bytes(65 * 48))))
    )
    yield Case("more data than pixels", "more.png", _of(png(64, 48, data=nothing)))
    for width, height, frames in ((65535, 65535, 1), (65535, 65535, 50_000), (7000, 7000, 100_000), (64, 48, 100_000)):
        yield Case("gif bomb", f"{width}x{height}x{frames}.gif", _of(gif(width, height, frames)))
    yield Case(
        "huge header",
        "a.bmp",
        _of(b"BM" + struct.pack("<IIIIiiHH", 99, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24) + bytes(99)),
    )
    yield Case("huge header", "a.ppm", _of(b"P6 1000000 1000000 255\n" + bytes(100)))
    yield Case("huge header", "a.tga", _of(struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 65535, 65535, 24, 0)))
    yield Case("huge header", "a.webp", _of(b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff" * 6 + bytes(8)))
    yield Case("huge header", "a.y4m", _of(b"YUV4MPEG2 W100000 H100000 F25:1 C420\nFRAME\n" + bytes(99)))
    tags = struct.pack("<H", 2) + struct.pack("<HHII", 256, 4, 1, 10**9) + struct.pack("<HHII", 257, 4, 1, 10**9)
    yield Case("huge header", "a.tif", _of(b"II*\0\x08\0\0\0" + tags + bytes(4)))
    yield Case("zip bomb", "a.zip", _of(zipped(**{f"{n}.mp4": bytes(10_000_000) for n in range(20)})))
    yield Case("zip bomb", "a.mp4", _of(zipped(a=bytes(200_000_000))))


# What names other files and addresses.


def _pointers(address: str) -> Iterator[Case]:
    clip = f"{address}clip.mp4"
    for n, where in enumerate((clip, "file:///etc/passwd", "/etc/passwd", "../../etc/passwd", "concat:/etc/passwd|a")):
        texts = {
            "svg": f'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48"><image href="{where}"/></svg>',
            "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{where}\n#EXT-X-ENDLIST\n",
            "ffconcat": f"ffconcat version 1.0\nfile '{where}'\n",
            "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
            f'<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{where}</BaseURL>'
            "</Representation></AdaptationSet></Period></MPD>",
            "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\n"
            f"m=video 5004 RTP/AVP 96\na=control:{where}\n",
            "asx": f'<asx version="3.0"><entry><ref href="{where}"/></entry></asx>',
            "pls": f"[playlist]\nFile1={where}\nNumberOfEntries=1\n",
            "smil": f'<smil><body><video src="{where}"/></body></smil>',
            "imf": f'<?xml version="1.0"?><AssetMap><Path>{where}</Path></AssetMap>',
            "html": f'<html><video src="{where}"></video><script>fetch("{where}")</script></html>',
        }
        for ending, text in texts.items():
            for name in (f"{n}.{ending}", f"{n}-{ending}.mp4"):
                yield Case(f"points elsewhere, {ending}", name, _of(text.encode()), reads=False)
    reference = clip.encode() + b"\0"
    rdrf = b"\0\0\0\0url " + struct.pack(">I", len(reference)) + reference
    box = _box(b"moov", _box(b"rmra", _box(b"rmda", _box(b"rdrf", rdrf))))
    yield Case("points elsewhere, mov", "reference.mov", _of(_box(b"ftyp", b"qt  \0\0\0\0qt  ") + box), reads=False)


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 8) + kind + data


# Odd, and mostly right.


def _with_duration(seeds: dict[str, bytes], value: int) -> Make:
    data = bytearray(seeds["plain.mp4"])
    for mark, at in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        struct.pack_into(">I", data, data.find(mark) + at, value)
    return _of(bytes(data))


def _odd(seeds: dict[str, bytes]) -> Iterator[Case]:
    yield Case("nothing", "empty.mp4", _of(b""), reads=False)
    yield Case("nothing", "byte.png", _of(b"\x89"), reads=False)
    yield Case("no frame", "head.y4m", _of(b"YUV4MPEG2 W64 H48 F25:1 C420\n"), reads=False)
    yield Case("no frame", "head.gif", _of(gif(64, 48, 0)), reads=False)
    for size in ("16x16", "17x31", "18x16", "16x1080", "2048x16", "7680x4320"):
        source = f"testsrc2=s={size}:r=4:d=1"
        yield Case("size", f"{size}.mkv", _lavfi(source, "-c:v", "png"), reads=True)
        yield Case("size", f"{size}.png", _lavfi(source, "-frames:v", "1"), reads=True)
    for size in ("1x1", "2x1", "1x4096", "15x16"):
        yield Case("size", f"{size}.mkv", _lavfi(f"color=s={size}:r=4:d=1", "-c:v", "png"), reads=False)
        yield Case("size", f"{size}.png", _lavfi(f"color=s={size}", "-frames:v", "1"), reads=False)
    yield Case("one frame", "one.mp4", _lavfi(_SOURCE, *_X264, "-frames:v", "1"))
    yield Case("one frame", "one.gif", _lavfi(_SOURCE, "-frames:v", "1"), reads=True)
    yield Case("100,000 frames", "many.mp4", _lavfi("color=s=16x16:r=2000:d=50", *_X264, "-r", "2000"), reads=True)
    for n, value in enumerate((0, 1, 2**31, 2**32 - 1)):
        yield Case("wrong duration", f"{n}.mp4", _with_duration(seeds, value))
    for n, offset in enumerate(("-5", "-0.1", "86400", "-86400")):
        for ending in ("mkv", "ts", "mp4"):
            yield Case("times", f"{n}.{ending}", _lavfi(_SOURCE, *_X264, "-output_ts_offset", offset))
    for n, rate in enumerate(("100000", "1000", "0.01", "1/3600", "90000/1001")):
        yield Case("rate", f"{n}.mkv", _lavfi(f"color=s=64x48:r={rate}", *_X264, "-frames:v", "5"))
        yield Case("rate", f"{n}.mp4", _lavfi(f"color=s=64x48:r={rate}", *_X264, "-frames:v", "5"))
    for ending in ("wav", "mp3", "m4a", "ogg", "flac"):
        sound = _lavfi("sine=d=1", "-f", {"m4a": "ipod"}.get(ending, ending))
        yield Case("sound only", f"sound.{ending}", sound, reads=False)
        yield Case("sound only", f"{ending}.mp4", sound, reads=False)
    whole, page = seeds["plain.mp4"], b"<html><script>alert(1)</script></html>"
    for n, data in enumerate(
        (
            seeds["a.png"] + zipped(a=b"x"),
            seeds["a.jpg"] + page,
            seeds["loop.gif"] + b"*/=1;alert(1)",
            whole + zipped(a=b"x"),
            b"%PDF-1.7\n" + whole,
            zipped(a=b"x") + whole,
            page + seeds["a.png"],
            seeds["a.png"] + whole,
            b"MZ" + bytes(62) + whole,
            b"#!/bin/sh\nexit 1\n" + bytes(999),
            bytes(range(256)) * 40,
        )
    ):
        for ending in ("mp4", "png"):
            yield Case("polyglot", f"{n}.{ending}", _of(data))


def _links(path: Path, to: str | os.PathLike[str]) -> None:
    path.symlink_to(to)


def _files(seeds: dict[str, bytes]) -> Iterator[Case]:
    for n, to in enumerate(("/etc/passwd", "/dev/zero", "/dev/null", "nowhere", "/proc/self/mem", "/")):
        yield Case("link", f"{n}.mp4", lambda path, to=to: _links(path, to), reads=False)
    yield Case("link", "circle.mp4", lambda path: _links(path, path.name), reads=False)
    yield Case("no file", "pipe.mp4", lambda path: os.mkfifo(path), reads=False)
    yield Case("no file", "folder.mp4", lambda path: path.mkdir(), reads=False)
    yield Case("no file", "gone.mp4", lambda path: None, reads=False)
    yield Case(
        "holes",
        "holes.mp4",
        lambda path: os.truncate(path, 400 << 20) if path.write_bytes(b"") == 0 else 0,
        reads=False,
    )
    names = (
        *("видео.mp4", "動画.mp4", "🎬.mp4", "é.mp4", "\u202eedoc.mp4", "\udcff\udcfe.mp4", "<b>a<script>.mp4"),
        *("a\nb.mp4", "a\tb\x1b[31m.mp4", "\x7f.mp4", " .mp4", "-i.mp4", "--help.mp4", "%03d.mp4", "*.mp4"),
        *("?.mp4", "[a].mp4", "file:a.mp4", "pipe:0.mp4", "concat:a|b.mp4", "http:a.mp4", "a'b\".mp4"),
        *("$(reboot).mp4", ";ls.mp4", "a" * 250 + ".mp4", "..mp4", "con.mp4", "a.mp4.exe", "mp4"),
    )
    for name in names:
        yield Case("name", name, _of(seeds["plain.mp4"]), reads=True)
        yield Case("name", name, _of(b"nonsense"), reads=False)


def npz(z: np.ndarray, **more: np.ndarray) -> bytes:
    """A file of latent actions."""
    stream = io.BytesIO()
    np.savez_compressed(stream, z=z, **({"fps": np.float64(4), "checkpoint": np.str_("")} | more))
    return stream.getvalue()


def _latents(count: int, seed: int) -> Iterator[Case]:
    rng = np.random.default_rng([seed, 1])
    whole = npz(rng.normal(size=(6, 16)).astype(np.float32))
    yield Case("latents", "whole.npz", _of(whole), "latents", True)
    harmful = {
        "bomb": npz(np.zeros((600_000, 128), np.float32)),
        "objects": npz(np.array([[{}]], object)),
        "nan": npz(np.full((3, 16), np.nan, np.float32)),
        "large": npz(np.full((3, 16), 1e30, np.float32)),
        "long": npz(np.zeros((100_000, 16), np.float32)),
        "rate": npz(np.zeros((3, 16), np.float32), fps=np.float64(-1)),
        "plan": npz(np.zeros((3, 16), np.float32), composition=np.str_("[" * 100_000)),
    }
    for name, data in harmful.items():
        yield Case("latents", f"{name}.npz", _of(data), "latents", False)
    spots = places(whole)
    for n in range(count):
        harm = sorted(HARMS)[n % len(HARMS)]
        data = HARMS[harm](bytearray(whole), int(rng.choice(spots)), rng)
        yield Case(f"latents, {harm}", f"{n:04d}.npz", _of(data), "latents")


def _shared(count: int, seed: int) -> Iterator[Case]:
    from lamdemo.latent_space.composition import Block, Composition

    rng = np.random.default_rng([seed, 2])
    z = rng.normal(size=(6, 16)).astype(np.float32)
    text = Composition((Block.of(z, "a"), Block.of(-z, "b")), 4.0, "0" * 64).encode().encode()
    yield Case("link", "whole.txt", _of(text), "link", True)
    for n in range(count):
        harm = sorted(HARMS)[n % len(HARMS)]
        data = HARMS[harm](bytearray(text), int(rng.integers(len(text))), rng)
        yield Case(f"shared link, {harm}", f"{n:04d}.txt", _of(data), "link")


def all_cases(folder: Path, count: int, seed: int, address: str) -> list[Case]:
    """So many cases: all that are made by hand, then damaged ones.

    Args:
        folder: to work in.
        count: of cases, 500 or more.
        seed: of the damages.
        address: of a service of this machine, ending in a slash, which none of them may reach.
    """
    seeds = make_seeds(folder)
    made = [*_odd(seeds), *_files(seeds), *_bombs(), *_pointers(address)]
    made += [*_latents(100, seed), *_shared(60, seed)]
    return [*made, *damaged(seeds, count - len(made), seed)]
