"""Controllers: known actions to latent ones, by what is in view; their training and their files."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, moving_square
from controller_files import CAR, add_controller

from lamdemo.cli import main
from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.core.errors import LamdemoError
from lamdemo.data.episodes import Episode, EpisodeWriter
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.control.adapters import commands_of
from lamdemo.models.controller import (
    Controller,
    ControllerConfig,
    list_controllers,
    load_controller,
    save_controller,
)
from lamdemo.training.cached_features import Part, Steps, collect_steps
from lamdemo.training.controller import ControllerTrainingConfig, judge_controller, train_controller

D, Z, GRID = 6, 8, 4
SMALL = {"width": 16, "heads": 2, "patch": 2, "hidden": 16}
SIZES = {"channels": D, "latent": Z, "grid": GRID}


def small(*, codes: torch.Tensor | None = None, **settings: object) -> Controller:
    """A controller with random weights, under which commands do something."""
    torch.manual_seed(0)
    controller = Controller(ControllerConfig(**{"actions": 2, **SMALL, **settings}), D, Z, GRID, codes)
    torch.nn.init.normal_(controller.out.weight, std=0.3)
    return controller.eval()


def given(rows: int = 5, history: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, GRID**2, D, generator=generator), torch.randn(rows, history, 2, generator=generator)


class TestNetwork:
    def test_a_new_one_says_that_nothing_happens(self) -> None:
        for kind in ("state", "actions"):
            controller = Controller(ControllerConfig(2, kind=kind, **SMALL), D, Z, GRID)
            assert torch.equal(controller(*given()), torch.zeros(5, Z))

    @pytest.mark.parametrize("kind", ["state", "actions"])
    def test_memory_then_act_is_the_same_as_at_once(self, kind: str) -> None:
        controller = small(kind=kind)
        states, actions = given()
        z = controller(states, actions)
        torch.testing.assert_close(controller.act(controller.memory(states), actions), z)
        torch.testing.assert_close(controller.latents(states, actions), z)
        assert z.std() > 0.01

    @pytest.mark.parametrize("kind", ["state", "actions"])
    def test_one_state_meets_many_commands_and_one_command_many_states(self, kind: str) -> None:
        controller = small(kind=kind)
        states, actions = given()
        many = controller.act(controller.memory(states[:1]), actions)
        torch.testing.assert_close(many, controller(states[:1].expand(5, -1, -1), actions))
        same = controller.act(controller.memory(states), actions[:1])
        torch.testing.assert_close(same, controller(states, actions[:1].expand(5, -1, -1)))

    def test_rows_do_not_see_each_other(self) -> None:
        controller = small()
        states, actions = given()
        torch.testing.assert_close(controller(states[2:3], actions[2:3])[0], controller(states, actions)[2])

    def test_the_ablation_sees_no_state_and_the_other_sees_where_things_are(self) -> None:
        states, actions = given()
        elsewhere = states.roll(3, 1)
        assert torch.equal(small(kind="actions")(states, actions), small(kind="actions")(elsewhere, actions))
        assert (small()(states, actions) - small()(elsewhere, actions)).abs().max() > 1e-3

    def test_what_a_command_does_depends_on_the_state(self) -> None:
        # A sum of what the state says and what the command says would fail here, and could not steer.
        controller = small()
        states, actions = given()
        ahead, back = controller(states, actions), controller(states, -actions)
        difference = ahead - back
        assert (
            difference[:1] - (controller(states, actions[:1]) - controller(states, -actions[:1]))
        ).abs().max() > 1e-3

    def test_the_order_of_commands_counts(self) -> None:
        states, actions = given()
        for kind in ("state", "actions"):
            assert (small(kind=kind)(states, actions) - small(kind=kind)(states, actions.flip(1))).abs().max() > 1e-3

    def test_commands_are_measured_in_their_own_scale(self) -> None:
        controller, scaled = small(), small()
        states, actions = given(64)
        controller.fit_scales(actions[:, -1])
        factor, offset = torch.tensor([100.0, 0.01]), torch.tensor([3.0, -7.0])
        scaled.fit_scales(actions[:, -1] * factor + offset)
        torch.testing.assert_close(
            scaled(states, actions * factor + offset), controller(states, actions), rtol=1e-3, atol=1e-3
        )

    def test_a_command_that_never_changed_stays_finite(self) -> None:
        controller = small()
        controller.fit_scales(torch.tensor([[1.0, 5.0], [2.0, 5.0]]))
        assert controller.std.tolist() == [0.5, 1.0]
        assert controller(*given()).isfinite().all()

    def test_of_a_discrete_model_it_gives_codes(self) -> None:
        codes = torch.randn(12, Z, generator=torch.Generator().manual_seed(2))
        controller = small(codes=codes)
        states, actions = given()
        logits = controller(states, actions)
        assert logits.shape == (5, 12)
        assert torch.equal(controller.latents(states, actions), codes[logits.argmax(-1)])
        # Planners that follow gradients learn which way the chances of the codes go.
        asked = actions.clone().requires_grad_(True)
        chosen = controller.latents(states, asked)
        torch.testing.assert_close(chosen.detach(), codes[logits.argmax(-1)])
        chosen.square().sum().backward()
        assert asked.grad is not None and bool((asked.grad.flatten(1).abs().sum(1) > 0).all())

    def test_another_number_of_commands_is_refused(self) -> None:
        states, actions = given(history=3)
        with pytest.raises(ValueError, match=r"\[B, 2, 2\]"):
            small()(states, actions)

    @pytest.mark.parametrize("wrong", [{"kind": "both"}, {"history": 0}, {"width": 30, "heads": 4}, {"dropout": 1.0}])
    def test_impossible_sizes_are_refused(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=r"\w"):
            ControllerConfig(**{"actions": 2, **wrong})


class TestFiles:
    def save(self, folder: Path, controller: Controller, name: str = "car") -> Path:
        return save_controller(controller, folder, name, checkpoint="abc", spec=CAR.to_json(), about={"seed": 3})

    @pytest.mark.parametrize("kind", ["state", "actions"])
    def test_saved_and_loaded_does_the_same(self, tmp_path: Path, kind: str) -> None:
        controller = small(kind=kind, history=3)
        controller.fit_scales(torch.randn(50, 2) * 0.01 + 4)
        for parameter in controller.parameters():
            parameter.data = parameter.data.half().float()
        self.save(tmp_path, controller)
        loaded, data = load_controller(tmp_path, "car", **SIZES)
        given_now = given(history=3)
        assert torch.equal(loaded(*given_now), controller(*given_now))
        assert loaded.config == controller.config
        assert (data["checkpoint"], data["about"], ActionSpec.from_json(data["spec"])) == ("abc", {"seed": 3}, CAR)
        assert not any(p.requires_grad for p in loaded.parameters())

    def test_are_listed_once_whole(self, tmp_path: Path) -> None:
        assert list_controllers(tmp_path) == []
        for name in ("car", "arm"):
            self.save(tmp_path, small(), name)
        assert list_controllers(tmp_path) == ["arm", "car"]
        (tmp_path / "controllers" / "arm.safetensors").unlink()
        assert list_controllers(tmp_path) == ["car"]

    @pytest.mark.parametrize("name", ["", "../car", "a/b", "a b", ".car", "x" * 80])
    def test_names_that_are_no_file_are_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(LamdemoError, match="cannot name a controller"):
            self.save(tmp_path, small(), name)
        with pytest.raises(LamdemoError, match="cannot name a controller"):
            load_controller(tmp_path, name, **SIZES)

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "lamdemo-controller/9"}', "null"])
    def test_damaged_json_is_told(self, tmp_path: Path, text: str) -> None:
        self.save(tmp_path, small()).write_text(text)
        with pytest.raises(LamdemoError, match="controller car cannot be read"):
            load_controller(tmp_path, "car", **SIZES)

    def test_unknown_settings_and_damaged_weights_are_told(self, tmp_path: Path) -> None:
        path = self.save(tmp_path, small())
        data = json.loads(path.read_text())
        path.write_text(json.dumps({**data, "config": {**data["config"], "flux": 1}}))
        with pytest.raises(LamdemoError, match="cannot be read"):
            load_controller(tmp_path, "car", **SIZES)
        path.write_text(json.dumps(data))
        path.with_suffix(".safetensors").write_bytes(b"not weights")
        with pytest.raises(LamdemoError, match=r"car\.safetensors .* damaged"):
            load_controller(tmp_path, "car", **SIZES)

    @pytest.mark.parametrize("other", [{"latent": Z + 1}, {"channels": D + 1}, {"grid": 2 * GRID}, {"grid": 3}])
    def test_of_another_model_are_refused(self, tmp_path: Path, other: dict[str, int]) -> None:
        self.save(tmp_path, small())
        with pytest.raises(LamdemoError, match="does not fit this checkpoint"):
            load_controller(tmp_path, "car", **{**SIZES, **other})


# Training. A world in which the command's effect has the sign that the state shows: the commands alone tell nothing.


def made_up(recordings: range, spec: ActionSpec = CAR, steps: int = 12) -> Steps:
    """Steps of a tiny model's sizes where z is the last-but-one command, turned about by the state's sign."""
    n, d, z = TINY.encoder.grid**2, TINY.encoder.channels, TINY.bottleneck.channels
    mixing = np.random.default_rng(99).normal(size=(spec.width, z))
    parts = []
    for recording in recordings:
        rng = np.random.default_rng(recording)
        states = rng.normal(size=(steps + 1, n, d)) * 0.3
        sign = rng.choice([-1.0, 1.0], steps + 1)
        states[:, :, 0] += sign[:, None]
        actions = rng.uniform(-1, 1, (steps, spec.width)).astype(np.float32)
        late = np.concatenate([np.zeros((1, spec.width), np.float32), actions[:-1]])
        latents = (sign[:-1, None] * (late @ mixing)).astype(np.float32)
        parts.append(Part(states.astype(np.float16), latents, actions, f"run{recording}"))
    return Steps(spec, tuple(parts))


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(tiny_checkpoint)


QUICK = ControllerTrainingConfig(steps=250, batch=32, learning_rate=3e-3, noise=0.05, weight_decay=0.01, average=0.98)


def learned(pipeline: TransferPipeline, **settings: object) -> dict[str, float]:
    known = train_controller(
        pipeline,
        made_up(range(40)),
        made_up(range(100, 110)),
        ControllerConfig(**{"actions": 2, **SMALL, **settings}),
        QUICK,
    )
    assert known is not None
    return known.about["figures"]["validation"]


class TestTraining:
    def test_learns_what_depends_on_state_and_command_and_the_ablation_cannot(self, pipeline: TransferPipeline) -> None:
        seeing, blind = learned(pipeline), learned(pipeline, kind="actions")
        assert seeing["r2"] > 0.7
        assert blind["r2"] < 0.1
        assert seeing["ratio"] < 0.6 * blind["ratio"]
        assert seeing["cosine"] > 0.8

    def test_a_late_command_needs_the_history(self, pipeline: TransferPipeline) -> None:
        assert learned(pipeline, history=1)["r2"] < 0.1

    def test_stopped_and_gone_on_is_bit_for_bit_as_if_not_stopped(
        self, pipeline: TransferPipeline, tmp_path: Path
    ) -> None:
        config = ControllerConfig(2, dropout=0.2, **SMALL)
        training = ControllerTrainingConfig(steps=6, batch=4, noise=0.1)
        steps = made_up(range(4))

        def run(stop_after: float | None, state: Path | None) -> object:
            torch.rand(3)  # what else draws at random must not matter
            return train_controller(pipeline, steps, None, config, training, state=state, stop_after=stop_after)

        whole = run(None, None)
        state = tmp_path / "runs" / "car.training.safetensors"
        calls = 1
        while (parts := run(0.0, state)) is None:
            calls += 1
            assert state.is_file()
        assert calls == 6
        assert not state.exists()
        for (name, a), b in zip(
            whole.controller.state_dict().items(), parts.controller.state_dict().values(), strict=True
        ):
            assert torch.equal(a, b), name

    def test_a_state_of_other_settings_is_refused(self, pipeline: TransferPipeline, tmp_path: Path) -> None:
        state = tmp_path / "car.training.safetensors"

        def run(steps: Steps, **settings: int) -> object:
            return train_controller(
                pipeline,
                steps,
                None,
                ControllerConfig(2, **SMALL),
                ControllerTrainingConfig(**{"steps": 5, "batch": 2, **settings}),
                state=state,
                stop_after=0.0,
            )

        assert run(made_up(range(3))) is None
        with pytest.raises(LamdemoError, match="other settings or data"):
            run(made_up(range(3)), seed=1)
        with pytest.raises(LamdemoError, match="other settings or data"):
            run(made_up(range(4)))
        state.write_bytes(b"nothing")
        with pytest.raises(LamdemoError, match="damaged"):
            run(made_up(range(3)))

    def test_tells_what_was_commanded_and_not_what_was_made_of_it(self, pipeline: TransferPipeline) -> None:
        steps = made_up(range(2))
        ahead = [p._replace(actions=np.abs(p.actions)) for p in steps.parts]
        back = [p._replace(actions=-p.actions, made=True) for p in ahead]
        brief = replace(QUICK, steps=2)
        config = ControllerConfig(actions=2, **SMALL)
        known = train_controller(pipeline, Steps(CAR, (*ahead, *back)), None, config, brief)
        assert known is not None
        given = np.concatenate([p.actions for p in ahead])
        np.testing.assert_allclose(known.about["commands"]["mean"], given.mean(0), rtol=1e-5)
        np.testing.assert_allclose(known.about["commands"]["std"], given.std(0), rtol=1e-5)
        np.testing.assert_allclose(commands_of(known)[0], given.mean(0), rtol=1e-5)
        assert known.controller.mean.abs().max() < 1e-6

    def test_is_not_measured_on_other_actions(self, pipeline: TransferPipeline) -> None:
        other = replace(CAR, channels=(replace(CAR.channels[0], name="wheel"), CAR.channels[1]))
        with pytest.raises(LamdemoError, match="has other actions"):
            train_controller(pipeline, made_up(range(2)), made_up(range(5, 6), other), ControllerConfig(actions=2))

    def test_never_measures_on_what_it_learns_from(self, pipeline: TransferPipeline) -> None:
        with pytest.raises(LamdemoError, match="run3 is to be trained on and measured on"):
            train_controller(pipeline, made_up(range(4)), made_up(range(3, 5)), ControllerConfig(2, **SMALL))

    def test_leaves_the_random_state_alone(self, pipeline: TransferPipeline) -> None:
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        training = ControllerTrainingConfig(steps=2, batch=2)
        train_controller(pipeline, made_up(range(2)), None, ControllerConfig(2, **SMALL), training)
        assert torch.equal(torch.rand(3), expected)


class _Saying(Controller):
    """Says what it is told, whatever it sees."""

    def __init__(self, z: torch.Tensor) -> None:
        super().__init__(ControllerConfig(2, **SMALL), TINY.encoder.channels, z.shape[1], TINY.encoder.grid)
        self.z = z

    def latents(self, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return self.z[: len(states)]


def test_figures_of_a_perfect_an_idle_and_a_constant_one() -> None:
    steps = made_up(range(3))
    z = torch.from_numpy(steps.latents)
    perfect = judge_controller(_Saying(z), steps)
    assert (perfect["r2"], perfect["ratio"]) == (1.0, 0.0)
    assert perfect["cosine"] == pytest.approx(1.0)
    assert (perfect["steps"], perfect["recordings"]) == (36, 3)
    mean = judge_controller(_Saying(z.mean(0).expand_as(z)), steps)
    assert mean["r2"] == pytest.approx(0, abs=1e-5)
    assert mean["ratio"] == pytest.approx(1)
    assert judge_controller(_Saying(torch.zeros_like(z)), steps)["r2"] <= 1e-6
    assert judge_controller(_Saying(-z), steps)["cosine"] == pytest.approx(-1.0)


# Collecting.


def episode(name: str, spec: ActionSpec = CAR, frames: int = 7, fps: float = 4.0, step: int = 3) -> Episode:
    actions = np.random.default_rng(frames).uniform(-1, 1, (frames - 1, spec.width)).astype(np.float32)
    return Episode(name, moving_square(frames, step=step), actions, fps, spec)


class TestCollecting:
    def test_gives_the_pipelines_states_and_latents(self, pipeline: TransferPipeline, tmp_path: Path) -> None:
        one = episode("one")
        steps = collect_steps(pipeline, [one, episode("still", frames=1)], tmp_path)
        (part,) = steps.parts
        assert len(steps) == 6
        states = pipeline.encode(one.frames)
        np.testing.assert_allclose(part.states, states.half().numpy(), atol=2e-2)
        np.testing.assert_allclose(part.latents, pipeline.infer(one.frames).z, atol=1e-4)
        np.testing.assert_array_equal(part.actions, one.actions)
        np.testing.assert_array_equal(steps.places[[0, 5]], [[0, 0], [0, 5]])

    def test_takes_the_models_rate(self, pipeline: TransferPipeline, tmp_path: Path) -> None:
        fast = episode("fast", frames=9, fps=8.0)
        (part,) = collect_steps(pipeline, [fast], tmp_path).parts
        np.testing.assert_allclose(part.latents, pipeline.infer(fast.frames[::2]).z, atol=1e-4)
        np.testing.assert_allclose(part.actions, fast.actions.reshape(4, 2, 2).mean(1), atol=1e-6)

    def test_flipped_pictures_come_with_flipped_commands(self, pipeline: TransferPipeline, tmp_path: Path) -> None:
        one = episode("one")
        own, flipped = collect_steps(pipeline, [one], tmp_path, mirror=True).parts
        np.testing.assert_array_equal(flipped.actions, own.actions * np.float32([-1, 1]))
        np.testing.assert_allclose(flipped.latents, pipeline.infer(one.frames[:, :, ::-1].copy()).z, atol=1e-4)
        assert flipped.recording == own.recording

    def test_unknown_mirrors_are_never_flipped(self, pipeline: TransferPipeline, tmp_path: Path) -> None:
        arm = ActionSpec("arm", (Channel("dx", "change", -1, 1), Channel("dy", "change", -1, 1, mirror=-1)))
        assert len(collect_steps(pipeline, [episode("one", arm)], tmp_path, mirror=True).parts) == 1

    def test_changes_go_back_by_their_negatives(self, pipeline: TransferPipeline, tmp_path: Path) -> None:
        arm = ActionSpec("arm", (Channel("dx", "change", -1, 1), Channel("dy", "change", -1, 1)))
        one = episode("one", arm)
        own, back = collect_steps(pipeline, [one], tmp_path, reverse=True).parts
        played = pipeline.infer(one.frames[::-1].copy())
        np.testing.assert_allclose(back.latents, played.z, atol=1e-4)
        np.testing.assert_allclose(back.states, pipeline.encode(one.frames[::-1].copy()).half(), atol=2e-2)
        np.testing.assert_array_equal(back.actions, -own.actions[::-1])
        # A speed is none: what a car did at this throttle is not undone by the negative one.
        assert len(collect_steps(pipeline, [episode("car")], tmp_path, reverse=True).parts) == 1

    def test_computes_each_picture_once(
        self, pipeline: TransferPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = collect_steps(pipeline, [episode("one")], tmp_path)

        def refuse(frames: np.ndarray) -> None:
            raise AssertionError("encoded again")

        monkeypatch.setattr(pipeline, "encode", refuse)
        again = collect_steps(pipeline, [episode("by-another-name")], tmp_path)
        np.testing.assert_array_equal(again.parts[0].states, first.parts[0].states)
        np.testing.assert_array_equal(again.latents, first.latents)
        with pytest.raises(AssertionError, match="encoded again"):
            collect_steps(pipeline, [episode("other", step=2)], tmp_path)

    def test_a_damaged_cache_is_made_again(self, pipeline: TransferPipeline, tmp_path: Path) -> None:
        first = collect_steps(pipeline, [episode("one")], tmp_path)
        expected = np.array(first.parts[0].states)
        del first
        for file in tmp_path.rglob("*.npy"):
            file.write_bytes(file.read_bytes()[:100])
        again = collect_steps(pipeline, [episode("one")], tmp_path)
        np.testing.assert_array_equal(again.parts[0].states, expected)
        assert not list(tmp_path.rglob("*.part"))

    def test_two_trainings_may_fill_one_cache(
        self, pipeline: TransferPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = np.save
        beside: list[Steps | None] = []

        def meanwhile(stream: object, array: np.ndarray) -> None:
            if not beside:
                beside.append(None)
                beside[0] = collect_steps(pipeline, [episode("one")], tmp_path)
            write(stream, array)

        monkeypatch.setattr(np, "save", meanwhile)
        one = collect_steps(pipeline, [episode("one")], tmp_path)
        assert beside[0] is not None
        np.testing.assert_array_equal(one.parts[0].states, beside[0].parts[0].states)
        assert not list(tmp_path.rglob("*.part"))

    def test_nothing_and_two_kinds_are_refused(self, pipeline: TransferPipeline, tmp_path: Path) -> None:
        with pytest.raises(LamdemoError, match="no step to learn from"):
            collect_steps(pipeline, [episode("still", frames=1)], tmp_path)

        def both() -> Iterator[Episode]:
            yield episode("one")
            yield episode("two", ActionSpec("arm", (Channel("dx", "change", -1, 1),)))

        with pytest.raises(LamdemoError, match="two has other actions"):
            collect_steps(pipeline, both(), tmp_path)


def test_whole_way_from_episodes_to_a_drive(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_checkpoint, folder)
    pipeline = TransferPipeline.from_pretrained(folder)
    steps = collect_steps(pipeline, [episode(f"e{i}", frames=6 + i) for i in range(3)], tmp_path / "cache", mirror=True)
    training = ControllerTrainingConfig(steps=4, batch=4)
    known = train_controller(pipeline, steps, None, ControllerConfig(2, **SMALL), training, name="car")
    assert known is not None
    save_controller(known.controller, folder, "car", checkpoint=pipeline.checkpoint, spec=CAR.to_json())
    drive = pipeline.drive(moving_square(1)[0], "car")
    assert drive.step(np.array([0.5, 1.0])).frame.shape == (48, 64, 3)
    add_controller(folder, "other")
    assert pipeline.controllers == ["car", "other"]


# The command line.


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A folder of five episodes."""
    writer = EpisodeWriter(tmp_path / "episodes", CAR)
    for i in range(5):
        writer.add(episode(f"run{i}", frames=5 + i))
    return tmp_path / "episodes"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    return int(caught.value.code or 0)


