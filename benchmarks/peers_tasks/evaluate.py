"""Evaluate policies on a task by the harness's own ``world.evaluate``, from recorded starts to recorded goals.

    VENV/bin/python -m benchmarks.peers_tasks.evaluate tworoom --recorded FOLDER --checkpoint RUNS/checkpoint \
        --policies nothing random plans --out benchmarks/peers_tasks/tworoom.json

Starts are drawn as the harness's own script draws them (seed 42); a goal is what was recorded 25 steps later, the
budget 50 steps. Plans are made by the harness's cross-entropy solver, five actions of five steps each, all carried out
before the next plan, as its baselines' are; it searches with fewer candidates than theirs (300 x 30), since on two
cores more would take hours.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import shlex
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers_tasks.oracles import TrueFeatures, TrueState
from benchmarks.peers_tasks.record import RECORDING
from benchmarks.peers_tasks.tasks import BLOCK, PICTURE, TASKS, Task, as_script, find_task, harness
from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import file_hash
from lamdemo.engine import TransferPipeline, resolve_checkpoint
from lamdemo.engine.controls import find_controller
from lamdemo.evaluation.report import write_report
from lamdemo.models.companion_files import DISTILLED, load_distilled
from lamdemo.planning import CostWeights, PlannerCost, build_planner

POLICIES = ("nothing", "random", "recorded", "plans", "true states", "true features")
PUBLISHED = {
    "tworoom": {"DINO-WM": 100, "PLDM": 97, "LeWM": 87},
    "pusht": {"LeWM": 96, "PLDM": 78, "DINO-WM": 74, "TD-MPC2": 12},
}
"""Success rates in percent that the harness's makers publish; of recordings of their own."""


@dataclass(frozen=True)
class Search:
    """How plans are made; all but the first three are the harness's settings for its baselines."""

    samples: int = 64
    iterations: int = 8
    spread: float = 1.5  # of the first candidates, in standard deviations of recorded actions
    elites: int = 8
    horizon: int = 5  # steps of the model
    receding: int = 5  # of them carried out before the next plan


