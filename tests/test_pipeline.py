"""The one way through: clips to latent actions, latent actions on another picture."""

import dataclasses
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, moving_square

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import (
    MAX_STEPS,
    ActionEdit,
    LatentActions,
    TransferPipeline,
    bundled_checkpoints,
    collect,
    describe_checkpoint,
    resolve_checkpoint,
    sharpness,
)
from lamdemo.engine.pretrained import hardly_trained
from lamdemo.models import LatentActionModel, save_checkpoint

FRAMES = moving_square(5)
Z = TINY.bottleneck.channels


def picture(height: int = 60, width: int = 80) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    scene = np.stack([x * 255 // width, y * 255 // height, (x + y) % 64 * 4], -1)
    scene[height // 3 : height // 2, width // 3 : width // 2] = 240
    return scene.astype(np.uint8)


def actions(steps: int = 3, channels: int = Z, checkpoint: str = "", seed: int = 0) -> LatentActions:
    z = np.random.default_rng(seed).normal(size=(steps, channels)).astype(np.float32)
    return LatentActions(z, 4.0, checkpoint)


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(tiny_checkpoint)


class TestInfer:
    def test_a_latent_for_each_step(self, pipeline: TransferPipeline) -> None:
        latents = pipeline.infer(FRAMES, 8.0)
        assert latents.z.shape == (4, Z)
        assert latents.z.dtype == np.float32
        assert (latents.fps, latents.checkpoint, len(latents)) == (8.0, pipeline.checkpoint, 4)
        assert pipeline.infer(FRAMES).fps == TINY.fps
        np.testing.assert_allclose(latents.size, np.sqrt((latents.z**2).sum(1)), rtol=1e-5)

    def test_a_step_depends_on_its_two_frames_alone(self, pipeline: TransferPipeline) -> None:
        other = FRAMES.copy()
        other[3] = 255 - other[3]
        a, b = pipeline.infer(FRAMES).z, pipeline.infer(other).z
        changed = np.abs(a - b).max(1) > 1e-5
        assert changed.tolist() == [False, False, True, True]

    def test_backwards_is_the_negative_and_still_is_nothing(self, pipeline: TransferPipeline) -> None:
        there, back = pipeline.infer(FRAMES), pipeline.infer(FRAMES[::-1].copy())
        np.testing.assert_allclose(back.z[::-1], -there.z, atol=1e-4)
        assert there.size.min() > 1e-3
        np.testing.assert_allclose(pipeline.infer(np.repeat(FRAMES[:1], 3, 0)).z, 0, atol=1e-5)

    def test_noise_is_by_seed_and_only_where_asked_for(self, pipeline: TransferPipeline) -> None:
        mean = pipeline.infer(FRAMES)
        np.testing.assert_array_equal(pipeline.infer(FRAMES, temperature=0.0, seed=5).z, mean.z)
        one, again, other = (pipeline.infer(FRAMES, temperature=1.0, seed=s).z for s in (1, 1, 2))
        np.testing.assert_array_equal(one, again)
        assert np.abs(one - other).max() > 1e-3
        twice = pipeline.infer(FRAMES, temperature=2.0, seed=1).z
        np.testing.assert_allclose(twice - mean.z, 2 * (one - mean.z), atol=1e-4)

    @pytest.mark.parametrize(
        "frames",
        [FRAMES[:1], FRAMES[0], FRAMES[:0], FRAMES.astype(np.float32), FRAMES[..., :1], FRAMES[:, :0]],
    )
    def test_what_is_no_clip_is_refused(self, pipeline: TransferPipeline, frames: np.ndarray) -> None:
        with pytest.raises(LamdemoError):
            pipeline.infer(frames)

    def test_a_long_clip_is_taken_a_piece_at_a_time(
        self, pipeline: TransferPipeline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clip = np.random.default_rng(0).integers(0, 256, (150, 16, 16, 3)).astype(np.uint8)
        infer, pieces = pipeline.model.infer, []

        def told(states: torch.Tensor, **more: object) -> torch.Tensor:
            pieces.append(states.shape[1] - 1)
            return infer(states, **more)

        whole = infer(pipeline.encode(clip)[None], temperature=1.0, generator=torch.Generator().manual_seed(3))[0]
        monkeypatch.setattr(pipeline.model, "infer", told)
        found = pipeline.infer(clip, temperature=1.0, seed=3)
        assert pieces == [32, 32, 32, 32, 21]
        np.testing.assert_allclose(found.z, whole.numpy(), atol=1e-5)

    def test_read_only_frames_will_do(self, pipeline: TransferPipeline) -> None:
        locked = FRAMES.copy()
        locked.flags.writeable = False
        np.testing.assert_array_equal(pipeline.infer(locked).z, pipeline.infer(FRAMES).z)

    def test_pictures_of_any_size_are_stretched_to_the_encoder_s_square(self, pipeline: TransferPipeline) -> None:
        flat = np.full((2, 33, 121, 3), 90, np.uint8)
        square = np.full((2, 64, 64, 3), 90, np.uint8)
        torch.testing.assert_close(pipeline.encode(flat), pipeline.encode(square), rtol=1e-3, atol=1e-3)
        assert pipeline.encode(flat).shape == (2, 16, TINY.encoder.channels)


class TestTransfer:
    def test_equals_infer_stream_and_collect(self, pipeline: TransferPipeline) -> None:
        edit = ActionEdit(scale=1.5)
        whole = pipeline.transfer(FRAMES, picture(), edit=edit, between=1)
        latents = pipeline.infer(FRAMES)
        steps = list(pipeline.stream(latents, picture(), edit=edit, between=1))
        parts = collect(steps, edit.apply(latents))
        again = pipeline.transfer(latents, picture(), edit=edit, between=1)
        for other in (parts, again):
            for name in ("frames", "idle", "smooth", "flow"):
                np.testing.assert_array_equal(getattr(other, name), getattr(whole, name))
            np.testing.assert_array_equal(other.latents.z, whole.latents.z)
            assert other.measures == whole.measures
        assert [s.index for s in steps] == [0, 1, 2, 3, 4]
        assert {s.steps for s in steps} == {4}

    def test_begins_with_the_target_and_then_changes_it(self, pipeline: TransferPipeline) -> None:
        result = pipeline.transfer(actions(), picture())
        np.testing.assert_array_equal(result.frames[0], picture())
        np.testing.assert_array_equal(result.idle[0], picture())
        assert np.abs(result.frames[-1].astype(int) - picture()).mean() > 1
        assert (result.frames != result.idle).any()
        assert np.abs(result.flow).max() > 0.1

    def test_no_strength_is_idleness(self, pipeline: TransferPipeline) -> None:
        result = pipeline.transfer(actions(), picture(), edit=ActionEdit(scale=0.0))
        np.testing.assert_array_equal(result.frames, result.idle)
        acted = pipeline.transfer(actions(), picture())
        np.testing.assert_array_equal(acted.idle, result.idle)

    def test_a_step_depends_on_earlier_actions_only(self, pipeline: TransferPipeline) -> None:
        given = actions(4)
        other = dataclasses.replace(given, z=np.concatenate([given.z[:2], -given.z[2:]]))
        a, b = (pipeline.transfer(x, picture()).frames for x in (given, other))
        np.testing.assert_array_equal(a[:3], b[:3])
        assert (a[3] != b[3]).any()

    @pytest.mark.parametrize(("height", "width"), [(61, 83), (40, 1280), (333, 17), (1, 1)])
    def test_keeps_the_target_s_own_resolution(self, pipeline: TransferPipeline, height: int, width: int) -> None:
        result = pipeline.transfer(actions(1), picture(height, width), between=1)
        assert result.frames.shape == result.idle.shape == (2, height, width, 3)
        assert result.smooth.shape == (3, height, width, 3)
        assert result.flow.shape == (1, height, width, 2)
        assert result.frames.dtype == np.uint8

    @pytest.mark.parametrize("between", [0, 1, 3])
    def test_frames_between_steps(self, pipeline: TransferPipeline, between: int) -> None:
        result = pipeline.transfer(actions(2), picture(), between=between)
        assert len(result.smooth) == 2 * (between + 1) + 1
        np.testing.assert_array_equal(result.smooth[:: between + 1], result.frames)
        assert result.smooth_fps == pytest.approx(4.0 * (between + 1))
        plain = pipeline.transfer(actions(2), picture())
        np.testing.assert_array_equal(result.frames, plain.frames)

    def test_a_clip_as_target_brings_its_past(self, pipeline: TransferPipeline) -> None:
        alone, with_past = (pipeline.transfer(actions(), t) for t in (FRAMES[-1], FRAMES))
        np.testing.assert_array_equal(alone.frames[0], with_past.frames[0])
        assert (alone.frames[1:] != with_past.frames[1:]).any()
        one = pipeline.transfer(actions(), FRAMES[-1:])
        np.testing.assert_array_equal(one.frames, alone.frames)

    def test_the_past_reaches_as_far_as_the_world_model_looks(self, pipeline: TransferPipeline) -> None:
        context = TINY.world_model.context
        long = np.concatenate([255 - FRAMES, FRAMES])[-context - 2 :]
        a, b = (pipeline.transfer(actions(), t) for t in (long, long[-context:]))
        np.testing.assert_array_equal(a.frames, b.frames)

    def test_flow_is_backward_and_in_pixels(self) -> None:
        torch.manual_seed(0)
        model = LatentActionModel(TINY)
        with torch.no_grad():
            # One cell of four to the left is where everything was: it moves right by a quarter.
            model.world_model.motion[-1].bias.copy_(torch.tensor([-1.0, 0.0]))
        target = picture(40, 80)
        result = TransferPipeline(model).transfer(actions(1), target)
        np.testing.assert_allclose(result.flow[0], np.broadcast_to([-20.0, 0.0], (40, 80, 2)), atol=1e-3)
        # A new decoder paints over hardly anything.
        assert np.abs(result.frames[1][:, 20:] - target[:, :-20].astype(int)).max() <= 3

    def test_measures_say_what_they_are(self, pipeline: TransferPipeline) -> None:
        steps = list(pipeline.stream(actions(2), picture()))
        result = collect(steps, actions(2))
        m = result.measures
        assert m["action_size"] == pytest.approx(float(actions(2).size.mean()))
        lengths = np.hypot(result.flow[..., 0], result.flow[..., 1])
        assert m["motion"] == pytest.approx(100 * lengths.mean() / 80, rel=1e-4)
        assert m["painted"] == pytest.approx(np.mean([s.painted for s in steps[1:]]))
        assert m["change"] == pytest.approx(np.abs(result.frames[-1].astype(float) - picture()).mean())
        assert m["idle_change"] == pytest.approx(np.abs(result.idle[-1].astype(float) - picture()).mean())
        assert m["sharpness"] == pytest.approx(sharpness(result.frames[-1]) / sharpness(picture()))

    def test_a_stopped_stream_is_a_shorter_result(self, pipeline: TransferPipeline) -> None:
        given = actions(4)
        steps = []
        for step in pipeline.stream(given, picture()):
            steps.append(step)
            if step.index == 2:
                break
        part, whole = collect(steps, given), pipeline.transfer(given, picture())
        np.testing.assert_array_equal(part.frames, whole.frames[:3])
        np.testing.assert_array_equal(part.latents.z, given.z[:2])
        nothing = collect(steps[:1], given)
        assert nothing.flow.shape == (0, 60, 80, 2)
        assert nothing.measures == {}

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_weights_of_half_precision_run(
        self, tiny_checkpoint: Path, pipeline: TransferPipeline, dtype: torch.dtype
    ) -> None:
        half = TransferPipeline.from_pretrained(tiny_checkpoint, dtype=dtype)
        latents, expected = half.infer(FRAMES), pipeline.infer(FRAMES)
        assert latents.z.dtype == np.float32
        assert np.isfinite(latents.z).all()
        assert not half.infer(np.repeat(FRAMES[:1], 2, 0)).z.any()
        frames = half.transfer(actions(1), FRAMES).frames.astype(int)
        assert frames.shape == (2, *FRAMES.shape[1:])
        if dtype == torch.float16:  # bfloat16 has too few digits for an encoder of random weights
            assert np.abs(latents.z - expected.z).mean() < 0.5 * np.abs(expected.z).mean()
            assert np.abs(frames - pipeline.transfer(actions(1), FRAMES).frames).mean() < 10

    def test_gradients_are_not_kept(self, pipeline: TransferPipeline) -> None:
        assert torch.is_grad_enabled()
        stream = pipeline.stream(actions(2), picture())
        next(stream)
        assert torch.is_grad_enabled()
        next(stream)
        assert torch.is_grad_enabled()


class TestRefusals:
    def test_actions_of_another_width(self, pipeline: TransferPipeline) -> None:
        with pytest.raises(LamdemoError, match=f"{Z + 1} channels"):
            pipeline.stream(actions(channels=Z + 1), picture())

    def test_actions_of_another_checkpoint(self, pipeline: TransferPipeline) -> None:
        with pytest.raises(LamdemoError, match="another checkpoint"):
            pipeline.stream(actions(checkpoint="0123"), picture())
        pipeline.stream(actions(checkpoint=pipeline.checkpoint), picture())

    def test_too_many_or_no_steps(self, pipeline: TransferPipeline) -> None:
        pipeline.stream(actions(MAX_STEPS), picture())
        for given, edit in (
            (actions(MAX_STEPS + 1), None),
            (actions(MAX_STEPS // 2 + 1), ActionEdit(repeat=2)),
            (actions(0), None),
        ):
            with pytest.raises(LamdemoError, match="steps"):
                pipeline.stream(given, picture(), edit=edit)

    @pytest.mark.parametrize(
        "target", [picture()[..., 0], picture().astype(np.float32), picture()[:0], np.zeros((4, 4, 4), np.uint8)]
    )
    def test_what_is_no_picture(self, pipeline: TransferPipeline, target: np.ndarray) -> None:
        with pytest.raises(LamdemoError):
            pipeline.transfer(actions(1), target)


class TestActions:
    def test_doing_the_opposite_twice_is_doing_it(self) -> None:
        negate = ActionEdit(negate=True)
        given = actions()
        np.testing.assert_array_equal(negate.apply(given).z, -given.z)
        np.testing.assert_array_equal(negate.apply(negate.apply(given)).z, given.z)

    def test_repeats_carry_out_the_whole_sequence(self) -> None:
        given = actions(3)
        thrice = ActionEdit(repeat=3, scale=0.5).apply(given)
        assert thrice.z.dtype == np.float32
        np.testing.assert_array_equal(thrice.z, np.concatenate([given.z] * 3) * np.float32(0.5))
        assert (thrice.fps, thrice.checkpoint) == (given.fps, given.checkpoint)

    def test_a_plain_edit_changes_nothing(self) -> None:
        np.testing.assert_array_equal(ActionEdit().apply(actions()).z, actions().z)

    @pytest.mark.parametrize(
        "wrong", [{"scale": np.nan}, {"scale": np.inf}, {"scale": 11}, {"repeat": 0}, {"repeat": 51}]
    )
    def test_edits_out_of_range_are_refused(self, wrong: dict) -> None:
        with pytest.raises(LamdemoError):
            ActionEdit(**wrong)

    def test_a_file_holds_all_of_them(self, tmp_path: Path) -> None:
        given = actions(5, checkpoint="abc")
        assert given.save(tmp_path / "latents.npz") == tmp_path / "latents.npz"
        again = LatentActions.load(tmp_path / "latents.npz")
        np.testing.assert_array_equal(again.z, given.z)
        assert (again.z.dtype, again.fps, again.checkpoint) == (np.float32, 4.0, "abc")
        given.save(tmp_path / "again.npz")
        assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "latents.npz").read_bytes()

    def broken(self, path: Path, how: str) -> None:
        whole = actions().save(path.with_name("whole.npz")).read_bytes()
        parts = {"z": actions().z, "fps": np.float64(4), "checkpoint": np.str_("")}
        changes = {
            "no fps": {"fps": None},
            "one axis": {"z": np.zeros(4, np.float32)},
            "no steps": {"z": np.zeros((0, 4), np.float32)},
            "not finite": {"z": np.full((2, 4), np.nan, np.float32)},
            "text": {"z": np.full((2, 4), "a")},
            "pickled": {"z": np.full((2, 4), None)},
            "no speed": {"fps": np.float64(0)},
            "many speeds": {"fps": np.ones(3)},
            "speed not finite": {"fps": np.float64(np.nan)},
        }
        if how in changes:
            np.savez(path, **{k: v for k, v in {**parts, **changes[how]}.items() if v is not None})
        elif how == "empty":
            path.write_bytes(b"")
        elif how == "cut short":
            path.write_bytes(whole[: len(whole) // 2])
        elif how == "something else":
            path.write_bytes(b"not numbers at all " * 9)
        elif how == "one array":
            with open(path, "wb") as stream:
                np.save(stream, parts["z"])
        elif how == "another zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("notes.txt", "hello")
        elif how == "a byte wrong":
            data = bytearray(whole)
            data[whole.index(actions().z.tobytes()) + 5] ^= 0xFF
            path.write_bytes(bytes(data))
        elif how == "a folder":
            path.mkdir()

    @pytest.mark.parametrize(
        "how",
        [
            *("missing", "empty", "cut short", "something else", "one array", "another zip", "a byte wrong"),
            *("a folder", "no fps", "one axis", "no steps", "not finite", "text", "pickled", "no speed"),
            *("many speeds", "speed not finite"),
        ],
    )
    def test_what_is_no_such_file_is_refused_in_one_sentence(self, tmp_path: Path, how: str) -> None:
        path = tmp_path / "mine.npz"
        self.broken(path, how)
        with pytest.raises(LamdemoError, match=r"mine\.npz holds no latent actions") as caught:
            LatentActions.load(path)
        assert str(tmp_path) not in str(caught.value)


class TestCheckpointsByName:
    def test_bundled_ones_are_found_the_default_first(
        self, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LAMDEMO_CHECKPOINTS", str(tmp_path))
        assert bundled_checkpoints() == {}
        with pytest.raises(LamdemoError, match="No bundled checkpoint"):
            resolve_checkpoint()
        for name in ("discrete", DEFAULT_CHECKPOINT, "sparse"):
            shutil.copytree(tiny_checkpoint, tmp_path / name)
        assert list(bundled_checkpoints()) == [DEFAULT_CHECKPOINT, "discrete", "sparse"]
        assert resolve_checkpoint() == resolve_checkpoint("") == tmp_path / DEFAULT_CHECKPOINT
        assert resolve_checkpoint("sparse") == tmp_path / "sparse"
        assert resolve_checkpoint(tiny_checkpoint) == tiny_checkpoint
        with pytest.raises(LamdemoError, match=f"{DEFAULT_CHECKPOINT}, discrete, sparse"):
            resolve_checkpoint("quiet")
        with pytest.raises(LamdemoError) as caught:
            resolve_checkpoint(tmp_path / "deep" / "er" / "quiet")
        assert str(tmp_path) not in str(caught.value)

    def test_they_tell_what_they_are_without_being_loaded(self, tmp_path: Path) -> None:
        told = {}
        for family, dial, about in (
            ("noisy", 1e-5, {"steps": 4100, "nats": 23.456}),
            ("sparse", 0.05, {"steps": "many", "nats": float("nan")}),
            ("discrete", 4096, {"steps": 3}),
        ):
            latent = dataclasses.replace(TINY.bottleneck, family=family, capacity=dial)
            model = LatentActionModel(dataclasses.replace(TINY, bottleneck=latent))
            save_checkpoint(model, tmp_path / family, about=about)
            (tmp_path / family / "model.safetensors").unlink()
            told[family] = str(describe_checkpoint(tmp_path / family))
        assert told["noisy"] == "noisy — noisy latents, β 1e-05 — 4,100 training steps, 23.5 nats a step"
        assert told["sparse"] == "sparse — sparse latents, λ 0.05"
        assert told["discrete"] == "discrete — discrete latents, 4,096 codes — 3 training steps, hardly trained"
        # What goes on from another's weights for a few steps is as good as that one.
        assert "3 steps" in hardly_trained({"steps": 3})
        assert hardly_trained({"steps": 3, "began_with": {"name": "noisy"}}) == hardly_trained({}) == ""
        with pytest.raises(LamdemoError):
            describe_checkpoint(tmp_path / "nothing")

    def test_a_pipeline_knows_its_name_and_weights(self, tiny_checkpoint: Path, pipeline: TransferPipeline) -> None:
        assert pipeline.name == "tiny"
        assert len(pipeline.checkpoint) == 64
        assert pipeline.family == "noisy"
        assert pipeline.fps == TINY.fps
        again = TransferPipeline.from_pretrained(tiny_checkpoint)
        a, b = (p.transfer(FRAMES, picture()) for p in (pipeline, again))
        np.testing.assert_array_equal(a.smooth, b.smooth)
        np.testing.assert_array_equal(a.latents.z, b.latents.z)
