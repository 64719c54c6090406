"""Known actions and plans judged: stretches, rollouts under commands, plans, runs in a simulator, the report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from torch import Tensor
from torch.nn import functional as F
from toy_simulator import TOY, Toy, install, toy_task

from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.core.errors import LamdemoError
from lamdemo.data.episodes.episode import Episode
from lamdemo.data.episodes.files import EpisodeWriter
from lamdemo.engine import LatentActions, TransferPipeline
from lamdemo.engine.controls import KnownController, fitting
from lamdemo.evaluation.control import ControlConfig, run_control, suite
from lamdemo.evaluation.control.closed_loop import evaluate_closed_loop, summarize
from lamdemo.evaluation.control.held_out import BEFORE, HeldOut, Stretch, stretches, summed
from lamdemo.evaluation.control.open_loop import compare_plans, evaluate_open_loop
from lamdemo.evaluation.control.planners import Budget
from lamdemo.evaluation.control.rollouts import compare_rollouts, evaluate_rollouts, imagine
from lamdemo.models import checkpoint_hash
from lamdemo.models.action_conditioned import ActionConditioned, ActionConditionedConfig
from lamdemo.models.companion_files import BASELINE, DISTILLED, save_companion
from lamdemo.models.controller import Controller, ControllerConfig, save_controller
from lamdemo.models.distilled import DistilledConfig, DistilledModel
from lamdemo.models.world_model import WorldModelConfig
from lamdemo.planning import ModelDynamics, build_planner
from lamdemo.planning.decoding import decode_plan, nearest_commands
from lamdemo.planning.execution import Hidden, Planned, RandomPolicy, Zero, pursue
from lamdemo.reporting.reports import read_reports
from lamdemo.reporting.tables import make_table
from lamdemo.reporting.view import View


@pytest.fixture
def pipeline(tiny_checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(tiny_checkpoint)


def toy_episode(seed: int, steps: int = 20, **changes: Any) -> Episode:
    """The dot goes about; its actions are what was done."""
    rng = np.random.default_rng(seed)
    sim = Toy(seed=seed)
    frames, actions = [sim.observe().frame], []
    for _ in range(steps):
        before = sim.position
        frames.append(sim.step(rng.uniform(-0.1, 0.1, 2)).frame)
        actions.append(sim.position - before)
    name = f"toy-{seed}"
    return replace(Episode(name, np.stack(frames), np.stack(actions), 4.0, TOY, recording=name), **changes)


def given(episodes: Sequence[Episode]) -> HeldOut:
    recordings = tuple(e.recording for e in episodes)
    return HeldOut("toy", episodes[0].spec, recordings, lambda i, fps: episodes[i].at(fps), {})


def cut_of(count: int = 4, steps: int = 3, side: int = 64) -> list[Stretch]:
    return list(stretches(given([toy_episode(i) for i in range(count)]), 4.0, steps, count, 0, side))


def controller_of(
    pipeline: TransferPipeline, *, seed: int = 0, history: int = 2, kind: Any = "state"
) -> KnownController:
    """A controller with random weights, under which commands do differ."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        grid = pipeline.model.config.encoder.grid
        config = ControllerConfig(actions=2, history=history, kind=kind, width=16, heads=2, patch=grid, hidden=32)
        controller = Controller(config, **fitting(pipeline))
        with torch.no_grad():
            for parameter in controller.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        controller.fit_scales(0.06 * torch.randn(200, 2))
    return KnownController("toy", TOY, controller.eval().requires_grad_(False))


