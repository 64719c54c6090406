"""Make the gallery: python docs/make_gallery.py --checkpoints checkpoints --out docs/gallery.

Each item is a real transfer, or several, as one looping GIF of labelled panels. Beside the GIFs come ``gallery.json``
with what was measured of every panel, and, in the folder above, a page with them all (``gallery.md``), whose figures
are those of the JSON. What is said of an item stands in `PROSE`; an item that is shown as a failure has a rule in
`FAILS` by which its figures must still show that it is one, and the page says so where they do not.

Items that compare families take whichever of them there are; the others take the one with layers.
"""

from __future__ import annotations

import argparse
import io
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a file, Python looks beside this file only

from lamdemo.core.errors import LamdemoError  # noqa: E402
from lamdemo.core.files import write_safely  # noqa: E402
from lamdemo.data.scenes import Cast, Photographs, Script, rendered  # noqa: E402
from lamdemo.engine import ActionEdit, TransferPipeline, TransferResult  # noqa: E402
from lamdemo.evaluation.locality import DILATION, where_it_moves  # noqa: E402
from lamdemo.evaluation.pictures import MOTION_WIDTH, end_point_errors, motion  # noqa: E402
from lamdemo.evaluation.report import git_state  # noqa: E402
from lamdemo.evaluation.scenes import thing_mask  # noqa: E402
from lamdemo.evaluation.sheets import GREEN, RED, heated, outlined  # noqa: E402
from lamdemo.jobs.compare import flows, measure_result  # noqa: E402
from lamdemo.models import checkpoint_hash, read_config  # noqa: E402
from lamdemo.models.checkpoint import CONFIG_NAME  # noqa: E402
from lamdemo.video import read_clip, read_image, side_by_side  # noqa: E402

FAMILIES = ("noisy", "sparse", "discrete", "disentangled", "residual")
LAYERS = "layers"  # a checkpoint of this name stands beside the families: things move as layers in it
WIDTH = 256  # pixels across of a panel
WIDE, SQUARE = (192, WIDTH), (WIDTH, WIDTH)  # height and width of filmed and of rendered panels
BETWEEN = 2  # frames shown between two steps
GAP = 6
MOST_BYTES, MOST_TOTAL = 1_200_000, 12_000_000
HOLD_FIRST, HOLD_LAST, FADE = 600, 900, 60  # milliseconds
# Colours, and gray levels that a pixel may drift before it is drawn anew: the first that is small enough is taken.
LADDER = ((200, 5), (160, 9), (128, 13), (96, 17), (64, 22), (48, 28), (32, 34))

Figures = dict[str, Any]


@dataclass(frozen=True)
class Words:
    """What is said of an item: a title, what is seen, and for a failure its reason."""

    title: str
    seen: str
    reason: str = ""


@dataclass
class Shown:
    """One item: rows of labelled clips, and the figures of its transfers.

    Attributes:
        rows: labels and clips uint8 ``[T, h, w, 3]``; the first row's labels are shown in each.
        fps: frames a second.
        figures: one row of figures for each transfer, by name; see `COLUMNS`.
    """

    rows: list[list[tuple[str, np.ndarray]]]
    fps: float
    figures: list[Figures] = field(default_factory=list)


# Material.


def boxed(frames: np.ndarray, size: tuple[int, int], across: float = 0.5, down: float = 0.5) -> np.ndarray:
    """The largest part of frames ``[..., H, W, 3]`` of a size's aspect, scaled to that size or a multiple of it.

    Args:
        frames: pictures.
        size: height and width of a panel; the result has twice that, so that the model sees enough.
        across: where the part lies where sides are cut, 0 (left) to 1 (right).
        down: the same from top to bottom.
    """
    clip = frames if frames.ndim == 4 else frames[None]
    height, width = clip.shape[1:3]
    scale = min(height / size[0], width / size[1])
    h, w = round(size[0] * scale), round(size[1] * scale)
    top, left = round((height - h) * down), round((width - w) * across)
    part = clip[:, top : top + h, left : left + w]
    how = cv2.INTER_AREA if scale >= 2 else cv2.INTER_CUBIC
    made = np.stack([cv2.resize(f, (2 * size[1], 2 * size[0]), interpolation=how) for f in part])
    return made if frames.ndim == 4 else made[0]


