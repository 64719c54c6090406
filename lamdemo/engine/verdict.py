"""How much a result can be trusted, from what is measured on it.

A world model draws something for every clip and every picture, and what it draws where it understood nothing can be
sharp and full of motion. Nobody knows the truth of a stranger's transfer; but how well the model explains the clip
itself, whether it reads the action back from what it drew, and how much of that it had to invent, can be measured on
every one. A rule that was fitted on transfers with a known truth (`lamdemo.evaluation.calibration`) turns these
indicators into a verdict. It belongs to the weights that it was fitted for, and lies beside them as ``verdict.json``.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import read_json, write_safely
from lamdemo.core.latent_actions import LatentActions
from lamdemo.engine.inference import Inference
from lamdemo.engine.rollout import TransferStep
from lamdemo.models.checkpoint import WEIGHTS_NAME, checkpoint_hash
from lamdemo.video import optical_flow

VERDICT_NAME = "verdict.json"
FORMAT = "lamdemo-verdict/1"
RIGHT, WRONG = 0.5, 0.8  # motion error over that of a still picture below which a transfer is right, above which wrong
Label = Literal["good", "doubtful", "failed"]

_FLOW_WIDTH = 256  # pixels across at which the clip's own motion is measured
_STILL = 5e-4  # mean motion a step, of the picture's size, that is none
_NOTHING = 0.1  # share of the clip's motion below which nothing happened in the picture
_THING = 0.01  # share of the picture from which something counts as acting
_WEAK = 0.6  # merit below which an indicator is a reason
_CAMERA = 0.5  # share of the clip's motion from which it is a camera's
_FOUND = 0.1  # share of its size in the clip below which what acts was not found in the picture


@dataclass(frozen=True)
class Indicators:
    """What a verdict is made of. Shares are of 1."""

    # Share of the clip's own motion, by optical flow, that the model's flow accounts for when it is told the actions
    # that it read: 1 all, 0 no more than "nothing moves", less where it is worse than that.
    explained: float
    # How far the actions that the model reads from its result lie from those that it applied, over the length of
    # these: 0 the same, 1 as far as from no action.
    read_back: float
    # How far the states of the drawn frames lie from those that the model foresaw, over how far these went from the
    # target's: 0 it drew what it foresaw.
    imagined: float
    shown: float  # share of the motion that the model meant to draw that is seen in the drawn frames, by optical flow
    camera: float  # share of the clip's motion that one camera's motion (an affine flow) accounts for
    moved: float  # mean motion of the result over that of the clip
    alike: float  # how near these two are, the smaller over the larger: 1 as much moves, 0 nothing, or far more
    reach: float  # how far the fastest twentieth of the picture was moved, all steps together, of the picture's size
    # Share of the last frame that shows nothing of the target: painted, filled behind what acts, or continued beyond
    # the target's edge.
    invented: float
    # How far the picture's shape is from the clip's: the size of the logarithm of the ratio of their aspects. The
    # model sees both as squares, so that a turn in one is no turn in the other.
    stretched: float
    clip_motion: float  # mean motion of the clip in a step, of the picture's size
    clip_thing: float  # share of the clip's picture that acts, by the model
    thing: float  # share of the result's picture that acts, by the model


@dataclass(frozen=True)
class Verdict:
    """How much to trust a result."""

    label: Label  # "good": its motion is most likely right; "failed": it is most likely wrong; "doubtful": neither
    probability: float  # that its motion is right, its error less than half of that of a still picture
    sentence: str  # the same for a stranger, with the main reason
    indicators: Indicators  # what it is made of

    def as_dict(self) -> dict[str, Any]:
        """For reports."""
        rounded = {k: round(v, 4) for k, v in dataclasses.asdict(self.indicators).items()}
        return {
            "label": self.label,
            "probability": round(self.probability, 4),
            "sentence": self.sentence,
            "indicators": rounded,
        }


# Measuring.


class Read(NamedTuple):
    """What the inverse dynamics reads in a clip, at a glance."""

    states: Tensor  # [T, N, D] of its frames
    z: np.ndarray  # [S, Z]


@torch.no_grad()
def measure_indicators(
    inference: Inference,
    source: np.ndarray,
    steps: Sequence[TransferStep],
    applied: LatentActions,
    read: Read | None = None,
) -> Indicators:
    """Measure a transfer.

    Args:
        inference: with the model whose transfer it is.
        source: the clip as the model saw it, uint8 ``[S + 1, h, w, 3]``.
        steps: the target and the steps, with their states; flows and mattes may be coarser than the frames, flows in
            pixels of their own grid.
        applied: the latents of these steps.
        read: what the inverse dynamics reads in the clip, where that is known already.
    """
    if read is None:
        states = inference.encode(source)
        read = Read(states, inference.latents(states).float().cpu().numpy())
    with inference.computing():
        told = inference.model.world_model(read.states[None, :-1], torch.from_numpy(read.z)[None].to(read.states))
    grid = told.flow.shape[-1]
    seen = _flows(source, grid)
    drawn = inference.encode(np.stack([s.frame for s in steps]))
    found = inference.latents(drawn).float().cpu().numpy()
    foreseen = torch.from_numpy(np.stack([s.state for s in steps])).to(drawn)
    meant = np.stack([_cells(s.flow, grid) for s in steps[1:] if s.flow is not None])
    shown = _flows(np.stack([s.frame for s in steps]), grid)
    lengths, clip_motion = np.linalg.norm(meant, axis=-1), max(_mean_length(seen), _STILL)
    motion = max(float(lengths.mean()), 1e-6)
    return Indicators(
        explained=1 - _mean_length(told.flow[0].float().movedim(1, -1).cpu().numpy() - seen) / clip_motion,
        read_back=_distance(found, applied.z[: len(found)]),
        imagined=_distance(drawn[1:].float().cpu().numpy(), foreseen[1:].cpu().numpy(), foreseen[:1].cpu().numpy()),
        shown=1 - _mean_length(shown - meant) / max(motion, _STILL),
        camera=1 - _mean_length(seen - _affine(seen)) / clip_motion,
        moved=motion / clip_motion,
        alike=min(motion / clip_motion, clip_motion / motion),
        reach=float(np.quantile(lengths.sum(0), 0.95)),
        invented=steps[-1].invented,
        stretched=abs(_shape(source[0]) - _shape(steps[0].frame)),
        clip_motion=clip_motion,
        clip_thing=float(told.matte.mean()),
        thing=max((float(s.matte.mean()) for s in steps if s.matte is not None), default=0.0),
    )


def _cells(flow: np.ndarray, grid: int) -> np.ndarray:
    """A flow ``[H, W, 2]`` in pixels as ``[grid, grid, 2]``, in units of the picture's size."""
    size = np.array([flow.shape[1], flow.shape[0]], np.float32)
    return cv2.resize(flow, (grid, grid), interpolation=cv2.INTER_AREA) / size


