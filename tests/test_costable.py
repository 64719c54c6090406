"""Planning in other people's harness: the protocol's cost, by a stand-in of its solver; and the scripts around it."""

from __future__ import annotations

import builtins
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import moving_square
from controller_files import CAR, add_controller
from torch import Tensor

from benchmarks.peers_tasks.environment import ROOT, make
from benchmarks.peers_tasks.evaluate import Standard, share
from benchmarks.peers_tasks.record import main as record_main
from benchmarks.peers_tasks.tasks import find_task
from benchmarks.peers_tasks.train import main as train_main
from lamdemo.core.errors import LamdemoError
from lamdemo.data.episodes import Episode
from lamdemo.data.episodes.files import EpisodeWriter
from lamdemo.engine import TransferPipeline, resolve_checkpoint
from lamdemo.engine.controls import find_controller
from lamdemo.models.companion_files import load_distilled
from lamdemo.planning import CostWeights, GoalDistance, Planner, PlannerCost, averages, build_planner

BLOCK, HORIZON = 5, 2
FRAMES = moving_square(4, step=6)
MEAN, SCALE = np.array([0.1, -0.2]), np.array([0.5, 0.8])


@pytest.fixture(scope="module")
def planner(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Planner:
    own = Path(shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("harness") / "tiny"))
    add_controller(own, history=1)
    pipeline = TransferPipeline.from_pretrained(own)
    return build_planner(pipeline, distilled=False, horizon=HORIZON, dtype=torch.float32)


def given(starts: list[int], goals: list[int], candidates: int) -> dict[str, Any]:
    """What the harness's solvers hand over: each environment's picture, seen once for each candidate."""

    def seen(rows: list[int]) -> Tensor:
        pictures = torch.from_numpy(FRAMES[rows])[:, None, None]
        return pictures.expand(-1, candidates, -1, -1, -1, -1)

    return {"pixels": seen(starts), "goal": seen(goals), "id": np.zeros((len(starts), candidates, 1))}


def searched(cost: Any, info: dict[str, Any], candidates: int, rounds: int) -> tuple[Tensor, Tensor]:
    """A cross-entropy search as the harness's: the means it ends with, ``[B, S, U]``, and each round's best costs."""
    b, generator, best = len(info["pixels"]), torch.Generator().manual_seed(0), []
    mean, spread = torch.zeros(b, HORIZON, 2 * BLOCK), torch.ones(b, HORIZON, 2 * BLOCK)
    for _ in range(rounds):
        noise = torch.randn(b, candidates, HORIZON, 2 * BLOCK, generator=generator)
        tried = noise * spread[:, None] + mean[:, None]
        tried[:, 0] = mean
        costs = cost.get_cost(info, tried)
        assert costs.shape == (b, candidates)
        values, rows = costs.topk(8, 1, largest=False)
        chosen = tried[torch.arange(b)[:, None], rows]
        mean, spread = chosen.mean(1), chosen.std(1)
        best.append(values[:, 0])
    return mean, torch.stack(best)