def panel(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames ``[T, H, W, 3]`` at a panel's size."""
    if frames.shape[1:3] == size:
        return frames
    return np.stack([cv2.resize(f, size[::-1], interpolation=cv2.INTER_AREA) for f in frames])


def with_ball(ground: np.ndarray, ball: np.ndarray, x: float, y: float, radius: float) -> np.ndarray:
    """Paste the ball of a photograph that it fills onto another picture, with a soft shadow under it.

    Args:
        ground: uint8 ``[H, W, 3]``.
        ball: uint8 ``[h, w, 3]``, a ball as large as the picture.
        x: where its middle is, in shares of the width.
        y: the same of the height.
        radius: in shares of the width.
    """
    height, width = ground.shape[:2]
    r = radius * width
    v, u = np.mgrid[:height, :width].astype(np.float32)
    du, dv = (u - x * width) / r, (v - y * height) / r
    shade = np.exp(-(((du - 0.25) / 0.9) ** 2 + ((dv - 0.95) / 0.22) ** 2))[..., None]
    # The photograph's ball reaches a little beyond its frame.
    bh, bw = ball.shape[:2]
    at = bw / 2 + du * bw * 0.47, bh * 0.49 + dv * bw * 0.47
    pasted = cv2.remap(ball, at[0].astype(np.float32), at[1].astype(np.float32), cv2.INTER_AREA)
    alpha = np.clip((1 - np.hypot(du, dv)) * r + 0.5, 0, 1)[..., None]
    mixed = ground * (1 - 0.6 * shade) * (1 - alpha) + pasted * alpha
    return mixed.round().clip(0, 255).astype(np.uint8)


def path(steps: int, *knots: Sequence[float] | np.ndarray) -> np.ndarray:
    """Positions ``[T, C]`` at an even pace through knots ``[C]``, at the rate that is shown."""
    count = steps * (BETWEEN + 1) + 1
    where = np.linspace(0, len(knots) - 1, count)
    table = np.array(knots, float)
    return np.stack([np.interp(where, np.arange(len(knots)), column) for column in table.T], 1)


def plain_cast(photograph: int, things: Sequence[tuple[int, float, float, float]] = (), half: float = 0.46) -> Cast:
    """A cast of round things: photograph, and x, y and half size of the piece that each shows.

    Args:
        photograph: of the background.
        things: of those that act, then of those that stand still, whose poses are to be put in ``extras``.
        half: half of the view, in shares of the photograph.
    """
    k = len(things)
    table = np.array(things, float).reshape(k, 4)
    # A slight swelling of the outline, so that turning can be told from standing.
    shapes = np.zeros((k, 2, 4))
    shapes[:, 0, 1] = 0.1
    return Cast(
        photograph,
        np.array([0.5, 0.5, half, half]),
        table[:, 0].astype(np.int64),
        table[:, 1:],
        shapes,
        np.ones(k),
        np.zeros((0, 4)),
    )


# Transfers.


class Studio:
    """The checkpoints of a folder, and how a transfer is made and measured.

    Args:
        folder: with one folder for each checkpoint.

    Raises:
        LamdemoError: there is none.
    """

    def __init__(self, folder: Path) -> None:
        found = {p.parent.name: p.parent for p in sorted(folder.glob(f"*/{CONFIG_NAME}"))}
        families = {name: read_config(place)[0].family for name, place in found.items()}
        chosen = {}
        for family in FAMILIES:
            of = [n for n in found if families[n] == family]
            if of:
                chosen[family] = found[family if family in of else of[0]]
        if chosen and LAYERS in found:
            chosen[LAYERS] = found[LAYERS]
        if not chosen:
            raise LamdemoError(f"The folder {folder.name} holds no checkpoint; train one, or give another folder.")
        self.folders = chosen
        self.loaded: dict[str, TransferPipeline] = {}
        self.used: set[str] = set()

    @property
    def default(self) -> TransferPipeline:
        """The one with layers, the noisy one, or the first there is."""
        return self.family(LAYERS if LAYERS in self.folders else next(iter(self.folders)))

    @property
    def families(self) -> list[str]:
        """Those there are."""
        return list(self.folders)

    def family(self, name: str) -> TransferPipeline:
        """The checkpoint of a family."""
        if name not in self.loaded:
            self.loaded[name] = TransferPipeline.from_pretrained(self.folders[name])
        return self.loaded[name]

    def asset(self, file: str) -> Path:
        """An example's path, which is noted for the credits."""
        self.used.add(file)
        return ROOT / "examples" / file

    def ball(self) -> np.ndarray:
        """The photograph of a baseball."""
        return read_image(self.asset("gallery/baseball.jpg"))

    def scenery(self, names: Sequence[str]) -> Photographs:
        """Photographs of the examples, by name, for scenes."""
        pictures = [read_image(self.asset(f"photos/{n}.jpg"), max_side=1024) for n in names]
        scaled = [cv2.resize(p, (768, 576), interpolation=cv2.INTER_AREA) for p in pictures]
        return Photographs(torch.from_numpy(np.stack(scaled)).permute(0, 3, 1, 2))

    def filmed(
        self,
        clip: str,
        start: float,
        steps: int,
        size: tuple[int, int] = WIDE,
        across: float = 0.5,
        down: float = 0.5,
        slowed: int = 1,
    ) -> np.ndarray:
        """``steps`` steps of a bundled clip with the frames between them, cut to a panel's aspect.

        With ``slowed`` it is read at so many times the model's rate, and plays so many times slower.

        Raises:
            LamdemoError: the clip ends before.
        """
        rate = self.default.fps * (BETWEEN + 1) * slowed
        count = steps * (BETWEEN + 1) + 1
        read = read_clip(self.asset(f"clips/{clip}.mp4"), fps=rate, start=start, max_frames=count, max_side=640)
        if len(read.frames) < count:
            raise LamdemoError(f"{clip}.mp4 is shorter than {steps} steps from there; begin earlier.")
        return boxed(read.frames, size, across, down)

    def photo(self, name: str, size: tuple[int, int] = WIDE, across: float = 0.5, down: float = 0.5) -> np.ndarray:
        """A bundled photograph cut to a panel's aspect."""
        return boxed(read_image(self.asset(f"photos/{name}.jpg"), max_side=1024), size, across, down)

    def carry(
        self,
        label: str,
        smooth: np.ndarray,
        target: np.ndarray,
        *,
        family: str = "",
        edit: ActionEdit | None = None,
    ) -> tuple[TransferResult, Figures]:
        """Carry a source (with its frames between) over to a target, and measure.

        Args:
            label: of the panel.
            smooth: uint8 ``[S * (BETWEEN + 1) + 1, H, W, 3]``.
            target: uint8 ``[H, W, 3]``.
            family: which checkpoint; the default one without it.
            edit: of the actions.
        """
        pipeline = self.family(family) if family else self.default
        edit = edit or ActionEdit()
        seen = smooth[:: BETWEEN + 1]
        result = pipeline.transfer(seen, target, edit=edit, between=BETWEEN)
        more = measure_result(pipeline, result.frames, result.latents, flows(seen), edit)
        judged = result.out_of_distribution
        return result, {
            "panel": label,
            "checkpoint": next(k for k, v in self.loaded.items() if v is pipeline),
            "steps": len(result.latents),
            "motion": result.measures["motion"],
            "agreement": more["agreement"],
            "cycle": more["cycle"],
            "sharpness": result.measures["sharpness"],
            "change": result.measures["change"],
            "idle_change": result.measures["idle_change"],
            "unfamiliar": None if judged is None else judged.count,
            "judged": None if judged is None else len(judged.scores),
        }

    def simple(
        self,
        smooth: np.ndarray,
        target: np.ndarray,
        size: tuple[int, int],
        *,
        families: Sequence[str] = (),
        truth: np.ndarray | None = None,
    ) -> Shown:
        """Source, target under no action, and the transfer, or that of each family.

        Args:
            smooth: see `carry`.
            target: see `carry`.
            size: height and width of panels.
            families: to compare; the default checkpoint alone without them.
            truth: clip like the source, of the same action in the target, if that is known.
        """
        row = [("source", smooth)]
        figures = []
        for name in families or [""]:
            label = name or "transfer"
            result, of = self.carry(label, smooth, target, family=name)
            if len(row) == 1:
                row.append(("target, no action", np.repeat(result.idle, BETWEEN + 1, 0)[BETWEEN:]))
            row.append((label, result.smooth))
            if truth is not None:
                of["motion_error"] = motion_error(result.frames, truth[:: BETWEEN + 1])
            figures.append(of)
        if truth is not None:
            row.append(("truth", truth))
        return Shown([[(label, panel(clip, size)) for label, clip in row]], self.default.fps * (BETWEEN + 1), figures)


def motion_error(frames: np.ndarray, truth: np.ndarray) -> float | None:
    """Mean error of the optical flow of frames ``[T, H, W, 3]``, over that of a still picture."""
    ours, theirs = (motion(panel(x, (MOTION_WIDTH, MOTION_WIDTH))) for x in (frames, truth))
    still = float(np.linalg.norm(theirs, axis=-1).mean())
    return float(end_point_errors(ours, theirs).mean()) / still if still > 0 else None


def entered(frames: np.ndarray, idle: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """How much of the truth's change appears where the thing is in the end, 1 for all of it.

    Args:
        frames: uint8 ``[T, H, W, 3]`` under the action.
        idle: the same under none.
        truth: the same of the truth.
        mask: bool ``[H, W]``, where the thing is in the last frame.
    """
    last, quiet, right, target = (x.astype(np.float32) for x in (frames[-1], idle[-1], truth[-1], truth[0]))
    # Along the truth's own change: what changes into something else does not count.
    wanted = (right - target)[mask]
    return float(((last - quiet)[mask] * wanted).sum() / max(float((wanted**2).sum()), 1e-6))


# Items.


def walk_to_ball(studio: Studio) -> Shown:
    """A person walks; a ball stands where she stands."""
    source = studio.filmed("woman_walking", 0.5, 5, across=0.75, slowed=2)
    target = with_ball(studio.photo("autumn_hills", down=1.0), studio.ball(), 0.64, 0.64, 0.12)
    return studio.simple(source, target, WIDE)


def walk_to_bear(studio: Studio) -> Shown:
    """An animated rabbit walks; a bear stands there."""
    return studio.simple(studio.filmed("rabbit_walks_right", 0.65, 5, across=0.3), studio.photo("polar_bear"), WIDE)


def _two_things(
    cast: Cast, poses: Sequence[Sequence[float]], turn: int, shift: tuple[float, float], steps: int
) -> tuple[Script, Cast]:
    order = [turn, 1 - turn]
    start = np.array(poses[turn], float)
    half = np.array([*shift, 0, 0]) / 2
    acting = path(steps, start - half, start + half)
    looks = {n: getattr(cast, n)[order] for n in ("skins", "crops", "shapes", "stretches")}
    script = Script("move", np.zeros((len(acting), 4)), acting[None])
    return script, replace(cast, extras=np.array([poses[1 - turn]], float), **looks)


def one_of_two(studio: Studio) -> Shown:
    """Of two things either moves; the target has two other ones at about the same places."""
    bank = studio.scenery(["autumn_hills", "dahlia", "paint_brushes", "palace_square", "fig_in_bowl", "coffee_cup"])
    radius = float(np.log(0.13))
    first = plain_cast(0, [(1, 0.5, 0.45, 0.2), (2, 0.4, 0.5, 0.25)])
    second = plain_cast(3, [(4, 0.5, 0.5, 0.3), (5, 0.5, 0.4, 0.3)])
    rows, figures = [], []
    for turn, shift in ((0, (0.03, 0.26)), (1, (-0.03, -0.26))):
        acted, cast = _two_things(first, [(-0.22, 0, radius, 0), (0.22, 0, radius, 0)], turn, shift, 6)
        source = rendered(acted, cast, bank, WIDTH)
        acted, cast = _two_things(second, [(-0.2, 0.02, radius, 0.2), (0.24, -0.02, radius, -0.2)], turn, shift, 6)
        truth = rendered(acted, cast, bank, WIDTH)
        masks = [thing_mask(acted, cast, thing, WIDTH)[:: BETWEEN + 1] for thing in (0, 1)]
        label = f"{'left' if turn == 0 else 'right'} one moves"
        result, of = studio.carry(label, source, truth[0])
        length = where_it_moves(result.frames)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * DILATION + 1, 2 * DILATION + 1))
        moved, other = (
            np.stack([cv2.dilate((m[t] | m[t + 1]).astype(np.uint8), kernel) > 0 for t in range(len(m) - 1)])
            for m in masks
        )
        total = max(float(length.sum()), 1e-6)
        of |= {
            "inside": float(length[moved].sum()) / total,
            "other": float(length[other & ~moved].sum()) / total,
            "area": float(moved.mean()),
            "motion_error": motion_error(result.frames, truth[:: BETWEEN + 1]),
        }
        most = float(np.percentile(where_it_moves(truth[:: BETWEEN + 1]).mean(0)[moved.any(0)], 90))
        heat = outlined(heated(truth[0], length.mean(0), most), np.logical_or.reduce(masks[0]), GREEN)
        heat = outlined(heat, np.logical_or.reduce(masks[1]), RED)
        idle = np.repeat(result.idle, BETWEEN + 1, 0)[BETWEEN:]
        where = np.repeat(heat[None], len(source), 0)
        row = [("source", source), ("target, no action", idle), ("transfer", result.smooth), ("where it moves", where)]
        rows.append(row)
        figures.append(of)
    return Shown(rows, studio.default.fps * (BETWEEN + 1), figures)


