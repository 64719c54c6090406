"""The paper's neighbours: structure apart from content, residual latents, and futures of commands."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, moving_square
from torch import Tensor, nn

from lamdemo.cli import main
from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.core.errors import LamdemoError
from lamdemo.data.episodes import Episode, EpisodeWriter
from lamdemo.engine import TransferPipeline
from lamdemo.engine.controls import KnownController
from lamdemo.evaluation.content import judge_content
from lamdemo.evaluation.control.held_out import BEFORE, Stretch
from lamdemo.evaluation.futures import DRAWS, SPAN, evaluate_futures
from lamdemo.evaluation.latents import evaluate_latents
from lamdemo.latent_space.sampling import draw
from lamdemo.models import LatentActionModel, ModelConfig, load_checkpoint, save_checkpoint
from lamdemo.models.controller import Controller, ControllerConfig, save_controller
from lamdemo.models.prior import FlowPrior, FlowPriorConfig, futures_name, load_prior, save_prior
from lamdemo.models.structure import StructurePath
from lamdemo.models.world_model import WorldModelConfig
from lamdemo.planning import build_planner
from lamdemo.training import TrainConfig
from lamdemo.training.cached_features import collect_steps
from lamdemo.training.futures import pairs_with_commands
from lamdemo.training.objective import LossConfig, Objective
from lamdemo.training.prior import PriorTrainConfig, train_prior

CELLS, CHANNELS, Z = TINY.encoder.grid**2, TINY.encoder.channels, TINY.bottleneck.channels
DISENTANGLED = dataclasses.replace(TINY, world_model=dataclasses.replace(TINY.world_model, structure=5, memory=3))
RESIDUAL = dataclasses.replace(
    TINY,
    inverse_dynamics=dataclasses.replace(TINY.inverse_dynamics, reads="residual"),
    bottleneck=dataclasses.replace(TINY.bottleneck, family="free"),
    world_model=dataclasses.replace(TINY.world_model, residual=True),
)
CAR = ActionSpec("car", (Channel("steering", "rate", -1.0, 1.0), Channel("throttle", "rate", -1.0, 1.0)))


def shaken(module: nn.Module, seed: int = 1) -> Any:
    """With weights under which something happens; new ones predict that nothing does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if not name.startswith("encoder."):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def model_of(config: ModelConfig) -> LatentActionModel:
    torch.manual_seed(0)
    return shaken(LatentActionModel(config))


