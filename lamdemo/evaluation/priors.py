"""Whether a learned prior's samples are like the latents of clips that it has not seen, and whether the state helps.

Beside the learned prior, ways to draw a latent that know less, each of which could put it to shame: the family's own
prior (fixed); the Gaussian with the mean and covariance of the same training latents (gaussian); training latents
themselves, drawn at random (resampled); the learned prior without any state (stateless), and given the state of
another recording (shuffled). The floor is what two halves of the recordings are apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lamdemo.data.splits import Part, Split
from lamdemo.errors import LamdemoError
from lamdemo.evaluation.latents import compare_samples
from lamdemo.evaluation.report import describe_files
from lamdemo.evaluation.statistics import balanced, donors, ratio_of_means
from lamdemo.evaluation.together import latents_of, same_encoders
from lamdemo.evaluation.videos import STEPS, Window, group_of, named_clips, read_windows, windows_of
from lamdemo.latent_space.prior import FlowPrior
from lamdemo.latent_space.sampling import bootstrap_energy, draw, finite_codes, interval, two_sample
from lamdemo.pipeline import TransferPipeline

WAYS = ("fixed", "gaussian", "resampled", "stateless", "shuffled", "learned")
_SAMPLES = 16  # for each step
_APART = 2  # of them for energy distances, whose cost is the square
_HALVES = 200
_LEAST = 6  # recordings of a part from which it is told by itself
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def evaluate_priors(
    pipelines: Mapping[str, TransferPipeline],
    priors: Mapping[str, FlowPrior],
    videos: str | Path,
    *,
    split: Split | str | Path | None = None,
    part: Part | Literal["all"] = "test",
    max_clips: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, dict[str, Any]]:
    """Judge learned priors on clips.

    Args:
        pipelines: by name; those with the same encoder share what depends on it alone.
        priors: of each pipeline, by the same names.
        videos: folder of clips; its first level of folders is reported part by part.
        split: which clips are for what; all of them are taken without it.
        part: of the split; never the one that the prior was trained on.
        max_clips: at most so many clips, taken in turns from the folders.
        seed: of everything drawn.
        progress: show a progress bar on a terminal.

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
    folder = Path(videos)
    part, clips = named_clips(folder, split, part)  # type: ignore[assignment]
    every = list(clips)
    chosen = balanced([group_of(n) for n in every], max_clips, np.random.default_rng(seed))
    clips = {every[i]: clips[every[i]] for i in chosen}
    quiet = None if progress else True
    results: dict[str, dict[str, Any]] = {}
    for names in same_encoders(pipelines):
        first = pipelines[names[0]]
        windows, skipped = windows_of(clips, first.fps, seed)
        seen: list[Window] = []
        states: list[Tensor] = []
        latents: dict[str, list[np.ndarray]] = {name: [] for name in names}
        read = read_windows(folder, windows, first, skipped)
        for window, frames in tqdm(read, total=len(windows), desc="encoding", disable=quiet):
            seen.append(window)
            encoded = first.encode(frames[1:]).float()
            for name in names:
                latents[name].append(latents_of(pipelines[name], encoded))
            states.append(encoded[:-1].cpu())
        if len({w.recording for w in seen}) < 5:
            raise LamdemoError(
                f"Of {folder.name} fewer than five recordings can be used; give more clips of "
                f"{(STEPS + 2) / first.fps:g} seconds or more."
            )
        about = {
            "evaluation": "prior",
            "settings": {"part": part, "fps": first.fps, "max_clips": max_clips, "seed": seed, "samples": _SAMPLES},
            "clips": {
                **describe_files(folder, sorted({w.name for w in seen})),
                "recordings": len({w.recording for w in seen}),
                "windows": len(seen),
                "skipped": skipped,
            },
        }
        together = torch.cat(states)
        for name in tqdm(names, desc="judging priors", disable=quiet):
            inferred = np.concatenate(latents[name])
            found = judge_prior(pipelines[name], priors[name], together, inferred, seen, seed=seed)
            results[name] = {**about, **found}
    return {name: results[name] for name in pipelines}


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
    n, k = len(inferred), _SAMPLES
    recordings = np.repeat([w.recording for w in windows], n // len(windows))
    groups = np.repeat([w.group for w in windows], n // len(windows))
    rng = np.random.default_rng([seed, 11])
    generator = torch.Generator(prior.basis.device).manual_seed(seed)
    other = torch.from_numpy(donors(recordings.tolist(), rng))

    def given(rows: Tensor) -> np.ndarray:
        made = [prior.sample(s, k, generator=generator).cpu() for s in rows.split(64)]
        return torch.cat(made).float().numpy()

    def drawn(how: Literal["fixed", "gaussian", "learned"]) -> np.ndarray:
        return draw(pipeline, how, n * k, prior=prior, seed=seed).reshape(n, k, -1)

    ways = {
        "fixed": drawn("fixed"),
        "gaussian": drawn("gaussian"),
        "stateless": drawn("learned"),
        "shuffled": given(states[other]),
        "learned": given(states),
    }
    if pipeline.familiarity is not None:
        sample = pipeline.familiarity.latents
        if (codes := finite_codes(pipeline)) is not None:
            # They are kept in half precision, and would be told from codes by their rounding.
            sample = codes[torch.cdist(torch.from_numpy(sample), codes).argmin(1)].float().numpy()
        ways["resampled"] = sample[rng.integers(len(sample), size=(n, k))]
    ways = {name: ways[name] for name in WAYS if name in ways}

    at = {name: i for i, name in enumerate(ways)}

    def told(values: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
        def than(prior: str) -> dict[str, Any]:
            own = at[prior]
            return {
                name: interval(values[i] - values[own], draws[:, i] - draws[:, own]).as_dict()
                for name, i in at.items()
                if name != prior
            }

        return {
            "energy": {name: interval(values[i], draws[:, i]).as_dict() for name, i in at.items()},
            "closer": than("learned"),
            "closer_stateless": than("stateless"),
        }

    def about(rows: np.ndarray) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
        own = inferred[rows]
        sets = [w[rows][:, :_APART] for w in ways.values()]
        values, draws = bootstrap_energy(sets, own, recordings[rows].tolist(), seed=seed)
        norms = {name: np.linalg.norm(z, axis=-1) for name, z in zip(ways, sets, strict=True)}
        norms["inferred"] = np.linalg.norm(own, axis=-1)
        found = {
            "steps": len(rows),
            "recordings": len(set(recordings[rows])),
            **told(values, draws),
            "floor": _floor(own, recordings[rows], seed),
            "sizes": {
                name: {f"{q:g}": float(v) for q, v in zip(_QUANTILES, np.quantile(sizes, _QUANTILES), strict=True)}
                for name, sizes in norms.items()
            },
        }
        return found, values, draws

    whole, *_ = about(np.arange(n))
    rows_of = {g: np.flatnonzero(groups == g) for g in sorted(set(groups))}
    parts = {g: about(rows) for g, rows in rows_of.items() if len(set(recordings[rows])) >= _LEAST}
    within = None
    if parts:
        # Recordings are drawn in each part by itself, so that the parts' draws are independent.
        weights = np.array([one[0]["steps"] for one in parts.values()], float)
        weights /= weights.sum()
        turned = [np.random.default_rng([seed, 13, i]).permutation(one[2]) for i, one in enumerate(parts.values())]
        within = told(
            sum(w * one[1] for w, one in zip(weights, parts.values(), strict=True)),
            sum(w * draws for w, draws in zip(weights, turned, strict=True)),
        )
    tests = {
        name: two_sample(w[:, 0], inferred, groups_x=recordings.tolist(), groups_y=recordings.tolist(), seed=seed)
        for name, w in ways.items()
    }
    kept = rng.permutation(n)[:1000]
    nearest = {
        name: compare_samples(torch.from_numpy(w[kept, 0]), torch.from_numpy(inferred), recordings, seed=seed)[
            "nearest"
        ]["ratio"]
        for name, w in ways.items()
    }
    step = _step(ways, inferred, recordings, seed)
    return {
        "headline": {
            "fixed": whole["energy"]["fixed"]["value"],
            "gaussian": whole["energy"]["gaussian"]["value"],
            "learned": whole["energy"]["learned"]["value"],
            "floor": whole["floor"]["value"],
            "closer_than_fixed": whole["closer"]["fixed"]["low"] > 0,
            "closer_than_gaussian": whole["closer"]["gaussian"]["low"] > 0,
            "stateless": whole["energy"]["stateless"]["value"],
            "stateless_closer_than_fixed": whole["closer_stateless"]["fixed"]["low"] > 0,
            "closer_than_fixed_within_parts": within["closer"]["fixed"]["low"] > 0 if within else None,
            "closer_than_gaussian_within_parts": within["closer"]["gaussian"]["low"] > 0 if within else None,
            "fixed_near_fixed": tests["fixed"].own_x,
            "learned_near_learned": tests["learned"].own_x,
            "score_over_stateless": step["learned"]["score"]["over_stateless"]["value"],
        },
        "all": whole,
        "two_sample": {name: asdict(t) for name, t in tests.items()},
        "nearest": nearest,
        "step": step,
        "within_parts": within,
        "parts": {g: one[0] for g, one in parts.items()},
    }


def _floor(inferred: np.ndarray, recordings: np.ndarray, seed: int) -> dict[str, float]:
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
    found = []
    for _ in range(_HALVES):
        a = np.zeros(len(names))
        a[rng.permutation(len(names))[: len(names) // 2]] = 1
        b = 1 - a

        def mean(x: np.ndarray, y: np.ndarray) -> float:
            return float(x @ total @ y / (x @ pairs @ y))

        found.append(2 * mean(a, b) - mean(a, a) - mean(b, b))
    return interval(float(np.mean(found)), np.array(found)).as_dict()


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
