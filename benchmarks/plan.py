"""How long the paper's search takes: CEM with 300 samples, 15 iterations and a horizon of 3 steps.

    python -m benchmarks.plan [--checkpoint noisy] [--controller car] [--threads 2] [--runs 3] [--full]

Plans from one made-up picture to another through a controller and the distilled model, the 32 best judged by the full
world model, and prints JSON: seconds on the clock and of the processor, the same in steps of the full world model (a
figure that travels between machines), where they go, and whether the seed repeats the plan. Where the checkpoint lacks
the distilled model or the controller, untrained ones of the usual sizes stand in, which take as long.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.engine import TransferPipeline
from lamdemo.engine.controls import KnownController, fitting
from lamdemo.evaluation.report import git_state
from lamdemo.models.companion_files import load_distilled
from lamdemo.models.controller import Controller, ControllerConfig
from lamdemo.models.distilled import DistilledConfig, DistilledModel
from lamdemo.planning import build_planner

STEPS = 300 * 15 * 3


def timed(work: Callable[[], Any], runs: int) -> dict[str, float]:
    """Median seconds of some runs, after one that warms up."""
    work()
    clock, processor = [], []
    for _ in range(runs):
        before = time.perf_counter(), time.process_time()
        work()
        clock.append(time.perf_counter() - before[0])
        processor.append(time.process_time() - before[1])
    return {"seconds": round(float(np.median(clock)), 3), "of the processor": round(float(np.median(processor)), 3)}


def stand_in(pipeline: TransferPipeline, name: str) -> tuple[KnownController, bool]:
    """The checkpoint's controller, or an untrained one; and whether it is its own."""
    if name in pipeline.controllers:
        return pipeline.controller(name), True
    spec = ActionSpec(name, (Channel("steering", "rate", -1, 1), Channel("throttle", "rate", -1, 1)))
    made = Controller(ControllerConfig(actions=spec.width), **fitting(pipeline)).eval()
    torch.nn.init.normal_(made.out.weight, std=0.02)
    return KnownController(name, spec, made), False


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="noisy")
    parser.add_argument("--controller", default="car")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--full", action="store_true", help="search with the full world model too (a minute a run)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    pipeline = TransferPipeline.from_pretrained(arguments.checkpoint)
    model = pipeline.model
    picture = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8).repeat(20, 0).repeat(20, 1)
    goal = np.roll(picture, -16, 1)
    known, own_controller = stand_in(pipeline, arguments.controller)
    assert pipeline.folder is not None
    distilled = load_distilled(pipeline.folder)
    own = distilled is not None
    if distilled is None:
        config = model.config
        distilled = DistilledModel(
            DistilledConfig(), config.encoder.channels, config.bottleneck.channels, config.encoder.grid
        ).eval()
        distilled.fit(pipeline.encode(np.stack([picture, goal])).repeat(4, 1, 1))

    # The unit: a step of the full world model for one of many candidates, in the precision that searches have.
    unit = build_planner(pipeline, controller=known, distilled=distilled)
    objective = unit.objective(unit.judge, unit.problem(picture, goal))
    u = torch.randn(1, 32, 3, unit.space.width)
    with torch.no_grad():
        step = timed(lambda: objective(u), arguments.runs)["of the processor"] / (32 * 3)
    found: dict[str, Any] = {}
    settings: dict[str, dict[str, Any]] = {
        "draft, controller looks at each state": {"distilled": distilled},
        "draft, controller looks at the start": {"distilled": distilled, "look": "start"},
        "draft, latent space": {"distilled": distilled, "space": "latent"},
    }
    if arguments.full:
        settings["full world model"] = {"distilled": False}
    for name, asked in settings.items():
        planner = build_planner(pipeline, controller=known, **asked)
        problem = planner.problem(picture, goal)
        plans: list[Any] = []
        took = timed(lambda p=planner, q=problem, made=plans: made.append(p.plan(q, seed=0)), arguments.runs)  # type: ignore[misc]
        found[name] = {
            **took,
            "in steps of the full world model": round(took["of the processor"] / step),
            "same seed, same plan": all(np.array_equal(plans[0].u, p.u) for p in plans[1:]),
        }
        if planner.distilled is not None:
            search, judge = planner.objective(planner.distilled, problem), planner.objective(planner.judge, problem)
            u = torch.randn(1, 300, 3, planner.space.width)
            with torch.no_grad():
                found[name]["one iteration"] = timed(lambda f=search, c=u: f(c), arguments.runs)  # type: ignore[misc]
                found[name]["judging 32"] = timed(lambda f=judge, c=u: f(c[:, :32]), arguments.runs)  # type: ignore[misc]
    told = {
        "command": shlex.join(["python", "-m", "benchmarks.plan", *sys.argv[1:]]),
        "git": git_state(),
        "checkpoint": arguments.checkpoint,
        "its own draft": own,
        "its own controller": own_controller,
        "steps imagined": STEPS,
        "threads": torch.get_num_threads(),
        "load average": round(os.getloadavg()[0], 2),
        "a step of the full world model, of the processor": round(step, 5),
    }
    print(json.dumps(told | found, indent=2))


if __name__ == "__main__":
    main()
