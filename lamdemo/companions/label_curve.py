"""The label curve: models from 5, 20, 100 and all labelled episodes, judged on the same tasks and searched alike.

All is kept in a folder: trained weights, and a row of figures for each method, number of episodes and seed. What is
there is not made again, so that a call that was stopped goes on when it is given again, and processes may share the
work by embodiments and seeds.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamdemo.companions.label_models import LabelModels, Method
from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import write_safely
from lamdemo.engine.controls import KnownController
from lamdemo.evaluation.control.adapters import BaselineAdapter, ControllerAdapter, check_names, commands_of
from lamdemo.evaluation.control.held_out import SIZE, HeldOut, Stretch, held_out, of_episodes, stretches
from lamdemo.evaluation.control.label_curve import POLICIES, READING, copy_errors, one_step_errors, summarize_curve
from lamdemo.evaluation.control.open_loop import HORIZON, plan_errors
from lamdemo.evaluation.control.rollouts import STEPS, ActionAdapter
from lamdemo.evaluation.report import plain, write_report
from lamdemo.models.action_conditioned import ActionConditioned
from lamdemo.models.distilled import DistilledModel
from lamdemo.planning.building import build_solver
from lamdemo.planning.dynamics import ByController, ByLabel, Conditioner, Imagination, ModelDynamics
from lamdemo.planning.execution import Constant, Hidden, Planned, Policy, RandomPolicy, ShuffledGoal, Zero
from lamdemo.planning.inverse import InversePolicy, LabelledInversePolicy
from lamdemo.planning.planner import CostWeights, Planner
from lamdemo.planning.spaces import KnownSpace
from lamdemo.simulators.tasks import Task, make_task


class LabelCurve:
    """One embodiment's curve, kept in a folder."""

    def __init__(self, models: LabelModels, *, root: Path | None = None, split: Path | None = None) -> None:
        """Prepare; nothing is computed yet.

        Args:
            models: what is judged; they are trained when they are needed.
            root: where recordings to judge on are, where there is no simulator of that name.
            split: TOML file of which of them are for what.
        """
        self.models, self.root, self.split = models, root, split
        self.work, self.name, self.config, self.spec = models.work, models.name, models.config, models.spec
        self.out = models.out
        self._tasks: dict[int, Task] = {}

    def points(self) -> Iterator[tuple[Method, int, int]]:
        """Method, number of episodes and seed of every point."""
        counts = list(dict.fromkeys(self.models.count(k) for k in self.config.counts))
        for seed in self.config.seeds:
            for count in counts:
                for method in self.config.methods:
                    if method not in READING or self.simulated:
                        yield method, count, seed

    def run(self, minutes: float | None = None, only: Sequence[int] = ()) -> bool:
        """Train and judge what is missing.

        Args:
            minutes: begin no further point after so many.
            only: seeds to work on, so that several processes can share the work; all without it.

        Returns:
            Whether all is there.
        """
        begun = time.monotonic()
        self._row(POLICIES, self._judge_policies)
        for method, count, seed in self.points():
            if only and seed not in only:
                continue
            if minutes is not None and time.monotonic() - begun > 60 * minutes:
                return False
            self._row(f"{method}-{count}-{seed}", lambda m=method, k=count, s=seed: self._judge(m, k, s))  # type: ignore[misc]
            gc.collect()
        return True

    def _row(self, name: str, make: Callable[[], dict[str, Any]]) -> None:
        path = self.out / "rows" / f"{name}.json"
        if path.is_file():
            return
        begun = time.monotonic()
        row = make() | {"minutes": (time.monotonic() - begun) / 60}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safely(path, json.dumps(plain(row), indent=1).encode())
        self.work.say(f"{self.name}: {name} judged after {row['minutes']:.1f} minutes")

    def write_report(self, path: Path, command: str) -> None:
        """Write a report of all embodiments whose rows lie in the folder.

        Raises:
            LamdemoError: it cannot be written.
        """
        curves = {}
        for folder in sorted(p.parent for p in self.work.out.glob("*/rows")):
            rows = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("rows/*.json"))]
            curves[folder.name] = summarize_curve(rows)
        c = self.config
        results = {"evaluation": "label_curve", "settings": plain(dataclasses.asdict(c)), "curves": curves}
        data = {"part": c.part, "recordings": len(self.models.recordings)}
        write_report(path, results, command=command, pipeline=self.work.pipeline, seed=0, data=data)

    @property
    def simulated(self) -> bool:
        """Whether there is a simulator of that name, in which goals are pursued."""
        from lamdemo import simulators

        return self.name in simulators.names()

    def _held_out(self) -> HeldOut:
        c = self.config
        if self.simulated:
            found = held_out(self.name, None, split=None, part=c.part, count=c.stretches, first=c.first)
        elif self.root is not None:
            found = held_out(self.name, self.root, split=self.split, part=c.part, count=c.stretches)
        else:
            found = of_episodes(self.name, self.models.validation, None, "all")
        if found is None:
            raise LamdemoError(f"There are no recordings of {self.name} to judge on; give a folder that has some.")
        return found

    def cut(self, steps: int) -> list[Stretch]:
        """Stretches of held-out episodes."""
        found = self._held_out()
        try:
            side = self.work.pipeline.model.config.encoder.picture
            return list(stretches(found, self.work.pipeline.fps, steps, self.config.stretches, 0, side))
        finally:
            found.close()

    @cached_property
    def long(self) -> list[Stretch]:
        """For errors one step ahead."""
        return self.cut(STEPS)

    @cached_property
    def seen(self) -> list[Tensor]:
        """Their states."""
        with torch.no_grad():
            return [self.work.pipeline.encode(s.frames).float() for s in self.long]

    @cached_property
    def short(self) -> list[Stretch]:
        """For plans in open loop."""
        return self.cut(HORIZON)

    def _judge(self, method: Method, count: int, seed: int) -> dict[str, Any]:
        known, baseline = self.models.controller(count, seed), None
        if method in READING:
            policy = self._reading(method, known, count, seed)
            tasks = self._pursue({method: policy}, known, self._numbers(seed))[method]
            return {"method": method, "episodes": count, "seed": seed, "tasks": tasks}
        if method == "labelled":
            model, baseline = self.models.labelled_model(count, seed)
        else:
            model = self.models.fresh() if method == "pretrained" else self.models.unlabelled_model()
        adapter: ActionAdapter = (
            ControllerAdapter(self.work.pipeline, known)
            if baseline is None
            else BaselineAdapter(baseline, self.spec.name)
        )
        row: dict[str, Any] = {"method": method, "episodes": count, "seed": seed}
        row["one_step"] = {
            "error": one_step_errors(self.work.pipeline, model, self.long, self.seen, adapter),
            "copy": copy_errors(model, self.seen),
            "recordings": [s.recording for s in self.long],
        }
        if self.simulated:
            planned = Planned(self._planner(known, model, baseline), self.spec, rest=self.config.closed.rest)
            row["tasks"] = self._pursue({method: planned}, known, self._numbers(seed))[method]
        else:
            row["plans"] = self._plans({method: self._planned(self._planner(known, model, baseline))})
        return row

    def _reading(self, method: Method, known: KnownController, count: int, seed: int) -> Policy:
        """What reads commands from what is seen and the goal."""
        pipeline = self.work.pipeline
        if method == "inverse":
            return InversePolicy(pipeline, known)
        return LabelledInversePolicy(pipeline, self.models.labelled_inverse(count, seed), self.spec)

    def _planner(self, known: KnownController, model: DistilledModel, baseline: ActionConditioned | None) -> Planner:
        """Searches with the model, and with nothing else."""
        budget = self.config.closed if self.simulated else self.config.open
        conditioner: Conditioner = (
            ByController(known.controller) if baseline is None else ByLabel(baseline, self.spec.name)
        )
        mean, scale = known.controller.mean.float(), known.controller.std.float().clamp_min(1e-6)
        return Planner(
            self.work.pipeline,
            # A controller that looked at every imagined state would take most of the time; the baseline looks at none.
            ModelDynamics(conditioner, Imagination.distilled(model), actions=self.spec.width, look="start"),
            KnownSpace(self.spec, mean, scale),
            build_solver(budget.solver, **budget.settings()),
            weights=CostWeights(goal=1 - budget.along, along=budget.along, prior=budget.prior, kind="gaussian"),
            horizon=HORIZON,
            history=conditioner.history,
        )

    def _judge_policies(self) -> dict[str, Any]:
        """Baselines without a model, and inferred latents."""
        models = {"pretrained": self.models.fresh(), "unlabelled": self.models.unlabelled_model()}
        found: dict[str, Any] = {
            f"inferred, {name}": one_step_errors(self.work.pipeline, model, self.long, self.seen, None)
            for name, model in models.items()
        }
        row: dict[str, Any] = {
            "method": POLICIES,
            "episodes": 0,
            "seed": 0,
            "one_step": {
                **found,
                "copy": copy_errors(models["pretrained"], self.seen),
                "recordings": [s.recording for s in self.long],
            },
        }
        known = self.models.controller(self.models.count(0), self.config.seeds[0])
        mean, spread = commands_of(known)
        if self.simulated:
            planned = Planned(self._planner(known, models["unlabelled"], None), self.spec, rest=self.config.closed.rest)
            simple = {
                "random": RandomPolicy(self.spec, mean, spread),
                "nothing": Zero(self.spec),
                "mean command": Constant(self.spec, mean),
                "hidden commands": Hidden(self.spec),
            }
            numbers = sorted(n for s in self.config.seeds for n in self._numbers(s))
            row["tasks"] = self._pursue(simple, known, numbers)
            row["tasks"] |= self._pursue({"shuffled goal": ShuffledGoal(planned)}, known, numbers[::3])
        else:
            true = np.stack([s.actions for s in self.short])
            noise = np.random.default_rng(3).normal(size=true.shape)
            row["plans"] = self._plans(
                {
                    "mean command": np.broadcast_to(mean, true.shape),
                    "last command": np.stack([np.repeat(s.before[-1:], HORIZON, 0) for s in self.short]),
                    "random": np.clip(mean + spread * noise, self.spec.low, self.spec.high),
                }
            )
        return row

    def _numbers(self, seed: int) -> list[int]:
        """The scenes of a seed's tasks: seeds take turns, and together have them all."""
        from lamdemo.simulators.recording import seeds

        place, c = self.config.seeds.index(seed), self.config
        return list(seeds(c.part)[c.first : c.first + c.tasks])[place :: len(c.seeds)]

    def _pursue(
        self, policies: Mapping[str, Policy], known: KnownController, numbers: Sequence[int]
    ) -> dict[str, list[dict[str, Any]]]:
        """What became of each task, by policy."""
        from lamdemo.evaluation.control.closed_loop import evaluate_closed_loop
        from lamdemo.simulators import make

        with make(self.name, size=SIZE, seed=numbers[0]) as sim:
            check_names(self.name, sim.spec, known)
            for n in numbers:
                # A hidden sequence is looked for in dozens of trials, and the same tasks serve every point.
                self._tasks[n] = self._tasks.get(n) or make_task(sim, n)
            section = evaluate_closed_loop(sim, [self._tasks[n] for n in numbers], policies)
        return {
            p: [
                {"seed": r["seed"], "start": r["start"], "distance": r["distance"][p], "reached": p in r["success"]}
                for r in section["rows"]
            ]
            for p in policies
        }

    def _planned(self, planner: Planner) -> np.ndarray:
        """Plans ``[n, S, A]`` between the ends of stretches."""
        made = []
        for i, stretch in enumerate(self.short):
            plan = planner.plan(stretch.frames[0], stretch.frames[-1], history=stretch.before, seed=i)
            assert plan.actions is not None
            made.append(plan.actions)
        return np.stack(made)

    def _plans(self, plans: Mapping[str, np.ndarray]) -> dict[str, Any]:
        true = np.stack([s.actions for s in self.short])
        found = {name: plan_errors(p, true, self.spec) for name, p in plans.items()}
        nothing = plan_errors(np.broadcast_to(self.spec.zero, true.shape), true, self.spec)
        key = {"error": next(iter(found.values()))} if len(found) == 1 else found
        return {**key, "zero": nothing, "recordings": [s.recording for s in self.short]}
