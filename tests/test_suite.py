"""Several checkpoints judged at once: what they share is done once, and changes no figure."""

from __future__ import annotations

import inspect
import json
import math
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from test_evaluation import panned, texture
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline, sharpness
from lamdemo.evaluation import (
    ClipSet,
    SuiteConfig,
    evaluate_latents,
    evaluate_pairs,
    evaluate_rollouts,
    evaluate_videos,
    load_checkpoints,
    run_suite,
)
from lamdemo.evaluation import suite as suite_module
from lamdemo.evaluation.latents import (
    TOLERANCE,
    GaussianChannel,
    code_entropy,
    compare_samples,
    effective_information,
)
from lamdemo.evaluation.pictures import FROZEN_FEATURES
from lamdemo.evaluation.rollouts import HORIZONS, STEPS
from lamdemo.evaluation.suite import PARTS, checkpoint_names
from lamdemo.models import LatentActionModel, save_checkpoint
from lamdemo.models.bottleneck import BottleneckConfig, DiscreteBottleneck
from lamdemo.models.world_model import Prediction
from lamdemo.video import read_clip, write_image, write_video

DIALS = {"noisy": 2e-4, "sparse": 0.05, "discrete": 8.0}


def tiny(family: str, encoder: dict[str, Tensor], seed: int) -> LatentActionModel:
    """A random model of a family on a given encoder, under which actions do move and paint."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LatentActionModel(replace(TINY, bottleneck=BottleneckConfig(family, 16, DIALS[family])))  # type: ignore[arg-type]
        model.encoder.load_state_dict(encoder)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if not name.startswith("encoder."):
                    parameter.add_(0.05 * torch.randn_like(parameter))
            if isinstance(model.bottleneck, DiscreteBottleneck):
                # Codes where latents are, or all steps would be "nothing happens".
                moving = torch.from_numpy(panned(texture(64, 160, 7), 8, 3, 64, 64)).permute(0, 3, 1, 2) / 255
                states = model.encode(moving)
                evidence = model.inverse_dynamics(states[:-1], states[1:])
                model.bottleneck.codes[1:] = model.bottleneck.mean(evidence.forward, evidence.backward)
    return model


@pytest.fixture(scope="module")
def folders(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each family, all on the encoder of the tiny one."""
    encoder = TransferPipeline.from_pretrained(tiny_checkpoint).model.encoder.state_dict()
    folder = tmp_path_factory.mktemp("family")
    for i, family in enumerate(DIALS):
        save_checkpoint(tiny(family, encoder, i), folder / family)
    return {family: folder / family for family in DIALS}


