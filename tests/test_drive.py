"""Driving: known actions carried out on a picture through a checkpoint's controller."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, moving_square
from controller_files import CAR, add_controller

from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import Drive, KnownController, TransferPipeline, TransferStep, control_latents

FRAMES = moving_square(6)
COMMANDS = np.random.default_rng(5).uniform(-1, 1, (12, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("driving") / "tiny"
    shutil.copytree(tiny_checkpoint, place)
    add_controller(place, "car")
    add_controller(place, "blind", kind="actions", history=1)
    return place


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(folder)


@pytest.fixture(scope="module")
def car(pipeline: TransferPipeline) -> KnownController:
    return pipeline.controller("car")


def same(a: TransferStep, b: TransferStep) -> None:
    assert (a.index, a.painted) == (b.index, b.painted)
    for name in ("frame", "idle", "flow", "between", "state", "idle_state"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


class TestControllers:
    def test_are_listed_and_loaded_by_name(self, pipeline: TransferPipeline) -> None:
        assert pipeline.controllers == ["blind", "car"]
        known = pipeline.controller("car")
        assert (known.name, known.spec, known.history, known.about) == ("car", CAR, 2, {"steps": 0})
        assert not known.controller.training

    def test_unknown_ones_are_refused_with_those_there_are(self, pipeline: TransferPipeline) -> None:
        with pytest.raises(LamdemoError, match=r"The checkpoint .* has no controller \'boat\'; it has blind, car\."):
            pipeline.controller("boat")
        for name in ("", "../car", "controllers/car"):
            with pytest.raises(LamdemoError, match="has no controller"):
                pipeline.controller(name)

    def test_a_checkpoint_without_any_says_how_to_come_by_one(self, tiny_checkpoint: Path) -> None:
        bare = TransferPipeline.from_pretrained(tiny_checkpoint)
        assert bare.controllers == []
        with pytest.raises(LamdemoError, match="train-controller"):
            bare.drive(FRAMES[0], "car")

    def test_those_of_another_checkpoint_are_refused(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny_checkpoint, tmp_path / "tiny")
        add_controller(tmp_path / "tiny", "car", checkpoint="0" * 64)
        with pytest.raises(LamdemoError, match="another checkpoint"):
            TransferPipeline.from_pretrained(tmp_path / "tiny").controller("car")

    def test_a_spec_of_another_width_is_refused(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny_checkpoint, tmp_path / "tiny")
        add_controller(tmp_path / "tiny", "car", ActionSpec("car", (Channel("x", "rate", -1, 1),)), actions=2)
        with pytest.raises(LamdemoError, match="contradicts itself"):
            TransferPipeline.from_pretrained(tmp_path / "tiny").controller("car")


class TestWindows:
    def test_show_this_command_last_and_zeros_before_the_first(self, car: KnownController) -> None:
        windows = car.windows(COMMANDS[:3])
        assert windows.shape == (3, 2, 2)
        np.testing.assert_array_equal(windows[:, -1], COMMANDS[:3])
        np.testing.assert_array_equal(windows[0, 0], 0)
        np.testing.assert_array_equal(windows[1:, 0], COMMANDS[:2])

    def test_go_on_from_what_was_before(self, car: KnownController) -> None:
        whole = car.windows(COMMANDS)
        np.testing.assert_array_equal(car.windows(COMMANDS[4:], COMMANDS[:4]), whole[4:])
        np.testing.assert_array_equal(car.windows(COMMANDS[1:], COMMANDS[:1]), whole[1:])
        np.testing.assert_array_equal(car.windows(COMMANDS[4:], COMMANDS[:0])[0, 0], 0)

    def test_of_an_episode_give_each_step_its_own_latent(
        self, pipeline: TransferPipeline, car: KnownController
    ) -> None:
        states = pipeline.encode(FRAMES)
        z = control_latents(car, states, COMMANDS[:5])
        assert z.shape == (5, TINY.bottleneck.channels)
        for t in range(5):
            alone = control_latents(car, states[t:], COMMANDS[t : t + 1], COMMANDS[:t])
            torch.testing.assert_close(alone[0], z[t])
        with pytest.raises(LamdemoError, match="7 actions and 6 states"):
            control_latents(car, states, COMMANDS[:7])


class TestDriving:
    @pytest.mark.parametrize("idle", [False, True])
    def test_carries_out_the_controllers_latents(
        self, pipeline: TransferPipeline, car: KnownController, idle: bool
    ) -> None:
        drive = pipeline.drive(FRAMES, car, idle=idle, between=1)
        rollout = pipeline.begin(FRAMES, idle=idle, between=1)
        for t, command in enumerate(COMMANDS[:4]):
            state = torch.from_numpy(rollout.state)[None]
            z = control_latents(car, state, command[None], COMMANDS[:t])[0].numpy()
            np.testing.assert_array_equal(drive.latent(command), z)
            same(drive.step(command), rollout.step(z))
            np.testing.assert_array_equal(drive.frame, rollout.frame)
        np.testing.assert_array_equal(drive.actions, COMMANDS[:4])
        assert drive.count == 4

    def test_another_command_leads_elsewhere_and_so_does_the_one_before(self, pipeline: TransferPipeline) -> None:
        ends = []
        for first, second in ((0, 1), (0, -1), (0.5, 1)):
            drive = pipeline.drive(FRAMES[0], "car")
            drive.step(np.array([first, 0]))
            ends.append(drive.latent(np.array([second, 0])))
        assert np.abs(ends[0] - ends[1]).max() > 1e-3
        assert np.abs(ends[0] - ends[2]).max() > 1e-3

    def test_looks_at_the_state_unless_it_is_the_ablation(self, pipeline: TransferPipeline) -> None:
        other = FRAMES[0, ::-1, ::-1].copy()
        seeing = [pipeline.drive(target, "car").latent(COMMANDS[0]) for target in (FRAMES[0], other)]
        blind = [pipeline.drive(target, "blind").latent(COMMANDS[0]) for target in (FRAMES[0], other)]
        assert np.abs(seeing[0] - seeing[1]).max() > 1e-3
        np.testing.assert_array_equal(blind[0], blind[1])

    def test_can_begin_after_commands(self, pipeline: TransferPipeline, car: KnownController) -> None:
        fresh = pipeline.drive(FRAMES, car).latent(COMMANDS[1])
        after = pipeline.drive(FRAMES, car, before=COMMANDS[:1])
        window = np.stack([COMMANDS[0], COMMANDS[1]])[None]
        expected = car.latents(torch.from_numpy(after.state)[None], window)[0].numpy()
        np.testing.assert_array_equal(after.latent(COMMANDS[1]), expected)
        assert np.abs(expected - fresh).max() > 1e-3

    def test_keeps_a_copy_of_each_command(self, pipeline: TransferPipeline, car: KnownController) -> None:
        drive, command = pipeline.drive(FRAMES[0], car), COMMANDS[0].copy()
        drive.step(command)
        command[:] = 9
        np.testing.assert_array_equal(drive.actions, COMMANDS[:1])


class TestUndo:
    def test_is_exact_and_the_same_way_leads_to_the_same_place(
        self, pipeline: TransferPipeline, car: KnownController
    ) -> None:
        drive = pipeline.drive(FRAMES, car, idle=True)
        steps = [drive.step(c) for c in COMMANDS]
        for t in range(len(COMMANDS) - 1, 5, -1):
            assert drive.undo()
            np.testing.assert_array_equal(drive.frame, steps[t - 1].frame)
            np.testing.assert_array_equal(drive.state, steps[t - 1].state)
        np.testing.assert_array_equal(drive.actions, COMMANDS[:6])
        for t in range(6, len(COMMANDS)):
            same(drive.step(COMMANDS[t]), steps[t])

    def test_ends_at_the_target(self, pipeline: TransferPipeline, car: KnownController) -> None:
        drive = pipeline.drive(FRAMES[0], car)
        assert not drive.can_undo
        first = drive.step(COMMANDS[0])
        assert drive.undo()
        assert not drive.undo()
        np.testing.assert_array_equal(drive.frame, FRAMES[0])
        assert drive.actions.shape == (0, 2)
        same(drive.step(COMMANDS[0]), first)

    def test_too_long_ago_leaves_everything_as_it_was(self, pipeline: TransferPipeline, car: KnownController) -> None:
        drive = pipeline.drive(FRAMES[0], car, history=2)
        for c in COMMANDS[:4]:
            drive.step(c)
        assert [drive.undo() for _ in range(3)] == [True, True, False]
        np.testing.assert_array_equal(drive.actions, COMMANDS[:2])
        assert drive.count == 2

    def test_reset_forgets_the_way(self, pipeline: TransferPipeline, car: KnownController) -> None:
        drive = pipeline.drive(FRAMES, car)
        first = drive.step(COMMANDS[0])
        drive.step(COMMANDS[1])
        drive.reset()
        assert drive.count == 0
        same(drive.step(COMMANDS[0]), first)


@pytest.mark.parametrize("command", [np.zeros(3), np.zeros(1), np.zeros((2, 2)), np.array([np.nan, 0])])
def test_what_is_no_command_is_refused_and_changes_nothing(
    pipeline: TransferPipeline, car: KnownController, command: np.ndarray
) -> None:
    drive: Drive = pipeline.drive(FRAMES, car)
    with pytest.raises(LamdemoError):
        drive.step(command)
    assert drive.count == 0
    assert len(drive.actions) == 0
    same(drive.step(COMMANDS[0]), pipeline.drive(FRAMES, car).step(COMMANDS[0]))