def entering_rendered(studio: Studio) -> Shown:
    """A thing comes in from the left, under each family."""
    bank = studio.scenery(["mysore_palace", "dahlia", "autumn_hills"])
    radius = 0.18
    things = path(7, (-0.5 - 1.1 * radius, 0.1, np.log(radius), 0), (-0.05, 0.1, np.log(radius), 0))[None]
    script = Script("enter", np.zeros((things.shape[1], 4)), things)
    flower = (1, 0.5, 0.45, 0.28)
    cast = plain_cast(2, [flower])
    source, truth = (rendered(script, c, bank, WIDTH) for c in (plain_cast(0, [flower]), cast))
    shown = studio.simple(source, truth[0], SQUARE, families=studio.families, truth=truth)
    mask = thing_mask(script, cast, 0, WIDTH)[-1]
    clips = dict(shown.rows[0])
    for of in shown.figures:
        of["entered"] = entered(clips[of["panel"]], clips["target, no action"], truth, mask)
    return shown


def entering_filmed(studio: Studio) -> Shown:
    """A woman comes into view from the right, under each family."""
    source = studio.filmed("woman_passing_box", 0.0, 7, across=0.0)
    return studio.simple(source, studio.photo("sunset_hills"), WIDE, families=studio.families)


def drive_rendered(studio: Studio) -> Shown:
    """A camera goes forward and turns right; rendered, so that the truth is known."""
    bank = studio.scenery(["colosseum_street", "mont_saint_michel"])
    camera = path(6, (-0.12, 0.03, 0.0, 0), (0.1, 0.0, -0.32, 0))
    script = Script("pan", camera, np.zeros((0, len(camera), 4)))
    source, truth = (rendered(script, plain_cast(i, half=0.4), bank, WIDTH) for i in (0, 1))
    return studio.simple(source, truth[0], SQUARE, truth=truth)


