"""The latent space judged: neighbours, arithmetic, zero."""

import json
from pathlib import Path

import numpy as np
import pytest

from lamdemo.core.errors import LamdemoError
from lamdemo.data.scenes import Photographs, SceneConfig, combine, write_script
from lamdemo.data.splits import Split
from lamdemo.data.videos import photographs_in
from lamdemo.engine import TransferPipeline
from lamdemo.engine.rollout import Rollout
from lamdemo.evaluation.arithmetic import (
    FACTORS,
    PAIRS,
    carry,
    crossed,
    draw_sum,
    linear_fit,
    still,
    summary,
)
from lamdemo.evaluation.neighbours import (
    ACTIONS,
    Known,
    distances,
    judge_scenes,
    judge_turns,
    known_of,
    rank_one,
    steering_neighbours,
)
from lamdemo.evaluation.pictures import motion
from lamdemo.evaluation.space import evaluate_space, zero_figures
from lamdemo.video import write_image, write_video


@pytest.fixture(scope="module")
def bank(photos: Path) -> Photographs:
    return Photographs(photographs_in(photos, (192, 256)))


@pytest.fixture
def pipeline(tiny_checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(tiny_checkpoint)


class TestRankOne:
    def labelled(self, n: int = 600, kinds: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        labels = rng.integers(kinds, size=n)
        return labels, np.arange(n) // 4, rng.normal(size=(n, 8))

    def test_distances_are_euclidean(self) -> None:
        x = np.random.default_rng(1).normal(100, 1, (30, 5))
        expected = np.linalg.norm(x[:, None] - x, axis=-1)
        np.testing.assert_allclose(distances(x), expected, atol=1e-4)

    def test_perfect_vectors_are_always_right_and_random_ones_by_chance(self) -> None:
        labels, recordings, noise = self.labelled()
        perfect = 100 * np.eye(noise.shape[1])[labels] + noise
        same, every = labels[:, None] == labels, np.arange(len(labels))
        apart = {"z": distances(perfect), "random": distances(noise)}
        found = rank_one(apart, same, recordings, every, every, classes=labels)
        assert found["z"]["value"] == 1 and found["balanced"]["z"] == 1
        assert found["chance"] == pytest.approx(1 / 3, abs=0.02)
        assert found["random"]["value"] == pytest.approx(found["chance"], abs=0.06)
        assert (found["queries"], found["recordings"]) == (600, 150)

    def test_the_own_recording_does_not_count(self) -> None:
        # Twins lie in one recording and are right; all others are wrong.
        recordings = np.arange(20) // 2
        x = recordings[:, None] * np.ones((1, 3))
        every = np.arange(20)
        found = rank_one({"z": distances(x)}, recordings[:, None] == recordings, recordings, every, every)
        assert found["z"]["value"] == 0 and found["chance"] == 0

    def test_the_pool_is_all_that_is_asked(self) -> None:
        x = np.array([[0.0], [1.0], [5.0]])
        labels = np.array([0, 1, 0])
        same, recordings = labels[:, None] == labels, np.arange(3)
        some = rank_one({"z": distances(x)}, same, recordings, np.array([0]), np.array([2]))
        whole = rank_one({"z": distances(x)}, same, recordings, np.array([0]), np.arange(3))
        assert (some["z"]["value"], whole["z"]["value"]) == (1, 0)
        assert (some["chance"], whole["chance"]) == (1, 0.5)

    def test_queries_without_a_pool(self) -> None:
        none = np.zeros(0, int)
        found = rank_one({"z": np.zeros((2, 2))}, np.ones((2, 2), bool), np.arange(2), np.arange(2), none)
        assert found["queries"] == 0 and found["z"]["value"] is None and found["chance"] is None


class TestScenes:
    def known(self) -> Known:
        """Steps of many scripts of all kinds."""
        made = []
        for i in range(90):
            script = write_script(np.random.default_rng(i), 5, SceneConfig(), ACTIONS[i % len(ACTIONS)])
            steps = np.flatnonzero(np.abs(np.diff(script.camera, axis=0)).max(1) + (len(script.things) > 0) > 1e-9)
            made.append(known_of(script, steps))
        names = ("kind", "camera", "thing", "velocity")
        return Known(*(np.concatenate([getattr(k, n) for k in made]) for n in names))

    def test_vectors_that_say_all_are_always_right(self) -> None:
        of = self.known()
        sizes = np.abs(of.velocity).max(1, keepdims=True)
        says = np.concatenate(
            [
                of.velocity / np.maximum(sizes, 1e-9),
                9.0 * (np.array(ACTIONS)[None] == of.kind[:, None]),
            ],
            1,
        )
        recordings = np.arange(len(of.kind))
        found = judge_scenes({"z": distances(says)}, of, recordings, 0)
        for question in ("nine", "four", "four_and_both", "shared"):
            assert found[question]["z"]["value"] == 1 > found[question]["chance"], question
        assert found["direction"]["all"]["z"]["value"] > 0.97
        for kind in ("zoom", "roll"):
            assert found["direction_of_kind"][kind]["z"]["value"] == 1
            assert found["direction_of_kind"][kind]["chance"] == pytest.approx(0.5, abs=0.2)
        counts = np.array(found["confusion"]["counts"])
        assert (counts == np.diag(counts.diagonal())).all() and counts.sum() == len(of.kind)
        assert found["four"]["queries"] == (of.kind != "both").sum()

    def test_kinds_of_one_step(self) -> None:
        of = self.known()
        assert set(of.group()) == {"pan", "zoom", "roll", "something moves", "both"}
        both = of.kind == "both"
        assert of.thing[both].all() and (of.camera[both] != "").all()
        shared = of.shared()
        assert shared[np.ix_(both, of.kind == "turn")].all()
        assert not shared[np.ix_(of.kind == "pan", of.kind == "zoom")].any()
        assert not of.alike()[both].any()

    def test_directions(self) -> None:
        pans, zooms = [[1, 0, 0, 0], [1, 0.9, 0, 0], [0, 1, 0, 0], [-1, 0, 0, 0]], [[0, 0, 0.1, 0], [0, 0, -0.1, 0]]
        velocity = np.array(pans + zooms)
        kind = np.array(["pan"] * 4 + ["zoom"] * 2)
        alike = Known(kind, kind, np.zeros(6, bool), velocity.astype(float)).alike()
        assert alike[0].tolist() == [True, True, False, False, False, False]
        assert alike[4].tolist() == [False] * 4 + [True, False]


class TestTurns:
    def test_sign_of_clear_turns(self) -> None:
        rng = np.random.default_rng(0)
        steering = rng.uniform(-1, 1, 400)
        recordings, everywhere = np.arange(400) // 20, np.ones(400, bool)
        apart = {"z": distances(steering[:, None]), "random": distances(rng.normal(size=(400, 4)))}
        both = np.stack([steering, -steering], 1)
        found = judge_turns(apart, both, recordings, everywhere, everywhere, 0)
        assert found is not None
        for question in found.values():
            assert question["z"]["value"] == 1
            assert question["random"]["value"] == pytest.approx(question["chance"], abs=0.12)
        assert found["turns"]["pool"] == (np.abs(steering) >= 0.25).sum() < found["all"]["pool"]
        none = np.zeros(400, bool)
        assert judge_turns(apart, both, recordings, none, everywhere, 0) is None


class TestSums:
    @pytest.mark.parametrize("index", range(len(PAIRS)))
    def test_a_case_shows_its_two_actions(self, bank: Photographs, index: int) -> None:
        case = draw_sum(0, index, bank, 128)
        assert case.kinds == PAIRS[index] and case.truth.shape == (5, 128, 128, 3)
        np.testing.assert_array_equal(case.truth[0], case.half[0])
        sizes = [np.linalg.norm(motion(clip), axis=-1).mean() for clip in (*case.sources, case.truth, case.half)]
        assert min(sizes) > 0 and sizes[4] == pytest.approx(0.5 * sizes[3], rel=0.35)

    def test_the_same_seed_draws_the_same_case(self, bank: Photographs) -> None:
        one, again, other = (draw_sum(s, 0, bank, 64) for s in (0, 0, 1))
        np.testing.assert_array_equal(one.truth, again.truth)
        assert (one.truth != other.truth).any()

    def test_two_pans_at_right_angles(self) -> None:
        rng = np.random.default_rng(2)
        a, b = (write_script(rng, 5, SceneConfig(), "pan") for _ in range(2))
        turned = crossed(a, b)
        steps = [np.diff(s.camera[:, :2], axis=0) for s in (a, b, turned)]
        np.testing.assert_allclose(steps[0] @ steps[2].T, 0, atol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(steps[1], axis=1), np.linalg.norm(steps[2], axis=1))

    def test_a_scene_that_waits(self) -> None:
        script = write_script(np.random.default_rng(0), 5, SceneConfig(), "both")
        assert not np.ptp(still(script).camera, axis=0).any() and not np.ptp(still(script).things, axis=1).any()
        np.testing.assert_array_equal(still(script).things[:, 0], script.things[:, 0])
        pan = write_script(np.random.default_rng(1), 5, SceneConfig(), "pan")
        waiting = combine(pan, still(script))
        np.testing.assert_allclose(waiting.camera, pan.camera, atol=1e-12)
        np.testing.assert_array_equal(waiting.things, still(script).things)

    def row(self, case: int, sum_: float, a: float, b: float) -> dict:
        back = [{"picture": 1.0, "picture_alone": 4.0, "state": 2.0, "state_alone": 4.0}]
        return {
            "case": case,
            "name": "pan + zoom",
            "error": {"sum": sum_, "a": a, "b": b, "joint": 0.0, "shuffled": 9.0, "copied_flow": 0.0, "copy": 4.0},
            "half_error": {"half": sum_, "a": a, "b": b, "copy": 2.0},
            "back": {"own": back, "shuffled": back},
            "motion": {f: f * (case + 1) for f in FACTORS},
            "latents": {"sum": 1.0, "nearer": 2.0, "size": 4.0, "cosine": 0.9},
        }

    def test_better_means_better_than_both(self) -> None:
        found = summary([self.row(0, 1, 2, 3), self.row(1, 2, 1, 3), self.row(2, 2, 3, 1), self.row(3, 1, 2, 2)], 0)
        assert found["sum"]["better"]["sum"]["value"] == 0.5
        assert found["sum"]["better"]["joint"]["value"] == 1 and found["sum"]["better"]["shuffled"]["value"] == 0
        assert found["sum"]["over_either"]["sum"]["value"] == pytest.approx(6 / 6)
        assert found["sum"]["over_copy"]["sum"]["value"] == pytest.approx(6 / 16)
        assert found["sum"]["latents"]["distance"]["value"] == 0.25
        back = found["reversal"]["own"]
        assert (back["picture"]["value"], back["state"]["value"]) == (0.25, 0.5)
        assert found["strength"]["fit"] == pytest.approx({"slope": 1, "intercept": 0, "r2": 1}, abs=1e-9)
        assert found["strength"]["motion_over_whole"]["2.0"]["value"] == pytest.approx(2)

    def test_lines(self) -> None:
        x = np.array([0.5, 1, 1.5, 2])
        assert linear_fit(x, 3 * x + 1) == pytest.approx({"slope": 3, "intercept": 1, "r2": 1})
        assert linear_fit(x, np.array([1.0, -1, -1, 1]))["r2"] == pytest.approx(0, abs=1e-9)
        assert linear_fit(x, np.ones(4))["r2"] is None

    def test_carrying_goes_on_from_where_it_stands(self, pipeline: TransferPipeline, bank: Photographs) -> None:
        target = draw_sum(0, 0, bank, 64).target
        z = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
        whole, parts = (Rollout(pipeline, target) for _ in range(2))
        once = carry(whole, z)
        carry(parts, z[:2])
        np.testing.assert_array_equal(carry(parts, z[2:]).frames[-1], once.frames[-1])
        assert once.frames.shape == (5, 64, 64, 3) and len(once.states) == 5


def test_zero_of_a_model_that_does_nothing_under_it(pipeline: TransferPipeline) -> None:
    pictures = [np.random.default_rng(i).integers(0, 255, (48, 64, 3), dtype=np.uint8) for i in range(3)]
    found = zero_figures(pipeline, pictures, 0)
    assert found["pictures"] == 3 and found["size_of_nothing"]["value"] == pytest.approx(0, abs=1e-5)
    # The tiny model's heads have biases, so that it moves even under zero.
    step = Rollout(pipeline, pictures[0]).step(np.zeros(16, np.float32))
    assert step.flow is not None
    expected = 100 * np.linalg.norm(step.flow, axis=-1).mean() / 64
    assert found["motion"]["value"] == pytest.approx(expected, rel=0.5) and found["change"]["value"] > 0


class TestWhole:
    @pytest.fixture(scope="class")
    def videos(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Four cars that pan right or left as they are steered."""
        folder = tmp_path_factory.mktemp("videos")
        (folder / "nav").mkdir()
        rng = np.random.default_rng(3)
        lines = ["file\tactions"]
        for name in ("a_0", "a_1", "b_0", "b_1"):
            wide = np.kron(rng.integers(0, 255, (16, 80, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8))
            turns = np.repeat([0.8, -0.8, 0.6], 8)
            at = 120 + np.concatenate([[0], np.cumsum(np.sign(turns) * 4)]).astype(int)
            write_video(folder / f"nav/{name}.mp4", np.stack([wide[:64, x : x + 64] for x in at]), 4)
            np.savez(
                folder / f"nav/{name}.npz",
                actions=np.stack([np.append(turns, 0), np.ones(25)], 1),
                names=np.array(["steering", "throttle"]),
            )
            lines.append(f"nav/{name}.mp4\tnav/{name}.npz")
        (folder / "INDEX.tsv").write_text("\n".join(lines) + "\n")
        return folder

    def test_two_checkpoints_are_judged_on_the_same_cases(
        self, tiny_checkpoint: Path, photos: Path, videos: Path
    ) -> None:
        two = {n: TransferPipeline.from_pretrained(tiny_checkpoint) for n in ("one", "two")}
        split = Split(validation=("nav/a*",), test=("nav/b*",))
        found = evaluate_space(two, videos, split=split, photos=photos, max_clips=2)
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert found["one"] == found["two"]
        result = found["one"]
        steering = result["neighbours"]["steering"]
        assert set(steering) == {"test", "validation", "test_among_validation"}
        # The scene goes by as it is steered, so that flow alone tells the sign.
        assert steering["test"]["turns"]["flow"]["value"] > 0.8 > steering["test"]["turns"]["chance"]
        scenes = result["neighbours"]["scenes"]
        assert scenes["steps"] + scenes["left_out"] == 18 * 8
        assert scenes["four"]["flow"]["value"] > scenes["four"]["chance"]
        sums = result["arithmetic"]["sum"]
        assert sums["better"]["copied_flow"]["value"] == 1 and sums["over_copy"]["copied_flow"]["value"] < 0.5
        assert result["headline"]["sum_better"] == sums["better"]["sum"]

    def test_without_known_steering(self, pipeline: TransferPipeline, tmp_path: Path) -> None:
        for folder in (None, tmp_path):
            assert steering_neighbours({"m": pipeline}, [["m"]], folder, None, "test", 2, 0) == {"m": {}}

    def test_too_few_photographs(self, pipeline: TransferPipeline, tmp_path: Path) -> None:
        write_image(tmp_path / "one.png", np.zeros((32, 32, 3), np.uint8))
        with pytest.raises(LamdemoError, match="four photographs"):
            evaluate_space({"m": pipeline}, None, photos=tmp_path)
