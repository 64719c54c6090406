"""Whether latents are like those seen in training: what counts as far, what never does, and the file."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, moving_square
from safetensors.numpy import load_file, save_file

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import LatentActions, OutOfDistribution, TrainingLatents, TransferPipeline, save_latents
from lamdemo.engine.out_of_distribution import FAR, LATENTS_NAME, NEIGHBOURS, warning
from lamdemo.models import LatentActionModel, load_checkpoint, save_checkpoint

Z = TINY.bottleneck.channels
RNG = np.random.default_rng(0)
# Two clouds, as stillness and motion are, of channels with scales of their own.
SCALES = np.geomspace(0.5, 4, Z)
SAMPLE = np.concatenate([RNG.normal(size=(600, Z)), RNG.normal(size=(600, Z)) + 6]) * SCALES


@pytest.fixture(scope="module")
def sample() -> TrainingLatents:
    return TrainingLatents(SAMPLE)


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_checkpoint, tmp_path / "mine")


class TestScores:
    def test_new_latents_of_the_same_kind_are_spread_over_all_quantiles(self, sample: TrainingLatents) -> None:
        new = np.concatenate([RNG.normal(size=(200, Z)), RNG.normal(size=(200, Z)) + 6]) * SCALES
        found = sample.score(new)
        assert found.shape == (400,) and found.min() >= 0 and found.max() <= 1
        assert np.median(found) == pytest.approx(0.5, abs=0.1)
        assert (found > FAR).mean() < 0.04

    def test_what_lies_outside_is_far_and_so_is_what_lies_between(self, sample: TrainingLatents) -> None:
        beyond, between = np.full((1, Z), 14.0) * SCALES, np.full((1, Z), 3.0) * SCALES
        assert sample.score(beyond) == 1.0
        assert sample.score(between) > FAR

    def test_it_is_the_quantile_of_the_eighth_neighbour_s_distance(self, sample: TrainingLatents) -> None:
        rounded = SAMPLE.astype(np.float16).astype(np.float64)
        scale = np.maximum(rounded.std(0), rounded.std(0).max() / 10)
        scaled = rounded / scale
        apart = np.linalg.norm(scaled[:, None] - scaled[None], axis=-1)
        own = np.sort(apart, axis=1)[:, NEIGHBOURS]  # the nearest is the latent itself
        np.testing.assert_allclose(sample.distances, np.sort(own), rtol=1e-3)
        new = RNG.normal(size=(20, Z)) * SCALES * 1.2
        to_new = np.linalg.norm(scaled - (new / scale)[:, None], axis=-1)
        expected = (own < np.sort(to_new, axis=1)[:, NEIGHBOURS - 1, None]).mean(1)
        np.testing.assert_allclose(sample.score(new), expected, atol=0.01)

    def test_units_do_not_matter(self) -> None:
        new = RNG.normal(size=(50, Z)) * SCALES * 1.5
        plain = TrainingLatents(SAMPLE).score(new)
        np.testing.assert_allclose(TrainingLatents(SAMPLE * 64).score(new * 64), plain, atol=0.01)

    def test_closed_channels_do_not_count_as_much_as_open_ones(self) -> None:
        closed = SAMPLE.copy()
        closed[:, 1:] = 1e-4 * RNG.normal(size=closed[:, 1:].shape)
        sample = TrainingLatents(closed)
        nudged = closed[:50].copy()
        nudged[:, 1:] = 1e-3 * RNG.normal(size=nudged[:, 1:].shape)  # ten of their standard deviations
        assert (sample.score(nudged) > FAR).mean() < 0.05

    def test_nothing_happens_is_never_unfamiliar(self) -> None:
        away = SAMPLE[600:] + 20  # a sample without a still step
        sample = TrainingLatents(away)
        assert sample.score(np.full((1, Z), 8.0)) == 1.0
        still = np.stack([np.zeros(Z), np.full(Z, 0.1), np.full(Z, -0.0)])
        np.testing.assert_array_equal(sample.score(still), 0)

    def test_a_clip_is_not_its_own_witness(self) -> None:
        # Each recording a tight cloud of its own: without knowing so, any new recording would be far.
        centres = 3 * RNG.normal(size=(60, Z))
        recordings = np.repeat(np.arange(60), 20)
        sample = centres[recordings] + 0.05 * RNG.normal(size=(1200, Z))
        new = 3 * RNG.normal(size=(100, Z))
        assert (TrainingLatents(sample).score(new) > FAR).mean() > 0.9
        assert (TrainingLatents(sample, recordings).score(new) > FAR).mean() < 0.2

    def test_codes_are_known_or_not(self) -> None:
        codes = RNG.normal(size=(40, Z)).astype(np.float32)
        codes[0] = 0
        used = np.concatenate([np.repeat(np.arange(30), 30), [30, 30, 31]])
        sample = TrainingLatents(codes[used], discrete=True)
        found = sample.score(codes)
        np.testing.assert_array_equal(found[:30], 0)
        assert (found[30:32] <= 1).all()
        np.testing.assert_array_equal(found[32:], 1)
        # However near to one that is used: it is another code.
        assert sample.score(codes[1:2] * 1.01) == 1

    def test_a_sample_of_one_and_the_same_code_still_judges(self) -> None:
        code = np.full((50, Z), 0.3)
        np.testing.assert_array_equal(TrainingLatents(code, discrete=True).score(np.stack([code[0], -code[0]])), [0, 1])

    def test_what_is_not_finite_is_far(self, sample: TrainingLatents) -> None:
        wild = np.full((2, Z), 1e30)
        np.testing.assert_array_equal(sample.score(wild), 1)

    @pytest.mark.parametrize(
        "latents", [SAMPLE[:NEIGHBOURS], SAMPLE[0], SAMPLE[:, :0], np.full((20, Z), np.nan), np.full((20, Z), 1e9)]
    )
    def test_what_is_no_sample_is_refused(self, latents: np.ndarray) -> None:
        with pytest.raises(ValueError, match=r"latents must|needs 8 others"):
            TrainingLatents(latents)

    def test_recordings_must_fit_and_be_several(self) -> None:
        with pytest.raises(ValueError, match="as many recordings"):
            TrainingLatents(SAMPLE[:20], np.zeros(3))
        with pytest.raises(ValueError, match="8 others"):
            TrainingLatents(SAMPLE[:20], np.zeros(20))


class TestWarning:
    def test_one_sentence_and_only_where_there_is_need(self) -> None:
        judged = OutOfDistribution(np.array([1, 1, 0.5, 0.995, 1, 0, 0.99, 1.0]))
        assert judged.count == 5
        assert judged.warning == (
            "5 of 8 steps lie outside what this model saw in training; expect the transfer to be wrong there."
        )
        assert judged.as_dict()["far_steps"] == 5 and judged.as_dict()["steps"] == 8
        assert warning(0, 8) == "" and warning(1, 32) == ""
        assert warning(1, 4).startswith("1 of 4 steps lies") and warning(1, 1).startswith("1 of 1 step lies")


class TestFile:
    def test_it_is_read_as_it_was_written(self, checkpoint: Path) -> None:
        assert TrainingLatents.read(checkpoint) is None
        recordings = np.arange(len(SAMPLE)) // 100 * 7
        path = save_latents(checkpoint, SAMPLE, recordings)
        tensors = load_file(path)
        assert path.name == LATENTS_NAME and tensors["latents"].dtype == np.float16
        found = TrainingLatents.read(checkpoint)
        assert found is not None and not found.discrete
        np.testing.assert_array_equal(found.latents, SAMPLE.astype(np.float16).astype(np.float32))
        np.testing.assert_array_equal(found.distances, TrainingLatents(SAMPLE, recordings).distances)
        assert [p.name for p in checkpoint.iterdir() if p.suffix == ".part"] == []

    @pytest.mark.parametrize("how", ["cut", "text", "no latents", "flat", "few", "not finite", "numbers"])
    def test_a_damaged_one_is_refused_in_one_sentence(self, checkpoint: Path, how: str) -> None:
        path = save_latents(checkpoint, SAMPLE)
        good = SAMPLE[:50].astype(np.float16)
        if how == "cut":
            path.write_bytes(path.read_bytes()[:500])
        elif how == "text":
            path.write_text("no tensors")
        else:
            bad = {"no latents": ("other", good), "flat": ("latents", good[0]), "few": ("latents", good[:3])}
            bad |= {
                "not finite": ("latents", good * np.float16(np.inf)),
                "numbers": ("latents", np.zeros((), np.int64)),
            }
            name, tensor = bad[how]
            save_file({name: tensor}, path)
        with pytest.raises(LamdemoError, match=r"latents\.safetensors of the checkpoint mine is damaged") as caught:
            TransferPipeline.from_pretrained(checkpoint)
        assert str(checkpoint.parent) not in str(caught.value)

    def test_that_of_another_model_is_refused(self, checkpoint: Path) -> None:
        save_latents(checkpoint, np.pad(SAMPLE, ((0, 0), (0, 1))))
        with pytest.raises(LamdemoError, match="belongs to another model"):
            TrainingLatents.read(checkpoint)
        save_latents(checkpoint, SAMPLE)
        model = load_checkpoint(checkpoint)
        model.world_model.tokens.weight.data += 1
        save_checkpoint(model, checkpoint)
        with pytest.raises(LamdemoError, match="belongs to another model"):
            TrainingLatents.read(checkpoint)

    def test_a_discrete_model_s_are_codes(self, tmp_path: Path) -> None:
        model = LatentActionModel(replace(TINY, bottleneck=replace(TINY.bottleneck, family="discrete", capacity=8)))
        save_checkpoint(model, tmp_path)
        save_latents(tmp_path, np.repeat(model.bottleneck.codes.numpy()[:4], 20, 0))
        found = TrainingLatents.read(tmp_path)
        assert found is not None and found.discrete
        np.testing.assert_array_equal(found.score(model.bottleneck.codes.numpy()), [0] * 4 + [1] * 4)


class TestPipeline:
    def test_a_transfer_tells_how_familiar_its_source_is(self, checkpoint: Path) -> None:
        plain = TransferPipeline.from_pretrained(checkpoint)
        frames = moving_square(5)
        assert plain.out_of_distribution(plain.infer(frames)) is None
        assert plain.transfer(frames, frames[0]).out_of_distribution is None

        z = plain.infer(frames).z
        save_latents(checkpoint, np.repeat(z, 20, 0) * (1 + 0.01 * RNG.normal(size=(80, 1))))
        pipeline = TransferPipeline.from_pretrained(checkpoint)
        judged = pipeline.transfer(frames, frames[0]).out_of_distribution
        assert judged is not None and judged.count == 0 and len(judged.scores) == 4
        reverse = pipeline.out_of_distribution(LatentActions(-z, 4.0))
        assert reverse is not None and reverse.far.all() and reverse.warning.startswith("4 of 4 steps")
        still = pipeline.transfer(np.repeat(frames[:1], 4, 0), frames[0]).out_of_distribution
        assert still is not None and still.scores.tolist() == [0, 0, 0]
        assert pipeline.out_of_distribution(LatentActions(np.ones((2, Z + 1), np.float32), 4.0)) is None