def tilt_filmed(studio: Studio) -> Shown:
    """An animated film's camera sinks."""
    return studio.simple(studio.filmed("meadow_tilt", 0.0, 6), studio.photo("mountain_path"), WIDE)


def reverse_and_repeat(studio: Studio) -> Shown:
    """An action, its opposite, and the action twice."""
    source = studio.filmed("head_leaning_in", 0.0, 5)
    target = studio.photo("admiral", down=0.2)
    forth, of = studio.carry("transfer", source, target)
    back, of_back = studio.carry("reversed", source, target, edit=ActionEdit(negate=True))
    twice, of_twice = studio.carry("twice", source, target, edit=ActionEdit(repeat=2))
    # All panels last as long as the longest: what is over holds its last frame, and the source starts over.
    again = np.concatenate([source, source[1:]])
    idle = np.repeat(twice.idle, BETWEEN + 1, 0)[BETWEEN:]
    row = [("source", again), ("target, no action", idle), ("transfer", forth.smooth)]
    row += [("reversed", back.smooth), ("twice", twice.smooth)]
    panels = [(label, panel(clip, WIDE)) for label, clip in row]
    return Shown([panels], studio.default.fps * (BETWEEN + 1), [of, of_back, of_twice])


def failure_limbs(studio: Studio) -> Shown:
    """Arms and legs."""
    return studio.simple(studio.filmed("jumping_jack", 0.2, 7, across=0.75), studio.photo("astronaut"), WIDE)


