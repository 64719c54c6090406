"""Planning: solvers find minima, repeat themselves and go on; dynamics say what the pipeline says; plans get nearer."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, moving_square
from torch import Tensor

from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import LatentActions, TransferPipeline
from lamdemo.engine.controls import KnownController
from lamdemo.models.action_conditioned import ActionConditioned, ActionConditionedConfig
from lamdemo.models.controller import Controller, ControllerConfig
from lamdemo.models.distilled import DistilledConfig, DistilledModel
from lamdemo.models.world_model import WorldModelConfig
from lamdemo.planning import (
    CEM,
    SOLVERS,
    ByController,
    CostWeights,
    GoalDistance,
    Imagination,
    Iteration,
    KnownSpace,
    LatentSpace,
    ModelDynamics,
    PathLength,
    Planner,
    PriorPenalty,
    RecordedCEM,
    RecordedCEMConfig,
    SolverState,
    Sum,
    build_planner,
    build_solver,
)
from lamdemo.planning.dynamics import CoarseLook
from lamdemo.planning.parallel import in_parallel
from lamdemo.planning.solver import Noise, Solver, SolverConfig, around, setting, take

D, GRID, Z = TINY.encoder.channels, TINY.encoder.grid, TINY.bottleneck.channels
SPEC = ActionSpec(
    "car", (Channel("steering", "rate", -1.0, 1.0, words=("left", "right")), Channel("throttle", "rate", -0.5, 2.0))
)
FRAMES = moving_square(4, step=6)
SHAPE = (2, 3, 4)
SMALL = {"samples": 24, "elites": 6, "iterations": 4}


def bowl(targets: Tensor) -> Any:
    """Squared distance to ``targets [B, S, U]``, steeper in some directions."""
    steep = torch.linspace(0.5, 2, targets.shape[-1])
    return lambda u: (steep * (u - targets[:, None]).square()).sum((2, 3))


def targets(seed: int = 0) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(tiny_checkpoint)


def shaken(module: Any, seed: int = 1) -> Any:
    """With weights under which something happens; new ones predict that nothing does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


@pytest.fixture(scope="module")
def known() -> KnownController:
    config = ControllerConfig(actions=2, history=3, width=16, heads=2, depth=1, patch=2, hidden=16)
    controller = shaken(Controller(config, D, Z, GRID))
    controller.fit_scales(torch.tensor([[0.5, 1.0], [-0.5, 0.2]]))
    return KnownController("car", SPEC, controller)


@pytest.fixture(scope="module")
def distilled(pipeline: TransferPipeline) -> DistilledModel:
    small = WorldModelConfig(width=32, depth=1, heads=2, patch=2, map_channels=8, head_width=16)
    made = shaken(DistilledModel(DistilledConfig(pool=2, channels=12, world_model=small), D, Z, GRID))
    made.fit(pipeline.encode(FRAMES))
    return made


