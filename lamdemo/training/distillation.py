"""Distillation: what a large world model imagines under all manner of actions, a small one learns to imagine.

The large model can be asked about any action in any state, also about such as never were taken there, which is
what planners ask. So half of the sequences are those that followed, and the others come from elsewhere: from other
moments, mixed, stretched, turned round, or nothing at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.models.checkpoint import fingerprint
from lamdemo.models.distilled import DistilledModel
from lamdemo.models.world_model import WorldModel
from lamdemo.training.loop import Loop, LoopConfig


@dataclass(frozen=True)
class DistillationConfig(LoopConfig):
    """How a world model is distilled."""

    steps: int = 1500
    learning_rate: float = 1.5e-3
    batch: int = 24  # sequences in each step
    horizon: int = 3  # steps that are imagined, each from the one before
    followed: float = 0.5  # share of sequences whose latents are those that did follow


def mixed_latents(true: Tensor, pool: Tensor, config: DistillationConfig, rng: np.random.Generator) -> Tensor:
    """Latents to ask about: some of ``true [B, H, Z]`` as they are, others made of ``pool [M, Z]``."""
    made = true.clone()
    b, h, _ = true.shape
    for i in range(b):
        if rng.random() < config.followed:
            continue
        # Steps of one plan are drawn apart from each other, as a planner's first candidates are.
        rows = pool[torch.from_numpy(rng.integers(len(pool), size=(2, h)))]
        share = float(rng.random()) if rng.random() < 0.5 else 1.0
        z = share * rows[0] + (1 - share) * rows[1]
        kind = rng.random()
        if kind < 0.15:
            z = -z
        elif kind < 0.25:
            z = z * 0.0
        elif kind < 0.6:
            z = z * float(rng.uniform(0.3, 1.6))
        made[i] = z
    return made


class DistillationTrainer(Loop[DistilledModel, DistillationConfig]):
    """Distils a world model, the teacher, into a small one, the student."""

    state_name = "draft-state.safetensors"

    def __init__(
        self,
        config: DistillationConfig,
        student: DistilledModel,
        teacher: WorldModel,
        states: Sequence[np.ndarray],
        latents: Sequence[Tensor],
        weights: Sequence[float] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Set everything up for step 0.

        Args:
            config: how to distil.
            student: to be trained; its linear map is fitted here.
            teacher: the large world model.
            states: float16 ``[T, N, D]`` of each recording.
            latents: ``[T - 1, Z]`` of each, what the teacher is told there; an action-conditioned one is told labels.
            weights: how often each recording is drawn.
            device: where to compute.

        Raises:
            LamdemoError: no recording is longer than the horizon.
        """
        kept = [i for i, s in enumerate(states) if len(s) > config.horizon]
        if not kept:
            raise LamdemoError(f"No recording has more than {config.horizon} frames; give longer ones.")
        self.states, self.latents = [states[i] for i in kept], [latents[i].float() for i in kept]
        share = np.array([weights[i] if weights is not None else len(states[i]) for i in kept], float)
        self.share = share / share.sum()
        self.pool = torch.cat(self.latents)
        self.teacher = teacher.to(device).eval()
        self.taught_by = fingerprint(self.teacher)
        rng = np.random.default_rng(config.seed)
        some = rng.choice(len(kept), 400, p=self.share)
        sample = torch.stack([self._state(i, int(rng.integers(len(self.states[i])))) for i in some])
        super().__init__(config, student, device)
        self.variance_kept = student.fit(sample.to(self.device))

    @property
    def identity(self) -> dict[str, Any]:
        """See `Loop.identity`."""
        return {"teacher": self.taught_by}

    def _state(self, recording: int, frame: int) -> Tensor:
        return torch.from_numpy(np.array(self.states[recording][frame], np.float32))

    def _drawn(self, step: int) -> tuple[Tensor, Tensor]:
        c = self.config
        rng = np.random.default_rng([c.seed, step])
        starts, rows = [], []
        for i in rng.choice(len(self.states), c.batch, p=self.share):
            first = int(rng.integers(len(self.states[i]) - c.horizon))
            starts.append(self._state(i, first))
            rows.append(self.latents[i][first : first + c.horizon])
        z = mixed_latents(torch.stack(rows), self.pool, c, rng)
        return torch.stack(starts).to(self.device), z.to(self.device)

    def _loss(self, step: int) -> tuple[Tensor, Tensor]:
        """Error of what the student imagines, and of imagining that nothing changes, both against the teacher."""
        starts, z = self._drawn(step)
        with self.autocast():
            imagined = self.teacher.rollout(starts[:, None], z).states.float()
            goal = self.module.project(imagined)
            first = self.module.project(starts)
            cache, now, out = self.module.new_cache(), first[:, None], []
            for t in range(z.shape[1]):
                now = self.module(now, z[:, t : t + 1], cache).states
                out.append(now)
        return (torch.cat(out, 1) - goal).abs().mean(), (first[:, None] - goal).abs().mean()

    def step_loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """See `Loop.step_loss`."""
        loss, still = self._loss(step)
        return loss, {"over_still": float(loss.detach() / still)}

    @torch.no_grad()
    def judge(self, batches: int = 20) -> float:
        """Distance from the teacher on sequences not drawn in training, over that of imagining no change."""
        self.module.eval()
        rows = [self._loss(20_000_000 + i) for i in range(batches)]
        self.module.train()
        return float(sum(r[0] for r in rows) / sum(r[1] for r in rows))
