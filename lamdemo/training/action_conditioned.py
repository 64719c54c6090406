"""Training the action-conditioned baseline, and its counterpart: one world model, told labels or latents.

The baseline starts from the checkpoint's world model, so it has what the latent model learned of video, and learns to
take the labels' word for the latents'. How strong it is depends on how long it is trained. For a comparison of like
with like, the latent model's world model can be trained on for as many steps on the same clips, without a label
(`condition="latents"`); what it reads from them with its frozen inverse dynamics stays what it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from lamdemo.core.errors import LamdemoError
from lamdemo.models.action_conditioned import ActionConditioned
from lamdemo.models.checkpoint import fingerprint
from lamdemo.models.warp import photometric_errors, warp
from lamdemo.models.world_model import WorldModel
from lamdemo.training.cached_features import CachedEpisode
from lamdemo.training.loop import Loop, LoopConfig


@dataclass(frozen=True)
class BaselineTrainingConfig(LoopConfig):
    """How the baseline, or its counterpart, is trained."""

    # "labels" makes the baseline; "latents" trains the world model on with inferred latents.
    condition: Literal["labels", "latents"] = "labels"
    clips: int = 8  # in a batch, as many of each kind of episodes as it goes
    frames: int = 6  # of each clip
    motion: float = 2.0  # weight of the flow's photometric error, see `LossConfig.motion`
    balance: float = 0.5  # see `LossConfig.balance`
    noise: float = 0.1  # largest standard deviation of the noise on past states
    feedback: float = 0.5  # share of clips, half of whose past states are the model's own predictions


def windows(actions: Tensor, history: int) -> Tensor:
    """Commands ``[S, A]`` as a step sees them, ``[S, C, A]``: its own last; before the first, zeros.

    Planning and evaluation take a command that nobody knows as zeros too (`command_windows`).
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
    kinds: Mapping[str, Sequence[CachedEpisode]],
    config: BaselineTrainingConfig,
    history: int,
    step: int,
    device: torch.device,
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
            episode, first = long[i], int(rng.integers(len(long[i].states) - config.frames + 1))
            stop = first + config.frames
            states.append(torch.from_numpy(np.array(episode.states[first:stop])))
            pictures.append(torch.from_numpy(np.array(episode.pictures[first:stop])).movedim(-1, -3))
            latents.append(episode.latents[first : stop - 1])
            seen.append(windows(episode.actions, history)[first : stop - 1])
        labels.append((name, torch.stack(seen).to(device)))
    return _Batch(
        torch.stack(states).to(device).float(),
        torch.stack(pictures).to(device).float() / 255,
        torch.stack(latents).to(device).float(),
        labels,
    )


class BaselineTrainer(Loop[nn.Module, BaselineTrainingConfig]):
    """Trains the baseline, or its counterpart (a world model), on cached episodes."""

    def __init__(
        self,
        config: BaselineTrainingConfig,
        world_model: WorldModel,
        baseline: ActionConditioned | None,
        kinds: Mapping[str, Sequence[CachedEpisode]],
        device: torch.device | str = "cpu",
    ) -> None:
        """Set everything up for step 0.

        Args:
            config: how to train.
            world_model: where both begin, the checkpoint's or a smaller one. With "latents" it is trained itself.
            baseline: to be trained, with "labels".
            kinds: episodes for training, by the kind of their actions.
            device: where to compute.

        Raises:
            LamdemoError: a kind has no episode that is long enough.
        """
        for name, episodes in kinds.items():
            if not any(len(t.states) >= config.frames for t in episodes):
                raise LamdemoError(
                    f"No episode of {name} has {config.frames} frames at the model's rate; give longer ones."
                )
        if (baseline is None) == (config.condition == "labels"):
            raise ValueError("an action-conditioned model is what is trained with labels, and with nothing else")
        self.kinds, self.baseline = dict(kinds), baseline
        self.begun_from = fingerprint(world_model)
        if baseline is not None:
            baseline.world_model.load_state_dict(world_model.state_dict())
            baseline.fit({name: torch.cat([t.actions for t in episodes]) for name, episodes in kinds.items()})
        self.world_model: WorldModel = baseline.world_model if baseline is not None else world_model
        self.history = baseline.config.history if baseline is not None else 1
        super().__init__(config, baseline if baseline is not None else world_model, device)

    @property
    def identity(self) -> dict[str, Any]:
        """See `Loop.identity`."""
        sizes = None if self.baseline is None else dataclasses.asdict(self.baseline.config)
        return {"kinds": sorted(self.kinds), "from": self.begun_from, "twin": sizes}

    def conditions(self, batch: _Batch) -> Tensor:
        """What the world model is told, ``[B, S, Z]``."""
        if self.baseline is None:
            return batch.latents
        told = []
        for name, rows in batch.labels:
            b, s = rows.shape[:2]
            told.append(self.baseline.latents(name, rows.flatten(0, 1)).reshape(b, s, -1))
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

    def step_loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """See `Loop.step_loss`."""
        batch = _draw(self.kinds, self.config, self.history, step, self.device)
        with self.autocast():
            return self.loss(batch, torch.Generator().manual_seed(self.config.seed * 1_000_003 + step))

    def error(self, kinds: Mapping[str, Sequence[CachedEpisode]], batches: int) -> float:
        """Of states one step ahead on other episodes, as a share of copying the last: mean over the kinds."""
        return float(np.mean([figures["state_over_copy"] for figures in self.judge(kinds, batches).values()]))

    @torch.no_grad()
    def judge(self, kinds: Mapping[str, Sequence[CachedEpisode]], batches: int = 12) -> dict[str, dict[str, float]]:
        """One step ahead on other episodes, as shares of copying the last frame; by kind, with the averages.

        Kinds of which no episode is as long as a clip are left out.
        """
        found = {}
        with self.averaged(), self.autocast():
            for name, episodes in kinds.items():
                if not any(len(t.states) >= self.config.frames for t in episodes):
                    continue
                logs = []
                for i in range(batches):
                    batch = _draw({name: episodes}, self.config, self.history, 10_000_000 + i, self.device)
                    logs.append(self.loss(batch)[1])
                found[name] = {key: round(float(np.mean([row[key] for row in logs])), 4) for key in logs[0]}
        return found
