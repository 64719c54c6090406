"""Evaluation: what the figures mean, on models and motions whose figures are known beforehand."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import TINY

from lamdemo.core.errors import LamdemoError
from lamdemo.data.splits import Split
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation import ClipSet, evaluate_pairs, evaluate_videos, find_cases, write_cases, write_report
from lamdemo.evaluation.clips import STEPS, Window, plan_windows, recording_of
from lamdemo.evaluation.pictures import (
    compose,
    feature_distance,
    features,
    motion,
    move_by_flows,
    psnr,
    ssim,
)
from lamdemo.evaluation.prefetch import prefetch
from lamdemo.evaluation.report import code_hash, describe_files, git_state, what_it_does
from lamdemo.evaluation.statistics import balanced, compare, ratio_of_means, swapped
from lamdemo.evaluation.videos import _Measured, _predict, _Seen
from lamdemo.models import LatentActionModel
from lamdemo.models.layers import KeyValueCache
from lamdemo.models.world_model import Prediction
from lamdemo.video import read_clip, write_image, write_video


def texture(height: int, width: int, seed: int) -> np.ndarray:
    """A picture with detail at several scales, that optical flow can follow."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells in (4, 9, 20):
        noise = rng.uniform(-1, 1, (cells, cells, 3)).astype(np.float32)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 50 * total, 0, 255).astype(np.uint8)


def panned(picture: np.ndarray, frames: int, step: int, height: int, width: int) -> np.ndarray:
    """A view that moves right over a larger picture, ``step`` pixels a frame."""
    return np.stack([picture[:height, 4 + step * t : 4 + step * t + width] for t in range(frames)])


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings in two folders, one of them in two files; 10 frames at 4 a second each. And a short one."""
    folder = tmp_path_factory.mktemp("clips")
    for i, (name, step) in enumerate([("wild/a_s0", 3), ("wild/a_s1", 1), ("wild/b", 2), ("nav/c", 5)]):
        path = folder / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        write_video(path, panned(texture(64, 160, i), 10, step, 64, 64), 4)
    write_video(folder / "nav/short.mp4", panned(texture(64, 160, 9), 5, 2, 64, 64), 4)
    return folder


class PerfectModel:
    """Its latent is the whole change of the state: the world model adds it, and can do no wrong."""

    device = torch.device("cpu")
    config = SimpleNamespace(encoder=SimpleNamespace(picture=32))

    def __init__(self) -> None:
        self.world_model = self

    def infer(self, states: torch.Tensor) -> torch.Tensor:
        return states.diff(dim=1).flatten(2)

    def new_cache(self) -> KeyValueCache:
        return KeyValueCache(4)

    def __call__(self, states: torch.Tensor, latents: torch.Tensor, cache: KeyValueCache) -> Prediction:
        return Prediction(states + latents.reshape(states.shape), *7 * (states,))

    def rollout(self, states: torch.Tensor, latents: torch.Tensor) -> Prediction:
        ahead = states + latents.cumsum(1).reshape(len(latents), -1, *states.shape[2:])
        return Prediction(*8 * (ahead,))


class PerfectPipeline:
    fps = 4.0
    model = PerfectModel()

    def encode(self, frames: np.ndarray) -> torch.Tensor:
        small = np.stack([cv2.resize(f, (4, 4), interpolation=cv2.INTER_AREA) for f in frames])
        return torch.from_numpy(small.reshape(len(frames), 16, 3)).float() / 255


@pytest.fixture(scope="module")
def perfect(clips: Path) -> dict:
    return evaluate_videos(PerfectPipeline(), ClipSet(clips))


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hand-made cases, pans to the right by 2 and by 4 pixels of 128: source and truth share the motion."""
    folder = tmp_path_factory.mktemp("pairs")
    for i, step in enumerate((2, 4)):
        case = folder / f"case{i}"
        case.mkdir()
        source = panned(texture(96, 240, 10 + i), 5, step, 96, 128)
        truth = panned(texture(96, 240, 20 + i), 5, step, 96, 128)
        write_video(case / "source.mp4", source, 4, crf=4)
        write_video(case / "truth.mp4", truth, 4, crf=4)
        write_image(case / "target.png", truth[0])
        (case / "case.json").write_text(json.dumps({"kind": "pan"}))
    return folder


