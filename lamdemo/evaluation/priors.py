"""Whether a learned prior's samples are like the latents of clips that it has not seen, and whether the state helps.

Beside the learned prior, ways to draw a latent that know less, each of which could put it to shame: the family's own
prior (fixed); the Gaussian with the mean and covariance of the same training latents (gaussian); training latents
themselves, drawn at random (resampled); the learned prior without any state (stateless), and given the state of
another recording (shuffled). The floor is what two halves of the recordings are apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.core.statistics import energy_distance, interval
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.clips import ClipSet, Window, judge_windows
from lamdemo.evaluation.encoding import latents_of
from lamdemo.evaluation.latents import compare_samples
from lamdemo.evaluation.report import write_report
from lamdemo.evaluation.statistics import ratio_of_means, swapped
from lamdemo.latent_space.sampling import bootstrap_energy, draw, finite_codes, two_sample
from lamdemo.models.prior import FlowPrior, load_prior

WAYS = ("fixed", "gaussian", "resampled", "stateless", "shuffled", "learned")
_SAMPLES = 16  # for each step
_APART = 2  # of them for energy distances, whose cost is the square
_HALVES = 200
_LEAST = 6  # recordings of a part from which it is told by itself
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def evaluate_priors(
    pipelines: Mapping[str, TransferPipeline], priors: Mapping[str, FlowPrior], clips: ClipSet
) -> dict[str, dict[str, Any]]:
    """Judge learned priors on clips.

    Args:
        pipelines: by name; those with the same encoder share what depends on it alone.
        priors: of each pipeline, by the same names.
        clips: to judge on; never those that a prior was trained on.

    Returns:
        For each name plain numbers, ready for JSON: ``headline`` and, in ``all`` and ``parts`` (by folder)

        - ``steps``, ``recordings``;
        - ``energy``: for each of `WAYS` its energy distance from the inferred latents, with an interval over
          recordings (the same draws for all);
        - ``closer``: for each other way its distance less the learned prior's, with an interval: above zero, the
          learned prior is closer; ``closer_stateless`` likewise of the learned prior without a state;
        - ``floor``: the distance of two halves of the recordings from each other, over many halvings;
        - ``sizes``: quantiles of norms, of each way and of ``inferred``;

        and for all clips together

        - ``within_parts``: ``energy`` and ``closer`` as above, but each part's samples are set against the latents of
          the same part, and parts are averaged by their steps. Samples that are right for clips of all kinds together
          need not be right for a single one of them: a prior that draws a car's actions in a still room would pass;
        - ``two_sample``: for each way what `lamdemo.latent_space.sampling.TwoSample` has, one sample for each step;
        - ``nearest``: median distance of samples to the nearest inferred latent over that between recordings;
        - ``step``: how near samples come to the step's own latent: ``score`` (the energy score, a proper rule:
          lower is better), ``mean`` and ``best`` distance of 16 samples, each with its ratio to the stateless
          prior's.

    Raises:
        LamdemoError: there is no such clip, or there are fewer than five recordings.
    """

    def judge(name: str, states: Tensor, windows: list[Window]) -> dict[str, Any]:
        inferred = np.concatenate([latents_of(pipelines[name], one) for one in states])
        before = states[:, :-1].flatten(0, 1)
        return judge_prior(pipelines[name], priors[name], before, inferred, windows, seed=clips.seed)

    return judge_windows(pipelines, clips, "prior", judge, samples=_SAMPLES, least=5)


def judge_prior(
    pipeline: TransferPipeline,
    prior: FlowPrior,
    states: Tensor,
    inferred: np.ndarray,
    windows: list[Window],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge a prior on steps that are encoded already.

    Args:
        pipeline: whose prior.
        prior: to judge.
        states: ``[n, N, D]`` before each step.
        inferred: ``[n, Z]`` of each step.
        windows: from which the steps are, equally many of each, in order.
        seed: of everything drawn.

    Returns:
        See `evaluate_priors`.
    """
    n = len(inferred)
    recordings = np.repeat([w.recording for w in windows], n // len(windows))
    groups = np.repeat([w.group for w in windows], n // len(windows))
    rng = np.random.default_rng([seed, 11])
    ways = _samples(pipeline, prior, states, recordings, rng, seed)

    def about(rows: np.ndarray) -> _Distances:
        return _distances({name: w[rows] for name, w in ways.items()}, inferred[rows], recordings[rows], seed)

    whole = about(np.arange(n)).figures
    rows_of = {g: np.flatnonzero(groups == g) for g in sorted(set(groups))}
    parts = {g: about(rows) for g, rows in rows_of.items() if len(set(recordings[rows])) >= _LEAST}
    within = _within_parts(list(ways), list(parts.values()), seed) if parts else None
    names = recordings.tolist()
    tests = {name: two_sample(w[:, 0], inferred, groups_x=names, groups_y=names, seed=seed) for name, w in ways.items()}
    kept = rng.permutation(n)[:1000]
    compared = {
        name: compare_samples(torch.from_numpy(w[kept, 0]), torch.from_numpy(inferred), recordings, seed=seed)
        for name, w in ways.items()
    }
    step = _step(ways, inferred, recordings, seed)
    own = "fixed" in ways
    return {
        "headline": {
            "fixed": whole["energy"]["fixed"]["value"] if own else None,  # a family may have no prior of its own
            "gaussian": whole["energy"]["gaussian"]["value"],
            "learned": whole["energy"]["learned"]["value"],
            "floor": whole["floor"]["value"],
            "closer_than_fixed": whole["closer"]["fixed"]["low"] > 0 if own else None,
            "closer_than_gaussian": whole["closer"]["gaussian"]["low"] > 0,
            "stateless": whole["energy"]["stateless"]["value"],
            "stateless_closer_than_fixed": whole["closer_stateless"]["fixed"]["low"] > 0 if own else None,
            "closer_than_fixed_within_parts": within["closer"]["fixed"]["low"] > 0 if within and own else None,
            "closer_than_gaussian_within_parts": within["closer"]["gaussian"]["low"] > 0 if within else None,
            "fixed_near_fixed": tests["fixed"].own_x if own else None,
            "learned_near_learned": tests["learned"].own_x,
            "score_over_stateless": step["learned"]["score"]["over_stateless"]["value"],
        },
        "all": whole,
        "two_sample": {name: asdict(t) for name, t in tests.items()},
        "nearest": {name: of["nearest"]["ratio"] for name, of in compared.items()},
        "step": step,
        "within_parts": within,
        "parts": {g: part.figures for g, part in parts.items()},
    }


def _samples(
    pipeline: TransferPipeline,
    prior: FlowPrior,
    states: Tensor,
    recordings: np.ndarray,
    rng: np.random.Generator,
    seed: int,
) -> dict[str, np.ndarray]:
    """Samples ``[n, K, Z]`` for each step, by way of drawing them, in the order of `WAYS`."""
    n, k = len(states), _SAMPLES
    generator = torch.Generator(prior.basis.device).manual_seed(seed)
    other = torch.from_numpy(swapped(recordings.tolist(), rng))

    def given(rows: Tensor) -> np.ndarray:
        made = [prior.sample(s, k, generator=generator).cpu() for s in rows.split(64)]
        return torch.cat(made).float().numpy()

    def drawn(how: Literal["fixed", "gaussian", "learned"]) -> np.ndarray:
        return draw(pipeline, how, n * k, prior=prior, seed=seed).reshape(n, k, -1)

    ways = {
        "gaussian": drawn("gaussian"),
        "stateless": drawn("learned"),
        "shuffled": given(states[other]),
        "learned": given(states),
    }
    if pipeline.model.bottleneck.prior:
        ways["fixed"] = drawn("fixed")
    if pipeline.training_latents is not None:
        sample = pipeline.training_latents.latents
        if (codes := finite_codes(pipeline)) is not None:
            # They are kept in half precision, and would be told from codes by their rounding.
            sample = codes[torch.cdist(torch.from_numpy(sample), codes).argmin(1)].float().numpy()
        ways["resampled"] = sample[rng.integers(len(sample), size=(n, k))]
    return {name: ways[name] for name in WAYS if name in ways}


@dataclass(frozen=True)
class _Distances:
    """Energy distances of ways from some steps: figures, values ``[ways]`` and bootstrap draws ``[draws, ways]``."""

    figures: dict[str, Any]
    values: np.ndarray
    draws: np.ndarray


def _distances(ways: Mapping[str, np.ndarray], inferred: np.ndarray, recordings: np.ndarray, seed: int) -> _Distances:
    """How far each way's samples are from the latents of some steps."""
    sets = {name: w[:, :_APART] for name, w in ways.items()}
    values, draws = bootstrap_energy(list(sets.values()), inferred, recordings.tolist(), seed=seed)
    norms = {name: np.linalg.norm(z, axis=-1) for name, z in (*sets.items(), ("inferred", inferred))}
    figures = {
        "steps": len(inferred),
        "recordings": len(set(recordings)),
        **_energies(list(ways), values, draws),
        "floor": _floor(inferred, recordings, seed),
        "sizes": {
            name: {f"{q:g}": float(v) for q, v in zip(_QUANTILES, np.quantile(sizes, _QUANTILES), strict=True)}
            for name, sizes in norms.items()
        },
    }
    return _Distances(figures, values, draws)


def _energies(ways: list[str], values: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    """Energy distances by way, and those of all others less those of the learned prior."""

    def closer_than(prior: str) -> dict[str, Any]:
        base = ways.index(prior)
        return {
            name: interval(values[i] - values[base], draws[:, i] - draws[:, base])
            for i, name in enumerate(ways)
            if name != prior
        }

    return {
        "energy": {name: interval(values[i], draws[:, i]) for i, name in enumerate(ways)},
        "closer": closer_than("learned"),
        "closer_stateless": closer_than("stateless"),
    }


def _within_parts(ways: list[str], parts: list[_Distances], seed: int) -> dict[str, Any]:
    """Energy distances within each part, averaged by the parts' steps."""
    weights = np.array([part.figures["steps"] for part in parts], float)
    weights /= weights.sum()
    # Recordings are drawn in each part by itself, so that the parts' draws are independent.
    turned = [np.random.default_rng([seed, 13, i]).permutation(part.draws) for i, part in enumerate(parts)]
    values = np.sum([w * part.values for w, part in zip(weights, parts, strict=True)], 0)
    return _energies(ways, values, np.sum([w * draws for w, draws in zip(weights, turned, strict=True)], 0))


def _floor(inferred: np.ndarray, recordings: np.ndarray, seed: int) -> dict[str, float | None]:
    """Energy distance of two halves of the recordings, over many halvings: its mean and its middle 95%."""
    names, index = np.unique(recordings, return_inverse=True)
    rows = torch.from_numpy(np.asarray(inferred, np.float32))
    apart = torch.cdist(rows, rows).double().numpy()
    one_hot = np.eye(len(names))[index]
    total = one_hot.T @ apart @ one_hot
    sizes = one_hot.sum(0)
    pairs = sizes[:, None] * sizes[None]
    np.fill_diagonal(total, 0)
    np.fill_diagonal(pairs, 0)
    rng = np.random.default_rng([seed, 12])
    halves = np.zeros((_HALVES, len(names)))
    for half in halves:
        half[rng.permutation(len(names))[: len(names) // 2]] = 1
    found = energy_distance(total, pairs, halves, 1 - halves)
    return interval(float(found.mean()), found)


def _step(ways: Mapping[str, np.ndarray], inferred: np.ndarray, recordings: np.ndarray, seed: int) -> dict[str, Any]:
    """How near the samples for a step come to its own latent."""
    measured: dict[str, dict[str, np.ndarray]] = {}
    for name, w in ways.items():
        own = np.linalg.norm(w - inferred[:, None], axis=-1)  # [n, K]
        samples = torch.from_numpy(w)
        within = torch.cdist(samples, samples).sum((1, 2)).numpy() / (w.shape[1] * (w.shape[1] - 1))
        measured[name] = {"score": own.mean(1) - 0.5 * within, "mean": own.mean(1), "best": own.min(1)}
    return {
        name: {
            figure: {
                "value": float(values.mean()),
                "over_stateless": ratio_of_means(values, measured["stateless"][figure], recordings.tolist(), seed=seed),
            }
            for figure, values in figures.items()
        }
        for name, figures in measured.items()
    }


def judge_priors(
    pipelines: Mapping[str, TransferPipeline],
    folders: Mapping[str, Path],
    clips: ClipSet,
    out: Path,
    command: str | Sequence[str],
) -> list[Path]:
    """Write ``<name>/prior.json`` on the prior that each checkpoint brings; see `evaluate_priors`.

    Args:
        pipelines: by name.
        folders: of the checkpoints, by the same names.
        clips: to judge on.
        out: folder for the reports.
        command: the command line, for the reports.

    Raises:
        LamdemoError: a checkpoint brings no prior, or see `evaluate_priors`.
    """
    priors = {}
    for name, folder in folders.items():
        found = load_prior(folder, pipelines[name].model.device)
        if found is None:
            raise LamdemoError(f"The checkpoint {name} brings no prior to judge; train one without --judge.")
        priors[name] = found
    results = evaluate_priors(pipelines, priors, clips)
    return [
        write_report(
            out / name / "prior.json",
            result,
            command=command,
            pipeline=pipelines[name],
            seed=clips.seed,
            data=result["clips"],
        )
        for name, result in results.items()
    ]