class TestPlannerCost:
    def test_a_stand_in_of_the_harness_s_solver_finds_a_goal_that_actions_make(self, planner: Planner) -> None:
        cost = PlannerCost(planner, block=BLOCK, mean=MEAN, scale=SCALE)
        hidden = np.array([[0.9, 0.6], [0.9, 0.6]], np.float32)
        there = planner.imagine(planner.problem(FRAMES[0], FRAMES[0]), hidden).states[-1]
        info = given([0, 0], [0, 1], 48)
        info["lamdemo_problems"] = [planner.problem(FRAMES[0], torch.from_numpy(there)) for _ in range(2)]
        with torch.inference_mode():
            mean, best = searched(cost, info, 48, 10)
        idle = planner.imagine(info["lamdemo_problems"][0], np.zeros((HORIZON, 2), np.float32)).cost
        assert (best[-1] < 0.6 * idle).all()
        assert (best[-1] <= best[0]).all()
        assert cost.actions(mean[:, None]).abs().max() <= 1

    def test_costs_are_the_planner_s_own_of_each_environment(self, planner: Planner) -> None:
        cost = PlannerCost(planner)
        actions = 0.5 * torch.randn(2, 3, HORIZON, 2, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
        costs = cost.get_cost(given([0, 1], [2, 3], 3), actions)
        for b, (start, goal) in enumerate([(0, 2), (1, 3)]):
            problem = planner.problem(FRAMES[start], FRAMES[goal])
            for k in range(3):
                assert float(costs[b, k]) == pytest.approx(planner.imagine(problem, actions[b, k]).cost, rel=1e-4)

    def test_pictures_are_encoded_once_for_a_search(self, planner: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
        counted, encode = [], planner.pipeline.encode
        monkeypatch.setattr(planner.pipeline, "encode", lambda frames: (counted.append(len(frames)), encode(frames))[1])
        searched(PlannerCost(planner, block=BLOCK), given([0, 1], [2, 3], 9), 9, 3)
        assert counted == [1, 1, 1, 1]

    def test_a_block_is_one_step_of_what_its_actions_are_together(self, planner: Planner) -> None:
        cost = PlannerCost(planner, block=BLOCK, mean=MEAN, scale=SCALE)
        each = np.random.default_rng(0).uniform(-1, 1, (HORIZON * BLOCK, 2))
        standard = torch.from_numpy(Standard(MEAN, SCALE).transform(each)).reshape(1, 1, HORIZON, -1)
        assert np.allclose(cost.actions(standard)[0, 0].numpy(), CAR.combine(each, BLOCK), atol=1e-6)
        assert np.allclose(Standard(MEAN, SCALE).inverse_transform(standard.reshape(-1, 2).numpy()), each)
        # Beyond its bounds an environment clips each of its steps, and so must what stands for them.
        one_far = torch.zeros(1, 1, 1, 2 * BLOCK)
        one_far[..., 0] = 50
        assert PlannerCost(planner, block=BLOCK).actions(one_far)[0, 0, 0, 0] == pytest.approx(1 / BLOCK)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"pixels": torch.zeros(1, 2, 1, 64, 64, 3, dtype=torch.uint8)}, "set the world's image_shape"),
            ({"goal": torch.zeros(1, 2, 1, 3, 48, 64)}, "leave the policy's picture transform out"),
            ({"pixels": torch.zeros(1, 2, 3, 48, 64, 3, dtype=torch.uint8)}, "a history of 3 pictures"),
            ({"goal": None}, "evaluate from a data set"),
        ],
    )
    def test_what_it_cannot_plan_from_is_refused_in_a_sentence(
        self, planner: Planner, change: dict[str, Any], says: str
    ) -> None:
        info = {k: v for k, v in (given([0], [1], 2) | change).items() if v is not None}
        with pytest.raises(LamdemoError, match=says):
            PlannerCost(planner, picture=(48, 64)).get_cost(info, torch.zeros(1, 2, HORIZON, 2))

    def test_settings_that_do_not_fit_are_refused_in_a_sentence(self, planner: Planner) -> None:
        with pytest.raises(LamdemoError, match="set the harness's action_block to 5"):
            PlannerCost(planner, block=BLOCK).get_cost(given([0], [1], 2), torch.zeros(1, 2, HORIZON, 2))
        with pytest.raises(LamdemoError, match="at least one of the environment"):
            PlannerCost(planner, block=0)
        with pytest.raises(LamdemoError, match="Give 2 means and scales"):
            PlannerCost(planner, mean=np.zeros(3))
        latent = build_planner(planner.pipeline, space="latent", latents=torch.randn(20, 16), distilled=False)
        with pytest.raises(LamdemoError, match="build the planner with a controller"):
            PlannerCost(latent)


class TestRegions:
    def test_a_thing_nearer_to_a_goal_that_it_does_not_overlap_costs_less(self) -> None:
        cells, side = 256, 16
        places = torch.zeros(side, cells)  # a thing in one cell of the upper row, at each of its places
        places[torch.arange(side), torch.arange(side)] = 1
        view, goal = averages(cells, 2), places[15:]
        states = places[None, :, None]
        plain = GoalDistance(goal)(states, torch.zeros(1))[0]
        seen = GoalDistance(view(goal), view=view)(states, torch.zeros(1))[0]
        assert plain[0] == plain[7] == plain[14]
        assert seen[0] > seen[8] == seen[14] == 0
        with pytest.raises(ValueError, match="16x16 cells"):
            averages(cells, 3)

    def test_are_off_by_default_and_count_alike(self, planner: Planner) -> None:
        problem, actions = planner.problem(FRAMES[0], FRAMES[3]), np.full((HORIZON, 2), 0.5, np.float32)
        start = planner.judge.begin(problem.start, problem.history)
        end = planner.judge.rollout(start, torch.from_numpy(actions)[None, None])
        goal, first = planner.judge.goal(problem.goal), planner.judge.goal(problem.start)

        def far(view: Any) -> float:
            return float((view(end[0, 0, -1]) - view(goal[0])).norm() / (view(first[0]) - view(goal[0])).norm())

        plain, coarse = far(lambda x: x), far(averages(start.state.shape[1], 2))
        assert planner.imagine(problem, actions).cost == pytest.approx(plain, rel=1e-3)
        weights, planner.weights = planner.weights, CostWeights(regions=(2,))
        try:
            assert planner.imagine(problem, actions).cost == pytest.approx((plain + coarse) / 2, rel=1e-3)
            planner.weights = CostWeights(regions=(3,))
            with pytest.raises(LamdemoError, match="choose others"):
                planner.imagine(problem, actions)
        finally:
            planner.weights = weights


