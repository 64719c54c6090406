"""The learned prior and the tests of samples: mathematics on toy distributions, files, and the command."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, moving_square

from lamdemo.cli import main
from lamdemo.core.errors import LamdemoError
from lamdemo.core.statistics import interval
from lamdemo.data.videos import AugmentConfig, Recording
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.clips import Window
from lamdemo.evaluation.priors import _step, judge_prior
from lamdemo.evaluation.report import plain
from lamdemo.latent_space.sampling import bootstrap_energy, draw, finite_codes, two_sample
from lamdemo.models import LatentActionModel, ModelConfig, checkpoint_hash, load_checkpoint, save_checkpoint
from lamdemo.models.prior import FlowPrior, FlowPriorConfig, load_prior, pool_states, save_prior
from lamdemo.training.prior import Pairs, PairsConfig, PriorTrainConfig, collect_pairs, train_prior
from lamdemo.video import write_video

SMALL = FlowPriorConfig(
    channels=4,
    state_channels=3,
    pooled=2,
    token_width=16,
    token_depth=1,
    heads=2,
    context=16,
    width=32,
    depth=2,
    sizes=8,
)


def toy(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, states and which kind: along the first axis or the second, five long one way or the other."""
    g = torch.Generator().manual_seed(seed)
    kind = torch.randint(2, (count,), generator=g)
    sign = 2.0 * torch.randint(2, (count,), generator=g) - 1
    z = 0.3 * torch.randn(count, 4, generator=g)
    z[torch.arange(count), kind] += 5 * sign
    states = 0.2 * torch.randn(count, 16, 3, generator=g)
    states[..., 0] += (2.0 * kind - 1)[:, None]
    return z, states, kind