@pytest.fixture(scope="module")
def judged(pipeline: TransferPipeline, pairs: Path) -> dict:
    return evaluate_pairs(pipeline, pairs)


class TestStatistics:
    def test_interval_is_that_of_the_mean(self) -> None:
        rng = np.random.default_rng(0)
        values = rng.normal(1.0, 0.5, 400)
        got = ratio_of_means(values, np.ones(400), range(400), draws=4000)
        half = 1.96 * values.std() / 20
        assert got["value"] == pytest.approx(values.mean())
        assert got["low"] == pytest.approx(values.mean() - half, abs=0.15 * half)
        assert got["high"] == pytest.approx(values.mean() + half, abs=0.15 * half)

    def test_repeating_a_recording_tells_nothing_new(self) -> None:
        values = np.random.default_rng(1).uniform(1, 2, 12)
        once = ratio_of_means(values, np.ones(12), range(12))
        often = ratio_of_means(np.repeat(values, 50), np.ones(600), np.repeat(range(12), 50).tolist())
        assert often == pytest.approx(once)

    def test_means_are_divided_not_ratios_averaged(self) -> None:
        got = ratio_of_means(np.array([9.0, 1.0]), np.array([10.0, 0.1]), ["a", "b"])
        assert got["value"] == pytest.approx(10 / 10.1)

    def test_nothing_to_divide_by(self) -> None:
        assert ratio_of_means(np.zeros(3), np.zeros(3), range(3))["value"] is None
        assert ratio_of_means(np.zeros(0), np.zeros(0), [])["low"] is None

    def test_compare_keeps_methods_apart(self) -> None:
        got = compare({"model": np.array([1.0, 3.0]), "copy": np.array([2.0, 6.0])}, ["a", "a"])
        assert got["error"] == {"model": 2.0, "copy": 4.0}
        assert got["over_copy"]["model"] == {"value": 0.5, "low": 0.5, "high": 0.5}
        assert got["steps"] == 2 and got["recordings"] == 1

    @pytest.mark.parametrize("groups", ["aabbcc", "abcdefg", "aaabbcd", "aabb", "abbbacbcc", "ab"])
    def test_donors_are_of_other_recordings_each_once(self, groups: str) -> None:
        for seed in range(20):
            given = swapped(groups, np.random.default_rng(seed))
            assert all(groups[i] != groups[j] for i, j in enumerate(given))
            assert sorted(given) == list(range(len(groups)))

    def test_donors_where_one_recording_is_most_of_all(self) -> None:
        given = swapped("aaaab", np.random.default_rng(0))
        assert given.tolist()[:4] == [4] * 4 and given[4] < 4

    def test_donors_need_two_recordings(self) -> None:
        with pytest.raises(ValueError, match="at least two"):
            swapped("aaa", np.random.default_rng(0))

    def test_balanced_takes_turns(self) -> None:
        groups = ["a"] * 20 + ["b"] * 2 + ["c"] * 5
        chosen = balanced(groups, 8, np.random.default_rng(0))
        assert sorted(groups[i] for i in chosen) == list("aaabbccc")
        assert balanced(groups, None, np.random.default_rng(0)) == list(range(27))


class TestAhead:
    def test_in_order_and_not_too_far(self) -> None:
        begun: list[int] = []

        def square(i: int) -> int:
            begun.append(i)
            return i * i

        for i, result in prefetch(square, range(20), most=4):
            assert result == i * i
            assert max(begun) <= i + 4
        assert sorted(begun) == list(range(20))

    def test_an_error_comes_in_its_turn(self) -> None:
        results = prefetch(lambda i: 1 / (2 - i), range(9), most=5)
        assert [next(results)[1], next(results)[1]] == [0.5, 1.0]
        with pytest.raises(ZeroDivisionError):
            next(results)