class TestStretches:
    def test_commands_before_and_of_a_step(self) -> None:
        actions = np.arange(20, dtype=np.float32).reshape(10, 2) / 1000
        frames = np.zeros((11, 8, 8, 3), np.uint8)
        (one,) = stretches(given([Episode("a", frames, actions, 4.0, TOY)]), 4.0, 10, 1, 0, 8)
        assert one.frames.shape == (11, 8, 8, 3) and (one.before == 0).all() and len(one.before) == BEFORE
        np.testing.assert_array_equal(one.commands(0, 2), [[0, 0], actions[0]])
        np.testing.assert_array_equal(one.commands(4, 3), actions[2:5])

    def test_what_was_done_before_is_kept(self) -> None:
        episode = toy_episode(0, 40)
        for one in stretches(given([episode]), 4.0, 3, 5, 0, 64):
            first = next(t for t in range(38) if np.array_equal(episode.actions[t : t + 3], one.actions))
            known = episode.actions[max(first - BEFORE, 0) : first]
            np.testing.assert_array_equal(one.before[BEFORE - len(known) :], known)
            np.testing.assert_array_equal(one.frames[0], episode.frames[first])

    def test_they_do_not_overlap_and_recordings_take_turns(self) -> None:
        episodes = [toy_episode(i, 30) for i in range(3)]
        found = list(stretches(given(episodes), 4.0, 4, 9, 0, 64))
        assert [s.name for s in found] == ["toy-0"] * 3 + ["toy-1"] * 3 + ["toy-2"] * 3
        for i, episode in enumerate(episodes):
            mine = [s for s in found if s.name == f"toy-{i}"]
            starts = [next(t for t in range(27) if (episode.frames[t] == s.frames[0]).all()) for s in mine]
            assert (np.diff(starts) >= 4).all()
        shared = [replace(e, recording="one") for e in episodes[:2]] + [episodes[2]]
        assert {s.recording for s in stretches(given(shared), 4.0, 4, 2, 0, 64)} == {"one", "toy-2"}

    def test_at_the_models_rate(self) -> None:
        (one,) = stretches(given([replace(toy_episode(1, 16), fps=8.0)]), 4.0, 8, 1, 0, 64)
        np.testing.assert_allclose(one.actions.sum(0), toy_episode(1, 16).actions.sum(0), rtol=1e-5)

    def test_an_episode_that_is_too_short_gives_none(self) -> None:
        assert len(list(stretches(given([toy_episode(0, 5), toy_episode(1, 20)]), 4.0, 8, 2, 0, 64))) == 1

    def test_sums_by_kind(self) -> None:
        kinds = ActionSpec(
            "x", (Channel("a", "rate", -1, 1), Channel("b", "change", -1, 1), Channel("c", "target", 0, 9))
        )
        np.testing.assert_allclose(summed(kinds, np.array([[1, 2, 3], [4, 5, 6.0]])), [5, 7, 6])


class TestRollouts:
    def test_drawn_as_a_transfer_is(self, pipeline: TransferPipeline) -> None:
        frames = np.stack([s.frames for s in cut_of(2, 4)])
        states = torch.stack([pipeline.encode(f) for f in frames])
        z = pipeline.model.infer(states)
        made = imagine(pipeline, pipeline.model.world_model, frames[:, 0], states[:, 0], lambda k, _: z[:, k], 4)
        alone = pipeline.model.world_model.rollout(states[:, :1], z).states
        torch.testing.assert_close(made.states, alone, rtol=1e-4, atol=1e-4)
        for b in range(2):
            whole = pipeline.transfer(LatentActions(z[b].numpy(), 4.0), frames[b, 0])
            assert np.abs(made.frames[b].astype(int) - whole.frames[1:]).max() <= 1

    def test_a_perfect_controller_is_as_good_as_inferred_latents(self, pipeline: TransferPipeline) -> None:
        cut = cut_of(5, 8)
        # It knows a command when it sees it, whatever the state, and so others' commands lead astray.
        known: dict[bytes, Tensor] = {}
        for s in cut:
            z = pipeline.model.infer(pipeline.encode(s.frames)[None])[0]
            known |= {a.tobytes(): z[k] for k, a in enumerate(s.actions)}

        class Knows:
            world_model, history = pipeline.model.world_model, 1

            def latents(self, states: Tensor, commands: Tensor) -> Tensor:
                return torch.stack([known[c[-1].numpy().tobytes()] for c in commands])

        class Blind(Knows):
            def latents(self, states: Tensor, commands: Tensor) -> Tensor:
                return torch.zeros(len(states), TINY.bottleneck.channels)

        found = evaluate_rollouts(pipeline, cut, {"controller": Knows(), "mlp": Blind()})
        assert (found["stretches"], found["recordings"], found["steps"]) == (5, 5, 8)
        assert found["over_inferred"]["controller"]["value"] == pytest.approx(1, abs=1e-5)
        assert found["over_inferred"]["mlp"] == found["over_inferred"]["zero"]
        assert found["perceptual"]["shuffled"]["mean"] != pytest.approx(found["perceptual"]["controller"]["mean"], 1e-4)
        assert found["mlp_over_controller"]["value"] == pytest.approx(found["over_inferred"]["mlp"]["value"], 1e-4)
        states = torch.stack([pipeline.encode(s.frames) for s in cut])
        copied = (states[:, 1:] - states[:, :1]).abs().mean((0, 2, 3))
        np.testing.assert_allclose(found["state"]["error"]["copy"], copied, rtol=1e-5)

    def test_the_share_of_the_states_error_that_is_taken_off(self) -> None:
        copied = np.random.default_rng(0).uniform(1, 2, (10, 8))
        near = {m: np.ones((10, 4)) for m in ("inferred", "copy", "controller", "zero")}
        apart = {"inferred": copied - 0.8, "copy": copied, "controller": copied - 0.6, "zero": copied + 0.2}
        found = compare_rollouts(near, apart, [str(i) for i in range(10)], 0)["state"]
        assert found["recovered"]["controller"] == pytest.approx({"value": 0.75, "low": 0.75, "high": 0.75})
        assert found["recovered"]["zero"]["value"] == pytest.approx(-0.25)
        assert set(found["recovered"]) == {"controller", "zero"}
        # Where the model itself is no better than copying, there is nothing to take a share of.
        worse = {**apart, "inferred": copied + 1}
        nothing = compare_rollouts(near, worse, [str(i) for i in range(10)], 0)["state"]["recovered"]
        assert nothing["controller"]["value"] is None

    def test_nothing_to_shuffle_with(self, pipeline: TransferPipeline) -> None:
        cut = list(stretches(given([toy_episode(0, 40)]), 4.0, 2, 2, 0, 64))
        known = controller_of(pipeline)
        follower = SimpleNamespace(world_model=pipeline.model.world_model, history=2, latents=known.latents)
        found = evaluate_rollouts(pipeline, cut, {"controller": follower})
        assert "shuffled" not in found["perceptual"] and found["mlp_over_controller"] is None