def _flows(frames: np.ndarray, grid: int) -> np.ndarray:
    """Optical flow of each step ``[S, grid, grid, 2]``, in units of the picture's size."""
    height = max(round(frames.shape[1] * _FLOW_WIDTH / frames.shape[2]), 1)
    small = [cv2.resize(f, (_FLOW_WIDTH, height), interpolation=cv2.INTER_AREA) for f in frames]
    return np.stack([_cells(optical_flow(a, b), grid) for a, b in pairwise(small)])


def _affine(flows: np.ndarray) -> np.ndarray:
    """To each flow ``[S, g, g, 2]`` the affine one that most places agree with, by weighted least squares."""
    g = flows.shape[1]
    at = (np.arange(g) + 0.5) / g - 0.5
    basis = np.stack([*np.meshgrid(at, at), np.ones((g, g))], -1).reshape(-1, 3)
    fitted = np.zeros_like(flows)
    for fit, flow in zip(fitted, flows.reshape(len(flows), -1, 2), strict=True):
        weight = np.ones(len(basis))
        for _ in range(8):
            root = np.sqrt(weight)[:, None]
            found = basis @ np.linalg.lstsq(root * basis, root * flow, rcond=None)[0]
            # Places that go their own way are outvoted: a sum of distances, not of their squares.
            weight = 1 / np.maximum(np.linalg.norm(flow - found, axis=1), _STILL)
        fit[:] = found.reshape(fit.shape)
    return fitted