class TestSolvers:
    @pytest.mark.parametrize("name", ["cem", "icem", "mppi", "gradient"])
    def test_find_the_minimum_of_a_bowl(self, name: str) -> None:
        goal = targets()
        found = build_solver(name).solve(bowl(goal), SHAPE, seed=3)
        tried = build_solver("random").solve(bowl(goal), SHAPE, seed=3)
        idle = bowl(goal)(torch.zeros_like(goal)[:, None])[:, 0]
        assert (found.cost < 0.02 * idle).all()
        assert (found.cost < 0.2 * tried.cost).all()
        torch.testing.assert_close(bowl(goal)(found.u[:, None])[:, 0], found.cost)

    @pytest.mark.parametrize("name", SOLVERS)
    def test_the_best_never_gets_worse_and_is_the_best_of_all_tried(self, name: str) -> None:
        seen: list[Iteration] = []
        found = build_solver(name, iterations=6).solve(bowl(targets()), SHAPE, callback=seen.append)  # type: ignore[arg-type, func-returns-value]
        assert [i.index for i in seen] == list(range(6))
        assert (found.best_costs.diff(dim=0) <= 0).all()
        torch.testing.assert_close(found.cost, torch.cat([i.costs for i in seen], 1).amin(1), rtol=0, atol=0)
        for i in seen:
            ranked = i.costs.gather(1, i.elites)
            assert (ranked.diff(dim=1) >= 0).all()
            assert (ranked[:, 0] == i.costs.amin(1)).all()

    @pytest.mark.parametrize("name", SOLVERS)
    def test_a_seed_repeats_and_another_differs_whatever_else_draws(self, name: str) -> None:
        solver = build_solver(name, iterations=5)
        first = solver.solve(bowl(targets()), SHAPE, seed=7)
        torch.manual_seed(99)
        torch.randn(1000)
        again = solver.solve(bowl(targets()), SHAPE, seed=7)
        assert torch.equal(first.u, again.u)
        assert torch.equal(first.state.std, again.state.std)
        assert not torch.equal(first.u, solver.solve(bowl(targets()), SHAPE, seed=8).u)

    @pytest.mark.parametrize("name", SOLVERS)
    def test_problems_side_by_side_are_solved_as_each_alone(self, name: str) -> None:
        goal, solver = targets(), build_solver(name, iterations=5)
        both = solver.solve(bowl(goal), SHAPE, seed=[4, 9])
        for b, seed in enumerate((4, 9)):
            alone = solver.solve(bowl(goal[b : b + 1]), (1, *SHAPE[1:]), seed=seed)
            torch.testing.assert_close(both.u[b], alone.u[0], rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("name", SOLVERS)
    def test_a_callback_stops_with_the_best_so_far(self, name: str) -> None:
        best: list[Tensor] = []

        def two(iteration: Iteration) -> bool:
            best.append(iteration.best)
            return iteration.index < 1

        found = build_solver(name).solve(bowl(targets()), SHAPE, callback=two)
        assert found.stopped
        assert len(best) == len(found.best_costs) == 2
        assert torch.equal(found.u, best[-1])

    @pytest.mark.parametrize("name", SOLVERS)
    def test_go_on_from_where_an_earlier_search_ended(self, name: str) -> None:
        solver = build_solver(name, iterations=4)
        first = solver.solve(bowl(targets()), SHAPE, seed=1)
        start = first.state if name != "random" else dataclasses.replace(first.state, std=0.3 * first.state.std)
        second = solver.solve(bowl(targets()), SHAPE, seed=2, start=start)
        cold = solver.solve(bowl(targets()), SHAPE, seed=2)
        assert second.cost.sum() < cold.cost.sum()

    def test_one_more_is_added_by_its_name(
        self, pipeline: TransferPipeline, known: KnownController, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An example: all that a new solver takes. In the package it has a file of its own beside `cem.py`."""

        @dataclasses.dataclass(frozen=True)
        class NarrowingConfig(SolverConfig):
            solver = "narrowing"
            samples: int = setting(200, 2, 100_000)
            elites: int = setting(1, 1, "samples")
            iterations: int = setting(20, 1, 1000)

        class Narrowing(Solver):
            """Looks around the best candidate, less far each time."""

            def propose(self, state: SolverState, noise: Noise, index: int) -> Tensor:
                return around(state.mean, state.std, noise.normal(self.config.samples, *state.mean.shape[1:]))

            def learn(self, state: SolverState, candidates: Tensor, costs: Tensor, elites: Tensor) -> SolverState:
                return SolverState(take(candidates, elites)[:, 0], 0.75 * state.std)

        monkeypatch.setitem(SOLVERS, "narrowing", (NarrowingConfig, Narrowing))
        goal = targets()
        found, tried = (build_solver(n).solve(bowl(goal), SHAPE, seed=3) for n in ("narrowing", "random"))
        assert (found.cost < 0.5 * tried.cost).all()
        planner = build_planner(pipeline, controller=known, solver="narrowing", samples=6, iterations=2, horizon=2)
        assert planner.plan(FRAMES[0], FRAMES[3]).actions.shape == (2, 2)  # type: ignore[union-attr]
        with pytest.raises(LamdemoError, match="narrowing takes as samples a whole number from 2 to 100000, not 1"):
            build_solver("narrowing", samples=1)

    def test_a_shifted_state_drops_what_is_done(self) -> None:
        mean = torch.arange(6.0).reshape(1, 3, 2)
        state = SolverState(mean, 0.1 * torch.ones(1, 3, 2), {"elites": mean[:, None]}).shifted(1)
        assert state.mean[0].tolist() == [[2, 3], [4, 5], [4, 5]]
        assert torch.equal(state.extra["elites"], state.mean[:, None])
        assert state.std[0, :, 0].tolist() == pytest.approx([0.1, 0.1, 1.0])
        assert state.shifted(9).mean[0].tolist() == [[4, 5]] * 3

    def test_a_search_of_another_shape_cannot_go_on(self) -> None:
        first = build_solver("cem", iterations=1).solve(bowl(targets()), SHAPE)
        with pytest.raises(ValueError, match="cannot go on"):
            build_solver("cem").solve(bowl(targets()[:, :2]), (2, 2, 4), start=first.state)
        with pytest.raises(ValueError, match="3 seeds for 2"):
            build_solver("cem").solve(bowl(targets()), SHAPE, seed=[1, 2, 3])

    @pytest.mark.parametrize("name", SOLVERS)
    def test_candidates_whose_cost_is_no_number_are_never_chosen(self, name: str) -> None:
        def holed(u: Tensor) -> Tensor:
            costs = bowl(targets())(u)
            return torch.where(u[:, :, 0, 0] > 0, torch.nan, costs)

        found = build_solver(name, iterations=5).solve(holed, SHAPE, seed=2)
        assert found.cost.isfinite().all()
        assert (found.u[:, 0, 0] <= 0).all()
        assert found.state.mean.isfinite().all()

    @pytest.mark.parametrize("name", SOLVERS)
    def test_a_first_round_of_no_numbers_spoils_nothing(self, name: str) -> None:
        rounds = 0

        def late(u: Tensor) -> Tensor:
            nonlocal rounds
            rounds += 1
            return bowl(targets())(u) * (torch.nan if rounds == 1 else 1.0)

        found = build_solver(name, iterations=4).solve(late, SHAPE, seed=2)
        assert found.cost.isfinite().all() and found.state.mean.isfinite().all()
        torch.testing.assert_close(bowl(targets())(found.u[:, None])[:, 0], found.cost)

    def test_gradients_beat_random_with_a_tenth_of_the_evaluations(self) -> None:
        def valley(u: Tensor) -> Tensor:  # Rosenbrock's, in pairs of coordinates
            x, y = u[..., ::2], u[..., 1::2]
            return ((1 - x).square() + 20 * (y - x.square()).square()).sum((2, 3))

        count = {"gradient": 0, "random": 0}

        def counted(name: str) -> Any:
            def objective(u: Tensor) -> Tensor:
                count[name] += u.shape[1]
                return valley(u)

            return objective

        by = {n: build_solver(n).solve(counted(n), SHAPE) for n in count}
        assert count["gradient"] < 0.1 * count["random"]
        assert (by["gradient"].cost < 0.5 * by["random"].cost).all()

    @pytest.mark.parametrize(
        ("name", "settings", "says"),
        [
            ("newton", {}, "no solver 'newton'; choose one of cem, icem"),
            ("cem", {"temperature": 1.0}, "no setting 'temperature'; it has samples, elites"),
            ("cem", {"samples": 1}, "takes as samples a whole number from 2"),
            ("cem", {"samples": 30.5}, "whole number"),
            ("cem", {"samples": 8, "elites": 9}, "elites a whole number from 1 to 8, not 9"),
            ("icem", {"decay": 0.5}, "decay a number from 1"),
            ("mppi", {"temperature": float("nan")}, "temperature"),
            ("gradient", {"iterations": 0}, "iterations"),
        ],
    )
    def test_bad_settings_are_refused_in_a_sentence(self, name: str, settings: dict[str, Any], says: str) -> None:
        with pytest.raises(LamdemoError, match=says):
            build_solver(name, **settings)

    @pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
    def test_coloured_noise_has_unit_variance_and_goes_somewhere(self, beta: float) -> None:
        x = Noise(0, 1).coloured(20000, 4, 1, beta)[0, :, :, 0]
        assert x.var(0).tolist() == pytest.approx([1.0] * 4, abs=0.05)
        neighbours = float((x[:, 1:] * x[:, :-1]).mean())
        assert neighbours == pytest.approx(0, abs=0.03) if beta == 0 else neighbours > 0.3


class TestSpaces:
    def test_known_actions_stay_within_bounds_and_come_back(self) -> None:
        space = KnownSpace(SPEC, torch.tensor([0.1, 0.5]), torch.tensor([0.3, 0.4]))
        wild = space.decode(100 * torch.randn(50, 3, 2))
        assert (wild >= torch.from_numpy(SPEC.low)).all()
        assert (wild <= torch.from_numpy(SPEC.high)).all()
        u = torch.rand(50, 2) - 0.5
        torch.testing.assert_close(space.encode(space.decode(u)), u)
        assert space.decode(torch.zeros(2)).tolist() == pytest.approx([0.1, 0.5])
        assert space.idle.tolist() == [0, 0]
        moved = space.decode(u + torch.tensor([0.1, 0.1])) - space.decode(u)
        torch.testing.assert_close(moved[0], space.spread(torch.tensor([0.1, 0.1])))

    def test_latents_are_standard_normal_in_their_space(self) -> None:
        generator = torch.Generator().manual_seed(0)
        mixing = torch.randn(3, Z, generator=generator) * torch.tensor([[5.0], [2.0], [0.5]])
        z = torch.randn(4000, 3, generator=generator) @ mixing
        space = LatentSpace.fit(z, 12)
        assert space.width == 3  # the others are not there
        u = space.encode(z)
        torch.testing.assert_close(u.T @ u / len(u), torch.eye(3), rtol=0, atol=1e-3)
        torch.testing.assert_close(space.decode(u), z, rtol=0, atol=1e-3)
        torch.testing.assert_close(space.basis @ space.basis.T, torch.eye(3), rtol=0, atol=1e-5)
        assert (space.decode(torch.zeros(3)) == 0).all()
        assert (space.std.diff() < 0).all()
        # Whatever order the latents come in, and whichever way they are counted, it is the same space.
        torch.testing.assert_close(LatentSpace.fit(-z.flip(0), 2).basis, space.basis[:2], rtol=0, atol=1e-3)

    def test_discrete_latents_become_codes_and_let_gradients_pass(self) -> None:
        codes = torch.randn(9, Z)
        space = LatentSpace.fit(torch.randn(50, Z), 4, codes=codes)
        u = torch.randn(7, 3, 4, requires_grad=True)
        z = space.decode(u)
        assert (torch.cdist(z.detach().reshape(-1, Z), codes).amin(1) < 1e-5).all()
        z.sum().backward()
        assert u.grad is not None
        assert u.grad.abs().max() > 0

    @pytest.mark.parametrize("latents", [np.zeros((1, Z)), np.ones((5, Z)) * 0, np.zeros((3, 2, Z))])
    def test_latents_that_span_nothing_are_refused(self, latents: np.ndarray) -> None:
        with pytest.raises(LamdemoError, match="latent actions"):
            LatentSpace.fit(latents.astype(np.float32))


class TestSharedSteps:
    def test_share_is_the_correlation_of_a_candidate_s_steps(self) -> None:
        start = SolverState(torch.zeros(1, 3, 4), torch.ones(1, 3, 4))
        for shared in (0.0, 0.5, 0.9):
            solver = build_solver("cem", samples=4000, shared=shared)
            tried = solver.propose(start, Noise(0, 1), 0)
            assert tried.shape == (1, 4000, 3, 4) and (tried[:, 0] == 0).all()
            assert tried.std() == pytest.approx(1, abs=0.03)
            assert (tried[0, :, 0] * tried[0, :, 2]).mean() == pytest.approx(shared, abs=0.04)
            assert torch.equal(tried, solver.propose(start, Noise(0, 1), 0))
            assert not torch.equal(tried, solver.propose(start, Noise(1, 1), 0))

    def test_none_is_the_search_of_independent_steps(self) -> None:
        start = SolverState(torch.zeros(1, 3, 4), torch.ones(1, 3, 4))
        drawn = build_solver("cem", samples=8, elites=2, shared=0.0).propose(start, Noise(3, 1), 0)
        assert torch.equal(drawn[:, 1:], Noise(3, 1).normal(8, 3, 4)[:, 1:])

    def test_recorded_proposals_need_recordings(self, pipeline: TransferPipeline, known: KnownController) -> None:
        latents = pipeline.infer(moving_square(12, step=2)).z
        recorded = np.stack([latents[:5], latents[5:10]])
        plain = build_planner(pipeline, space="latent", latents=latents).solver
        assert type(plain) is CEM and plain.config.shared == 0
        found = build_planner(pipeline, space="latent", latents=recorded, proposals="recorded", recorded=0.8).solver
        assert type(found) is RecordedCEM and found.config == RecordedCEMConfig(recorded=0.8)
        normal = build_planner(pipeline, space="latent", latents=recorded, proposals="normal", shared=0.2).solver
        assert type(normal) is CEM and normal.config.shared == 0.2
        assert build_planner(pipeline, controller=known).solver.config.shared == 0
        build_planner(pipeline, space="latent", latents=recorded, solver="icem")
        # Recordings that are shorter than a plan cannot be one.
        assert (
            type(build_planner(pipeline, space="latent", latents=recorded, proposals="recorded", horizon=6).solver)
            is CEM
        )
        with pytest.raises(LamdemoError, match="no proposals 'drawn'"):
            build_planner(pipeline, space="latent", latents=recorded, proposals="drawn")  # type: ignore[arg-type]
        with pytest.raises(LamdemoError, match="shared a number from 0 to 1, not"):
            build_planner(pipeline, controller=known, shared=1.5)


class TestRecorded:
    SEQUENCES = torch.arange(2 * 5 * 4, dtype=torch.float32).reshape(2, 5, 4) + 100

    def test_first_candidates_are_steps_that_followed_each_other(self) -> None:
        start = SolverState(torch.zeros(2, 3, 4), torch.ones(2, 3, 4))
        solver = RecordedCEM(RecordedCEMConfig(samples=40, elites=5, recorded=0.75), self.SEQUENCES)
        first = solver.propose(start, Noise([0, 1], 2), 0)
        assert first.shape == (2, 40, 3, 4) and (first[:, 0] == 0).all()
        assert (first[:, :10] < 50).all() and (first[:, 10:] >= 100).all()
        windows = {tuple(r[i : i + 3].flatten().tolist()) for r in self.SEQUENCES for i in range(3)}
        for own in first[:, 10:]:
            assert {tuple(c.flatten().tolist()) for c in own} == windows  # all six, of thirty draws
        assert not torch.equal(first[0], first[1])
        assert torch.equal(first[1:], solver.propose(start, Noise([0, 1], 2), 0)[1:])
        assert (solver.propose(start, Noise(0, 2), 1) < 50).all()

    def test_a_search_that_goes_on_stays_near_with_half_of_them(self) -> None:
        start = SolverState(torch.full((1, 3, 4), 7.0), torch.full((1, 3, 4), 0.1))
        solver = RecordedCEM(RecordedCEMConfig(samples=40, elites=5, recorded=0.5), self.SEQUENCES)
        first = solver.propose(start, Noise(0, 1), 0)
        assert (first[:, 0] == 7).all() and (first[:, :30] < 50).all() and (first[:, 30:] >= 100).all()
        every = RecordedCEM(RecordedCEMConfig(samples=4, elites=2, recorded=1.0), self.SEQUENCES)
        assert (every.propose(SolverState(torch.zeros(1, 3, 4), torch.ones(1, 3, 4)), Noise(0, 1), 0)[:, 0] == 0).all()

    def test_finds_what_was_recorded_at_once(self) -> None:
        solver = RecordedCEM(RecordedCEMConfig(samples=64, elites=4, iterations=1), self.SEQUENCES)
        found = solver.solve(bowl(self.SEQUENCES[:1, 2:5]), (1, 3, 4))
        assert found.cost.item() == 0


class TestCosts:
    def test_distance_is_the_last_state_s_and_in_units(self) -> None:
        states, goal = torch.zeros(1, 2, 3, 4), torch.full((1, 4), 2.0)
        states[0, 1, -1] = 2
        states[0, 0, 0] = 2  # there on the way, and gone again
        actions = torch.zeros(1, 2, 3, 2)
        assert GoalDistance(goal)(states, actions).tolist() == [[4, 0]]
        assert GoalDistance(goal, torch.tensor([8.0]))(states, actions).tolist() == [[0.5, 0]]
        assert GoalDistance(goal, p=1.0)(states, actions)[0, 0] == 8

    def test_a_detour_is_longer_than_the_straight_way(self) -> None:
        straight, detour = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[4.0], [1.0], [3.0]])
        paths = PathLength(torch.zeros(1, 1), torch.tensor([3.0]))(
            torch.stack([straight, detour])[None], torch.zeros(1)
        )
        assert paths[0].tolist() == pytest.approx([1.0, 3.0])

    def test_the_prior_is_free_up_to_the_size_that_actions_have(self) -> None:
        space = KnownSpace(SPEC, torch.zeros(2), torch.tensor([0.1, 0.1]))
        actions = torch.tensor([[0.1, 0.1], [0.2, 0.2], [0.0, 0.0]]).reshape(1, 3, 1, 2)
        nothing = torch.zeros(1, 3, 1, 1)
        assert PriorPenalty(space)(nothing, actions)[0].tolist() == pytest.approx([0, 3, 0], abs=1e-5)
        assert PriorPenalty(space, "gaussian")(nothing, actions)[0].tolist() == pytest.approx([0.5, 2, 0], abs=1e-5)
        double = Sum([(2.0, PriorPenalty(space)), (1.0, PriorPenalty(space, "gaussian"))])
        assert double(nothing, actions)[0].tolist() == pytest.approx([0.5, 8, 0], abs=1e-5)


class TestDynamics:
    def test_imagines_what_the_world_model_predicts_of_the_controller_s_latents(
        self, pipeline: TransferPipeline, known: KnownController
    ) -> None:
        """Against the plain way: pipeline.begin and the controller, one step after another."""
        history = np.array([[0.3, 0.1], [0.2, -0.4]], np.float32)
        actions = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32).clip(-0.5, 1)
        dynamics = ModelDynamics(
            ByController(known.controller), Imagination.full(pipeline.model.world_model), actions=2, dtype=torch.float32
        )
        rollout, states = pipeline.begin(FRAMES[0]), []
        windows = known.windows(actions, history)
        for t in range(3):
            z = known.latents(torch.from_numpy(rollout.state)[None], windows[t : t + 1])[0]
            states.append(rollout.step(z.numpy()).state)
        start = dynamics.begin(pipeline.encode(FRAMES[:1]), torch.from_numpy(history)[None])
        given = torch.from_numpy(actions)[None]
        latents, prediction = dynamics.imagine(start, given)
        np.testing.assert_allclose(prediction.states[0].numpy(), np.stack(states), atol=2e-4)
        np.testing.assert_allclose(latents[0, 2].numpy(), z.numpy(), atol=2e-4)
        rolled = dynamics.rollout(start, given[:, None])
        np.testing.assert_allclose(rolled[0, 0].numpy(), np.stack(states).reshape(3, -1), atol=2e-4)

    def test_chunks_and_batches_change_nothing(
        self, pipeline: TransferPipeline, known: KnownController, distilled: DistilledModel
    ) -> None:
        states, actions = pipeline.encode(FRAMES[:2]), torch.randn(2, 7, 3, 2)
        history = torch.randn(2, 2, 2)
        by = ByController(known.controller)
        whole = ModelDynamics(by, Imagination.distilled(distilled, 100), actions=2, dtype=torch.float32)
        parts = ModelDynamics(by, Imagination.distilled(distilled, 3), actions=2, dtype=torch.float32)
        together = whole.rollout(whole.begin(states, history), actions)
        torch.testing.assert_close(parts.rollout(parts.begin(states, history), actions), together, rtol=1e-4, atol=1e-4)
        alone = whole.rollout(whole.begin(states[1:], history[1:]), actions[1:])
        torch.testing.assert_close(alone[0], together[1], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(together[0], together[1])

    def test_half_precision_is_near_the_full(self, pipeline: TransferPipeline, distilled: DistilledModel) -> None:
        from lamdemo.planning import ByLatents

        z, states = torch.randn(1, 8, 3, Z), pipeline.encode(FRAMES[:1])
        full, half = (
            ModelDynamics(ByLatents(), Imagination.distilled(distilled), actions=Z, dtype=t)
            for t in (torch.float32, torch.bfloat16)
        )
        exact, rough = (d.rollout(d.begin(states), z) for d in (full, half))
        moved = (exact - full.goal(states)[:, None, None]).norm()
        assert 0 < (exact - rough).norm() < 0.1 * moved

    def test_a_coarse_look_is_a_look_at_the_lifted_state(
        self, known: KnownController, distilled: DistilledModel
    ) -> None:
        coarse = torch.randn(5, distilled.side**2, distilled.config.channels)
        with torch.no_grad():
            expected = known.controller.memory(distilled.lift(coarse))
            torch.testing.assert_close(CoarseLook(known.controller, distilled)(coarse), expected, rtol=1e-4, atol=1e-4)

    def test_a_controller_that_looks_each_time_sees_what_changed(
        self, pipeline: TransferPipeline, known: KnownController, distilled: DistilledModel
    ) -> None:
        states, actions = pipeline.encode(FRAMES[:1]), torch.randn(1, 4, 3, 2)
        each, once = (
            ModelDynamics(
                ByController(known.controller),
                Imagination.distilled(distilled),
                actions=2,
                look=look,
                dtype=torch.float32,
            )
            for look in ("each", "start")
        )
        a, b = (d.rollout(d.begin(states), actions) for d in (each, once))
        torch.testing.assert_close(a[:, :, 0], b[:, :, 0], rtol=1e-5, atol=1e-5)
        assert not torch.allclose(a[:, :, 1:], b[:, :, 1:], atol=1e-3)

    def test_gradients_are_those_of_small_changes(
        self, pipeline: TransferPipeline, known: KnownController, distilled: DistilledModel
    ) -> None:
        dynamics = ModelDynamics(
            ByController(known.controller), Imagination.distilled(distilled), actions=2, dtype=torch.float32
        )
        start, goal = dynamics.begin(pipeline.encode(FRAMES[:1])), dynamics.goal(pipeline.encode(FRAMES[3:]))
        cost = GoalDistance(goal)
        actions = 0.1 * torch.randn(1, 1, 3, 2, generator=torch.Generator().manual_seed(0))
        actions.requires_grad_(True)
        (slope,) = torch.autograd.grad(cost(dynamics.rollout(start, actions), actions).sum(), actions)
        assert not dynamics.rollout(start, actions.detach()).requires_grad
        step = 0.01 * slope / slope.norm()
        with torch.no_grad():
            ahead, behind = (float(cost(dynamics.rollout(start, actions + s), actions)) for s in (step, -step))
        assert ahead - behind == pytest.approx(2 * 0.01 * float(slope.norm()), rel=0.1)

    def test_a_history_of_another_length_is_refused(self, pipeline: TransferPipeline, known: KnownController) -> None:
        dynamics = ModelDynamics(
            ByController(known.controller), Imagination.full(pipeline.model.world_model), actions=2
        )
        with pytest.raises(ValueError, match="history"):
            dynamics.begin(pipeline.encode(FRAMES[:1]), torch.zeros(1, 1, 2))


@pytest.fixture(scope="module")
def planner(pipeline: TransferPipeline, known: KnownController) -> Planner:
    return build_planner(pipeline, controller=known, distilled=False, **SMALL)


class TestPlans:
    def test_reach_what_an_action_would_bring(self, pipeline: TransferPipeline, known: KnownController) -> None:
        """The goal is where a hidden plan leads by the same model, so it can be found again."""
        planner = build_planner(
            pipeline, controller=known, distilled=False, samples=60, elites=8, iterations=8, dtype=torch.float32
        )
        hidden = np.array([[0.8, 1.5], [0.8, 1.5], [0.8, 1.5]], np.float32)
        there = planner.imagine(planner.problem(FRAMES[0], FRAMES[0]), hidden).states[-1]
        plan = planner.plan(FRAMES[0], torch.from_numpy(there), seed=0)
        assert plan.cost < 0.35 * plan.idle_cost
        assert planner.imagine(plan.problem, hidden).cost < 1e-3
        assert plan.actions is not None
        assert plan.actions.shape == (3, 2)
        assert plan.cost == pytest.approx(planner.imagine(plan.problem, plan.actions).cost, abs=1e-4)
        # Cost is in units of the distance from start to goal.
        assert np.linalg.norm(plan.states[-1] - there) / np.linalg.norm(plan.first_state - there) == pytest.approx(
            plan.cost, rel=1e-3
        )

    def test_draw_the_frames_that_a_transfer_would(self, pipeline: TransferPipeline, planner: Planner) -> None:
        plan = planner.plan(FRAMES[0], FRAMES[3])
        drawn = plan.frames()
        shown = [s.frame for s in pipeline.stream(LatentActions(plan.latents, pipeline.fps), FRAMES[0])]
        assert np.abs(drawn.astype(int) - np.stack(shown)).max() <= 1
        state = torch.from_numpy(plan.first_state)
        with pytest.raises(LamdemoError, match="without a picture"):
            planner.plan(state, FRAMES[3]).frames()

    def test_a_seed_gives_the_same_plan_bit_for_bit(
        self, pipeline: TransferPipeline, known: KnownController, distilled: DistilledModel
    ) -> None:
        made = []
        for _ in range(2):
            fresh = build_planner(pipeline, controller=known, distilled=distilled, **SMALL)
            made.append(fresh.plan(FRAMES[0], FRAMES[3], seed=5))
            torch.randn(17)
        assert made[0].actions is not None
        np.testing.assert_array_equal(made[0].actions, made[1].actions)
        np.testing.assert_array_equal(made[0].states, made[1].states)
        other = fresh.plan(FRAMES[0], FRAMES[3], seed=6)
        assert not np.array_equal(made[0].actions, other.actions)

    def test_the_full_model_decides_among_what_the_draft_found(
        self, pipeline: TransferPipeline, known: KnownController, distilled: DistilledModel
    ) -> None:
        one, many = (
            build_planner(pipeline, controller=known, distilled=distilled, refine=r, dtype=torch.float32, **SMALL).plan(
                FRAMES[0], FRAMES[3]
            )
            for r in (1, 24)
        )
        assert many.cost <= one.cost
        # The draft thinks most of its own best, which alone is looked at with 1.
        assert one.distilled_cost == pytest.approx(one.costs[-1], rel=1e-3)
        assert many.distilled_cost is not None
        assert many.distilled_cost >= one.costs[-1] * 0.999

    def test_commands_before_the_start_matter(self, planner: Planner) -> None:
        actions = np.zeros((3, 2), np.float32)
        still, going, long = (
            planner.imagine(planner.problem(FRAMES[0], FRAMES[3], history), actions).states
            for history in (None, np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([[0.5, 0.5], [0.0, 0.0], [1.0, 2.0]]))
        )
        assert np.abs(still - going).max() > 1e-3
        np.testing.assert_array_equal(going, long)

    def test_go_on_from_the_last_plan_and_can_be_stopped(self, planner: Planner) -> None:
        first = planner.plan(FRAMES[0], FRAMES[3], seed=1)
        again = planner.plan(FRAMES[0], FRAMES[3], seed=2, warm=first.warm)
        assert again.costs[0] <= first.costs[-1] * 1.05
        seen = []

        def stop(iteration: Iteration) -> bool:
            seen.append(iteration)
            return False

        short = planner.plan(FRAMES[0], FRAMES[3], callback=stop)
        assert short.stopped
        assert len(short.costs) == len(seen) == 1
        # Candidates are told as actions, within what can be done.
        assert (seen[0].candidates >= torch.from_numpy(SPEC.low)).all()
        with pytest.raises(LamdemoError, match="another horizon"):
            planner.plan(FRAMES[0], FRAMES[3], warm=SolverState(torch.zeros(1, 4, 2), torch.ones(1, 4, 2)))

    def test_in_latent_space_need_no_labels_and_stay_where_latents_live(self, pipeline: TransferPipeline) -> None:
        latents = pipeline.infer(moving_square(12, step=2)).z
        free, bound = (
            build_planner(pipeline, space="latent", latents=latents, dims=3, weights=w, **SMALL)
            for w in (CostWeights(), {"prior": 100.0})
        )
        plan = free.plan(FRAMES[0], FRAMES[3])
        assert plan.actions is None
        assert plan.latents.shape == (3, Z)
        assert plan.u.shape[1] <= 3
        assert np.square(bound.plan(FRAMES[0], FRAMES[3]).u).mean(-1).max() < 1.3
        idle = free.imagine(plan.problem, np.zeros((3, Z), np.float32))
        assert idle.cost == pytest.approx(plan.idle_cost)

    def test_by_gradients_improve_on_where_they_began(
        self, pipeline: TransferPipeline, known: KnownController, distilled: DistilledModel
    ) -> None:
        planner = build_planner(
            pipeline,
            controller=known,
            distilled=distilled,
            solver="gradient",
            samples=4,
            iterations=10,
            dtype=torch.float32,
        )
        plan = planner.plan(FRAMES[0], FRAMES[3])
        assert plan.costs[-1] < plan.costs[0]

    def test_through_the_twin(self, pipeline: TransferPipeline, known: KnownController) -> None:
        baseline = shaken(
            ActionConditioned(
                ActionConditionedConfig({"car": 2}, history=2, hidden=16, world_model=TINY.world_model), D, Z, GRID
            ),
            4,
        )
        planner = build_planner(pipeline, controller=known, baseline=baseline, **SMALL)
        actions = np.array([[0.5, 1.0], [0.2, 0.0], [0.0, 0.0]], np.float32)
        imagined = planner.imagine(planner.problem(FRAMES[0], FRAMES[3]), actions)
        windows = torch.tensor([[[0, 0], [0.5, 1.0]], [[0.5, 1.0], [0.2, 0]], [[0.2, 0], [0, 0]]])
        with torch.no_grad():
            z = baseline.latents("car", windows)
            expected = baseline.world_model.rollout(pipeline.encode(FRAMES[:1])[None], z[None])
        np.testing.assert_allclose(imagined.states, expected.states[0].numpy(), atol=2e-4)
        assert planner.plan(FRAMES[0], FRAMES[3]).cost > 0
        # Whatever its own labels were on average, it is searched as the controller is.
        baseline.fit({"car": torch.randn(20, 2) + 5})
        ours, theirs = (build_planner(pipeline, controller=known, baseline=t, **SMALL).space for t in (False, baseline))
        u = torch.randn(7, 2)
        assert torch.equal(ours.decode(u), theirs.decode(u))
        with pytest.raises(LamdemoError, match="The twin knows car and not boat"):
            build_planner(
                pipeline,
                controller=KnownController("boat", dataclasses.replace(SPEC, name="boat"), known.controller),
                baseline=baseline,
            )

    def test_a_landscape_is_the_cost_of_what_it_shows(self, pipeline: TransferPipeline, known: KnownController) -> None:
        planner = build_planner(pipeline, controller=known, distilled=False, dtype=torch.float32, **SMALL)
        plan = planner.plan(FRAMES[0], FRAMES[3])
        land = planner.landscape(plan, axes=(1, 0), points=5)
        assert land.names == ("throttle", "steering")
        assert land.costs.shape == (5, 5)
        assert land.x.min() >= SPEC.low[1] - 1e-6
        assert land.y.max() <= SPEC.high[0] + 1e-6
        alike = np.tile(np.array([land.y[3], land.x[1]], np.float32), (3, 1))
        assert land.costs[3, 1] == pytest.approx(planner.imagine(plan.problem, alike).cost, abs=1e-4)
        for axes in ((0, 0), (0, 2)):
            with pytest.raises(LamdemoError, match="two different ones of steering, throttle"):
                planner.landscape(plan.problem, axes=axes)

    def test_what_does_not_fit_is_refused_in_a_sentence(
        self, pipeline: TransferPipeline, planner: Planner, known: KnownController
    ) -> None:
        wide = np.zeros((48, 96, 3), np.uint8)
        with pytest.raises(LamdemoError, match="The goal is 96x48 and the start 64x48; use pictures of the same shape"):
            planner.plan(FRAMES[0], wide)
        larger = np.repeat(np.repeat(FRAMES[3], 2, 0), 2, 1)
        assert planner.problem(FRAMES[0], larger).picture is not None
        with pytest.raises(LamdemoError, match="RGB pictures"):
            planner.plan(FRAMES[0], FRAMES[3][..., 0])
        with pytest.raises(LamdemoError, match="needs a goal"):
            planner.plan(FRAMES[0])
        with pytest.raises(LamdemoError, match="3 numbers a step where car takes 2"):
            planner.plan(FRAMES[0], FRAMES[3], history=np.zeros((2, 3)))
        with pytest.raises(LamdemoError, match="1 to 32 steps, not 0"):
            build_planner(pipeline, controller=known, horizon=0)
        with pytest.raises(LamdemoError, match="no controller 'car'"):
            build_planner(pipeline)
        with pytest.raises(LamdemoError, match="no draft of its world model"):
            build_planner(pipeline, controller=known, distilled=True)
        with pytest.raises(LamdemoError, match="no twin"):
            build_planner(pipeline, controller=known, baseline=True)
        with pytest.raises(LamdemoError, match="no sample of latents"):
            build_planner(pipeline, space="latent")


class TestAlongTheWay:
    def test_a_plan_that_walks_off_and_comes_back_costs_more_along_than_at_its_end(self) -> None:
        goal = torch.zeros(1, 4)
        stays = torch.zeros(1, 1, 3, 4)
        leaves = stays.clone()
        leaves[:, :, :2] = 5.0
        both, actions = torch.cat([stays, leaves], 1), torch.zeros(1, 2, 3, 2)
        assert GoalDistance(goal)(both, actions).tolist() == [[0.0, 0.0]]
        along = GoalDistance(goal, along=True)(both, actions)
        assert along[0, 0] == 0 and along[0, 1] == pytest.approx((10 + 10 + 0) / 3)


class TestInParallel:
    def test_other_threads_keep_all_of_torchs_threads(self) -> None:
        before, seen = torch.get_num_threads(), []
        torch.set_num_threads(2)
        try:

            def asks(part: Tensor) -> Tensor:
                other = Thread(target=lambda: seen.append(torch.get_num_threads()))
                other.start()
                other.join()
                return part + torch.get_num_threads()

            with torch.inference_mode():
                assert [float(f) for f in in_parallel(asks, [torch.zeros(1)] * 3)] == [1.0] * 3
            assert seen == [2, 2, 2]
        finally:
            torch.set_num_threads(before)

    @pytest.mark.parametrize("threads", [1, 2])
    def test_parts_come_in_order_and_torch_keeps_its_threads(self, threads: int) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                parts = [torch.full((2,), float(i)) for i in range(5)]
                found = in_parallel(lambda part: part * 2, parts)
            assert [f.tolist() for f in found] == [[2.0 * i] * 2 for i in range(5)]
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)

    def test_gradients_pass_and_errors_come_through(self) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            x = torch.ones(2, requires_grad=True)
            torch.cat(in_parallel(lambda part: part * 3, [x, x])).sum().backward()
            assert x.grad is not None and x.grad.tolist() == [6.0, 6.0]

            def fails(part: Tensor) -> Tensor:
                raise LamdemoError("no")

            with torch.inference_mode(), pytest.raises(LamdemoError):
                in_parallel(fails, [torch.ones(1), torch.ones(1)])
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)