def failure_empty(studio: Studio) -> Shown:
    """A walk where nothing stands."""
    # The one without layers, which fails, first.
    both = [studio.families[0], LAYERS] if LAYERS in studio.families else ()
    walk = studio.filmed("woman_walking", 0.5, 7, across=0.75)
    return studio.simple(walk, studio.photo("mysore_palace"), WIDE, families=both)


ITEMS: dict[str, Callable[[Studio], Shown]] = {
    f.__name__: f
    for f in (
        walk_to_ball,
        walk_to_bear,
        one_of_two,
        entering_filmed,
        entering_rendered,
        drive_rendered,
        tilt_filmed,
        reverse_and_repeat,
        failure_limbs,
        failure_empty,
    )
}

# Said here is only what a rerun with other checkpoints leaves true: what was done, how to read it, why it is hard.
PROSE = {
    "walk_to_ball": Words(
        "A walk, carried over to a ball",
        "A woman walks to the left, at half her speed: the clip is read at twice the model’s own steps a second, for "
        "at full speed she leaves her place in one step. In the target a ball lies where she stands: a photograph of a "
        "baseball, pasted onto one of a meadow. The action says what moves where, not what it is, so it is the ball "
        "that should go her way. Watch whether it stays a ball: she is narrow, and its far side has to come along.",
    ),
    "walk_to_bear": Words(
        "A walk, carried over to a bear",
        "An animated rabbit walks to the right; a bear stands in its place. Watch how far the whole bear goes along, "
        "and its legs: the model moves what is there, and has not learned how a bear walks.",
    ),
    "one_of_two": Words(
        "One of two things moves",
        "Rendered: of two things one moves, the left one down in the first row, the right one up in the second. The "
        "target has two other things at about the same two places. The last panel shows where the result moves "
        "(mean length of its optical flow); green is the way of the thing that should move, red the one that should "
        "not. “Motion inside” is the share of all motion that lies in the green thing, “motion in the other” that in "
        "the red one.",
    ),
    "entering_filmed": Words(
        "Someone enters, under each family",
        "The woman walks into view from the right. A world model that carried the whole action over would let "
        "something enter the target there. There is no truth to compare with; what follows shows one on a scene that "
        "has it.",
    ),
    "entering_rendered": Words(
        "Something enters, under each family, with its truth",
        "Rendered: a flower comes in from the left, and the last panel shows the same in the target scene. “Entered” "
        "is how much of the change that it makes there appears in the result, 1 for all and 0 for none. A thing that "
        "is not in the target can come only from the latent, and a latent that holds little holds no picture of it; "
        "what a model does instead is to move what it finds there.",
    ),
    "drive_rendered": Words(
        "A camera drives forward and to the right",
        "Not filmed from a car: the clips from cars that the models were trained on may not be passed on, so this is a "
        "camera that moves forward and to the right over a flat photograph, rendered, without the parallax of a "
        "street. In return the truth is known: “motion error” is the error of the result’s optical flow, over that "
        "of a still picture.",
    ),
    "tilt_filmed": Words(
        "A camera sinks",
        "From an animated film: the camera tilts down from the sky to a meadow, and does so before a photograph of "
        "mountains. Below the photograph’s edge the model has nothing to show and paints on.",
    ),
    "reverse_and_repeat": Words(
        "An action, its opposite, and twice",
        "A man leans towards the camera; the latents of that are applied as they are, negated, and two times one after "
        "the other. Latents are odd in time by construction, so the negative of an action is the action backwards. A "
        "panel that is over holds its last frame, and the source starts over.",
    ),
    "failure_limbs": Words(
        "Failure: arms and legs",
        "A man does jumping jacks; the target is a portrait.",
        "His arms and legs are thinner than the cells in which the model sees (16 by 16 for a picture), move fast and "
        "in opposite directions within one cell, and there are none in the target at those places. What is left of "
        "the action is a faint sway.",
    ),
    "failure_empty": Words(
        "Failure: a walk where nobody stands",
        "The same walk at full speed, carried over to a palace.",
        "The action is bound to a place, and a model without layers moves what is at that place whether or not it is a "
        "thing that could walk: here a facade, which is smeared along her way. Nothing in the latent says that there "
        "has to be someone. The model with layers looks for a thing, finds none, and does next to nothing.",
    ),
}