def _shape(frame: np.ndarray) -> float:
    """Logarithm of a frame's width over its height."""
    return math.log(frame.shape[1] / frame.shape[0])


def _mean_length(flows: np.ndarray) -> float:
    return float(np.linalg.norm(flows, axis=-1).mean())


def _distance(one: np.ndarray, other: np.ndarray, origin: np.ndarray | float = 0.0) -> float:
    """Distance of two arrays over that of the second from an origin; 0 where all are the same."""
    off, far = float(np.linalg.norm(one - other)), float(np.linalg.norm(other - origin))
    return off / max(far, 1e-6)


# Judging.


@dataclass(frozen=True)
class Scale:
    """How an indicator speaks for a result."""

    worst: float  # the value that speaks most against it
    best: float  # the value that speaks most for it; beyond both no more is learnt
    weight: float  # 0 or more, how much lies between them

    def merit(self, value: float) -> float:
        """From 0, the worst, to 1, the best; a value that is no number speaks against the result."""
        share = (value - self.worst) / (self.best - self.worst)
        return min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0


@dataclass(frozen=True)
class VerdictRule:
    """A logistic rule for two marks: the error is below `RIGHT`, and it is below `WRONG`.

    Each indicator adds to one sum, never takes from it as it gets better; a mark has a probability, the logistic
    function of the sum and the mark's own level.
    """

    scales: Mapping[str, Scale]  # by the indicator's name
    right: float  # level of the first mark
    passing: float  # level of the second, not less
    good: float | None = None  # probability of the first mark from which a result is called good; None: none is
    failed: float | None = None  # probability of the second up to which it is called failed; None: none is

    def chances(self, indicators: Indicators) -> tuple[float, float]:
        """Probabilities that the error is below `RIGHT`, and below `WRONG`."""
        total = sum(s.weight * s.merit(getattr(indicators, name)) for name, s in self.scales.items())
        return _logistic(total + self.right), _logistic(total + self.passing)

    def label(self, indicators: Indicators) -> Label:
        """The label alone."""
        right, passing = self.chances(indicators)
        if self.good is not None and right >= self.good:
            return "good"
        return "failed" if self.failed is not None and passing <= self.failed else "doubtful"

    def judge(self, indicators: Indicators) -> Verdict:
        """Label, probability and sentence."""
        label = self.label(indicators)
        return Verdict(label, self.chances(indicators)[0], self._sentence(label, indicators), indicators)

    def _sentence(self, label: Label, found: Indicators) -> str:
        opening = _OPENINGS[label]
        if label == "good":
            return opening
        merits = {name: s.merit(getattr(found, name)) for name, s in self.scales.items() if s.weight > 0}
        weak = [name for name in _REASONS if merits.get(name, 1.0) < _WEAK]
        # That a thing moves is no fault; it is told where no fault is found.
        faults = [name for name in weak if name != "camera"] or weak
        heaviest = max(faults, key=lambda name: self.scales[name].weight * (1 - merits[name]), default="")
        reason = _plain_reason(found) or _REASONS.get(heaviest, "")
        if label == "doubtful" and self.chances(found)[0] >= 0.5:
            opening = _LIKELY
        return f"{opening} {reason or _NO_REASON}"

    def as_dict(self) -> dict[str, Any]:
        """For ``verdict.json``."""
        return dataclasses.asdict(self)

    @classmethod
    def read(cls, folder: str | Path) -> VerdictRule | None:
        """The rule in a checkpoint's folder, or None where it brings none.

        Raises:
            LamdemoError: the file is damaged, or was fitted for other weights.
        """
        folder = Path(folder)
        path = folder / VERDICT_NAME
        if not path.is_file():
            return None
        try:
            data = read_json(path)
            if data["format"] != FORMAT:
                raise ValueError("another format")
            kept = dict(data["rule"])
            scales = {name: Scale(**scale) for name, scale in kept.pop("scales").items()}
            found, bound = cls(scales, **kept), data["checkpoint"]
            if not scales.keys() <= {f.name for f in dataclasses.fields(Indicators)}:
                raise ValueError("unknown indicators")
            if any(s.best == s.worst or not s.weight >= 0 for s in scales.values()):
                raise ValueError("no scale")
            levels = [found.right, found.passing, *(v for v in (found.good, found.failed) if v is not None)]
            if not all(math.isfinite(v) for v in (*levels, *(n for s in scales.values() for n in (s.best, s.worst)))):
                raise ValueError("no numbers")
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise LamdemoError(
                f"{VERDICT_NAME} of the checkpoint {folder.name} is damaged; copy it again, or remove it."
            ) from error
        if (folder / WEIGHTS_NAME).is_file() and bound != checkpoint_hash(folder):
            raise LamdemoError(
                f"{VERDICT_NAME} of the checkpoint {folder.name} was fitted for other weights; make it anew with "
                "lamdemo verdict, or remove it."
            )
        return found

    def write(self, folder: str | Path, about: Mapping[str, Any]) -> Path:
        """Write ``verdict.json`` beside a checkpoint's weights, which it names; ``about`` says how it was made."""
        path = Path(folder) / VERDICT_NAME
        data = {"format": FORMAT, "checkpoint": checkpoint_hash(folder), "rule": self.as_dict(), "about": dict(about)}
        write_safely(path, (json.dumps(data, indent=1) + "\n").encode())
        return path


