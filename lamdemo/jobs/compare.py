"""One transfer through several checkpoints, side by side, with the same measures for each.

The measures are taken of the pictures that come out, by means that belong to none of the models (optical flow,
gradients) but the cycle, which asks each model to recognise its own work. None of them tells whether a transfer
is right, for which a known truth is needed; that is what ``lamdemo evaluate --pairs`` is for.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import (
    ActionEdit,
    LatentActions,
    OutOfDistribution,
    TransferPipeline,
    TransferStep,
    Verdict,
    sharpness,
)
from lamdemo.engine.pretrained import capacity
from lamdemo.jobs.transfer import Transferred, TransferRequest, transfer
from lamdemo.video import optical_flow, side_by_side, write_video

FEWEST, MOST = 2, 6  # checkpoints in one comparison
COMPARE_SIDE = 640  # longest side in pixels of a target: each panel of the grid is smaller
FLOW_SIDE = 256  # longest side in pixels at which flow is measured
LOOKING = "looking it up"
_CELLS = 32  # across and down, at which flows of pictures of different shape are compared
_PANEL_AREA, _PANEL_WIDTH = 110_000, 640  # pixels
_STILL = 1e-4  # mean length of a flow, of the picture's width and height, that is no motion


@dataclass(frozen=True)
class Measure:
    """How a figure of a comparison is to be read."""

    key: str  # its name in reports
    label: str  # its name on the page, with its unit
    meaning: str  # what it is, in a sentence


MEASURES = (
    Measure(
        "action_size",
        "Mean latent size",
        "Norm of the latents applied; 0 is nothing. Each checkpoint has its own scale.",
    ),
    Measure(
        "far_steps",
        "Unfamiliar steps",
        "Steps of the source farther from the latents seen in training than 99 of 100 of those are.",
    ),
    Measure("motion_px", "Motion, pixels a step", "Mean optical flow of the result, in pixels of the target."),
    Measure(
        "agreement",
        "Motion agreement (not correctness)",
        "Correlation of the result's optical flow with the source's: 1 is the same motion at the same places, 0 "
        "another, −1 the opposite. On another scene the right motion differs, so more is not always better.",
    ),
    Measure("sharpness", "Sharpness kept", "Fine detail of the last frame, over the target's."),
    Measure(
        "cycle",
        "Cycle",
        "Cosine between the latents applied and those that the same checkpoint reads from its result: 1 is all "
        "recognised.",
    ),
    Measure("seconds", "Seconds", "To read the actions and carry them out, without loading the checkpoint."),
)


@dataclass(frozen=True)
class Progress:
    """News of a comparison under way."""

    name: str  # the checkpoint at work
    index: int  # which of them it is, from 0
    count: int  # how many there are
    step: int | None  # steps made by it; None while it is loaded or measured
    steps: int  # how many it will make
    doing: str  # a few words
    frame: np.ndarray | None = None  # uint8 [H, W, 3], the latest of its frames

    @property
    def share(self) -> float:
        """How much of the whole is done, 0 to 1."""
        if self.doing == LOOKING:
            return 0.0
        within = 0.0 if self.step is None else self.step / max(self.steps, 1)
        return (self.index + (0.95 if self.doing == "measuring" else 0.9 * within)) / self.count


@dataclass(frozen=True)
class Entry:
    """What one checkpoint made of a transfer."""

    name: str  # of the checkpoint
    family: str  # of its latents
    capacity: str  # the family's dial in words
    checkpoint: str  # hash of its weights
    panel: np.ndarray  # uint8 [steps * (between + 1) + 1, h, w, 3], the result at the size of a panel
    latents: LatentActions  # as applied
    out_of_distribution: OutOfDistribution | None  # of the source's actions; None where the checkpoint brings no sample
    measures: dict[str, float | None]  # by the keys of `MEASURES`; None where one does not apply
    verdict: Verdict | None = None  # how much to trust it; None where the checkpoint brings no rule

    def as_dict(self) -> dict[str, object]:
        """For reports."""
        return {
            "name": self.name,
            "sha256": self.checkpoint,
            "family": self.family,
            "capacity": self.capacity,
            "verdict": None if self.verdict is None else self.verdict.as_dict(),
            "measures": {k: None if v is None else round(v, 4) for k, v in self.measures.items()},
            "familiarity": None if self.out_of_distribution is None else self.out_of_distribution.as_dict(),
        }


def check_names(names: Sequence[str]) -> list[str]:
    """The checkpoints to compare, each once.

    Raises:
        LamdemoError: there are too few or too many.
    """
    found = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    if len(found) < FEWEST:
        raise LamdemoError("A comparison needs two different checkpoints or more; choose another one.")
    if len(found) > MOST:
        raise LamdemoError(f"At most {MOST} checkpoints are compared at once, not {len(found)}; leave some out.")
    return found


def check_pace(name: str, fps: float, first: float) -> None:
    """Make sure that a checkpoint takes as many steps a second as the first one, for they see the same frames.

    Raises:
        LamdemoError: it does not.
    """
    if not math.isclose(fps, first, rel_tol=1e-3):
        raise LamdemoError(
            f"{name} takes {fps:g} steps a second and the first checkpoint {first:g}; compare checkpoints of one pace."
        )


def compare(
    request: TransferRequest,
    names: Sequence[str],
    load: Callable[[str], TransferPipeline],
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Progress | Entry]:
    """Carry out a transfer with one checkpoint after another; no two models are held at a time.

    Args:
        request: what is to be done; its actions are not known before.
        names: of the checkpoints.
        load: gives the pipeline of a name.
        should_stop: asked after each step and measure; what is unfinished then is dropped.

    Yields:
        `Progress`, and an `Entry` for each checkpoint as it is done.

    Raises:
        LamdemoError: the number of checkpoints is wrong, one cannot be loaded, or has another pace.
    """
    names = check_names(names)
    source_flows: list[np.ndarray] | None = None
    height, width = request.target.shape[1:3]
    panel = functools.partial(_resized, size=_panel_size(width, height))
    for index, name in enumerate(names):
        news = functools.partial(Progress, name, index, len(names), steps=request.steps)
        yield news(step=None, doing="loading")
        if should_stop():
            return
        pipeline = load(name)
        check_pace(name, pipeline.fps, request.fps)
        made: Transferred | None = None
        for event in transfer(pipeline, request, shrink=panel):
            if isinstance(event, Transferred):
                made = event
            elif isinstance(event, TransferStep):
                yield news(step=event.index, doing="carrying out", frame=event.frame)
                if should_stop():
                    return
                if event.index == request.steps:
                    yield news(step=event.index, doing="measuring", frame=event.frame)
        assert made is not None
        source_flows = source_flows or flows(request.seen)
        measures = measure_result(
            pipeline, np.stack([s.frame for s in made.steps]), made.actions, source_flows, request.edit
        )
        judged = made.out_of_distribution
        measures |= {"far_steps": None if judged is None else float(judged.count), "seconds": made.seconds}
        if should_stop():
            return
        latent = pipeline.model.config.bottleneck
        yield Entry(
            name=name,
            family=pipeline.family,
            capacity=capacity(pipeline.family, latent.capacity),
            checkpoint=pipeline.checkpoint,
            panel=np.stack(made.smooth),
            latents=made.actions,
            out_of_distribution=judged,
            measures={m.key: measures[m.key] for m in MEASURES},
            verdict=made.verdict,
        )
        # The next one is loaded before the name is bound anew.
        del pipeline


def flows(frames: np.ndarray) -> list[np.ndarray]:
    """Backward optical flow of each step, ``S`` times float32 ``[h, w, 2]``, in shares of width and height.

    Args:
        frames: uint8 ``[S + 1, H, W, 3]``; flow is measured at `FLOW_SIDE` pixels at most.
    """
    height, width = frames.shape[1:3]
    scale = min(1.0, FLOW_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = [_resized(f, size) for f in frames]
    share = np.array(size, np.float32)
    return [optical_flow(a, b) / share for a, b in itertools.pairwise(small)]


def agreement(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float | None:
    """Correlation of two sequences of flows about zero motion, over all places, axes and steps.

    About zero and not about the mean, for a camera's pan is one motion all over and would have none left.

    Args:
        ours: flows ``[h, w, 2]`` in shares of width and height.
        theirs: as many, of any size.

    Returns:
        -1 to 1; None where one of them does not move.
    """
    a, b = (
        np.stack([cv2.resize(f, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA) for f in s]) for s in (ours, theirs)
    )
    if min(np.linalg.norm(a, axis=-1).mean(), np.linalg.norm(b, axis=-1).mean()) < _STILL:
        return None
    return cosine(a, b)


def cosine(a: np.ndarray, b: np.ndarray) -> float | None:
    """Of two arrays of one shape as wholes; None where the first is zero, 0 where only the second is."""
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    if not x.any():
        return None
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    return min(1.0, max(-1.0, float(x @ y) / lengths)) if lengths > 0 else 0.0


def measure_result(
    pipeline: TransferPipeline,
    frames: np.ndarray,
    applied: LatentActions,
    source_flows: Sequence[np.ndarray],
    edit: ActionEdit,
) -> dict[str, float | None]:
    """Figures of a result, explained in `MEASURES` (all but ``far_steps`` and ``seconds``).

    Args:
        pipeline: which made it, and is asked to read it.
        frames: uint8 ``[S + 1, H, W, 3]``, the target first.
        applied: ``S`` latents.
        source_flows: of the source's steps, which the result repeats; see `flows`.
        edit: of the actions; a result of reversed ones agrees with the source's motion turned round.
    """
    made = flows(frames)
    pixels = np.array([frames.shape[2], frames.shape[1]], np.float32)
    sign = float(np.sign(edit.scale)) * (-1 if edit.negate else 1)
    theirs = [sign * source_flows[t % len(source_flows)] for t in range(len(made))]
    return {
        "action_size": float(applied.size.mean()),
        "motion_px": float(np.mean([np.linalg.norm(f * pixels, axis=-1).mean() for f in made])),
        "agreement": agreement(made, theirs),
        "sharpness": sharpness(frames[-1]) / max(sharpness(frames[0]), 1e-6),
        "cycle": cosine(applied.z, pipeline.infer(frames, refinement=0).z),
    }


def write_grid(path: Path, request: TransferRequest, entries: Sequence[Entry]) -> Path:
    """Write the source and all results as one video: panels of one size in rows, labelled, in step.

    Args:
        path: of the MP4.
        request: with the source.
        entries: of the results.

    Raises:
        LamdemoError: it cannot be written.
    """
    assert request.frames is not None
    _, height, width, _ = entries[0].panel.shape
    source = (_fitted(request.frames[i], width, height) for i in request.looped())
    return write_video(path, _grid_frames(source, entries), request.fps * (request.between + 1))


def _grid_frames(source: Iterator[np.ndarray], entries: Sequence[Entry]) -> Iterator[np.ndarray]:
    """Frame by frame, for the whole grid of seven panels would take a few hundred megabytes."""
    labels = ["source", *(e.name for e in entries)]
    _, height, width, _ = entries[0].panel.shape
    columns = grid_columns(len(labels), width / height)
    blank = np.full((1, height, width, 3), 255, np.uint8)
    missing = -len(labels) % columns
    for t, frame in enumerate(source):
        panels = [frame[None], *(e.panel[t : t + 1] for e in entries), *[blank] * missing]
        rows = [
            side_by_side(panels[i : i + columns], height=height, labels=[*labels, *[""] * missing][i : i + columns])[0]
            for i in range(0, len(panels), columns)
        ]
        yield np.concatenate(rows)


def grid_columns(count: int, aspect: float) -> int:
    """Columns for panels of that width over height: few empty places, and a shape near a screen's."""

    def cost(columns: int) -> float:
        rows = -(-count // columns)
        return abs(math.log(columns * aspect / rows / 1.6)) + 0.4 * (rows * columns - count) / columns

    return min(range(1, count + 1), key=cost)


def _panel_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of a panel for a picture of that size: one area for all shapes."""
    scale = min(math.sqrt(_PANEL_AREA / (width * height)), _PANEL_WIDTH / width, _PANEL_WIDTH / height)
    return max(16, round(width * scale)), max(16, round(height * scale))


def _resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if (frame.shape[1], frame.shape[0]) == size:
        return frame
    method = cv2.INTER_AREA if size[0] < frame.shape[1] else cv2.INTER_LINEAR
    return cv2.resize(frame, size, interpolation=method)


def _fitted(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    """The frame whole, on white, in a panel of that size."""
    scale = min(width / frame.shape[1], height / frame.shape[0])
    inner = _resized(frame, (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale))))
    panel = np.full((height, width, 3), 255, np.uint8)
    top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
    panel[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return panel