# By which figure an item is the failure that it is shown as: the name of the figure, and a rule for it.
FAILS: dict[str, tuple[str, str, Callable[[float], bool]]] = {
    "failure_limbs": ("agreement", "agreement with the source’s motion below 0.6", lambda v: v < 0.6),
    "failure_empty": ("motion", "motion of 0.5% of the width a step or more", lambda v: v >= 0.5),
}

# Name in the JSON, heading, format.
COLUMNS = (
    ("motion", "mean motion, % of the width a step", "{:.2f}"),
    ("agreement", "agreement with the source’s motion", "{:.2f}"),
    ("motion_error", "motion error", "{:.2f}"),
    ("inside", "motion inside", "{:.0%}"),
    ("other", "motion in the other", "{:.0%}"),
    ("area", "its share of the area", "{:.0%}"),
    ("entered", "entered", "{:.2f}"),
    ("cycle", "cycle", "{:.2f}"),
    ("sharpness", "sharpness kept", "{:.2f}"),
)


# Writing.


def laid_out(shown: Shown) -> np.ndarray:
    """All panels in rows, uint8 ``[T, H, W, 3]``."""
    most = max(len(clip) for row in shown.rows for _, clip in row)
    lines = []
    for row in shown.rows:
        line = side_by_side(
            [clip for _, clip in row], height=row[0][1].shape[1], gap=GAP, labels=[label for label, _ in row]
        )
        lines.append(np.concatenate([line, np.repeat(line[-1:], most - len(line), 0)]))
    return np.concatenate(lines, 1)


