"""Makes the files that the tests of ``lamdemo.video`` read, with the ffmpeg binary the package brings."""

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np

LOSSLESS = ("-c:v", "libx264", "-crf", "0", "-pix_fmt", "yuv444p", "-preset", "ultrafast")


def ffmpeg(*arguments: str | Path, data: bytes | None = None) -> None:
    """Run ffmpeg; its complaint is the error."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-hide_banner",
        "-loglevel",
        "error",
        "-y",
        *map(str, arguments),
    ]
    done = subprocess.run(command, input=data, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def colour_of(index: int) -> tuple[int, int, int]:
    """The colour of frame ``index`` in a counted video, one of 125 further apart than coding loses."""
    return tuple(20 + 50 * (index // base % 5) for base in (1, 5, 25))


def index_of(frame: np.ndarray) -> int:
    """Which frame of a counted video this is, by its colour."""
    digits = np.clip(np.round((frame.reshape(-1, 3).mean(0) - 20) / 50), 0, 4).astype(int)
    return int(digits @ (1, 5, 25))


def counted(
    path: Path,
    frames: int,
    rate: str = "25",
    options: Sequence[str | Path] = LOSSLESS,
    *,
    times: Sequence[float] | None = None,
    size: tuple[int, int] = (64, 96),
    sound: float | None = None,
) -> Path:
    """Write a video whose frame ``i`` is all of ``colour_of(i)``, shown from ``times[i]`` if given."""
    height, width = size
    data = np.stack([np.full((height, width, 3), colour_of(i), np.uint8) for i in range(frames)]).tobytes()
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", rate, "-i", "-"]
    if sound is not None:
        source += ["-f", "lavfi", "-i", f"sine=d={sound}", "-map", "0", "-map", "1"]
    if times is not None:
        when = "".join(f"if(eq(N,{i}),{t}," for i, t in enumerate(times)) + "0" + ")" * len(times)
        source += [
            "-vf",
            f"settb=1/1000,setpts='({when})/TB'",
            "-fps_mode",
            "passthrough",
            "-enc_time_base",
            "1/1000",
        ]
    ffmpeg(*source, *options, path, data=data)
    return path


def colour(path: Path, source: str, *options: str | Path) -> Path:
    """Write what a lavfi source shows."""
    ffmpeg("-f", "lavfi", "-i", source, *options, path)
    return path


def still(path: Path, picture: np.ndarray, *options: str | Path) -> Path:
    """Write one picture, uint8 ``[H, W, 3]``, as whatever the path's ending says."""
    size = f"{picture.shape[1]}x{picture.shape[0]}"
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-i", "-", "-frames:v", "1")
    ffmpeg(*source, *options, path, data=picture.tobytes())
    return path


def tiled_heic(path: Path, tiles: np.ndarray, size: tuple[int, int], quarters: int = 0) -> Path:
    """Write a photograph as telephones do: HEVC tiles, put together, cropped and turned by the reader.

    Args:
        path: where to.
        tiles: uint8 ``[rows, columns, h, w, 3]``.
        size: height and width of the whole, before it is turned.
        quarters: quarter turns against the clock.
    """
    rows, columns, h, w, _ = tiles.shape
    count = rows * columns
    stream = path.with_suffix(".mp4")
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{w}x{h}", "-i", "-")
    coding = ("-c:v", "libx265", "-x265-params", "keyint=1:log-level=error", "-preset", "ultrafast")
    ffmpeg(*source, *coding, "-pix_fmt", "yuv420p", "-tag:v", "hvc1", stream, data=tiles.tobytes())
    video = stream.read_bytes()
    stream.unlink()

    def box(kind: bytes, *parts: bytes) -> bytes:
        return struct.pack(">I", 8 + sum(map(len, parts))) + kind + b"".join(parts)

    def full(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
        return box(kind, struct.pack(">I", version << 24 | flags), *parts)

    def found(kind: bytes) -> bytes:
        at = video.index(kind) - 4
        return video[at : at + int.from_bytes(video[at : at + 4])]

    lengths = struct.unpack(f">{count}I", found(b"stsz")[20 : 20 + 4 * count])
    first = int.from_bytes(found(b"stco")[16:20])
    whole = count + 1  # the item that is the grid; the tiles are 1 to count
    grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, size[1], size[0])
    items = [full(b"infe", struct.pack(">HH", i, 0), b"hvc1\0", version=2, flags=1) for i in range(1, whole)]
    items.append(full(b"infe", struct.pack(">HH", whole, 0), b"grid\0", version=2))
    properties = [found(b"hvcC"), full(b"ispe", struct.pack(">II", w, h))]
    properties += [full(b"ispe", struct.pack(">II", size[1], size[0])), box(b"irot", bytes([quarters]))]
    owners = [struct.pack(">HBBB", i, 2, 0x81, 2) for i in range(1, whole)]
    owners.append(struct.pack(">HBBB", whole, 2, 3, 0x84))

    def meta(begin: int) -> bytes:
        begins = [begin + sum(lengths[:i]) for i in range(count)]
        places = [
            struct.pack(">HHHHII", i + 1, 0, 0, 1, at, length)
            for i, (at, length) in enumerate(zip(begins, lengths, strict=True))
        ]
        places.append(struct.pack(">HHHHII", whole, 1, 0, 1, 0, len(grid)))
        return full(
            b"meta",
            full(b"hdlr", bytes(4), b"pict", bytes(13)),
            full(b"pitm", struct.pack(">H", whole)),
            full(b"iloc", b"\x44\0", struct.pack(">H", whole), *places, version=1),
            full(b"iinf", struct.pack(">H", whole), *items),
            full(b"iref", box(b"dimg", struct.pack(f">HH{count}H", whole, count, *range(1, whole)))),
            box(b"iprp", box(b"ipco", *properties), full(b"ipma", struct.pack(">I", whole), *owners)),
            box(b"idat", grid),
        )

    head = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    begin = len(head) + len(meta(0)) + 8
    path.write_bytes(head + meta(begin) + box(b"mdat", video[first : first + sum(lengths)]))
    return path
