"""CEM that begins with what was recorded: its first candidates are latents that followed each other in recordings.

Latents are anything but normal: most steps are small, a few are large, some coordinates go together and steps go on
as they began. A normal distribution over principal coordinates has none of that, and of its draws hardly any lies near
a latent that happens. Recordings need no labels, and what is drawn from them costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lamdemo.planning.cem import CEM, CEMConfig
from lamdemo.planning.solver import Noise, SolverState, setting


@dataclass(frozen=True)
class RecordedCEMConfig(CEMConfig):
    """How much of CEM's beginning is recorded."""

    solver = "cem"
    shared: float = setting(0.5, 0, 1)  # as in `CEMConfig`, chosen on validation recordings
    recorded: float = setting(0.9, 0, 1)  # share of the first candidates that is drawn from recordings, as above


class RecordedCEM(CEM):
    """Draws its first candidates from recordings, and goes on as CEM does."""

    def __init__(self, config: RecordedCEMConfig, sequences: Tensor) -> None:
        """Take the recordings.

        Args:
            config: how long to search.
            sequences: ``[R, T, U]``, coordinates of T steps that followed each other in each of R recordings.
        """
        super().__init__(config)
        self.sequences = sequences

    def propose(self, state: SolverState, noise: Noise, index: int) -> Tensor:
        """See `Solver`."""
        drawn = super().propose(state, noise, index)
        if index:
            return drawn
        recordings, steps, _ = self.sequences.shape
        horizon, count = drawn.shape[2], drawn.shape[1]
        # The mean is the first candidate, and stays. A search that goes on from another keeps half around its end.
        wanted = self.config.recorded * (0.5 if bool(state.mean.any()) else 1.0)
        taken = min(int(wanted * count), count - 1)
        if not taken:
            return drawn
        begins = torch.arange(horizon)
        picked = []
        for generator in noise.generators:
            which = torch.randint(recordings, (taken, 1), generator=generator)
            when = torch.randint(steps - horizon + 1, (taken, 1), generator=generator)
            picked.append(self.sequences[which.to(drawn.device), (when + begins).to(drawn.device)])
        recorded = torch.stack(picked).expand(len(drawn), -1, -1, -1)
        return torch.cat([drawn[:, : count - taken], recorded.to(drawn)], 1)
