import os
import re
import stat
import struct
import subprocess
import time
import tracemalloc
import zlib
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from video_files import LOSSLESS, colour, colour_of, counted, ffmpeg, index_of, still, tiled_heic

from lamdemo.core.errors import LamdemoError
from lamdemo.video import (
    Clip,
    ReadLimits,
    find_videos,
    flow_to_color,
    iter_frames,
    optical_flow,
    probe,
    read_clip,
    read_frame,
    read_image,
    reading,
    side_by_side,
    warp,
    write_image,
    write_video,
)
from lamdemo.video import ffmpeg as process

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def plain(shared: Path) -> Path:
    """Five seconds of counted frames, 25 a second, with one key frame."""
    return counted(shared / "plain.mp4", 125, options=(*LOSSLESS, "-g", "250"))


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen]:
    """Every process that lamdemo starts during the test."""
    started: list[subprocess.Popen] = []

    class Noted(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(process.subprocess, "Popen", Noted)
    return started


def indices(frames: np.ndarray) -> list[int]:
    return [index_of(frame) for frame in frames]


def near(pixels: np.ndarray, wanted: np.ndarray | tuple[int, ...], tolerance: int = 3) -> bool:
    return bool(np.abs(pixels.astype(int) - np.asarray(wanted, int)).max() <= tolerance)


def refusal(call, *args, **kwargs) -> str:
    """The one sentence that a call is refused with."""
    with pytest.raises(LamdemoError) as caught:
        call(*args, **kwargs)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and ". " not in sentence
    assert "/" not in sentence, "a path of this machine"
    return sentence


# ---- What comes out of each kind of file

MPEG2 = ("-c:v", "mpeg2video", "-q:v", "2", "-bf", "2")
HEVC = (
    "-c:v",
    "libx265",
    "-pix_fmt",
    "yuv420p10le",
    "-x265-params",
    "log-level=error",
    "-preset",
    "ultrafast",
)
KINDS = {
    "h264.mp4": ("30000/1001", ("-c:v", "libx264", "-crf", "8", "-pix_fmt", "yuv420p")),
    "h264.mkv": ("30", LOSSLESS),
    "hevc10.mp4": ("24", HEVC),
    "vp9.webm": ("24000/1001", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")),
    "vp8.webm": ("30", ("-c:v", "libvpx", "-deadline", "realtime", "-b:v", "2M")),
    "av1.mp4": ("25", ("-c:v", "libsvtav1", "-preset", "12", "-svtav1-params", "enable-tf=0")),
    "prores.mov": ("24", ("-c:v", "prores_ks")),
    "mpeg4-b.avi": ("30000/1001", ("-c:v", "mpeg4", "-q:v", "2", "-bf", "2")),
    "mjpeg.avi": ("15", ("-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj420p")),
    "mpeg2.ts": ("25", MPEG2),
    "mpeg2.mxf": ("25", MPEG2),
    "theora.ogv": ("30000/1001", ("-c:v", "libtheora", "-q:v", "10")),
    "flash.flv": ("30", ("-c:v", "flv", "-q:v", "2")),
    "windows.wmv": ("25", ("-c:v", "wmv2", "-q:v", "2")),
    "raw.h264": ("25", LOSSLESS),
    "animated.gif": ("10", ()),
    "animated.webp": ("10", ("-c:v", "libwebp_anim", "-lossless", "1")),
    "animated.apng": ("10", ()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_of_every_kind_comes_once_and_at_its_time(kind: str, tmp_path: Path):
    rate, options = KINDS[kind]
    path = counted(tmp_path / kind, 125, rate, options)
    numerator, _, denominator = rate.partition("/")
    fps = int(numerator) / int(denominator or 1)
    info = probe(path)
    assert (info.width, info.height, info.is_image) == (96, 64, False)
    assert info.fps == pytest.approx(fps)
    assert info.seconds == pytest.approx(125 / fps, abs=0.06)
    clip = read_clip(path)
    assert clip.fps == info.fps and clip.frames.dtype == np.uint8 and clip.frames.shape[1:] == (64, 96, 3)
    assert indices(clip.frames) == list(range(125))
    # The same frames when they are asked for by time, which seeks.
    for k in (62, 124):
        assert index_of(read_frame(path, (k + 0.5) / fps)) == k
    later = read_clip(path, start=(100 + 0.25) / fps, max_frames=7)
    assert indices(later.frames) == list(range(100, 107))


def test_clip_tells_its_length(plain: Path):
    clip = read_clip(plain, seconds=2)
    assert len(clip) == 50 and clip.seconds == pytest.approx(2.0)
    assert Clip(np.zeros((3, 4, 4, 3), np.uint8), 2.0).seconds == 1.5


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_rate_shows_what_is_on_screen(suffix: str, tmp_path: Path):
    times = [0.0, 1.0, 1.1, 1.5, 3.0, 3.2]
    path = counted(tmp_path / f"variable.{suffix}", 6, times=times)
    ends = 3.24

    def shown(t: float) -> int:
        return max(i for i, began in enumerate(times) if began <= t + 1e-6)

    clip = read_clip(path, fps=10)
    assert indices(clip.frames) == [shown(k / 10) for k in range(33)]
    for start in (1.05, 1.1, 2.9):
        part = read_clip(path, fps=20, start=start)
        expected = [shown(start + k / 20) for k in range(200) if start + k / 20 < ends - 1e-3]
        assert indices(part.frames) == expected
    assert [index_of(read_frame(path, t)) for t in (0.99, 1, 2.99, 3.2, 60)] == [0, 1, 3, 5, 5]


def test_resampling_repeats_and_leaves_out(plain: Path):
    assert indices(read_clip(plain, fps=50, max_frames=8).frames) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert indices(read_clip(plain, fps=5, start=1, seconds=1).frames) == [25, 30, 35, 40, 45]
    assert indices(read_clip(plain, fps=0.5).frames) == [0, 50, 100]
    # 29.97 a second out of 25: each frame is the one that began last.
    clip = read_clip(plain, fps=30000 / 1001, max_frames=100)
    assert indices(clip.frames) == [int(k * 1001 / 30000 * 25 + 1e-6) for k in range(100)]


def test_seconds_and_max_frames_bound_each_other(plain: Path):
    assert len(read_clip(plain, seconds=1)) == 25
    assert len(read_clip(plain, seconds=1, max_frames=3)) == 3
    assert len(read_clip(plain, seconds=0.01)) == 1
    assert len(read_clip(plain, start=4.48, seconds=99)) == len(read_clip(plain, start=4.48)) == 13


def test_seeking_finds_the_frame_between_key_frames(shared: Path):
    path = counted(shared / "sparse.mp4", 125, "5", (*LOSSLESS, "-g", "100"))  # key frames at 0 and 20 s
    for k in (9, 99, 100, 124):
        assert index_of(read_frame(path, k / 5)) == k
        assert index_of(read_frame(path, k / 5 + 0.19)) == k


def test_seeking_close_to_the_beginning(tmp_path: Path):
    # The index of such a file counts frames as they are coded, so a search lands before its first entry.
    path = counted(tmp_path / "b.avi", 75, "25", ("-c:v", "mpeg4", "-q:v", "2", "-bf", "2", "-g", "250"))
    times = np.arange(0.98, 2.2, 0.1)
    assert [index_of(read_frame(path, t)) for t in times] == [int(t * 25 + 1e-6) for t in times]


def test_seeking_in_a_broadcast(tmp_path: Path):
    # Its clock does not begin at 0, and it has no index: a search may land between two key frames.
    options = ("-c:v", "libx264", "-crf", "8", "-pix_fmt", "yuv420p", "-g", "20", "-bf", "2")
    path = counted(tmp_path / "long.ts", 125, "2", options)
    for k in (52, 60, 77, 100, 124):
        assert index_of(read_frame(path, k / 2 + 0.25)) == k
    assert indices(read_clip(path, start=40.25, max_frames=9).frames) == list(range(80, 89))


def test_time_begins_with_the_first_frame_and_ends_by_holding_the_last(tmp_path: Path):
    late = tmp_path / "late.mkv"
    source = counted(tmp_path / "counted.mkv", 50)
    sine = ("-f", "lavfi", "-i", "sine=d=6")
    ffmpeg(
        "-itsoffset",
        "1.5",
        "-i",
        source,
        *sine,
        "-map",
        "0",
        "-map",
        "1",
        "-c:v",
        "copy",
        "-c:a",
        "aac",
        late,
    )
    assert indices(read_clip(late, max_frames=5).frames) == [0, 1, 2, 3, 4]
    assert index_of(read_frame(late, 1.02)) == 25
    # Sound goes on for seconds after the last frame.
    assert probe(late).seconds > 4
    assert len(read_clip(late)) == 50
    assert indices(read_clip(late, start=3).frames) == [49]
    assert index_of(read_frame(late, 3.9)) == 49


def test_a_recording_of_a_browser_has_neither_length_nor_rate(tmp_path: Path):
    source = counted(tmp_path / "whole.webm", 50, "25", ("-c:v", "libvpx", "-deadline", "realtime", "-b:v", "1M"))
    path = tmp_path / "recording.webm"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", source, "-c", "copy", "-f", "webm", "-live", "1", "-"]
    path.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    info = probe(path)
    assert info.seconds == pytest.approx(2.0, abs=0.05) and info.fps == pytest.approx(25, abs=0.5)
    assert len(read_clip(path)) == 50


# ---- Geometry and colour


@pytest.mark.parametrize(("turn", "quarters"), [(90, 1), (180, 2), (-90, 3)])
def test_rotation_of_a_phone_is_applied(turn: int, quarters: int, tmp_path: Path):
    flat, turned = tmp_path / "flat.mp4", tmp_path / "turned.mp4"
    picture = np.full((32, 64, 3), RED, np.uint8)
    picture[:16, :32], picture[16:, 32:] = BLUE, WHITE
    still(flat, picture, *LOSSLESS)
    ffmpeg("-display_rotation", str(turn), "-i", flat, "-c", "copy", turned)
    assert near(read_image(flat), picture)
    expected = np.rot90(picture, quarters)
    info = probe(turned)
    assert (info.height, info.width) == expected.shape[:2]
    assert near(read_image(turned), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_photograph_is_applied(orientation: int, tmp_path: Path):
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16, :32], picture[16:, 32:], picture[:16, 32:] = RED, BLUE, WHITE
    data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x112, 3, 1, orientation, 0, 0)
    path = tmp_path / "photograph.jpg"
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    turned = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.swapaxes(0, 1),
        6: np.rot90(picture, -1),
        7: np.rot90(picture, 2).swapaxes(0, 1),
        8: np.rot90(picture),
    }[orientation]
    read = read_image(path)
    assert read.shape == turned.shape
    assert np.abs(read.astype(int) - turned).mean() < 4  # chroma is halved along the edges


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path):
    path = colour(tmp_path / "wide.mp4", "color=red:s=64x48:d=0.2,setsar=4/3", *LOSSLESS)
    info = probe(path)
    assert (info.width, info.height) == (85, 48)
    assert read_image(path).shape == (48, 85, 3)


def test_odd_sizes_stay_odd(tmp_path: Path):
    picture = np.random.default_rng(0).integers(0, 256, (47, 33, 3)).astype(np.uint8)
    for name, options in {"odd.mkv": ("-c:v", "ffv1", "-pix_fmt", "bgr0"), "odd.png": ()}.items():
        assert np.array_equal(read_image(still(tmp_path / name, picture, *options)), picture)
    halved = still(tmp_path / "odd.webm", np.full_like(picture, 90), "-c:v", "libvpx-vp9")
    assert near(read_image(halved), np.full_like(picture, 90))


def test_sizes_asked_for(plain: Path):
    assert read_clip(plain, size=(20, 70), max_frames=1).frames.shape == (1, 20, 70, 3)
    assert read_clip(plain, max_side=24, max_frames=1).frames.shape == (1, 16, 24, 3)
    assert read_clip(plain, max_side=4000, max_frames=1).frames.shape == (1, 64, 96, 3)
    assert read_image(plain, max_side=1).shape == (1, 1, 3)
    assert read_frame(plain, 1.0, max_side=12).shape == (8, 12, 3)
    with pytest.raises(ValueError, match="not both"):
        read_clip(plain, size=(2, 2), max_side=2)
    with pytest.raises(ValueError, match="one pixel"):
        read_clip(plain, size=(0, 2))


def test_shrinking_averages(tmp_path: Path):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    path = write_image(tmp_path / "stripes.png", stripes)
    assert near(read_image(path, max_side=8)[2:-2, 2:-2], (128, 128, 128), 6)


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
@pytest.mark.parametrize("span", ["tv", "pc"])
@pytest.mark.parametrize("pixel", ["yuv420p", "yuv444p10le"])
def test_colours_follow_the_file_s_own_tags(matrix: str, span: str, pixel: str, tmp_path: Path):
    name = {"bt709": "bt709", "smpte170m": "bt601"}[matrix]
    path = colour(
        tmp_path / "tagged.mkv",
        f"color=0xC83250:s=64x64:d=0.1,format=gbrp,scale=out_color_matrix={name}:out_range={span},format={pixel}",
        *("-c:v", "libx264", "-crf", "0", "-colorspace", matrix, "-color_range", span),
    )
    assert near(read_image(path), (200, 50, 80))


def test_untagged_high_definition_is_bt709(tmp_path: Path):
    coded = "color=0xC83250:s={}:d=0.1,format=gbrp,scale=out_color_matrix={},format=yuv420p"
    source = f"{coded},setparams=colorspace=unknown"
    options = ("-c:v", "libx264", "-crf", "4", "-preset", "ultrafast")
    large = colour(tmp_path / "large.mp4", source.format("1280x720", "bt709"), *options)
    small = colour(tmp_path / "small.mp4", source.format("320x240", "bt601"), *options)
    assert near(read_image(large, max_side=64), (200, 50, 80))
    assert near(read_image(small, max_side=64), (200, 50, 80))


@pytest.mark.parametrize(("transfer", "white"), [("smpte2084", 572), ("arib-std-b67", 721)])
def test_high_dynamic_range_is_brought_down(transfer: str, white: int, tmp_path: Path):
    tags = f"colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc:log-level=error"
    levels = (64, 300, white, 940)  # black, a middle gray, white of paper, the brightest code

    def gray(level: int) -> float:
        path = colour(
            tmp_path / f"{level}.mp4",
            f"color=black:s=64x64:r=5:d=0.2,format=yuv420p10le,geq=lum={level}:cb=512:cr=512",
            *("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", tags),
        )
        picture = read_image(path).astype(float)
        assert np.ptp(picture.mean((0, 1))) < 2  # gray stays gray
        return picture.mean()

    black, middle, paper, brightest = (gray(level) for level in levels)
    assert black < 3 and 40 < middle < 100 and 195 < paper < 240 and brightest > 250


def test_ten_bits_keep_a_ramp_smooth(tmp_path: Path):
    ramp = "color=black:s=256x16:d=0.1,format=yuv444p10le,geq=lum='X*4':cb=512:cr=512"
    path = colour(tmp_path / "ramp.mkv", ramp, "-c:v", "ffv1")
    rows = read_image(path)[8, :, 0].astype(int)
    # Luma code 4x of limited range, as the 8 bits of RGB.
    expected = np.clip((np.arange(256) - 16) * 255 / 219, 0, 255)
    assert np.abs(rows - expected).max() <= 1


HALF_RED = "color=red@0.5:s=32x32:d=0.2,format=rgba"
TRANSPARENT = {
    "half.png": (HALF_RED, ("-frames:v", "1"), (255, 127, 127)),
    "half.webm": (HALF_RED, ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p"), (255, 127, 127)),
    "half8.webm": (
        HALF_RED,
        ("-c:v", "libvpx", "-pix_fmt", "yuva420p", "-auto-alt-ref", "0"),
        (255, 127, 127),
    ),
    "half.mov": (HALF_RED, ("-c:v", "prores_ks", "-pix_fmt", "yuva444p10le"), (255, 127, 127)),
    "half.webp": (HALF_RED, ("-frames:v", "1", "-c:v", "libwebp", "-lossless", "1"), (255, 127, 127)),
    "clear.gif": (
        "color=black@0:s=32x32:d=0.2,format=rgba,split[a][b];[a]palettegen[p];[b][p]paletteuse",
        (),
        WHITE,
    ),
    "clear.png": ("color=black@0:s=32x32:d=0.2,format=rgba", ("-frames:v", "1"), WHITE),
    "solid.png": ("color=red:s=32x32:d=0.2,format=rgba", ("-frames:v", "1"), RED),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_what_is_transparent_lies_on_white(name: str, tmp_path: Path):
    source, options, expected = TRANSPARENT[name]
    assert near(read_image(colour(tmp_path / name, source, *options)), expected)


def test_transparent_pixels_do_not_bleed_when_shrunk(tmp_path: Path):
    picture = np.zeros((64, 64, 4), np.uint8)  # clear black everywhere,
    picture[:, ::2] = (0, 0, 255, 255)  # solid red in every second column
    path = tmp_path / "columns.png"
    cv2.imwrite(str(path), picture)
    assert near(read_image(path, max_side=8)[2:-2, 2:-2], (255, 128, 128), 6)


STILLS = {
    "a.png": ("rgb24", 0),
    "sixteen.png": ("rgb48be", 1),
    "a.bmp": ("bgr24", 0),
    "a.tiff": ("rgb24", 0),
    "a.ppm": ("rgb24", 0),
    "a.qoi": ("rgb24", 0),
    "a.jpg": ("yuvj444p", 6),
    "a.webp": ("bgra", 0),
    "a.gif": ("pal8", 2),
    "a.avif": ("gbrp", 12),
    "a.apng": ("rgb24", 0),
    "a.ico": ("rgba", 0),
}


@pytest.mark.parametrize("name", STILLS)
def test_still_pictures_give_one_frame(name: str, tmp_path: Path):
    pixel, tolerance = STILLS[name]
    picture = np.full((32, 48, 3), (200, 50, 80), np.uint8)
    picture[:, :24] = (50, 80, 200)
    extra = {"a.webp": ("-c:v", "libwebp", "-lossless", "1"), "a.avif": ("-c:v", "libaom-av1", "-crf", "5")}
    extra["a.gif"] = ("-vf", "split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=none")
    path = still(tmp_path / name, picture, "-pix_fmt", pixel, *extra.get(name, ()))
    info = probe(path)
    assert (info.is_image, info.seconds, info.width, info.height) == (True, 0.0, 48, 32)
    clip = read_clip(path, fps=12, start=3, seconds=2)
    assert len(clip) == 1 and clip.fps == 12
    assert near(clip.frames[0, :, :20], (50, 80, 200), tolerance)
    assert near(clip.frames[0, :, 28:], (200, 50, 80), tolerance)
    assert np.array_equal(read_frame(path, 5.0), clip.frames[0])


@pytest.mark.parametrize("quarters", range(4))
def test_a_photograph_of_tiles_is_put_together(quarters: int, tmp_path: Path):
    colours = np.array([[(200, 30, 30), (30, 200, 30), (30, 30, 200)], [(200, 200, 30), (90, 90, 90), (20, 20, 20)]])
    tiles = np.broadcast_to(colours[:, :, None, None], (2, 3, 64, 64, 3)).astype(np.uint8)
    whole = tiles.swapaxes(1, 2).reshape(128, 192, 3)[:100, :150]  # what is beyond is cropped
    path = tiled_heic(tmp_path / "photograph.heic", tiles, (100, 150), quarters)
    turned = np.rot90(whole, quarters)
    info, picture = probe(path), read_image(path)
    assert (info.is_image, info.height, info.width) == (True, *turned.shape[:2])
    assert picture.shape == turned.shape
    assert np.abs(picture.astype(int) - turned).mean() < 2
    height, width = turned.shape[:2]
    assert f"{width}×{height}" in refusal(probe, path, limits=ReadLimits(max_pixels=14_999))


def test_gray_and_palette_pictures(tmp_path: Path):
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (16, 1))
    cv2.imwrite(str(tmp_path / "gray.png"), ramp)
    assert np.array_equal(read_image(tmp_path / "gray.png"), np.repeat(ramp[..., None], 3, 2))
    few = "color=red:s=16x16:d=0.1,format=rgba,split[a][b];[a]palettegen[p];[b][p]paletteuse"
    palette = colour(tmp_path / "palette.png", few, "-frames:v", "1")
    assert near(read_image(palette), RED)


# ---- Bounds


@pytest.fixture(scope="module")
def long_video(shared: Path) -> Path:
    """Ten hours, in frames of 20 seconds."""
    return counted(shared / "hours.mp4", 1800, "1/20", (*LOSSLESS, "-g", "30"), size=(16, 16))


def test_ten_hours_are_refused_whole_and_read_in_part(long_video: Path):
    assert probe(long_video).seconds == pytest.approx(36000)
    assert "36000 seconds" in refusal(read_clip, long_video, fps=1)
    assert "36000 seconds" in refusal(iter_frames, long_video)
    assert "more than the 600 seconds" in refusal(read_clip, long_video, start=100, seconds=700)
    part = read_clip(long_video, start=35_000, seconds=60, fps=0.1)
    assert indices(part.frames) == [k % 125 for k in (1750, 1750, 1751, 1751, 1752, 1752)]
    assert index_of(read_frame(long_video, 30_001)) == 1500 % 125
    assert "ends after 36000 seconds" in refusal(read_clip, long_video, start=36_001, seconds=1)


def test_a_part_is_found_by_seeking_not_by_decoding_all_before(shared: Path):
    path = shared / "slow.mkv"
    colour(path, "testsrc2=s=640x360:r=25:d=60", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25")
    began = time.monotonic()
    early = read_clip(path, start=0.5, max_frames=5, max_side=64)
    first = time.monotonic() - began
    began = time.monotonic()
    late = read_clip(path, start=59.5, max_frames=5, max_side=64)
    second = time.monotonic() - began
    began = time.monotonic()
    everything = read_clip(path, max_side=64)
    whole = time.monotonic() - began
    assert np.array_equal(early.frames, everything.frames[12:17])
    assert np.array_equal(late.frames, everything.frames[1487:1492])
    assert second < first + whole / 3


def test_huge_pictures_are_refused_before_they_are_decoded(tmp_path: Path):
    side, pack = 20_000, zlib.compressobj(1)
    data = b"".join(pack.compress(bytes(1 + side // 8)) for _ in range(side)) + pack.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path = tmp_path / "huge.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    for call in (probe, read_clip, read_image):
        assert "20000×20000" in refusal(call, path)
    # A limit of one's own, on a picture and on a video.
    limits = ReadLimits(max_pixels=48 * 32 - 1)
    small = colour(tmp_path / "small.png", "color=red:s=48x32:d=0.1", "-frames:v", "1")
    video = colour(tmp_path / "small.mp4", "color=red:s=48x32:d=0.1", *LOSSLESS)
    for path in (small, video):
        assert "48×32" in refusal(read_clip, path, limits=limits)
        assert read_clip(path, limits=ReadLimits(max_pixels=48 * 32)).frames.shape[1:] == (32, 48, 3)
    assert "over the limit" in refusal(read_clip, video, size=(100, 100), limits=ReadLimits(max_pixels=9_999))


def test_more_bytes_than_allowed_are_refused_before_decoding(plain: Path, children: list):
    limits = ReadLimits(max_bytes=124 * 64 * 96 * 3)
    assert "GiB" in refusal(read_clip, plain, limits=limits)
    assert len(children) == 1, "only the probe ran"
    assert len(read_clip(plain, max_frames=124, limits=limits)) == 124
    assert sum(1 for _ in iter_frames(plain, limits=limits)) == 125  # held one at a time


def test_a_length_that_lies_is_not_believed(tmp_path: Path):
    path = counted(tmp_path / "liar.mkv", 125)
    data = path.read_bytes()
    at = data.index(b"\x44\x89\x88") + 3  # Matroska's Duration, a double of milliseconds
    path.write_bytes(data[:at] + struct.pack(">d", 200.0) + data[at + 8 :])
    assert probe(path).seconds == pytest.approx(5)
    assert len(read_clip(path)) == 125
    assert "more than the 1 seconds" in refusal(read_clip, path, limits=ReadLimits(max_seconds=1))


def test_memory_is_that_of_the_frames_asked_for(shared: Path):
    path = colour(
        shared / "large.mp4",
        "color=red:s=1920x1080:r=25:d=6",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-g",
        "25",
    )
    read_clip(path, max_frames=1, max_side=32)
    tracemalloc.start()
    try:
        clip = read_clip(path, max_side=64)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        n = sum(1 for _ in iter_frames(path, size=(1080, 1920), max_frames=30))
        streamed = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert len(clip) == 150 and n == 30
    assert held < 1.2 * clip.frames.nbytes + 3e6
    assert streamed < 3 * 1080 * 1920 * 3 + 3e6  # of 187 MB that went by


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux' account of a process")
def test_ffmpeg_waits_for_a_slow_reader(shared: Path, children: list):
    path = colour(shared / "flood.mp4", "color=red:s=1280x720:r=25:d=12", "-c:v", "libx264", "-preset", "ultrafast")
    frames = iter_frames(path, limits=ReadLimits(timeout=5))
    next(frames)
    time.sleep(1.0)
    status = Path(f"/proc/{children[-1].pid}/status").read_text()
    assert int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) < 350_000  # of 800 MB that are to come
    frames.close()


# ---- Time and processes


def ended(children: list[subprocess.Popen]) -> bool:
    return bool(children) and all(child.returncode is not None for child in children)


def test_a_read_that_takes_too_long_is_killed(shared: Path, children: list):
    path = colour(shared / "heavy.mp4", "testsrc2=s=1280x720:r=30:d=10", "-c:v", "libx264", "-preset", "ultrafast")
    began = time.monotonic()
    sentence = refusal(lambda: sum(1 for _ in iter_frames(path, fps=1000, limits=ReadLimits(timeout=0.3))))
    assert "longer than 0.3 seconds" in sentence
    assert time.monotonic() - began < 10  # to read it all takes far longer
    assert "longer than" in refusal(probe, path, limits=ReadLimits(timeout=0.0))
    assert ended(children)


def test_only_waiting_for_ffmpeg_spends_the_time_of_a_read(plain: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        now = [100.0]
        patch.setattr(process.time, "monotonic", lambda: now[0])
        budget = process.Budget(10)
        for waited, consumed in ((3, 50), (4, 500)):
            with budget:
                now[0] += waited
            now[0] += consumed
        assert budget.left == 3
        with budget:
            now[0] += 5
            assert budget.left == -2
        assert process.Budget(None).left == float("inf")

    frames = iter_frames(plain, limits=ReadLimits(timeout=2.5))
    seen = [index_of(next(frames))]
    time.sleep(2.7)
    assert [*seen, *(index_of(frame) for frame in frames)] == list(range(125))


def test_closing_or_leaving_early_ends_ffmpeg(plain: Path, children: list):
    frames = iter_frames(plain, size=(500, 500))
    next(frames)
    assert children[-1].poll() is None
    frames.close()
    assert ended(children)

    def broken():
        for frame in iter_frames(plain, size=(500, 500)):
            raise RuntimeError(frame.shape)

    with pytest.raises(RuntimeError):
        broken()
    assert ended(children)


def test_nothing_is_left_behind(plain: Path, tmp_path: Path, children: list, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("FFREPORT", "file=report.log:level=32")
    monkeypatch.setenv("AV_LOG_FORCE_COLOR", "1")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    assert len(read_clip(plain)) == 125
    refusal(read_clip, tmp_path / "bad.mp4")
    assert ended(children)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.mp4"]


# ---- Bad input


def test_each_bad_file_gives_one_sentence(tmp_path: Path):
    missing = tmp_path / "missing.mp4"
    assert "no file missing.mp4" in refusal(probe, missing)
    assert "no file" in refusal(probe, "bad\0name.mp4")
    assert "no file" in refusal(probe, "http://example.org/video.mp4")
    assert "is a folder" in refusal(read_clip, tmp_path)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert "empty.mp4 is empty" in refusal(read_clip, empty)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mp4")
        assert "not an ordinary file" in refusal(read_clip, tmp_path / "pipe.mp4")
    for name, content in {
        "text.mp4": b"This is no video.\n" * 100,
        "zeros.mp4": bytes(50_000),
        "noise.mp4": np.random.default_rng(0).bytes(50_000),
        "page.png": b"<html><body>404</body></html>",
        "words.srt": b"1\n00:00:00,000 --> 00:00:02,000\nhello\n",
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>',
    }.items():
        (tmp_path / name).write_bytes(content)
        for call in (probe, read_clip, read_image):
            assert f"{name} is not a video or picture" in refusal(call, tmp_path / name)
        refusal(read_frame, tmp_path / name, 0.0)


def test_sound_alone_is_refused_even_with_a_cover(tmp_path: Path):
    sound, cover, both = tmp_path / "sound.m4a", tmp_path / "cover.png", tmp_path / "both.m4a"
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", sound)
    colour(cover, "color=red:s=16x16:d=0.1", "-frames:v", "1")
    ffmpeg(
        "-i",
        sound,
        "-i",
        cover,
        "-map",
        "0",
        "-map",
        "1",
        "-c",
        "copy",
        "-disposition:v:0",
        "attached_pic",
        both,
    )
    assert "only sound" in refusal(probe, sound)
    assert "only sound" in refusal(read_clip, both)


def test_a_file_cut_short_gives_what_can_be_decoded(tmp_path: Path):
    source = "testsrc2=s=160x120:r=25:d=4"
    options = ("-c:v", "libx264", "-g", "25", "-preset", "ultrafast")
    for suffix, extra in {"mkv": (), "ts": (), "mp4": ("-movflags", "+faststart"), "avi": ()}.items():
        path = colour(tmp_path / f"whole.{suffix}", source, *options, *extra)
        whole = read_clip(path).frames
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        part = read_clip(cut).frames
        assert 20 <= len(part) < 80
        assert np.array_equal(part[:20], whole[:20])
        cut.write_bytes(path.read_bytes()[:300])
        refusal(read_clip, cut)
    # An index at the end is lost with it, and with it all frames.
    tail = colour(tmp_path / "tail.mp4", source, *options)
    tail.write_bytes(tail.read_bytes()[: tail.stat().st_size // 2])
    assert "not a whole video" in refusal(read_clip, tail)


def test_damage_in_the_middle_does_not_end_the_clip(tmp_path: Path):
    path = colour(tmp_path / "a.mkv", "testsrc2=s=160x120:r=25:d=4", "-c:v", "libx264", "-g", "10", "-bf", "0")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = np.random.default_rng(0).bytes(200)
    path.write_bytes(data)
    assert 90 <= len(read_clip(path)) <= 100


def test_nonsense_asked_for_is_refused(plain: Path):
    for bad in (0, -1, float("nan"), float("inf"), 1e9):
        refusal(read_clip, plain, fps=bad)
    assert index_of(read_frame(plain, 1e300)) == 124
    for bad in (-0.1, float("nan"), float("inf")):
        refusal(read_clip, plain, start=bad)
        refusal(read_frame, plain, bad)
    for bad in (0, -2, float("nan")):
        refusal(read_clip, plain, seconds=bad)
    refusal(read_clip, plain, max_frames=0)
    assert "ends after 5 seconds" in refusal(read_clip, plain, start=5.0)


@pytest.mark.parametrize(
    "name",
    [
        "-i.mp4",
        "-vf drawbox.mp4",
        "%03d.mp4",
        "a:b.mp4",
        "concat:x|y.mp4",
        "*?[x]{1}.mp4",
        'it\'s "quoted" $(x) `y`;&.mp4',
        "two\nlines.mp4",
        "вид\N{MOVIE CAMERA}.mp4",
        "%d.png",
        "no-suffix",
    ],
)
def test_any_name_is_only_a_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    picture = np.full((16, 16, 3), RED, np.uint8)
    (tmp_path / name).write_bytes(write_video(tmp_path / "plain.mp4", picture[None], 5).read_bytes())
    monkeypatch.chdir(tmp_path)
    assert near(read_image(name), RED, 4)
    if name.endswith(".mp4"):
        written = write_video(name, np.full((2, 16, 16, 3), BLUE, np.uint8), 5)
        assert near(read_image(written), BLUE, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({name, "plain.mp4"})


# ---- No file opens another


def playlists(folder: Path) -> dict[str, str]:
    """Files that name the secret ones in their folder, in every manner ffmpeg knows."""
    dash = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
        '<AdaptationSet mimeType="video/mp4"><Representation id="0" bandwidth="1">'
        "<BaseURL>secret.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink" width="16" height="16"'
    return {
        "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n",
        "hls-absolute": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{folder}/secret.ts\n#EXT-X-ENDLIST\n",
        "concat": "ffconcat version 1.0\nfile secret.mp4\n",
        "dash": dash,
        "dash-absolute": dash.replace("secret.mp4", f"file://{folder}/secret.mp4"),
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        "svg": f'<svg {names}><image x:href="secret.png" width="16" height="16"/></svg>',
    }


@pytest.fixture(scope="module")
def trap(shared: Path) -> Path:
    """A folder with a secret red video, and playlists of it under their own endings and those of videos."""
    folder = shared / "trap"
    folder.mkdir()
    colour(folder / "secret.mp4", "color=red:s=16x16:d=1", *LOSSLESS)
    colour(folder / "secret.ts", "color=red:s=16x16:d=1", *LOSSLESS)
    colour(folder / "secret.png", "color=red:s=16x16:d=1", "-frames:v", "1")
    endings = {
        "hls": "m3u8",
        "hls-absolute": "m3u8",
        "concat": "ffconcat",
        "dash": "mpd",
        "dash-absolute": "mpd",
        "sdp": "sdp",
        "svg": "svg",
    }
    for kind, text in playlists(folder).items():
        for ending in {endings[kind], "mp4", "png"}:
            (folder / f"{kind}.{ending}").write_text(text)
    return folder


def bare(path: Path, *options: str) -> bool:
    """Whether ffmpeg gets pictures from a file when nothing holds it back."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *options, "-i", path, "-frames:v", "1"]
    done = subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True, cwd=path.parent, check=False)
    return done.returncode == 0 and len(done.stdout) > 0


def test_the_traps_would_spring(trap: Path):
    assert bare(trap / "hls.m3u8") and bare(trap / "concat.ffconcat") and bare(trap / "dash.mpd")
    assert bare(trap / "concat.mp4"), "ffmpeg looks at the content, not at the ending"


def test_no_playlist_opens_another_file(trap: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(trap)
    files = [path for path in trap.iterdir() if not path.stem.startswith("secret")]
    assert len(files) == 7 * 3
    for path in files:
        assert "is not a video or picture" in refusal(probe, path.name)


def test_either_white_list_alone_holds(trap: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(trap)
    names = ("hls.m3u8", "hls-absolute.m3u8", "concat.ffconcat", "concat.mp4", "dash.mpd", "dash-absolute.mpd")
    # The formats are let through: what they name is still not opened.
    with monkeypatch.context() as patch:
        patch.setattr(process, "FORMATS", process.FORMATS + ",hls,concat,dash,image2,svg_pipe")
        for name in names:
            refusal(probe, name)
    # The protocols are let through: the formats are still not read.
    loosened = ["-protocol_whitelist", "fd,file", "-format_whitelist", process.FORMATS]
    monkeypatch.setattr(reading, "input_arguments", lambda max_pixels: loosened)
    for name in names:
        refusal(probe, name)
    assert probe("secret.mp4").width == 16


def test_formats_that_name_other_files_are_not_on_the_list():
    allowed = set(process.FORMATS.split(","))
    naming = {
        "hls",
        "dash",
        "concat",
        "imf",
        "sdp",
        "rtsp",
        "rtp",
        "image2",
        "image2pipe",
        "mlv",
        "vobsub",
        "lavfi",
    }
    assert not allowed & (naming | {"svg_pipe", "avisynth", "tty", "webm_dash_manifest", "x11grab", "v4l2"})


def test_a_pattern_in_a_name_finds_no_other_file(tmp_path: Path):
    colour(tmp_path / "001.png", "color=red:s=16x16:d=0.1", "-frames:v", "1")
    for name in ("%03d.png", "*.png", "0[0-9]1.png"):
        assert "no file" in refusal(read_image, tmp_path / name)


# ---- Writing


def test_a_written_video_reads_back(tmp_path: Path):
    frames = np.stack([np.full((32, 48, 3), colour_of(i), np.uint8) for i in range(20)])
    path = write_video(tmp_path / "out.mp4", frames, 30000 / 1001)
    clip = read_clip(path)
    assert path == tmp_path / "out.mp4" and clip.fps == 30000 / 1001
    assert clip.frames.shape == frames.shape
    assert np.abs(clip.frames.astype(int) - frames).max() <= 4
    # The same from single pictures, as they come.
    again = write_video(tmp_path / "again.mp4", iter(frames), 30000 / 1001)
    assert again.read_bytes() == path.read_bytes()


def test_a_written_video_plays_in_a_browser(tmp_path: Path):
    path = write_video(tmp_path / "out.mp4", np.zeros((5, 32, 32, 3), np.uint8), 10)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "it starts before it is all there"
    told = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", path], capture_output=True, check=False).stderr
    assert re.search(rb"Video: h264 \(\w+\) \(avc1[^)]*\), yuv420p\(tv, bt709", told)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("size", [(33, 47), (32, 47), (33, 48), (1, 1)])
def test_odd_sides_get_a_copy_of_the_last_row_or_column(size: tuple[int, int], tmp_path: Path):
    height, width = size
    frames = np.tile(np.linspace(40, 200, width).astype(np.uint8)[None, None, :, None], (2, height, 1, 3))
    read = read_clip(write_video(tmp_path / "odd.mp4", frames, 5, crf=1)).frames
    assert read.shape == (2, height + height % 2, width + width % 2, 3)
    assert np.abs(read[:, :height, :width].astype(int) - frames).max() <= 4
    assert np.abs(read[:, -1, -1].astype(int) - frames[:, -1, -1]).max() <= 4


def test_a_failed_video_leaves_nothing_and_keeps_what_was_there(tmp_path: Path, children: list):
    target = write_video(tmp_path / "out.mp4", np.zeros((1, 16, 16, 3), np.uint8), 5)
    before = target.read_bytes()

    def breaks():
        yield np.zeros((16, 16, 3), np.uint8)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_video(target, breaks(), 5)
    with pytest.raises(ValueError, match="differ in size"):
        write_video(target, [np.zeros((16, 16, 3), np.uint8), np.zeros((16, 18, 3), np.uint8)], 5)
    for bad in (
        np.zeros((2, 16, 16), np.uint8),
        np.zeros((2, 16, 16, 3), np.float32),
        np.zeros((2, 0, 4, 3), np.uint8),
    ):
        with pytest.raises(ValueError, match="uint8"):
            write_video(target, bad, 5)
    for fps, crf in ((0, 18), (float("nan"), 18), (5, 60)):
        with pytest.raises(ValueError, match="fps"):
            write_video(target, np.zeros((1, 16, 16, 3), np.uint8), fps, crf=crf)
    assert "no frames" in refusal(write_video, target, np.zeros((0, 16, 16, 3), np.uint8), 5)
    assert "no frames" in refusal(write_video, target, iter(()), 5)
    assert ended(children)
    assert target.read_bytes() == before and list(tmp_path.iterdir()) == [target]


def test_ffmpeg_s_failure_is_told_and_leaves_nothing(tmp_path: Path):
    # x264 takes no side above 16384.
    frames = np.zeros((2, 2, 17_000, 3), np.uint8)
    assert "wide.mp4 was not written" in refusal(write_video, tmp_path / "wide.mp4", frames, 5)
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written(tmp_path: Path):
    picture = np.zeros((16, 16, 3), np.uint8)
    assert "folder for a.mp4 is missing" in refusal(write_video, tmp_path / "none" / "a.mp4", picture[None], 5)
    assert "does not end in .mp4" in refusal(write_video, tmp_path / "a.avi", picture[None], 5)
    (tmp_path / "b.mp4").mkdir()
    (tmp_path / "b.png").mkdir()
    assert "is a folder" in refusal(write_video, tmp_path / "b.mp4", picture[None], 5)
    assert "is a folder" in refusal(write_image, tmp_path / "b.png", picture)
    assert "folder for a.png is missing" in refusal(write_image, tmp_path / "none" / "a.png", picture)
    assert "does not end in" in refusal(write_image, tmp_path / "a.docx", picture)
    with pytest.raises(ValueError, match="uint8"):
        write_image(tmp_path / "c.png", picture.astype(float))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.mp4", "b.png"]


@pytest.mark.parametrize(("suffix", "tolerance"), [(".png", 0), (".bmp", 0), (".jpg", 8), (".JPEG", 8), (".webp", 10)])
def test_a_written_picture_reads_back(suffix: str, tolerance: int, tmp_path: Path):
    y, x = np.mgrid[:31, :45]
    picture = np.stack([x * 5, y * 8, 255 - x * 5], -1).astype(np.uint8)
    read = read_image(write_image(tmp_path / f"a{suffix}", picture))
    assert np.abs(read.astype(int) - picture).mean() <= tolerance / 2
    assert read.shape == picture.shape and [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


# ---- Panels, folders


def test_panels_stand_in_step_and_the_shorter_one_holds():
    short = np.stack([np.full((10, 20, 3), v, np.uint8) for v in (10, 20)])
    long = np.stack([np.full((40, 40, 3), v, np.uint8) for v in (110, 120, 130, 140)])
    whole = side_by_side([short, long], height=20, gap=4)
    assert whole.shape == (4, 20, 40 + 4 + 20, 3) and whole.dtype == np.uint8
    assert [int(v) for v in whole[:, 10, 5, 0]] == [10, 20, 20, 20]
    assert [int(v) for v in whole[:, 10, 50, 0]] == [110, 120, 130, 140]
    assert (whole[:, :, 40:44] == 255).all()


def test_labels_stand_above_their_panels_and_fit():
    panels = [np.full((2, 64, 64, 3), 7, np.uint8), np.full((2, 64, 64, 3), 9, np.uint8)]
    bare_panels = side_by_side(panels, height=64)
    labelled = side_by_side(panels, height=64, labels=["truth", "a prediction with a rather long name"])
    strip = labelled.shape[1] - 64
    assert 0 < strip < 32 and labelled.shape[2] == bare_panels.shape[2]
    assert np.array_equal(labelled[:, strip:], bare_panels)
    ink = labelled[0, :strip].min(-1) < 200
    assert ink[:, :64].any() and ink[:, 72:].any() and not ink[:, 64:72].any()
    assert not ink[:, -1].any(), "the long one was made to fit"
    unlabelled = side_by_side(panels, height=64, labels=["", ""])
    assert (unlabelled[:, :strip] == 255).all()


def test_panels_that_do_not_fit_together_are_refused():
    panel = np.zeros((1, 4, 4, 3), np.uint8)
    for bad in ([], [panel[0]], [panel.astype(float)], [panel[:0]]):
        with pytest.raises(ValueError, match="panel"):
            side_by_side(bad, height=4)
    with pytest.raises(ValueError, match="as many labels"):
        side_by_side([panel], height=4, labels=["a", "b"])


def test_videos_are_found_by_their_endings(tmp_path: Path):
    for name in (
        "b.mp4",
        "a.webm",
        "c/d.MOV",
        "c/e/f.mkv",
        "c/g.txt",
        "h.png",
        ".hidden.mp4",
        ".git/i.mp4",
        "mp4",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    assert find_videos(tmp_path) == [tmp_path / name for name in ("a.webm", "b.mp4", "c/d.MOV", "c/e/f.mkv")]
    assert "no folder" in refusal(find_videos, tmp_path / "none")


# ---- Flow


def texture(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 0, 255, cv2.NORM_MINMAX)


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, -4), (-5, 2)])
def test_flow_points_to_where_things_were(dx: int, dy: int):
    wide = texture(136, 168)
    second = wide[20:116, 20:148]
    first = wide[20 - dy : 116 - dy, 20 - dx : 148 - dx]  # what second shows at x, first shows at x + dx
    flow = optical_flow(first, second)
    assert flow.shape == (96, 128, 2) and flow.dtype == np.float32
    inner = flow[16:-16, 16:-16]
    assert np.abs(inner - (dx, dy)).mean() < 0.2
    error = np.abs(warp(first, flow).astype(int) - second)[16:-16, 16:-16].mean()
    assert error < 0.2 * np.abs(first.astype(int) - second)[16:-16, 16:-16].mean()


def test_flow_of_a_still_scene_is_none_and_small_pictures_have_one():
    picture = texture(96, 96)
    assert np.abs(optical_flow(picture, picture)).max() < 0.05
    for size in ((1, 1), (7, 40), (15, 15), (16, 16), (40, 9)):
        small = np.ascontiguousarray(picture[: size[0], : size[1]])
        assert optical_flow(small, small).shape == (*size, 2)
    with pytest.raises(ValueError, match="one size"):
        optical_flow(picture, picture[:-1])
    with pytest.raises(ValueError, match="uint8"):
        optical_flow(picture.astype(np.float32), picture.astype(np.float32))


def test_warp_takes_each_value_from_where_the_flow_points():
    y, x = np.mgrid[:20, :30].astype(np.float32)
    flow = np.full((20, 30, 2), (2.0, -3.0), np.float32)
    moved = warp(x + 100 * y, flow)
    inside = (slice(3, None), slice(None, -2))
    assert np.allclose(moved[inside], (x + 2 + 100 * (y - 3))[inside], atol=1e-3)
    half = warp(x, np.full((20, 30, 2), (0.5, 0.0), np.float32))
    assert np.allclose(half[:, :-1], x[:, :-1] + 0.5, atol=1e-3)
    for method in ("linear", "cubic"):
        picture = texture(20, 30)
        assert np.array_equal(warp(picture, np.zeros((20, 30, 2)), interpolation=method), picture)
    assert warp(np.zeros((20, 30, 1), np.float32), flow).shape == (20, 30, 1)
    # Outside lie the edge's own pixels, or the mirrored picture.
    left = np.full((20, 30, 2), (-4.0, 0.0), np.float32)
    assert np.allclose(warp(x, left)[:, 0], 0) and np.allclose(warp(x, left, border="reflect")[:, 0], 4)
    with pytest.raises(ValueError, match="flow for 20×30"):
        warp(x, flow[:-1])


def test_cubic_is_sharper_than_linear():
    picture = texture(64, 64).astype(np.float32)
    there = np.full((64, 64, 2), (0.5, 0.5), np.float32)
    errors = {
        method: np.abs(warp(warp(picture, there, interpolation=method), -there, interpolation=method) - picture)[
            4:-4, 4:-4
        ].mean()
        for method in ("linear", "cubic")
    }
    assert errors["cubic"] < 0.7 * errors["linear"]


def test_the_colour_of_a_flow_tells_direction_and_length():
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    unit = np.stack([np.cos(angles), np.sin(angles)], -1)[None].astype(np.float32)
    picture = flow_to_color(unit)
    assert picture.shape == (1, 8, 3) and picture.dtype == np.uint8
    hues = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[0, :, 0].astype(int)
    assert len(set(hues)) == 8
    apart = [min(abs(a - b), 180 - abs(a - b)) for i, a in enumerate(hues) for b in hues[:i]]
    assert min(apart) >= 8
    assert (flow_to_color(np.zeros((4, 4, 2))) == 255).all(), "no motion is white"
    # Longer is stronger, and the same hue; the scale is the longest unless it is given.
    strengths = [int(flow_to_color(unit * s, max=1.0).min(-1)[0, 0]) for s in (0.25, 0.5, 1.0)]
    assert strengths[0] > strengths[1] > strengths[2]
    assert near(flow_to_color(unit * 7), picture, 1)
    assert not np.array_equal(flow_to_color(unit * 0.5, max=1.0), picture)
    lost = unit.copy()
    lost[0, 3] = np.nan
    assert (flow_to_color(lost)[0, 3] == 0).all() and np.array_equal(flow_to_color(lost)[0, :3], picture[0, :3])
    with pytest.raises(ValueError, match="above 0"):
        flow_to_color(unit, max=0)
