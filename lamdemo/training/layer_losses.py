"""Losses of layers: what acts, how it moves and what enters, against scenes' truth and against optical flow."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lamdemo.models.scene_layers import LayerEvidence, middle_of, move_matte
from lamdemo.models.warp import pixel_centres
from lamdemo.models.world_model import Prediction

STILL = 0.1  # cells a step, under which a thing cannot be told from one that stands
_SLIVER = 0.3  # cells of a thing in view under which nothing is asked of it


class SceneTruth(NamedTuple):
    """What is known of K scenes from how they were made (`lamdemo.data.scenes.things.SceneClip`, batched)."""

    matte: Tensor  # [K, T, 1, R, R] in [0, 1], what acts, as far as it is visible
    entering: Tensor  # [K, T-1, 1, R, R] in [0, 1], the part of it that came into view in frame t + 1
    # [K, T-1, 4]: (m, k) of its forward map `p -> m p + k`, real and imaginary parts, in units of the picture's size.
    acting: Tensor
    acts: Tensor  # [K] bool, whether anything does
    ground: Tensor  # [K, T-1, 2, h, w], backward flow of everything else
    known: Tensor  # [K, T-1, 1, h, w] in [0, 1], how much of a cell's ground was in view in frame t


class FlowLayers(NamedTuple):
    """What optical flow says of R real clips (`lamdemo.data.motion_layers`, batched)."""

    cover: Tensor  # [R, T-1, 1, h, w] in [0, 1], what moves by itself, in frame t + 1
    ground: Tensor  # [R, T-1, 2, h, w], backward flow of a fitted camera
    believed: Tensor  # [R, T-1], 1 where both can be believed, else 0


def uniform(generator: torch.Generator | None, device: torch.device, *shape: int) -> Tensor:
    """Random numbers from 0 to 1."""
    return torch.rand(shape, generator=generator, device=device)


def matte_errors(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy and, where there is something, one less the overlap (Dice); ``[B]`` for ``[B, 1, h, w]``."""
    crossed = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2, 3))
    found = logits.sigmoid()
    overlap = (2 * (found * truth).sum((1, 2, 3)) + 1) / (found.sum((1, 2, 3)) + truth.sum((1, 2, 3)) + 1)
    there = (truth.mean((1, 2, 3)) > 1e-3).float()
    return 2 * crossed + there * (1 - overlap)


class StepTruth:
    """`SceneTruth` a step at a time, ``[M, ...]`` with ``M = K * (T - 1)``, on the grid of the state."""

    def __init__(self, truth: SceneTruth, grid: int) -> None:
        k, t = truth.matte.shape[:2]
        self.count, self.grid = k * (t - 1), grid
        pool = truth.matte.shape[-1] // grid
        coarse = F.avg_pool2d(truth.matte.flatten(0, 1), pool).unflatten(0, (k, t))
        self.mattes = coarse
        self.before, self.after = coarse[:, :-1].flatten(0, 1), coarse[:, 1:].flatten(0, 1)
        self.entering = F.avg_pool2d(truth.entering.flatten(0, 1), pool)
        self.ground, self.known = truth.ground.flatten(0, 1), truth.known.flatten(0, 1)
        self.acts = truth.acts[:, None].expand(k, t - 1).flatten()
        m, self.shift_at_origin = truth.acting.flatten(0, 1).split(2, -1)
        self.turn = m - m.new_tensor([1.0, 0.0])
        here = pixel_centres(grid, grid, device=m.device)[None]
        away = here - self.shift_at_origin[..., None, None]
        size = m.square().sum(-1).clamp_min(1e-3)[:, None, None]
        real, imaginary = m[:, 0, None, None], m[:, 1, None, None]
        x = (away[:, 0] * real + away[:, 1] * imaginary) / size
        y = (away[:, 1] * real - away[:, 0] * imaginary) / size
        self.acting = torch.stack([x, y], 1) - here
        self.flow = torch.where(self.after > 0.5, self.acting, self.ground)
        mass = self.before.sum((1, 2, 3))
        middle = middle_of(self.before.square())
        self.radius = (mass / torch.pi).sqrt()
        self.shift = self._turned(middle) + self.shift_at_origin
        moved = self._turned(here.flatten(2).transpose(1, 2)) + self.shift_at_origin[:, None]
        lengths = moved.norm(dim=-1).reshape(-1, 1, grid, grid) * grid
        self.length = (lengths * self.before).sum((1, 2, 3)) / mass.clamp_min(_SLIVER)
        self.seen = self.acts & (mass > _SLIVER)

    def _turned(self, points: Tensor) -> Tensor:
        """``(m - 1) p`` of points ``[M, 2]`` or ``[M, P, 2]``."""
        turn = self.turn if points.ndim == 2 else self.turn[:, None]
        x = turn[..., 0] * points[..., 0] - turn[..., 1] * points[..., 1]
        y = turn[..., 0] * points[..., 1] + turn[..., 1] * points[..., 0]
        return torch.stack([x, y], -1)


