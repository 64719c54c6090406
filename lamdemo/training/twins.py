"""Training the twin, and its counterpart: the same world model on the same clips, with labels or with latents.

The twin starts from the checkpoint's world model and learns to take the labels' word for the latents'. That is a
strong twin: it has what the latent model learned of video, and every label of the episodes. For a fair comparison
the latent model's world model can be trained on for as many steps on the same clips, without a label
(`condition="latents"`); what it reads from them with its frozen inverse dynamics stays what it was.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm import tqdm

from lamdemo.errors import LamdemoError
from lamdemo.models import LatentActionModel
from lamdemo.models.checkpoint import fingerprint, write_safely
from lamdemo.models.latent_action_model import photometric_errors
from lamdemo.models.twin import Twin
from lamdemo.models.warp import warp
from lamdemo.models.world_model import WorldModel
from lamdemo.training.traces import Trace

STATE_NAME = "state.safetensors"


@dataclass(frozen=True)
class TwinTrainingConfig:
    """How a twin, or its counterpart, is trained.

    Attributes:
        condition: "labels" makes a twin; "latents" trains the world model on with inferred latents.
        steps: of the optimizer.
        clips: in a batch, as many of each kind of episodes as it goes.
        frames: of each clip.
        learning_rate: its top, after the warmup.
        warmup: share of the steps in which it rises.
        weight_decay: of AdamW.
        clip: largest norm of the gradient.
        ema: of the weights that are kept.
        motion: weight of the flow's photometric error, see `LossConfig.motion`.
        balance: see `LossConfig.balance`.
        noise: largest standard deviation of the noise on past states.
        feedback: share of clips, half of whose past states are the model's own predictions.
        bf16: compute in bfloat16.
        seed: of all that is drawn.
        save_minutes: between two saved states.
    """

    condition: Literal["labels", "latents"] = "labels"
    steps: int = 1000
    clips: int = 8
    frames: int = 6
    learning_rate: float = 2e-4
    warmup: float = 0.05
    weight_decay: float = 0.02
    clip: float = 1.0
    ema: float = 0.99
    motion: float = 2.0
    balance: float = 0.5
    noise: float = 0.1
    feedback: float = 0.5
    bf16: bool = True
    seed: int = 0
    save_minutes: float = 3.0


def windows(actions: Tensor, history: int) -> Tensor:
    """Commands ``[S, A]`` as a step sees them, ``[S, C, A]``: its own last; before the first, zeros.

    So too do those who plan and judge with the twin take a command that nobody knows (`command_windows`).
    """
    before = actions.new_zeros(history - 1, actions.shape[1])
    return torch.cat([before, actions]).unfold(0, history, 1).transpose(1, 2)


@dataclass(frozen=True, eq=False)
class _Batch:
    """Clips of several kinds: those of a kind stand together."""

    states: Tensor  # [B, T, N, D]
    pictures: Tensor  # [B, T, 3, side, side] in [0, 1]
    latents: Tensor  # [B, S, Z]
    labels: list[tuple[str, Tensor]]  # [b, S, C, A] of each kind


def _draw(
    kinds: Mapping[str, Sequence[Trace]], config: TwinTrainingConfig, history: int, step: int, device: torch.device
) -> _Batch:
    rng = np.random.default_rng([config.seed, step])
    names = sorted(kinds)
    counts = [len(part) for part in np.array_split(np.arange(config.clips), len(names))]
    rng.shuffle(counts)
    states, pictures, latents, labels = [], [], [], []
    for name, count in zip(names, counts, strict=True):
        if not count:
            continue
        long = [t for t in kinds[name] if len(t.states) >= config.frames]
        # By frames, not by episodes: long recordings hold more to learn.
        share = np.array([len(t.states) for t in long], float)
        seen = []
        for i in rng.choice(len(long), count, p=share / share.sum()):
            trace, first = long[i], int(rng.integers(len(long[i].states) - config.frames + 1))
            stop = first + config.frames
            states.append(torch.from_numpy(np.array(trace.states[first:stop])))
            pictures.append(torch.from_numpy(np.array(trace.pictures[first:stop])).movedim(-1, -3))
            latents.append(trace.latents[first : stop - 1])
            seen.append(windows(trace.actions, history)[first : stop - 1])
        labels.append((name, torch.stack(seen).to(device)))
    return _Batch(
        torch.stack(states).to(device).float(),
        torch.stack(pictures).to(device).float() / 255,
        torch.stack(latents).to(device).float(),
        labels,
    )


class TwinTrainer:
    """Trains a twin (or its counterpart) on traces, step by step; a stopped run goes on where it was saved.

    Attributes:
        step: how many steps are done.
        module: what is trained: a `Twin`, or a world model.
        average: moving average of its parameters, which is what is kept.
    """

    def __init__(
        self,
        config: TwinTrainingConfig,
        model: LatentActionModel,
        twin: Twin | None,
        kinds: Mapping[str, Sequence[Trace]],
        device: torch.device | str = "cpu",
    ) -> None:
        """Set everything up for step 0.

        Args:
            config: how to train.
            model: the checkpoint; its world model is where both begin. With "latents" it is trained itself.
            twin: the twin to be trained, with "labels".
            kinds: traces for training, by the kind of their actions.
            device: where to compute.

        Raises:
            LamdemoError: a kind has no episode that is long enough.
        """
        for name, traces in kinds.items():
            if not any(len(t.states) >= config.frames for t in traces):
                raise LamdemoError(
                    f"No episode of {name} has {config.frames} frames at the model's rate; give longer ones."
                )
        if (twin is None) == (config.condition == "labels"):
            raise ValueError("a twin is what is trained with labels, and with nothing else")
        self.config, self.kinds, self.device, self.step = config, dict(kinds), torch.device(device), 0
        self.twin = twin
        self.grid = model.config.encoder.grid
        self.begun_from = fingerprint(model.world_model)
        if twin is not None:
            twin.world_model.load_state_dict(model.world_model.state_dict())
            twin.fit({name: torch.cat([t.actions for t in traces]) for name, traces in kinds.items()})
        self.module: nn.Module = twin if twin is not None else model.world_model
        self.world_model: WorldModel = twin.world_model if twin is not None else model.world_model
        self.history = twin.config.history if twin is not None else 1
        self.module.to(self.device).train()
        self.average = {n: p.detach().clone() for n, p in self.module.named_parameters()}
        decayed = [p for p in self.module.parameters() if p.ndim >= 2]
        plain = [p for p in self.module.parameters() if p.ndim < 2]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(
            groups,
            config.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
            fused=True,
        )

    def conditions(self, batch: _Batch) -> Tensor:
        """What the world model is told, ``[B, S, Z]``."""
        if self.twin is None:
            return batch.latents
        told = []
        for name, rows in batch.labels:
            b, s = rows.shape[:2]
            told.append(self.twin.latents(name, rows.flatten(0, 1)).reshape(b, s, -1))
        return torch.cat(told)

    def loss(self, batch: _Batch, generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, float]]:
        """The states' L1 error and the flow's photometric one; with a generator, past states are disturbed."""
        config, states = self.config, batch.states
        z = self.conditions(batch)
        past = states[:, :-1]
        if generator is not None:
            past = self._disturbed(past, z, generator)
        prediction = self.world_model(past, z)
        error = (prediction.states - states[:, 1:]).abs().mean()
        copy = (states[:, :-1] - states[:, 1:]).abs().mean()
        first, second = batch.pictures[:, :-1].flatten(0, 1), batch.pictures[:, 1:].flatten(0, 1)
        still = photometric_errors(first, second)
        share = ((still.mean() / still.clamp_min(1e-4)) ** config.balance).clamp(max=6.0)
        moved = photometric_errors(warp(first, prediction.flow.flatten(0, 1)), second)
        seen = (share / share.mean() * moved).mean()
        logs = {
            "state_over_copy": float(error.detach() / copy),
            "motion_over_copy": float(moved.detach().mean() / still.mean()),
        }
        return error + config.motion * seen, logs

    @torch.no_grad()
    def _disturbed(self, past: Tensor, z: Tensor, generator: torch.Generator) -> Tensor:
        """Past states as a rollout would see them: noisy, or predicted by the model itself."""
        config, (b, s) = self.config, past.shape[:2]

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator).to(past.device)

        count = round(b * config.feedback)
        if count and s > 1:
            chosen = torch.randperm(b, generator=generator)[:count].to(past.device)
            own = self.world_model(past[chosen], z[chosen]).states.float()
            past = past.clone()
            past[chosen, 1:] = torch.where(uniform(count, s - 1, 1, 1) < 0.5, own[:, :-1], past[chosen, 1:])
        noise = torch.randn(past.shape, generator=generator).to(past.device)
        return past + noise * config.noise * uniform(b, 1, 1, 1)

    def learning_rate(self, step: int) -> float:
        """Linear warmup, then a cosine down to nothing."""
        c = self.config
        rise = max(round(c.warmup * c.steps), 1)
        if step < rise:
            return c.learning_rate * (step + 1) / rise
        return c.learning_rate * 0.5 * (1 + math.cos(math.pi * min((step - rise) / max(c.steps - rise, 1), 1.0)))

    def train_step(self) -> dict[str, float]:
        """Do one step; returns its logs."""
        config = self.config
        batch = _draw(self.kinds, config, self.history, self.step, self.device)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bf16):
            loss, logs = self.loss(batch, generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), config.clip)
        self.optimizer.step()
        self.step += 1
        rate = min(config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                self.average[name].lerp_(parameter, 1 - rate)
        return {"loss": float(loss.detach()), "norm": float(norm), **logs}

    @torch.no_grad()
    def judge(self, kinds: Mapping[str, Sequence[Trace]], batches: int = 12) -> dict[str, dict[str, float]]:
        """One step ahead on other traces, as shares of copying the last frame; by kind, with the averages.

        Kinds of which no trace is as long as a clip are left out.
        """
        own = {n: p.detach().clone() for n, p in self.module.named_parameters()}
        self._put(self.average)
        self.module.eval()
        found = {}
        for name, traces in kinds.items():
            if not any(len(t.states) >= self.config.frames for t in traces):
                continue
            logs = []
            for i in range(batches):
                batch = _draw({name: traces}, self.config, self.history, 10_000_000 + i, self.device)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16):
                    logs.append(self.loss(batch)[1])
            found[name] = {key: round(float(np.mean([row[key] for row in logs])), 4) for key in logs[0]}
        self._put(own)
        self.module.train()
        return found

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.module.named_parameters():
            parameter.copy_(values[name])

    def finish(self) -> nn.Module:
        """The trained module with its averaged weights, ready to use."""
        self._put(self.average)
        return self.module.eval()

    # Going on where a run was stopped.

    def save(self, folder: Path) -> None:
        """Write all that is needed to go on."""
        tensors = {f"average.{n}": t for n, t in self.average.items()}
        tensors |= {f"parameter.{n}": p.detach() for n, p in self.module.named_parameters()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{key}": value for key, value in state.items()}
        tensors = {n: t.cpu().contiguous() for n, t in tensors.items()}
        folder.mkdir(parents=True, exist_ok=True)
        write_safely(folder / STATE_NAME, save(tensors, metadata={"run": json.dumps(self._run()), "format": "pt"}))

    def _run(self) -> dict[str, Any]:
        sizes = None if self.twin is None else dataclasses.asdict(self.twin.config)
        told = {"config": dataclasses.asdict(self.config), "kinds": sorted(self.kinds)}
        return {"step": self.step, **told, "from": self.begun_from, "twin": sizes}

    def resume(self, folder: Path) -> bool:
        """Go on from what `save` wrote, if there is any.

        Raises:
            LamdemoError: what lies there is of another run.
        """
        path = folder / STATE_NAME
        if not path.is_file():
            return False
        from safetensors import safe_open

        with safe_open(path, "pt") as stream:
            run = json.loads(stream.metadata()["run"])
        mine = json.loads(json.dumps(self._run()))
        # What runs that were begun before did not note is taken on trust.
        if {**mine, **run, "step": 0} != {**mine, "step": 0}:
            raise LamdemoError(f"{folder.name} holds a run with other settings; give another folder, or empty it.")
        tensors = load_file(path)
        self.average = {n: tensors[f"average.{n}"].to(self.device) for n in self.average}
        self._put({n: tensors[f"parameter.{n}"].to(self.device) for n in self.average})
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, i, key = name.split(".")
                state.setdefault(int(i), {})[key] = value
        whole = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**whole, "state": state})
        self.step = run["step"]
        return True

    def run(self, folder: Path, *, minutes: float | None = None, report: Callable[[str], None] = print) -> bool:
        """Train to the end, saving on the way; returns whether the end was reached within ``minutes``."""
        began = saved = time.monotonic()
        logs: dict[str, float] = {}
        bar = tqdm(total=self.config.steps, initial=self.step, desc="training", disable=None)
        while self.step < self.config.steps:
            for key, value in self.train_step().items():
                logs[key] = 0.95 * logs.get(key, value) + 0.05 * value
            bar.update()
            now = time.monotonic()
            if self.step % 50 == 0:
                report(f"step {self.step}: " + ", ".join(f"{k} {v:.3f}" for k, v in logs.items()))
            if now - saved > 60 * self.config.save_minutes:
                self.save(folder)
                saved = now
            if minutes is not None and now - began > 60 * minutes:
                break
        bar.close()
        self.save(folder)
        return self.step >= self.config.steps