class Standard:
    """Standardises actions by their mean and standard deviation, ``[A]`` (the harness's ``Transformable``)."""

    def __init__(self, mean: np.ndarray, scale: np.ndarray) -> None:
        self.mean, self.scale = mean, scale

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Actions ``[..., A]`` to standardised ones."""
        return (x - self.mean) / self.scale

    def inverse_transform(self, x: np.ndarray) -> np.ndarray:
        """And back."""
        return x * self.scale + self.mean


@dataclass(frozen=True, eq=False)
class Setting:
    """What all policies of a run share."""

    task: Task
    dataset: Any
    episodes: np.ndarray  # [n], of the data set
    starts: np.ndarray  # [n], the step at which each begins
    offset: int
    budget: int
    standard: Standard


def draw(task: Task, recorded: Path, count: int, offset: int, budget: int, seed: int) -> Setting:
    """Starts and goals, drawn from all steps after which ``offset`` more were recorded.

    Raises:
        LamdemoError: there is no recording, it is of other pictures, or it is too short.
    """
    place = recorded / RECORDING
    if not place.exists():
        raise LamdemoError(f"{recorded.name} holds no {RECORDING}; record one with benchmarks.peers_tasks.record.")
    dataset = harness().data.load_dataset(str(place))
    actions = np.asarray(dataset.get_col_data("action"), np.float64)
    actions = actions[np.isfinite(actions).all(1)]
    places = [(e, t) for e, n in enumerate(dataset.lengths) for t in range(int(n) - offset)]
    if len(places) <= count:
        raise LamdemoError(f"{recorded.name} has {len(places)} starts for {count} episodes; record more.")
    chosen = np.sort(np.random.default_rng(seed).choice(len(places) - 1, size=count, replace=False))
    episodes, starts = np.array(places)[chosen].T
    shape = tuple(dataset.load_chunk(episodes[:1], starts[:1], starts[:1] + 1)[0]["pixels"].shape[-2:])
    if shape != (PICTURE, PICTURE):
        raise LamdemoError(
            f"{recorded.name} was recorded with pictures of {shape[0]}x{shape[1]} where the task takes "
            f"{PICTURE}x{PICTURE}; record it anew."
        )
    return Setting(task, dataset, episodes, starts, offset, budget, Standard(actions.mean(0), actions.std(0)))


def make_policy(name: str, setting: Setting, search: Search, planner: Any, seed: int) -> Any:
    """A policy of the harness by name (`POLICIES`)."""
    swm, spec, standard = harness(), setting.task.spec, setting.standard

    class Given(swm.policy.BasePolicy):
        """Carries out given actions ``[n, t, A]``, then nothing."""

        def __init__(self, actions: np.ndarray) -> None:
            super().__init__()
            self.actions, self.step = actions, 0

        def get_action(self, info_dict: dict[str, Any], **_: Any) -> np.ndarray:
            """The next of each environment."""
            self.step += 1
            if self.step > self.actions.shape[1]:
                return np.zeros_like(self.actions[:, 0])
            return self.actions[:, self.step - 1]

    n = len(setting.episodes)
    if name == "nothing":
        return Given(np.zeros((n, 1, spec.width), np.float32))
    if name == "random":
        drawn = np.random.default_rng(seed).uniform(spec.low, spec.high, (n, setting.budget, spec.width))
        return Given(drawn.astype(np.float32))
    if name == "recorded":
        rows = setting.dataset.load_chunk(setting.episodes, setting.starts, setting.starts + setting.offset)
        return Given(np.stack([np.asarray(row["action"], np.float32) for row in rows]))
    cost: Any
    if name == "plans":
        cost = PlannerCost(planner, block=BLOCK, mean=standard.mean, scale=standard.scale, picture=(PICTURE, PICTURE))
    elif name == "true states":
        cost = TrueState(setting.task, standard.mean, standard.scale)
    else:
        cost = TrueFeatures(setting.task, standard.mean, standard.scale, planner)
    solver = swm.solver.CEMSolver(
        cost, num_samples=search.samples, n_steps=search.iterations, topk=search.elites, var_scale=search.spread,
        seed=seed,
    )  # fmt: skip
    plan = swm.PlanConfig(search.horizon, search.receding, action_block=BLOCK)
    return swm.policy.WorldModelPolicy(solver, plan, process={"action": standard})


def run(setting: Setting, policy: Any) -> dict[str, Any]:
    """Evaluate one policy; see `describe`."""
    world = harness().World(
        setting.task.environment, num_envs=len(setting.episodes), image_shape=(PICTURE, PICTURE),
        max_episode_steps=2 * setting.budget,
    )  # fmt: skip
    world.set_policy(policy)
    began, spent = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):  # the solver prints a line a plan
        told = world.evaluate(
            dataset=setting.dataset, episodes_idx=setting.episodes.tolist(), start_steps=setting.starts.tolist(),
            goal_offset=setting.offset, eval_budget=setting.budget, callables=list(setting.task.callables),
        )  # fmt: skip
    ends = [env.unwrapped for env in world.envs.envs]
    ends = [np.asarray(env._get_obs(), np.float64) for env in ends]
    world.close()
    seconds, cpu = time.perf_counter() - began, time.process_time() - spent
    return describe(setting, np.asarray(told["episode_successes"], bool), np.stack(ends)) | {
        "seconds": round(seconds, 1),
        "processor seconds": round(cpu, 1),
    }


def describe(setting: Setting, reached: np.ndarray, ends: np.ndarray) -> dict[str, Any]:
    """Success in percent with Wilson's 95% interval, and by groups; which episodes; distances at the end (TwoRoom)."""
    told: dict[str, Any] = {"success": share(reached), "episodes": reached.astype(int).tolist()}
    rows = setting.dataset.load_chunk(setting.episodes, setting.starts, setting.starts + setting.offset + 1)
    states = np.stack([np.asarray(row["state"], np.float64)[[0, -1]] for row in rows])
    if setting.task.name == "tworoom":
        through = (states[:, 0, 0] > 112) != (states[:, 1, 0] > 112)
        far = np.linalg.norm(states[:, 1] - states[:, 0], axis=1)
        for name, some in {
            "through the door": through,
            "same room": ~through,
            "farther than 40 pixels": far > 40,
            "not yet there": far >= 16,
        }.items():
            told[name] = share(reached[some])
        told["pixels from the goal, start and end"] = [
            round(float(far.mean()), 1),
            round(float(np.linalg.norm(ends[:, :2] - states[:, 1], axis=1).mean()), 1),
        ]
    return told


