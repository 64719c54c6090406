"""Colour of video: the filters of ffmpeg that make of a file's pixels what a player shows, opaque sRGB.

In this order: from its matrix to RGB, from its transfer and primaries to those of sRGB, laid on white. What a file
does not say is assumed as players do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ALPHA = re.compile(r"yuva|rgba|bgra|argb|abgr|gbrap|ya8|ya16|yaf|pal8|vuya|ayuv|uyva|v30xa|rgb32|bgr32")
_HDR = {"smpte2084", "arib-std-b67"}  # transfers of high dynamic range: PQ and HLG
_WIDE = {"bt2020", "smpte431", "smpte432", "film", "bt470m"}  # primaries that look pale when taken for BT.709's
# Matrices that the scaler knows, and those that only zimg does; any other is a tag that nobody writes on purpose.
_SCALED = {"gbr", "bt709", "fcc", "bt470bg", "smpte170m", "smpte240m", "bt2020nc"}
_ZIMG = {"ycgco", "bt2020c", "chroma-derived-nc", "ictcp"}
_TRANSFERS = {"bt709", "bt470m", "bt470bg", "smpte170m", "smpte240m", "linear", "iec61966-2-1", "bt2020-10"}
_FLAGS = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


@dataclass(frozen=True)
class Colouring:
    """What brings a file's pixels to opaque RGB of the ordinary range."""

    matrix: str  # of its YUV, as the scaler names it; empty for what each frame says
    zimg: str  # filter before all others, for a matrix that the scaler does not know
    light: str  # filters from RGB in the file's transfer and primaries to sRGB; empty where they are ordinary
    stored: tuple[int, int] | None  # width and height of the pixels where they have alpha, else None
    decoder: tuple[str, ...]  # options that choose the decoder

    def filters(self, width: int, height: int) -> list[str]:
        """The filters that bring a frame to ``width`` by ``height`` pixels of RGB."""
        scale = f"{_FLAGS}{self.matrix and ':in_color_matrix=' + self.matrix}"
        chain = [self.zimg] if self.zimg else []
        if self.stored is None:
            chain.append(f"scale={width}:{height}:{scale}")
            return [*chain, "format=gbrp16le", self.light] if self.light else chain
        # Before it is made smaller: the colour of pixels that do not show would bleed into those beside them.
        deep = "gbrap16le" if self.light else "gbrap"
        chain.append(f"scale={self.stored[0]}:{self.stored[1]}:{scale},format={deep}")
        if self.light:
            chain.append(
                f"split[pixels][cover];[cover]alphaextract,format=gray[cover];[pixels]format=gbrp16le,{self.light},"
                "format=gbrap[pixels];[pixels][cover]alphamerge"
            )
        white = "drawbox=c=white@1:t=fill:replace=1"
        chain.append(f"split[under][over];[under]{white}[white];[white][over]overlay=format=gbrp")
        return [*chain, f"scale={width}:{height}:{_FLAGS}"]


def colouring(
    pixel: str,
    size: tuple[int, int],
    tags: tuple[str, str, str],
    *,
    codec: str,
    beside: bool,
    is_image: bool,
) -> Colouring:
    """How a file's frames become what a player shows.

    Args:
        pixel: ffmpeg's name of their format.
        size: width and height as stored.
        tags: matrix, primaries and transfer, as ffmpeg names them.
        codec: ffmpeg's name of it.
        beside: whether a WebM keeps alpha beside the picture.
        is_image: whether it is one picture.
    """
    matrix, primaries, transfer = tags
    hdr = transfer in _HDR
    if primaries == "unknown" and (hdr or matrix == "bt2020c"):
        primaries = "bt2020"
    # Where a transfer of ordinary range is not told, or is a rare one, BT.709's stands for it.
    transfer = transfer if hdr or transfer in _TRANSFERS else "bt709"
    assumed = zimg = ""
    if matrix in _ZIMG and (hdr or matrix != "ictcp"):
        told = "" if primaries == "unknown" else f"setparams=color_primaries={primaries}:color_trc={transfer},"
        zimg = f"{told}zscale=matrixin={matrix}:matrix=gbr:range=full,format=gbrp16le,setparams=colorspace=gbr"
    elif matrix not in _SCALED and pixel.startswith(("yuv", "nv", "p0", "p2", "y2")):
        # Players take untagged video of high definition to be BT.709, the scaler takes it to be BT.601.
        fine = not is_image and (size[0] >= 1280 or size[1] > 576)
        assumed = "bt2020" if primaries == "bt2020" else "bt709" if fine or hdr else "bt601"
        # The scaler refuses frames with such a tag, whatever it is told to take them for.
        zimg = "setparams=colorspace=unknown" if matrix != "unknown" else ""
    # ffmpeg's own VP8 and VP9 decoders leave out the alpha channel that WebM keeps beside the picture.
    library = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(codec) if beside else None
    return Colouring(
        matrix=assumed,
        zimg=zimg,
        light=_light(primaries, transfer) if hdr or primaries in _WIDE else "",
        stored=size if library or _ALPHA.match(pixel) else None,
        decoder=("-c:v", library) if library else (),
    )


def _light(primaries: str, transfer: str) -> str:
    """Filters from RGB of these primaries and transfer to sRGB's."""
    told = f"setparams=colorspace=gbr:range=pc:color_primaries={primaries}:color_trc={transfer}"
    if transfer not in _HDR:
        # The transfer stays: players show all that are of ordinary range with one curve.
        return f"{told},zscale=primaries=bt709:transfer={transfer},format=gbrp"
    # White is at 203 nits (BT.2408), and what is brighter, up to 1000, is pressed into the room above it.
    return (
        f"{told},zscale=transfer=linear:npl=203,format=gbrpf32le,zscale=primaries=bt709,"
        "tonemap=mobius:desat=0:peak=4.93,zscale=transfer=bt709:matrix=gbr:range=full,format=gbrp"
    )
