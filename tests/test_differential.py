"""Three hundred files that are made here, each read by lamdemo and by a second decoder.

The second one is ffmpeg's own command line for video and Pillow for pictures. Frames, times and mean colours agree.
What differs on purpose is not compared: colours of wide primaries and of a high dynamic range, which ffmpeg leaves as
they are, and those of untagged video of high definition, which it takes for BT.601.
"""

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageOps
from video_files import colour_of, ffmpeg

from lamdemo.video import probe, read_clip, read_image

X264 = ("-c:v", "libx264", "-crf", "6", "-preset", "ultrafast")
CODECS = {
    "mp4": [(*X264, "-bf", "2"), ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:crf=8")],
    "mov": [("-c:v", "prores_ks"), ("-c:v", "mjpeg", "-q:v", "2"), (*X264, "-g", "5")],
    "mkv": [X264, ("-c:v", "ffv1"), ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-crf", "8")],
    "webm": [("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"), ("-c:v", "libvpx", "-b:v", "2M")],
    "avi": [("-c:v", "mpeg4", "-q:v", "2"), ("-c:v", "ffv1")],
    "ts": [X264, ("-c:v", "mpeg2video", "-q:v", "2")],
    "flv": [X264],
}
PIXELS = {
    "libx264": ["yuv420p", "yuv444p", "yuv422p", "yuvj420p", "yuv420p10le", "gray"],
    "libx265": ["yuv420p", "yuv420p10le", "yuv444p", "yuv422p12le"],
    "prores_ks": ["yuv422p10le", "yuva444p10le"],
    "mjpeg": ["yuvj420p", "yuvj444p"],
    "ffv1": ["yuv420p", "yuv444p10le", "bgr0", "gbrp", "yuva420p", "rgb48le"],
    "libvpx-vp9": ["yuv420p", "yuva420p"],
    "libvpx": ["yuv420p", "yuva420p"],
    "mpeg4": ["yuv420p"],
    "mpeg2video": ["yuv420p", "yuv422p"],
}
TAGS = [
    (),
    ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
    ("-colorspace", "smpte170m", "-color_primaries", "smpte170m", "-color_trc", "smpte170m"),
    ("-colorspace", "bt709", "-color_range", "pc"),
    ("-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", "bt2020-10"),
    ("-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", "smpte2084"),
]
RATES, SIZES = ["25", "30000/1001", "12", "60", "50"], [(64, 96), (48, 64), (70, 50), (65, 97)]
FRAMES = 9


def write(path: Path, number: int) -> tuple[int, bool]:
    """Make the file of a number; returns which stream is the video and whether its colours are compared."""
    rng = np.random.default_rng(number)
    ending = path.suffix[1:]
    options = CODECS[ending][number % len(CODECS[ending])]
    codec = options[1]
    pixel = PIXELS[codec][rng.integers(len(PIXELS[codec]))]
    tags = TAGS[rng.integers(len(TAGS))]
    rate, (height, width) = RATES[rng.integers(len(RATES))], SIZES[rng.integers(len(SIZES))]
    if codec == "mpeg2video" and rate == "12":
        rate = "25"  # MPEG-2 knows few rates
    if not pixel.endswith(("rgb48le", "gbrp", "bgr0", "444p", "444p10le", "gray")):
        height, width = height // 2 * 2, width // 2 * 2  # an odd side of halved chroma is rounded in many ways
    data = np.stack([np.full((height, width, 3), colour_of(k + number % 7), np.uint8) for k in range(FRAMES)]).tobytes()
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", rate, "-i", "-")
    alpha = ("-auto-alt-ref", "0") if pixel == "yuva420p" and codec == "libvpx" else ()
    ffmpeg(*source, *options, *alpha, "-pix_fmt", pixel, *tags, path, data=data)
    stream, turn = 0, int(rng.choice([0, 0, 90, 180, 270]))
    if turn and ending in ("mp4", "mov"):
        turned = path.with_name(f"turned.{ending}")
        ffmpeg("-display_rotation", str(turn), "-i", path, "-c", "copy", turned)
        turned.replace(path)
    elif ending in ("mp4", "mkv") and number % 3 == 0:
        other, both = path.with_name(f"other.{ending}"), path.with_name(f"both.{ending}")
        ffmpeg("-f", "lavfi", "-i", "color=gray:s=64x48:r=25:d=0.4", *X264, "-pix_fmt", "yuv420p", other)
        flags = ("-disposition:v:0", "0", "-disposition:v:1", "default")
        ffmpeg("-i", other, "-i", path, "-map", "0", "-map", "1", "-c", "copy", *flags, both)
        both.replace(path)
        stream = 1
    return stream, "bt2020" not in tags


def second(path: Path, stream: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames of ffmpeg's command line, and when each begins, in seconds."""
    flags = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", path, "-map", f"0:{stream}"]
    command += ["-vf", f"showinfo=checksum=0,scale={width}:{height}:flags={flags}", "-fps_mode", "passthrough"]
    done = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    times = re.findall(rb"\] n: *\d+ pts: *\S+ pts_time:(\S+)", done.stderr)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3), np.array(times, float)


@pytest.mark.parametrize("block", range(30))
def test_video_is_read_as_ffmpeg_s_command_line_reads_it(block: int, tmp_path: Path):
    endings = list(CODECS)
    for number in range(8 * block, 8 * block + 8):
        path = tmp_path / f"{number}.{endings[number % len(endings)]}"
        stream, coloured = write(path, number)
        info, clip = probe(path), read_clip(path)
        frames, times = second(path, stream, info.height, info.width)
        assert clip.frames.shape == frames.shape == (FRAMES, info.height, info.width, 3), path.name
        assert np.diff(times) == pytest.approx(1 / info.fps, abs=0.0011), path.name  # FLV and Matroska: 1 ms
        assert info.seconds == pytest.approx(FRAMES / info.fps, abs=0.06), path.name
        if coloured:
            assert np.abs(clip.frames.mean((1, 2)) - frames.mean((1, 2))).max() < 2, path.name
        # Later frames, found by time.
        k = int(np.random.default_rng(number).integers(1, FRAMES))
        later = read_clip(path, start=(k + 0.25) / info.fps, max_frames=2).frames
        assert np.array_equal(later, clip.frames[k : k + 2]), path.name


STILLS = {
    "jpg": ["RGB", "L", "CMYK"],
    "png": ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"],
    "tif": ["RGB", "RGBA", "L", "P", "1", "CMYK", "I;16"],
    "webp": ["RGB", "RGBA"],
    "bmp": ["RGB", "L", "P", "1"],
    "jp2": ["RGB", "L", "RGBA"],
    "avif": ["RGB", "RGBA"],
}


@pytest.mark.parametrize("ending", STILLS)
def test_pictures_are_read_as_pillow_reads_them(ending: str, tmp_path: Path):
    rng = np.random.default_rng(sum(ending.encode()))
    modes = STILLS[ending]
    for number in range(9):
        mode, path = modes[number % len(modes)], tmp_path / f"{number}.{ending}"
        height, width = (int(v) for v in rng.integers(1, 90, 2))
        if mode == "I;16":
            picture = Image.fromarray(rng.integers(0, 65536, (height, width), np.uint16))
        else:
            picture = Image.fromarray(rng.integers(0, 256, (height, width, 4), np.uint8)).convert(
                "RGB" if "A" not in mode else "RGBA"
            )
            picture = picture.convert(mode)
        exif = Image.Exif()
        if ending in ("jpg", "png", "webp", "tif") and mode != "I;16":
            exif[0x112] = int(rng.integers(1, 9))
        picture.save(path, **({"exif": exif} if len(exif) else {}))
        # Not by its name: Pillow 12.3 forgets to turn a TIFF that it maps into memory.
        with path.open("rb") as file, Image.open(file) as opened:
            second = ImageOps.exif_transpose(opened)
            if mode == "I;16":
                expected = np.repeat((np.asarray(second, float) / 257).round()[..., None], 3, 2)
            else:
                rgba = np.asarray(second.convert("RGBA"), float)
                cover = rgba[..., 3:] / 255
                expected = rgba[..., :3] * cover + 255 * (1 - cover)
        assert np.abs(read_image(path).astype(float) - expected).max() <= 1, (path.name, mode)