class TestScripts:
    def test_training_reads_labels_for_the_controller_alone_and_loads_again(
        self, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        spec, rng = find_task("tworoom").spec, np.random.default_rng(0)
        for folder, seed in (("told", 0), ("untold", 1)):
            writer = EpisodeWriter(tmp_path / folder, spec)
            for i in range(4):
                frames = np.repeat(moving_square(8, step=3 + i), 5, 0)[:36]
                actions = rng.uniform(-1, 1, (35, 2)).astype(np.float32)
                writer.add(Episode(f"{folder}-{i}", frames, actions * (1 - seed), 20.0, spec))
        words = ["train", "--episodes", str(tmp_path / "told"), "--episodes", str(tmp_path / "untold")]
        words += [
            "--horizon",
            "3",
            "--checkpoint",
            str(tiny_checkpoint),
            "--labelled",
            "3",
            "--steps",
            "12",
            "--batch",
            "2",
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", [*words, "--controller-steps", "5", "--out", str(tmp_path / "runs")])
            assert train_main() == 0
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
        assert told[0]["videos"] == 8
        assert told[0]["labels read"] == 0
        assert told[0]["error over no change, held out"] > 0
        assert told[1]["labelled episodes"] == 5  # three of each folder, but for the one of the six that is measured on
        made = tmp_path / "runs" / "checkpoint"
        assert load_distilled(made) is not None
        pipeline = TransferPipeline.from_pretrained(made)
        small = {"samples": 8, "elites": 2, "iterations": 2}
        plan = build_planner(pipeline, controller="tworoom", **small).plan(FRAMES[0], FRAMES[1])
        assert plan.actions is not None
        assert plan.actions.shape == (3, 2)

    def test_what_tworoom_s_report_is_of_lies_beside_noisy_s_weights(self) -> None:
        beside, noisy = ROOT / "benchmarks" / "peers_tasks" / "tworoom", resolve_checkpoint("noisy")
        pipeline = TransferPipeline.from_pretrained(noisy)
        known, small = find_controller(pipeline, beside, "tworoom"), load_distilled(beside, of=noisy)
        assert small is not None
        picture = np.full((224, 224, 3), 255, np.uint8)
        weights = CostWeights(regions=(4, 2))
        planner = build_planner(pipeline, controller=known, distilled=small, weights=weights, dtype=torch.float32)
        info = {k: torch.from_numpy(picture).expand(1, 4, 1, -1, -1, -1) for k in ("pixels", "goal")}
        costs = PlannerCost(planner, block=BLOCK, picture=(224, 224)).get_cost(info, torch.randn(1, 4, 2, 10))
        assert costs.shape == (1, 4)
        assert costs.isfinite().all()

    def test_without_the_package_they_say_how_to_get_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        real = builtins.__import__

        def without(name: str, *rest: Any, **more: Any) -> Any:
            if name.startswith("stable_worldmodel"):
                raise ImportError(name)
            return real(name, *rest, **more)

        monkeypatch.setattr(builtins, "__import__", without)
        monkeypatch.setattr("sys.argv", ["record", "tworoom", "--out", str(tmp_path)])
        assert record_main() == 1
        assert "benchmarks.peers_tasks.environment" in capsys.readouterr().err

    def test_the_environment_is_made_outside_of_the_checkout(self) -> None:
        with pytest.raises(SystemExit, match="outside of this checkout"):
            make(ROOT / "runs" / "venv")
        assert not (ROOT / "runs" / "venv").exists()

    def test_tasks_are_found_by_name(self) -> None:
        assert find_task("pusht").environment == "swm/PushT-v1"
        with pytest.raises(LamdemoError, match="tworoom, pusht"):
            find_task("maze")

    def test_shares_have_intervals_at_both_ends_too(self) -> None:
        none, half = share(np.zeros(50)), share(np.arange(50) % 2)
        assert none["low"] == 0
        assert none["high"] == pytest.approx(7.1)
        assert (half["low"], half["percent"], half["high"]) == (36.6, 50.0, 63.4)
        assert share(np.zeros(0))["percent"] is None