def as_gif(frames: np.ndarray, fps: float, colours: int, drift: int) -> bytes:
    """A looping GIF that rests at both ends and fades from the last frame to the first.

    Args:
        frames: uint8 ``[T, H, W, 3]``.
        fps: frames a second.
        colours: of the one palette for all frames; with one for each, colours would flicker.
        drift: gray levels by which a pixel may differ from what is shown before it is drawn anew; what stands still
            but for noise then costs nothing.
    """
    first, last = frames[0].astype(np.float32), frames[-1].astype(np.float32)
    fade = [(last + (first - last) * share).round().astype(np.uint8) for share in (1 / 3, 2 / 3)]
    sample = frames[np.linspace(0, len(frames) - 1, 5).astype(int)]
    palette = Image.fromarray(sample.reshape(-1, *frames.shape[2:])).quantize(colours, dither=Image.Dither.NONE)
    pictures: list[Image.Image] = []
    held, places = frames[0], np.zeros(0, np.uint8)
    for frame in [*frames, *fade]:
        drawn = np.asarray(Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE))
        if len(pictures):
            new = np.abs(frame.astype(np.int16) - held).max(-1) > drift
            drawn = np.where(new, drawn, places)
            held = np.where(new[..., None], frame, held)
        places = drawn
        picture = Image.fromarray(drawn)
        picture.putpalette(palette.getpalette() or [])
        pictures.append(picture)
    beat = round(1000 / fps)
    durations = [HOLD_FIRST, *[beat] * (len(frames) - 2), HOLD_LAST, *[FADE] * len(fade)]
    stream = io.BytesIO()
    pictures[0].save(stream, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    return stream.getvalue()


def small_gif(frames: np.ndarray, fps: float, name: str) -> bytes:
    """The best GIF that is small enough.

    Raises:
        LamdemoError: none is.
    """
    for colours, drift in LADDER:
        data = as_gif(frames, fps, colours, drift)
        if len(data) <= MOST_BYTES:
            return data
    raise LamdemoError(f"{name} would be larger than {MOST_BYTES:,} bytes; show fewer steps or panels.")


def shown_command(arguments: Sequence[str]) -> str:
    """The command without absolute paths, which would tell of one machine only."""
    words = [Path(a).name if Path(a).is_absolute() else a for a in arguments]
    return shlex.join(["python", "docs/make_gallery.py", *words])


def rounded(figures: Figures) -> Figures:
    """For JSON: four significant digits, which is more than they bear."""
    return {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in figures.items()}


def credits(files: Sequence[str]) -> list[str]:
    """Who made the examples, and under which licence: a line of Markdown each.

    Raises:
        LamdemoError: one is not in the list of examples.
    """
    listed = {a["file"]: a for a in json.loads((ROOT / "examples/assets.json").read_text(encoding="utf-8"))}
    missing = [f for f in files if f not in listed]
    if missing:
        raise LamdemoError(f"{missing[0]} has no licence in examples/assets.json; add it there.")
    return [f"`{f}`: {listed[f]['title']}, {listed[f]['author']}, {listed[f]['licence']}" for f in files]


def _table(figures: Sequence[Figures]) -> list[str]:
    columns = [c for c in COLUMNS if any(f.get(c[0]) is not None for f in figures)]
    heads = ["panel", *(c[1] for c in columns), "unfamiliar steps"]
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for f in figures:
        cells = ["–" if f.get(key) is None else form.format(f[key]) for key, _, form in columns]
        far = "–" if f["unfamiliar"] is None else f"{f['unfamiliar']} of {f['judged']}"
        lines.append("| " + " | ".join([f["panel"], *cells, far]) + " |")
    return lines


def page(report: dict[str, Any], folder: str) -> str:
    """The gallery as Markdown, all of whose figures are those of the report.

    Args:
        report: as in ``gallery.json``.
        folder: of the GIFs, as seen from the page.
    """
    names = list(report["checkpoints"])
    default = LAYERS if LAYERS in names else names[0]
    absent = [f for f in FAMILIES if f not in names]
    lines = [
        "# Gallery",
        "",
        "Each picture is a real transfer: an action read from the source, carried out in the target. Beside it stands "
        "the same target under no action. Sources and targets were chosen by hand to show what the models can do, and "
        "the last ones what they cannot; the reports, not this page, tell how often either happens. None of the clips "
        "and photographs was trained on.",
        "",
        f"Made by `{report['command']}`"
        + (f" at commit `{report['commit'][:12]}`" if report["commit"] else "")
        + (" with changes not committed" if report["dirty"] else "")
        + f"; this page is written by it too. All figures are in [gallery.json]({folder}/gallery.json).",
        "",
        "Checkpoints: "
        + ", ".join(f"{n} (`{c['sha256'][:12]}…`)" for n, c in report["checkpoints"].items())
        + f". Where no family is named it is {default}."
        + (f" There was no {' and no '.join(absent)} one when this was made." if absent else ""),
        "",
        "How to read the figures: *agreement* is the correlation of the result’s optical flow with the source’s (1 is "
        "the same motion at the same places, which is not always the right one); *cycle* is the cosine between the "
        "latents applied and those read back from the result; *sharpness kept* is that of the last frame over the "
        "target’s; *unfamiliar steps* are those of the source that lie farther from the latents seen in training than "
        "99 of 100 of these (– where the checkpoint brings no sample of them).",
    ]
    used: set[str] = set()
    for key, item in report["items"].items():
        words = PROSE[key]
        lines += ["", f"## {words.title}", "", words.seen, ""]
        lines += [f"![{words.title}]({folder}/{item['file']})", "", *_table(item["figures"])]
        if words.reason:
            lines += ["", f"**Why.** {words.reason}"]
        if item["failing"] is False:
            lines += [
                "",
                f"By the rule that it was chosen by ({item['rule']}) this is no failure with these checkpoints.",
            ]
        elif item["failing"]:
            lines += ["", f"Counted as a failure by: {item['rule']}."]
        used |= set(item["assets"])
    lines += ["", "## Credits", ""]
    lines.append(
        "The pictures under their licences, changed as each item says; a GIF with a CC BY-SA picture is under that "
        "licence too. Their sources are listed in [examples](../examples/README.md)."
    )
    lines += ["", *(f"- {line}" for line in credits(sorted(used)))]
    return "\n".join(lines) + "\n"


def make(checkpoints: Path, out: Path, keys: Sequence[str], command: str, steps: Callable[[str], None] = print) -> None:
    """Write the GIFs, ``gallery.json`` and, beside the folder, its page.

    Args:
        checkpoints: folder of checkpoints.
        out: folder to write to, made if need be.
        keys: which items.
        command: as it is to be told.
        steps: is told of each item.

    Raises:
        LamdemoError: there is no checkpoint, an item is unknown, or the files would be too large.
    """
    unknown = [k for k in keys if k not in ITEMS]
    if unknown:
        raise LamdemoError(f"There is no item {unknown[0]!r}; choose from {', '.join(ITEMS)}.")
    state = git_state() or {"commit": "", "dirty": False}  # before this command changes files itself
    studio = Studio(checkpoints)
    out.mkdir(parents=True, exist_ok=True)
    items: dict[str, Any] = {}
    for key in keys:
        studio.used.clear()
        shown = ITEMS[key](studio)
        frames = laid_out(shown)
        data = small_gif(frames, shown.fps, key)
        write_safely(out / f"{key}.gif", data)
        rule = FAILS.get(key)
        value = shown.figures[0][rule[0]] if rule else None
        items[key] = {
            "title": PROSE[key].title,
            "file": f"{key}.gif",
            "bytes": len(data),
            "size": [frames.shape[2], frames.shape[1]],
            "frames": len(frames),
            "panels": [[label for label, _ in row] for row in shown.rows],
            "figures": [rounded(f) for f in shown.figures],
            "rule": rule[1] if rule else None,
            "failing": None if rule is None or value is None else bool(rule[2](value)),
            "assets": sorted(studio.used),
        }
        steps(f"{key}.gif {len(data) / 1e6:.2f} MB")
    total = sum(item["bytes"] for item in items.values())
    if total > MOST_TOTAL:
        raise LamdemoError(f"The gallery takes {total:,} bytes and may take {MOST_TOTAL:,}; leave an item out.")
    report = {
        "command": command,
        "commit": state["commit"],
        "dirty": state["dirty"],
        "checkpoints": {
            family: {"folder": place.name, "sha256": checkpoint_hash(place)} for family, place in studio.folders.items()
        },
        "items": items,
    }
    write_safely(out / "gallery.json", (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode())
    write_safely(out.parent / f"{out.name}.md", page(report, out.name).encode())


def rewrite(out: Path) -> None:
    """Write the page of a folder that was made, after a change of its words.

    Raises:
        LamdemoError: the folder has no gallery.json.
    """
    try:
        report = json.loads((out / "gallery.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LamdemoError(f"The folder {out.name} has no gallery.json that can be read; make the gallery.") from error
    write_safely(out.parent / f"{out.name}.md", page(report, out.name).encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Make all items, or some."""
    parser = argparse.ArgumentParser(description="Make the gallery: GIFs, gallery.json and the page beside them.")
    parser.add_argument("--checkpoints", type=Path, default=ROOT / "checkpoints", help="folder of checkpoints")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/gallery", help="folder to write to")
    parser.add_argument("--only", nargs="+", default=list(ITEMS), metavar="ITEM", help="these alone; the page too")
    parser.add_argument("--page", action="store_true", help="write the page anew from the folder's gallery.json")
    words = sys.argv[1:] if arguments is None else list(arguments)
    given = parser.parse_args(words)
    try:
        if given.page:
            rewrite(given.out)
            return 0
        make(given.checkpoints, given.out, given.only, shown_command(words))
    except LamdemoError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