class TestWindows:
    def test_recordings(self) -> None:
        assert recording_of("wild/x_s0.mp4") == recording_of("wild/x_s12.mp4") == "wild/x"
        assert recording_of("robot/y_cam0.mp4") == recording_of("robot/y_cam2.mp4")
        assert recording_of("wild/x_s0.mp4") != recording_of("nav/x_s0.mp4")
        assert recording_of("wild/tennis_shot.mp4") == "wild/tennis_shot"

    def test_windows_lie_in_the_clip_and_apart(self) -> None:
        span = (STEPS + 2) / 4
        for seconds in (2.5, 4.9, 5.0, 7.3, 30.0):
            starts = [w.start for w in plan_windows("wild/a.mp4", seconds, 4.0, 3)]
            assert len(starts) == (1 if seconds < 2 * span else 2)
            assert starts[0] >= 0 and starts[-1] + span <= seconds + 1e-9
            assert all(b - a >= span - 1e-9 for a, b in pairwise(starts))
        assert plan_windows("wild/a.mp4", 2.4, 4.0, 3) == []

    def test_windows_depend_on_seed_and_name(self) -> None:
        one = plan_windows("a.mp4", 30, 4.0, 0)
        assert one == plan_windows("a.mp4", 30, 4.0, 0)
        assert one != plan_windows("a.mp4", 30, 4.0, 1)
        assert one[0].start != plan_windows("b.mp4", 30, 4.0, 0)[0].start


class TestPerfectModel:
    def test_makes_no_error(self, perfect: dict) -> None:
        for half in ("all", "moving", "still"):
            assert perfect["all"]["one_step"][half]["error"]["model"] == pytest.approx(0, abs=1e-6)
        assert perfect["all"]["eight_step"]["last"]["error"]["model"] == pytest.approx(0, abs=1e-6)
        assert perfect["all"]["one_step"]["all"]["error"]["copy"] > 0.01

    def test_no_action_is_copying(self, perfect: dict) -> None:
        for table in (perfect["all"]["one_step"]["all"], perfect["all"]["eight_step"]["mean"]):
            assert table["over_copy"]["zero"]["value"] == pytest.approx(1, abs=1e-6)

    def test_shuffled_actions_fail(self, perfect: dict) -> None:
        # Clips move alike to the right, but over different textures: a whole change of state fits none other.
        assert perfect["all"]["one_step"]["all"]["over_copy"]["shuffled"]["value"] > 1
        assert perfect["all"]["eight_step"]["last"]["over_copy"]["shuffled"]["value"] > 1

    def test_its_latents_come_back_from_a_cycle(self, perfect: dict) -> None:
        assert perfect["all"]["cycle"]["one_step"]["all"]["cycled"] == pytest.approx(0, abs=1e-6)
        assert perfect["all"]["cycle"]["eight_step"]["cycled"] == pytest.approx(0, abs=1e-5)

    def test_the_leak_test_finds_it_out(self, perfect: dict) -> None:
        # A latent that is the next state in disguise predicts a cut as well as anything else.
        leakage = perfect["all"]["leakage"]
        assert leakage["over_copy_cut"]["value"] == pytest.approx(0, abs=1e-5)
        assert leakage["copy_cut"] > 2 * leakage["copy_uncut"]
        assert leakage["latent_size_cut"] > 2 * leakage["latent_size_uncut"]

    def test_flow_explains_a_pan(self, perfect: dict) -> None:
        one, far = perfect["all"]["one_step"]["all"], perfect["all"]["eight_step"]["last"]
        for method in ("own_flow", "copied_flow"):
            assert one["over_copy"][method]["value"] < 0.5
            assert far["over_copy"][method]["value"] < 0.7

    def test_halves_and_parts(self, perfect: dict) -> None:
        one = perfect["all"]["one_step"]
        assert one["all"]["steps"] == one["moving"]["steps"] + one["still"]["steps"] == 4 * STEPS
        assert one["all"]["recordings"] == 3
        assert one["moving"]["error"]["copy"] > one["still"]["error"]["copy"]
        assert set(perfect["parts"]) == {"wild", "nav"}
        assert perfect["parts"]["nav"]["one_step"]["all"]["steps"] == STEPS
        assert perfect["parts"]["nav"]["cycle"]["one_step"]["all"]["steps"] > 0

    def test_clips_are_named(self, perfect: dict, clips: Path) -> None:
        used = ["nav/c.mp4", "wild/a_s0.mp4", "wild/a_s1.mp4", "wild/b.mp4"]
        assert perfect["clips"]["sha256"] == describe_files(clips, used)["sha256"]
        assert perfect["clips"]["skipped"] == [{"clip": "nav/short.mp4", "why": "shorter than 2.5 seconds"}]
        assert perfect["clips"]["recordings"] == 3 and perfect["clips"]["windows"] == 4

    def test_same_seed_same_figures(self, perfect: dict, clips: Path) -> None:
        assert evaluate_videos(PerfectPipeline(), ClipSet(clips)) == perfect


