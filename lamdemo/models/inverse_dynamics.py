"""Inverse dynamics: what happened between two states (paper, section 3.2).

Two states side by side do not show motion to a small network; it would have to learn matching first. So it
is given the evidence: a correlation volume between the two states and the displacement read from it.

Or it is shown what they differ by and nothing else (after RLA-WM, arXiv 2605.07079): a residual says neither where
anything was nor where it went, and the world model has to make the next state of it and the present one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamdemo.models.layers import PointwiseLinear, ResidualConv, SteadyLinear, zero_initialized
from lamdemo.models.warp import pixel_centres, warp


@dataclass(frozen=True)
class InverseDynamicsConfig:
    """Sizes of the inverse dynamics model."""

    width: int = 96  # channels of its convolutions
    match: int = 64  # channels of the features that are compared between the two states
    reach: int = 6  # how far the displacement may go, in cells, up and down, left and right
    window: int = 3  # cells around each place whose correlations are shown to the convolutions
    hidden: int = 512  # width of the evidence it hands to the bottleneck
    depth: int = 2  # residual blocks on the halved grid; the full grid has one
    reader: int = 0  # transformer blocks that read the halved grid once more, beside the convolutions; 0 for none
    reads: Literal["matches", "residual"] = "matches"  # both states and their matches, or their difference alone


class Evidence(NamedTuple):
    """What inverse dynamics sees."""

    forward: Tensor  # [B, hidden], evidence of the step from the first state to the second
    backward: Tensor  # [B, hidden], evidence of the step back
    # [B, 2, h, w], flow read from the correlations alone, for the matching loss; zero where a residual is read
    displacement: Tensor


class ActionReader(nn.Module):
    """Evidence that a few queries gather over the picture, whatever the acting thing's place and size.

    Convolutions and one flat map must learn each place's motion by itself; a mean over what moves is what attention
    gives. A new one adds nothing.
    """

    _WIDTH, _HEADS, _QUERIES = 256, 8, 8

    def __init__(self, channels: int, places: int, hidden: int, depth: int) -> None:
        super().__init__()
        e = self._WIDTH
        self.enter = nn.Linear(channels, e)
        self.places = nn.Parameter(0.02 * torch.randn(places, e))
        self.queries = nn.Parameter(torch.randn(self._QUERIES, e))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                e, self._HEADS, 4 * e, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(e)
        self.leave = zero_initialized(nn.Linear(self._QUERIES * e, hidden))

    def forward(self, maps: Tensor) -> Tensor:
        """``[B, hidden]`` of maps ``[B, C, h, w]``."""
        x = self.enter(maps.flatten(2).transpose(1, 2)) + self.places
        x = torch.cat([self.queries.to(x.dtype).expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        return self.leave(self.norm(x[:, : self._QUERIES]).flatten(1))


class InverseDynamics(nn.Module):
    """Evidence of the action between two states, seen both ways in time.

    It reports the step and the step back, so that a bottleneck can make the latent odd: no change
    then means ``z = 0`` and the reversed step ``-z``, exactly.

    Args:
        config: its sizes.
        grid: cells a side.
    """

    def __init__(self, config: InverseDynamicsConfig, grid: int) -> None:
        super().__init__()
        if grid % 4:
            raise ValueError("the grid must be a multiple of 4 cells")
        self.config, self.grid = config, grid

    def _see_with(self, seen: int) -> None:
        """Make the convolutions, which see so many channels; a seed gives them what it gave before in this order."""
        config, grid = self.config, self.grid
        self.enter = PointwiseLinear(seen, config.width)
        self.fine = ResidualConv(config.width)
        self.halve = PointwiseLinear(4 * config.width, config.width)
        self.coarse = nn.Sequential(*(ResidualConv(config.width) for _ in range(config.depth)))
        self.squeeze = PointwiseLinear(config.width, 32)
        self.leave = nn.Linear(32 * (grid // 2) ** 2, config.hidden)

    def _read(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Evidence ``[B, hidden]`` of what is seen ``[B, C, h, w]``, and the halved maps that it is read from."""
        maps = self.coarse(self.halve(F.pixel_unshuffle(self.fine(self.enter(seen)), 2)))
        return self.leave(F.silu(self.squeeze(F.silu(maps))).flatten(1)), maps

    def forward(self, first: Tensor, second: Tensor) -> Evidence:
        """Look at pairs of states, each ``[B, N, D]``."""
        raise NotImplementedError


def halved(residual: Tensor) -> Tensor:
    """A difference of states ``[B, D, h, w]`` at half its size, flat: ``[B, D * (h / 2) * (w / 2)]``."""
    return F.avg_pool2d(residual, 2).flatten(1)


