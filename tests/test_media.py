"""What phones, cameras and browsers record: each kind of file that once came out wrong, made here."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from video_files import LOSSLESS, colour_of, counted, ffmpeg, index_of, still, tiled_heic

from lamdemo.core.errors import LamdemoError
from lamdemo.video import probe, read_clip, read_frame, read_image

H264 = ("-c:v", "libx264", "-crf", "4", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-bf", "0")
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-b:v", "2M")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")
ALPHA8 = ("-c:v", "libvpx", "-pix_fmt", "yuva420p", "-auto-alt-ref", "0", "-deadline", "realtime", "-b:v", "2M")
PATCHES = [(235, 30, 40), (30, 200, 60), (40, 60, 220), (240, 200, 40), (128, 128, 128), (250, 250, 250)]


def indices(path: Path, **asked: float) -> list[int]:
    return [index_of(frame) for frame in read_clip(path, **asked).frames]


def part(
    path: Path, first: int, end: int, size: tuple[int, int], options: tuple, filters: str = "null", rate: int = 10
) -> Path:
    """Frames ``first`` to ``end`` of a counted video."""
    height, width = size
    data = np.stack([np.full((height, width, 3), colour_of(i), np.uint8) for i in range(first, end)]).tobytes()
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", str(rate), "-i", "-")
    ffmpeg(*source, "-vf", filters, *options, path, data=data)
    return path


def joined(path: Path, *parts: Path) -> Path:
    """Recordings in one stream, coded as they were."""
    several = path.with_suffix(".txt")
    several.write_text("".join(f"file '{one}'\n" for one in parts))
    ffmpeg("-f", "concat", "-safe", "0", "-i", several, "-c", "copy", path)
    return path


# ---- Parameters that change in mid-clip


def recoded(pixel: str, *more: str) -> tuple:
    return (*H264[:6], "-pix_fmt", pixel, "-bf", "0", *more)


CHANGES = {
    "smaller.webm": ((120, 160), VP8, (60, 80), VP8),
    "larger.webm": ((60, 80), VP9, (120, 160), VP9),
    "turned.mp4": ((120, 160), H264, (160, 120), H264),
    "size.ts": ((120, 160), H264, (64, 96), H264),
    "size.flv": ((120, 160), H264, (64, 96), H264),
    "fuller.mkv": ((120, 160), H264, (120, 160), recoded("yuv444p")),
    "deeper.mkv": ((120, 160), H264, (120, 160), recoded("yuv420p10le")),
    "range.mkv": ((120, 160), H264, (120, 160), recoded("yuvj420p", "-color_range", "pc")),
    "alpha.webm": ((120, 160), ALPHA8, (60, 80), ALPHA8),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_clip_that_changes_in_the_middle_keeps_each_frame(name: str, tmp_path: Path):
    first, options, second, others = CHANGES[name]
    ending = Path(name).suffix
    a = part(tmp_path / f"a{ending}", 0, 20, first, options)
    b = part(tmp_path / f"b{ending}", 20, 40, second, others)
    path = joined(tmp_path / name, a, b)
    assert indices(path) == list(range(40))
    assert indices(path, start=1.85, max_frames=4) == [18, 19, 20, 21]
    assert indices(path, fps=5) == list(range(0, 40, 2))


def test_a_matrix_that_changes_in_the_middle_is_followed(tmp_path: Path):
    halves = []
    for i, (matrix, tag) in enumerate((("bt709", "bt709"), ("bt601", "smpte170m"))):
        filters = f"scale=out_color_matrix={matrix},format=yuv420p"
        options = (*H264, "-colorspace", tag)
        halves.append(part(tmp_path / f"{i}.mkv", 20 * i, 20 * i + 20, (64, 96), options, filters))
    frames = read_clip(joined(tmp_path / "whole.mkv", *halves)).frames
    assert np.abs(frames.mean((1, 2)) - [colour_of(i) for i in range(40)]).max() < 4


def test_a_clip_that_is_turned_may_change_its_size_and_one_may_be_mirrored(tmp_path: Path):
    a, b = (part(tmp_path / f"{i}.mp4", 20 * i, 20 * i + 20, (60 + 60 * i, 80 + 80 * i), H264) for i in (0, 1))
    whole = joined(tmp_path / "whole.mp4", a, b)
    ffmpeg("-display_rotation", "90", "-i", whole, "-c", "copy", tmp_path / "turned.mp4")
    assert indices(tmp_path / "turned.mp4") == list(range(40))
    assert read_clip(tmp_path / "turned.mp4", max_frames=1).frames.shape[1:3] == (80, 60)
    # A mirrored clip is turned by another way.
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, :48], picture[:32, 48:], picture[32:, :48] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    flat = still(tmp_path / "flat.mp4", picture, *LOSSLESS)
    ffmpeg("-display_rotation", "90", "-display_hflip", "-i", flat, "-c", "copy", tmp_path / "mirrored.mp4")
    seen = read_image(tmp_path / "mirrored.mp4").astype(int)
    assert any(np.abs(seen - np.rot90(p, k)).max() < 5 for p in (picture[:, ::-1], picture[::-1]) for k in (1, 3))


# ---- Durations that lie


@pytest.mark.parametrize("ending", ["ts", "mpg", "mkv", "webm", "h264", "gif"])
def test_recordings_put_together_by_cat_are_read_one_after_the_other(ending: str, tmp_path: Path):
    options = {"mpg": ("-c:v", "mpeg2video", "-q:v", "2"), "webm": VP8, "gif": ()}.get(ending, H264)
    fps = 25 if ending == "mpg" else 10
    size, halves = (64, 96), []
    for i in (0, 1):
        halves.append(part(tmp_path / f"{i}.{ending}", 20 * i, 20 * i + 20, size, options, rate=fps))
    path = tmp_path / f"cat.{ending}"
    path.write_bytes(b"".join(half.read_bytes() for half in halves))
    assert indices(path) == list(range(40))
    assert probe(path).seconds == pytest.approx(40 / fps, abs=0.15)
    assert indices(path, start=30.5 / fps, max_frames=3) == [30, 31, 32]


def patched(path: Path, mark: bytes, offset: int, kind: str, value: float) -> Path:
    """The file with a number after a mark in it replaced."""
    data = bytearray(path.read_bytes())
    struct.pack_into(kind, data, data.index(mark) + len(mark) + offset, value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("factor", [0.1, 500])
def test_what_can_be_decoded_decides_how_long_a_file_is(factor: float, tmp_path: Path):
    for ending, mark, offset, kind, unit in (
        ("mp4", b"mvhd", 16, ">I", 1000),
        ("mkv", b"\x44\x89\x88", 0, ">d", 1000),
        ("flv", b"duration", 1, ">d", 1),
    ):
        path = part(tmp_path / f"a.{ending}", 0, 40, (64, 96), H264)
        told = 4 * unit * factor
        patched(path, mark, offset, kind, int(told) if kind == ">I" else told)
        assert probe(path).seconds == pytest.approx(4, abs=0.02)
        assert indices(path) == list(range(40))
        assert indices(path, start=3.05, max_frames=2) == [30, 31]
        with pytest.raises(LamdemoError, match="ends after 4 seconds"):
            read_clip(path, start=4.5)


def test_fragments_and_what_is_left_of_them_have_a_length(tmp_path: Path):
    whole = part(tmp_path / "a.mp4", 0, 40, (64, 96), (*H264, "-g", "10"))
    fragments = tmp_path / "fragments.mp4"
    ffmpeg("-i", whole, "-c", "copy", "-movflags", "frag_keyframe+empty_moov+default_base_moof", fragments)
    assert (probe(fragments).seconds, indices(fragments)) == (4.0, list(range(40)))
    fragments.write_bytes(fragments.read_bytes()[: fragments.stat().st_size * 2 // 3])
    read = indices(fragments)
    assert 15 < len(read) < 35 and read == list(range(len(read)))
    assert probe(fragments).seconds == pytest.approx(len(read) / 10, abs=0.3)


@pytest.mark.parametrize("jump", [1000, 95_000])
def test_a_broadcast_whose_clock_jumps_is_read_whole(jump: int, tmp_path: Path):
    whole = part(tmp_path / "a.ts", 0, 40, (64, 96), (*H264, "-g", "10"))
    path, clock = tmp_path / "jump.ts", f"setts=ts='TS+if(gte(N,20),{jump}/TB,0)'"
    ffmpeg("-i", whole, "-c", "copy", "-bsf:v", clock, "-max_interleave_delta", "0", path)
    assert indices(path) == list(range(40))
    assert probe(path).seconds == pytest.approx(4, abs=0.1)
    assert indices(path, start=3.05, max_frames=2) == [30, 31]


@pytest.mark.parametrize("ending", ["mkv", "webm", "mp4"])
def test_rates_are_told_as_they_are(ending: str, tmp_path: Path):
    options = VP8 if ending == "webm" else H264
    for rate, fps in (("960", 960), ("240", 240), ("30000/1001", 30000 / 1001), ("1/2", 0.5)):
        path = counted(tmp_path / f"a.{ending}", 40, rate, options)
        assert probe(path).fps == pytest.approx(fps, rel=1e-4) and indices(path) == list(range(40))
    times = [0, 0.1, 0.2, 0.5, 0.9, 1.0, 1.4, 1.5, 2.0, 2.1, 2.2, 2.9]
    path = counted(tmp_path / f"varies.{ending}", 12, times=times, options=options)
    assert probe(path).fps == pytest.approx(12 / 2.94, rel=0.02)


# ---- Which stream is the video


@pytest.mark.parametrize("ending", ["mkv", "mp4", "mov"])
def test_the_default_track_that_moves_is_the_video(ending: str, tmp_path: Path):
    a, b = (part(tmp_path / f"{i}.{ending}", 20 * i, 20 * i + 20, (64, 96), H264) for i in (0, 1))
    path = tmp_path / f"two.{ending}"
    both = ("-i", a, "-i", b, "-map", "0", "-map", "1", "-c", "copy")
    for chosen, flags in ((1, ("0", "default")), (0, ("default", "0"))):
        ffmpeg(*both, "-disposition:v:0", flags[0], "-disposition:v:1", flags[1], path)
        assert indices(path) == list(range(20 * chosen, 20 * chosen + 20))
        assert index_of(read_frame(path, 1.55)) == 20 * chosen + 15
    # A picture beside the film, even if it is called the default.
    gray = np.full((64, 96, 3), 120, np.uint8)
    for codec in ("mjpeg", "libx264"):
        one = still(tmp_path / f"one.{ending}", gray, "-c:v", codec)
        copied = ("-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "default", "-disposition:v:1", "0")
        ffmpeg("-i", one, "-i", b, *copied, path)
        assert indices(path) == list(range(20, 40))


def animation(path: Path, mode: str, **how: object) -> Path:
    pictures = [Image.new("RGB", (64, 48), colour_of(i)).convert(mode) for i in range(8)]
    lasts = [100, 300, 100, 100, 100, 100, 100, 100]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=lasts, **how)
    return path


@pytest.mark.parametrize("name", ["a.avif", "a.webp", "a.png", "a.gif"])
def test_animations_show_every_frame_at_its_time(name: str, tmp_path: Path):
    path = animation(tmp_path / name, "RGB", **({"lossless": True} if name == "a.webp" else {}))
    assert indices(path, fps=10) == [0, 1, 1, 1, 2, 3, 4, 5, 6, 7]
    assert not probe(path).is_image and index_of(read_image(path)) == 0
    assert [index_of(read_frame(path, t)) for t in (0.05, 0.25, 0.55)] == [0, 1, 3]


def test_an_animation_keeps_its_alpha_plane(tmp_path: Path):
    pictures = [Image.new("RGBA", (64, 48), (200, 20, 20, 255 - 85 * i)) for i in range(4)]
    path = tmp_path / "fades.avif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    seen = read_clip(path).frames[:, 20, 20].astype(int)
    opaque, white = np.array([200, 20, 20]), np.array([255, 255, 255])
    assert np.abs(seen - [opaque + (white - opaque) * i / 3 for i in range(4)]).max() < 6


def test_the_primary_picture_of_a_photograph_is_read_at_its_odd_size(tmp_path: Path):
    colours = np.array([[(200, 30, 30), (30, 200, 30), (30, 30, 200)]])
    tiles = np.broadcast_to(colours[:, :, None, None], (1, 3, 64, 64, 3)).astype(np.uint8)
    path = tiled_heic(tmp_path / "odd.heic", tiles, (63, 151))
    assert read_image(path).shape == (63, 151, 3)
    # The same file with its second tile as the primary picture; none is hidden.
    patched(path, b"pitm", 4, ">H", 2)
    path.write_bytes(path.read_bytes().replace(b"infe\2\0\0\1", b"infe\2\0\0\0"))
    assert np.abs(read_image(path).astype(int) - (30, 200, 30)).max() < 6


# ---- Colour


def patches(picture: np.ndarray) -> np.ndarray:
    h, w = picture.shape[0], picture.shape[1] // 6
    middle = [picture[h // 4 : 3 * h // 4, k * w + w // 4 : k * w + 3 * w // 4] for k in range(6)]
    return np.array([m.reshape(-1, 3).mean(0) for m in middle])


def coloured(path: Path, filters: str, options: tuple, size: tuple[int, int] = (1280, 720)) -> np.ndarray:
    """What is read of a video of six patches that was converted so; ``[6, 3]``."""
    width, height = size
    picture = np.zeros((height, width, 3), np.uint8)
    for k, rgb in enumerate(PATCHES):
        picture[:, k * width // 6 : (k + 1) * width // 6] = rgb
    still(path, picture, "-vf", filters, *options)
    return patches(read_clip(path, max_frames=1).frames[0])


RGB = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=gbr:range=pc,format=gbrp16le"


def x265(primaries: str, transfer: str, matrix: str) -> tuple:
    told = {"colorprim": primaries, "transfer": transfer, "colormatrix": matrix}
    tags = "".join(f":{key}={value}" for key, value in told.items() if value)
    params = f"log-level=error:lossless=1{tags}"
    return ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-x265-params", params)


@pytest.mark.parametrize(
    ("primaries", "zimg", "matrix"),
    [("smpte432", "smpte432", "709"), ("bt2020", "2020", "2020_ncl"), ("bt470m", "bt470m", "470bg")],
)
def test_wide_primaries_are_brought_to_srgb(primaries: str, zimg: str, matrix: str, tmp_path: Path):
    tag = {"709": "bt709", "2020_ncl": "bt2020nc", "470bg": "bt470bg"}[matrix]
    filters = f"{RGB},zscale=p={zimg}:t=709:m={matrix}:r=limited,format=yuv420p10le"
    seen = coloured(tmp_path / "wide.mp4", filters, x265(primaries, "bt709", tag))
    assert np.abs(seen - PATCHES).max() < 10
    # And each time alike: threads that share a filter's graph gave other colours one time in ten.
    again = [patches(read_clip(tmp_path / "wide.mp4", max_frames=1).frames[0]) for _ in range(8)]
    assert all(np.array_equal(seen, one) for one in again)


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_a_high_dynamic_range_is_seen_with_and_without_its_other_tags(transfer: str, tmp_path: Path):
    light = f"{RGB},zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=2020"
    filters = f"{light},zscale=t={transfer}:m=2020_ncl:r=limited:npl=203,format=yuv420p10le,"
    filters += "setparams=color_primaries=unknown:color_trc=unknown:colorspace=unknown"
    whole = coloured(tmp_path / "all.mp4", filters, x265("bt2020", transfer, "bt2020nc"))
    assert np.abs(whole - PATCHES).max() < 50 and np.ptp(whole[4]) < 6  # the tone curve darkens, and gray stays gray
    for primaries, matrix in (("", ""), ("bt2020", ""), ("", "bt2020nc")):
        seen = coloured(tmp_path / "some.mp4", filters, x265(primaries, transfer, matrix))
        assert np.abs(seen - whole).max() < 4
    # The same with alpha.
    told = ("-color_primaries", "bt2020", "-color_trc", transfer, "-colorspace", "bt2020nc")
    prores = ("-c:v", "prores_ks", "-pix_fmt", "yuva444p10le", *told)
    ffmpeg("-i", tmp_path / "all.mp4", "-vf", "format=yuva444p10le", *prores, tmp_path / "alpha.mov")
    assert np.abs(patches(read_clip(tmp_path / "alpha.mov", max_frames=1).frames[0]) - whole).max() < 6


@pytest.mark.parametrize(("size", "matrix"), [((1280, 720), "bt709"), ((320, 240), "bt601")])
def test_alpha_without_tags_has_the_colours_it_has_without_alpha(size: tuple, matrix: str, tmp_path: Path):
    for name, pixel, options in (
        ("a.webm", "yuva420p", ("-c:v", "libvpx-vp9", "-crf", "8", "-b:v", "0", "-cpu-used", "8")),
        ("a.mov", "yuva444p10le", ("-c:v", "prores_ks")),
        ("a.mkv", "yuva420p", ("-c:v", "ffv1")),
    ):
        filters = f"format=gbrap,scale=out_color_matrix={matrix}:out_range=tv,format={pixel}"
        seen = coloured(tmp_path / name, f"{filters},setparams=colorspace=unknown", (*options, "-pix_fmt", pixel), size)
        assert np.abs(seen - PATCHES).max() < 8, name


def test_rare_matrices_and_tags_that_lie_give_a_picture(tmp_path: Path):
    for matrix, zimg in (("ycgco", "ycgco"), ("chroma-derived-nc", "chroma-derived-nc")):
        filters = f"{RGB},zscale=m={zimg}:r=limited,format=yuv444p10le"
        options = ("-c:v", "ffv1", "-colorspace", matrix)
        assert np.abs(coloured(tmp_path / "rare.mkv", filters, options) - PATCHES).max() < 4
    for tag in ("smpte2085", "ictcp", "bt2020c", "chroma-derived-c", "YCgCo"):
        options = ("-c:v", "libx264", "-preset", "ultrafast", "-x264-params", f"colormatrix={tag}")
        seen = coloured(tmp_path / "lies.mp4", "scale=out_color_matrix=bt709,format=yuv420p", options)
        assert np.isfinite(seen).all() and np.ptp(seen) > 100


# ---- Still pictures

QUARTERS = [(220, 40, 30), (30, 180, 60), (40, 60, 210), (235, 200, 40)]


def quartered() -> np.ndarray:
    rows = np.array(QUARTERS, np.uint8).reshape(2, 2, 3)
    return rows.repeat(32, 0).repeat(48, 1)


def quarters(path: Path) -> np.ndarray:
    picture = read_image(path).astype(int)
    h, w = picture.shape[:2]
    return np.array([picture[y, x] for y in (h // 8, 7 * h // 8) for x in (w // 8, 7 * w // 8)])


def display_p3() -> bytes:
    """An ICC profile: that of sRGB with the primaries of Display P3 under D50."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    columns = {b"rXYZ": (0.5151, 0.2412, -0.0011), b"gXYZ": (0.2920, 0.6922, 0.0419), b"bXYZ": (0.1571, 0.0666, 0.7841)}
    for i in range(int.from_bytes(data[128:132])):
        tag, at = data[132 + 12 * i : 136 + 12 * i], int.from_bytes(data[136 + 12 * i : 140 + 12 * i])
        if (xyz := columns.get(bytes(tag))) is not None:
            struct.pack_into(">3i", data, at + 8, *(round(65536 * v) for v in xyz))
        if bytes(tag) == b"desc":
            length = int.from_bytes(data[140 + 12 * i : 144 + 12 * i])
            data[at : at + length] = bytes(data[at : at + length]).replace(b"s\0R\0G\0B", b"P\0I\0I\0I")
    return bytes(data)