@pytest.fixture(scope="module")
def family(folders: dict[str, Path]) -> dict[str, TransferPipeline]:
    return {name: TransferPipeline.from_pretrained(folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four recordings of 36 frames in two folders, and one too short for long rollouts."""
    folder = tmp_path_factory.mktemp("clips")
    for i, (name, step) in enumerate([("wild/a", 1), ("wild/b", 2), ("nav/c", 3), ("nav/d", 1)]):
        (folder / name).parent.mkdir(exist_ok=True)
        write_video(folder / f"{name}.mp4", panned(texture(64, 200, i), 36, step, 64, 64), 4)
    write_video(folder / "nav/short.mp4", panned(texture(64, 160, 9), 12, 2, 64, 64), 4)
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for i, step in enumerate((2, 4)):
        case = folder / f"case{i}"
        case.mkdir()
        truth = panned(texture(48, 120, 20 + i), 3, step, 48, 64)
        write_video(case / "source.mp4", panned(texture(48, 120, 10 + i), 3, step, 48, 64), 4, crf=4)
        write_video(case / "truth.mp4", truth, 4, crf=4)
        write_image(case / "target.png", truth[0])
        (case / "case.json").write_text(json.dumps({"kind": "pan"}))
    return folder


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gathers how many frames each call of `TransferPipeline.encode` is given."""
    counts: list[int] = []
    encode = TransferPipeline.encode

    def counted(self: TransferPipeline, frames: np.ndarray) -> Tensor:
        counts.append(len(frames))
        return encode(self, frames)

    monkeypatch.setattr(TransferPipeline, "encode", counted)
    return counts


def without_times(result: dict) -> dict:
    """A result of `evaluate_pairs` without what the machine's load decides."""
    text = json.dumps(result)
    return json.loads(text, object_hook=lambda d: {k: v for k, v in d.items() if k != "seconds_per_transfer"})


class TestSharing:
    def test_videos_are_as_if_judged_alone(
        self, family: dict[str, TransferPipeline], clips: Path, encoded: list[int]
    ) -> None:
        pair = {name: family[name] for name in ("sparse", "noisy")}
        together = evaluate_videos(pair, ClipSet(clips, max_clips=2))
        once = sum(encoded)
        assert list(together) == list(pair)
        encoded.clear()
        for name, pipeline in pair.items():
            assert evaluate_videos(pipeline, ClipSet(clips, max_clips=2)) == together[name]
        assert sum(encoded) == 2 * once > 0
        assert together["noisy"]["headline"] != together["sparse"]["headline"]

    def test_pairs_are_as_if_judged_alone(self, family: dict[str, TransferPipeline], pairs: Path) -> None:
        pair = {name: family[name] for name in ("sparse", "noisy")}
        together = evaluate_pairs(pair, pairs)
        for name, pipeline in pair.items():
            alone = evaluate_pairs(pipeline, pairs)
            assert without_times(alone) == without_times(together[name])
        assert together["noisy"]["all"]["methods"]["copy"] == together["sparse"]["all"]["methods"]["copy"]
        assert together["noisy"]["all"]["methods"]["model"] != together["sparse"]["all"]["methods"]["model"]
        assert together["noisy"]["settings"]["perceptual_is"] == FROZEN_FEATURES

    def test_another_encoder_sees_for_itself(self, family: dict[str, TransferPipeline], clips: Path) -> None:
        encoder = {k: v.clone() for k, v in family["noisy"].model.encoder.state_dict().items()}
        encoder["basis"] *= 2  # whitening is a part of what must be alike
        other = TransferPipeline(tiny("noisy", encoder, 0))
        both = {"noisy": family["noisy"], "other": other}
        videos = evaluate_videos(both, ClipSet(clips, max_clips=2))
        assert videos["other"] == evaluate_videos(other, ClipSet(clips, max_clips=2))
        errors = [videos[n]["all"]["one_step"]["all"]["error"]["copy"] for n in both]
        assert errors[1] == pytest.approx(2 * errors[0], rel=1e-4)


class TestRollouts:
    @pytest.fixture(scope="class")
    def rolled(self, family: dict[str, TransferPipeline], clips: Path) -> dict:
        pipelines = {"noisy": family["noisy"], "sparse": family["sparse"]}
        return evaluate_rollouts(pipelines, ClipSet(clips), drawn=2)

    def test_errors_are_those_of_the_rollout(
        self, family: dict[str, TransferPipeline], rolled: dict, clips: Path
    ) -> None:
        # A clip that is just long enough leaves no choice of where to start.
        folder = clips.parent / "exact"
        folder.mkdir(exist_ok=True)
        frames = panned(texture(64, 200, 5), STEPS + 1, 2, 64, 64)
        write_video(folder / "a.mp4", frames, 4)
        got = evaluate_rollouts({"m": family["sparse"]}, ClipSet(folder), drawn=0)["m"]
        pipeline = family["sparse"]
        states = pipeline.encode(read_clip(folder / "a.mp4", fps=4, size=(64, 64)).frames)[None]
        with torch.no_grad():
            made = pipeline.model.world_model.rollout(states[:, :1], pipeline.model.infer(states)).states
        errors = (made - states[:, 1:]).abs().mean((0, 2, 3))
        copied = (states[:, :1] - states[:, 1:]).abs().mean((0, 2, 3))
        np.testing.assert_allclose(got["all"]["state"]["error"]["model"], errors, rtol=1e-4)
        np.testing.assert_allclose(got["all"]["state"]["over_copy"]["model"], errors / copied, rtol=1e-4)
        assert got["all"]["state"]["intervals"]["model"]["8"]["value"] == pytest.approx(float(errors[7] / copied[7]))
        assert got["all"]["pictures"] is None and got["headline"]["sharpness_16"] is None

    def test_layout(self, rolled: dict) -> None:
        for result in rolled.values():
            assert set(result["parts"]) == {"wild", "nav"}
            assert result["all"]["clips"] == 4 and result["all"]["pictures"]["clips"] == 2
            assert [s["clip"] for s in result["clips"]["skipped"]] == ["nav/short.mp4"]
            assert len(result["all"]["state"]["error"]["copy"]) == STEPS
            for at in result["all"]["state"]["intervals"].values():
                assert list(at) == [str(h) for h in HORIZONS]
                assert all(v["low"] <= v["value"] <= v["high"] for v in at.values())
            assert result["perceptual_is"] == FROZEN_FEATURES
        assert rolled["noisy"]["all"]["state"]["error"]["copy"] == rolled["sparse"]["all"]["state"]["error"]["copy"]
        assert rolled["noisy"]["all"]["state"]["error"]["model"] != rolled["sparse"]["all"]["state"]["error"]["model"]

    def test_a_new_model_holds_the_first_frame(
        self, family: dict[str, TransferPipeline], clips: Path, tmp_path: Path
    ) -> None:
        model = LatentActionModel(TINY)
        model.encoder.load_state_dict(family["noisy"].model.encoder.state_dict())
        with torch.no_grad():
            model.decoder.leave.bias[2] = -30  # nothing is painted, either
        result = evaluate_rollouts({"new": TransferPipeline(model)}, ClipSet(clips, max_clips=2), drawn=1)["new"]
        np.testing.assert_allclose(result["all"]["state"]["over_copy"]["model"], 1, atol=1e-4)
        pictures = result["all"]["pictures"]
        for h in map(str, HORIZONS):
            assert pictures["sharpness"]["model"][h]["value"] == pytest.approx(1, abs=0.02)
            assert pictures["psnr"]["model"][h] == pytest.approx(pictures["psnr"]["copy"][h], abs=0.2)
            assert pictures["perceptual_over_copy"]["model"][h]["value"] == pytest.approx(1, abs=0.05)

    def test_drawn_sharpness_is_that_of_the_transfer(self, family: dict[str, TransferPipeline], clips: Path) -> None:
        folder = clips.parent / "one"
        folder.mkdir(exist_ok=True)
        write_video(folder / "a.mp4", panned(texture(64, 200, 6), STEPS + 1, 2, 64, 64), 4)
        pipeline = family["noisy"]
        got = evaluate_rollouts({"m": pipeline}, ClipSet(folder))["m"]["all"]["pictures"]
        frames = read_clip(folder / "a.mp4", fps=4, size=(64, 64)).frames
        made = pipeline.transfer(frames, frames[0])
        for h in HORIZONS:
            expected = sharpness(made.frames[h]) / sharpness(frames[0])
            assert got["sharpness"]["model"][str(h)]["value"] == pytest.approx(expected, rel=1e-3)
            expected = sharpness(frames[h]) / sharpness(frames[0])
            assert got["sharpness"]["truth"][str(h)]["value"] == pytest.approx(expected, rel=1e-6)

    def test_clips_that_are_too_short(self, family: dict[str, TransferPipeline], tmp_path: Path) -> None:
        write_video(tmp_path / "a.mp4", panned(texture(64, 200, 6), 12, 2, 64, 64), 4)
        with pytest.raises(LamdemoError, match=r"lasts 8\.25 seconds"):
            evaluate_rollouts(family, ClipSet(tmp_path))


class Linear(torch.nn.Module):
    """A world model that adds a linear map of z to the state."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def forward(self, states: Tensor, latents: Tensor) -> Prediction:
        after = states + (latents @ self.weight).reshape(states.shape)
        return Prediction(after, *7 * (after,))


def linear_world(extra: int = 0, mix: Tensor | None = None) -> tuple[Linear, Tensor, Tensor]:
    """World, states ``[w, T, N, D]`` and latents ``[w, S, Z]`` of 3 numbers that matter and ``extra`` that do not.

    States follow the latents but for a little noise. The same draws at each call.
    """
    rng = torch.Generator().manual_seed(0)
    told = torch.randn(24, 8, 3, generator=rng)
    weight = torch.randn(3, 4 * 5, generator=rng)
    noise = 0.05 * torch.randn(24, 8, 4 * 5, generator=rng)
    steps = (told @ weight + noise).reshape(24, 8, 4, 5)
    states = torch.cat([torch.zeros(24, 1, 4, 5), steps.cumsum(1)], 1)
    idle = torch.randn(24, 8, extra, generator=rng)
    z, w = torch.cat([told, idle], -1), torch.cat([weight, torch.zeros(extra, 20)])
    if mix is not None:
        z, w = z @ mix, torch.linalg.solve(mix, w)
    return Linear(w), states, z


def nats(world: Linear, states: Tensor, z: Tensor, ceiling: float = math.inf) -> dict:
    return effective_information(world, states, z, z.flatten(0, 1), ceiling, 0)  # type: ignore[arg-type]


class TestEffectiveInformation:
    def test_rate_is_reverse_water_filling(self) -> None:
        z = torch.randn(20000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([4.0, 2.0, 0.1])
        channel = GaussianChannel.fit(z, torch.eye(3))
        np.testing.assert_allclose(channel.spectrum, [16, 4, 0.01], rtol=0.05)
        assert channel.rate(1.0) == pytest.approx(0.5 * math.log(16) + 0.5 * math.log(4), rel=0.02)
        noise = torch.randn(20000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        out = channel.through(z, 1.0, noise)
        # Each component errs by the level, or by all of its variance where that is less.
        np.testing.assert_allclose((out - z).square().mean(0), [1, 1, 0.01], rtol=0.05)
        np.testing.assert_allclose(channel.through(z, 1e-12, noise), z, atol=1e-4)

    def test_what_is_not_heeded_costs_nothing(self) -> None:
        plain, padded = nats(*linear_world()), nats(*linear_world(extra=9))
        assert plain["effective_nats"] > 3
        assert padded["effective_nats"] == pytest.approx(plain["effective_nats"], rel=0.1)
        assert padded["heeded"] == plain["heeded"] == 3

    def test_a_change_of_basis_changes_nothing(self) -> None:
        mix = torch.randn(5, 5, generator=torch.Generator().manual_seed(3)) + 2 * torch.eye(5)
        plain, mixed = nats(*linear_world(extra=2)), nats(*linear_world(extra=2, mix=mix))
        assert mixed["effective_nats"] == pytest.approx(plain["effective_nats"], rel=0.1)

    def test_the_error_rises_as_allowed(self) -> None:
        found = nats(*linear_world())
        risen = (found["error_through"] - found["error"]) / (found["error_copy"] - found["error"])
        assert 0.8 * TOLERANCE < risen <= TOLERANCE

    def test_it_cannot_exceed_the_ceiling(self) -> None:
        found = nats(*linear_world(), ceiling=1.5)
        assert found["effective_nats"] == 1.5 < found["rate_nats"]

    def test_latents_that_gain_nothing_have_none(self) -> None:
        world, states, z = linear_world()
        found = nats(world, states, -z)
        assert found["effective_nats"] is None and "copying" in found["why"]


class TestSamples:
    @staticmethod
    def normal(n: int, seed: int, shift: float = 0.0) -> Tensor:
        return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)) + shift

    def test_one_distribution(self) -> None:
        values = [
            compare_samples(self.normal(300, 2 * k), self.normal(300, 2 * k + 1), [str(i) for i in range(300)], seed=k)
            for k in range(5)
        ]
        assert np.mean([v["nearest"]["ratio"] for v in values]) == pytest.approx(1, abs=0.1)
        assert np.median([v["energy"]["p"] for v in values]) > 0.05
        assert all(v["energy"]["share"] < 0.02 for v in values)

    def test_far_from_it(self) -> None:
        got = compare_samples(self.normal(300, 0, 3.0), self.normal(300, 1), [str(i) for i in range(300)])
        assert got["nearest"]["ratio"] > 2 and got["energy"]["p"] <= 0.002 and got["energy"]["share"] > 0.3

    def test_units_do_not_matter(self) -> None:
        scale = torch.tensor([1.0, 100.0, 0.1, 7.0])
        x, y, names = self.normal(200, 0, 0.5), self.normal(200, 1), [str(i) for i in range(200)]
        one, other = compare_samples(x, y, names), compare_samples(x * scale, y * scale, names)
        assert other["nearest"]["ratio"] == pytest.approx(one["nearest"]["ratio"], rel=1e-4)

    def test_neighbours_of_the_same_recording_do_not_count(self) -> None:
        y = self.normal(100, 1)
        names = [str(i) for i in range(100)]
        once = compare_samples(self.normal(200, 0), y, names)
        twice = compare_samples(self.normal(200, 0), y.repeat(2, 1), names * 2)
        assert twice["nearest"]["inferred"] == pytest.approx(once["nearest"]["inferred"], rel=0.01)

    def test_code_use_is_estimated_from_few_steps(self) -> None:
        draws = [torch.randint(0, 16, (40,), generator=torch.Generator().manual_seed(k)) for k in range(200)]
        counts = [d.bincount(minlength=16) / 40 for d in draws]
        plain = np.mean([float(-(p * p.clamp_min(1e-9).log()).sum()) for p in counts])
        mended = np.mean([code_entropy(d) for d in draws])
        assert abs(mended - math.log(16)) < 0.3 * abs(plain - math.log(16))


class TestLatents:
    @pytest.fixture(scope="class")
    def judged(self, family: dict[str, TransferPipeline], clips: Path) -> dict:
        return evaluate_latents(family, ClipSet(clips))

    def test_families_measure_what_they_have(self, judged: dict, family: dict[str, TransferPipeline]) -> None:
        noisy, sparse, discrete = (judged[n]["all"] for n in ("noisy", "sparse", "discrete"))
        assert noisy["information"]["nats"] > 0 and sparse["information"]["nats"] is None
        assert 0 <= noisy["dimensions"]["active"] <= 16 and 0 <= sparse["dimensions"]["active"] <= 16
        used, size = discrete["dimensions"]["codes_used"], discrete["dimensions"]["codes"]
        assert 1 <= discrete["dimensions"]["perplexity"] <= used + 1e-9 and 2 <= used <= size == 8
        assert discrete["information"]["ceiling_nats"] == pytest.approx(math.log(used))
        assert 0 <= discrete["samples"]["seen"] <= 1 and noisy["samples"]["seen"] is None
        for result in judged.values():
            assert set(result["parts"]) == {"wild", "nav"}
            dimensions = result["all"]["dimensions"]
            assert 1 <= dimensions["participation"] <= 16 and 1 <= dimensions["components_95"] <= 16
            # Random models predict worse than copying, and say so.
            channel = result["channel"]
            assert (channel["effective_nats"] is None) == (channel["error"] >= channel["error_copy"])
            assert bool(channel["why"]) == (channel["effective_nats"] is None)

    def test_kl_is_that_of_the_posterior(
        self, judged: dict, family: dict[str, TransferPipeline], clips: Path, tmp_path: Path
    ) -> None:
        pipeline = family["noisy"]
        for name in "ab":
            write_video(tmp_path / f"{name}.mp4", panned(texture(64, 200, ord(name)), 10, 2, 64, 64), 4)
        got = evaluate_latents({"m": pipeline}, ClipSet(tmp_path))["m"]["all"]
        sums = []
        for name in "ab":
            states = pipeline.encode(read_clip(tmp_path / f"{name}.mp4", fps=4, size=(64, 64)).frames[1:])
            bottleneck = pipeline.model.bottleneck
            with torch.no_grad():
                evidence = pipeline.model.inverse_dynamics(states[:-1], states[1:])
                mean = bottleneck.mean(evidence.forward, evidence.backward)
                log_variance = bottleneck.log_variance(evidence.forward, evidence.backward)
                posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
                kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
            sums.append(float(kl.sum(-1).mean()))
        assert got["information"]["nats"] == pytest.approx(np.mean(sums), rel=1e-3)
        assert got["steps"] == 16 and got["recordings"] == 2

    def test_same_seed_same_figures(
        self, judged: dict, family: dict[str, TransferPipeline], clips: Path, encoded: list[int]
    ) -> None:
        alone = evaluate_latents({"sparse": family["sparse"]}, ClipSet(clips))
        once = sum(encoded)
        assert alone["sparse"] == judged["sparse"]
        encoded.clear()
        evaluate_latents(family, ClipSet(clips))
        assert sum(encoded) == once


class TestNames:
    def test_folders_of_one_name_get_their_parents(self, tmp_path: Path) -> None:
        for name in ("a/checkpoint", "b/checkpoint", "c/low"):
            (tmp_path / name).mkdir(parents=True)
        given = [str(tmp_path / n) for n in ("a/checkpoint", "b/checkpoint", "c/low")]
        assert checkpoint_names(given) == dict(zip(("a", "b", "low"), given, strict=True))
        assert list(checkpoint_names(given[:1])) == ["checkpoint"]

    def test_parents_of_one_name(self, tmp_path: Path) -> None:
        for name in ("x/a/checkpoint", "y/a/checkpoint"):
            (tmp_path / name).mkdir(parents=True)
        given = [str(tmp_path / n) for n in ("x/a/checkpoint", "y/a/checkpoint")]
        assert list(checkpoint_names(given)) == ["x", "y"]

    def test_ids_on_the_hub(self) -> None:
        given = ["noisy", "one/model", "two/model", "one/other@refs/pr/1"]
        assert list(checkpoint_names(given)) == ["noisy", "one", "two", "other@refs-pr-1"]
        assert list(checkpoint_names(["one/m@v1", "one/m@v2"])) == ["m@v1", "m@v2"]

    def test_a_checkpoint_given_twice(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        with pytest.raises(LamdemoError, match="a is given twice"):
            checkpoint_names([str(tmp_path / "a"), str(tmp_path / "a" / ".." / "a")])


class TestSuite:
    @pytest.fixture(scope="class")
    def pipelines(self, folders: dict[str, Path]) -> dict[str, TransferPipeline]:
        return load_checkpoints([str(folders["noisy"]), str(folders["sparse"])])

    @pytest.fixture
    def judged(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
        """Stands in for the evaluations: notes which part is asked of which checkpoints."""
        asked: list[tuple[str, ...]] = []

        def run(part: suite_module._Part, pipelines: dict, config: SuiteConfig) -> dict:
            asked.append((part.module, *pipelines))
            return {name: {"evaluation": part.module} for name in pipelines}

        monkeypatch.setattr(suite_module, "_run", run)
        return asked

    def test_reports_of_each_checkpoint(
        self, pipelines: dict[str, TransferPipeline], clips: Path, pairs: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "reports"
        config = SuiteConfig(videos=clips, pairs=pairs, max_clips=4, seed=3, only=("pairs", "videos"))
        reports = run_suite(pipelines, out, config, command="lamdemo evaluate")
        assert {p.relative_to(out).as_posix() for p in reports} == {
            f"{n}/{part}.json" for n in ("noisy", "sparse") for part in ("videos", "pairs")
        }
        report = json.loads((out / "sparse" / "videos.json").read_text())
        expected = {"name": "sparse", "sha256": pipelines["sparse"].checkpoint, "family": "sparse"}
        assert expected.items() <= report["checkpoint"].items()
        assert report["seed"] == 3 and report["data"]["folder"] == clips.name and report["data"]["max_clips"] == 4
        assert report["results"]["evaluation"] == "videos"
        assert json.loads((out / "sparse" / "pairs.json").read_text())["results"]["evaluation"] == "pairs"

    def test_what_is_finished_is_kept(
        self,
        pipelines: dict[str, TransferPipeline],
        clips: Path,
        tmp_path: Path,
        judged: list,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        said: list[str] = []
        config = SuiteConfig(videos=clips, only=("videos", "latents"))

        def run(config: SuiteConfig) -> list[tuple[str, ...]]:
            judged.clear()
            said.clear()
            run_suite(pipelines, tmp_path, config, command="x", say=said.append)
            return list(judged)

        both = ("noisy", "sparse")
        assert run(config) == [("videos", *both), ("latents", *both)]
        assert run(config) == [] and len(said) == 4
        with monkeypatch.context() as older:
            older.setattr(suite_module, "code_hash", lambda: "of other code")
            assert run(config) == [("videos", *both), ("latents", *both)]
        (tmp_path / "noisy" / "latents.json").write_text("{")  # cut short
        assert run(config) == [("latents", "noisy")]
        assert run(replace(config, again=True)) == [("videos", *both), ("latents", *both)]
        for other in (replace(config, seed=1), replace(config, max_clips=2, seed=1)):
            assert run(other) == [("videos", *both), ("latents", *both)]
        sparse = json.loads((tmp_path / "sparse" / "videos.json").read_text())
        sparse["checkpoint"]["sha256"] = "of another"
        (tmp_path / "sparse" / "videos.json").write_text(json.dumps(sparse))
        assert run(replace(config, max_clips=2, seed=1)) == [("videos", "sparse")]

    def test_a_part_that_fails_does_not_take_the_others_along(
        self, pipelines: dict[str, TransferPipeline], clips: Path, tmp_path: Path
    ) -> None:
        folder = tmp_path / "clips"
        folder.mkdir()
        for name in ("a", "b"):
            write_video(folder / f"{name}.mp4", panned(texture(64, 160, ord(name)), 11, 2, 64, 64), 4)
        config = SuiteConfig(videos=folder, only=("videos", "rollouts"))
        with pytest.raises(LamdemoError, match="rollouts: No clip of clips lasts"):
            run_suite(pipelines, tmp_path / "out", config, command="x")
        assert (tmp_path / "out" / "noisy" / "videos.json").is_file()
        assert not (tmp_path / "out" / "noisy" / "rollouts.json").exists()

    def test_parts_without_their_data(
        self, pipelines: dict[str, TransferPipeline], tmp_path: Path, judged: list
    ) -> None:
        said: list[str] = []
        run_suite(pipelines, tmp_path, SuiteConfig(), command="x", say=said.append)
        assert [part for part, *_ in judged] == ["pairs", "probes", "locality", "entering", "space"]
        assert [words.split(":")[0] for words in said] == ["videos", "rollouts", "latents", "content"]
        with pytest.raises(LamdemoError, match="give --videos"):
            run_suite(pipelines, tmp_path, SuiteConfig(only=("rollouts",)), command="x")
        with pytest.raises(LamdemoError, match="no part 'dance'"):
            run_suite(pipelines, tmp_path, SuiteConfig(only=("dance",)), command="x")

    @pytest.mark.parametrize("name", PARTS)
    def test_every_part_takes_what_it_is_given(self, name: str, clips: Path, pairs: Path, tmp_path: Path) -> None:
        part = suite_module._parts(SuiteConfig(videos=clips, pairs=pairs), tmp_path)[name]
        function = getattr(import_module(f"lamdemo.evaluation.{part.module}"), part.function)
        inspect.signature(function).bind({}, *part.place, **part.arguments)

    def test_cases_are_made_where_none_are_given(
        self, pipelines: dict[str, TransferPipeline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: Path
    ) -> None:
        made: list[tuple[int, int]] = []

        def write(out: Path, cases: int, seed: int, *, photos: Path | None) -> list[Path]:
            made.append((cases, seed))
            out.symlink_to(pairs)
            return []

        monkeypatch.setattr(suite_module, "write_cases", write)
        config = SuiteConfig(max_clips=2, seed=4, only=("pairs",))
        run_suite({"noisy": pipelines["noisy"]}, tmp_path, config, command="x")
        report = json.loads((tmp_path / "noisy" / "pairs.json").read_text())
        assert made == [(2, 4)]
        assert report["data"]["cases"] == 2 and report["results"]["all"]["cases"] == 2
