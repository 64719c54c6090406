"""Training inverse dynamics from labels alone, as a baseline: see `lamdemo.models.labelled_inverse`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lamdemo.models.labelled_inverse import LabelledInverse
from lamdemo.training.cached_features import CachedEpisode
from lamdemo.training.loop import Loop, LoopConfig

_JUDGED = 10_000_000  # numbers of the batches that are judged, which no step has


@dataclass(frozen=True)
class LabelledInverseTrainingConfig(LoopConfig):
    """How it is trained."""

    pairs: int = 16  # steps in a batch
    noise: float = 0.1  # largest standard deviation of the noise on states


class LabelledInverseTrainer(Loop[LabelledInverse, LabelledInverseTrainingConfig]):
    """Trains on the steps of cached episodes."""

    state_name = "labelled-inverse-state.safetensors"

    def __init__(
        self,
        config: LabelledInverseTrainingConfig,
        module: LabelledInverse,
        episodes: Sequence[CachedEpisode],
        device: torch.device | str = "cpu",
    ) -> None:
        """Set everything up for step 0.

        Args:
            config: how to train.
            module: what is trained; it gets the scales of these commands.
            episodes: to learn from, of one kind of commands.
            device: where to compute.
        """
        self.episodes = episodes
        module.fit(torch.cat([e.actions for e in episodes]))
        super().__init__(config, module, device)

    @property
    def identity(self) -> dict[str, Any]:
        """See `Loop.identity`."""
        return {"episodes": len(self.episodes), "sizes": str(self.module.inverse_dynamics.config)}

    def step_loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """See `Loop.step_loss`."""
        first, second, wanted = self._draw(self.episodes, step)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        size = self.config.noise * torch.rand(len(first), 1, 1, generator=generator)
        first, second = (x + (size * torch.randn(x.shape, generator=generator)).to(x.device) for x in (first, second))
        with self.autocast():
            made = self.module(first, second)
        return F.smooth_l1_loss(made.float(), wanted), {}

    @torch.no_grad()
    def error(self, episodes: Sequence[CachedEpisode], batches: int) -> float:
        """Squared error of the averages' commands on other episodes, over that of the mean command."""
        over = under = 0.0
        with self.averaged(), self.autocast():
            for i in range(batches):
                first, second, wanted = self._draw(episodes, _JUDGED + i)
                over += float((self.module(first, second).float() - wanted).square().sum())
                under += float(wanted.square().sum())
        return over / under

    def _draw(self, episodes: Sequence[CachedEpisode], number: int) -> tuple[Tensor, Tensor, Tensor]:
        """States before and after some steps, ``[B, N, D]`` each, and standardized commands ``[B, A]``."""
        rng = np.random.default_rng([self.config.seed, number])
        counts = np.array([len(e.actions) for e in episodes])
        before, after, actions = [], [], []
        for i in rng.choice(len(episodes), self.config.pairs, p=counts / counts.sum()):
            t = int(rng.integers(counts[i]))
            pair = torch.from_numpy(np.array(episodes[i].states[t : t + 2]))
            before.append(pair[0])
            after.append(pair[1])
            actions.append(episodes[i].actions[t])
        first, second = (torch.stack(x).to(self.device).float() for x in (before, after))
        wanted = (torch.stack(actions).to(self.device).float() - self.module.mean) / self.module.std
        return first, second, wanted
