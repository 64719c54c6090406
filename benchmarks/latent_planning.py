"""Planning in latent space against planning through the controller, at the same number of world-model evaluations.

Three methods on the same tasks and pairs of frames, with the same budgets, distilled model and seeds:

``controller``
    known commands are searched.
``latent``
    latent actions are searched from recordings on (`RecordedCEM`), and decoded with a ridge.
``latent, before``
    as it was: the search begins with N(0, 1), and commands are those of the nearest latents alone.

``python -m benchmarks.latent_planning --tasks 50 --out reports/noisy/latent_planning.json``; a section that is in the
report already, of the same code, checkpoint and settings, is kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.control.adapters import commands_of
from lamdemo.evaluation.control.closed_loop import evaluate_closed_loop
from lamdemo.evaluation.control.held_out import SIZE, held_out, stretches
from lamdemo.evaluation.control.open_loop import HORIZON, evaluate_open_loop
from lamdemo.evaluation.control.planners import CLOSED, OPEN, Budget, Maker
from lamdemo.evaluation.control.suite import training_latents
from lamdemo.evaluation.report import code_hash, plain, write_report
from lamdemo.planning.execution import Planned, Policy, Zero
from lamdemo.simulators import make
from lamdemo.simulators.recording import seeds
from lamdemo.simulators.tasks import make_task

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "latent": ("latent", {"proposals": "recorded", "ridge": 0.01}),
    "controller": ("controller", {}),
    "controller, shared steps": ("controller", {"shared": 0.5}),
    "latent, before": ("latent", {"proposals": "normal"}),
}
"""What a `Maker` calls each method, and what is other than in the budget."""

PLAIN = tuple(name for name in METHODS if name != "controller, shared steps")


def makers(
    pipeline: TransferPipeline, env: str, budget: Budget, methods: tuple[str, ...], latents: np.ndarray | None
) -> dict[str, tuple[str, Maker]]:
    """By method: what its maker calls it, and the maker."""
    known = pipeline.controller(env)
    return {
        name: (
            METHODS[name][0],
            Maker(
                pipeline,
                known,
                None,
                dataclasses.replace(budget, **METHODS[name][1]),
                HORIZON,
                latents=lambda: latents,
            ),
        )
        for name in methods
    }


def closed(pipeline: TransferPipeline, env: str, made: Mapping[str, tuple[str, Maker]], args: Any) -> dict[str, Any]:
    """Plans carried out in the simulator; see `evaluate_closed_loop`."""
    known, numbers = pipeline.controller(env), list(seeds(args.part)[: args.tasks])
    with make(env, size=SIZE, seed=numbers[0]) as sim:
        policies: dict[str, Policy] = {"zero": Zero(known.spec)}
        for name, (called, maker) in made.items():
            policies[name] = Planned(
                maker.planner(called),
                known.spec,
                controller=known if called == "latent" else None,
                rest=maker.budget.rest,
                ridge=maker.budget.ridge,
            )
        found = evaluate_closed_loop(sim, (make_task(sim, n) for n in numbers), policies, seed=args.seed)
    return found | {"data": {"simulator": env, "part": args.part, "seeds": [numbers[0], numbers[-1]]}}


def opened(pipeline: TransferPipeline, env: str, made: Mapping[str, tuple[str, Maker]], args: Any) -> dict[str, Any]:
    """Plans between recorded frames; see `evaluate_open_loop`."""
    known = pipeline.controller(env)
    found = held_out(env, None, split=None, part=args.part, count=args.pairs)
    assert found is not None
    side = pipeline.model.config.encoder.picture
    cut = list(stretches(found, pipeline.fps, HORIZON, args.pairs, args.seed, side))
    found.close()
    mean, spread = commands_of(known)
    plans = {name: maker.plan_many(called) for name, (called, maker) in made.items()}
    section = evaluate_open_loop(pipeline, cut, known.spec, plans, mean=mean, spread=spread, seed=args.seed)
    return section | {"data": found.about}


PARTS: dict[str, tuple[Budget, Callable[..., dict[str, Any]]]] = {
    "closedloop": (CLOSED, closed),
    "openloop": (OPEN, opened),
}


def main() -> None:
    """Write the report, section by section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoint", default="noisy")
    parser.add_argument("--part", default="test", choices=("validation", "test"))
    parser.add_argument("--env", action="append", choices=("doom", "fetch"))
    parser.add_argument("--only", action="append", choices=tuple(PARTS))
    parser.add_argument("--method", action="append", choices=tuple(METHODS))
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    pipeline = TransferPipeline.from_pretrained(args.checkpoint)
    methods = tuple(args.method or PLAIN)
    key = {"code": code_hash(), "methods": list(methods), "tasks": args.tasks, "pairs": args.pairs, "seed": args.seed}
    key |= {"part": args.part}
    results: dict[str, Any] = {}
    if args.out.is_file():
        before = json.loads(args.out.read_text(encoding="utf-8"))
        if before["checkpoint"]["sha256"] == pipeline.checkpoint and before["results"].get("made_from") == key:
            results = before["results"]
    for env in args.env or ("fetch", "doom"):
        latents: np.ndarray | None = None
        for part, (budget, judge) in PARTS.items():
            if (args.only and part not in args.only) or env in results.get(part, {}):
                continue
            if latents is None:
                latents = training_latents(pipeline, env, None, None)
            begun = time.perf_counter()
            section = judge(pipeline, env, makers(pipeline, env, budget, methods, latents), args)
            section["budget"] = budget.told()
            section["model_evaluations_a_plan"] = budget.evaluations(HORIZON)
            section["minutes"] = (time.perf_counter() - begun) / 60
            results = {"evaluation": "latent planning", "made_from": key, **results}
            results[part] = {**results.get(part, {}), env: plain(section)}
            write_report(
                args.out,
                results,
                command=["python", "-m", "benchmarks.latent_planning", *sys.argv[1:]],
                pipeline=pipeline,
                seed=args.seed,
                data={"simulators": ["doom", "fetch"], "part": args.part},
            )


if __name__ == "__main__":
    main()
