"""How much do labels buy? Figures of world models against the number of episodes whose commands are known.

The world models are of the distilled model's size. Ways from commands to predictions are compared on the same tasks and
stretches:

``pretrained``
    the checkpoint's distilled model as it is, with a controller from the labelled episodes.
``unlabelled``
    the same, its world model trained on with the videos of all episodes, whose commands it is not told.
``labelled``
    the action-conditioned baseline: the same world model, trained on with the labelled episodes and their commands.

and, where goals are pursued, two without plans:

``inverse``
    the checkpoint's inverse dynamics, and the controller of ``pretrained`` (`InversePolicy`).
``labelled_inverse``
    inverse dynamics of the same architecture that learned from the labelled episodes alone (`LabelledInversePolicy`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.control.held_out import Stretch
from lamdemo.evaluation.control.rollouts import ActionAdapter
from lamdemo.evaluation.statistics import mean_over, ratio_of_means
from lamdemo.evaluation.videos import state_error
from lamdemo.models.distilled import DistilledModel

METHODS = ("pretrained", "unlabelled", "labelled", "inverse", "labelled_inverse")
READING = METHODS[3:]  # without plans
_ALIKE = {"unlabelled": "labelled", "inverse": "labelled_inverse"}  # what differs in whether it was told labels
POLICIES = "policies"  # row of what needs no labels: random commands, nothing, inferred latents, and so on


@torch.no_grad()
def one_step_errors(
    pipeline: TransferPipeline,
    model: DistilledModel,
    cut: Sequence[Stretch],
    seen: Sequence[Tensor],
    adapter: ActionAdapter | None,
) -> np.ndarray:
    """Errors of coarse states one step ahead, each step given the true states before it.

    Args:
        pipeline: that infers where there is no adapter.
        model: that predicts.
        cut: the stretches.
        seen: their states, ``[T, N, D]`` each.
        adapter: gives latents of commands; None for those that inverse dynamics infers, which has seen the next state.

    Returns:
        Of each stretch, the mean over its steps, ``[n]``.
    """
    found = []
    for stretch, truth in zip(cut, seen, strict=True):
        if adapter is None:
            z = pipeline.model.infer(truth[None])
        else:
            rows = [stretch.commands(k, adapter.history) for k in range(len(stretch.actions))]
            z = adapter.latents(truth[:-1], torch.from_numpy(np.stack(rows)).to(truth.device))[None]
        coarse = model.project(truth)[None]
        made = model.world_model(coarse[:, :-1], z.float()).states
        found.append(float(state_error(made.float().cpu(), coarse[:, 1:].cpu()).mean()))
    return np.array(found)


@torch.no_grad()
def copy_errors(model: DistilledModel, seen: Sequence[Tensor]) -> np.ndarray:
    """Errors of coarse states where the last one is held still, ``[n]``; see `one_step_errors`."""
    found = []
    for truth in seen:
        coarse = model.project(truth).cpu()[None]
        found.append(float(state_error(coarse[:, :-1], coarse[:, 1:]).mean()))
    return np.array(found)


def summarize_curve(rows: Sequence[Mapping[str, Any]], seed: int = 0) -> dict[str, Any]:
    """Figures by method and number of labelled episodes.

    Args:
        rows: one for each method, number of episodes and seed of their choice: ``method``, ``episodes``, ``seed``;
            with any of ``one_step`` (``error``, ``copy`` and ``recordings`` of each stretch), ``plans`` (the same of
            plans in open loop: ``error``, ``zero``) and ``tasks`` (of each, ``seed``, ``distance`` at the end,
            ``start`` and ``reached``). The row `POLICIES` holds several of each, by name.
        seed: of the bootstrap.

    Returns:
        ``points``: by method, by number of episodes (as text): ``seeds``; and of what there is
        ``one_step_over_copy``, ``plan_over_zero``, ``success``, ``distance`` and ``distance_over_start``, with 95%
        intervals over recordings or tasks, all seeds' together; ``by_seed`` holds each seed's without intervals.
        ``others``: the same figures of what needs no labels, by name. ``level``: of "unlabelled" and "inverse", at each
        number, the success over that of "labelled" and "labelled_inverse" with the most episodes, on the same tasks.
    """
    points: dict[str, dict[str, Any]] = {}
    for method, episodes in sorted({(r["method"], r["episodes"]) for r in rows if r["method"] != POLICIES}):
        mine = [r for r in rows if (r["method"], r["episodes"]) == (method, episodes)]
        mine.sort(key=lambda r: r["seed"])
        by_seed = [{k: v["value"] for k, v in _figures([r], seed).items()} for r in mine]
        told = {"seeds": [r["seed"] for r in mine], **_figures(mine, seed), "by_seed": by_seed}
        points.setdefault(method, {})[str(episodes)] = told
    others: dict[str, Any] = {}
    for row in (r for r in rows if r["method"] == POLICIES):
        for part in ("one_step", "plans", "tasks"):
            for name, figure in _by_name(row, part).items():
                others.setdefault(name, {}).update(_figures([{part: figure}], seed))
    return {"points": points, "others": others, "level": _level(rows, seed)}


def _by_name(row: Mapping[str, Any], part: str) -> dict[str, Any]:
    """What the row of baselines holds of a part, each as a row of a method would."""
    held = row.get(part, {})
    if part == "tasks":
        return dict(held)
    under = "copy" if part == "one_step" else "zero"
    names = [k for k in held if k not in ("recordings", under)]
    return {k: {"error": held[k], under: held[under], "recordings": held["recordings"]} for k in names}


def _level(rows: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    """See `summarize_curve`; tasks are paired by their scenes."""
    found: dict[str, Any] = {}
    for method, episodes in sorted({(r["method"], r["episodes"]) for r in rows}):
        if method not in _ALIKE:
            continue
        mine, best = _reached(rows, method, episodes), _reached(rows, _ALIKE[method])
        both = sorted(mine.keys() & best.keys())
        if both:
            over, under = (np.array([side[k] for k in both], float) for side in (mine, best))
            found.setdefault(method, {})[str(episodes)] = ratio_of_means(over, under, both, seed=seed)
    return found


def _reached(rows: Sequence[Mapping[str, Any]], method: str, episodes: int | None = None) -> dict[int, bool]:
    """By a task's seed whether it was reached; with the most episodes that there are, if they are not said."""
    if episodes is None:
        episodes = max((r["episodes"] for r in rows if r["method"] == method), default=0)
    chosen = [r for r in rows if r["method"] == method and r["episodes"] == episodes]
    return {t["seed"]: t["reached"] for r in chosen for t in r.get("tasks", ())}


def _figures(rows: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    steps = [r["one_step"] for r in rows if "one_step" in r]
    if steps:
        error, copy = (np.concatenate([s[k] for s in steps]) for k in ("error", "copy"))
        names = [n for s in steps for n in s["recordings"]]
        figures["one_step_over_copy"] = ratio_of_means(error, copy, names, seed=seed)
    plans = [r["plans"] for r in rows if "plans" in r]
    if plans:
        error, zero = (np.concatenate([p[k] for p in plans]) for k in ("error", "zero"))
        names = [n for p in plans for n in p["recordings"]]
        figures["plan_over_zero"] = ratio_of_means(error, zero, names, seed=seed)
    tasks = [t for r in rows for t in r.get("tasks", ())]
    if tasks:
        names = [str(t["seed"]) for t in tasks]
        last = np.array([t["distance"] for t in tasks])
        figures["success"] = mean_over([float(t["reached"]) for t in tasks], names, seed=seed)
        figures["distance"] = mean_over(last, names, seed=seed)
        begin = np.array([t["start"] for t in tasks])
        figures["distance_over_start"] = ratio_of_means(last, begin, names, seed=seed)
    return figures