def forget_foreign_rule(folder: str | Path) -> None:
    """Remove a rule that is damaged or of other weights, and would keep the checkpoint from being loaded."""
    try:
        VerdictRule.read(folder)
    except LamdemoError:
        (Path(folder) / VERDICT_NAME).unlink()


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


_OPENINGS: dict[Label, str] = {
    "good": "This can be trusted: the model explains the clip and recognises what it drew.",
    "doubtful": "This may well be wrong.",
    "failed": "Little of this can be trusted.",
}

_REASONS = {
    "explained": "The model does not account for the motion in the clip itself.",
    "read_back": "The model does not find the clip's action again in what it drew.",
    "imagined": "What was drawn is not what the model foresaw.",
    "camera": "Things move by themselves in this clip, which goes wrong more often than the motion of a camera.",
    "shown": "What the model meant to move hardly moves in what it drew.",
    "alike": "Much more or much less moves in the result than in the clip.",
    "stretched": "The picture has another shape than the clip, which bends what turns or grows.",
    "reach": "The picture had to be moved very far.",
    "invented": "Much of the result had to be invented: it was painted, filled or continued beyond the edge.",
}
_LIKELY = "This is more likely right than wrong, but look twice."
_NO_REASON = "No single measure speaks against it."


def _plain_reason(found: Indicators) -> str:
    """What everybody can see, where there is such a thing; else empty."""
    if found.clip_motion <= _STILL:
        return "Hardly anything moves in this clip, so there is nothing to carry over."
    if found.camera < _CAMERA and found.clip_thing > _THING and found.thing < _FOUND * found.clip_thing:
        return "Nothing that moves was found in your picture at the place where the clip's thing moves."
    if found.moved < _NOTHING:
        return "Hardly anything happens in the result, while the clip moves."
    return ""