def random_states(batch: int, time: int, seed: int = 0) -> Tensor:
    return torch.randn(batch, time, CELLS, CHANNELS, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> TransferPipeline:
    """A residual checkpoint with a controller of a car."""
    model = model_of(RESIDUAL)
    model.encoder.fit_whitening(torch.rand(16, 3, 64, 64))
    folder = tmp_path_factory.mktemp("families") / "residual"
    save_checkpoint(model, folder)
    pipeline = TransferPipeline.from_pretrained(folder)
    controller = shaken(Controller(ControllerConfig(2, patch=1, width=16, hidden=16), CHANNELS, Z, TINY.encoder.grid))
    save_controller(controller, folder, "car", checkpoint=pipeline.checkpoint, spec=CAR.to_json())
    return TransferPipeline.from_pretrained(folder)


class TestStructure:
    def test_is_of_few_channels_and_free_of_each_picture_s_mean_and_scale(self) -> None:
        path = shaken(StructurePath(CHANNELS, 5))
        states = random_states(2, 3)
        seen = path(states)
        assert seen.shape == states.shape
        assert torch.linalg.matrix_rank(seen.flatten(0, 2), atol=1e-3) == 5
        torch.testing.assert_close(path(3.0 * states + 7.0), seen, rtol=1e-4, atol=1e-4)
        shuffled = path(states[:, :, torch.randperm(CELLS)])
        assert not torch.allclose(shuffled, seen, atol=0.1)

    def test_a_new_one_keeps_the_first_channels(self) -> None:
        states = random_states(1, 1)
        seen = StructurePath(CHANNELS, 4)(states)
        normalized = (states - states.mean(-2, keepdim=True)) / states.std(-2, keepdim=True, unbiased=False)
        torch.testing.assert_close(seen[..., :4], normalized[..., :4])
        assert not seen[..., 4:].any()

    def test_of_more_channels_than_there_are_is_refused(self) -> None:
        with pytest.raises(ValueError, match="some of a state's channels"):
            StructurePath(4, 5)
        with pytest.raises(ValueError, match="searched by structure"):
            WorldModelConfig(memory=2)


class TestDisentangled:
    def test_latents_are_read_from_structure_alone(self) -> None:
        """A look that structure does not have, here the last channel, changes no latent and no flow."""
        model = model_of(DISENTANGLED)
        with torch.no_grad():
            model.world_model.structure.down.weight[:, -1] = 0  # type: ignore[union-attr]
        states = random_states(2, 3)
        other = states.clone()
        other[..., -1] = torch.randn(other[..., -1].shape)
        z = model.infer(states)
        torch.testing.assert_close(model.infer(other), z, rtol=0, atol=0)
        assert z.abs().max() > 0.01
        one, two = (model.world_model(s[:, :-1], z) for s in (states, other))
        torch.testing.assert_close(one.flow, two.flow, rtol=0, atol=0)
        assert not torch.allclose(one.states, two.states)  # content is carried along

    def test_latents_of_the_way_back_are_opposed(self) -> None:
        states = random_states(2, 2)
        model = model_of(DISENTANGLED)
        torch.testing.assert_close(model.infer(states.flip(1)), -model.infer(states))

    def test_content_that_was_seen_is_remembered_and_what_comes_is_not(self) -> None:
        model = model_of(DISENTANGLED).world_model
        states, z = random_states(1, 5), torch.randn(1, 5, Z)
        before = model(states, z).states
        # Three states are kept, and the transformer looks back as far as its own context.
        reach = max(DISENTANGLED.world_model.memory, DISENTANGLED.world_model.context)
        for changed in range(5):
            other = states.clone()
            other[:, changed] += 1.0 * torch.randn(CHANNELS)
            after = model(other, z).states
            for t in range(5):
                same = torch.equal(after[:, t], before[:, t])
                assert same == (t < changed or t - changed >= reach), (changed, t)

    def test_step_by_step_is_all_at_once(self) -> None:
        model = model_of(DISENTANGLED).world_model
        states, z = random_states(2, 6), torch.randn(2, 6, Z)
        cache = model.new_cache()
        steps = torch.cat([model(states[:, t : t + 1], z[:, t : t + 1], cache).states for t in range(6)], 1)
        torch.testing.assert_close(steps, model(states, z).states, rtol=1e-4, atol=1e-4)
        keys, values = cache.blocks[len(model.blocks)]
        assert keys.shape[2] == values.shape[2] == 3 * CELLS

    def test_without_what_it_remembers_it_predicts_something_else(self) -> None:
        model = model_of(DISENTANGLED).world_model
        states, z = random_states(1, 2), torch.randn(1, 2, Z)
        full = model(states, z).states[:, 1]
        with torch.no_grad():
            model.memory.give.weight.zero_()  # type: ignore[union-attr]
        assert not torch.allclose(model(states, z).states[:, 1], full)

    def test_a_rollout_that_went_back_goes_on_as_before(self, tmp_path: Path) -> None:
        model = model_of(DISENTANGLED)
        model.encoder.fit_whitening(torch.rand(16, 3, 64, 64))
        save_checkpoint(model, tmp_path / "one")
        pipeline = TransferPipeline.from_pretrained(tmp_path / "one")
        assert pipeline.family == "disentangled"
        latents = np.random.default_rng(0).normal(size=(7, Z)).astype(np.float32)
        straight, other = (pipeline.begin(moving_square(3), between=0) for _ in range(2))
        for z in latents[:5]:
            straight.step(z)
            other.step(z)
        for _ in range(2):
            other.step(latents[6])
        assert other.undo() and other.undo()
        for z in latents[5:]:
            np.testing.assert_array_equal(straight.step(z).state, other.step(z).state)

    def test_the_cycle_s_loss_is_the_latent_read_again(self) -> None:
        torch.manual_seed(0)
        model = shaken(LatentActionModel(DISENTANGLED)).train()
        pictures = torch.rand(2, 3, 3, 64, 64)
        quiet = LossConfig(noise=0.0, feedback=0.0, cycle=0.5)
        generator = torch.Generator().manual_seed(0)
        loss, logs = Objective(model)(pictures, weights=quiet, generator=generator)
        without, _ = Objective(model)(
            pictures, weights=dataclasses.replace(quiet, cycle=0.0), generator=torch.Generator().manual_seed(0)
        )
        torch.testing.assert_close(loss - without, 0.5 * logs["cycle"], rtol=1e-3, atol=1e-4)
        model.zero_grad()
        (loss - without).backward()
        assert model.world_model.mend[-1].weight.grad.abs().sum() > 0  # the prediction is to say what was done

    def test_config_survives_its_file(self, tmp_path: Path) -> None:
        for config in (DISENTANGLED, RESIDUAL):
            save_checkpoint(model_of(config), tmp_path / config.family)
            assert load_checkpoint(tmp_path / config.family).config == config
        assert (DISENTANGLED.family, RESIDUAL.family, TINY.family) == ("disentangled", "residual", "noisy")


class TestResidual:
    def test_reads_the_difference_and_nothing_else(self) -> None:
        model = model_of(RESIDUAL)
        states = random_states(2, 2)
        z = model.infer(states)
        assert z.abs().max() > 0.01
        torch.testing.assert_close(model.infer(states + random_states(1, 1, seed=3)), z, rtol=1e-3, atol=1e-4)
        assert not model.infer(states[:, :1].expand(-1, 2, -1, -1)).any()
        torch.testing.assert_close(model.infer(states.flip(1)), -z, rtol=1e-4, atol=1e-5)

    def test_is_not_limited_and_trains(self) -> None:
        torch.manual_seed(0)
        model = LatentActionModel(RESIDUAL).train()
        pictures = torch.rand(2, 3, 3, 64, 64)
        loss, logs = Objective(model)(pictures, weights=LossConfig(), generator=torch.Generator().manual_seed(0))
        assert logs["bottleneck"] == 0
        loss.backward()
        assert loss.isfinite()

    def test_says_that_it_has_no_prior(self, residual: TransferPipeline) -> None:
        assert not residual.model.bottleneck.prior
        with pytest.raises(LamdemoError, match="no prior of their own"):
            draw(residual, "fixed", 4)
        learned = FlowPrior(FlowPriorConfig(channels=Z, state_channels=CHANNELS, pooled=4))
        learned.fit_scales(torch.randn(50, Z))
        assert draw(residual, "gaussian", 4, prior=learned).shape == (4, Z)

    def test_is_judged_without_one(self, residual: TransferPipeline, tmp_path: Path) -> None:
        from lamdemo.evaluation import ClipSet
        from lamdemo.video import write_video

        (tmp_path / "clips").mkdir()
        for i in range(2):
            write_video(tmp_path / "clips" / f"{i}.mp4", moving_square(24, step=2 + i), 4)
        judged = evaluate_latents({"one": residual}, ClipSet(tmp_path / "clips"))["one"]
        assert judged["all"]["samples"] is None and judged["headline"]["sample_distance"] is None


def told_prior(steps: int = 400) -> tuple[FlowPrior, Tensor, Tensor]:
    """A prior that was told commands which say the latents' size and direction but for noise."""
    generator = torch.Generator().manual_seed(0)
    commands = torch.rand(800, 2, generator=generator) * 2 - 1
    axes = torch.randn(2, 6, generator=generator)
    z = commands @ axes + 0.1 * torch.randn(800, 6, generator=generator)
    from lamdemo.training.prior import Pairs

    states = torch.randn(800, 4, 3, generator=generator).half()
    pairs = Pairs(states, z, torch.arange(800) // 40, torch.zeros(800, dtype=torch.bool), commands)
    config = FlowPriorConfig(
        channels=6, state_channels=3, pooled=2, token_width=16, heads=2, context=32, width=48, commands=2, told=8
    )
    done = train_prior(pairs, config, PriorTrainConfig(steps=steps, learning_rate=3e-3))
    assert done is not None
    return done[0], states.float(), axes


class TestFutures:
    @pytest.fixture(scope="class")
    def told(self) -> tuple[FlowPrior, Tensor, Tensor]:
        return told_prior()

    def test_follow_the_command_and_differ(self, told: tuple[FlowPrior, Tensor, Tensor]) -> None:
        prior, states, axes = told
        commands = torch.tensor([[0.8, 0.0], [-0.8, 0.0], [0.0, 0.8], [0.1, 0.1]])
        z = prior.sample(states[:4], 64, commands=commands, generator=torch.Generator().manual_seed(0))
        wanted = commands @ axes
        apart = (z.mean(1)[:, None] - wanted[None]).norm(dim=-1)
        assert (apart.argmin(1) == torch.arange(4)).all()
        assert (apart.diagonal()[:3] < 0.5 * wanted[:3].norm(dim=-1)).all()
        assert z.std(1).mean() > 0.02

    def test_begin_with_the_same_noise_in_turn(self, told: tuple[FlowPrior, Tensor, Tensor]) -> None:
        prior, states, _ = told
        same = states[:1].expand(6, -1, -1)
        z = prior.sample(same, 1, commands=torch.full((6, 2), 0.4), noises=3, generator=torch.Generator())[:, 0]
        torch.testing.assert_close(z[:3], z[3:])
        assert not torch.allclose(z[0], z[1])

    def test_commands_of_another_width_are_refused(self, told: tuple[FlowPrior, Tensor, Tensor]) -> None:
        prior, states, _ = told
        with pytest.raises(ValueError, match="2 numbers of known actions"):
            prior.sample(states[:1], 1, commands=torch.zeros(1, 3))
        plain = FlowPrior(FlowPriorConfig(channels=6, state_channels=3, pooled=2, token_width=16, heads=2))
        with pytest.raises(ValueError, match="0 numbers"):
            plain.sample(states[:1], 1, commands=torch.zeros(1, 2))

    def test_survive_their_file_beside_the_prior(self, told: tuple[FlowPrior, Tensor, Tensor], tmp_path: Path) -> None:
        prior, states, _ = told
        save_prior(prior, tmp_path, name=futures_name("car"))
        assert load_prior(tmp_path) is None
        found = load_prior(tmp_path, name=futures_name("car"))
        assert found is not None
        given = {"commands": torch.full((1, 2), 0.5), "steps": 4}
        one, two = (p.sample(states[:1], 3, generator=torch.Generator(), **given) for p in (prior, found))
        torch.testing.assert_close(one, two, rtol=0.05, atol=0.05)

    def test_pairs_hold_the_commands_of_their_step_and_the_one_before(
        self, residual: TransferPipeline, tmp_path: Path
    ) -> None:
        actions = np.random.default_rng(0).uniform(-1, 1, (5, 2)).astype(np.float32)
        steps = collect_steps(residual, [Episode("a", moving_square(6, step=3), actions, 4.0, CAR)], tmp_path)
        pairs = pairs_with_commands(steps, 2)
        assert pairs.commands is not None
        np.testing.assert_array_equal(pairs.commands[:, 2:], actions)
        np.testing.assert_array_equal(pairs.commands[1:, :2], actions[:-1])
        assert pairs.states.shape == (5, 4, CHANNELS) and not pairs.commands[0, :2].any()

    def stretches(self, count: int = 3) -> list[Stretch]:
        rng = np.random.default_rng(0)
        return [
            Stretch(
                f"e{i}",
                f"r{i}",
                np.ascontiguousarray(moving_square(SPAN + 1, step=2 + i, height=64)),
                rng.uniform(-1, 1, (SPAN, 2)).astype(np.float32),
                np.zeros((BEFORE, 2), np.float32),
            )
            for i in range(count)
        ]

    @pytest.fixture(scope="class")
    def prior(self, residual: TransferPipeline) -> FlowPrior:
        torch.manual_seed(0)
        prior = FlowPrior(FlowPriorConfig(channels=Z, state_channels=CHANNELS, pooled=4, commands=4))
        prior.fit_scales(torch.randn(200, Z), torch.randn(200, 4))
        assert residual.folder is not None
        save_prior(prior, residual.folder, name=futures_name("car"))
        return prior.eval()

    def test_are_judged_beside_what_could_put_them_to_shame(self, residual: TransferPipeline, prior: FlowPrior) -> None:
        known: KnownController = residual.controller("car")
        found = evaluate_futures(residual, prior, known, self.stretches())
        error = found["one_step"]["error"]
        assert found["one_step"]["steps"] == 3 * SPAN and found["draws"] == DRAWS
        assert error["best"] < error["sampled"] and error["averaged"] <= error["sampled"] + 1e-6
        states = residual.encode(self.stretches()[0].frames)
        copied = (states[1:] - states[:-1]).abs().mean()
        alone = evaluate_futures(residual, prior, known, self.stretches(2))["one_step"]["error"]["copy"]
        assert min(alone, error["copy"]) > 0 and copied > 0
        # Both ways end in the latent itself.
        ends = [found["time"][way]["by_point"][-1] for way in ("noise", "nothing")]
        assert ends[0] == ends[1] and 1 <= ends[0] <= SPAN
        assert json.dumps({k: v for k, v in found["one_step"].items() if k == "error"})
        with pytest.raises(LamdemoError, match="two recordings"):
            evaluate_futures(residual, prior, known, self.stretches(1))

    def test_plans_average_over_them(self, residual: TransferPipeline, prior: FlowPrior) -> None:
        small = {"samples": 6, "elites": 2, "iterations": 2, "horizon": 2, "dtype": torch.float32}
        frames = moving_square(4, step=6)
        planner = build_planner(residual, controller="car", futures=3, **small)
        problem = planner.problem(frames[0], frames[-1])
        u = 0.3 * torch.randn(1, 5, 2, 2, generator=torch.Generator().manual_seed(0))
        costs = planner.objective(planner.judge, problem)(u)
        assert costs.shape == (1, 5)
        torch.testing.assert_close(planner.objective(planner.judge, problem)(u), costs)
        one_each = build_planner(residual, controller="car", futures=1, **small)
        assert not torch.allclose(one_each.objective(one_each.judge, problem)(u), costs)
        # The same command twice costs the same: both meet the same noise.
        twice = planner.objective(planner.judge, problem)(u[:, :1].expand(-1, 2, -1, -1).contiguous())
        torch.testing.assert_close(twice[0, 0], twice[0, 1])
        first, second = (planner.plan(frames[0], frames[-1], seed=1) for _ in range(2))
        np.testing.assert_array_equal(first.actions, second.actions)
        with pytest.raises(LamdemoError, match="draws no futures of"):
            build_planner(residual, controller=dataclasses.replace(residual.controller("car"), name="boat"), futures=2)
        with pytest.raises(LamdemoError, match="in known"):
            build_planner(residual, space="latent", futures=2)

    def test_command_trains_and_judges_them(
        self, residual: TransferPipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for part, seed in (("train", 0), ("held-out", 9)):
            writer = EpisodeWriter(tmp_path / part, CAR)
            for i in range(3):
                rng = np.random.default_rng(seed + i)
                frames = moving_square(SPAN + 2, step=2 + i, height=64)
                actions = rng.uniform(-1, 1, (SPAN + 1, 2)).astype(np.float32)
                writer.add(Episode(f"{part}{i}", frames, actions, 4.0, CAR, recording=f"{part}{i}"))
        out, report_path = tmp_path / "out", tmp_path / "r.json"
        given = (
            "--episodes",
            tmp_path / "train",
            "--validation",
            tmp_path / "held-out",
            "--report",
            tmp_path / "r.json",
        )
        words = ("train-futures", residual.folder, "--name", "car", *given, "--out", out, "--steps", 3)
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        assert not caught.value.code
        assert (out / "futures-car.safetensors").is_file()
        assert "best: " in capsys.readouterr().out
        report = json.loads(report_path.read_text())
        assert report["results"]["evaluation"] == "futures" and report["checkpoint"]["family"] == "residual"


def test_the_recipe_of_the_neighbours_starts_from_the_bundled_checkpoint() -> None:
    from lamdemo.models import read_config
    from lamdemo.training import FamilyConfig

    root = Path(__file__).resolve().parents[1]
    recipe = FamilyConfig.read(root / "recipes" / "neighbours-cpu.toml")
    config, _ = read_config(root / "checkpoints" / "noisy")
    assert recipe.member("noisy-on").model == config
    assert recipe.member("disentangled").model.family == "disentangled"
    assert recipe.member("residual").model.family == "residual"
    assert isinstance(recipe.stem, TrainConfig) and recipe.stem.optimizer.steps == 0


class TestContent:
    """What latents say of a look, on made-up numbers whose answer is known."""

    RECORDINGS = np.repeat([f"r{i:02d}" for i in range(20)], 12)

    def judged(self, z: np.ndarray, look: np.ndarray) -> dict[str, float]:
        change = torch.from_numpy(np.random.default_rng(5).normal(size=(len(z), 40)).astype(np.float32))
        found = judge_content(z, look, change, self.RECORDINGS)
        assert found["steps"] == len(z) and found["recordings"] == 20
        return {name: figure["value"] for name, figure in found["look"].items()}

    def test_a_look_in_the_latent_is_read_and_no_other(self) -> None:
        rng = np.random.default_rng(0)
        look = rng.normal(size=(240, 3))
        action = rng.normal(size=(240, 6))
        told = self.judged(np.hstack([action, look @ rng.normal(size=(3, 4))]), look)
        assert told["latent"] > 0.95 and told["even"] > 0.9
        assert max(told["shuffled"], told["difference"]) < 0.1
        silent = self.judged(action, look)
        assert max(silent.values()) < 0.1

    def test_what_its_sign_hides_is_found_by_absolute_values(self) -> None:
        rng = np.random.default_rng(1)
        look = np.abs(rng.normal(size=(240, 2)))
        way = rng.choice([-1.0, 1.0], size=(240, 1))
        told = self.judged(way * look, look)
        assert told["latent"] < 0.1 and told["even"] > 0.9
        assert told["mlp"] > told["latent"] + 0.3
