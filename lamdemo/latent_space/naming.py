"""What an action does, in words: its mean flow on reference pictures, and probes that name a flow.

A flow here is what one sees: the forward motion of the content over one step, ``[r, r, 2]`` on a grid laid over the
picture, ``(dx, dy)`` in widths of the picture (the model sees every picture as a square; on one that is none, ``dy``
holds in heights). ``(1, 0)`` is to the right, ``(0, 1)`` downwards. A camera's motion is named by what the camera
does, with the camera as subject: where the camera pans left, the content moves right; where it rolls clockwise, the
picture turns the other way. A thing's motion is named by what the thing does.
"""

from __future__ import annotations

import json
import math
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import write_safely
from lamdemo.data.videos import bundled_photographs
from lamdemo.engine import TransferPipeline
from lamdemo.models.warp import pixel_centres, sample_at
from lamdemo.video import read_image

GRID = 12  # cells along each side of a flow
MOTIONS = ("pan right", "pan down", "zoom in", "roll clockwise")  # of the camera, the axes of `camera_motion`

_EXPLAINED = 0.6  # share of a flow that the camera must explain to be named
_MATTERS = 0.2  # energy of a component, of the largest one's, from which it is named too
_STILL = 0.002  # root mean square of a flow, in widths, up to which nothing moves
_WINDOWS = {3: 0.5, 4: 0.55, 5: 0.6}  # cells along a side, and the share of the energy it must hold, at 12 cells
_MOVES = 0.1  # energy of a place, of the largest in its window, from which it belongs to the thing
_INSIDE = 0.4  # share of a window's energy that one motion of a thing must explain


class CameraMotion(NamedTuple):
    """The camera's part in a flow."""

    pan_right: float  # in widths of the picture; the content moves left
    pan_down: float  # the same; the content moves up
    zoom_in: float  # logarithm of the scale; the content grows
    roll_clockwise: float  # radians; the content turns the other way
    explained: float  # share of the flow's energy that these four explain, 0 to 1; 0 for no motion
    # Of the explained energy, by each of the four; they add up to 1 (all 0 for no motion).
    shares: tuple[float, float, float, float]

    @property
    def amounts(self) -> tuple[float, float, float, float]:
        """The four numbers, in the order of `MOTIONS`."""
        return self[:4]


def camera_fields(height: int, width: int, aspect: float = 1.0) -> np.ndarray:
    """What one sees under one unit of each of `MOTIONS`, to first order: float64 ``[4, height, width, 2]``.

    Args:
        height: cells down.
        width: cells across.
        aspect: height of the picture over its width.
    """
    x = (np.arange(width) + 0.5) / width - 0.5
    y = ((np.arange(height) + 0.5) / height - 0.5) * aspect
    x, y = np.meshgrid(x, y)
    one, none = np.ones_like(x), np.zeros_like(x)
    # y points down, so (-y, x) turns clockwise; the content turns against the camera.
    return np.stack([np.stack(f, -1) for f in ((-one, none), (none, -one), (x, y), (y, -x))])


def camera_motion(flow: np.ndarray, aspect: float = 1.0) -> CameraMotion:
    """Fit the camera's motion to a flow ``[h, w, 2]`` by least squares.

    The fields of pan, zoom and roll are those of small motions; at the 10% a step that scenes go up to, the
    error is of the order of a tenth of the motion.
    """
    flow = np.asarray(flow, np.float64)
    fields = camera_fields(flow.shape[0], flow.shape[1], aspect)
    # On a grid around the centre the four are orthogonal, so each has its own share of the energy.
    energies = (fields**2).sum((1, 2, 3))
    amounts = (fields * flow).sum((1, 2, 3)) / energies
    parts, total = amounts**2 * energies, float((flow**2).sum())
    explained = float(parts.sum())
    shares = parts / explained if explained > 0 else np.zeros(4)
    a, b, c, d = (float(v) for v in amounts)
    return CameraMotion(a, b, c, d, explained / total if total > 0 else 0.0, tuple(float(s) for s in shares))  # type: ignore[arg-type]


def _compass(dx: float, dy: float) -> str:
    """One or two of left, right, up, down."""
    names = (("right" if dx > 0 else "left", abs(dx)), ("down" if dy > 0 else "up", abs(dy)))
    longest = max(names[0][1], names[1][1])
    # Within 22.5 degrees of an axis it is that axis alone.
    return " and ".join(n for n, size in names if size > math.tan(math.pi / 8) * longest)