def of_p3(rgb: tuple[int, int, int]) -> np.ndarray:
    """The sRGB of a colour of Display P3, by the definitions of both."""
    code = np.array(rgb) / 255
    light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    p3 = [[0.48657, 0.26567, 0.19822], [0.22897, 0.69174, 0.07929], [0, 0.04511, 1.04394]]
    srgb = [[0.41239, 0.35758, 0.18048], [0.21264, 0.71517, 0.07219], [0.01933, 0.11919, 0.95053]]
    light = np.clip(np.linalg.inv(srgb) @ p3 @ light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.avif", "palette.png", "alpha.png"])
def test_colour_profiles_are_followed(name: str, tmp_path: Path):
    picture = Image.fromarray(quartered())
    if name == "palette.png":
        picture = picture.convert("P", palette=Image.Palette.ADAPTIVE)
    if name == "alpha.png":
        picture.putalpha(255)
    how = {"a.jpg": {"quality": 98, "subsampling": 0}, "a.webp": {"lossless": True}, "a.avif": {"quality": 98}}
    picture.save(tmp_path / name, icc_profile=display_p3(), **how.get(name, {}))
    assert np.abs(quarters(tmp_path / name) - [of_p3(c) for c in QUARTERS]).max() < 12


def test_wide_gamut_by_tags_of_a_picture_is_followed(tmp_path: Path):
    stream = io.BytesIO()
    Image.fromarray(quartered()).save(stream, "PNG")
    png = stream.getvalue()
    body = b"cICP" + bytes([12, 13, 0, 1])
    chunk = struct.pack(">I", 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "tags.png").write_bytes(png[:33] + chunk + png[33:])
    assert np.abs(quarters(tmp_path / "tags.png") - [of_p3(c) for c in QUARTERS]).max() < 4
    Image.fromarray(quartered()).save(tmp_path / "tags.avif", quality=98)
    patched(tmp_path / "tags.avif", b"colrnclx", 0, ">H", 12)
    assert np.abs(quarters(tmp_path / "tags.avif") - [of_p3(c) for c in QUARTERS]).max() < 12


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.avif", "a.tif", "a.jp2"])
def test_what_is_transparent_in_a_picture_is_white(name: str, tmp_path: Path):
    picture = np.dstack([quartered(), np.full((64, 96), 255, np.uint8)])
    picture[24:40, 40:56] = 0
    Image.fromarray(picture).save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    assert np.abs(read_image(tmp_path / name)[32, 48].astype(int) - 255).max() < 3
    assert np.abs(quarters(tmp_path / name) - QUARTERS).max() < 12


TIFFS = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"]


@pytest.mark.parametrize("compression", TIFFS)
def test_a_tiff_is_never_black(compression: str, tmp_path: Path):
    path = tmp_path / "a.tif"
    Image.fromarray(quartered()).save(path, compression=None if compression == "raw" else compression)
    assert np.abs(quarters(path) - QUARTERS).max() < 12
    tiled = quartered()
    tifffile = pytest.importorskip("tifffile")
    for data in (tiled, tiled.astype(np.uint16) * 257):
        tifffile.imwrite(path, data, tile=(16, 32))
        assert np.abs(quarters(path) - QUARTERS).max() < 2


def test_deep_and_rare_pictures_are_what_pillow_and_arithmetic_say(tmp_path: Path):
    ramp = np.tile(np.linspace(0, 65535, 96).astype(np.uint16), (8, 1))
    for name in ("ramp.png", "ramp.tif"):
        Image.fromarray(ramp).save(tmp_path / name)
        assert np.abs(read_image(tmp_path / name)[..., 0] - ramp / 257).max() <= 1
    for name, mode in (("cmyk.jpg", "CMYK"), ("cmyk.tif", "CMYK"), ("bits.png", "1"), ("bits.tif", "1")):
        picture = Image.fromarray(quartered()).convert(mode)
        picture.save(tmp_path / name, **({"quality": 98} if name == "cmyk.jpg" else {}))
        # Without a profile, CMYK is what Pillow makes of it.
        difference = read_image(tmp_path / name).astype(int) - np.asarray(picture.convert("RGB"), int)
        assert np.abs(difference).mean() < 6, name


def test_the_first_of_several_jpegs_in_a_file_is_the_photograph(tmp_path: Path):
    streams = []
    for picture in (quartered(), np.full((16, 24, 3), 90, np.uint8)):
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "JPEG", quality=95)
        streams.append(stream.getvalue())
    (tmp_path / "gain_map.jpg").write_bytes(b"".join(streams))
    assert probe(tmp_path / "gain_map.jpg").is_image
    assert np.abs(quarters(tmp_path / "gain_map.jpg") - QUARTERS).max() < 10


def test_pictures_that_broke_off_and_nonsense(tmp_path: Path):
    for name in ("a.jpg", "a.png"):
        noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        assert read_image(tmp_path / name).shape == (64, 96, 3)  # the part that came
    heads = {"a.tif": b"II*\0", "a.jpg": b"\xff\xd8\xff\xe0", "a.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"}
    for name, head in heads.items():
        (tmp_path / name).write_bytes(head + os.urandom(4000))
        with pytest.raises(LamdemoError, match=name):
            read_image(tmp_path / name)
