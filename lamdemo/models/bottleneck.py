"""Ways to limit what a latent action carries (paper, section 3.3), or not to, behind one interface.

Each turns the inverse dynamics' evidence into ``z`` and a loss; each has one dial for its capacity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamdemo.core.errors import LamdemoError

Family = Literal["sparse", "noisy", "discrete", "free"]
Noise = torch.Generator | None  # a source of it


@dataclass(frozen=True)
class BottleneckConfig:
    """Which bottleneck, how wide, how tight."""

    family: Family = "noisy"  # "sparse", "noisy", "discrete" or "free"
    channels: int = 128  # Z
    # The family's dial. Sparse: the weight of the L1 norm (paper: 0.4 ... 0.01). Noisy: beta, the weight of the KL
    # (5e-3 ... 1e-6). Discrete: the number of codes (16 ... 32768). For the first two, small means a high capacity.
    # Free: its channels are its only limit, and it has no dial.
    capacity: float = 2e-4
    weight: float = 1.0  # weight of the bottleneck's loss beside the prediction's; 1 for noisy, whose dial is one

    def __post_init__(self) -> None:
        if self.family not in get_args(Family):
            raise ValueError(f"unknown bottleneck family {self.family!r}")
        if self.channels < 2 or self.capacity <= 0:
            raise ValueError("a bottleneck needs at least two channels and a positive capacity")


@dataclass
class BottleneckOutput:
    """What a bottleneck gives."""

    z: Tensor  # latent actions [B, Z] as the world model sees them (noise added, quantized)
    mean: Tensor  # the same without noise [B, Z]; what is used when nothing is sampled
    loss: Tensor  # scalar, the family's L_z already weighted by its dial
    # Scalars worth plotting (nats or bits a step, active channels, codes in use).
    logs: dict[str, Tensor] = field(default_factory=dict)


class Bottleneck(nn.Module):
    """What all families share: the latent is odd in time.

    The mean is half the difference between what is read from the step and from the step back, so that
    ``z(a, a) = 0`` and ``z(b, a) = -z(a, b)`` hold exactly: zero is "nothing happens", negation is "the
    other way". (For discrete latents this holds before quantization; code 0 is pinned to zero.)

    Attributes:
        prior: whether the family says how latents are distributed, so that `sample` can draw some.
    """

    prior = True

    def __init__(self, config: BottleneckConfig, hidden: int) -> None:
        super().__init__()
        self.config = config
        self.read = nn.Linear(hidden, config.channels, bias=False)
        # The difference of the two directions is small at first; the latent should not be drowned in noise.
        nn.init.normal_(self.read.weight, std=4 / math.sqrt(hidden))

    def mean(self, forward: Tensor, backward: Tensor) -> Tensor:
        """Odd mean ``[B, Z]`` of evidence ``[B, hidden]`` seen both ways."""
        return 0.5 * (self.read(forward) - self.read(backward)).float()

    def forward(
        self,
        forward: Tensor,
        backward: Tensor,
        *,
        strength: float = 1.0,
        generator: Noise = None,
    ) -> BottleneckOutput:
        """Limit the evidence.

        Args:
            forward: evidence of the steps ``[B, hidden]``.
            backward: evidence of the same steps backwards ``[B, hidden]``.
            strength: share of the constraint in force, from 0 to 1; it is warmed up, since at full
                strength from the first step the latent dies before the world model learns to use it. (The
                discrete family's commitment only keeps codes and latents together and is always in force.)
            generator: source of noise.
        """
        return self._limit(forward, backward, strength, generator)

    def infer(
        self,
        forward: Tensor,
        backward: Tensor,
        *,
        temperature: float = 0.0,
        generator: Noise = None,
    ) -> Tensor:
        """The latent to use ``[B, Z]``: mean, or nearest code.

        Args:
            forward: evidence of the steps ``[B, hidden]``.
            backward: evidence of the same steps backwards ``[B, hidden]``.
            temperature: share of the posterior's noise to add; only the noisy family has any.
            generator: source of that noise.
        """
        return self._inferred(forward, backward, temperature, generator)

    def _limit(self, forward: Tensor, backward: Tensor, strength: float, generator: Noise) -> BottleneckOutput:
        raise NotImplementedError

    def _inferred(self, forward: Tensor, backward: Tensor, temperature: float, generator: Noise) -> Tensor:
        return self.mean(forward, backward)

    def sample(self, count: int, generator: Noise = None) -> Tensor:
        """Latents ``[count, Z]`` from the family's own prior.

        Raises:
            LamdemoError: the family has none.
        """
        raise NotImplementedError


class NoisyBottleneck(Bottleneck):
    """A variational bottleneck: ``beta * KL(q(z | s_t, s_t+1) || N(0, I))``, summed over channels."""

    def __init__(self, config: BottleneckConfig, hidden: int) -> None:
        super().__init__(config, hidden)
        self.spread = nn.Linear(hidden, config.channels)
        nn.init.normal_(self.spread.weight, std=0.01)
        nn.init.constant_(self.spread.bias, -5.0)

    @staticmethod
    def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
        """KL to N(0, I) in nats, per channel, ``[B, Z]``."""
        return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)

    def log_variance(self, forward: Tensor, backward: Tensor) -> Tensor:
        """Even in time: how sure the latent is does not depend on which way one looks. ``[B, Z]``."""
        return (0.5 * (self.spread(forward) + self.spread(backward))).float().clamp(-10.0, 2.0)

    def _limit(self, forward: Tensor, backward: Tensor, strength: float, generator: Noise) -> BottleneckOutput:
        mean, log_variance = self.mean(forward, backward), self.log_variance(forward, backward)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        z = mean + noise * (0.5 * log_variance).exp()
        kl = self.divergence(mean, log_variance)
        nats = kl.sum(-1).mean()
        active = (kl.mean(0) > 0.05).sum().float()
        loss = self.config.capacity * strength * nats
        return BottleneckOutput(z, mean, loss, {"nats": nats.detach(), "active": active})

    def _inferred(self, forward: Tensor, backward: Tensor, temperature: float, generator: Noise) -> Tensor:
        mean = self.mean(forward, backward)
        if temperature == 0:
            return mean
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        return mean + temperature * (0.5 * self.log_variance(forward, backward)).exp() * noise

    def sample(self, count: int, generator: Noise = None) -> Tensor:
        """Draw from N(0, I)."""
        device = self.read.weight.device
        return torch.randn(count, self.config.channels, generator=generator, device=device)


class SparseBottleneck(Bottleneck):
    """Sparse latents: an energy that keeps norms up and coordinates few, against collapse held by VCM.

    The paper prints a signed mean term and compares ``sqrt(D)`` with a squared norm; as in the notes on
    it, the squared mean and the plain norm are used.
    """

    l2, variance, covariance, centre = 1.0, 0.1, 0.001, 0.1

    @classmethod
    def energy(cls, z: Tensor, l1: float) -> Tensor:
        """E(z) for each latent ``[B, Z]`` -> ``[B]``: lambda_l2 max(sqrt(Z) - |z|, 0) + lambda_l1 |z|_1."""
        norm = (z.square().sum(-1) + 1e-8).sqrt()
        return cls.l2 * F.relu(math.sqrt(z.shape[-1]) - norm) + l1 * z.abs().sum(-1)

    @classmethod
    def collapse(cls, z: Tensor) -> Tensor:
        """VCM(Z) of a batch ``[B, Z]``: variance, covariance and mean terms, a scalar."""
        b, d = z.shape
        if b < 2:
            return z.new_zeros(())
        mean = z.mean(0)
        centred = z - mean
        std = (centred.square().sum(0) / (b - 1) + 1e-8).sqrt()
        cov = centred.T @ centred / (b - 1)
        off = cov.square().sum() - cov.diagonal().square().sum()
        return (
            cls.variance * F.relu(1 - std).mean()
            + cls.covariance / (d * (d - 1)) * off
            + cls.centre * mean.square().mean()
        )

    def _limit(self, forward: Tensor, backward: Tensor, strength: float, generator: Noise) -> BottleneckOutput:
        z = self.mean(forward, backward)
        energy = self.energy(z, self.config.capacity).mean()
        loss = self.config.weight * strength * (self.collapse(z) + energy)
        active = (z.detach().abs() > 0.1).float().sum(-1).mean()
        return BottleneckOutput(z, z, loss, {"active": active, "energy": energy.detach()})

    def sample(self, count: int, generator: Noise = None) -> Tensor:
        """Langevin dynamics on the energy, from N(0, I): 200 steps of size 0.01."""
        device = self.read.weight.device
        z = torch.randn(count, self.config.channels, generator=generator, device=device)
        step = 0.01
        for _ in range(200):
            with torch.enable_grad():
                z = z.detach().requires_grad_(True)
                (slope,) = torch.autograd.grad(self.energy(z, self.config.capacity).sum(), z)
            noise = torch.randn(z.shape, generator=generator, device=device)
            z = (z - step * slope + math.sqrt(2 * step) * noise).detach()
        return z


class DiscreteBottleneck(Bottleneck):
    """Vector quantization: codes learned by moving averages, commitment 0.25, unused codes reset.

    Code 0 is pinned to the zero vector, so that "nothing happens" has a code too.
    """

    commitment, decay, patience = 0.25, 0.99, 100
    codes: Tensor
    sums: Tensor
    counts: Tensor
    idle: Tensor

    def __init__(self, config: BottleneckConfig, hidden: int) -> None:
        super().__init__(config, hidden)
        size = round(config.capacity)
        if size < 2:
            raise ValueError("a discrete bottleneck needs at least two codes")
        codes = torch.randn(size, config.channels) / math.sqrt(config.channels)
        codes[0] = 0
        self.register_buffer("codes", codes)
        self.register_buffer("sums", codes.clone())
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("idle", torch.zeros(size))

    @torch.no_grad()
    def set_codes(self, codes: Tensor) -> None:
        """Begin with these codes ``[capacity, Z]``; the first must be zero."""
        self.codes.copy_(codes)
        self.sums.copy_(codes)
        self.counts.fill_(1)
        self.idle.zero_()

    def nearest(self, z: Tensor) -> Tensor:
        """Index of the code nearest to each latent, ``[B]``."""
        return torch.cdist(z, self.codes).argmin(-1)

    def _limit(self, forward: Tensor, backward: Tensor, strength: float, generator: Noise) -> BottleneckOutput:
        mean = self.mean(forward, backward)
        index = self.nearest(mean.detach())
        quantized = self.codes[index]
        loss = self.config.weight * self.commitment * (mean - quantized).square().sum(-1).mean()
        if self.training:
            self._learn(mean.detach(), index, generator)
        # Straight through: the gradient passes the quantization as if it were not there.
        z = mean + (quantized - mean).detach()
        used = index.bincount(minlength=len(self.codes)).float()
        p = used / used.sum()
        nats = -(p * p.clamp_min(1e-9).log()).sum()
        return BottleneckOutput(z, quantized, loss, {"nats": nats, "codes": (used > 0).sum().float()})

    @torch.no_grad()
    def _learn(self, z: Tensor, index: Tensor, generator: Noise) -> None:
        hits = index.bincount(minlength=len(self.codes)).to(z.dtype)
        self.counts.mul_(self.decay).add_(hits, alpha=1 - self.decay)
        self.sums.mul_(self.decay).index_add_(0, index, z, alpha=1 - self.decay)
        self.codes.copy_(self.sums / self.counts.clamp_min(1e-5)[:, None])
        self.idle.add_(1).masked_fill_(hits > 0, 0)
        dead = (self.idle > self.patience).nonzero().flatten()
        dead = dead[dead > 0]
        if len(dead):
            pick = torch.randint(len(z), (len(dead),), generator=generator, device=z.device)
            self.sums[dead] = z[pick]
            self.counts[dead] = 1
            self.codes[dead] = z[pick]
            self.idle[dead] = 0
        self.codes[0] = 0
        self.sums[0] = 0

    def _inferred(self, forward: Tensor, backward: Tensor, temperature: float, generator: Noise) -> Tensor:
        return self.codes[self.nearest(self.mean(forward, backward))]

    def sample(self, count: int, generator: Noise = None) -> Tensor:
        """Codes drawn uniformly."""
        index = torch.randint(len(self.codes), (count,), generator=generator, device=self.codes.device)
        return self.codes[index]


class FreeBottleneck(Bottleneck):
    """No limit but the number of channels (RLA-WM, arXiv 2605.07079): neither a penalty nor noise nor codes.

    Nothing says where its latents lie, so it has no prior; a learned one, given the state, is what futures are drawn
    from (`lamdemo.models.prior`).
    """

    prior = False

    def _limit(self, forward: Tensor, backward: Tensor, strength: float, generator: Noise) -> BottleneckOutput:
        z = self.mean(forward, backward)
        return BottleneckOutput(z, z, z.new_zeros(()))

    def sample(self, count: int, generator: Noise = None) -> Tensor:
        """See `Bottleneck.sample`."""
        raise LamdemoError(
            "Latents of this family have no prior of their own; draw from the learned prior, or from its Gaussian."
        )


def build_bottleneck(config: BottleneckConfig, hidden: int) -> Bottleneck:
    """The bottleneck of ``config.family`` for evidence of width ``hidden``."""
    families: dict[str, type[Bottleneck]] = {
        "noisy": NoisyBottleneck,
        "sparse": SparseBottleneck,
        "discrete": DiscreteBottleneck,
        "free": FreeBottleneck,
    }
    return families[config.family](config, hidden)