class TestVideos:
    def test_a_new_world_model_copies(self, clips: Path) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = LatentActionModel(TINY)
            model.encoder.fit_whitening(torch.rand(8, 3, 64, 64))
        result = evaluate_videos(TransferPipeline(model), ClipSet(clips))
        for table in (*result["all"]["one_step"].values(), *result["all"]["eight_step"].values()):
            for method in ("model", "zero", "shuffled"):
                assert table["over_copy"][method]["value"] == pytest.approx(1, abs=1e-4)
        assert result["all"]["cycle"]["one_step"]["all"]["ratio"]["value"] == pytest.approx(1, abs=1e-4)
        assert result["all"]["leakage"]["over_copy_cut"]["value"] == pytest.approx(1, abs=1e-4)

    def test_one_step_is_the_causal_pass_over_true_states(self, pipeline: TransferPipeline) -> None:
        # Branching off the cache for the other methods must leave the model's own past as it was.
        generator = torch.Generator().manual_seed(0)
        channels, cells = TINY.encoder.channels, TINY.encoder.grid**2
        states = torch.randn(3, STEPS + 1, cells, channels, generator=generator)
        latents = pipeline.model.infer(states)
        nothing = {m: np.zeros(STEPS) for m in ("copied_flow", "own_flow")}
        seen = [
            _Seen(Window(f"{i}.mp4", str(i), ".", 0.0), states[i], latents[i], np.arange(STEPS), nothing, nothing)
            for i in range(3)
        ]
        others = np.array([1, 2, 0])
        measured = _Measured(seen, others, np.array([1, 4, 7]))
        with torch.no_grad():
            _predict(pipeline, measured)
            world = pipeline.model.world_model
            truth = states[:, 1:]
            whole = (world(states[:, :-1], latents).states - truth).abs().mean((-1, -2))
            # Shuffled, at one step: own latents before it, the other clip's at it.
            mixed = latents.clone()
            mixed[:, 5] = latents[others, 5]
            last = world(states[:, :6], mixed[:, :6]).states[:, 5]
            rolled = (world.rollout(states[:, :1], latents).states - truth).abs().mean((-1, -2))
            # The cut of clip 1, after frame 4, to the clip given to it.
            spliced = torch.cat([states[1, :5], states[2, 5:]])[None]
            z = pipeline.model.infer(spliced)
            cut = world(spliced[:, :5], z[:, :5]).states[0, 4] - spliced[0, 5]
        np.testing.assert_allclose(measured.one["model"], whole.numpy(), rtol=1e-4)
        np.testing.assert_allclose(
            measured.one["shuffled"][:, 5], (last - truth[:, 5]).abs().mean((-1, -2)).numpy(), rtol=1e-4
        )
        np.testing.assert_allclose(measured.far["model"], rolled.numpy(), rtol=1e-4)
        assert measured.cut["cut"][1] == pytest.approx(float(cut.abs().mean()), rel=1e-4)
        assert measured.cut["uncut"][1] == pytest.approx(measured.one["model"][1, 4])

    def test_split_and_limit(self, clips: Path) -> None:
        split = Split(test=("wild/*", "nav/c*"))
        result = evaluate_videos(PerfectPipeline(), ClipSet(clips, split=split, max_clips=2))
        assert result["clips"]["files"] == 2 and set(result["parts"]) == {"wild", "nav"}
        with pytest.raises(LamdemoError, match="no clip for the part 'validation'"):
            evaluate_videos(PerfectPipeline(), ClipSet(clips, split=split, part="validation"))

    def test_one_recording_is_not_enough(self, clips: Path) -> None:
        split = Split(test=("wild/a*",))
        with pytest.raises(LamdemoError, match="fewer than two recordings"):
            evaluate_videos(PerfectPipeline(), ClipSet(clips, split=split))

    def test_unreadable_clips_are_left_out(self, clips: Path, tmp_path: Path) -> None:
        for name in ("wild/b.mp4", "nav/c.mp4"):
            shutil.copy(clips / name, tmp_path)
        (tmp_path / "broken.mp4").write_bytes(b"no video")
        result = evaluate_videos(PerfectPipeline(), ClipSet(tmp_path))
        assert result["clips"]["skipped"] == [{"clip": "broken.mp4", "why": "cannot be read"}]
        assert set(result["parts"]) == {"."}


