"""Distilling the draft: what a large world model imagines under all manner of actions, a small one learns to imagine.

The large model can be asked about any action in any state, also about such as never were taken there, which is
what planners ask. So half of the sequences are those that followed, and the others come from elsewhere: from other
moments, mixed, stretched, turned round, or nothing at all.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm import tqdm

from lamdemo.errors import LamdemoError
from lamdemo.models.checkpoint import fingerprint, write_safely
from lamdemo.models.draft import Draft
from lamdemo.models.world_model import WorldModel

STATE_NAME = "draft-state.safetensors"


@dataclass(frozen=True)
class DraftTrainingConfig:
    """How a draft is distilled.

    Attributes:
        steps: of the optimizer.
        batch: sequences in each.
        horizon: steps that are imagined, each from the one before.
        learning_rate: its top.
        weight_decay: of AdamW.
        ema: of the weights that are kept.
        followed: share of sequences whose latents are those that did follow.
        bf16: compute in bfloat16.
        seed: of all that is drawn.
        save_minutes: between two saved states.
    """

    steps: int = 1500
    batch: int = 24
    horizon: int = 3
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    ema: float = 0.99
    followed: float = 0.5
    bf16: bool = True
    seed: int = 0
    save_minutes: float = 3.0


def mixed_latents(true: Tensor, pool: Tensor, config: DraftTrainingConfig, rng: np.random.Generator) -> Tensor:
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


class DraftTrainer:
    """Distils a world model into a draft, step by step; a stopped run goes on where it was saved."""

    def __init__(
        self,
        config: DraftTrainingConfig,
        draft: Draft,
        teacher: WorldModel,
        states: Sequence[np.ndarray],
        latents: Sequence[Tensor],
        weights: Sequence[float] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Set everything up for step 0.

        Args:
            config: how to distil.
            draft: to be trained; its linear map is fitted here.
            teacher: the large world model.
            states: float16 ``[T, N, D]`` of each recording.
            latents: ``[T - 1, Z]`` of each, what the teacher is told there (a twin's are made of labels).
            weights: how often each recording is drawn.
            device: where to compute.

        Raises:
            LamdemoError: no recording is longer than the horizon.
        """
        kept = [i for i, s in enumerate(states) if len(s) > config.horizon]
        if not kept:
            raise LamdemoError(f"No recording has more than {config.horizon} frames; give longer ones.")
        self.config, self.device, self.step = config, torch.device(device), 0
        self.states, self.latents = [states[i] for i in kept], [latents[i].float() for i in kept]
        share = np.array([weights[i] if weights is not None else len(states[i]) for i in kept], float)
        self.share = share / share.sum()
        self.pool = torch.cat(self.latents)
        self.draft, self.teacher = draft.to(self.device), teacher.to(self.device).eval()
        self.taught_by = fingerprint(self.teacher)
        rng = np.random.default_rng(config.seed)
        some = rng.choice(len(kept), 400, p=self.share)
        sample = torch.stack([self._state(i, int(rng.integers(len(self.states[i])))) for i in some])
        self.variance_kept = draft.fit(sample.to(self.device))
        self.draft.train()
        self.average = {n: p.detach().clone() for n, p in draft.named_parameters()}
        decayed = [p for p in draft.parameters() if p.ndim >= 2]
        plain = [p for p in draft.parameters() if p.ndim < 2]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(
            groups,
            config.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
            fused=True,
        )

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
        """Error of what the draft imagines, and of imagining that nothing changes, both against the teacher."""
        starts, z = self._drawn(step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16):
            imagined = self.teacher.rollout(starts[:, None], z).states.float()
            goal = self.draft.project(imagined)
            first = self.draft.project(starts)
            cache, now, out = self.draft.new_cache(), first[:, None], []
            for t in range(z.shape[1]):
                now = self.draft(now, z[:, t : t + 1], cache).states
                out.append(now)
        return (torch.cat(out, 1) - goal).abs().mean(), (first[:, None] - goal).abs().mean()

    def train_step(self) -> dict[str, float]:
        """Do one step; returns its logs."""
        c = self.config
        rise = max(round(0.05 * c.steps), 1)
        for group in self.optimizer.param_groups:
            along = min(max((self.step - rise) / max(c.steps - rise, 1), 0.0), 1.0)
            group["lr"] = c.learning_rate * min((self.step + 1) / rise, 0.5 * (1 + math.cos(math.pi * along)))
        loss, copy = self._loss(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.draft.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        rate = min(c.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.draft.named_parameters():
                self.average[name].lerp_(parameter, 1 - rate)
        return {"loss": float(loss.detach()), "over_still": float(loss.detach() / copy)}

    @torch.no_grad()
    def judge(self, batches: int = 20) -> float:
        """Distance from the teacher on sequences not drawn in training, over that of imagining no change."""
        self.draft.eval()
        rows = [self._loss(20_000_000 + i) for i in range(batches)]
        self.draft.train()
        return float(sum(r[0] for r in rows) / sum(r[1] for r in rows))

    @torch.no_grad()
    def finish(self) -> Draft:
        """The draft with its averaged weights."""
        for name, parameter in self.draft.named_parameters():
            parameter.copy_(self.average[name])
        return self.draft.eval()

    def save(self, folder: Path) -> None:
        """Write all that is needed to go on."""
        tensors = {f"average.{n}": t for n, t in self.average.items()}
        tensors |= {f"module.{n}": t.detach() for n, t in self.draft.state_dict().items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{key}": value for key, value in state.items()}
        run = {"step": self.step, "config": asdict(self.config), "teacher": self.taught_by}
        tensors = {n: t.cpu().contiguous() for n, t in tensors.items()}
        folder.mkdir(parents=True, exist_ok=True)
        write_safely(folder / STATE_NAME, save(tensors, metadata={"run": json.dumps(run), "format": "pt"}))

    def resume(self, folder: Path) -> bool:
        """Go on from what `save` wrote, if there is any.

        Raises:
            LamdemoError: what lies there is of another run, or of another teacher: a twin, say.
        """
        path = folder / STATE_NAME
        if not path.is_file():
            return False
        with safe_open(path, "pt") as stream:
            run = json.loads(stream.metadata()["run"])
        # Runs that were begun before teachers were noted are taken on trust.
        if run["config"] != asdict(self.config) or run.get("teacher", self.taught_by) != self.taught_by:
            raise LamdemoError(f"{folder.name} holds a run with other settings; give another folder, or empty it.")
        tensors = load_file(path)
        self.average = {n: tensors[f"average.{n}"].to(self.device) for n in self.average}
        self.draft.load_state_dict({n: tensors[f"module.{n}"] for n in self.draft.state_dict()})
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, i, key = name.split(".")
                state.setdefault(int(i), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.step = run["step"]
        return True

    def run(self, folder: Path, *, report: Callable[[str], None] = print) -> None:
        """Distil to the end, saving on the way."""
        saved = time.monotonic()
        logs: dict[str, float] = {}
        bar = tqdm(total=self.config.steps, initial=self.step, desc="distilling", disable=None)
        while self.step < self.config.steps:
            for key, value in self.train_step().items():
                logs[key] = 0.95 * logs.get(key, value) + 0.05 * value
            bar.update()
            if self.step % 50 == 0:
                report(f"step {self.step}: " + ", ".join(f"{k} {v:.3f}" for k, v in logs.items()))
            if time.monotonic() - saved > 60 * self.config.save_minutes:
                self.save(folder)
                saved = time.monotonic()
        bar.close()
        self.save(folder)
