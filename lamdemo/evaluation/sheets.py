"""Sheets of a few cases for people to look at: one PNG, and beside it a GIF that loops."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import write_safely
from lamdemo.video import side_by_side, write_image

_TILE = 160  # pixels down of a panel
_GAP = 6
GREEN, RED = (60, 230, 90), (250, 70, 60)


def checked_figure(figure: Path | None) -> None:
    """Refuse, before anything is computed, a place where no sheet can be written.

    Raises:
        LamdemoError: the name does not end in .png, or its folder is missing.
    """
    if figure is None:
        return
    if figure.suffix.lower() != ".png":
        raise LamdemoError(f"{figure.name} does not end in .png, the one kind of figure drawn; rename it.")
    if not figure.absolute().parent.is_dir():
        raise LamdemoError(f"The folder for {figure.name} is missing; make it first.")


def outlined(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A picture ``[H, W, 3]`` with the edge of a mask bool ``[H, W]`` drawn on it."""
    edges, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(picture.copy(), edges, -1, colour, 2))


def heated(picture: np.ndarray, values: np.ndarray, most: float) -> np.ndarray:
    """Values ``[h, w]``, from nothing to ``most``, as heat over a pale copy of a picture ``[H, W, 3]``."""
    height, width = picture.shape[:2]
    share = cv2.resize(np.clip(values / max(most, 1e-9), 0, 1).astype(np.float32), (width, height))
    heat = cv2.cvtColor(cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    gray = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return (0.3 * gray + 0.7 * heat).round().clip(0, 255).astype(np.uint8)


def stacked(labels: Sequence[str], rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Clips (or pictures) in rows and columns, labelled at the top: uint8 ``[T, H, W, 3]``."""
    lines = []
    for i, row in enumerate(rows):
        clips = [p if p.ndim == 4 else p[None] for p in row]
        lines.append(side_by_side(clips, height=_TILE, gap=_GAP, labels=labels if i == 0 else None))
    count, width = max(len(x) for x in lines), max(x.shape[2] for x in lines)
    whole = []
    for line in lines:
        held = np.concatenate([line, np.repeat(line[-1:], count - len(line), 0)])
        whole.append(np.pad(held, ((0, 0), (0, _GAP), (0, width - line.shape[2]), (0, 0)), constant_values=255))
    return np.concatenate(whole, 1)


def write_sheet(
    figure: Path,
    labels: Sequence[str],
    rows: Sequence[Sequence[np.ndarray]],
    moving_labels: Sequence[str],
    moving_rows: Sequence[Sequence[np.ndarray]],
    fps: float,
) -> list[Path]:
    """Write a sheet of pictures, and one of clips that loops, as a GIF of the same name.

    Args:
        figure: where to, ending in ``.png``.
        labels: of the columns.
        rows: of pictures uint8 ``[H, W, 3]``.
        moving_labels: of the GIF's columns.
        moving_rows: of clips uint8 ``[T, H, W, 3]``.
        fps: frames a second of the clips.

    Returns:
        The two files.
    """
    from PIL import Image

    write_image(figure, stacked(labels, rows)[0])
    frames = stacked(moving_labels, moving_rows)
    # One palette for all frames: colours that jump from frame to frame would look like motion.
    palette = Image.fromarray(frames[[0, len(frames) // 2, -1]].reshape(-1, *frames.shape[2:])).quantize(255)
    pictures = [Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    stream = io.BytesIO()
    # The last frame is held, so that one sees where it ends.
    durations = [round(1000 / fps)] * (len(pictures) - 1) + [1000]
    pictures[0].save(stream, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    moving = figure.with_suffix(".gif")
    write_safely(moving, stream.getvalue())
    return [figure, moving]