def layer_losses(
    prediction: Prediction, evidence: LayerEvidence, carried: Tensor, truth: StepTruth
) -> dict[str, Tensor]:
    """Terms of `LossConfig` that compare layers with the truth; scenes are the last rows of what is predicted."""
    m, g = truth.count, truth.grid
    flat = Prediction(*(part.flatten(0, 1)[-m:] for part in prediction))
    logits, votes, _, entering = (part[-m:] for part in evidence)
    told = carried.flatten(0, 1)[-m:].amax((1, 2, 3)) > 0.2

    def mean(errors: Tensor, chosen: Tensor) -> Tensor:
        return (errors * chosen).sum() / m

    # Of a thing that stands still for a moment nothing says that it acts, unless it did before.
    asked = (~truth.acts | (truth.length > STILL) | told).float()
    over = truth.length + 1.5 * STILL
    under = truth.after * (1 - truth.entering)
    acting = (under * (flat.acting - truth.acting).abs().sum(1, keepdim=True)).sum((1, 2, 3)) * g
    acting = acting / under.sum((1, 2, 3)).clamp_min(_SLIVER) / over
    shift = (votes[:, :2] - truth.shift[..., None, None]).abs().sum(1, keepdim=True) * g
    turn = (votes[:, 2:] - truth.turn[..., None, None]).abs().sum(1, keepdim=True)
    proposed = truth.before * (shift + truth.radius[:, None, None, None] * turn)
    proposed = proposed.sum((1, 2, 3)) / truth.before.sum((1, 2, 3)).clamp_min(_SLIVER) / over
    ground = (truth.known * (flat.ground - truth.ground).abs().sum(1, keepdim=True)).mean((1, 2, 3)) * g
    long = truth.ground.norm(dim=1).mean((1, 2)) * g
    cover = matte_errors(torch.logit(flat.cover.clamp(1e-4, 1 - 1e-4)), truth.after)
    return {
        "acting": mean(acting.clamp(max=4), truth.seen.float()),
        "votes": mean(proposed.clamp(max=4), truth.seen.float()),
        "ground": mean(ground / (long + 0.3), torch.ones_like(long)),
        "matte": mean(matte_errors(logits, truth.before), asked),
        "cover": mean(cover + matte_errors(entering, truth.entering), asked),
    }


def readout_loss(read: Tensor, truth: StepTruth) -> Tensor:
    """Distance of what is read from latents, ``[M, 4]``, from the truth: cells, and tenths of turn and growth."""
    true = torch.cat([truth.shift * truth.grid, 10 * truth.turn], -1)
    apart = (read.float() - true).abs().sum(-1) / (true.abs().sum(-1) + 2 * STILL)
    return (apart.clamp(max=4) * truth.seen).sum() / truth.count


def flow_layer_loss(prediction: Prediction, seen: FlowLayers, rows: int) -> Tensor:
    """How far the first clips' layers are from what their optical flow suggests, a mean over all ``rows`` steps."""
    r, grid = len(seen.cover), seen.cover.shape[-1]
    cover, ground = (part[:r].flatten(0, 1) for part in (prediction.cover, prediction.ground))
    true, camera, believed = (part.flatten(0, 1) for part in seen)
    found = matte_errors(torch.logit(cover.clamp(1e-4, 1 - 1e-4)), true)
    apart = ((1 - true) * (ground - camera).abs().sum(1, keepdim=True)).mean((1, 2, 3)) * grid
    long = camera.norm(dim=1).mean((1, 2)) * grid
    return ((found + apart / (long + 0.3)) * believed).sum() / rows


def tell_carried(
    known: StepTruth | None, states: Tensor, grid: int, share: float, generator: torch.Generator | None
) -> Tensor:
    """Where the acting layer is said to be, ``[B, T-1, 1, h, w]``: nowhere, or roughly where it is in some scenes."""
    b, t = states.shape[:2]
    carried = torch.zeros(b, t - 1, 1, grid, grid, device=states.device)
    if known is None:
        return carried
    k = len(known.mattes)
    steps = known.mattes[:, :-1].flatten(0, 1)
    # Carried mattes drift and soften.
    shift = (uniform(generator, states.device, len(steps), 2, 1, 1) - 0.5) * 1.2 / grid
    rough = move_matte(steps, shift.expand(-1, -1, grid, grid))
    rough = rough * (0.6 + 0.4 * uniform(generator, states.device, len(steps), 1, 1, 1))
    told = (uniform(generator, states.device, k, 1, 1, 1, 1) < share).expand(-1, t - 1, -1, -1, -1).clone()
    # Before the first step there is a second look at most.
    told[:, 0] &= uniform(generator, states.device, k, 1, 1, 1) < 0.6
    carried[-k:] = told * rough.reshape(k, t - 1, 1, grid, grid)
    return carried
