"""A learned prior of latent actions: what could happen next, given the state.

The families' own priors (N(0, I), codes, Langevin dynamics) are the same in every picture and hit few of the latents
that are inferred from clips; the paper names a learned prior as the mend. This is a small one.

A latent is taken apart into its size and its direction, ``z = r u`` with ``|u| = 1``, since sizes span three
orders: most steps of most videos are nearly still, and a car's are twenty times as large as a scene's.

*Size*: ``log(r + r0)`` falls into one of K bins that hold equally many training latents; a softmax over the bins,
given the state, is free to have as many peaks and as heavy a tail as there are, and an atom at stillness. Within
a bin sizes are those of the training latents.

*Direction*: flow matching (Lipman et al.; Albergo and Vanden-Eijnden's trigonometric interpolant). With ``x`` the
direction whitened over the training latents and ``e ~ N(0, I)``, the path ``cos(a) e + sin(a) x`` keeps unit
variance for every ``a`` from 0 to pi/2, and the network learns its velocity ``cos(a) x - sin(a) e`` given the
path, ``a``, the size and the state. Were directions normal and independent of the state, the velocity would be zero:
a new network, which gives zero, is the Gaussian of the training latents' directions, and all that it learns is
what that Gaussian lacks.

Where commands are known, a prior can be given them too (RLA-WM, arXiv 2605.07079): what it draws are then futures of
one command, which differ in what the command and the state leave open.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import read_json, write_safely
from lamdemo.models.checkpoint import WEIGHTS_NAME as MODEL_NAME
from lamdemo.models.checkpoint import checkpoint_hash
from lamdemo.models.layers import zero_initialized
from lamdemo.models.stored import bounded_config, load_module

NAME = "prior"
CONFIG_NAME, WEIGHTS_NAME = f"{NAME}.json", f"{NAME}.safetensors"
FORMAT = "lamdemo-prior/1"

_WITHIN = 8  # quantiles of sizes in each bin
_STILL = 0.05  # share of the median size below which sizes are not told apart
_TINY = 1e-12
_ROUNDING = 1e-4  # of the logarithm of a size
_LEAST_VARIANCE = 1e-4  # of the largest: directions that latents hardly take are not blown up further


@dataclass(frozen=True)
class FlowPriorConfig:
    """The sizes of a learned prior."""

    channels: int = 128  # Z
    state_channels: int = 96  # D
    pooled: int = 4  # cells a side that a state is pooled to
    token_width: int = 64  # width of the transformer over these cells
    token_depth: int = 2  # its blocks
    heads: int = 4  # of its attention
    context: int = 96  # width of what is kept of a state
    width: int = 160  # of the velocity's network
    depth: int = 3  # its blocks
    sizes: int = 32  # bins of sizes, K
    # Share of the training steps that do not see the state, so that there is a prior without one too.
    forget: float = 0.15
    told: int = 16  # width of what the size is told of a state: little, or it knows the training clips by heart
    # Standard deviation of what is added to states in training (before pooling these have unit variance).
    noise: float = 0.3
    dropout: float = 0.3  # share of what is kept of a state that is dropped in training
    commands: int = 0  # A * C, numbers of known actions that it is told; 0 for none
    snap: bool = False  # a discrete model's latents are codes, and samples are moved to the nearest one

    def __post_init__(self) -> None:
        sizes = (self.channels, self.state_channels, self.pooled, self.token_width, self.heads, self.context, self.told)
        if min(*sizes, self.width, self.depth, self.sizes) < 1 or min(self.token_depth, self.commands) < 0:
            raise ValueError("a prior's sizes must be positive")
        if self.token_width % self.heads or not 0 <= self.forget < 1 or not 0 <= self.dropout < 1 or self.noise < 0:
            raise ValueError("token_width must be a multiple of heads, shares in [0, 1), noise not negative")


def pool_states(states: Tensor, side: int) -> Tensor:
    """Mean states of ``side`` by ``side`` cells, ``[..., N, D]`` -> ``[..., side * side, D]``.

    States that are pooled to that already are returned as they are.

    Raises:
        ValueError: N is no square of a multiple of ``side``.
    """
    *lead, n, d = states.shape
    if n == side * side:
        return states
    grid = math.isqrt(n)
    if grid * grid != n or grid % side:
        raise ValueError(f"states of {n} cells cannot be pooled to {side} by {side}")
    k = grid // side
    return states.reshape(*lead, side, k, side, k, d).mean((-4, -2)).flatten(-3, -2)


class _TokenBlock(nn.Module):
    """Pre-norm transformer block over a state's cells ``[B, P, E]``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = zero_initialized(nn.Linear(width, width))
        self.up = nn.Linear(width, 2 * width)
        self.down = zero_initialized(nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        b, p, e = x.shape
        q, k, v = self.qkv(F.layer_norm(x, (e,))).reshape(b, p, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, p, e))
        return x + self.down(F.gelu(self.up(F.layer_norm(x, (e,)))))