def _camera_name(motion: CameraMotion) -> str:
    pan = motion.shares[0] + motion.shares[1]
    parts = [
        (pan, f"pans {_compass(motion.pan_right, motion.pan_down)}"),
        (motion.shares[2], "zooms in" if motion.zoom_in > 0 else "zooms out"),
        (motion.shares[3], "rolls clockwise" if motion.roll_clockwise > 0 else "rolls counterclockwise"),
    ]
    parts.sort(key=lambda p: -p[0])
    named = [words for share, words in parts if share >= _MATTERS * parts[0][0]]
    if named[0].startswith("zooms") and len(named) == 1:
        return named[0].replace("zooms", "zoom")
    return "camera " + ", ".join(named)


def _place(x: float, y: float) -> str:
    """Words for a place in the picture, both from 0 to 1."""
    column = "left" if x < 0.37 else "right" if x > 0.63 else ""
    row = "upper" if y < 0.37 else "lower" if y > 0.63 else ""
    if row and column:
        return f"in the {row} {column}"
    if row:
        return "at the top" if row == "upper" else "at the bottom"
    if column:
        return f"at the {column} edge" if min(x, 1 - x) < 0.25 else f"on the {column}"
    return "in the middle"


def _window(energy: np.ndarray, size: int) -> tuple[float, slice, slice]:
    """The ``size`` x ``size`` window with the most of ``energy [h, w]``: its sum, and where it is."""
    sums = np.pad(energy, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    inside = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    row, column = np.unravel_index(inside.argmax(), inside.shape)
    return float(inside[row, column]), slice(int(row), int(row) + size), slice(int(column), int(column) + size)


def _thing(flow: np.ndarray, aspect: float) -> tuple[str, float]:
    """Name the motion of one thing, where nearly all that moves is in one place; the share it explains."""
    h, w = flow.shape[:2]
    energy = (flow**2).sum(-1)
    total = energy.sum()
    best, most = "", 0.0
    for cells, least in _WINDOWS.items():
        size = min(max(round(cells * min(h, w) / GRID), 2), h, w)
        held, rows, columns = _window(energy, size)
        if held <= least * total:
            continue
        # The thing is what moves in the window; it grows and turns about its own middle. About that, the four
        # fields are orthogonal to each other.
        own = energy[rows, columns]
        moving = own > _MOVES * own.max()
        y, x = np.mgrid[rows, columns]
        x, y = (x + 0.5) / w, (y + 0.5) / h
        cx, cy = float(x[moving].mean()), float(y[moving].mean())
        u, v = (x - cx) * moving, (y - cy) * aspect * moving
        one, none = moving.astype(float), np.zeros_like(u)
        fields = np.stack([np.stack(f, -1) for f in ((one, none), (none, one), (u, v), (-v, u))])
        strength = (fields**2).sum((1, 2, 3)).clip(1e-12)
        amounts = (fields * flow[rows, columns]).sum((1, 2, 3)) / strength
        parts = amounts**2 * strength
        kinds = {
            f"moves {_compass(amounts[0], amounts[1])}": parts[0] + parts[1],
            "grows" if amounts[2] > 0 else "shrinks": parts[2],
            "turns clockwise" if amounts[3] > 0 else "turns counterclockwise": parts[3],
        }
        what = max(kinds, key=lambda k: kinds[k])
        explained = float(kinds[what] / total)
        if kinds[what] >= _INSIDE * own.sum() and explained > most:
            best, most = f"something {what} {_place(cx, cy)}", explained
    return best, most


def name_flow(flow: np.ndarray, aspect: float = 1.0) -> tuple[str, float]:
    """Say what one sees.

    A camera's motion is tried first, then that of one thing in one place.

    Args:
        flow: forward ``[h, w, 2]``, see the module.
        aspect: height of the picture over its width.

    Returns:
        The name, such as "camera pans left, zooms in" or "something moves right at the left edge", and the
        share of the flow's energy that it explains, 0 to 1; an empty name and 0 where nothing fits or moves.
    """
    flow = np.asarray(flow, np.float64)
    if flow.ndim != 3 or flow.shape[2] != 2 or min(flow.shape[:2]) < 3:
        raise ValueError(f"a flow to be named has shape [h, w, 2] with three cells or more, not {list(flow.shape)}")
    if not np.isfinite(flow).all() or math.sqrt((flow**2).sum(-1).mean()) < _STILL / 4:
        return "", 0.0
    motion = camera_motion(flow, aspect)
    if motion.explained >= _EXPLAINED and math.sqrt((flow**2).sum(-1).mean()) >= _STILL:
        return _camera_name(motion), motion.explained
    return _thing(flow, aspect)


# What an action does to pictures.


@dataclass(frozen=True)
class ReferenceConfig:
    """On which pictures an action's mean flow is taken."""

    # Names of bundled photographs: with texture all over, near and far, with and without a subject.
    pictures: tuple[str, ...] = (
        "machu_picchu.jpg",
        "colosseum_street.jpg",
        "palace_square.jpg",
        "raccoon.jpg",
        "chickens.jpg",
        "forest_stream.jpg",
        "coffee_cup.jpg",
        "dog.jpg",
    )
    side: int = 256  # pixels along each side to which their middle is scaled
    grid: int = GRID  # cells along each side of the flow


def reference_pictures(config: ReferenceConfig | None = None, folder: Path | None = None) -> np.ndarray:
    """The middle of some photographs, uint8 ``[R, side, side, 3]``.

    Raises:
        LamdemoError: the folder (the bundled one without it) holds none of them.
    """
    config = config or ReferenceConfig()
    folder = folder or bundled_photographs()
    found = []
    for name in config.pictures:
        if not (folder / name).is_file():
            continue
        picture = read_image(folder / name)
        side = min(picture.shape[:2])
        top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
        square = torch.from_numpy(picture[top : top + side, left : left + side].copy()).permute(2, 0, 1)[None].float()
        size = (config.side, config.side)
        small = F.interpolate(square, size, mode="bilinear", align_corners=False, antialias=True)
        found.append(small[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy())
    if not found:
        raise LamdemoError(f"The folder {folder.name} holds none of the reference pictures; restore the examples.")
    return np.stack(found)


def forward_flow(backward: Tensor, grid: int) -> np.ndarray:
    """Where content moves to, from where it came: ``[B, 2, r, r]`` to ``[B, grid, grid, 2]``, units unchanged.

    A backward flow ``b`` says that what is now at ``q`` was at ``q + b(q)``. Content at ``p`` moves by ``f(p)``
    to ``q = p + f(p)``, so ``f(p) = -b(p + f(p))``, which is found by going round a few times from ``-b(p)``.
    That is exact where the motion is smooth. Where something is covered or uncovered there is no one answer,
    and what enters or leaves at the border takes the border's motion: on twelve cells both are a fringe.
    """
    here = pixel_centres(*backward.shape[-2:], device=backward.device)[None]
    forward = -backward
    for _ in range(4):
        forward = -sample_at(backward, here + forward)
    cells = F.interpolate(forward, (grid, grid), mode="area")
    return cells.permute(0, 2, 3, 1).cpu().numpy().astype(np.float32)


class References:
    """Reference pictures under one model: their states are computed once.

    The flow is that of one step of the pipeline from each picture (`TransferStep.flow` before it is blown up to
    pixels); pictures go through the model together, which takes half the time of one after another.
    """

    def __init__(self, pipeline: TransferPipeline, pictures: np.ndarray, grid: int = GRID) -> None:
        """Args: whose model, uint8 ``[R, H, W, 3]``, and cells along each side of the flows."""
        self._pipeline = weakref.ref(pipeline)  # else the cache would keep the model for ever
        self.grid = grid
        with torch.no_grad():
            self._states = pipeline.encode(pictures)
            self._pictures = pipeline.to_tensor(pictures)

    @torch.no_grad()
    def flows(self, z: np.ndarray) -> np.ndarray:
        """What one sees on each picture under one action ``z [Z]``: ``[R, grid, grid, 2]``, see the module.

        Raises:
            LamdemoError: the action is of another width, or no numbers.
        """
        pipeline = self._pipeline()
        if pipeline is None:
            raise RuntimeError("the pipeline of these references is gone")
        model, count = pipeline.model, len(self._states)
        z = np.asarray(z, np.float32)
        if z.shape != (model.config.bottleneck.channels,) or not np.isfinite(z).all():
            raise LamdemoError(
                f"An action of this checkpoint is {model.config.bottleneck.channels} finite numbers; "
                "use the checkpoint it was made with."
            )
        given = torch.from_numpy(z).to(model.device).expand(count, 1, -1)
        with pipeline.computing():
            prediction = model.world_model(self._states[:, None], given)
            rendering = model.render(self._states, prediction, self._pictures)
        return forward_flow(rendering.flow.float(), self.grid)

    def flow(self, z: np.ndarray) -> np.ndarray:
        """Mean of `flows` over the pictures, ``[grid, grid, 2]``."""
        return self.flows(z).mean(0)


_cache: weakref.WeakKeyDictionary[TransferPipeline, dict[ReferenceConfig, References]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def references(pipeline: TransferPipeline, config: ReferenceConfig | None = None) -> References:
    """The reference pictures under a pipeline's model; made at the first call for it, then kept as long as it.

    Raises:
        LamdemoError: see `reference_pictures`.
    """
    config = config or ReferenceConfig()
    with _lock:
        kept = _cache.setdefault(pipeline, {})
        if config not in kept:
            kept[config] = References(pipeline, reference_pictures(config), config.grid)
        return kept[config]


def mean_flow(pipeline: TransferPipeline, z: np.ndarray, config: ReferenceConfig | None = None) -> np.ndarray:
    """The mean flow that an action ``z [Z]`` causes on the reference pictures, ``[12, 12, 2]``, see the module."""
    return references(pipeline, config).flow(z)


# Names that people give.

_FORMAT = "lamdemo-names/1"
_LONGEST_KEY, _LONGEST_NAME, _MOST = 40, 80, 1000


@dataclass(frozen=True)
class NameBook:
    """Names that somebody gave to directions of one checkpoint.

    Raises:
        LamdemoError: a key or a name is too long, empty, or no line of text.
    """

    checkpoint: str  # SHA-256 of its weights; directions of another one are other directions
    names: Mapping[str, str] = field(default_factory=dict)  # by the direction's key, with a minus for the reverse

    def __post_init__(self) -> None:
        for key, name in self.names.items():
            if not isinstance(key, str) or not isinstance(name, str):
                raise LamdemoError("A name must be a line of text; write a shorter, plain one.")
            fits = 0 < len(key) <= _LONGEST_KEY and 0 < len(name) <= _LONGEST_NAME and name == name.strip()
            if not fits or not (key + name).isprintable():
                raise LamdemoError(f"A name must be a line of 1 to {_LONGEST_NAME} characters; write another one.")
        if len(self.names) > _MOST:
            raise LamdemoError(f"A book holds at most {_MOST} names; remove some.")

    def named(self, key: str, name: str) -> NameBook:
        """The book with another name for a direction; an empty name takes the given one away.

        Raises:
            LamdemoError: the name does not fit, see above.
        """
        others = {k: v for k, v in self.names.items() if k != key}
        name = " ".join(name.split())
        return NameBook(self.checkpoint, others | {key: name} if name else others)

    def check(self, checkpoint: str) -> None:
        """Make sure that the names belong to a checkpoint.

        Raises:
            LamdemoError: they are of another one.
        """
        if self.checkpoint and checkpoint and self.checkpoint != checkpoint:
            raise LamdemoError("These names were given to directions of another checkpoint; use that one.")

    def save(self, path: str | Path) -> Path:
        """Write the names as JSON.

        Raises:
            LamdemoError: the file cannot be written.
        """
        path = Path(path)
        content = {"format": _FORMAT, "checkpoint": self.checkpoint, "names": dict(sorted(self.names.items()))}
        try:
            write_safely(path, (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode())
        except OSError as error:
            raise LamdemoError(f"{path.name} cannot be written; choose another place.") from error
        return path

    @classmethod
    def load(cls, path: str | Path) -> NameBook:
        """Read what `save` wrote.

        Raises:
            LamdemoError: the file is missing or is no such file.
        """
        path = Path(path)
        try:
            if path.stat().st_size > 1 << 20:
                raise ValueError("too large for a thousand names")
            content = json.loads(path.read_text(encoding="utf-8-sig"))
            if content["format"] != _FORMAT or not isinstance(content["checkpoint"], str):
                raise ValueError("not of this format")
            return cls(content["checkpoint"], dict(content["names"]))
        except (OSError, ValueError, TypeError, LookupError, RecursionError, LamdemoError) as error:
            raise LamdemoError(f"{path.name} holds no names of directions; give one that lamdemo wrote.") from error