class TestCommand:
    def options(self, tiny: Path, recorded: Path, out: Path, *more: object) -> tuple[object, ...]:
        quick = ("--steps", 3, "--batch", 2, "--width", 16, "--threads", 1)
        return ("train-controller", tiny, "--episodes", recorded, "--name", "car", "--out", out, *quick, *more)

    def test_trains_measures_and_installs(
        self, tiny_checkpoint: Path, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tiny, out = tmp_path / "tiny", tmp_path / "out"
        shutil.copytree(tiny_checkpoint, tiny)
        split = tmp_path / "split.toml"
        split.write_text('validation = ["run3*"]\ntest = ["run4*"]\n')
        assert run(*self.options(tiny, recorded, out, "--split", split, "--install")) == 0
        said = capsys.readouterr().out
        assert "validation: R2" in said
        assert {p.name for p in out.iterdir()} == {"controllers", "cache"}
        known = TransferPipeline.from_pretrained(tiny).controller("car")
        assert known.spec == CAR
        assert known.about["data"]["recordings"] == 3  # neither what is measured on nor the test's
        assert known.about["figures"]["validation"]["recordings"] == 1
        assert str(tmp_path) not in (tiny / "controllers" / "car.json").read_text()

    def test_stops_and_goes_on_and_trains_the_ablation(
        self, tiny_checkpoint: Path, recorded: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        asked = self.options(tiny_checkpoint, recorded, out, "--ablation", "--cache", tmp_path / "cache")
        calls = 0
        while not list_controllers(out):
            assert run(*asked, "--stop-after", 0) == 0
            calls += 1
        assert calls == 3
        assert [p.name for p in out.iterdir()] == ["controllers"]
        assert json.loads((out / "controllers" / "car.json").read_text())["config"]["kind"] == "actions"

    def test_refusals_leave_nothing(
        self, tiny_checkpoint: Path, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out, split = tmp_path / "out", tmp_path / "split.toml"
        split.write_text('validation = ["run*"]\ntest = []\n')
        for more, words in (
            (("--split", split), "leaves no episode"),
            (("--width", 10), "multiple of 4, which 10 is not"),
            (("--name", "../car"), "cannot name a controller"),
            (("--part", "car"), "no parts"),
            (("--episodes", tmp_path / "nowhere"), "no folder nowhere"),
        ):
            assert run(*self.options(tiny_checkpoint, recorded, out, *more)) == 2
            said = capsys.readouterr().err
            assert words in said
            assert len(said.strip().splitlines()) == 1
            assert not out.exists()