class _VelocityBlock(nn.Module):
    """Residual block that a condition modulates, the identity at the start."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.modulation = zero_initialized(nn.Linear(condition, 3 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(condition).chunk(3, -1)
        y = F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
        return x + gate * self.down(F.silu(self.up(y)))


class FlowPrior(nn.Module):
    """p(z | s): bins of sizes and a flow of directions, see the module.

    Fit its scales with `fit_scales` before training; until then sizes are 1 and directions uniform.

    Attributes:
        basis: ``[Z, Z]``, columns are the principal axes of directions.
        spread: ``[Z]``, root mean square of directions along them.
        levels: ``[8 K + 1]``, quantiles of ``log(r + r0)``; every eighth is a bound of two bins.
        log_share: ``[K]``, log of the share of training latents in each.
        offset: ``r0``; also the scale at which the flow tells sizes apart.
        mean: ``[Z]`` of the training latents.
        root: ``[Z, Z]``, a root of their covariance; with the mean, the Gaussian that this prior must beat.
        codes: ``[C, Z]`` of a discrete model, else ``[0, Z]``.
        command_mean: of the training commands, ``[A * C]``; only with such.
        command_scale: their standard deviation.
        checkpoint: hash of the weights whose latents it draws; empty where that is not known.
    """

    checkpoint = ""
    basis: Tensor
    spread: Tensor
    levels: Tensor
    log_share: Tensor
    offset: Tensor
    mean: Tensor
    root: Tensor
    codes: Tensor
    command_mean: Tensor
    command_scale: Tensor

    def __init__(self, config: FlowPriorConfig, codes: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        c = config
        z = c.channels
        self.register_buffer("basis", torch.eye(z))
        self.register_buffer("spread", torch.full((z,), z**-0.5))
        self.register_buffer("levels", torch.zeros(_WITHIN * c.sizes + 1))
        self.register_buffer("log_share", torch.full((c.sizes,), -math.log(c.sizes)))
        self.register_buffer("offset", torch.ones(()))
        self.register_buffer("mean", torch.zeros(z))
        self.register_buffer("root", torch.eye(z))
        self.register_buffer("codes", torch.zeros(0, z) if codes is None else codes.detach().clone().float())
        self.token = nn.Linear(c.state_channels, c.token_width)
        self.place = nn.Parameter(0.02 * torch.randn(c.pooled**2, c.token_width))
        self.blocks = nn.ModuleList(_TokenBlock(c.token_width, c.heads) for _ in range(c.token_depth))
        self.keep = nn.Linear(c.pooled**2 * c.token_width, c.context)
        # Sizes hang on the whole picture (a car, a still room), and see its mean alone.
        self.tell = nn.Linear(c.state_channels, c.told)
        self.nothing = nn.Parameter(torch.zeros(c.context + c.told))
        self.told_commands: nn.Sequential | None = None
        if c.commands:
            self.register_buffer("command_mean", torch.zeros(c.commands))
            self.register_buffer("command_scale", torch.ones(c.commands))
            self.told_commands = nn.Sequential(
                nn.Linear(c.commands, c.context),
                nn.SiLU(),
                nn.Linear(c.context, c.context),
                nn.SiLU(),
                zero_initialized(nn.Linear(c.context, c.context + c.told)),
            )
        self.size_head = zero_initialized(nn.Linear(c.told, c.sizes))
        self.condition = nn.Linear(c.context + 16, c.context)
        self.enter = nn.Linear(z, c.width)
        self.velocity_blocks = nn.ModuleList(_VelocityBlock(c.width, c.context) for _ in range(c.depth))
        self.leave = zero_initialized(nn.Linear(c.width, z))

    # Scales.

    @torch.no_grad()
    def fit_scales(self, latents: Tensor, commands: Tensor | None = None) -> None:
        """Take the bins of sizes, the whitening of directions and the Gaussian from training latents ``[n, Z]``.

        They should come with their reverses, whose mean direction is zero; commands ``[n, A * C]`` scale their own.
        """
        if commands is not None:
            self.command_mean.copy_(commands.mean(0))
            self.command_scale.copy_(commands.std(0).clamp_min(1e-6))
        r = latents.double().norm(dim=-1)
        moving = r > _TINY
        if not bool(moving.any()):
            raise ValueError("a prior needs latents that are not all zero")
        self.offset.fill_(_STILL * float(r[moving].median()))
        level = (r + self.offset).log()
        self.levels.copy_(torch.quantile(level, torch.linspace(0, 1, len(self.levels), dtype=torch.float64)))
        count = torch.bincount(self._bin(level.float()), minlength=self.config.sizes).double()
        self.log_share.copy_(((count + 0.5) / (count + 0.5).sum()).log())
        # Steps that hardly move have directions of noise: they count by their size, up to the median.
        u = latents[moving].double() / r[moving, None]
        weight = self._weight(r[moving])[:, None]
        variance, basis = torch.linalg.eigh((u * weight).T @ u / weight.sum())
        self.basis.copy_(basis)
        self.spread.copy_(variance.clamp_min(_LEAST_VARIANCE * float(variance.max())).sqrt())
        centred = latents.double() - latents.double().mean(0)
        variance, axes = torch.linalg.eigh(centred.T @ centred / max(len(latents) - 1, 1))
        self.mean.copy_(latents.double().mean(0))
        self.root.copy_(axes * variance.clamp_min(0).sqrt())

    def _weight(self, r: Tensor) -> Tensor:
        return (r / (self.offset / _STILL)).clamp(0.0, 1.0)

    def _bin(self, level: Tensor) -> Tensor:
        # A value on an edge belongs below it, so that an atom, at which edges meet, has a bin of no width; less a
        # little for rounding.
        return torch.searchsorted(self.levels[_WITHIN:-1:_WITHIN].contiguous(), (level - _ROUNDING).contiguous())

    # Training.

    def context(self, states: Tensor) -> Tensor:
        """What is kept of states ``[B, N, D]`` (or pooled ones), ``[B, C]``; the last part of it tells of sizes."""
        pooled = pool_states(states, self.config.pooled)
        tokens = self.token(pooled) + self.place
        for block in self.blocks:
            tokens = block(tokens)
        kept = self.keep(F.layer_norm(tokens, tokens.shape[-1:]).flatten(-2))
        return torch.cat([kept, self.tell(pooled.mean(-2))], -1)

    def heed(self, context: Tensor, commands: Tensor | None) -> Tensor:
        """The context ``[B, C]`` with what commands ``[B, A * C]`` add; that of the state alone without them.

        Raises:
            ValueError: the prior was not made for such commands.
        """
        if commands is None:
            return context
        if self.told_commands is None or commands.shape[-1] != self.config.commands:
            raise ValueError(f"this prior is told {self.config.commands} numbers of known actions")
        return context + self.told_commands((commands - self.command_mean) / self.command_scale).to(context.dtype)

    def size_logits(self, context: Tensor) -> Tensor:
        """Log-chances, not normalized, of the bins of sizes, ``[..., K]``."""
        return self.log_share + self.size_head(F.silu(context[..., -self.config.told :]))

    def velocity(self, x: Tensor, angle: Tensor, level: Tensor, context: Tensor) -> Tensor:
        """The flow's velocity at ``x [B, Z]``, ``angle [B]``, for sizes ``level [B]`` and ``context [B, C]``."""
        # From -1 to 1 over the sizes seen, and a few waves of both numbers, of which a linear layer makes curves.
        low, high = self.levels[0], self.levels[-1]
        place = (2 * (level - low) / (high - low).clamp_min(1e-6) - 1).clamp(-1.2, 1.2)
        turns = torch.arange(1, 5, device=x.device)
        a, b = 2 * angle[:, None] * turns, 0.5 * math.pi * place[:, None] * turns
        kept = context[:, : self.config.context]
        told = self.condition(torch.cat([kept, a.cos(), a.sin(), b.cos(), b.sin()], -1))
        told = F.silu(told)
        y = self.enter(x)
        for block in self.velocity_blocks:
            y = block(y, told)
        return self.leave(F.layer_norm(y, y.shape[-1:]))

    def loss(
        self,
        z: Tensor,
        states: Tensor,
        generator: torch.Generator | None = None,
        *,
        commands: Tensor | None = None,
        draws: int = 2,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What training lowers: cross entropy of the size's bin, and the error of the direction's velocity.

        Args:
            z: latents ``[B, Z]``.
            states: before them ``[B, N, D]``, or pooled.
            generator: of noise, places on the path, and which states are forgotten.
            commands: ``[B, A * C]``; forgotten with the states.
            draws: noises and places for each pair; the state is read once for all.

        Returns:
            The loss, a scalar, and its parts: ``size`` (nats below the share of the bins; negative where the
            state helps) and ``velocity`` (over that of a zero velocity: below 1 where anything is learned).
        """
        c = self.config

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=z.device)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=z.device)

        states = pool_states(states, c.pooled)
        context = self.context(states + c.noise * normal(*states.shape) if self.training else states)
        if self.training:
            context = context * (uniform(*context.shape) >= c.dropout) / (1 - c.dropout)
        context = self.heed(context, commands)
        if self.training:
            context = torch.where(uniform(len(z), 1) < c.forget, self.nothing, context)
        r = z.norm(dim=-1)
        level = (r + self.offset).log()
        at = self._bin(level)
        size = F.cross_entropy(self.size_logits(context), at)
        gain = size - F.nll_loss(self.log_share.log_softmax(0).expand(len(z), -1), at)

        x = (z / r.clamp_min(_TINY)[:, None]) @ self.basis / self.spread
        weight = self._weight(r).repeat(draws)[:, None] * self.spread / self.spread.mean()
        x, level, context = x.repeat(draws, 1), level.repeat(draws), context.repeat(draws, 1)
        e = normal(*x.shape)
        angle = 0.5 * math.pi * uniform(len(x))
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        wanted = cos * x - sin * e
        error = self.velocity(cos * e + sin * x, angle, level, context) - wanted
        velocity = (weight * error.square()).sum() / (weight * wanted.square()).sum().clamp_min(_TINY)
        return 0.2 * size + velocity, {"size": gain.detach(), "velocity": velocity.detach()}

    # Sampling.

    @torch.no_grad()
    def sample(
        self,
        states: Tensor | None,
        count: int,
        *,
        commands: Tensor | None = None,
        context: Tensor | None = None,
        steps: int = 16,
        until: float = 1.0,
        noises: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw latents for each state.

        Args:
            states: ``[B, N, D]`` (or pooled); None for one draw over all states, ``B = 1``.
            count: how many for each.
            commands: known actions ``[B, A * C]``, oldest first, of a prior that is told them.
            context: of the states, where it is known already, ``[B, C]``; in their place.
            steps: of the flow, by the midpoint rule.
            until: share of the way from noise to a latent.
            noises: how many different ones the rows begin with, in turn, so that what comes of several commands can be
                compared; each row has its own without it.
            generator: of all randomness, on the prior's device.

        Returns:
            float32 ``[B, count, Z]``.
        """
        if count < 1 or steps < 1:
            raise ValueError("at least one sample and one step are needed")
        device = self.basis.device
        dtype = self.token.weight.dtype
        if context is None:
            context = self.nothing[None] if states is None else self.context(states.to(device, dtype))
        context = self.heed(context, commands).repeat_interleave(count, 0)
        n = len(context)
        chances = self.size_logits(context).float().softmax(-1)
        own = n if noises is None else min(noises, n)
        turns = torch.arange(n, device=device) % own
        rank, within = torch.rand(2, own, generator=generator, device=device)[:, turns]
        at = (chances.cumsum(-1) < rank[:, None]).sum(-1).clamp_max(chances.shape[-1] - 1)
        within = (at + within) * _WITHIN
        below = within.long().clamp_max(len(self.levels) - 2)
        level = torch.lerp(self.levels[below], self.levels[below + 1], within - below)
        x = torch.randn(own, self.config.channels, generator=generator, device=device)[turns]
        h = 0.5 * math.pi * until / steps

        def velocity(x: Tensor, angle: float) -> Tensor:
            full = torch.full((n,), angle, device=device, dtype=dtype)
            return self.velocity(x.to(dtype), full, level.to(dtype), context).float()

        for k in range(steps):
            half = x + 0.5 * h * velocity(x, k * h)
            x = x + h * velocity(half, (k + 0.5) * h)
        u = F.normalize(x * self.spread @ self.basis.T, dim=-1, eps=_TINY)
        z = (level.exp() - self.offset).clamp_min(0)[:, None] * u
        return self._snapped(z).reshape(-1, count, self.config.channels)

    def sample_gaussian(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Latents ``[count, Z]`` from the Gaussian with the training latents' mean and covariance.

        It is as fixed as the families' priors but knows the latents' scale and shape: what a learned prior is
        to be compared with.
        """
        noise = torch.randn(count, self.config.channels, generator=generator, device=self.mean.device)
        return self._snapped(self.mean + noise @ self.root.T)

    def _snapped(self, z: Tensor) -> Tensor:
        if not (self.config.snap and len(self.codes)):
            return z
        return self.codes[torch.cdist(z, self.codes).argmin(-1)]


# Files.


def futures_name(controller: str) -> str:
    """The name of the prior that is told the commands of a controller."""
    return f"futures-{controller}"


def save_prior(
    prior: FlowPrior, folder: str | Path, about: Mapping[str, Any] | None = None, *, name: str = NAME
) -> None:
    """Write ``prior.safetensors`` (parameters as float16) and ``prior.json`` beside a checkpoint's weights.

    Args:
        prior: what to save.
        folder: is made if need be; if it holds ``model.safetensors``, the prior is bound to these weights.
        about: how it was made, kept in ``prior.json``; its "checkpoint" is the hash that the prior is bound to.
        name: of the files, before the dot; see `futures_name`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = dict(about or {})
    if (folder / MODEL_NAME).is_file():
        about["checkpoint"] = checkpoint_hash(folder)
    parameters = {name for name, _ in prior.named_parameters()}
    tensors = {
        name: (t.detach().cpu().half() if name in parameters else t.detach().cpu()).contiguous()
        for name, t in prior.state_dict().items()
    }
    text = json.dumps({"format": FORMAT, "prior": dataclasses.asdict(prior.config), "about": about}, indent=2)
    write_safely(folder / f"{name}.safetensors", save(tensors, metadata={"format": "pt"}))
    write_safely(folder / f"{name}.json", (text + "\n").encode())


def load_prior(
    folder: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, *, name: str = NAME
) -> FlowPrior | None:
    """The prior of that name in a checkpoint's folder, ready to sample, or None where it brings none.

    Raises:
        LamdemoError: a file is missing or damaged, or the prior belongs to other weights.
    """
    folder = Path(folder)
    paths = folder / f"{name}.json", folder / f"{name}.safetensors"
    if not any(p.is_file() for p in paths):
        return None
    for path in paths:
        if not path.is_file():
            raise LamdemoError(f"The prior of {folder.name} lacks {path.name}; copy both of its files, or remove both.")
    try:
        data = read_json(paths[0])
        if data["format"] != FORMAT:
            raise ValueError("another format")
        config = bounded_config(FlowPriorConfig, data["prior"])
        bound = (data.get("about") or {}).get("checkpoint")
        prior = load_module(paths[1], lambda kept: FlowPrior(config, torch.zeros(kept["codes"].shape)))
        prior.checkpoint = str(bound or "")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise LamdemoError(f"The prior of {folder.name} is damaged; copy both of its files again.") from error
    if bound and (folder / MODEL_NAME).is_file() and bound != checkpoint_hash(folder):
        raise LamdemoError(
            f"The prior of {folder.name} was made for other weights; copy the one that belongs to them, or remove it."
        )
    for parameter in prior.parameters():
        parameter.data = parameter.data.to(dtype)
    return prior.to(device).eval()
