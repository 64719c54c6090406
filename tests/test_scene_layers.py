"""What acts as a layer of its own: its motion, its matte, what is behind it, how it is drawn and taught."""

import copy
import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, moving_square
from torch import Tensor

from lamdemo.data.motion_layers import motion_layers
from lamdemo.engine import TransferPipeline
from lamdemo.models import Canvas, LatentActionModel, load_checkpoint, save_checkpoint
from lamdemo.models.decoder import MatteHead, Rendering
from lamdemo.models.encoder import DeepFeatures, EncoderConfig, build_encoder, imagenet_weights
from lamdemo.models.painter import fill_hole
from lamdemo.models.scene_layers import LayerEvidence, fill_behind, middle_of, move_matte, similarity_flow
from lamdemo.models.warp import pixel_centres, sample_at, warp
from lamdemo.models.world_model import Prediction, WorldModel
from lamdemo.training.layer_losses import FlowLayers, SceneTruth, StepTruth, layer_losses
from lamdemo.training.objective import LossConfig, Objective

GRID, CHANNELS, Z = TINY.encoder.grid, TINY.encoder.channels, TINY.bottleneck.channels
LAYERED = dataclasses.replace(TINY, world_model=dataclasses.replace(TINY.world_model, layers=True))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    generator = seeded(1)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if not name.startswith("encoder."):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module


def disc(x: float, y: float, radius: float, side: int) -> Tensor:
    """A matte ``[1, 1, side, side]`` with a soft edge of a pixel."""
    at = pixel_centres(side, side)
    away = ((at[0] - x).square() + (at[1] - y).square()).sqrt()
    return ((radius - away) * side + 0.5).clamp(0, 1)[None, None]


class TestSimilarity:
    def test_without_motion_nothing_moves(self) -> None:
        nothing = torch.zeros(2, 2)
        assert similarity_flow(torch.rand(2, 2), nothing, nothing, 8).abs().max() < 1e-6

    def test_points_to_where_each_place_was(self) -> None:
        middle, shift, turn = torch.tensor([[0.4, 0.6]]), torch.tensor([[0.1, -0.05]]), torch.tensor([[0.2, 0.3]])
        flow = similarity_flow(middle, shift, turn, 32)
        was = (pixel_centres(32, 32) + flow[0]).flatten(1)
        p = torch.complex(*(was - middle.T))
        now = torch.complex(*(middle + shift).T) + torch.complex(*(1 + turn[:, :1], turn[:, 1:])).squeeze() * p
        here = torch.complex(*pixel_centres(32, 32).flatten(1))
        torch.testing.assert_close(now, here)

    def test_the_same_vote_is_the_same_action_on_things_of_any_size_and_place(self) -> None:
        # A quarter turn about the own middle leaves the middle where it is, and moves a rim by its radius.
        for middle in (torch.tensor([[0.25, 0.25]]), torch.tensor([[0.7, 0.5]])):
            flow = similarity_flow(middle, torch.zeros(1, 2), torch.tensor([[-1.0, 1.0]]), 64)
            at = middle.reshape(1, 2, 1, 1)
            assert sample_at(flow, at).norm() < 0.01
            rim = sample_at(flow, at + torch.tensor([0.2, 0.0]).reshape(1, 2, 1, 1))
            torch.testing.assert_close(rim.flatten(), torch.tensor([-0.2, -0.2]), atol=0.01, rtol=0)


