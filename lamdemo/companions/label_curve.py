"""The label curve: world models and controllers from 5, 20, 100 and all labelled episodes, trained and judged.

The world model is the checkpoint's distilled one ("draft"), which is small enough to be trained dozens of times on two
cores. All begin with it, have its architecture, and are searched alike.

All is kept in a folder: trained weights, and a row of figures for each method, number of episodes and seed. What is
there is not made again, so that a call that was stopped goes on when it is given again, and two processes may work on
different embodiments.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from safetensors.torch import load_model
from torch import Tensor

from lamdemo.companions.making import Work, token_patch
from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import write_safely
from lamdemo.data.episodes import Episodes
from lamdemo.data.splits import Part
from lamdemo.engine.controls import KnownController, fitting
from lamdemo.evaluation.control.adapters import BaselineAdapter, ControllerAdapter
from lamdemo.evaluation.control.held_out import SIZE, HeldOut, Stretch, held_out, of_episodes, stretches
from lamdemo.evaluation.control.label_curve import METHODS, POLICIES, copy_errors, one_step_errors, summarize_curve
from lamdemo.evaluation.control.open_loop import HORIZON, plan_errors
from lamdemo.evaluation.control.planners import CLOSED, OPEN, Budget
from lamdemo.evaluation.control.rollouts import STEPS, ActionAdapter
from lamdemo.evaluation.control.suite import check_names, commands_of
from lamdemo.evaluation.report import plain, write_report
from lamdemo.models.action_conditioned import ActionConditioned, ActionConditionedConfig
from lamdemo.models.checkpoint import weights_of
from lamdemo.models.companion_files import BASELINE, DISTILLED, load_distilled, save_companion
from lamdemo.models.controller import ControllerConfig, load_controller, save_controller
from lamdemo.models.distilled import DistilledModel
from lamdemo.planning.building import build_solver
from lamdemo.planning.dynamics import ByController, ByLabel, Conditioner, Imagination, ModelDynamics
from lamdemo.planning.execution import Constant, Hidden, Planned, Policy, RandomPolicy, ShuffledGoal, Zero
from lamdemo.planning.planner import CostWeights, Planner
from lamdemo.planning.spaces import KnownSpace
from lamdemo.training.action_conditioned import BaselineTrainer, BaselineTrainingConfig
from lamdemo.training.cached_features import CachedEpisode, Steps, cache_episodes
from lamdemo.training.cached_features import Part as Features
from lamdemo.training.controller import ControllerTrainingConfig, train_controller
from lamdemo.training.early_stopping import EarlyStoppingConfig, train_until_flat

Method = Literal["pretrained", "unlabelled", "labelled"]


@dataclass(frozen=True)
class LabelCurveConfig:
    """What is trained on how much, and what it is judged on."""

    counts: tuple[int, ...] = (5, 20, 100, 0)  # labelled episodes; 0 for all
    seeds: tuple[int, ...] = (0, 1, 2)  # of which episodes are labelled, and of the training
    methods: tuple[Method, ...] = METHODS  # type: ignore[assignment]
    # The world model that is trained on without labels takes `steps` at most, the controller `controller_steps`; the
    # baseline gets as many as both: a step of the controller costs a `share` of one of the world model.
    steps: int = 600
    controller_steps: int = 1000
    share: float = 0.5
    clips: int = 12  # of a world model's step
    frames: int = 5  # of each clip
    learning_rate: float = 5e-4  # of the world model
    stopping: EarlyStoppingConfig = field(default_factory=EarlyStoppingConfig)
    part: Part = "test"  # that is judged
    first: int = 100  # of the simulator's scenes of this part; those before belong to other figures
    tasks: int = 51  # dealt out to the seeds
    stretches: int = 48  # for errors one step ahead, and for plans in open loop where there is no simulator
    open: Budget = OPEN
    closed: Budget = field(default_factory=lambda: dataclasses.replace(CLOSED, samples=48, iterations=3))

    def __post_init__(self) -> None:
        if not self.counts or not self.seeds or any(k < 0 for k in self.counts):
            raise LamdemoError("A label curve needs numbers of episodes of 0 (all) or more, and at least one seed.")

    @property
    def baseline_steps(self) -> int:
        """As many as the world model without labels and its controller take together."""
        return self.steps + round(self.share * self.controller_steps)


class LabelCurve:
    """One embodiment's curve, kept in a folder."""

    def __init__(
        self,
        work: Work,
        name: str,
        episodes: Episodes,
        validation: Episodes,
        config: LabelCurveConfig,
        *,
        root: Path | None = None,
        split: Path | None = None,
    ) -> None:
        """Prepare; nothing is computed yet.

        Args:
            work: of the checkpoint that all begin with; ``out`` is kept in.
            name: of the embodiment: a simulator's, "car", "arm".
            episodes: for training.
            validation: others, by which trainings end.
            config: what to do.
            root: where recordings to judge on are, where there is no simulator of that name.
            split: TOML file of which of them are for what.

        Raises:
            LamdemoError: there are too few episodes.
        """
        self.work, self.name, self.config, self.root, self.split = work, name, config, root, split
        self.out = work.out / name
        self._episodes, self._validation = episodes, validation
        if not len(episodes) or not len(validation):
            raise LamdemoError(f"The label curve of {name} needs episodes to learn from and others to end by.")
        self.recordings = sorted(set(episodes.recordings))
        self.spec = episodes.spec

    # What is learned from.

    @cached_property
    def train(self) -> list[CachedEpisode]:
        """All episodes for training, and their mirror images, as the checkpoint sees them."""
        return cache_episodes(self.work.pipeline, self._episodes, self.work.kept, mirror=True)

    @cached_property
    def judged(self) -> list[CachedEpisode]:
        """The others, by which trainings end."""
        return cache_episodes(self.work.pipeline, self._validation, self.work.kept)

    def count(self, wanted: int) -> int:
        """Recordings that are labelled where so many are wanted; 0 is all, and so is more than there are."""
        return min(wanted, len(self.recordings)) or len(self.recordings)

    def labelled(self, count: int, seed: int) -> list[CachedEpisode]:
        """The episodes of ``count`` recordings, chosen by the seed: the first of one order, so that 5 are among 20."""
        order = np.random.default_rng([seed, 15]).permutation(len(self.recordings))[:count]
        chosen = {self.recordings[i] for i in order}
        return [e for e in self.train if e.recording in chosen]

    def fresh(self) -> DistilledModel:
        """The checkpoint's distilled model anew.

        Raises:
            LamdemoError: it has none.
        """
        pipeline = self.work.pipeline
        found = load_distilled(self.work.folder, pipeline.model.device)
        if found is None:
            raise LamdemoError(
                f"The checkpoint {pipeline.name} has no draft to begin with; make one with lamdemo train-draft."
            )
        return found

    # What is trained.

    def unlabelled_model(self) -> DistilledModel:
        """The distilled model, trained on with all videos and no label."""
        place, device = self.out / "unlabelled", self.work.pipeline.model.device
        if not (place / f"{DISTILLED}.json").is_file():
            model = self.fresh()
            training = self._training("latents", self.config.steps, 0)
            told = self._until_flat(model, None, training, self.train, place)
            save_companion(model, place, DISTILLED, told | {"checkpoint": self.work.pipeline.checkpoint})
            _forget(place)
        found = load_distilled(place, device, of=self.work.folder)
        assert found is not None
        return found

    def labelled_model(self, count: int, seed: int) -> tuple[DistilledModel, ActionConditioned]:
        """The distilled model, trained on with ``count`` labelled episodes, and what it is told of their commands."""
        place, device = self.out / f"labelled-{count}-{seed}", self.work.pipeline.model.device
        model = self.fresh()
        _, latent, _ = self.work.sizes
        sizes = ActionConditionedConfig({self.spec.name: self.spec.width}, world_model=model.config.world_model)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            baseline = ActionConditioned(sizes, model.config.channels, latent, model.side).to(device)
        if not (place / f"{BASELINE}.safetensors").is_file():
            training = self._training("labels", self.config.baseline_steps, seed)
            told = self._until_flat(model, baseline, training, self.labelled(count, seed), place)
            write_safely(place / f"{BASELINE}.safetensors", weights_of(baseline, torch.float32))
            write_safely(place / f"{BASELINE}.json", json.dumps(told, indent=1).encode())
            _forget(place)
        load_model(baseline, place / f"{BASELINE}.safetensors")
        model.world_model = baseline.world_model
        return model.eval(), baseline.eval()

    def controller(self, count: int, seed: int) -> KnownController:
        """The controller of ``count`` labelled episodes; it serves both world models, whose latents are the same."""
        place, pipeline = self.out / f"controller-{count}-{seed}", self.work.pipeline
        if not (place / "controllers" / f"{self.name}.json").is_file():
            parts = tuple(_part(e) for e in self.labelled(count, seed))
            if all(channel.kind == "change" for channel in self.spec.channels):
                # As `collect_steps` does with episodes backwards.
                back = (Features(p.states[::-1], -p.latents[::-1], -p.actions[::-1], p.recording, True) for p in parts)
                parts += tuple(back)
            others = Steps(self.spec, tuple(_part(e) for e in self.judged))
            sizes = ControllerConfig(
                self.spec.width, dropout=0.3, patch=token_patch(pipeline.model.config.encoder.grid)
            )
            training = ControllerTrainingConfig(steps=self.config.controller_steps, noise=1.0, seed=seed)
            known = train_controller(pipeline, Steps(self.spec, parts), others, sizes, training, name=self.name)
            assert known is not None
            save_controller(
                known.controller,
                place,
                self.name,
                checkpoint=pipeline.checkpoint,
                spec=known.spec.to_json(),
                about={**known.about, "episodes": count},
            )
        controller, data = load_controller(place, self.name, **fitting(pipeline), device=pipeline.model.device)
        return KnownController(self.name, self.spec, controller, data["about"])

    def _training(self, condition: Literal["labels", "latents"], steps: int, seed: int) -> BaselineTrainingConfig:
        return BaselineTrainingConfig(
            condition=condition,
            steps=steps,
            clips=self.config.clips,
            frames=self.config.frames,
            motion=0.0,
            learning_rate=self.config.learning_rate,
            seed=seed,
        )

    def _until_flat(
        self,
        model: DistilledModel,
        baseline: ActionConditioned | None,
        training: BaselineTrainingConfig,
        episodes: Sequence[CachedEpisode],
        place: Path,
    ) -> dict[str, Any]:
        """Train the model's world model, or the baseline, which begins with it."""

        def coarse(some: Sequence[CachedEpisode]) -> dict[str, list[CachedEpisode]]:
            return {self.spec.name: [_coarse(e, model) for e in some]}

        def say(words: str) -> None:
            self.work.say(f"{self.name}, {place.name}: {words}")

        trainer = BaselineTrainer(training, model.world_model, baseline, coarse(episodes))
        told = train_until_flat(trainer, coarse(self.judged), place, self.config.stopping, say)
        trainer.finish()
        return told

    # What is judged.

    def points(self) -> Iterator[tuple[Method, int, int]]:
        """Method, number of episodes and seed of every point."""
        counts = list(dict.fromkeys(self.count(k) for k in self.config.counts))
        for seed in self.config.seeds:
            for count in counts:
                for method in self.config.methods:
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
        data = {"part": c.part, "recordings": len(self.recordings)}
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
            found = of_episodes(self.name, self._validation, None, "all")
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
        known, baseline = self.controller(count, seed), None
        if method == "labelled":
            model, baseline = self.labelled_model(count, seed)
        else:
            model = self.fresh() if method == "pretrained" else self.unlabelled_model()
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
            policy = Planned(self._planner(known, model, baseline), self.spec, rest=self.config.closed.rest)
            row["tasks"] = self._pursue({method: policy}, known, self._numbers(seed))[method]
        else:
            row["plans"] = self._plans({method: self._planned(self._planner(known, model, baseline))})
        return row

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
        models = {"pretrained": self.fresh(), "unlabelled": self.unlabelled_model()}
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
        known = self.controller(self.count(0), self.config.seeds[0])
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
        from lamdemo.simulators.tasks import make_task

        with make(self.name, size=SIZE, seed=numbers[0]) as sim:
            check_names(self.name, sim.spec, known)
            section = evaluate_closed_loop(sim, (make_task(sim, n) for n in numbers), policies)
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


def _part(episode: CachedEpisode) -> Features:
    return Features(episode.states, episode.latents.numpy(), episode.actions.numpy(), episode.recording)


def _coarse(episode: CachedEpisode, model: DistilledModel) -> CachedEpisode:
    """An episode whose states are as the distilled model has them."""
    with torch.no_grad():
        states = model.project(torch.from_numpy(np.array(episode.states, np.float32))).half().numpy()
    small = [cv2.resize(p, (4 * model.side,) * 2, interpolation=cv2.INTER_AREA) for p in episode.pictures]
    return dataclasses.replace(episode, states=states, pictures=np.stack(small))


def _forget(place: Path) -> None:
    """Remove what a finished training needed to go on."""
    for path in (place / BaselineTrainer.state_name, place / "best.safetensors"):
        path.unlink(missing_ok=True)