class TestPictures:
    def test_flows_compose(self) -> None:
        flow = np.full((40, 60, 2), (2.0, -1.0), np.float32)
        np.testing.assert_allclose(compose(compose(flow, flow), flow), 3 * flow, atol=1e-5)

    def test_moving_there_and_back_is_whole(self) -> None:
        picture = texture(60, 80, 0)
        flow = np.full((60, 80, 2), (7.5, 0), np.float32)
        there = move_by_flows(picture, np.stack([flow, -flow]))
        assert np.abs(there[2].astype(int) - picture).max() <= 1
        assert np.abs(there[1].astype(int) - picture).mean() > 3

    def test_flows_of_another_size_are_scaled(self) -> None:
        picture = texture(60, 80, 0)
        flow = np.full((30, 40, 2), (2.0, 0), np.float32)
        moved = move_by_flows(picture, flow[None])[1]
        assert (moved[:, :-4] == picture[:, 4:]).all()

    def test_nothing_blurs_over_many_steps(self) -> None:
        picture = texture(60, 80, 0)
        flows = np.full((20, 60, 80, 2), (0.5, 0), np.float32)
        assert (move_by_flows(picture, flows)[20][:, :-10] == picture[:, 10:]).all()

    def test_psnr_and_ssim(self) -> None:
        picture = texture(60, 80, 0)
        assert psnr(picture, picture) > 70 and ssim(picture, picture) == pytest.approx(1)
        dark, light = np.full((8, 8, 3), 100, np.uint8), np.full((8, 8, 3), 110, np.uint8)
        assert psnr(light, dark) == pytest.approx(10 * np.log10(255**2 / 100), abs=1e-4)

    def test_feature_distance(self, pipeline: TransferPipeline) -> None:
        picture = texture(64, 64, 0)
        noise = np.random.default_rng(0).normal(0, 1, picture.shape)
        frames = np.stack([np.clip(picture + a * noise, 0, 255).astype(np.uint8) for a in (0, 10, 60)])
        far = feature_distance(features(pipeline, frames[:1]), features(pipeline, frames))
        assert far[0] == 0 and 0 < far[1] < far[2]


class TestPairs:
    def test_copying_errs_by_the_true_motion(self, judged: dict, pairs: Path) -> None:
        speeds = []
        for case in judged["cases"]:
            truth = read_clip(pairs / case["name"] / "truth.mp4").frames
            # Frames are 128 pixels across and motion is told in pixels of 256.
            speeds.append(2 * np.linalg.norm(motion(truth), axis=-1).mean())
            assert case["motion"]["copy"] == pytest.approx(speeds[-1], rel=0.05)
        assert speeds == pytest.approx([4, 8], rel=0.1)
        assert judged["all"]["methods"]["copy"]["motion"] == pytest.approx(np.mean(speeds), rel=0.05)

    def test_copied_flow_is_right_about_a_pan(self, judged: dict) -> None:
        ratios = judged["all"]["motion_over_copy"]
        assert ratios["copied_flow"]["value"] < 0.1 and ratios["true_flow"]["value"] < 0.1
        assert judged["all"]["methods"]["copied_flow"]["psnr"] > judged["all"]["methods"]["copy"]["psnr"] + 5
        assert judged["all"]["sharpness"]["copied_flow"] == pytest.approx(1, abs=0.1)

    def test_all_methods_and_measures(self, judged: dict) -> None:
        assert set(judged["all"]["methods"]) == {
            "model",
            "copy",
            "zero",
            "shuffled",
            "copied_flow",
            "true_flow",
        }
        for figures in judged["all"]["methods"].values():
            assert set(figures) == {"psnr", "ssim", "perceptual", "motion", "motion_moving"}
            assert all(np.isfinite(v) for v in figures.values())
        assert judged["kinds"]["pan"]["cases"] == 2
        assert judged["all"]["sharpness"]["model_16"] > 0
        assert judged["all"]["seconds_per_transfer"] > 0

    def test_ratios_are_of_sums(self, judged: dict) -> None:
        tops, bottoms = zip(*((c["motion"]["model"], c["motion"]["copy"]) for c in judged["cases"]), strict=True)
        ratio = judged["all"]["motion_over_copy"]["model"]
        assert ratio["value"] == pytest.approx(sum(tops) / sum(bottoms))
        assert ratio["median"] == pytest.approx(np.median(np.divide(tops, bottoms)), rel=1e-6)
        # Both cases are of one kind: the mean over kinds is that kind's.
        assert judged["headline"]["motion"]["value"] == pytest.approx(ratio["value"])

    def test_the_model_is_the_pipelines_transfer(self, pipeline: TransferPipeline, judged: dict, pairs: Path) -> None:
        values = []
        for case in find_cases(pairs):
            source, truth = (read_clip(case.folder / f"{n}.mp4").frames for n in ("source", "truth"))
            made = pipeline.transfer(source, cv2.imread(str(case.folder / "target.png"))[..., ::-1].copy())
            values.append(np.mean([psnr(a, b) for a, b in zip(made.frames[1:], truth[1:], strict=True)]))
        assert judged["all"]["methods"]["model"]["psnr"] == pytest.approx(np.mean(values), abs=1e-3)

    def test_a_single_case_has_no_shuffled_action(self, pipeline: TransferPipeline, pairs: Path) -> None:
        result = evaluate_pairs(pipeline, pairs, max_clips=1)
        assert "shuffled" not in result["all"]["methods"] and result["all"]["cases"] == 1

    def test_cases_that_do_not_fit(self, pipeline: TransferPipeline, pairs: Path, tmp_path: Path) -> None:
        with pytest.raises(LamdemoError, match="holds no case"):
            evaluate_pairs(pipeline, tmp_path)
        case = shutil.copytree(pairs / "case0", tmp_path / "case0")
        frames = read_clip(case / "truth.mp4").frames
        write_video(case / "truth.mp4", frames[:3], 4)
        with pytest.raises(LamdemoError, match="5 frames and the truth 3"):
            evaluate_pairs(pipeline, tmp_path)
        write_video(case / "truth.mp4", frames[:, :64], 4)
        with pytest.raises(LamdemoError, match="differ in size"):
            evaluate_pairs(pipeline, tmp_path)
        (case / "truth.mp4").unlink()
        with pytest.raises(LamdemoError, match=r"lacks truth\.mp4"):
            evaluate_pairs(pipeline, tmp_path)