class TestMattes:
    def test_the_middle_is_the_centre_of_mass(self) -> None:
        torch.testing.assert_close(middle_of(disc(0.3, 0.6, 0.15, 64)), torch.tensor([[0.3, 0.6]]), atol=2e-3, rtol=0)

    def test_nothing_comes_from_beyond_the_edge(self) -> None:
        everything = torch.ones(1, 1, 16, 16)
        flow = torch.tensor([-0.25, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 16, 16)  # it came from the left
        moved = move_matte(everything, flow)
        assert moved[..., :3].abs().max() == 0
        assert moved[..., 5:].min() == 1

    def test_filling_takes_the_surroundings_and_leaves_them(self) -> None:
        values = torch.rand(1, 3, 16, 16, generator=seeded())
        hole = torch.zeros(1, 1, 16, 16)
        hole[..., 5:9, 5:9] = 1
        values = torch.where(hole > 0, 9.0, values)
        filled = fill_behind(values, hole)
        assert torch.equal(filled[..., :5, :], values[..., :5, :])
        assert filled.max() <= 1.001
        constant = torch.where(hole > 0, 9.0, torch.full_like(values, 0.3))
        torch.testing.assert_close(fill_behind(constant, hole), torch.full_like(values, 0.3))

    def test_no_matte_changes_nothing(self) -> None:
        values = torch.rand(2, 3, 16, 16, generator=seeded())
        assert torch.equal(fill_behind(values, torch.zeros(2, 1, 16, 16)), values)


class TestWorldModel:
    def build(self) -> WorldModel:
        torch.manual_seed(0)
        return WorldModel(LAYERED.world_model, CHANNELS, Z, GRID).eval()

    def test_a_new_one_predicts_its_input(self) -> None:
        states = torch.randn(2, 3, GRID**2, CHANNELS, generator=seeded())
        prediction = self.build()(states, torch.randn(2, 3, Z, generator=seeded(1)))
        torch.testing.assert_close(prediction.states, states)
        assert not prediction.flow.any()

    def test_step_by_step_equals_all_at_once_where_the_layer_is_told(self) -> None:
        world = shaken(self.build())
        states, z = torch.randn(1, 4, GRID**2, CHANNELS, generator=seeded()), torch.randn(1, 4, Z, generator=seeded(1))
        carried = torch.rand(1, 4, 1, GRID, GRID, generator=seeded(2))
        together, cache = world(states, z, carried=carried), world.new_cache()
        for t in range(4):
            one = world(states[:, t : t + 1], z[:, t : t + 1], cache, carried[:, t : t + 1])
            for a, b in zip(one, together, strict=True):
                torch.testing.assert_close(a[:, 0], b[:, t], atol=1e-4, rtol=1e-4)
            assert torch.equal(cache.carried, one.cover)

    def test_a_rollout_remembers_where_the_layer_is(self) -> None:
        world = shaken(self.build())
        with torch.no_grad():
            for parameter in (world.recall.weight, world.layers.join[0].weight):
                parameter.mul_(5)
        states, z = torch.randn(1, 1, GRID**2, CHANNELS, generator=seeded()), torch.randn(1, 2, Z, generator=seeded(1))
        rolled = world.rollout(states, z)
        first = world(states, z[:, :1])
        told = world(first.states, z[:, 1:], carried=first.cover).matte
        # Alone, the second step does not see the first frame; so what is compared is what being told changes.
        untold = world(first.states, z[:, 1:]).matte
        assert (told - untold).abs().max() > 1e-3
        cache = world.new_cache()
        world(states, z[:, :1], cache)
        second = world(first.states, z[:, 1:], cache)
        torch.testing.assert_close(rolled.matte[:, 1:], second.matte)

    def test_a_branch_of_some_rows_goes_on_as_if_they_had_been_alone(self) -> None:
        world = shaken(self.build())
        states, z = torch.randn(3, 1, GRID**2, CHANNELS, generator=seeded()), torch.randn(3, 2, Z, generator=seeded(1))
        cache, alone, row = world.new_cache(), world.new_cache(), torch.tensor([1])
        after = world(states, z[:, :1], cache).states
        world(states[row], z[row, :1], alone)
        there = world(after[row], z[row, 1:], cache.branch(row))
        expected = world(after[row], z[row, 1:], alone)
        for a, b in zip(there, expected, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
        assert cache.frames == 1 and cache.carried.shape[0] == 3

    def test_without_layers_flows_are_one(self) -> None:
        torch.manual_seed(0)
        world = shaken(WorldModel(TINY.world_model, CHANNELS, Z, GRID))
        states, z = torch.randn(1, 2, GRID**2, CHANNELS), torch.randn(1, 2, Z)
        prediction = world(states, z)
        assert prediction.flow.any()
        assert torch.equal(prediction.flow, prediction.ground)
        assert torch.equal(prediction.flow, prediction.acting)
        assert not prediction.cover.any()


class TestCanvas:
    """A disc with a pattern of its own over another pattern, with the true matte and motion."""

    SIDE = 96

    def scene(self) -> tuple[Tensor, Tensor, Tensor]:
        texture = torch.rand(1, 3, self.SIDE, self.SIDE, generator=seeded()) * 0.2
        matte = disc(0.35, 0.5, 0.15, self.SIDE)
        return texture + matte * 0.8, texture, matte

    def step(self, matte: Tensor, acting: tuple[float, float], ground: tuple[float, float] = (0.0, 0.0)) -> Rendering:
        flows = [torch.tensor(f).reshape(1, 2, 1, 1).expand(1, 2, 16, 16) for f in (ground, ground, acting)]
        nothing = torch.zeros(1, 1, 8, 8)
        return Rendering(flows[0], nothing, torch.zeros(1, 3, 8, 8), flows[1], flows[2], matte)

    def test_a_thing_moves_as_a_whole_and_leaves_no_trace(self) -> None:
        picture, texture, matte = self.scene()
        canvas = Canvas(picture)
        pixels = 4
        for t in range(6):
            moved = canvas.apply(self.step(matte.roll(t * pixels, -1), (-pixels / self.SIDE, 0.0)))
        truth_matte = matte.roll(6 * pixels, -1)
        there = (truth_matte > 0.9).expand_as(moved)
        torch.testing.assert_close(moved[there], picture.roll(6 * pixels, -1)[there], atol=0.02, rtol=0)
        left = ((matte > 0.9) & (truth_matte < 0.02)).expand_as(moved)
        assert left.sum() > 300
        # What was uncovered is filled with the ground's colours, whose mean is 0.1, and not with the thing's.
        assert (moved[left] - texture[left]).abs().mean() < 0.12
        assert (picture[left] - texture[left]).abs().mean() > 0.7
        far = (torch.maximum(matte, truth_matte) < 0.01) & (disc(0.47, 0.5, 0.35, self.SIDE) == 0)
        torch.testing.assert_close(moved[far.expand_as(moved)], picture[far.expand_as(moved)], atol=1e-3, rtol=0)

    def test_the_ground_moves_beneath(self) -> None:
        picture, texture, matte = self.scene()
        canvas = Canvas(picture)
        for _ in range(3):
            moved = canvas.apply(self.step(matte, (0.0, 0.0), ground=(4 / self.SIDE, 0.0)))
        there = (matte > 0.9).expand_as(moved)
        torch.testing.assert_close(moved[there], picture[there], atol=0.02, rtol=0)
        far = (disc(0.35, 0.5, 0.34, self.SIDE) == 0)[..., 8:-8, : self.SIDE - 20].expand(1, 3, -1, -1)
        shifted = texture.roll(-12, -1)
        torch.testing.assert_close(
            moved[..., 8:-8, : self.SIDE - 20][far], shifted[..., 8:-8, : self.SIDE - 20][far], atol=0.02, rtol=0
        )

    def test_a_matte_found_once_is_carried_and_not_found_anew(self) -> None:
        picture, _, matte = self.scene()
        once, again = Canvas(picture), Canvas(picture)
        once.apply(self.step(matte, (-0.05, 0.0)))
        again.apply(self.step(matte, (-0.05, 0.0)))
        # In later steps the matte fades, or trails behind: what is carried stays whole.
        for share in (0.6, 0.4, 0.0):
            once.apply(self.step(share * matte, (-0.05, 0.0)))
            again.apply(self.step(torch.zeros_like(matte), (-0.05, 0.0)))
        assert torch.equal(once.picture, again.picture)
        assert once.cover.sum() == pytest.approx(float(matte.sum()), rel=0.05)

    def test_another_thing_is_lifted_anew(self) -> None:
        picture, _, matte = self.scene()
        other = disc(0.8, 0.2, 0.1, self.SIDE)
        canvas = Canvas(picture)
        canvas.apply(self.step(matte, (-0.05, 0.0)))
        before = canvas.picture
        canvas.apply(self.step(other, (0.0, -0.1)))
        assert torch.minimum(canvas.cover, other.roll(round(0.1 * self.SIDE), -2)).sum() > 0.8 * other.sum()
        # The first thing stays where it had come to.
        there = (matte.roll(round(0.05 * self.SIDE), -1) > 0.9).expand_as(before)
        torch.testing.assert_close(canvas.picture[there], before[there], atol=0.05, rtol=0)

    def test_far_outside_there_are_colours_and_no_ribbons(self) -> None:
        picture = torch.rand(1, 3, self.SIDE, self.SIDE, generator=seeded())
        moved = Canvas(picture).apply(self.step(torch.zeros(1, 1, 8, 8), (0.5, 0.0), ground=(0.5, 0.0)))
        known, edge, far = moved[..., : self.SIDE // 2], moved[..., 50:54], moved[..., -24:]
        torch.testing.assert_close(known, picture[..., self.SIDE // 2 :], atol=1e-3, rtol=0)
        assert edge.diff(dim=-1).abs().mean() > 0.5 * known.diff(dim=-1).abs().mean()
        assert far.diff(dim=-1).abs().mean() < 0.2 * known.diff(dim=-1).abs().mean()
        assert far.mean() == pytest.approx(float(picture.mean()), abs=0.05)

    def test_a_shallow_copy_is_a_snapshot(self) -> None:
        picture, _, matte = self.scene()
        canvas = Canvas(picture)
        canvas.apply(self.step(matte, (-0.03, 0.0)))
        kept, there = copy.copy(canvas), canvas.picture
        canvas.apply(self.step(disc(0.8, 0.2, 0.1, self.SIDE), (0.0, -0.1)))
        assert torch.equal(kept.picture, there)
        assert torch.equal(kept.apply(self.step(disc(0.8, 0.2, 0.1, self.SIDE), (0.0, -0.1))), canvas.picture)

    def test_rows_of_a_batch_do_not_touch_each_other(self) -> None:
        picture, _, matte = self.scene()
        both = Canvas(picture.repeat(2, 1, 1, 1))
        step = self.step(matte, (-0.05, 0.0))
        pair = Rendering(*(torch.cat([part, torch.zeros_like(part)]) for part in step))
        drawn = both.apply(pair)
        torch.testing.assert_close(drawn[:1], Canvas(picture).apply(step), atol=1e-6, rtol=0)
        torch.testing.assert_close(drawn[1:], picture, atol=1e-4, rtol=0)
        torch.testing.assert_close(both.first().picture, drawn[:1])


class TestFilling:
    def test_known_pixels_stay_and_flat_colours_go_on(self) -> None:
        picture = np.full((90, 120, 3), (40, 160, 90), np.uint8)
        hole = np.zeros((90, 120), bool)
        hole[30:60, 40:80] = True
        spoilt = picture.copy()
        spoilt[hole] = 255
        assert np.abs(fill_hole(spoilt, hole).astype(int) - picture).max() <= 5  # Telea's own rounding

    def test_grain_goes_on(self) -> None:
        rng = np.random.default_rng(0)
        picture = rng.integers(90, 150, (160, 200, 3)).astype(np.uint8)
        hole = np.zeros((160, 200), bool)
        hole[50:110, 60:140] = True
        filled = fill_hole(picture, hole)
        assert np.array_equal(filled[~hole], picture[~hole])
        assert filled[hole].std() > 0.5 * picture[hole].std()

    def test_nothing_to_go_by_is_left_alone(self) -> None:
        picture = np.full((20, 20, 3), 7, np.uint8)
        assert np.array_equal(fill_hole(picture, np.ones((20, 20), bool)), picture)
        assert np.array_equal(fill_hole(picture, np.zeros((20, 20), bool)), picture)


def true_scene(shift: tuple[float, float] = (0.05, 0.0), turn: float = 0.2, frames: int = 3) -> SceneTruth:
    """A disc that moves and turns about its own middle over a ground that stands still."""
    middles = [complex(0.4 + t * shift[0], 0.5 + t * shift[1]) for t in range(frames)]
    m = complex(np.cos(turn), np.sin(turn))
    k = [after - m * before for before, after in itertools.pairwise(middles)]
    side = 8 * GRID
    mattes = torch.cat([disc(c.real, c.imag, 0.2, side) for c in middles])[None]
    return SceneTruth(
        matte=mattes,
        entering=torch.zeros(1, frames - 1, 1, side, side),
        acting=torch.tensor([[[m.real, m.imag, c.real, c.imag] for c in k]]),
        acts=torch.tensor([True]),
        ground=torch.zeros(1, frames - 1, 2, GRID, GRID),
        known=torch.ones(1, frames - 1, 1, GRID, GRID),
    )


class TestObjective:
    def test_the_truth_in_votes_and_flows_has_no_error_and_another_action_has(self) -> None:
        scene = true_scene()
        truth = StepTruth(scene, GRID)
        m = truth.count
        votes = torch.cat([truth.shift, truth.turn], 1)[..., None, None].expand(m, 4, GRID, GRID)
        nothing = torch.zeros(1, m, 1, GRID, GRID)

        def losses(votes: Tensor, acting: Tensor) -> dict[str, Tensor]:
            maps = (truth.ground[None], acting[None], truth.before[None], truth.after[None], nothing)
            prediction = Prediction(torch.zeros(1, m, GRID**2, CHANNELS), acting[None], nothing, *maps)
            evidence = LayerEvidence(
                truth.before.clamp(1e-4, 1 - 1e-4).logit(), votes, torch.zeros(m, 2, GRID, GRID), nothing[0] - 9
            )
            return layer_losses(prediction, evidence, nothing, truth)

        right, wrong = losses(votes, truth.acting), losses(-votes, -truth.acting)
        for name in ("votes", "acting"):
            assert right[name] < 1e-4
            assert wrong[name] > 1
        assert right["ground"] == 0

    def test_the_true_acting_flow_takes_the_matte_to_the_next_one(self) -> None:
        truth = StepTruth(true_scene(), GRID)
        flow = torch.nn.functional.interpolate(truth.acting, (64, 64), mode="bilinear", align_corners=True)
        scene = true_scene()
        large = torch.nn.functional.interpolate(scene.matte[0], (64, 64), mode="bilinear")
        moved = move_matte(large[:-1], flow)
        assert (moved - large[1:]).abs().mean() < 0.2 * (large[:-1] - large[1:]).abs().mean() + 0.01

    def test_teaches_every_part_and_only_them(self) -> None:
        torch.manual_seed(0)
        model = shaken(LatentActionModel(LAYERED)).train()
        scene = SceneTruth(*(torch.cat([part, part]) for part in true_scene()))
        scene = scene._replace(entering=scene.entering + 0.5)
        seen = FlowLayers(torch.rand(1, 2, 1, GRID, GRID), torch.zeros(1, 2, 2, GRID, GRID), torch.ones(1, 2))
        pictures = torch.rand(3, 3, 3, TINY.encoder.picture, TINY.encoder.picture, generator=seeded())
        loss, logs = Objective(model)(pictures, weights=LossConfig(), truth=scene, seen=seen, generator=seeded())
        loss.backward()
        assert torch.isfinite(loss)
        idle = [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
        assert idle == []
        assert {"acting", "votes", "matte", "sharp", "entering", "painter", "flow_layers"} <= set(logs)

    def test_drawing_teaches_decoder_and_painter_alone(self) -> None:
        torch.manual_seed(0)
        model = shaken(LatentActionModel(LAYERED)).train()
        scene = SceneTruth(*(torch.cat([part, part]) for part in true_scene()))
        pictures = torch.rand(2, 3, 3, TINY.encoder.picture, TINY.encoder.picture, generator=seeded())

        def gradients(weight: float) -> dict[str, Tensor]:
            model.zero_grad()
            weights = LossConfig(decoder=weight, sharp=weight, entering=weight, painter=weight)
            Objective(model)(pictures, weights=weights, truth=scene, generator=seeded(3))[0].backward()
            return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

        without, with_it = gradients(0.0), gradients(5.0)
        for name, gradient in with_it.items():
            if name.startswith(("decoder.", "painter.")):
                assert gradient.any(), name
            else:
                assert torch.equal(gradient, without[name]), name


class TestMotionLayers:
    def test_what_moves_by_itself_is_found_and_the_camera_too(self) -> None:
        rng = np.random.default_rng(0)
        field = torch.from_numpy(rng.random((1, 3, 24, 24), np.float32))
        texture = torch.nn.functional.interpolate(field, (192, 192), mode="bicubic").clamp(0, 1)
        thing = texture.roll((60, 31), (-1, -2))
        frames = []
        for t in range(2):
            ground = texture.roll(-3 * t, -1)
            matte = disc(0.4 + 0.06 * t, 0.5, 0.15, 192)
            frames.append(ground * (1 - matte) + thing.roll(round(0.06 * 192) * t, -1) * matte)
        pictures = (torch.cat(frames).permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
        layers = motion_layers(pictures, 16)
        assert layers.believed[0] == 1
        true = torch.nn.functional.adaptive_avg_pool2d(disc(0.46, 0.5, 0.15, 192), 16)[0].numpy()
        assert layers.cover[0][true > 0.9].mean() > 0.6
        assert layers.cover[0][:, :3].max() == 0
        assert layers.ground[0, 0].mean() == pytest.approx(3 / 192, abs=0.003)

    def test_a_cut_is_not_believed(self) -> None:
        rng = np.random.default_rng(1)
        pictures = rng.integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)
        assert motion_layers(pictures, 16).believed[0] == 0


def test_a_checkpoint_with_layers_comes_back(tmp_path) -> None:
    torch.manual_seed(0)
    model = shaken(LatentActionModel(LAYERED)).eval()
    save_checkpoint(model, tmp_path, dtype=torch.float32)
    loaded = load_checkpoint(tmp_path)
    states, z = torch.randn(1, 2, GRID**2, CHANNELS), torch.randn(1, 2, Z)
    for a, b in zip(model.world_model(states, z), loaded.world_model(states, z), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(model.painter(states[:, 0]), loaded.painter(states[:, 0]))


def test_warping_by_the_similarity_is_what_the_state_gets() -> None:
    """With a sure matte over everything, the prediction is the state moved by the acting flow alone."""
    torch.manual_seed(0)
    world = WorldModel(LAYERED.world_model, CHANNELS, Z, GRID).eval()
    with torch.no_grad():
        world.layers.leave.bias[0] = 12.0  # all of it acts
        world.layers.leave.bias[1] = 1.0  # and moves a cell to the right
    states, z = torch.randn(1, 1, GRID**2, CHANNELS, generator=seeded()), torch.zeros(1, 1, Z)
    prediction = world(states, z)
    current = states[:, 0].transpose(1, 2).reshape(1, CHANNELS, GRID, GRID)
    moved = warp(current, prediction.acting[:, 0])
    after = prediction.states[:, 0].transpose(1, 2).reshape(1, CHANNELS, GRID, GRID)
    assert torch.allclose(prediction.acting[0, 0, 0, :, 1:], torch.full((GRID, GRID - 1), -1 / GRID), atol=1e-3)
    # One cell short of all: a matte that is unsure of the edge lets a little of the ground through.
    assert (after - moved)[..., 1:].abs().max() < 0.1 * moved.abs().max()


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> TransferPipeline:
    """A pipeline of a small model with layers and random weights, under which something acts in every picture."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LatentActionModel(LAYERED)
        model.encoder.fit_whitening(torch.rand(16, 3, 64, 64))
        shaken(model)
        with torch.no_grad():
            model.world_model.layers.leave.bias[0] = 0.5
    folder = tmp_path_factory.mktemp("checkpoints") / "layered"
    save_checkpoint(model, folder, about={"steps": 0, "seed": 0})
    return TransferPipeline.from_pretrained(folder)


class TestPipeline:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_weights_of_half_precision_run(self, layered: TransferPipeline, dtype: torch.dtype) -> None:
        half = TransferPipeline.from_pretrained(layered.folder, dtype=dtype)
        actions, target = layered.infer(moving_square(4)), moving_square(1, height=50, width=70)[0]
        frames, wanted = (p.transfer(actions, target).frames.astype(int) for p in (half, layered))
        assert np.abs(wanted[-1] - target).mean() > 5
        assert np.abs(frames - wanted).mean() < (10 if dtype == torch.float16 else 30)

    def test_steps_tell_where_what_acts_is(self, layered: TransferPipeline) -> None:
        actions = layered.infer(moving_square(6))
        target = moving_square(1, height=50, width=70)[0]
        steps = list(layered.stream(actions, target, between=1))
        assert steps[0].matte is None
        for step in steps[1:]:
            assert step.matte.shape == target.shape[:2]
            assert 0 <= step.matte.min() <= step.matte.max() <= 1
        assert max(step.matte.max() for step in steps[1:]) > 0.2

    def test_undo_is_exact(self, layered: TransferPipeline) -> None:
        actions, target = layered.infer(moving_square(14)), moving_square(1)[0]
        rollout = layered.begin(target)
        frames, states = [rollout.frame], [rollout.state]
        for z in actions.z:
            rollout.step(z)
            frames.append(rollout.frame)
            states.append(rollout.state)
        for k in (11, 10, 9, 8, 7, 3):
            while rollout.count > k:
                assert rollout.undo()
            assert np.array_equal(rollout.frame, frames[k])
            assert np.array_equal(rollout.state, states[k])
        again = [rollout.step(z).frame for z in actions.z[3:]]
        assert all(np.array_equal(a, b) for a, b in zip(again, frames[4:], strict=True))

    def test_the_batch_with_no_action_beside_changes_nothing(self, layered: TransferPipeline) -> None:
        actions, target = layered.infer(moving_square(5)), moving_square(1)[0]
        alone, beside = layered.begin(target), layered.begin(target, idle=True)
        for z in actions.z:
            a, b = alone.step(z), beside.step(z)
            assert np.abs(a.frame.astype(int) - b.frame).max() <= 2


class TestDeepFeatures:
    def head(self, deep: bool) -> MatteHead:
        torch.manual_seed(0)
        return MatteHead(CHANNELS, 16, (40, 24), deep)

    def looks(self) -> tuple[Tensor, ...]:
        generator = seeded(3)
        maps = torch.randn(2, 2 * CHANNELS + 7, GRID, GRID, generator=generator)
        matte = torch.rand(2, 1, GRID, GRID, generator=generator)
        looks = (
            torch.randn(2, 16, 2 * GRID, 2 * GRID, generator=generator),
            torch.randn(2, 8, 4 * GRID, 4 * GRID, generator=generator),
        )
        details = (
            torch.randn(2, 40, 2 * GRID, 2 * GRID, generator=generator),
            torch.randn(2, 24, 4 * GRID, 4 * GRID, generator=generator),
        )
        return maps, matte, looks, details  # type: ignore[return-value]

    @torch.no_grad()
    def test_they_change_nothing_at_first_and_are_seen_later(self) -> None:
        plain, deep = shaken(self.head(False)), self.head(True)
        missing = deep.load_state_dict(plain.state_dict(), strict=False).missing_keys
        assert {name.split(".")[0] for name in missing} == {"deep", "norms", "join", "coarser"}
        looks = self.looks()
        assert torch.equal(deep(*looks), plain(*looks))
        deep.join.weight.normal_(generator=seeded(4))
        assert not torch.allclose(deep(*looks), plain(*looks))

    def test_they_begin_with_the_weights_of_the_encoders_package(self) -> None:
        weights = imagenet_weights()
        features = DeepFeatures(40)
        features.load_imagenet(weights)
        encoder = build_encoder(EncoderConfig())
        encoder.load_imagenet(weights)
        pictures = torch.rand(1, 3, 256, 256, generator=seeded())
        with torch.no_grad():
            middle, deep = features(encoder.details(pictures)[0])
            whole = encoder.features(pictures)[..., 40:].permute(0, 3, 1, 2)
        torch.testing.assert_close(middle, whole, atol=1e-4, rtol=1e-3)
        assert deep.shape == (1, 192, 8, 8) and deep.std() > 0.1


def test_the_first_step_is_looked_at_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the decoder finds at the first look, the world model is told at the second, and once only."""
    torch.manual_seed(0)
    save_checkpoint(shaken(LatentActionModel(LAYERED)), tmp_path / "layered")
    pipeline = TransferPipeline.from_pretrained(tmp_path / "layered")
    model = pipeline.model
    told: list[Tensor | None] = []
    predict, render = model.world_model.predict, model.render

    def noted(states: Tensor, latents: Tensor, cache: object = None, carried: Tensor | None = None) -> object:
        known = carried if carried is not None else getattr(cache, "carried", None)
        told.append(None if known is None else known.clone())
        return predict(states, latents, cache, carried)  # type: ignore[arg-type]

    def found(*given: object, **more: object) -> Rendering:
        rendering: Rendering = render(*given, **more)  # type: ignore[arg-type]
        matte = torch.zeros(1, 1, 64, 64)
        matte[..., 16:32, 32:56] = 1
        return rendering._replace(matte=matte)

    monkeypatch.setattr(model.world_model, "predict", noted)
    monkeypatch.setattr(model, "render", found)
    rollout = pipeline.begin(moving_square(1)[0])
    z = np.random.default_rng(0).normal(size=Z).astype(np.float32)
    rollout.step(z)
    assert len(told) == 2 and told[0] is None and told[1] is not None
    first = told[1][0, 0, 0]
    assert first.max() > 0.9 and first.mean() == pytest.approx(16 * 24 / 64**2, abs=0.02)
    rollout.step(z)
    assert len(told) == 3 and told[2] is not None
    rollout.undo()
    rollout.undo()
    rollout.step(z)
    torch.testing.assert_close(told[4], told[1])
