"""Open-loop planning on recorded episodes (paper, section on planning): the commands to a frame H steps later.

A plan is judged by what its commands amount to over the steps, against what was truly done: the norm of the
difference, each channel in units of its own spread over the judged pairs. Beside the plans stand

``zero``
    the command of doing nothing.
``mean``
    the mean command of the training data.
``held``
    the command before the start, held: it knows what was done a moment ago, and nothing of the goal.
``random``
    commands drawn as those of the training data are spread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lamdemo.core.actions import ActionSpec
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.control.held_out import Stretch, summed
from lamdemo.evaluation.statistics import ratio_of_means

HORIZON = 3
_BATCH = 10  # pairs that are planned at once

PlanMany = Callable[[Tensor, Tensor, np.ndarray, int], np.ndarray]
"""Plans of many pairs at once: states to start from ``[B, N, D]``, goals ``[B, N, D]``, commands before ``[B, C, A]``
(oldest first; more than are needed), a seed; to commands ``[B, S, A]``."""


def evaluate_open_loop(
    pipeline: TransferPipeline,
    cut: Sequence[Stretch],
    spec: ActionSpec,
    planners: Mapping[str, PlanMany],
    *,
    mean: np.ndarray,
    spread: np.ndarray,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge plans between the first and the last frame of stretches.

    Args:
        pipeline: that encodes.
        cut: the stretches, `HORIZON` steps each.
        spec: of their actions.
        planners: by method: "controller", "twin", "latent", ...
        mean: ``[A]``, mean command of the training data.
        spread: ``[A]``, its standard deviation.
        seed: of plans and the bootstrap.

    Returns:
        ``pairs``, ``recordings``, ``channels`` (names), ``unit`` (of each channel, what errors are divided by);
        ``error`` (method to mean), ``over_zero``, ``over_mean``, ``over_held``, and ``over_twin`` where there is
        one (method to ratio of means, 95% interval over recordings); ``by_channel`` (name to method to mean
        absolute error in the channel's own unit, and ``correlation``); ``metres`` and ``metres_over_zero`` where
        channels are changes of x, y or z in metres: the distance in space; ``seconds`` (a pair, by method).
    """
    true = np.stack([s.actions for s in cut])
    pairs, steps, _ = true.shape
    plans: dict[str, np.ndarray] = {
        "zero": np.broadcast_to(spec.zero, true.shape),
        "mean": np.broadcast_to(mean, true.shape),
        "held": np.stack([np.repeat(s.before[-1:], steps, 0) for s in cut]),
    }
    noise = np.random.default_rng([seed, 3]).normal(size=true.shape)
    plans["random"] = np.clip(mean + spread * noise, spec.low, spec.high)
    with torch.no_grad():
        ends = torch.stack([pipeline.encode(s.frames[[0, -1]]) for s in cut])
    before = np.stack([s.before for s in cut])
    seconds = {}
    for method, plan in planners.items():
        begun = time.perf_counter()
        made = [
            plan(ends[i : i + _BATCH, 0], ends[i : i + _BATCH, 1], before[i : i + _BATCH], seed + i)
            for i in tqdm(range(0, pairs, _BATCH), desc=f"planning, {method}", disable=None)
        ]
        plans[method] = np.concatenate(made)
        seconds[method] = (time.perf_counter() - begun) / pairs
    return {**compare_plans(plans, true, spec, [s.recording for s in cut], seed), "seconds": seconds}


def plan_errors(plans: np.ndarray, true: np.ndarray, spec: ActionSpec) -> np.ndarray:
    """Errors ``[n]`` of plans ``[n, S, A]`` against what was done ``[n, S, A]``, in units of what was done's spread."""
    goal = summed(spec, true)
    unit = goal.std(0)
    # A channel in which all do the same says nothing, and would be divided by nothing.
    said = unit > 1e-6 * (spec.high - spec.low)
    return np.linalg.norm((summed(spec, plans) - goal)[:, said] / unit[said], axis=1)


def compare_plans(
    plans: Mapping[str, np.ndarray], true: np.ndarray, spec: ActionSpec, recordings: Sequence[str], seed: int
) -> dict[str, Any]:
    """Figures of plans ``[n, S, A]`` against what was done ``[n, S, A]``; see `evaluate_open_loop`."""
    goal = summed(spec, true)
    apart = {m: summed(spec, p) - goal for m, p in plans.items()}
    errors = {m: plan_errors(p, true, spec) for m, p in plans.items()}

    def over(rows: Mapping[str, np.ndarray], base: str) -> dict[str, Any]:
        return {m: ratio_of_means(e, rows[base], recordings, seed=seed) for m, e in rows.items() if m != base}

    result: dict[str, Any] = {
        "pairs": len(true),
        "recordings": len(set(recordings)),
        "steps": true.shape[1],
        "channels": list(spec.names),
        "unit": goal.std(0),
        "error": {m: e.mean() for m, e in errors.items()},
        "over_zero": over(errors, "zero"),
        "over_mean": over(errors, "mean"),
        "over_held": over(errors, "held"),
        "by_channel": {},
    }
    if "twin" in errors:
        result["over_twin"] = over(errors, "twin")
    for i, channel in enumerate(spec.channels):
        result["by_channel"][channel.name] = {
            "unit": channel.unit,
            "error": {m: np.abs(a[:, i]).mean() for m, a in apart.items()},
            "correlation": {m: _correlation(summed(spec, p)[:, i], goal[:, i]) for m, p in plans.items()},
        }
    # Of a place, that is: how far a gripper opens is in metres too, and is no way that it goes.
    space = [
        i
        for i, c in enumerate(spec.channels)
        if c.unit in ("m", "metres") and c.kind == "change" and c.name.removeprefix("d") in ("x", "y", "z")
    ]
    if space:
        far = {m: np.linalg.norm(a[:, space], axis=1) for m, a in apart.items()}
        result["metres"] = {m: d.mean() for m, d in far.items()}
        result["metres_over_zero"] = over(far, "zero")
        if "twin" in far:
            result["metres_over_twin"] = over(far, "twin")
    return result


def _correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Of two columns; None where one does not vary."""
    if len(one) < 2 or one.std() < 1e-9 or other.std() < 1e-9:
        return None
    return float(np.corrcoef(one, other)[0, 1])