class TestCases:
    @pytest.fixture(scope="class")
    def photos(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("bank")
        for i in range(4):
            write_image(folder / f"{i}.png", texture(180, 240, i))
        return folder

    @pytest.fixture(scope="class")
    def written(self, tmp_path_factory: pytest.TempPathFactory, photos: Path) -> list[Path]:
        return write_cases(tmp_path_factory.mktemp("w") / "cases", 9, 5, photos=photos, steps=3, size=64)

    def test_kinds_take_turns(self, written: list[Path]) -> None:
        kinds = [json.loads((f / "case.json").read_text())["kind"] for f in written]
        assert sorted(kinds) == sorted("pan zoom roll move turn grow enter leave both".split())
        assert [c.kind for c in find_cases(written[0].parent)] == kinds

    def test_truth_starts_from_the_target(self, written: list[Path]) -> None:
        for folder in written:
            source, truth = (read_clip(folder / f"{n}.mp4") for n in ("source", "truth"))
            target = read_clip(folder / "target.png").frames[0]
            assert source.frames.shape == truth.frames.shape == (4, 64, 64, 3)
            assert source.fps == truth.fps == 4
            assert psnr(truth.frames[0], target) > 30
            assert psnr(source.frames[0], target) < 25

    def test_something_moves_in_both(self, written: list[Path]) -> None:
        for folder in written:
            about = json.loads((folder / "case.json").read_text())
            assert min(about["moving_share"].values()) >= about["least_moving_share"]

    def test_same_seed_same_bytes(self, written: list[Path], photos: Path, tmp_path: Path) -> None:
        # A case does not depend on how many there are.
        again = write_cases(tmp_path / "again", 2, 5, photos=photos, steps=3, size=64)
        for one, other in zip(written[:2], again, strict=True):
            for file in ("source.mp4", "truth.mp4", "target.png", "case.json"):
                assert (one / file).read_bytes() == (other / file).read_bytes()
        different = write_cases(tmp_path / "different", 1, 6, photos=photos, steps=3, size=64)
        assert (different[0] / "target.png").read_bytes() != (written[0] / "target.png").read_bytes()

    def test_source_and_truth_share_the_action(self, tmp_path: Path) -> None:
        # With the bundled photographs: the camera's motion is the same in both scenes, step by step.
        for folder in write_cases(tmp_path / "pans", 2, 3, steps=3, size=96, kind="pan"):
            flows = [np.median(motion(read_clip(folder / f"{n}.mp4").frames), axis=(1, 2)) for n in ("source", "truth")]
            assert np.abs(flows[0] - flows[1]).max() < 0.25
            assert np.linalg.norm(flows[1], axis=-1).max() > 0.5

    def test_refusals(self, written: list[Path], photos: Path, tmp_path: Path) -> None:
        with pytest.raises(LamdemoError, match="not an empty folder"):
            write_cases(written[0].parent, 1, 0, photos=photos)
        with pytest.raises(LamdemoError, match="no kind of action 'still'"):
            write_cases(tmp_path / "x", 1, 0, photos=photos, kind="still")
        with pytest.raises(LamdemoError, match="even size"):
            write_cases(tmp_path / "x", 1, 0, photos=photos, size=65)
        one = tmp_path / "one"
        one.mkdir()
        write_image(one / "a.png", texture(60, 80, 0))
        with pytest.raises(LamdemoError, match="at least two photographs"):
            write_cases(tmp_path / "x", 1, 0, photos=one)
        assert not (tmp_path / "x").exists()


class TestReport:
    def test_holds_what_is_needed_to_obtain_it_again(
        self, judged: dict, pipeline: TransferPipeline, pairs: Path, tmp_path: Path
    ) -> None:
        command = ["lamdemo", "evaluate", "--pairs", str(pairs), f"--out={tmp_path}/r.json"]
        path = write_report(tmp_path / "new" / "r.json", judged, command=command, pipeline=pipeline, seed=7, data=pairs)
        text = path.read_text()
        report = json.loads(text)
        assert str(tmp_path) not in text and str(pairs.parent) not in text
        assert report["command"] == f"lamdemo evaluate --pairs {pairs.name} --out=r.json"
        assert report["seed"] == 7
        assert report["checkpoint"] == {
            "name": "tiny",
            "sha256": pipeline.checkpoint,
            "family": "noisy",
            "capacity": TINY.bottleneck.capacity,
            "trained": {"steps": 0},
        }
        assert len(report["checkpoint"]["sha256"]) == 64
        assert report["data"]["folder"] == pairs.name and report["data"]["files"] == 8
        assert {"lamdemo", "torch", "numpy", "python"} <= set(report["versions"])
        assert report["date"].endswith("+00:00")
        assert report["git"] == git_state()
        assert report["results"]["headline"]["motion"]["value"] == judged["headline"]["motion"]["value"]

    def test_what_is_not_finite_is_null(self, pipeline: TransferPipeline, tmp_path: Path) -> None:
        result = {"a": float("nan"), "b": [np.float32(1.5), np.inf], 3: np.arange(2)}
        path = write_report(tmp_path / "r.json", result, command="x", pipeline=pipeline, seed=0, data={"folder": "f"})
        assert json.loads(path.read_text())["results"] == {"a": None, "b": [1.5, None], "3": [0, 1]}

    def test_files_are_told_apart_by_name_and_size(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"12")
        first = describe_files(tmp_path)
        (tmp_path / "a").write_bytes(b"123")
        second = describe_files(tmp_path)
        (tmp_path / "a").rename(tmp_path / "b")
        third = describe_files(tmp_path)
        assert len({d["sha256"] for d in (first, second, third)}) == 3
        assert first["files"] == 1
        (tmp_path / "b").write_bytes(b"321")
        other = describe_files(tmp_path)
        assert other["sha256"] == third["sha256"] and other["content"] != third["content"]

    def test_code_is_told_apart_by_what_it_does(self) -> None:
        one = what_it_does('"""Adds."""\n\n\ndef f(x):\n    """Add."""\n    return x + 1\n')
        assert one == what_it_does("def f(x): return x + 1  # one more\n")
        assert one != what_it_does("def f(x): return x + 2\n")
        assert len(code_hash()) == 64 and code_hash() == code_hash()

    def test_a_place_that_cannot_be_written(self, pipeline: TransferPipeline, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(LamdemoError, match=r"r\.json cannot be written"):
            write_report(tmp_path / "file" / "r.json", {}, command="x", pipeline=pipeline, seed=0, data={"folder": "f"})
