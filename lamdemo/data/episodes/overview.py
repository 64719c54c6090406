"""What is in a collection of episodes: figures of its actions, and a sheet of pictures with the actions below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lamdemo.core.actions import ActionSpec
from lamdemo.data.episodes.collection import Episodes
from lamdemo.data.episodes.episode import Episode

_ROWS, _FPS = 6, 4.0  # episodes of a contact sheet at most, and rate of its frames
_BAR = 12  # pixels down of a channel's bar
_INK, _PALE = (32, 32, 32), (226, 226, 226)
_COLOURS = (
    (214, 96, 40),
    (44, 110, 190),
    (52, 150, 84),
    (150, 80, 170),
    (190, 150, 30),
    (40, 160, 170),
    (200, 70, 110),
)


@dataclass(frozen=True, eq=False)
class ActionFigures:
    """The actions of all episodes together, at the rate they were recorded."""

    steps: int  # how many
    rates: tuple[float, ...]  # the frames a second that occur, in order
    seconds: float  # time in all
    mean: np.ndarray  # float64 [A]
    std: np.ndarray  # float64 [A]
    least: np.ndarray  # lowest values, float64 [A]
    most: np.ndarray  # highest values, float64 [A]
    outside: np.ndarray  # share of the values that are out of their channel's range, float64 [A]
    truth: tuple[str, ...]  # names of what is known of the true state


def figures(episodes: Episodes) -> ActionFigures:
    """Figures of the actions, for which no picture is read; zeros where there is no step."""
    spec = episodes.spec
    tables = [episodes.table(i) for i in range(len(episodes))]
    rows = np.concatenate([t.actions for t in tables] + [np.zeros((0, spec.width))]).astype(np.float64)
    some = rows if len(rows) else np.zeros((1, spec.width))
    # Single precision holds 0.1 as a little more than that.
    slack = 1e-5 * (spec.high - spec.low)
    return ActionFigures(
        steps=len(rows),
        rates=tuple(sorted({t.fps for t in tables})),
        seconds=sum(len(t.actions) / t.fps for t in tables),
        mean=some.mean(0),
        std=some.std(0),
        least=some.min(0),
        most=some.max(0),
        outside=((some < spec.low - slack) | (some > spec.high + slack)).mean(0),
        truth=tuple(sorted({key for t in tables for key in t.truth})),
    )


def contact_sheet(episodes: Episodes, *, columns: int = 8, height: int = 120) -> np.ndarray:
    """Some frames of some episodes in a row each, with the action that leads to the next frame below each one.

    Args:
        episodes: spread over these.
        columns: frames of each, in sequence, from its middle.
        height: pixels down of a picture.

    Returns:
        uint8 ``[H, W, 3]``.
    """
    some = episodes.spread(_ROWS)
    lines = [_legend(episodes.spec)]
    for i in range(len(some)):
        episode = some.read(i, fps=_FPS, max_side=4 * height)
        first = max(0, (len(episode) - columns) // 2)
        lines.append(_row(episode.part(first, first + columns), height))
    width = max(line.shape[1] for line in lines)
    gap = 8
    return np.concatenate(
        [np.pad(line, ((gap, 0), (gap, gap + width - line.shape[1]), (0, 0)), constant_values=255) for line in lines]
    )


def _row(episode: Episode, height: int) -> np.ndarray:
    width = max(1, round(episode.frames.shape[2] * height / episode.frames.shape[1]))
    tiles = []
    for t, frame in enumerate(episode.frames):
        picture = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        bars = np.full((_BAR * episode.spec.width + 4, width, 3), 255, np.uint8)
        if t < len(episode.actions):
            _draw(bars, episode.spec, episode.actions[t])
        tiles.append(np.pad(np.concatenate([picture, bars]), ((0, 0), (0, 4), (0, 0)), constant_values=255))
    line = np.concatenate(tiles, 1)
    strip = np.full((16, line.shape[1], 3), 255, np.uint8)
    _write(strip, f"{episode.name}, {episode.fps:.4g} fps", 2, 12, _INK)
    return np.concatenate([strip, line])


def _draw(place: np.ndarray, spec: ActionSpec, action: np.ndarray) -> None:
    """A bar for each channel, from the action of doing nothing to the value."""
    width = place.shape[1]
    # Where a number stands on the picture's width: low at the left edge, high at the right one.
    at = np.clip((np.stack([spec.zero, action]) - spec.low) / (spec.high - spec.low), 0, 1) * (width - 5) + 2
    for i in range(spec.width):
        top = 3 + i * _BAR
        place[top : top + _BAR - 3, 2 : width - 2] = _PALE
        nothing, value = (round(float(x)) for x in at[:, i])
        place[top : top + _BAR - 3, min(nothing, value) : max(nothing, value) + 1] = _COLOURS[i % len(_COLOURS)]


def _legend(spec: ActionSpec) -> np.ndarray:
    """The channels in the order of their bars, with what left and right mean."""
    words = [f"{c.name}: {c.words[0] or c.low} < > {c.words[1] or c.high}" for c in spec.channels]
    line = np.full((14 * -(-len(words) // 3) + 2, 900, 3), 255, np.uint8)
    for i, text in enumerate(words):
        _write(line, text, 2 + 300 * (i % 3), 12 + 14 * (i // 3), _COLOURS[i % len(_COLOURS)])
    return line


def _write(place: np.ndarray, text: str, x: int, y: int, colour: Sequence[int]) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(place, plain, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, tuple(colour), 1, cv2.LINE_AA)