class ResidualDynamics(InverseDynamics):
    """Reads what two states differ by: a linear map of the difference, halved in size, and what convolutions add to it.

    Gradients find the directions in which differences mostly lie slowly; `begin` sets them.
    """

    def __init__(self, config: InverseDynamicsConfig, channels: int, grid: int) -> None:
        super().__init__(config, grid)
        self._see_with(channels)
        self.principal = SteadyLinear(channels * (grid // 2) ** 2, config.hidden)

    def begin(self, axes: Tensor) -> None:
        """Begin with coordinates of halved differences and nothing else, along axes ``[Z, D * (h / 2) * (w / 2)]``."""
        self.principal.give(axes)
        zero_initialized(self.leave)

    def forward(self, first: Tensor, second: Tensor) -> Evidence:
        """Look at pairs of states, each ``[B, N, D]``."""
        b, _, d = first.shape
        g = self.grid
        residual = (second - first).transpose(1, 2).reshape(b, d, g, g)
        linear = self.principal(halved(residual))
        forward, backward = self._read(torch.cat([residual, -residual]))[0].chunk(2)
        forward, backward = forward + linear, backward - linear
        return Evidence(forward, backward, torch.zeros(b, 2, g, g, device=first.device))


class MatchingDynamics(InverseDynamics):
    """Reads two states, which of their places look alike, and the displacement that this tells."""

    def __init__(self, config: InverseDynamicsConfig, channels: int, grid: int) -> None:
        super().__init__(config, grid)
        self.match = nn.Conv2d(channels, config.match, 3, padding=1)
        self.sharpness = nn.Parameter(torch.tensor(2.3))
        self._see_with(3 * channels + (2 * config.window + 1) ** 2 + 3)
        self.reader: ActionReader | None = None
        if config.reader:
            # What was seen at four places, and where each of them came from.
            self.reader = ActionReader(config.width + 4 * 3, (grid // 2) ** 2, config.hidden, config.reader)

        # For each place of the second state, which places of the first lie in reach, and the
        # neighbourhood whose correlations are kept as features.
        yx = torch.stack(torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij"), -1)
        yx = yx.reshape(-1, 2)
        apart = (yx[:, None] - yx[None]).abs().amax(-1)
        reach = torch.zeros(grid**2, grid**2).masked_fill(apart > config.reach, -torch.inf)
        self.register_buffer("reach", reach, persistent=False)
        offsets = torch.arange(-config.window, config.window + 1)
        around = torch.stack(torch.meshgrid(offsets, offsets, indexing="ij"), -1).reshape(1, -1, 2)
        near = yx[:, None] + around
        inside = ((near >= 0) & (near < grid)).all(-1)
        self.register_buffer("near", (near.clamp(0, grid - 1) * torch.tensor([grid, 1])).sum(-1), persistent=False)
        self.register_buffer("near_inside", inside, persistent=False)

    reach: Tensor
    near: Tensor
    near_inside: Tensor

    def _see(self, first: Tensor, second: Tensor, correlation: Tensor) -> tuple[Tensor, Tensor]:
        """Evidence and displacement of one direction; correlation is ``[B, N second, N first]``."""
        b = len(correlation)
        g = self.grid
        with torch.autocast(first.device.type, enabled=False):
            chance = torch.add(self.reach, correlation.float()).softmax(-1)
            centres = pixel_centres(g, g, device=first.device)
            found = F.linear(chance, centres.flatten(1))
            displacement = found.transpose(1, 2).reshape(b, 2, g, g) - centres
            sure = chance.amax(-1).reshape(b, 1, g, g)
            moved = warp(first, displacement)
        # Correlations are cosines times the sharpness; the convolutions get the cosines.
        taps = correlation.gather(2, self.near.expand(b, -1, -1)) * self.near_inside / self.sharpness.exp()
        taps = taps.transpose(1, 2).reshape(b, -1, g, g)
        # Displacements are a few hundredths of the picture: brought to the scale of the other inputs.
        x = torch.cat([first, second, second - moved, taps, displacement * g, sure], 1)
        evidence, maps = self._read(x)
        if self.reader is not None:
            matched = F.pixel_unshuffle(torch.cat([displacement * g, sure], 1), 2)
            evidence = evidence + self.reader(torch.cat([maps, matched.to(maps.dtype)], 1))
        return evidence, displacement

    def forward(self, first: Tensor, second: Tensor) -> Evidence:
        """Look at pairs of states, each ``[B, N, D]``."""
        b, _, d = first.shape
        g = self.grid
        maps = torch.cat([first, second]).transpose(1, 2).reshape(2 * b, d, g, g)
        keys = F.normalize(self.match(maps).float().flatten(2), dim=1) * (0.5 * self.sharpness).exp()
        first_keys, second_keys = keys.chunk(2)
        correlation = second_keys.transpose(1, 2) @ first_keys
        first_map, second_map = maps.chunk(2)
        both, displacement = self._see(
            torch.cat([first_map, second_map]),
            torch.cat([second_map, first_map]),
            torch.cat([correlation, correlation.transpose(1, 2)]),
        )
        forward, backward = both.chunk(2)
        return Evidence(forward, backward, displacement.chunk(2)[0])


def build_inverse_dynamics(config: InverseDynamicsConfig, channels: int, grid: int) -> InverseDynamics:
    """The inverse dynamics that reads what ``config.reads`` says of states of so many channels and cells a side."""
    kind = ResidualDynamics if config.reads == "residual" else MatchingDynamics
    return kind(config, channels, grid)
