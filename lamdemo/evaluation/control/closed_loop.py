"""Closed-loop planning in simulators: how near do policies come to a goal that is given as a picture?

Every policy pursues the same tasks from the same starts; a task's scene is of seeds that training never uses.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from lamdemo.evaluation.statistics import mean_over, ratio_of_means
from lamdemo.planning.execution import Policy, Run, pursue
from lamdemo.simulators import Simulator
from lamdemo.simulators.tasks import Task

SLACK = 2  # steps that a policy may take beyond those of the hidden actions


def evaluate_closed_loop(
    sim: Simulator,
    tasks: Iterable[Task],
    policies: Mapping[str, Policy],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Let policies pursue tasks.

    Args:
        sim: the simulator of the tasks.
        tasks: what to reach, one of each scene; made one by one, as they are needed.
        policies: by name; "twin", "random" and "zero", where they are there, are what others are set against.
        seed: of policies and the bootstrap.

    Returns:
        ``tasks``, ``distance_is`` (the main distance's unit), ``start`` (mean distance); by policy ``success`` (at the
        end), ``touched`` (at any step), ``distance`` (at the end), each with a 95% interval over tasks; ``over_twin``,
        ``over_random``, ``over_zero`` (ratio of mean final distances, the same tasks), ``success_over_twin``;
        ``by_step`` (mean distance after each step), ``others`` (further distances at the end), ``seconds`` (a
        step), and ``rows``, task by task.
    """
    runs: dict[str, list[Run]] = {p: [] for p in policies}
    seconds = dict.fromkeys(policies, 0.0)
    seeds, steps = [], 0
    for task in tqdm(tasks, desc="tasks", disable=None):
        seeds.append(task.seed)
        steps = max(steps, len(task.actions) + SLACK)
        for name, policy in policies.items():
            begun = time.perf_counter()
            run = pursue(sim, task, policy, len(task.actions) + SLACK, seed=seed)
            seconds[name] += (time.perf_counter() - begun) / max(len(run.actions), 1)
            runs[name].append(run)
    return summarize(runs, seeds, seed) | {
        "steps": steps,
        "seconds": {p: s / len(seeds) for p, s in seconds.items()},
    }


def summarize(runs: Mapping[str, Sequence[Run]], seeds: Sequence[int], seed: int) -> dict[str, Any]:
    """Figures of runs, see `evaluate_closed_loop`."""
    first = next(iter(runs.values()))
    main = next(iter(first[0].distances[0]))
    # Rows are the tasks' and the recordings of the bootstrap: each is a scene of its own.
    by_step = {p: [[d[main] for d in r.distances] for r in some] for p, some in runs.items()}
    last = {p: np.array([d[-1] for d in rows]) for p, rows in by_step.items()}
    begin = np.array([d[0] for d in next(iter(by_step.values()))])
    names = list(map(str, seeds))
    success = {p: np.array([float(r.reached[-1]) for r in some]) for p, some in runs.items()}
    touched = {p: np.array([float(any(r.reached)) for r in some]) for p, some in runs.items()}

    def mean(rows: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {p: mean_over(v, names, seed=seed) for p, v in rows.items()}

    def over(rows: Mapping[str, np.ndarray], base: str) -> dict[str, Any]:
        return {p: ratio_of_means(v, rows[base], names, seed=seed) for p, v in rows.items() if p != base}

    others = [k for k in first[0].distances[0] if k != main]
    result: dict[str, Any] = {
        "tasks": len(seeds),
        "distance_is": main,
        "start": mean_over(begin, names, seed=seed),
        "success": mean(success),
        "touched": mean(touched),
        "distance": mean(last),
        "by_step": {p: np.array(rows).mean(0) for p, rows in by_step.items()},
        "others": {k: {p: np.mean([r.distances[-1][k] for r in some]) for p, some in runs.items()} for k in others},
        "rows": [
            {
                "seed": s,
                "start": begin[i],
                "distance": {p: last[p][i] for p in runs},
                "success": [p for p in runs if success[p][i]],
            }
            for i, s in enumerate(seeds)
        ],
    }
    for base in ("twin", "random", "zero"):
        if base in runs:
            result[f"over_{base}"] = over(last, base)
    if "twin" in runs:
        result["success_over_twin"] = over(success, "twin")
    return result
