"""What a transfer comes to: its frames, and figures of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lamdemo.core.latent_actions import LatentActions
from lamdemo.engine.out_of_distribution import OutOfDistribution
from lamdemo.engine.rollout import TransferStep
from lamdemo.engine.verdict import Verdict


@dataclass(frozen=True)
class TransferResult:
    """A whole transfer."""

    frames: np.ndarray  # uint8 [S + 1, H, W, 3]; the first is the target
    idle: np.ndarray  # the same under no action, for comparison
    smooth: np.ndarray  # uint8 [S * (K + 1) + 1, H, W, 3]: frames with those between them
    latents: LatentActions  # the actions that were applied
    flow: np.ndarray  # float32 [S, H, W, 2], backward, in pixels
    fps: float  # steps a second; `smooth` plays at (K + 1) times that
    # Figures of the result, by name, each explained in `measure`.
    measures: dict[str, float] = field(default_factory=dict)
    # How near the source's actions, before any edit, lie to those seen in training; None where the checkpoint brings
    # no sample of these.
    out_of_distribution: OutOfDistribution | None = None
    # How much to trust the result; None where the source's frames are not known, or the checkpoint brings no rule.
    verdict: Verdict | None = None

    @property
    def smooth_fps(self) -> float:
        """Frames a second of ``smooth``."""
        return self.fps * (len(self.smooth) - 1) / max(len(self.frames) - 1, 1)


def sharpness(picture: np.ndarray) -> float:
    """Mean gradient magnitude of a picture ``[H, W, 3]`` in gray levels a pixel."""
    gray = picture.astype(np.float32).mean(-1)
    dy, dx = gray[1:, :-1] - gray[:-1, :-1], gray[:-1, 1:] - gray[:-1, :-1]
    return float(np.hypot(dx, dy).mean()) if dx.size else 0.0  # one row or column has no gradient


def measure(steps: list[TransferStep], latents: LatentActions) -> dict[str, float]:
    """Figures of a transfer.

    Returns:
        ``action_size``: mean norm of the latents. ``motion``: mean length of the flow, in percent of the
        picture's width a step. ``painted``: mean share of the picture painted over. ``sharpness``: of the
        last frame over the target's. ``change`` and ``idle_change``: mean absolute difference of the last
        frame from the target, in gray levels, with the action and without.
    """
    target, last = steps[0], steps[-1]
    moved = [np.linalg.norm(s.flow, axis=-1).mean() / s.flow.shape[1] for s in steps[1:] if s.flow is not None]

    def difference(picture: np.ndarray) -> float:
        return float(np.abs(picture.astype(np.int16) - target.frame).mean())

    return {
        "action_size": float(latents.size.mean()),
        "motion": float(100 * np.mean(moved)),
        "painted": float(np.mean([s.painted for s in steps[1:]])),
        "sharpness": sharpness(last.frame) / max(sharpness(target.frame), 1e-6),
        "change": difference(last.frame),
        "idle_change": difference(last.idle),
    }


def collect(
    steps: list[TransferStep],
    actions: LatentActions,
    out_of_distribution: OutOfDistribution | None = None,
    verdict: Verdict | None = None,
) -> TransferResult:
    """Put the steps of a stream together; ``actions`` are those applied (a stopped stream took fewer)."""
    done = LatentActions(actions.z[: len(steps) - 1], actions.fps, actions.checkpoint)
    smooth = [steps[0].frame]
    for step in steps[1:]:
        smooth += [*step.between, step.frame]
    flows = [s.flow for s in steps if s.flow is not None]
    return TransferResult(
        frames=np.stack([s.frame for s in steps]),
        idle=np.stack([s.idle for s in steps]),
        smooth=np.stack(smooth),
        latents=done,
        flow=np.stack(flows) if flows else np.zeros((0, *steps[0].frame.shape[:2], 2), np.float32),
        fps=actions.fps,
        measures=measure(steps, done) if flows else {},
        out_of_distribution=out_of_distribution,
        verdict=verdict,
    )
