"""Decodes one still picture with Pillow, as a process of its own; :mod:`lamdemo.video.pictures` starts it.

The file is its standard input. It answers on its standard output with a line of JSON (``width`` and ``height``
as displayed, ``sent``: the width and height that follow), then the pixels, RGB on white; or, instead, with what
is wrong. It imports nothing of this package, for the time that would take, and opens no file of its own.
"""

from __future__ import annotations

import importlib
import io
import json
import struct
import sys
from typing import Any, BinaryIO

from PIL import Image, ImageCms, ImageFile, ImageOps

# Columns of the matrix from RGB to XYZ under D50, by the code of the primaries in ITU-T H.273.
_BT709 = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
_WIDE = {
    9: ((0.6735, 0.2790, -0.0019), (0.1657, 0.6753, 0.0299), (0.1251, 0.0456, 0.7972)),  # BT.2020
    11: ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)),  # DCI-P3
    12: ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)),  # Display P3
}
_LINEAR, _PQ, _HLG = 8, 16, 18  # transfers of H.273
_PEAK = 1000 / 203  # the brightest that is told apart, in units of paper white (BT.2408)


def _bounded(memory: int, seconds: int) -> None:
    """Take no more memory and computing time than that, where the system knows such limits."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for limit, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds)):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, hard))


def _light(transfer: int, x: float) -> float:
    """Linear light of a code in [0, 1], with paper white at 1 and what is brighter pressed into the room below."""
    if transfer == _LINEAR:
        return x
    if transfer == _PQ:
        root = x ** (1 / 78.84375)
        light = (max(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125) * 10000 / 203
    elif transfer == _HLG:
        scene = x * x / 3 if x <= 0.5 else (pow(2.718281828459045, (x - 0.55991073) / 0.17883277) + 0.28466892) / 12
        light = scene**1.2 * _PEAK
    else:  # as sRGB, whose curve all others of ordinary range are shown with
        return x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
    knee = 0.3  # the curve of ffmpeg's tonemap=mobius
    if light <= knee:
        return light
    a = -knee * knee * (_PEAK - 1) / (knee * knee - 2 * knee + _PEAK)
    b = (knee * knee - 2 * knee * _PEAK + _PEAK) / (_PEAK - 1)
    return min((b * b + 2 * b * knee + knee * knee) / (b - a) * (light + a) / (light + b), 1.0)


def _tagged(file: BinaryIO) -> bytes | None:
    """An ICC profile that says what the tags of H.273 in a HEIF, AVIF or PNG say; None for ordinary colours."""
    file.seek(0)
    head = file.read(1 << 16)
    file.seek(0)
    if (at := head.find(b"colrnclx")) >= 0:
        primaries, transfer = struct.unpack_from(">HH", head, at + 8)
    elif head[:4] == b"\x89PNG" and (at := head.find(b"\x00\x00\x00\x04cICP")) >= 0:
        primaries, transfer = head[at + 8 : at + 10]
    else:
        return None
    if primaries not in _WIDE and transfer not in (_LINEAR, _PQ, _HLG):
        return None
    entries = 1024
    curve = [round(65535 * _light(transfer, i / (entries - 1))) for i in range(entries)]
    parts = {b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)}
    for name, column in zip((b"r", b"g", b"b"), _WIDE.get(primaries, _BT709), strict=True):
        parts[name + b"XYZ"] = b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * v) for v in column))
        parts[name + b"TRC"] = b"curv" + bytes(4) + struct.pack(f">I{entries}H", entries, *curve)
    table, body = struct.pack(">I", len(parts)), b""
    for tag, data in parts.items():
        table += tag + struct.pack(">II", 132 + 12 * len(parts) + len(body), len(data))
        body += data
    kind = b"\x02\x10\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    header = struct.pack(">I4x", 132 + 12 * len(parts) + len(body)) + kind + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + body


def _eight_bits(picture: Image.Image) -> Image.Image:
    """The picture with samples of 8 bits, which is what profiles and blending take."""
    if picture.mode.startswith("I"):
        return picture.convert("I").point(lambda v: v * (1 / 257) + 0.5).convert("L")
    if picture.mode == "F":
        return picture.point(lambda v: v * 255 + 0.5).convert("L")
    if picture.mode == "P":
        return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    return picture.convert("L") if picture.mode == "1" else picture


def _shown(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture in sRGB, on white."""
    clear = picture.has_transparency_data
    picture = _eight_bits(picture)
    cover = picture.convert("RGBA").getchannel("A") if clear else None
    if picture.mode in ("LA", "La", "RGBA", "RGBa", "RGBX", "YCbCr", "HSV"):
        picture = picture.convert("L" if picture.mode in ("LA", "La") else "RGB")
    colours = picture if picture.mode == "RGB" else picture.convert("RGB") if picture.mode != "LAB" else None
    if picture.mode == "LAB" and profile is None:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if not ImageCms.getProfileDescription(source).startswith("sRGB"):
                target = ImageCms.createProfile("sRGB")
                intent = ImageCms.Intent(ImageCms.getDefaultIntent(source))
                flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
                colours = ImageCms.profileToProfile(picture, source, target, intent, "RGB", flags=flags)
        except (ImageCms.PyCMSError, ValueError, OSError):
            pass  # of another kind of picture, or damaged: others leave it out, too
    if colours is None:
        raise ValueError("a picture in CIELAB that cannot be converted")
    if cover is not None:
        white = Image.new("RGB", colours.size, "white")
        white.paste(colours, mask=cover)
        return white
    return colours


