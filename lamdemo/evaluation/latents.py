"""What latents carry: how much, in how many dimensions, and whether the family's own prior hits them.

Three families limit z in three ways (paper, section 3.3), each with a dial of its own. To draw them on one axis
takes a measure that knows nothing of the family:

``effective_nats``
    the rate of the coarsest description of z with which the world model still predicts nearly as well: its
    one-step error may rise by 2% of what the latents gain it (the error of copying less its own). Descriptions
    are those of Gaussian rate-distortion theory. Let ``C`` be the latents' covariance and ``G`` the mean of
    ``J^T J``, where ``J`` is the derivative of the predicted states by z: a change ``d`` of z changes the
    prediction by ``d^T G d``. With ``mu_i`` the eigenvalues of ``C^(1/2) G C^(1/2)`` and a water level ``w``
    the rate is ``sum_i max(0, 1/2 log(mu_i / w))`` nats a step, and the test channel shrinks component i by
    ``1 - min(1, w / mu_i)`` and adds the noise that belongs to it. ``w`` is found by bisection, by predicting
    with latents that went through that channel.

    It does not change when z is rotated, scaled or mixed linearly, and counts neither directions in which
    latents do not vary nor those that the world model does not heed. A Gaussian of the same covariance has the
    highest rate, so that it errs upwards; for discrete latents it is therefore cut at the entropy of code use,
    which nothing can exceed.

Beside it stand the families' own measures: the KL of the posterior (noisy), the entropy of code use (discrete).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamdemo.core.statistics import energy_distance
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.clips import STEPS, ClipSet, Window, judge_windows
from lamdemo.evaluation.statistics import balanced
from lamdemo.evaluation.videos import state_error
from lamdemo.models.bottleneck import DiscreteBottleneck, NoisyBottleneck
from lamdemo.models.world_model import WorldModel

SAMPLES = 1000  # draws from the prior
TOLERANCE = 0.02  # share of the latents' gain that the coarsest description may cost
_CHANNEL_WINDOWS = 32  # at most, on which that is measured
_PROBES = 2  # random directions of the prediction, per window, for its derivative
_BISECTIONS = 9
_LOWEST = 1e-7  # of the largest eigenvalue: water levels below are not looked at
_PERMUTATIONS = 999
_RECORDINGS = 8  # from which a permutation test says anything
_BATCH = 8
_ACTIVE_KL, _ACTIVE_SIZE = 0.05, 0.1  # nats and size from which a channel counts as active
_SEEN_VARIANCE = 1e-10  # of the largest: below it latents do not vary


@dataclass
class _Inferred:
    """Latents of all steps of windows, ``n = windows * S`` rows."""

    z: Tensor  # [n, Z] as used: means, or codes
    drawn: Tensor  # [n, Z] as the world model saw them in training: with the posterior's noise (noisy family)
    kl: Tensor | None  # [n, Z] nats of each channel; noisy family only
    codes: Tensor | None  # [n] which code; discrete family only


def evaluate_latents(pipelines: Mapping[str, TransferPipeline], clips: ClipSet) -> dict[str, dict[str, Any]]:
    """Measure what the latents of real clips carry.

    Args:
        pipelines: to judge, by name; those with the same encoder share what depends on it alone.
        clips: to judge on.

    Returns:
        For each name plain numbers, ready for JSON: ``all`` and ``parts`` (by folder), each with

        - ``steps``, ``recordings`` and ``size`` (mean norm of z);
        - ``information``, nats a step: ``nats`` (noisy: mean KL; discrete: entropy of code use after Miller and
          Madow; sparse: None), ``is`` (which of these), ``ceiling_nats`` (log of the number of codes used);
        - ``dimensions``: ``active`` (noisy: channels whose mean KL is above 0.05 nats; sparse: mean number of
          coordinates above 0.1; discrete: None), ``participation`` (``(sum l)^2 / sum l^2`` over the
          covariance's eigenvalues), ``components_95`` (of 95% of the variance), ``channels``, and for the
          discrete family ``codes``, ``codes_used`` and ``perplexity``;
        - ``samples``, see `compare_samples`; None of a family without a prior of its own;

        and for all clips together ``channel``, see the module: ``effective_nats``, ``rate_nats`` (before it is
        cut at the entropy), ``heeded`` (components above the water level), ``error``, ``error_copy`` and
        ``error_through`` (of the predictions it was found with), and ``why`` where there is no figure.

    Raises:
        LamdemoError: there is no such clip, or clips of one recording only.
    """

    def judge(name: str, states: Tensor, windows: list[Window]) -> dict[str, Any]:
        return _judge(pipelines[name], windows, states, clips.seed)

    return judge_windows(pipelines, clips, "latents", judge, samples=SAMPLES)


def _judge(pipeline: TransferPipeline, windows: Sequence[Window], states: Tensor, seed: int) -> dict[str, Any]:
    inferred = _infer(pipeline, states, seed)
    generator = torch.Generator(pipeline.model.device).manual_seed(seed)
    bottleneck = pipeline.model.bottleneck
    samples = bottleneck.sample(SAMPLES, generator).detach().float().cpu() if bottleneck.prior else None
    recordings = np.repeat([w.recording for w in windows], STEPS)
    groups = np.repeat([w.group for w in windows], STEPS)
    discrete = isinstance(bottleneck, DiscreteBottleneck)

    def compared(rows: np.ndarray) -> dict[str, Any] | None:
        if samples is None:
            return None
        drawn = inferred.drawn[torch.from_numpy(rows)]
        return compare_samples(samples, drawn, recordings[rows], seed=seed, same=discrete)

    def summary(rows: np.ndarray) -> dict[str, Any]:
        at = torch.from_numpy(rows)
        information = _information(inferred, at)
        return {
            "steps": len(rows),
            "recordings": len(set(recordings[rows])),
            "size": float(inferred.z[at].norm(dim=-1).mean()),
            "information": information,
            "dimensions": _dimensions(pipeline, inferred, at),
            "samples": compared(rows),
        }

    # In turns from the parts, since one with many clips would otherwise settle the figure alone.
    few = balanced([w.group for w in windows], _CHANNEL_WINDOWS, np.random.default_rng([seed, 3]))
    whole = summary(np.arange(len(recordings)))
    ceiling = whole["information"]["nats"] if discrete else math.inf
    z = inferred.z.reshape(len(windows), STEPS, -1)
    channel = effective_information(pipeline.model.world_model, states[few], z[few], inferred.z, ceiling, seed)
    return {
        "headline": {
            "effective_nats": channel["effective_nats"],
            "nats": whole["information"]["nats"],
            "participation": whole["dimensions"]["participation"],
            "sample_distance": whole["samples"] and whole["samples"]["nearest"]["ratio"],
            "sample_energy": whole["samples"] and whole["samples"]["energy"]["share"],
        },
        "channel": channel,
        "all": whole,
        "parts": {g: summary(np.flatnonzero(groups == g)) for g in sorted(set(groups))},
    }


@torch.no_grad()
def _infer(pipeline: TransferPipeline, states: Tensor, seed: int) -> _Inferred:
    """Latents of windows ``[w, T, N, D]``."""
    model = pipeline.model
    bottleneck = model.bottleneck
    generator = torch.Generator(model.device).manual_seed(seed)
    z, drawn, kl, codes = [], [], [], []
    for batch in states.split(_BATCH):
        s = batch.to(model.device)
        evidence = model.evidence(s[:, :-1], s[:, 1:])
        both = evidence.forward, evidence.backward
        z.append(bottleneck.infer(*both).float().cpu())
        drawn.append(z[-1])
        if isinstance(bottleneck, NoisyBottleneck):
            mean, log_variance = bottleneck.mean(*both), bottleneck.log_variance(*both)
            kl.append(bottleneck.divergence(mean, log_variance).cpu())
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
            drawn[-1] = (mean + noise * (0.5 * log_variance).exp()).cpu()
        if isinstance(bottleneck, DiscreteBottleneck):
            codes.append(bottleneck.nearest(bottleneck.mean(*both)).cpu())
    return _Inferred(torch.cat(z), torch.cat(drawn), torch.cat(kl) if kl else None, torch.cat(codes) if codes else None)


def code_entropy(codes: Tensor) -> float:
    """Entropy of code use in nats, of which codes ``[n]`` are a sample.

    The plain estimate is too low where codes were seen but a few times; Miller and Madow's correction, half a
    code used (less one) per step, is added.
    """
    counts = codes.bincount().double()
    counts = counts[counts > 0]
    p = counts / counts.sum()
    return float(-(p * p.log()).sum() + (len(counts) - 1) / (2 * counts.sum()))


def _information(inferred: _Inferred, rows: Tensor) -> dict[str, Any]:
    if inferred.kl is not None:
        nats = float(inferred.kl[rows].sum(-1).mean())
        return {"nats": nats, "is": "mean KL of the posterior", "ceiling_nats": None}
    if inferred.codes is not None:
        codes = inferred.codes[rows]
        nats = code_entropy(codes)
        ceiling = math.log(len(codes.unique()))
        return {"nats": nats, "is": "entropy of code use", "ceiling_nats": ceiling}
    return {"nats": None, "is": "none: a sparse latent's energy bounds no information", "ceiling_nats": None}


def _dimensions(pipeline: TransferPipeline, inferred: _Inferred, rows: Tensor) -> dict[str, Any]:
    z = inferred.z[rows].double()
    spectrum = torch.linalg.eigvalsh(torch.cov(z.T)).flip(0).clamp_min(0) if len(z) > 1 else z.new_zeros(1)
    total = float(spectrum.sum())
    participation = components = active = None
    if total > 0:
        participation = total**2 / float(spectrum.square().sum())
        components = int((spectrum.cumsum(0) < 0.95 * total).sum()) + 1
    if inferred.kl is not None:
        active = float((inferred.kl[rows].mean(0) > _ACTIVE_KL).sum())
    elif inferred.codes is None:
        active = float((z.abs() > _ACTIVE_SIZE).sum(-1).double().mean())
    found: dict[str, Any] = {
        "channels": z.shape[1],
        "active": active,
        "participation": participation,
        "components_95": components,
    }
    if inferred.codes is not None:
        counts = inferred.codes[rows].bincount().double()
        p = counts[counts > 0] / counts.sum()
        found |= {
            "codes": round(pipeline.model.config.bottleneck.capacity),
            "codes_used": len(p),
            "perplexity": float((-(p * p.log()).sum()).exp()),
        }
    return found


# Effective information.


@dataclass(frozen=True)
class GaussianChannel:
    """The cheapest Gaussian description of latents for a distortion ``d^T G d``."""

    spectrum: Tensor  # `mu` of each component [K], the distortion if it is not told at all, falling
    mean: Tensor  # of the latents [Z]
    into: Tensor  # [Z, K], latents less their mean to components of unit variance
    back: Tensor  # [K, Z], its inverse where latents vary

    @classmethod
    def fit(cls, latents: Tensor, sensitivity: Tensor) -> GaussianChannel:
        """Make one for latents ``[n, Z]`` and ``G``, ``[Z, Z]``."""
        z = latents.double()
        mean = z.mean(0)
        variances, axes = torch.linalg.eigh(torch.cov(z.T))
        kept = variances > _SEEN_VARIANCE * variances.max().clamp_min(1e-30)
        root = axes[:, kept] * variances[kept].sqrt()  # [Z, K]
        spectrum, turn = torch.linalg.eigh(root.T @ sensitivity.double() @ root)
        order = spectrum.argsort(descending=True)
        spectrum, turn = spectrum[order].clamp_min(0), turn[:, order]
        into = axes[:, kept] / variances[kept].sqrt() @ turn
        return cls(spectrum, mean, into, (root @ turn).T)

    def rate(self, level: float) -> float:
        """Nats a step at a water level."""
        heeded = self.spectrum[self.spectrum > level]
        return float(0.5 * (heeded / level).log().sum())

    def through(self, latents: Tensor, level: float, noise: Tensor) -> Tensor:
        """Latents ``[..., Z]`` as they come out, given standard normal ``noise [..., K]``."""
        kept = 1 - (level / self.spectrum.clamp_min(1e-300)).clamp_max(1)
        parts = (latents.double() - self.mean) @ self.into
        parts = kept * parts + (kept * (1 - kept)).sqrt() * noise
        return (parts @ self.back + self.mean).to(latents.dtype)


def effective_information(
    world: WorldModel, states: Tensor, latents: Tensor, population: Tensor, ceiling: float, seed: int
) -> dict[str, Any]:
    """The rate of the coarsest latents that cost `TOLERANCE` of what latents gain, see the module.

    Args:
        world: the world model.
        states: ``[w, T, N, D]`` of windows to predict on.
        latents: ``[w, S, Z]`` of these.
        population: ``[n, Z]``, latents whose covariance counts.
        ceiling: nats that the result cannot exceed.
        seed: of the probes and of the channel's noise.

    Returns:
        See `evaluate_latents`.
    """
    generator = torch.Generator().manual_seed(seed)
    copy = float(state_error(states[:, :-1], states[:, 1:]).mean())
    inferred = _error(world, states, latents)
    found: dict[str, Any] = {"effective_nats": None, "rate_nats": None, "heeded": None}
    found |= {"tolerance": TOLERANCE, "steps": latents.shape[0] * latents.shape[1]}
    found |= {"error": inferred, "error_copy": copy, "error_through": None, "why": ""}
    if not inferred < copy:
        return {**found, "why": "the model predicts no better than copying: its latents gain nothing"}
    channel = GaussianChannel.fit(population, _sensitivity(world, states, latents, generator))
    noise = torch.randn(*latents.shape[:-1], len(channel.spectrum), generator=generator, dtype=torch.float64)
    allowed = inferred + TOLERANCE * (copy - inferred)
    # The same noise at every level, so that the error rises with the level and not by chance.
    high = math.log(max(float(channel.spectrum.max()), 1e-300))
    low, best, through = high + math.log(_LOWEST), math.exp(high + math.log(_LOWEST)), inferred
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        error = _error(world, states, channel.through(latents, math.exp(middle), noise))
        if error <= allowed:
            low, best, through = middle, math.exp(middle), error
        else:
            high = middle
    rate = channel.rate(best)
    return {
        **found,
        "effective_nats": min(rate, ceiling),
        "rate_nats": rate,
        "heeded": int((channel.spectrum > best).sum()),
        "error_through": through,
    }


@torch.no_grad()
def _error(world: WorldModel, states: Tensor, latents: Tensor) -> float:
    """Mean one-step error over windows, true states before each step."""
    device = next(world.parameters()).device
    errors = []
    for s, z in zip(states.split(_BATCH), latents.split(_BATCH), strict=True):
        s, z = s.to(device), z.to(device)
        errors.append(state_error(world(s[:, :-1], z).states, s[:, 1:]).cpu().flatten())
    return float(torch.cat(errors).double().mean())


def _sensitivity(world: WorldModel, states: Tensor, latents: Tensor, generator: torch.Generator) -> Tensor:
    """``G``, the mean of ``J^T J`` over steps, ``[Z, Z]``.

    ``J`` has a row for each number of a predicted state; a random mixture of its rows, with standard normal
    weights, has the same mean square, and one pass backwards gives it for all steps.
    """
    device = next(world.parameters()).device
    total = torch.zeros(latents.shape[-1], latents.shape[-1], dtype=torch.float64)
    for s, z in zip(states.split(_BATCH), latents.split(_BATCH), strict=True):
        with torch.enable_grad():
            z = z.to(device).requires_grad_(True)
            made = world(s[:, :-1].to(device), z).states
            for k in range(_PROBES):
                weights = torch.randn(made.shape, generator=generator).to(device)
                (slope,) = torch.autograd.grad(made, z, weights, retain_graph=k + 1 < _PROBES)
                slope = slope.flatten(0, 1).double().cpu()
                total += slope.T @ slope
    return total / (_PROBES * latents.shape[0] * latents.shape[1])


# Samples.


def compare_samples(
    samples: Tensor, inferred: Tensor, recordings: Sequence[str] | np.ndarray, *, seed: int = 0, same: bool = False
) -> dict[str, Any]:
    """How far samples of the prior lie from inferred latents, in units of each channel's spread among the latter.

    Args:
        samples: ``[m, Z]``.
        inferred: ``[n, Z]``, with the posterior's noise where there is one: that is what a prior stands for.
        recordings: ``[n]``, which recording each comes from.
        seed: of the permutations.
        same: latents are of a finite set, and whether a sample was ever inferred can be told.

    Returns:
        ``nearest``: median distance of a sample to the nearest inferred latent (``sample``), that of an inferred
        latent to the nearest one of another recording (``inferred``; neighbours in time are left out with its
        own), and their ``ratio``: 1 where samples cannot be told from latents by it.

        ``energy``: the two-sample statistic ``2 E|x - y| - E|x - x'| - E|y - y'|`` as a ``share`` of its first
        term (0: one distribution, 1: two points), and the ``p`` of a permutation test. Steps of one recording
        resemble each other, so that the test takes one latent of each; ``p`` is None for fewer than 8 recordings.

        ``seen``: with ``same``, the share of samples that were inferred at least once, else None.
    """
    names = np.asarray(recordings)
    spread = inferred.double().std(0)
    spread = spread.clamp_min(1e-6 * float(spread.max())) if float(spread.max()) > 0 else torch.ones_like(spread)
    x, y = samples.double() / spread, inferred.double() / spread
    across = torch.cdist(x, y)
    within = torch.cdist(y, y)
    index = torch.from_numpy(np.unique(names, return_inverse=True)[1])
    others = within.masked_fill(index[:, None] == index[None], torch.inf).amin(1)
    near, usual = float(across.amin(1).median()), float(others.median())
    apart = 2 * float(across.mean())
    energy = apart - float(torch.cdist(x, x).mean()) - float(within.mean())

    rng = np.random.default_rng(seed)
    single = [int(rng.choice(np.flatnonzero(index.numpy() == k))) for k in range(int(index.max()) + 1)]
    p = _permutation_test(x, y[single], rng) if len(single) >= _RECORDINGS else None
    return {
        "nearest": {
            "sample": near,
            "inferred": usual if math.isfinite(usual) else None,
            "ratio": near / usual if 0 < usual < math.inf else None,
        },
        "energy": {"share": energy / apart if apart > 0 else None, "p": p},
        "seen": float((across.amin(1) < 1e-6).double().mean()) if same else None,
    }


def _permutation_test(x: Tensor, y: Tensor, rng: np.random.Generator) -> float:
    """Chance of an energy statistic as large as that of ``x`` and ``y`` if both were of one distribution."""
    both = torch.cat([x, y])
    distances = torch.cdist(both, both).numpy()
    first = np.arange(len(both)) < len(x)
    drawn = np.stack([first, *(rng.permutation(first) for _ in range(_PERMUTATIONS))]).astype(float)
    statistics = energy_distance(distances, np.ones_like(distances), drawn, 1 - drawn)
    return (1 + int((statistics[1:] >= statistics[0] - 1e-12).sum())) / (1 + _PERMUTATIONS)