class TestOpenLoop:
    def true(self, n: int = 40) -> tuple[np.ndarray, list[str]]:
        return np.random.default_rng(0).normal(0.02, 0.05, (n, 3, 2)), [str(i // 2) for i in range(n)]

    def compare(self, spec: ActionSpec = TOY, **plans: np.ndarray) -> dict[str, Any]:
        true, names = self.true()
        base = {m: np.zeros_like(true) for m in ("zero", "mean", "held")}
        return compare_plans({**base, **plans}, true, spec, names, 0)

    def test_the_truth_has_no_error_and_order_does_not_count(self) -> None:
        true, _ = self.true()
        found = self.compare(exact=true, backwards=true[:, ::-1], half=true / 2)
        assert found["error"]["exact"] == 0 and found["error"]["backwards"] == pytest.approx(0, abs=1e-12)
        half = found["over_zero"]["half"]
        assert half["value"] == pytest.approx(0.5) and half["low"] == pytest.approx(0.5)
        assert found["metres"]["zero"] == pytest.approx(np.linalg.norm(true.sum(1), axis=1).mean())
        assert found["by_channel"]["dx"]["correlation"]["half"] == pytest.approx(1)
        assert found["by_channel"]["dx"]["correlation"]["zero"] is None

    def test_how_far_a_gripper_opens_is_no_way_in_space(self) -> None:
        names = ("x", "gripper")
        spec = ActionSpec("hand", tuple(Channel(n, "change", -1, 1, "m") for n in names))
        true, _ = self.true()
        assert self.compare(spec)["metres"]["zero"] == pytest.approx(np.abs(true.sum(1)[:, 0]).mean())

    def test_each_channel_counts_alike_whatever_its_unit(self) -> None:
        true, names = self.true()
        scale = np.array([1000.0, 1.0])
        rng = np.random.default_rng(1)
        plans = {m: np.zeros_like(true) for m in ("zero", "mean", "held")} | {
            "some": true + rng.normal(0, 0.01, true.shape)
        }
        one = compare_plans(plans, true, TOY, names, 0)["error"]
        other = compare_plans({m: p * scale for m, p in plans.items()}, true * scale, TOY, names, 0)["error"]
        assert one == pytest.approx(other)

    def test_a_channel_that_never_changes_does_not_count(self) -> None:
        true, names = self.true()
        true[..., 1] = 0.1
        plans = {m: np.zeros_like(true) for m in ("zero", "mean", "held")} | {"some": true * [1, 5]}
        assert compare_plans(plans, true, TOY, names, 0)["error"]["some"] == pytest.approx(0)

    def test_over_the_twin_where_there_is_one(self) -> None:
        true, _ = self.true()
        found = self.compare(twin=true * 0.5, controller=true * 0.25)
        assert found["over_twin"]["controller"]["value"] == pytest.approx(1.5)
        assert "over_twin" not in self.compare(controller=true)

    def test_plans_are_asked_for_with_the_commands_before(self, pipeline: TransferPipeline) -> None:
        cut = cut_of(12)
        asked: list[int] = []

        def plan(starts: Tensor, goals: Tensor, before: np.ndarray, seed: int) -> np.ndarray:
            asked.append(len(starts))
            rows = [s for s in cut if any((s.before == b).all() for b in before)]
            torch.testing.assert_close(starts, torch.stack([pipeline.encode(s.frames[:1])[0] for s in rows]))
            torch.testing.assert_close(goals, torch.stack([pipeline.encode(s.frames[-1:])[0] for s in rows]))
            return np.stack([s.actions for s in rows])

        about = {"mean": np.zeros(2), "spread": np.full(2, 0.05)}
        found = evaluate_open_loop(pipeline, cut, TOY, {"controller": plan}, **about)
        assert sum(asked) == found["pairs"] == 12 and found["error"]["controller"] == pytest.approx(0, abs=1e-6)
        assert found["error"]["random"] > 0 and found["over_held"]["controller"]["value"] == pytest.approx(0, abs=1e-6)


class Seer:
    """A planner that sees where the dot is, and goes where it should be."""

    def __init__(self, warm: Any = None) -> None:
        self.calls: list[dict[str, Any]] = []

    def plan(self, start: np.ndarray, goal: np.ndarray, **settings: Any) -> Any:
        self.calls.append(settings)

        def place(frame: np.ndarray) -> np.ndarray:
            bright = (frame.astype(float) - frame.min()).sum(-1) ** 4
            y, x = (np.arange(n) / n for n in frame.shape[:2])
            return np.array([(bright.sum(0) * x).sum(), (bright.sum(1) * y).sum()]) / bright.sum()

        way = np.clip((place(goal) - place(start)) / 2, -0.15, 0.15).astype(np.float32)
        shifted = SimpleNamespace(shifted=lambda n: f"shifted by {n}")
        return SimpleNamespace(actions=np.repeat(way[None], 3, 0), warm=shifted)


class TestExecution:
    def test_hidden_actions_lead_to_the_goal_and_nothing_leads_nowhere(self) -> None:
        sim = Toy()
        task = toy_task(sim, 3)
        run = pursue(sim, task, Hidden(TOY), 6)
        assert run.frames.shape == (7, 64, 64, 3) and len(run.actions) == 6
        assert run.distances[4]["metres"] == pytest.approx(0, abs=1e-6)
        assert run.reached == [False] * 4 + [True] * 3 or run.reached[4:] == [True] * 3
        np.testing.assert_array_equal(run.frames[4], task.goal_frame)
        still = pursue(sim, task, Zero(TOY), 3)
        assert len({d["metres"] for d in still.distances}) == 1 and not any(still.reached)

    def test_a_run_starts_at_the_tasks_start_whatever_was_before(self) -> None:
        sim = Toy()
        task = toy_task(sim, 3)
        first = pursue(sim, task, RandomPolicy(TOY, np.zeros(2), np.full(2, 0.05)), 4, seed=1)
        sim.reset(8)
        again = pursue(sim, task, RandomPolicy(TOY, np.zeros(2), np.full(2, 0.05)), 4, seed=1)
        np.testing.assert_array_equal(first.frames, again.frames)
        other = pursue(sim, task, RandomPolicy(TOY, np.zeros(2), np.full(2, 0.05)), 4, seed=2)
        assert (other.actions != first.actions).any() and (np.abs(first.actions) <= 0.15).all()

    def test_planning_again_at_every_step(self) -> None:
        sim, seer = Toy(), Seer()
        task = toy_task(sim, 5)
        policy = Planned(seer, TOY)
        run = pursue(sim, task, policy, 7)
        assert run.reached[-1] and len(seer.calls) == 7
        assert seer.calls[0]["warm"] is None and seer.calls[0]["history"] is None
        assert all(c["warm"] == "shifted by 1" for c in seer.calls[1:])
        np.testing.assert_array_equal(seer.calls[3]["history"], run.actions[:3])
        assert len({c["seed"] for c in seer.calls}) == 7

    def test_planning_again_at_every_second_step(self) -> None:
        sim, seer = Toy(), Seer()
        run = pursue(sim, toy_task(sim, 5), Planned(seer, TOY, replan=2), 5)
        assert len(seer.calls) == 3 and seer.calls[1]["warm"] == "shifted by 2"
        np.testing.assert_array_equal(run.actions[0], run.actions[1])

    @pytest.mark.parametrize(("cost", "moves"), [(0.85, True), (0.93, False), (1.2, False)])
    def test_a_plan_that_promises_little_is_not_carried_out(self, cost: float, moves: bool) -> None:
        sim = Toy()

        class Priced(Seer):
            def plan(self, start: np.ndarray, goal: np.ndarray, **settings: Any) -> Any:
                found = super().plan(start, goal, **settings)
                return SimpleNamespace(**vars(found), cost=cost, idle_cost=1.0)

        run = pursue(sim, toy_task(sim, 5), Planned(Priced(), TOY, rest=0.1), 3)
        assert bool((run.actions != TOY.zero).any()) == moves
        # The search goes on from where the plan stands: one step of rest is one step, however many were to be taken.
        seer = Priced()
        pursue(sim, toy_task(sim, 5), Planned(seer, TOY, rest=0.1, replan=2), 3)
        assert seer.calls[1]["warm"] == ("shifted by 2" if moves else "shifted by 1")

    def test_a_callback_stops_it(self) -> None:
        sim = Toy()
        seen: list[int] = []

        def stop(k: int, now: Any, policy: Any) -> bool:
            seen.append(k)
            return k < 2

        run = pursue(sim, toy_task(sim, 1), Zero(TOY), 9, callback=stop)
        assert seen == [1, 2] and len(run.actions) == 2

    def test_a_command_of_another_width_is_refused(self) -> None:
        sim = Toy()
        task = toy_task(sim, 1)
        with pytest.raises(LamdemoError, match="have 3 numbers a step where toy takes 2"):
            pursue(sim, replace(task, actions=np.zeros((4, 3), np.float32)), Hidden(TOY), 2)

    @pytest.mark.parametrize("history", [1, 2, 3])
    def test_the_nearest_command_is_the_one_that_was_given(self, pipeline: TransferPipeline, history: int) -> None:
        known = controller_of(pipeline, history=history)
        rng = np.random.default_rng(0)
        commands = rng.uniform(-0.1, 0.1, (4, 2)).astype(np.float32)
        before = rng.uniform(-0.1, 0.1, (4, 5, 2)).astype(np.float32)
        states = torch.randn(4, 16, 24, generator=torch.Generator().manual_seed(0))
        window = np.concatenate([before, commands[:, None]], 1)[:, -history:]
        wanted = known.latents(states, window)
        found = nearest_commands(known, states, wanted, before, ridge=0).commands
        np.testing.assert_allclose(found, commands, atol=0.01)
        alone = nearest_commands(known, states[2:3], wanted[2:3], before[2:3], ridge=0).commands
        np.testing.assert_allclose(alone[0], found[2], atol=1e-5)

    def test_a_latent_plan_is_decoded_step_by_step(self, pipeline: TransferPipeline) -> None:
        known = controller_of(pipeline)
        commands = np.random.default_rng(0).uniform(-0.1, 0.1, (1, 3, 2)).astype(np.float32)
        states = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
        wanted = known.latents(states[0], known.windows(commands[0]))[None]
        found = decode_plan(known, states, wanted, np.zeros((1, 0, 2), np.float32), ridge=0)
        np.testing.assert_allclose(found, commands, atol=0.02)

    def test_a_channel_that_latents_hardly_tell_of_stays_at_its_mean(self, pipeline: TransferPipeline) -> None:
        def act(memory: Tensor, window: Tensor) -> Tensor:
            return F.pad(window[:, -1] * torch.tensor([10.0, 0.05]), (0, 6))

        controller = SimpleNamespace(
            mean=torch.tensor([0.0, 0.03]),
            std=torch.full((2,), 0.05),
            act=act,
            memory=lambda states: states[:, :1],
            parameters=lambda: iter([torch.zeros(1)]),
        )
        known: Any = SimpleNamespace(controller=controller, spec=TOY, history=1)
        wanted = torch.zeros(1, 8)
        wanted[0, :2] = torch.tensor([0.5, -0.1])  # the second is far beyond what any command brings about
        states, before = torch.zeros(1, 16, 24), np.zeros((1, 1, 2), np.float32)
        free, held = (nearest_commands(known, states, wanted, before, ridge=r).commands[0] for r in (0.0, 0.01))
        np.testing.assert_allclose(held, [0.05, 0.03], atol=0.01)
        assert abs(free[0] - 0.05) < 0.005 and free[1] < -0.05


class TestClosedLoop:
    def test_policies_are_set_against_each_other(self) -> None:
        sim = Toy()
        policies = {
            "twin": Planned(Seer(), TOY),
            "controller": Planned(Seer(), TOY),
            "random": RandomPolicy(TOY, np.zeros(2), np.full(2, 0.05)),
            "zero": Zero(TOY),
            "hidden": Hidden(TOY),
        }
        tasks = (toy_task(sim, seed) for seed in range(12))
        found = evaluate_closed_loop(sim, tasks, policies)  # type: ignore[arg-type]
        assert (found["tasks"], found["steps"], found["distance_is"]) == (12, 6, "metres")
        assert found["success"]["hidden"] == {"value": 1, "low": 1, "high": 1}
        assert found["success"]["zero"]["value"] == 0 and found["success"]["controller"]["value"] == 1
        assert found["over_twin"]["controller"]["value"] == pytest.approx(1)
        assert found["distance"]["zero"]["value"] == pytest.approx(found["start"]["value"])
        assert found["over_zero"]["controller"]["high"] < 0.3 < found["over_zero"]["random"]["value"]
        assert len(found["by_step"]["zero"]) == 7 and found["others"]["sideways"]["hidden"] == pytest.approx(
            0, abs=1e-6
        )
        assert found["rows"][3]["seed"] == 3 and "hidden" in found["rows"][3]["success"]

    def test_being_there_once_and_at_the_end_are_told_apart(self) -> None:
        def run(*distances: float) -> Any:
            return SimpleNamespace(distances=[{"m": d} for d in distances], reached=[d < 1 for d in distances])

        found = summarize({"a": [run(3, 0, 2), run(3, 2, 0)], "twin": [run(3, 2, 4), run(3, 2, 0)]}, [1, 2], 0)
        assert (found["success"]["a"]["value"], found["touched"]["a"]["value"]) == (0.5, 1)
        assert found["over_twin"]["a"]["value"] == 0.5 and found["distance"]["a"]["value"] == 1
        assert found["success_over_twin"]["a"]["value"] == 1


QUICK = Budget(samples=6, elites=2, iterations=2, refine=2)


def distilled_of(pipeline: TransferPipeline) -> DistilledModel:
    sizes = WorldModelConfig(width=32, depth=1, heads=2, patch=2, map_channels=8, head_width=16)
    config, encoder = pipeline.model.config, pipeline.model.config.encoder
    made = DistilledModel(
        DistilledConfig(pool=2, channels=12, world_model=sizes),
        encoder.channels,
        config.bottleneck.channels,
        encoder.grid,
    ).eval()
    made.fit(pipeline.encode(toy_episode(0).frames))
    return made


class TestBudgets:
    @pytest.mark.parametrize("distilled", [True, False])
    def test_a_plan_takes_as_many_evaluations_in_latent_space_as_through_the_controller(
        self, pipeline: TransferPipeline, distilled: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps = {"search": 0, "judged": 0}
        rollout, imagine = ModelDynamics.rollout, ModelDynamics.imagine

        def counted(self: ModelDynamics, start: Any, actions: Tensor) -> Tensor:
            searching = self.imagination.coarse is not None or not distilled
            steps["search" if searching else "judged"] += actions.shape[0] * actions.shape[1] * actions.shape[2]
            return rollout(self, start, actions)

        def seen(self: ModelDynamics, start: Any, actions: Tensor) -> Any:
            steps["judged"] += actions.shape[0] * actions.shape[1]
            return imagine(self, start, actions)

        monkeypatch.setattr(ModelDynamics, "rollout", counted)
        monkeypatch.setattr(ModelDynamics, "imagine", seen)
        frames = toy_episode(0).frames
        latents = pipeline.infer(frames).z[None]
        coarse = distilled_of(pipeline) if distilled else False
        budget = Budget(samples=9, elites=3, iterations=2, refine=4, distilled=distilled)
        for space in ("known", "latent"):
            steps.update(search=0, judged=0)
            planner = build_planner(
                pipeline,
                controller=controller_of(pipeline),
                space=space,  # type: ignore[arg-type]
                latents=latents,
                distilled=coarse,
                refine=budget.refine,
                **budget.settings(),
            )
            planner.plan(frames[0], frames[3])
            assert steps == budget.evaluations(3)
        assert budget.evaluations(3)["search"] == (57 if distilled else 54)


def with_control(checkpoint: Path, folder: Path) -> Path:
    """A copy of a checkpoint with controllers of the toy and of the same dot as recorded ("dot"), and a twin."""
    shutil.copytree(checkpoint, folder)
    pipeline = TransferPipeline.from_pretrained(folder)
    about = {"checkpoint": checkpoint_hash(folder)}
    for name, kind in (("toy", "state"), ("toy-mlp", "actions"), ("dot", "state")):
        spec = replace(TOY, name=name.removesuffix("-mlp")).to_json()
        save_controller(controller_of(pipeline, kind=kind).controller, folder, name, spec=spec, **about)
    config = ActionConditionedConfig({"toy": 2}, hidden=8, world_model=TINY.world_model)
    save_companion(
        ActionConditioned(config, TINY.encoder.channels, TINY.bottleneck.channels, TINY.encoder.grid), folder, BASELINE
    )
    return folder


class TestSuite:
    @pytest.fixture
    def pipelines(self, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        install(monkeypatch)
        return {"tiny": TransferPipeline.from_pretrained(with_control(tiny_checkpoint, tmp_path / "tiny"))}

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        spec = replace(TOY, name="dot")
        writer = EpisodeWriter(tmp_path / "root" / "dot", spec)
        for seed in range(3):
            writer.add(replace(toy_episode(seed), name=f"dot-{seed}", recording=f"dot-{seed}", spec=spec))
        return tmp_path / "root"

    def judge(self, pipelines: Any, out: Path, **changes: Any) -> tuple[dict[str, Any], list[str]]:
        said: list[str] = []
        config = ControlConfig(max_episodes=3, open=QUICK, closed=QUICK, **changes)
        run_control(pipelines, out, config, command="lamdemo", say=said.append)
        return json.loads((out / "tiny" / "control.json").read_text())["results"], said

    def test_every_part_of_every_embodiment(self, pipelines: Any, root: Path, tmp_path: Path) -> None:
        found, _ = self.judge(pipelines, tmp_path / "out", root=root)
        assert {p: set(found[p]) for p in ("rollouts", "openloop", "closedloop")} == {
            "rollouts": {"toy", "dot"},
            "openloop": {"toy", "dot"},
            "closedloop": {"toy"},
        }
        methods = {"controller", "mlp", "twin", "shuffled", "zero", "copy"}
        assert set(found["rollouts"]["toy"]["over_inferred"]) == methods
        assert set(found["rollouts"]["dot"]["over_inferred"]) == methods - {"mlp", "twin"}
        plans = {"controller", "latent", "twin", "mean", "held", "random"}
        assert set(found["openloop"]["toy"]["over_zero"]) == plans
        assert set(found["openloop"]["dot"]["over_zero"]) == plans - {"latent", "twin"}
        loops = found["closedloop"]["toy"]
        beside = {"inverse", "closing", "random", "zero", "mean", "hidden"}
        assert set(loops["success"]) == {"controller", "latent", "twin", *beside}
        assert loops["success"]["hidden"]["value"] == 1 and loops["data"]["seeds"] == [20000, 20002]
        wanted = {
            "rollouts_over_inferred_controller",
            "openloop_over_mean_controller",
            "closedloop_over_twin_controller",
        }
        assert wanted <= set(found["headline"]["toy"])
        view = View(read_reports(tmp_path / "out"), "tiny", tmp_path)
        for name in ("control", "controlplans", "controlloops"):
            made = make_table(name, view)
            assert "toy" in made and "None" not in made and "](out/tiny/control.json)" in made

    def test_a_run_goes_on_where_it_was_cut_short(self, pipelines: Any, tmp_path: Path) -> None:
        out = tmp_path / "out"
        first, _ = self.judge(pipelines, out, only=("openloop",), embodiments=("toy",))
        assert "closedloop" not in first
        both, said = self.judge(pipelines, out, only=("openloop", "closedloop"), embodiments=("toy",))
        assert both["openloop"] == first["openloop"] and "closedloop" in both
        assert any("openloop of toy kept" in words for words in said)
        other, said = self.judge(pipelines, out, only=("openloop",), embodiments=("toy",), seed=1)
        assert other["openloop"] != first["openloop"] and not any("kept" in words for words in said)
        again, _ = self.judge(pipelines, tmp_path / "anew", only=("openloop",), embodiments=("toy",))
        apart = {k: v for k, v in first["openloop"]["toy"].items() if k not in ("minutes", "date", "seconds")}
        assert apart == {k: again["openloop"]["toy"][k] for k in apart}

    def test_two_processes_write_one_report(
        self, pipelines: Any, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out, judged = tmp_path / "out", suite.evaluate_rollouts

        def meanwhile(*arguments: Any, **named: Any) -> Any:
            monkeypatch.setattr(suite, "evaluate_rollouts", judged)
            self.judge(pipelines, out, root=root, only=("rollouts",), embodiments=("dot",))
            return judged(*arguments, **named)

        monkeypatch.setattr(suite, "evaluate_rollouts", meanwhile)
        found, _ = self.judge(pipelines, out, only=("rollouts",), embodiments=("toy",))
        assert set(found["rollouts"]) == {"toy", "dot"}

    def test_what_cannot_be_judged_does_not_spoil_the_rest(self, pipelines: Any, root: Path, tmp_path: Path) -> None:
        shutil.rmtree(root / "dot")
        spec = ActionSpec("dot", (Channel("other", "rate", -1, 1),))
        actions = np.zeros((20, 1), np.float32)
        EpisodeWriter(root / "dot", spec).add(replace(toy_episode(0), name="a", spec=spec, actions=actions))
        with pytest.raises(LamdemoError, match="actions of dot are other and the controller dot knows dx, dy"):
            self.judge(pipelines, tmp_path / "out", root=root, only=("openloop",))
        report = json.loads((tmp_path / "out/tiny/control.json").read_text())["results"]
        assert set(report["openloop"]) == {"toy"}

    def test_a_twin_may_lie_elsewhere_but_must_be_of_the_checkpoint(self, pipelines: Any, tmp_path: Path) -> None:
        place, apart = pipelines["tiny"].folder, tmp_path / "apart"
        apart.mkdir()
        for ending in ("json", "safetensors"):
            (place / f"{BASELINE}.{ending}").rename(apart / f"{BASELINE}.{ending}")
        assert suite.find_baseline(pipelines["tiny"], "toy", None) == (None, None)
        baseline, distilled = suite.find_baseline(pipelines["tiny"], "toy", apart)
        assert baseline is not None and baseline.names == ("toy",) and distilled is None
        about = json.loads((apart / f"{BASELINE}.json").read_text())
        about["about"]["checkpoint"] = "0" * 64
        (apart / f"{BASELINE}.json").write_text(json.dumps(about))
        with pytest.raises(LamdemoError, match="twin of apart was made for other weights"):
            suite.find_baseline(pipelines["tiny"], "toy", apart)

    def test_another_draft_is_judged_anew(self, pipelines: Any, tmp_path: Path) -> None:
        sizes = TINY.encoder.channels, TINY.bottleneck.channels, TINY.encoder.grid
        embodiment = suite._models_of(pipelines["tiny"], "toy", ControlConfig())
        keys = []
        for seed in (None, 0, 1):
            if seed is not None:
                torch.manual_seed(seed)
                save_companion(DistilledModel(DistilledConfig(channels=8), *sizes), pipelines["tiny"].folder, DISTILLED)
            keys.append(suite._made_from(pipelines["tiny"], embodiment, ControlConfig(), "openloop")["draft"])
        assert keys[0] is None and len(set(keys)) == 3

    def test_what_other_code_made_is_judged_anew(self, pipelines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        embodiment = suite._models_of(pipelines["tiny"], "toy", ControlConfig())
        now = suite._made_from(pipelines["tiny"], embodiment, ControlConfig(), "openloop")
        monkeypatch.setattr(suite, "code_hash", lambda: "of other code")
        assert suite._made_from(pipelines["tiny"], embodiment, ControlConfig(), "openloop") != now

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"only": ("pairs",)}, "no part 'pairs' of the suite; choose from rollouts, openloop, closedloop"),
            ({"embodiments": ("boat",)}, "has no controller 'boat'; it has dot, toy"),
            ({"baseline": Path("tests")}, "no twin in tests"),
        ],
    )
    def test_refusals(self, pipelines: Any, tmp_path: Path, changes: Any, words: str) -> None:
        with pytest.raises(LamdemoError, match=words):
            self.judge(pipelines, tmp_path / "out", **changes)
        assert not (tmp_path / "out").exists()

    def test_a_checkpoint_without_controllers(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        pipelines = {"tiny": TransferPipeline.from_pretrained(tiny_checkpoint)}
        with pytest.raises(LamdemoError, match="no controller; train one with lamdemo train-controller"):
            self.judge(pipelines, tmp_path / "out")

    def test_which_recordings_are_held_out_must_be_known(self, pipelines: Any, tmp_path: Path) -> None:
        (tmp_path / "INDEX.tsv").write_text("file\tactions\n")
        with pytest.raises(LamdemoError, match="held out is not known; give --split"):
            self.judge(pipelines, tmp_path / "out", root=tmp_path)