def _answer(file: BinaryIO, asked: dict[str, Any]) -> tuple[dict[str, Any], Image.Image | None]:
    kind = asked["format"]
    if kind == "HEIF":
        import pi_heif

        pi_heif.register_heif_opener(thumbnails=False)
    else:
        importlib.import_module(f"PIL.{asked['plugin']}")
    Image.MAX_IMAGE_PIXELS = None  # the limit is the caller's
    # A picture whose download broke off shows what came, as in a browser; other formats have no such beginning.
    ImageFile.LOAD_TRUNCATED_IMAGES = kind in ("JPEG", "PNG")
    profile = _tagged(file)
    picture: Image.Image = Image.open(file, formats=[kind])
    if picture.width * picture.height > asked["max_pixels"]:
        return {"too_large": picture.size}, None
    profile = picture.info.get("icc_profile") or profile
    stored = picture.size
    small = asked["max_side"] if asked["size"] is None else max(asked["size"])
    if kind == "JPEG" and small is not None:
        # JPEG is decoded at half, a quarter or an eighth of its size where no more is needed.
        picture.draft(None, (min(small, stored[0]), min(small, stored[1])))
    picture.load()
    turned = ImageOps.exif_transpose(picture)
    full = stored if (turned.width > turned.height) == (stored[0] > stored[1]) else stored[::-1]
    width, height = full
    if asked["size"] is not None:
        height, width = asked["size"]
    elif asked["max_side"] is not None:
        ratio = min(1.0, asked["max_side"] / max(full))
        width, height = max(1, round(full[0] * ratio)), max(1, round(full[1] * ratio))
    shown = _shown(turned, profile)
    if shown.size != (width, height):
        shown = shown.resize((width, height), Image.Resampling.BICUBIC)
    return {"width": full[0], "height": full[1], "codec": kind.lower(), "sent": shown.size}, shown


def main() -> None:
    """Answer one request, the JSON in the first argument."""
    asked = json.loads(sys.argv[1])
    _bounded(asked["memory"], asked["seconds"])
    shown = None
    try:
        with open(0, "rb", closefd=False) as file:
            answer, shown = _answer(file, asked)
    except MemoryError:
        answer = {"wrong": "memory"}
    except Exception as error:  # Pillow and its libraries raise anything on a damaged file
        answer = {"wrong": f"{type(error).__name__}: {error}"}
    out = sys.stdout.buffer
    out.write(json.dumps(answer).encode() + b"\n")
    if shown is not None:
        out.write(shown.tobytes())
    out.flush()


if __name__ == "__main__":
    main()