def share(reached: np.ndarray, z: float = 1.96) -> dict[str, float | int | None]:
    """Percent of ``reached [n]`` with Wilson's 95% interval, which is right at 0 and 100 too."""
    n = len(reached)
    if not n:
        return {"percent": None, "low": None, "high": None, "of": 0}
    p = float(np.mean(reached))
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return {"percent": round(100 * p, 1), "low": round(100 * low, 1), "high": round(100 * high, 1), "of": n}


def evaluate(given: argparse.Namespace) -> dict[str, Any]:
    """Evaluate all policies asked for and write the report."""
    torch.set_num_threads(1)
    task, search = find_task(given.task), Search(given.samples, given.iterations, given.spread)
    setting = draw(task, given.recorded, given.episodes, given.offset, given.budget, given.seed)
    pipeline = TransferPipeline.from_pretrained(given.checkpoint, device="cpu")
    planner, companions = None, {}
    if not {"plans", "true features"}.isdisjoint(given.policies):
        beside = given.companions or resolve_checkpoint(given.checkpoint)
        known = find_controller(pipeline, beside, task.spec.name)
        small = load_distilled(beside, of=resolve_checkpoint(given.checkpoint))
        if small is None:
            raise LamdemoError(f"{beside.name} has no small world model; make one with benchmarks.peers_tasks.train.")
        files = (f"{DISTILLED}.safetensors", f"controllers/{task.spec.name}.safetensors")
        companions = {name: file_hash(beside / name) for name in files}
        planner = build_planner(
            pipeline, controller=known, distilled=small, horizon=search.horizon, dtype=torch.float32, look=given.look,
            weights=CostWeights(goal=1 - given.along, along=given.along, regions=tuple(given.regions)),
        )  # fmt: skip
    results: dict[str, Any] = {
        "task": task.environment,
        "search": vars(search),
        "cost": {"regions": given.regions, "along": given.along},
        "controller looks": given.look,
        "small world model and controller, sha256": companions,
        "goal after": setting.offset,
        "budget": setting.budget,
        "trained on": "two cores without an accelerator",
        "published, on recordings of their own": PUBLISHED[task.name],
        "packages": {name: version(name) for name in ("stable-worldmodel", "torch", "torchvision", "gymnasium")},
        "policies": {},
    }
    for name in given.policies:
        results["policies"][name] = run(setting, make_policy(name, setting, search, planner, given.seed))
        print(name, results["policies"][name]["success"], flush=True)
        write_report(
            given.out, results, command=shlex.join(sys.orig_argv), pipeline=pipeline, seed=given.seed,
            data={"recording": given.recorded.name, "episodes": len(setting.dataset.lengths)},
        )  # fmt: skip
    return results


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--recorded", type=Path, required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--companions", type=Path, help="folder of small world model and controller, if elsewhere")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--offset", type=int, default=25, help="steps after the start at which the goal was recorded")
    parser.add_argument("--budget", type=int, default=50)
    parser.add_argument("--samples", type=int, default=Search.samples)
    parser.add_argument("--iterations", type=int, default=Search.iterations)
    parser.add_argument("--spread", type=float, default=Search.spread)
    parser.add_argument("--regions", type=int, nargs="*", default=[])
    parser.add_argument("--along", type=float, default=0.0, help="share of the cost that is taken along the plan")
    parser.add_argument("--look", choices=("each", "start"), default="each")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--out", type=Path, required=True)
    return as_script(parser, evaluate)


if __name__ == "__main__":
    raise SystemExit(main())