def toy_pairs(count: int = 2048) -> Pairs:
    z, states, _ = toy(count, 0)
    return Pairs(states.half(), z, torch.arange(count) // 8, torch.zeros(count, dtype=torch.bool))


@pytest.fixture(scope="module")
def learned() -> FlowPrior:
    config = PriorTrainConfig(steps=700, batch=128, learning_rate=5e-3, ema=0.98, look=100)
    trained = train_prior(toy_pairs(), SMALL, config)
    assert trained is not None
    return trained[0]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestPrior:
    def test_it_learns_two_modes_that_the_state_turns(self, learned: FlowPrior) -> None:
        _, states, kind = toy(64, 1)
        z = learned.sample(states, 32, generator=generator())
        assert z.shape == (64, 32, 4) and z.dtype == torch.float32
        along = z[torch.arange(64), :, kind]
        across = z[torch.arange(64), :, 1 - kind]
        assert (along.abs() > 3).float().mean() > 0.9 and across.abs().mean() < 0.6
        # Both ways for each state alike: a mean would lie between them, where nothing is.
        assert 0.4 < (along > 0).float().mean() < 0.6
        each = (along > 0).float().mean(1)
        assert ((each > 0.1) & (each < 0.9)).all()

    def test_its_samples_cannot_be_told_from_the_truth_and_the_gaussian_s_can(self, learned: FlowPrior) -> None:
        z, states, _ = toy(1500, 2)
        own = two_sample(learned.sample(states, 1, generator=generator())[:, 0].numpy(), z.numpy(), permutations=100)
        fixed = two_sample(learned.sample_gaussian(1500, generator()).numpy(), z.numpy(), permutations=100)
        assert own.energy < 0.2 * fixed.energy and fixed.p is not None and fixed.p < 0.02
        assert own.accuracy < 0.6 and fixed.accuracy > 0.8

    def test_without_a_state_it_covers_all_of_them(self, learned: FlowPrior) -> None:
        z = learned.sample(None, 400, generator=generator())
        assert z.shape == (1, 400, 4)
        first = (z[0, :, 0].abs() > z[0, :, 1].abs()).float().mean()
        assert 0.25 < first < 0.75

    def test_the_loss_of_what_it_learned_is_below_that_of_a_new_one(self, learned: FlowPrior) -> None:
        z, states, _ = toy(512, 3)
        new = FlowPrior(SMALL)
        new.fit_scales(toy_pairs().latents)
        _, parts = new.eval().loss(z, states, generator(), draws=4)
        assert float(parts["velocity"]) == pytest.approx(1) and float(parts["size"]) == pytest.approx(0, abs=1e-5)
        _, parts = learned.loss(z, states, generator(), draws=4)
        assert float(parts["velocity"]) < 0.6

    def test_a_new_one_has_the_sizes_and_the_axes_of_the_training_latents(self) -> None:
        g = generator(4)
        scales = torch.tensor([3.0, 2.0, 1.5, 1.0])
        # Heavy tails: sizes over two orders.
        z = torch.randn(4000, 4, generator=g) * scales * torch.randn(4000, 1, generator=g).exp()
        z = torch.cat([z, -z])
        prior = FlowPrior(SMALL).eval()
        prior.fit_scales(z)
        made = prior.sample(torch.zeros(1, 16, 3), 4000, generator=g)[0]
        for q in (0.1, 0.5, 0.9):
            assert made.norm(dim=1).quantile(q) == pytest.approx(float(z.norm(dim=1).quantile(q)), rel=0.1)
        second = torch.nn.functional.normalize(made, dim=1).square().mean(0)
        wanted = torch.nn.functional.normalize(z, dim=1).square().mean(0)
        torch.testing.assert_close(second, wanted, atol=0.06, rtol=0)
        gauss = prior.sample_gaussian(20000, g)
        torch.testing.assert_close(torch.cov(gauss.T), torch.cov(z.T), atol=0.05 * float(z.var(0).max()), rtol=0.1)

    def test_stillness_stays_an_atom(self) -> None:
        z, _, _ = toy(2000, 5)
        z[::2] = 0
        prior = FlowPrior(SMALL).eval()
        prior.fit_scales(z)
        size = prior.sample(None, 2000, generator=generator())[0].norm(dim=1)
        assert 0.45 < (size < 1e-4).float().mean() < 0.55 and (size > 3).float().mean() > 0.4

    def test_the_same_seed_gives_the_same_and_the_steps_of_the_flow_hardly_matter(self, learned: FlowPrior) -> None:
        _, states, _ = toy(8, 6)
        first = learned.sample(states, 4, generator=generator())
        torch.testing.assert_close(first, learned.sample(states, 4, generator=generator()), rtol=0, atol=0)
        assert not torch.equal(first, learned.sample(states, 4, generator=generator(1)))
        # One seed is one start of the flow, and a finer integration ends near the same place.
        fine = learned.sample(states, 4, steps=64, generator=generator())
        assert (first - fine).norm(dim=-1).median() < 0.25

    def test_pooling_takes_means_of_squares_of_cells(self) -> None:
        grid = torch.arange(16.0).reshape(4, 4)
        pooled = pool_states(grid.reshape(1, 16, 1), 2)
        torch.testing.assert_close(pooled[0, :, 0], torch.tensor([2.5, 4.5, 10.5, 12.5]))
        torch.testing.assert_close(pool_states(pooled, 2), pooled)
        with pytest.raises(ValueError, match="cannot be pooled"):
            pool_states(torch.zeros(1, 15, 3), 2)

    def test_codes_are_all_that_a_discrete_one_gives(self) -> None:
        codes = torch.cat([torch.zeros(1, 4), torch.randn(7, 4, generator=generator())])
        prior = FlowPrior(dataclasses.replace(SMALL, snap=True), codes).eval()
        prior.fit_scales(codes[torch.arange(400) % 8])
        for z in (prior.sample(None, 100, generator=generator())[0], prior.sample_gaussian(100, generator())):
            assert (torch.cdist(z, codes).amin(1) < 1e-3).all()
            assert len(z.unique(dim=0)) > 3


class TestTraining:
    CONFIG = PriorTrainConfig(steps=6, batch=16, look=3, save_minutes=0)

    def test_a_stopped_run_goes_on_bit_for_bit(self, tmp_path: Path) -> None:
        pairs = toy_pairs(256)
        whole = train_prior(pairs, SMALL, self.CONFIG)
        stopped = 0
        while (one := train_prior(pairs, SMALL, self.CONFIG, state=tmp_path, stop_after=0)) is None:
            stopped += 1
        assert stopped == 5 and whole is not None
        for name, tensor in whole[0].state_dict().items():
            torch.testing.assert_close(one[0].state_dict()[name], tensor, rtol=0, atol=0)
        assert one[1] == whole[1]

    def test_a_state_of_other_settings_or_no_state_is_refused(self, tmp_path: Path) -> None:
        pairs = toy_pairs(256)
        train_prior(pairs, SMALL, self.CONFIG, state=tmp_path, stop_after=0)
        with pytest.raises(LamdemoError, match="other settings"):
            train_prior(pairs, SMALL, dataclasses.replace(self.CONFIG, batch=8), state=tmp_path)
        (tmp_path / "state.safetensors").write_bytes(b"nonsense")
        with pytest.raises(LamdemoError, match=r"state\.safetensors of .* is damaged"):
            train_prior(pairs, SMALL, self.CONFIG, state=tmp_path)

    def test_the_best_average_is_kept_and_not_the_last(self) -> None:
        # Latents that say nothing about new recordings: the longer it trains, the worse it is on those watched.
        g = generator()
        states = torch.randn(64, 4, 3, generator=g)
        pairs = Pairs(states, torch.randn(64, 4, generator=g), torch.arange(64), torch.zeros(64, dtype=torch.bool))
        config = PriorTrainConfig(steps=240, batch=64, learning_rate=1e-2, ema=0.5, watch=0.3, look=20)
        trained = train_prior(pairs, dataclasses.replace(SMALL, noise=0.0, forget=0.0), config)
        assert trained is not None and trained[1]["best_step"] < 240


class TestPairs:
    CONFIG = PairsConfig(
        clips=4, frames=3, scenes=0.5, photographs=2, part=2, pooled=2, augment=AugmentConfig(reverse=0.0), seed=3
    )

    @staticmethod
    def recordings() -> list[Recording]:
        return [Recording(f"wild/{i}.mp4", moving_square(9, step=i + 1), 8.0) for i in range(3)]

    def test_every_step_comes_with_its_reverse(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        pipeline = TransferPipeline.from_pretrained(tiny_checkpoint)
        pairs = collect_pairs({"a": pipeline}, self.recordings(), tmp_path, self.CONFIG)["a"]
        assert pairs.states.shape == (16, 4, TINY.encoder.channels) and pairs.latents.shape == (16, 16)
        z = pairs.latents.reshape(4, 2, 2, 16)  # clips, there and back, steps
        torch.testing.assert_close(z[:, 0], -z[:, 1])
        # The state before the second step is the state after the first, from which the first is undone.
        s = pairs.states.reshape(4, 2, 2, 4, -1)
        torch.testing.assert_close(s[:, 0, 1], s[:, 1, 0])
        assert z.abs().max() > 0 and (pairs.recordings[pairs.scenes] >= 3).all()
        assert 0 < pairs.scenes.sum() < 16

    def test_scenes_beyond_a_share_are_left_out(self) -> None:
        scenes = torch.arange(100) % 4 == 0
        latents = torch.arange(100.0)[:, None]
        pairs = Pairs(torch.zeros(100, 4, 3), latents, torch.arange(100), scenes)
        few = pairs.with_scenes(0.05)
        assert len(few) == 79 and int(few.scenes.sum()) == 4 and len(few.latents) == len(few.states) == 79
        torch.testing.assert_close(few.latents[~few.scenes], latents[~scenes])
        assert len(pairs.with_scenes(0.5)) == 100 and not pairs.with_scenes(0.0).scenes.any()

    def test_parts_are_kept_and_those_of_other_settings_refused(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        pipelines = {"a": TransferPipeline.from_pretrained(tiny_checkpoint)}
        first = collect_pairs(pipelines, self.recordings(), tmp_path, self.CONFIG)["a"]
        parts = sorted(tmp_path.iterdir())
        assert len(parts) == 2
        stamp = parts[0].stat().st_mtime_ns
        parts[1].unlink()
        again = collect_pairs(pipelines, self.recordings(), tmp_path, self.CONFIG)["a"]
        torch.testing.assert_close(again.latents, first.latents, rtol=0, atol=0)
        assert parts[0].stat().st_mtime_ns == stamp
        with pytest.raises(LamdemoError, match="other checkpoints, videos or settings"):
            collect_pairs(pipelines, self.recordings(), tmp_path, dataclasses.replace(self.CONFIG, frames=4))
        parts[0].write_bytes(b"x")
        with pytest.raises(LamdemoError, match="is damaged"):
            collect_pairs(pipelines, self.recordings(), tmp_path, self.CONFIG)


class TestFiles:
    @pytest.fixture
    def folder(self, tiny_checkpoint: Path, tmp_path: Path) -> Path:
        return shutil.copytree(tiny_checkpoint, tmp_path / "mine")

    def test_save_and_load(self, folder: Path, learned: FlowPrior) -> None:
        assert load_prior(folder) is None
        save_prior(learned, folder, {"pairs": 3})
        found = load_prior(folder)
        assert found is not None and found.config == learned.config
        for name, buffer in learned.named_buffers():
            torch.testing.assert_close(dict(found.named_buffers())[name], buffer, rtol=0, atol=0)
        _, states, _ = toy(4, 7)
        near = (found.sample(states, 8, generator=generator()) - learned.sample(states, 8, generator=generator())).norm(
            dim=-1
        )
        assert near.median() < 0.05  # half precision
        assert json.loads((folder / "prior.json").read_text())["about"]["pairs"] == 3

    def test_what_does_not_belong_or_is_damaged_is_refused(self, folder: Path, learned: FlowPrior) -> None:
        save_prior(learned, folder)
        model = load_checkpoint(folder)
        model.world_model.tokens.weight.data += 1
        save_checkpoint(model, folder)
        with pytest.raises(LamdemoError, match="made for other weights"):
            load_prior(folder)
        save_prior(learned, folder)
        whole = (folder / "prior.safetensors").read_bytes()
        (folder / "prior.safetensors").write_bytes(whole[:1000])
        with pytest.raises(LamdemoError, match="is damaged") as caught:
            load_prior(folder)
        assert str(folder.parent) not in str(caught.value)
        (folder / "prior.safetensors").unlink()
        with pytest.raises(LamdemoError, match=r"lacks prior\.safetensors"):
            load_prior(folder)
        (folder / "prior.safetensors").write_bytes(whole)
        for nonsense in ("[]", "{", '{"format": "lamdemo-prior/1", "prior": {"width": "wide"}}'):
            (folder / "prior.json").write_text(nonsense)
            with pytest.raises(LamdemoError, match="is damaged"):
                load_prior(folder)


class TestDraw:
    def test_fixed_is_the_family_s_own(self, tiny_checkpoint: Path) -> None:
        pipeline = TransferPipeline.from_pretrained(tiny_checkpoint)
        z = draw(pipeline, "fixed", 5, seed=3)
        np.testing.assert_array_equal(z, pipeline.model.bottleneck.sample(5, generator(3)).numpy())
        with pytest.raises(LamdemoError, match="brings no learned prior"):
            draw(pipeline, "learned", 5)
        with pytest.raises(LamdemoError, match="At least one sample"):
            draw(pipeline, "fixed", 0)

    def test_learned_heeds_the_picture(self, tiny_checkpoint: Path, learned: FlowPrior) -> None:
        pipeline = TransferPipeline.from_pretrained(tiny_checkpoint)
        with pytest.raises(LamdemoError, match="latents of 4 channels and this checkpoint's have 16"):
            draw(pipeline, "learned", 5, prior=learned)
        state = pipeline.encode(moving_square(2))[0]
        prior = FlowPrior(dataclasses.replace(SMALL, channels=16, state_channels=TINY.encoder.channels)).eval()
        with torch.no_grad():
            prior.size_head.weight.normal_(generator=generator())
        prior.levels.copy_(torch.linspace(0, 2, 65))
        here = draw(pipeline, "learned", 40, states=state, prior=prior, seed=1)
        assert here.shape == (40, 16) and here.dtype == np.float32
        np.testing.assert_array_equal(here, draw(pipeline, "learned", 40, states=state.numpy(), prior=prior, seed=1))
        assert not np.array_equal(here, draw(pipeline, "learned", 40, states=-state, prior=prior, seed=1))
        assert draw(pipeline, "gaussian", 40, prior=prior).shape == (40, 16)

    def test_only_a_discrete_model_has_codes(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        assert finite_codes(TransferPipeline.from_pretrained(tiny_checkpoint)) is None
        bottleneck = dataclasses.replace(TINY.bottleneck, family="discrete", capacity=8)
        save_checkpoint(LatentActionModel(dataclasses.replace(TINY, bottleneck=bottleneck)), tmp_path)
        codes = finite_codes(TransferPipeline.from_pretrained(tmp_path))
        assert codes is not None and codes.shape == (8, 16)


class TestTwoSample:
    def test_two_points_are_twice_their_distance_apart(self) -> None:
        x, y = np.zeros((6, 3)), np.full((6, 3), 2.0)
        found = two_sample(x, y, permutations=200)
        assert found.energy == pytest.approx(2 * math.sqrt(12), rel=1e-5) and found.share == pytest.approx(1)
        assert found.accuracy == 1 and found.p is not None and found.p < 0.02

    def test_it_is_the_sum_over_pairs_of_other_recordings(self) -> None:
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(9, 2)), rng.normal(size=(8, 2)) + 0.5
        gx, gy = [0, 0, 0, 1, 1, 1, 2, 2, 2], [0, 0, 1, 1, 2, 2, 3, 3]

        def mean(a: np.ndarray, ga: list[int], b: np.ndarray, gb: list[int]) -> float:
            apart = [
                np.linalg.norm(p - q) for p, i in zip(a, ga, strict=True) for q, j in zip(b, gb, strict=True) if i != j
            ]
            return float(np.mean(apart))

        wanted = 2 * mean(x, gx, y, gy) - mean(x, gx, x, gx) - mean(y, gy, y, gy)
        assert two_sample(x, y, groups_x=gx, groups_y=gy).energy == pytest.approx(wanted, rel=1e-4)

    def test_one_distribution_gives_p_values_that_are_uniform(self) -> None:
        rng = np.random.default_rng(1)
        found = [two_sample(*rng.normal(size=(2, 25, 2)), permutations=60, seed=i) for i in range(60)]
        p = np.array([f.p for f in found])
        assert 0.35 < p.mean() < 0.65 and (p < 0.1).mean() < 0.25
        assert np.mean([f.accuracy for f in found]) == pytest.approx(0.5, abs=0.04)
        assert np.mean([f.energy for f in found]) == pytest.approx(0, abs=0.03)

    def test_recordings_that_differ_do_not_make_two_sets_of_them_differ(self) -> None:
        rng = np.random.default_rng(2)
        names = np.repeat(np.arange(16), 10)
        rows = (4 * rng.normal(size=(16, 1, 3)) + 0.1 * rng.normal(size=(16, 10, 3))).reshape(-1, 3)
        first = names < 8
        known = two_sample(rows[first], rows[~first], groups_x=names[first], groups_y=names[~first])
        unknown = two_sample(rows[first], rows[~first])
        assert unknown.p is not None and unknown.p < 0.01 and unknown.accuracy > 0.95
        assert known.p is not None and known.p > 0.05 and known.accuracy < 0.8

    def test_where_recordings_are_in_both_sets_labels_are_exchanged_in_each(self) -> None:
        rng = np.random.default_rng(3)
        names = np.repeat(np.arange(12), 5)
        place = np.repeat(5 * rng.normal(size=(12, 3)), 5, 0)
        x, y = place + rng.normal(size=(60, 3)), place + rng.normal(size=(60, 3))
        same = two_sample(x, y, groups_x=names, groups_y=names)
        other = two_sample(1.6 * x, y, groups_x=names, groups_y=names)
        assert same.p is not None and same.p > 0.05 and other.p is not None and other.p < 0.05

    def test_a_shell_around_the_other_set_is_seen_in_the_shares_where_the_accuracy_is_blind(self) -> None:
        rng = np.random.default_rng(6)
        shell, middle = rng.normal(size=(200, 64)), 0.1 * rng.normal(size=(200, 64))
        found = two_sample(shell, middle, permutations=100)
        assert found.accuracy == pytest.approx(0.5, abs=0.05)
        assert found.own_x < 0.05 and found.own_y > 0.95 and found.p is not None and found.p < 0.02

    def test_equal_codes_vote_together(self) -> None:
        x = y = np.repeat(np.eye(3), 20, 0)
        assert two_sample(x, y).accuracy == pytest.approx(0.5, abs=0.03)

    def test_shapes_that_do_not_fit_are_refused(self) -> None:
        with pytest.raises(ValueError, match="must be"):
            two_sample(np.zeros((3, 2)), np.zeros((3, 4)))
        with pytest.raises(ValueError, match="two recordings"):
            two_sample(np.zeros((3, 2)), np.zeros((3, 2)), groups_x=[0, 0, 0])
        with pytest.raises(ValueError, match="needs its group"):
            two_sample(np.zeros((3, 2)), np.zeros((3, 2)), groups_y=[0])


class TestBootstrap:
    def test_the_better_of_two_is_found_and_a_tie_is_a_tie(self) -> None:
        rng = np.random.default_rng(4)
        names = np.repeat(np.arange(20), 6).tolist()
        place = np.repeat(3 * rng.normal(size=(20, 4)), 6, 0)
        inferred = place + 0.3 * rng.normal(size=(120, 4))
        good = place[:, None] + 0.3 * rng.normal(size=(120, 2, 4))
        bad = rng.normal(size=(120, 4))

        def closer(fixed: np.ndarray, learned: np.ndarray) -> dict[str, float]:
            """How much closer the second is to the inferred latents than the first."""
            values, draws = bootstrap_energy([fixed, learned], inferred, names)
            assert values[1] == pytest.approx(0, abs=0.15) or learned is bad
            return interval(values[0] - values[1], draws[:, 0] - draws[:, 1])

        found = closer(bad, good)
        assert 0 < found["low"] < found["value"] < found["high"]
        assert closer(good[:, 0], good[:, 1])["low"] <= 0 and closer(good, bad)["low"] <= 0
        with pytest.raises(ValueError, match="samples must be"):
            closer(bad[:5], good)


def _with_channels(config: ModelConfig, channels: int) -> ModelConfig:
    return dataclasses.replace(config, bottleneck=dataclasses.replace(config.bottleneck, channels=channels))


class TestEvaluation:
    def test_what_depends_on_the_state_is_found_to_help(
        self, learned: FlowPrior, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pipeline = TransferPipeline.from_pretrained(tiny_checkpoint)
        pipeline.model.config = _with_channels(pipeline.model.config, 4)
        # The family's own prior, of the toy's width.
        monkeypatch.setattr(pipeline.model.bottleneck, "sample", lambda n, g: torch.randn(n, 4, generator=g))
        z, states, kind = toy(320, 8)
        order = kind.argsort()  # so that a recording has states of one kind, as clips have
        windows = [Window(f"a/{i}.mp4", f"a/{i}", "a", 0.0) for i in range(40)]
        found = judge_prior(pipeline, learned, states[order], z[order].numpy(), windows)
        everywhere = found["all"]
        assert everywhere["steps"] == 320 and everywhere["recordings"] == 40
        assert everywhere["closer"]["fixed"]["low"] > 0 and everywhere["closer"]["gaussian"]["low"] > 0
        without = everywhere["closer_stateless"]["fixed"]["value"]
        assert without == pytest.approx(
            everywhere["energy"]["fixed"]["value"] - everywhere["energy"]["stateless"]["value"]
        )
        alone = found["within_parts"]  # there is one part, which is all
        for way, figures in everywhere["energy"].items():
            assert alone["energy"][way]["value"] == pytest.approx(figures["value"])
        assert everywhere["energy"]["learned"]["value"] < 0.2 * everywhere["energy"]["gaussian"]["value"]
        low, high = everywhere["floor"]["low"], everywhere["floor"]["high"]
        assert low < everywhere["energy"]["learned"]["value"] < high and low < 0.1
        assert found["two_sample"]["fixed"]["accuracy"] > 0.85 > 0.65 > found["two_sample"]["learned"]["accuracy"]
        assert everywhere["sizes"]["learned"]["0.5"] == pytest.approx(everywhere["sizes"]["inferred"]["0.5"], rel=0.05)
        for figure in ("score", "mean", "best"):
            own = found["step"]["learned"][figure]["over_stateless"]
            assert own["high"] < 1, figure
            # A state of another recording is no better than none, and often worse.
            assert found["step"]["shuffled"][figure]["value"] > 1.1 * found["step"]["learned"][figure]["value"]
        assert json.loads(json.dumps(plain(found)))["headline"]["closer_than_fixed"] is True

    def test_a_prior_that_mixes_kinds_is_found_out_within_parts(
        self, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pipeline = TransferPipeline.from_pretrained(tiny_checkpoint)
        z, states, kind = toy(320, 9)
        order = kind.argsort()
        z, states = z[order], states[order]
        half = int((kind == 0).sum()) // 8
        windows = [Window(f"{'ab'[i >= half]}/{i}.mp4", f"{i}", "ab"[i >= half], 0.0) for i in range(40)]
        # Its samples are the truth of all steps together, whatever the state.
        mixed = FlowPrior(SMALL)
        monkeypatch.setattr(mixed, "sample", lambda s, k, **_: z[torch.randint(320, (1 if s is None else len(s), k))])
        monkeypatch.setattr(pipeline.model.bottleneck, "sample", lambda n, g: torch.randn(n, 4, generator=g))
        monkeypatch.setattr(pipeline.model, "config", _with_channels(pipeline.model.config, 4))
        torch.manual_seed(0)
        found = judge_prior(pipeline, mixed, states, z.numpy(), windows)
        assert set(found["parts"]) == {"a", "b"}
        assert found["all"]["energy"]["learned"]["value"] < 0.1
        assert found["within_parts"]["energy"]["learned"]["low"] > 0.3
        shares = {g: one["steps"] / 320 for g, one in found["parts"].items()}
        mean = sum(shares[g] * one["energy"]["learned"]["value"] for g, one in found["parts"].items())
        assert found["within_parts"]["energy"]["learned"]["value"] == pytest.approx(mean)

    def test_the_energy_score_of_the_truth_s_own_distribution_is_the_lowest(self) -> None:
        # A proper rule, by which neither a mean without spread nor too much spread wins.
        rng = np.random.default_rng(5)
        inferred = rng.normal(size=(400, 3))
        ways = {
            "stateless": rng.normal(size=(400, 16, 3)),
            "narrow": 0.2 * rng.normal(size=(400, 16, 3)),
            "wide": 3 * rng.normal(size=(400, 16, 3)),
        }
        found = _step(ways, inferred, np.arange(400) // 10, 0)
        score = {name: figures["score"]["value"] for name, figures in found.items()}
        assert min(score, key=score.__getitem__) == "stateless"
        assert found["narrow"]["score"]["over_stateless"]["low"] > 1


class TestCommand:
    @pytest.fixture
    def clips(self, tmp_path: Path) -> Path:
        (tmp_path / "clips" / "wild").mkdir(parents=True)
        for i in range(6):
            write_video(tmp_path / "clips" / "wild" / f"clip{i}.mp4", moving_square(25, step=i % 3 + 1), 8)
        return tmp_path / "clips"

    def test_train_go_on_install_and_judge(
        self, tiny_checkpoint: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        checkpoint = shutil.copytree(tiny_checkpoint, tmp_path / "mine")
        common = ["--videos", str(clips), "--out"]
        train = ["prior", str(checkpoint), *common, str(tmp_path / "out"), "--clips", "6", "--steps", "3"]
        assert run([*train, "--stop-after", "0", "--install"]) == 0
        assert "mine is not finished" in capsys.readouterr().out and load_prior(checkpoint) is None
        assert run([*train, "--install"]) == 0
        found = load_prior(checkpoint)
        assert found is not None and found.config.channels == TINY.bottleneck.channels
        assert load_prior(tmp_path / "out" / "mine") is not None

        assert run(["prior", str(checkpoint), *common, str(tmp_path / "reports"), "--judge"]) == 0
        report = json.loads((tmp_path / "reports" / "mine" / "prior.json").read_text())
        assert report["checkpoint"]["sha256"] == checkpoint_hash(checkpoint)
        assert report["results"]["clips"]["recordings"] == 6
        assert set(report["results"]["all"]["energy"]) == {"fixed", "gaussian", "stateless", "shuffled", "learned"}
        assert str(tmp_path) not in json.dumps(report)

    def test_what_cannot_be_done_is_said_in_one_line(
        self, tiny_checkpoint: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        checkpoint, out = str(tiny_checkpoint), str(tmp_path / "out")
        assert run(["prior", checkpoint, "--videos", str(clips), "--out", out, "--judge"]) == 2
        assert (
            capsys.readouterr().err
            == "lamdemo: The checkpoint tiny brings no prior to judge; train one without --judge.\n"
        )
        assert run(["prior", checkpoint, checkpoint, "--videos", str(clips), "--out", out]) == 2
        assert "the same name" in capsys.readouterr().err
        assert run(["prior", checkpoint, "--videos", str(tmp_path / "none"), "--out", out]) == 2
        assert capsys.readouterr().err == "lamdemo: There is no folder none; give one that is there.\n"
        assert not (tmp_path / "out").exists()


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(caught.value.code or 0)
