"""Make the moving picture at the top of the README from the bundled checkpoint: python -m docs.make_media.

It is a real transfer of an example in ``examples/``: source, target and transfer in step, as a looping GIF.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from lamdemo.engine import TransferPipeline
from lamdemo.video import read_clip, read_image, side_by_side

ROOT = Path(__file__).resolve().parents[1]


def make(pipeline: TransferPipeline, clip: str, photo: str, out: Path, *, start: float, seconds: float) -> None:
    """One GIF: ``seconds`` of ``clip`` from ``start``, carried over to ``photo``."""
    between = 2
    rate = pipeline.fps * (between + 1)
    smooth = read_clip(ROOT / "examples/clips" / clip, fps=rate, start=start, seconds=seconds, max_side=480).frames
    target = read_image(ROOT / "examples/photos" / photo, max_side=640)
    # Every third frame is a step; those between are shown only.
    smooth = smooth[: (len(smooth) - 1) // (between + 1) * (between + 1) + 1]
    result = pipeline.transfer(smooth[:: between + 1], target, between=between)
    still = np.broadcast_to(target, (len(result.smooth), *target.shape))
    picture = side_by_side([smooth, still, result.smooth], height=200, labels=["source", "target", "transfer"])
    frames = [Image.fromarray(f) for f in picture]
    frames += frames[-1:] * 4  # rest a moment before it starts again
    # One palette for all frames, or colours would flicker.
    palette = frames[len(frames) // 2].quantize(192)
    small = [f.quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    small[0].save(out, save_all=True, append_images=small[1:], duration=round(1000 / rate), loop=0, optimize=True)
    print(out.relative_to(ROOT), f"{out.stat().st_size / 1e6:.2f} MB", result.measures)


def make_all(checkpoint: str | Path | None = None) -> None:
    """Make the picture that the README shows."""
    pipeline = TransferPipeline.from_pretrained(checkpoint)
    make(pipeline, "meadow_tilt.mp4", "mountain_path.jpg", ROOT / "docs/tilting.gif", start=0.0, seconds=2.2)


def main() -> None:
    """Make it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=None)
    make_all(parser.parse_args().checkpoint)


if __name__ == "__main__":
    main()
