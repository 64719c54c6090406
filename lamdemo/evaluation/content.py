"""How much of what a clip looks like can be read from its latents: what an action should not say.

The look is the state's mean over the picture, of the frame before the step. Ridge regressions are fitted on some
recordings and judged on others, from

``latent``
    z itself. Being odd in time it says nothing of the look where clips are as often shown backwards, so that this
    finds what the direction of typical motion gives away, and
``even``
    z and the absolute values of its numbers, which need not;
``motion``
    the displacement that inverse dynamics matches, on 4 by 4 places, and its absolute values: what motion itself gives
    away (a car's clips look like a car's), which a latent of actions cannot but say; left out where nothing is matched;
``difference``
    the leading principal components of the change of the states themselves: what a latent without any limit could say;
``shuffled``
    z of other recordings.

``mlp`` is a map of one hidden layer from z.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.clips import ClipSet, Window, judge_windows
from lamdemo.evaluation.encoding import latents_of
from lamdemo.evaluation.probe_maps import components, fit_mlp, fit_ridge, r_squared
from lamdemo.evaluation.statistics import swapped

_FOLDS = 5


def evaluate_content(pipelines: Mapping[str, TransferPipeline], clips: ClipSet) -> dict[str, dict[str, Any]]:
    """Measure what latents of real clips say of the clips' looks.

    Args:
        pipelines: to judge, by name.
        clips: to judge on.

    Returns:
        For each name plain numbers, ready for JSON: ``look``, for each input of the module's head the R² over all
        channels of the look with a 95% interval over recordings, and ``steps``, ``recordings``.

    Raises:
        LamdemoError: there is no such clip, or clips of one recording only.
    """

    def judge(name: str, states: Tensor, windows: list[Window]) -> dict[str, Any]:
        z = np.concatenate([latents_of(pipelines[name], one) for one in states])
        recordings = np.repeat([w.recording for w in windows], states.shape[1] - 1)
        look = states[:, :-1].mean(2).flatten(0, 1).double().numpy()
        change = (states[:, 1:] - states[:, :-1]).flatten(0, 1).flatten(1)
        motion = np.concatenate([_motion(pipelines[name], one) for one in states])
        return judge_content(z, look, change, recordings, motion=motion if motion.any() else None, seed=clips.seed)

    return judge_windows(pipelines, clips, "content", judge, samples=0)


@torch.no_grad()
def _motion(pipeline: TransferPipeline, states: Tensor) -> np.ndarray:
    """The matched displacement ``[S, 32]`` of states ``[T, N, D]``, on 4 by 4 places."""
    states = states.to(pipeline.model.device)
    with pipeline.computing():
        displacement = pipeline.model.evidence(states[:-1], states[1:]).displacement
    return F.adaptive_avg_pool2d(displacement.float(), 4).flatten(1).cpu().numpy()


def judge_content(
    z: np.ndarray,
    look: np.ndarray,
    change: Tensor,
    recordings: np.ndarray,
    *,
    motion: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge latents of steps.

    Args:
        z: ``[n, Z]``.
        look: ``[n, D]``, what is to be read.
        change: ``[n, M]``, of the states.
        recordings: ``[n]``.
        motion: ``[n, M]``, what is known of it beside; None for nothing.
        seed: of the maps, the shuffle and the bootstrap.
    """
    # By chance and not in the order of names: folds of one kind of clips each would be guessed from other kinds alone.
    names, index = np.unique(recordings, return_inverse=True)
    fold = (np.random.default_rng(seed).permutation(len(names)) % _FOLDS)[index]
    gram = (change @ change.T).numpy()
    other = z[swapped(recordings.tolist(), np.random.default_rng(seed))]
    guesses: dict[str, np.ndarray] = {}
    for k in np.unique(fold):
        train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        inputs = {
            "latent": (z[train], z[test]),
            "even": _with_absolute(z, train, test),
            "difference": components(gram, train, test),
            "shuffled": (other[train], other[test]),
        }
        if motion is not None:
            inputs["motion"] = _with_absolute(motion, train, test)
        made = {name: fit_ridge(left, look[train], recordings[train])(right) for name, (left, right) in inputs.items()}
        with torch.random.fork_rng(devices=[]):
            made["mlp"] = fit_mlp(z[train], look[train], recordings[train], seed)(z[test])
        for name, guess in made.items():
            guesses.setdefault(name, np.empty_like(look))[test] = guess
    found = {name: r_squared(look, guess, recordings, seed=seed) for name, guess in guesses.items()}
    return {
        "headline": {name: figure["value"] for name, figure in found.items()},
        "look": found,
        "steps": len(z),
        "recordings": len(set(recordings.tolist())),
    }


def _with_absolute(x: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both sides with their absolute values."""
    both = np.hstack([x, np.abs(x)])
    return both[train], both[test]
